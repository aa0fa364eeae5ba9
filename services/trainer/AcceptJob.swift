internal import Contract
internal import Evaluation
internal import Features
internal import Kernels
internal import MarketData
internal import Policies
internal import Storage
internal import Trading

/// What a job of kind `accept` is to do: judge a candidate on bars that nobody has looked at. See docs/jobs.md.
struct AcceptSpecification: Decodable, Equatable {
    /// Name of the model; default `policy`.
    var model: String
    var version: Int64
    var stream: String
    /// Must be the stream's, where given.
    var exchange: String?
    var symbol: String
    /// The final block: decisions begin with the first bar that closes at or after `from`; the last bar closes before
    /// `to`.
    var from: Timestamp
    var to: Timestamp
    /// Default: the stream's, with a capital of 19.99.
    var account: AccountSettings?
    var criteria: AcceptanceCriteria
    /// Of bootstrap, permutations and the random baseline. Default 1.
    var seed: UInt64

    init(from decoder: any Decoder) throws {
        var reader = try SpecificationReader(decoder)
        model = try reader.text("model", default: "policy")
        version = Int64(try reader.number("version", in: 1...Int.max))
        stream = try reader.text("stream")
        exchange = try reader.optional("exchange", as: String.self)
        symbol = try reader.text("symbol")
        from = try reader.time("from")
        to = try reader.time("to")
        account = try reader.account("account")
        criteria = try reader.optional("criteria", as: CriteriaSpecification.self)?.criteria ?? .init()
        seed = try reader.field("seed", default: 1)
        try reader.finish()
        if from >= to { throw reader.fault("to", "is not after “from”") }
    }
}

private struct CriteriaSpecification: Decodable {
    var criteria = AcceptanceCriteria()

    init(from decoder: any Decoder) throws {
        var reader = try SpecificationReader(decoder)
        let defaults = criteria
        criteria.minimumDays = try reader.number("minimum_days", default: defaults.minimumDays, in: 0...3650)
        criteria.minimumProbabilityOfProfit = try reader.number(
            "minimum_probability_of_profit", default: defaults.minimumProbabilityOfProfit, in: 0...1)
        criteria.minimumDeflatedSharpe = try reader.number(
            "minimum_deflated_sharpe", default: defaults.minimumDeflatedSharpe, in: 0...1)
        criteria.maximumDrawdown = try reader.number("maximum_drawdown", default: defaults.maximumDrawdown, in: 0...1)
        criteria.minimumTrades = try reader.number("minimum_trades", default: defaults.minimumTrades, in: 0...1_000_000)
        try reader.finish()
    }
}

/// Judges a candidate, once, on a final block: bars behind all that it was trained, stopped and selected by.
struct AcceptJob {
    private let context: JobContext
    private let specification: AcceptSpecification

    /// Fewer bars leave nothing to resample.
    private static let leastBars = 16

    init(_ context: JobContext) throws {
        self.context = context
        specification = try SpecificationReader.read(AcceptSpecification.self, from: context.job.spec)
    }

    private struct Result: Encodable {
        var stream: String
        var symbol: String
        var model: ModelReference
        var first: String
        var last: String
        var verdict: String
        var acceptance: AcceptanceReport
    }

    func run() async throws {
        let specification = specification
        try context.proceed(0, "loading the model")
        let model = try await StoredPolicy.load(specification.model, specification.version, context.pool)
        let title = "version \(model.record.version) of “\(model.record.name)”"
        try model.file.golden?.verify(model.policy)
        let usedTo = try await requireUnseen(model, title)
        let earlierReads = try await countRead(model)

        try context.proceed(0.1, "reading features")
        let data = try await PolicyHistory(
            model, stream: specification.stream, exchange: specification.exchange, symbol: specification.symbol,
            from: specification.from, to: specification.to, context)
        let (history, series, rows, span) = (data.history, data.series, data.rows, data.span)
        let account = try account(history.stream)
        let backtest = try data.backtest(account, account: "acceptance")
        guard rows.count >= Self.leastBars else {
            throw JobError.badData(
                "the final block has \(rows.count) bars with features: at least \(Self.leastBars) can be judged")
        }
        try context.proceed(0.2, "running the policy")
        let trial = try PolicyTrial(model.policy, backtest, on: series, span: span)
        let baselines = try Baseline.reports(
            beside: trial.result, backtest, on: series, span: span, seed: specification.seed
        ) { index, name in try context.proceed(0.4 + 0.05 * Double(index), "running the baseline \(name)") }

        try context.proceed(0.7, "judging")
        let trials = try await context.pool.withConnection { connection in
            try AcceptanceRepository.trials(
                of: specification.model, symbol: specification.symbol, on: connection)
        }
        var random = RandomGenerator(seed: specification.seed)
        let acceptance = try Acceptance(
            trial.result, heads: try trial.evidence(model.policy),
            isAllThereIs: isAllThereIs(history, after: usedTo), trials: trials, criteria: specification.criteria,
            random: &random)
        let report = AcceptanceReport(
            acceptance, of: trial.result, baselines: baselines,
            markets: try await tradability(history.stream, account), earlierReads: earlierReads)
        let json = try JSON(
            encoding: Result(
                stream: specification.stream, symbol: specification.symbol, model: ModelReference(model.record),
                first: "\(series.bars[trial.result.rows.lowerBound].closeTime)",
                last: "\(series.bars[trial.result.rows.upperBound - 1].closeTime)", verdict: report.verdict,
                acceptance: report))
        let (jobID, record) = (context.job.id, model.record)
        try await context.complete(report.verdict) { connection in
            try AcceptanceRepository.store(
                passed: report.passed, report: json, of: record.name, version: record.version, jobID: jobID,
                on: connection)
            return json
        }
    }

