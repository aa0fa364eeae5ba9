internal import Foundation
internal import LocalStack
internal import Logging
internal import MarketData
internal import RPC
internal import ServiceKit
internal import Storage
internal import Trading
internal import VommaProto

/// Why a run could not go on.
enum RunError: Error, CustomStringConvertible {
    case job(kind: String, state: String, error: String)
    case badAnswer(String)

    var description: String {
        switch self {
        case .job(let kind, let state, let error): "the \(kind) job \(state): \(error)"
        case .badAnswer(let what): what
        }
    }
}

/// Drives a stack through a plan. Every step asks a service for something that has a name of its own (a stream, a job,
/// an account), and asking twice is asking once: a run that was interrupted finds what is done, done.
struct RunDriver {
    let plan: RunPlan
    let terminal: Terminal
    private let pool: ConnectionPool
    private let gateway: MarketGatewayClient
    private let features: FeatureClient
    private let inverter: HestonInverterClient
    private let regimes: RegimeSentimentClient
    private let policy: PolicyClient
    private let execution: ExecutionClient
    private let trainer: TrainerClient
    private let stack: LocalStack

    /// Where the stack's services are.
    init(plan: RunPlan, stack: LocalStack, pool: ConnectionPool, terminal: Terminal, log: Logger) {
        self.plan = plan
        self.pool = pool
        self.terminal = terminal
        self.stack = stack
        gateway = MarketGatewayClient(stack.channel(.marketGateway))
        features = FeatureClient(stack.channel(.featureService))
        inverter = HestonInverterClient(stack.channel(.hestonInverter))
        regimes = RegimeSentimentClient(stack.channel(.regimeSentiment))
        policy = PolicyClient(stack.channel(.policyService))
        execution = ExecutionClient(stack.channel(.executionService))
        trainer = TrainerClient(stack.channel(.trainer))
    }

    private let patient = CallOptions(waitForReady: true)

    func drive(measuringLatency: Bool) async throws {
        let json = JSON(String(decoding: try JSONEncoder().encode(plan), as: UTF8.self))
        let key = "run/\(plan.name)/plan"
        try await pool.withConnection { try SettingsRepository.set(key, json, on: $0) }
        try await loadHistory()
        try await trainNetwork()
        try await trainRegimes()
        try await computeFeatures()
        if measuringLatency { try await measureLatency() }
        let version = try await trainPolicy()
        try await trade()
        try await judge(version)
    }

    // MARK: 1. History

    private func loadHistory() async throws {
        let key = "run/\(plan.name)/history"
        let known = try await pool.withConnection { try SettingsRepository.value(key, on: $0) }
        terminal.begin(plan.dataFolder == nil ? "simulating the market" : "loading history")
        if let known {
            terminal.finish(try Loaded(known).summary + ", already there")
            return
        }
        let from = min(plan.trainFrom, plan.testFrom - RunPlan.warmUp)
        let reports: ResponseStream<LoadProgress>
        if let folder = plan.dataFolder {
            reports = gateway.loadHistory(
                LoadHistoryRequest(
                    directory: folder, symbols: plan.symbols, currencies: plan.currencies,
                    fromMicroseconds: (from - .days(2)).microseconds, toMicroseconds: plan.testTo.microseconds),
                options: patient)
        } else {
            reports = gateway.simulate(
                SimulateRequest(
                    simulator: plan.simulator == "gbm" ? .gbm : .heston, seed: plan.seed, exchange: plan.exchange,
                    fromMicroseconds: from.microseconds,
                    toMicroseconds: plan.testTo.microseconds), options: patient)
        }
        var loaded = Loaded(items: [])
        for try await report in reports {
            terminal.update(report.fraction, report.item)
            if report.finished { loaded.items.append(.init(report)) }
        }
        let json = JSON(String(decoding: try JSONEncoder().encode(loaded), as: UTF8.self))
        try await pool.withConnection { try SettingsRepository.set(key, json, on: $0) }
        terminal.finish(loaded.summary)
    }

    // MARK: 2. Models and features of the training span

    /// The inverse network serves only if it passes its gate; without one, surfaces are calibrated.
    private func trainNetwork() async throws {
        guard plan.surfaces > 0 else { return }
        let result: NetworkResult = try await runJob(
            "inverse network", key: "\(plan.name)/inverse", kind: "heston_inverse_synth",
            specification: [
                "name": "heston_inverse", "preset": "crypto", "surfaces": plan.surfaces, "epochs": 24, "held_out": 2000,
                "seed": plan.seed,
            ])
        guard result.metrics.gate.passed else {
            terminal.note("the inverse network has not passed its gate: surfaces are calibrated without it")
            return
        }
        let version = result.model.version
        _ = try await trainer.promoteModel(
            PromoteModelRequest(name: "heston_inverse", version: version), options: patient)
        try await until("heston-inverter-service serves version \(version)") {
            try await inverter.describeModel(DescribeModelRequest(), options: patient).modelVersion
                .hasSuffix("heston_inverse-\(version)")
        }
    }

