import MarketData
import RPC
import Storage
import Testing
import VommaProto

/// A small simulated market with its models: eight hours to train on, twelve to replay. Made once, by the services.
struct Market: Sendable {
    static let exchange = "simulation"
    static let symbol = "ALTUSDT"
    static let currency = "BTC"
    static let start = Timestamp(seconds: 1_767_225_600)  // 2026-01-01
    static let trainStream = "train"

    static func time(hours: Int64) -> Timestamp { start + .hours(hours) }

    /// Versions promoted.
    let regimeVersion: Int64
    let policyVersion: Int64

    static func shared() async throws -> Market { try await MarketHolder.shared.market() }

    fileprivate init(_ fleet: Fleet) async throws {
        let patient = Fleet.patient
        let simulated = fleet.gateway.simulate(
            SimulateRequest(
                simulator: .heston, seed: 7, exchange: Self.exchange, fromMicroseconds: Self.start.microseconds,
                toMicroseconds: (Self.start + .days(1)).microseconds, chainIntervalMicroseconds: 3_600_000_000),
            options: patient)
        for try await _ in simulated {}

        let regime = try await fleet.job(
            "regime", "hmm",
            """
            {"name": "regime", "exchange": "\(Self.exchange)", "symbols": ["\(Self.symbol)"], "from": "\(Self.start)",
             "to": "\(Self.time(hours: 8))", "states": 3, "restarts": 1, "seed": 1}
            """)
        try #require(regime.state == .succeeded, "\(regime.error)")
        regimeVersion = try await fleet.promote("regime", job: regime.jobID)

        _ = try await fleet.gateway.createStream(
            CreateStreamRequest(
                stream: Self.trainStream, exchange: Self.exchange, symbols: [Self.symbol], currencies: [],
                fromMicroseconds: Self.start.microseconds, toMicroseconds: Self.time(hours: 8).microseconds),
            options: patient)
        let computed = fleet.features.compute(ComputeRequest(stream: Self.trainStream), options: patient)
        for try await _ in computed {}

        let policy = try await fleet.job("policy", "policy.ppo", Self.training(name: "policy", steps: 1024))
        try #require(policy.state == .succeeded, "\(policy.error)")
        policyVersion = try await fleet.promote("policy", job: policy.jobID)
    }

    /// A training that is small enough for a debug build.
    static func training(name: String, steps: Int) -> String {
        """
        {"name": "\(name)", "stream": "\(trainStream)", "exchange": "\(exchange)", "symbol": "\(symbol)",
         "train_from": "\(start)", "train_to": "\(time(hours: 5))", "validate_to": "\(time(hours: 8))",
         "embargo_minutes": 30, "seed": 5, "total_steps": \(steps), "hidden": [8], "window": 16, "environments": 4,
         "steps_per_environment": 32, "minibatch_size": 64, "epochs": 2, "episode_length": 64, "validate_every": 16,
         "learning_rate": 0.01, "initial_standard_deviation": 1.0,
         "account": {"capital": "1000000"}}
        """
    }

    /// Eleven hours traded after an hour of warm-up, one bar every `pace`, from a capital so large that many decisions
    /// become orders.
    static func testStream(_ name: String, pace: Duration) -> CreateStreamRequest {
        CreateStreamRequest(
            stream: name, exchange: exchange, symbols: [symbol], currencies: [currency],
            fromMicroseconds: time(hours: 12).microseconds, toMicroseconds: time(hours: 24).microseconds,
            tradedSymbols: [symbol], tradeFromMicroseconds: time(hours: 13).microseconds,
            paceMicroseconds: pace.components.attoseconds / 1_000_000_000_000,
            accountSettingsJSON: #"{"capital": "3000"}"#)
    }
}

extension Fleet {
    /// Makes the model that a job has made the live one.
    func promote(_ name: String, job: Int64) async throws -> Int64 {
        let version = try await value("SELECT version FROM models WHERE job_id = $1", [job], as: Int64.self)
        _ = try await trainer.promoteModel(
            PromoteModelRequest(name: name, version: version, unaccepted: true), options: Self.patient)
        return version
    }
}

private actor MarketHolder {
    static let shared = MarketHolder()
    private var making: Task<Market, any Error>?

    func market() async throws -> Market {
        if let making { return try await making.value }
        let task = Task { try await Market(Fleet.shared()) }
        making = task
        return try await task.value
    }
}