    /// Throws unless the block lies behind everything that the model was made with. Returns where that ends.
    private func requireUnseen(_ model: StoredPolicy, _ title: String) async throws -> Timestamp {
        let spans = model.policy.metadata
        guard let usedTo = (spans["select_to"] ?? spans["validate_to"]).flatMap({ Timestamp($0) }) else {
            throw JobError.badData("the \(title) does not say on which spans it was trained")
        }
        guard specification.from >= usedTo else {
            throw JobError.badData(
                "the \(title) was chosen on bars until \(usedTo): a final block begins there or later, not at "
                    + "\(specification.from)")
        }
        let (name, version) = (model.record.name, model.record.version)
        let earlier = try await context.pool.withConnection {
            try AcceptanceRepository.acceptances(of: name, version: version, on: $0)
        }
        if let verdict = earlier.first {
            throw JobError.badData(
                "the \(title) was judged by job \(verdict.jobID), which \(verdict.passed ? "accepted" : "refused") "
                    + "it: a candidate is judged once. Train another")
        }
        return usedTo
    }

    private func countRead(_ model: StoredPolicy) async throws -> Int {
        let stream = specification.stream
        guard let found = try await context.pool.withConnection({ try EventRepository.stream(stream, on: $0) }) else {
            throw JobError.badData("no stream “\(stream)”")
        }
        return try await context.countRead(
            .init(
                exchange: found.exchange, symbol: specification.symbol, from: specification.from, to: specification.to),
            of: model.record)
    }

    /// Whether no more than an embargo, or a day, lies between what the model was made with and the block, and nothing
    /// behind it.
    private func isAllThereIs(_ history: FeatureHistory, after usedTo: Timestamp) -> Bool {
        let memory = history.schema.definitions.map(\.warmUp).max() ?? 0
        let embargo = Interval(microseconds: history.interval.microseconds * Int64(memory + 2))
        return specification.from <= usedTo + max(embargo, .days(1)) && specification.to >= history.stream.to
    }

    private func account(_ stream: EventRepository.Stream) throws -> AccountSettings {
        if let account = specification.account { return account }
        var account = try AccountSettings(of: stream)
        account.capital = AccountSettings().capital
        return account
    }

    /// Every market of the exchange of which there are bars, at its last price before the block's end.
    private func tradability(
        _ stream: EventRepository.Stream, _ account: AccountSettings
    ) async throws -> [Tradability] {
        let (exchange, to) = (stream.exchange, specification.to)
        let markets = try await context.pool.withConnection { connection in
            try InstrumentRepository.instruments(exchange: exchange, at: to, on: connection).compactMap { instrument in
                let price = try BarRepository.lastClose(
                    exchange: exchange, symbol: instrument.symbol, before: to, on: connection)
                return price.map { (instrument, $0) }
            }
        }
        let capital = try account.session(account: "acceptance", instruments: []).initialCash.double
        return try markets.map { instrument, price in
            Tradability(
                try InstrumentRules(instrument), price: price, capital: capital, reserve: account.reserve,
                costs: ExecutionCosts(
                    halfSpreadBasisPoints: account.halfSpreadBasisPoints,
                    slippageBasisPoints: account.slippageBasisPoints))
        }
    }
}