    private func trainRegimes() async throws {
        let version = try await train(
            "regime model", key: "\(plan.name)/hmm", kind: "hmm",
            specification: [
                "name": "regime", "exchange": plan.exchange, "symbols": [plan.tradedSymbol],
                "from": "\(plan.trainFrom)",
                "to": "\(plan.trainTo)", "states": 3, "seed": plan.seed,
            ], model: "regime")
        try await until("regime-sentiment-service serves version \(version)") {
            (try? await regimes.describeRegime(DescribeRegimeRequest(), options: patient).modelVersion) == version
        }
    }

    private func computeFeatures() async throws {
        terminal.begin("building the training stream")
        let info = try await gateway.createStream(
            CreateStreamRequest(
                stream: plan.trainStream, exchange: plan.exchange, symbols: plan.symbols, currencies: plan.currencies,
                fromMicroseconds: plan.trainFrom.microseconds, toMicroseconds: plan.chosenTo.microseconds),
            options: patient)
        terminal.finish("\(info.lastSequence) events, \(info.bars) bars, \(info.surfaces) surfaces")
        terminal.begin("computing features")
        var last = ComputeProgress()
        var memory = MemoryRecord(stack)
        for try await progress in features.compute(ComputeRequest(stream: plan.trainStream), options: patient) {
            last = progress
            memory.sample(progress.vectors)
            terminal.update(
                Double(progress.sequence) / Double(max(1, progress.lastSequence)), "\(progress.vectors) vectors")
        }
        try await memory.store(key: "run/\(plan.name)/memory", pool: pool)
        terminal.finish(
            "\(last.vectors) vectors, \(last.surfacesInverted) surfaces inverted, \(last.surfacesRefused) refused")
    }

    private func trainPolicy() async throws -> Int64 {
        try await trainPolicy("policy (PPO)", key: "\(plan.name)/ppo", steps: plan.trainingSteps)
    }

    /// Trains a policy for some environment steps and waits until it decides.
    @discardableResult
    private func trainPolicy(_ title: String, key: String, steps: Int) async throws -> Int64 {
        var specification: [String: Any] = [
            "name": "policy", "stream": plan.trainStream, "exchange": plan.exchange, "symbol": plan.tradedSymbol,
            "train_from": "\(plan.trainFrom)", "train_to": "\(plan.trainTo)", "validate_to": "\(plan.validateTo)",
            "seed": plan.seed, "total_steps": steps, "window": 16, "environments": 16,
            // A policy that pays for its own noise learns to make less of it, not to flee to ±1 (docs/learning.md).
            "entropy_coefficient": 0.05, "log_std_rate": 10,
            "account": ["capital": plan.capital],
            // A minute's return is a few basis points: penalties a step of the size of a daily bar's would drown it.
            "reward": ["drawdown_penalty": 0.0, "leverage_penalty": 0.0, "volatility_penalty": 0.0],
        ]
        if let selectTo = plan.selectTo {
            specification["select_to"] = "\(selectTo)"
            specification["seeds"] = plan.seeds ?? 1
        }
        let version = try await train(
            title, key: key, kind: "policy.ppo", specification: specification, model: "policy")
        try await until("policy-service serves version \(version)") {
            (try? await policy.describePolicy(DescribePolicyRequest(), options: patient).modelVersion) == version
        }
        return version
    }

    /// Submits a job, waits for its model and promotes it. Returns the version.
    private func train(
        _ title: String, key: String, kind: String, specification: [String: Any], model: String
    ) async throws -> Int64 {
        let result: ModelResult = try await runJob(title, key: key, kind: kind, specification: specification)
        _ = try await trainer.promoteModel(
            PromoteModelRequest(
                name: model, version: result.model.version, reason: "vomma run \(plan.name)", unaccepted: true),
            options: patient)
        return result.model.version
    }

    private func runJob<Result: Decodable>(
        _ title: String, key: String, kind: String, specification: [String: Any]
    ) async throws -> Result {
        let json = String(
            decoding: try JSONSerialization.data(withJSONObject: specification, options: [.sortedKeys]), as: UTF8.self)
        let job = try await JobFollower(trainer, terminal: terminal, submission: patient)
            .ask(kind: kind, prefix: key, specification: json, title: title)
        return try JSONDecoder().decode(Result.self, from: Data(job.resultJSON.utf8))
    }

    // MARK: 3. Trading

    private func trade() async throws {
        terminal.begin("building the test stream")
        let info = try await gateway.createStream(
            CreateStreamRequest(
                stream: plan.testStream, exchange: plan.exchange, symbols: plan.symbols, currencies: plan.currencies,
                fromMicroseconds: (plan.testFrom - RunPlan.warmUp).microseconds,
                toMicroseconds: plan.testTo.microseconds, tradedSymbols: [plan.tradedSymbol],
                tradeFromMicroseconds: plan.testFrom.microseconds,
                accountSettingsJSON: #"{"capital":"\#(plan.capital)"}"#), options: patient)
        terminal.finish("\(info.lastSequence) events, \(info.bars) bars, \(info.surfaces) surfaces")
        terminal.begin("trading on paper")
        let account = try await follow(plan.testStream, last: info.lastSequence)
        _ = try await execution.audit(AuditRequest(account: plan.testStream), options: patient)
        terminal.finish("equity \(account.equity) from \(plan.capital), ledger audited")
    }

    /// Waits until an account has seen its whole stream.
    private func follow(_ stream: String, last: UInt64) async throws -> Account {
        while true {
            let account = try await execution.getAccount(GetAccountRequest(account: stream), options: patient)
            if account.finished { return account }
            terminal.update(
                Double(account.sequence) / Double(max(1, last)),
                "\(Timestamp(microseconds: account.eventTimeMicroseconds)) equity \(account.equity)")
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    /// Would it be accepted? The verdict rests on a backtest of the test span, which has to be what the account did. A
    /// result that cannot be true ends the job; the report says why.
    private func judge(_ version: Int64) async throws {
        do {
            let _: Judged = try await runJob(
                "verdict", key: "\(plan.name)/accept", kind: "accept",
                specification: [
                    "stream": plan.testStream, "exchange": plan.exchange, "symbol": plan.tradedSymbol,
                    "model": "policy", "version": version, "from": "\(plan.testFrom)",
                    "to": "\(plan.testTo + .minutes(1))", "seed": plan.seed, "account": ["capital": plan.capital],
                ])
        } catch RunError.job(_, _, let error) where error.contains("not plausible") {
            terminal.note(error)
        }
    }

    /// Replays the end of the validation span one bar at a time. An untrained policy decides, with a capital so large
    /// that its every whim becomes an order: what is measured is the way from the bar to the stored order.
    private func measureLatency() async throws {
        // Once the test stream is there, the live policy is the trained one, and must stay so.
        let streams = try await gateway.listStreams(ListStreamsRequest(), options: patient).streams
        if streams.contains(where: { $0.stream == plan.testStream }) { return }
        try await trainPolicy("untrained policy", key: "\(plan.name)/untrained", steps: 2048)
        terminal.begin("measuring latency")
        let to = plan.validateTo
        let from = to - .hours(8)
        let info = try await gateway.createStream(
            CreateStreamRequest(
                stream: plan.latencyStream, exchange: plan.exchange, symbols: plan.symbols, currencies: plan.currencies,
                fromMicroseconds: from.microseconds, toMicroseconds: to.microseconds,
                tradedSymbols: [plan.tradedSymbol],
                tradeFromMicroseconds: (to - .hours(7)).microseconds, paceMicroseconds: 10_000,
                accountSettingsJSON: #"{"capital":"1000000"}"#), options: patient)
        _ = try await follow(plan.latencyStream, last: info.lastSequence)
        terminal.finish("\(info.bars) bars, one at a time")
    }

    /// Looks again and again until something holds; gives up after a minute.
    private func until(_ what: String, _ holds: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while try await !holds() {
            guard ContinuousClock.now < deadline else {
                throw RunError.badAnswer("waited a minute in vain until \(what)")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}

/// What was loaded, for the report.
struct Loaded: Codable {
    struct Item: Codable {
        var name: String
        var rows: UInt64
        var refused: UInt64
        var refusals: [String]
        var first: Timestamp
        var last: Timestamp

        init(_ progress: LoadProgress) {
            name = progress.item
            rows = progress.rowsStored
            refused = progress.rowsRefused
            refusals = progress.refusals
            first = Timestamp(microseconds: progress.firstMicroseconds)
            last = Timestamp(microseconds: progress.lastMicroseconds)
        }
    }

    var items: [Item]

    init(items: [Item]) { self.items = items }
    init(_ json: JSON) throws { self = try JSONDecoder().decode(Self.self, from: Data(json.text.utf8)) }

    var summary: String {
        let rows = items.reduce(0) { $0 + $1.rows }
        let refused = items.reduce(0) { $0 + $1.refused }
        return "\(rows) rows in \(items.count) series, \(refused) refused"
    }
}

struct ModelResult: Decodable {
    struct Model: Decodable { var version: Int64 }
    var model: Model
}

struct NetworkResult: Decodable {
    struct Metrics: Decodable {
        struct Gate: Decodable { var passed: Bool }
        var gate: Gate
    }
    var model: ModelResult.Model
    var metrics: Metrics
}

struct Judged: Decodable {}
