import Features
import Foundation
import Kernels
import Logging
import MarketData
import Policies
import RPC
import Storage
import TestKit
import VommaProto

@testable import trainer

/// A small market in a database of its own: bars, features of the live schema, trading rules, one stream.
struct TestMarket {
    let pool: ConnectionPool
    let server: TrainerServer
    let bars: [MarketData.Bar]
    let vectors: [FeatureRepository.Vector]
    let schema: FeatureSchema

    /// 2026-01-01T00:00:00Z.
    static let start = Timestamp(seconds: 1_767_225_600)
    static let symbol = "XYZUSDT"
    static let stream = "history"
    static let exchange = "test"
    static let silent = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    /// The instant `minutes` after the market's first bar opened, as specifications write it.
    static func time(_ minutes: Int) -> String { "\(start + .minutes(Int64(minutes)))" }

    /// Minutes without bars, where a market has a gap: more than two days.
    static let gap = 3000

    /// `count` bars from `start` on, prices a random walk from 1; with a gap after the given number of them. The first
    /// three features foretell nothing, the fourth is missing at times, the others always. Where it `leaks`, the first
    /// feature is the return of the bar that follows.
    init(bars count: Int = 400, gapAfter: Int = .max, leaks: Bool = false) async throws {
        var configuration = try await TestCluster.shared.database()
        configuration.maximumConnections = 8
        pool = ConnectionPool(configuration, log: Self.silent)
        server = TrainerServer(pool: pool)
        schema = try FeatureHistory.schema()
        var random = RandomGenerator(seed: 11)
        var bars: [MarketData.Bar] = []
        var vectors: [FeatureRepository.Vector] = []
        var price = 1.0
        for index in 0..<count {
            let open = price
            price *= exp(0.004 * random.normal())
            let minute = Int64(index < gapAfter ? index : index + Self.gap)
            let bar = MarketData.Bar(
                openTime: Self.start + .minutes(minute), interval: .minutes(1), open: open,
                high: max(open, price) * 1.001, low: min(open, price) * 0.999, close: price,
                volume: 1e6 * exp(random.normal()))
            var values = [Double](repeating: .nan, count: schema.count)
            for column in 0..<4 where column < 3 || index % 5 != 0 { values[column] = 10 + 3 * random.normal() }
            var valid = [UInt8](repeating: 0, count: (schema.count + 7) / 8)
            valid[0] = index % 5 == 0 ? 0b0111 : 0b1111
            vectors.append(
                .init(
                    symbol: Self.symbol, barTime: bar.closeTime, sequence: Int64(index + 1), close: price,
                    values: values, valid: valid))
            bars.append(bar)
        }
        if leaks {
            for (index, next) in bars.enumerated().dropFirst() {
                vectors[index - 1].values[0] = 10 + 3 * log(next.close / next.open) / 0.004
            }
        }
        (self.bars, self.vectors) = (bars, vectors)
        try await store()
    }

    private func store() async throws {
        let (bars, vectors, schema) = (bars, vectors, schema)
        try await pool.withConnection { connection in
            try BarRepository.upsert(bars, exchange: Self.exchange, symbol: Self.symbol, on: connection)
            try FeatureRepository.putSchema(schema.version, names: schema.names, on: connection)
            try FeatureRepository.insert(vectors, stream: Self.stream, schema: schema.version, on: connection)
            try EventRepository.create(
                .init(
                    name: Self.stream, exchange: Self.exchange, symbols: [Self.symbol], currencies: [],
                    from: Self.start, to: Self.start + .days(4), tradedSymbols: [Self.symbol],
                    tradeFrom: Self.start, state: .active,
                    settings: #"{"capital": "50.00"}"#), on: connection)
            try InstrumentRepository.upsert(
                [
                    .init(
                        exchange: Self.exchange, symbol: Self.symbol, base: "XYZ", quote: "USDT",
                        tickSize: DecimalNumber(1, scale: 4), lotSize: DecimalNumber(1, scale: 1),
                        minimumQuantity: DecimalNumber(1, scale: 1), maximumQuantity: DecimalNumber(900_000),
                        minimumNotional: DecimalNumber(5), makerFee: 0.001, takerFee: 0.001, allowsShort: false,
                        maximumLeverage: 1)
                ], on: connection)
        }
    }

    // MARK: Jobs

    /// A training that takes some seconds' fraction in a debug build: 60 iterations of 32 steps.
    static let training = """
        {"stream": "history", "symbol": "XYZUSDT", "train_from": "\(time(0))", "train_to": "\(time(200))",
         "validate_to": "\(time(390))", "embargo_minutes": 10, "seed": 5, "total_steps": 1920, "hidden": [6],
         "window": 2, "environments": 4, "steps_per_environment": 8, "minibatch_size": 16, "epochs": 2,
         "episode_length": 50, "validate_every": 20, "learning_rate": 0.003}
        """

    /// The same with two seeds, and a third span that selects.
    static let search = training.replacingOccurrences(
        of: "\"validate_to\": \"\(time(390))\"",
        with: "\"validate_to\": \"\(time(300))\", \"select_to\": \"\(time(390))\", \"seeds\": 2"
    ).replacingOccurrences(of: "1920", with: "960")

    /// The same of policies with memory.
    static let recurrentSearch = search.replacingOccurrences(
        of: "\"hidden\": [6]", with: "\"encoded\": 4, \"memory\": 3")

    /// Two windows of 80 iterations.
    static let walkForward = training.replacingOccurrences(
        of: "\"train_from\": \"\(time(0))\", \"train_to\": \"\(time(200))\",",
        with: "\"from\": \"\(time(0))\", \"to\": \"\(time(395))\","
    ).replacingOccurrences(
        of: "\"validate_to\": \"\(time(390))\"",
        with: "\"train_days\": 0.08, \"validate_days\": 0.04, \"test_days\": 0.05"
    ).replacingOccurrences(of: "1920", with: "2560")

    static func regime(seed: Int) -> String {
        """
        {"exchange": "test", "symbols": ["XYZUSDT"], "from": "\(time(0))", "to": "\(time(400))", "states": 2,
         "restarts": 1, "seed": \(seed)}
        """
    }

    func submit(_ key: String, _ kind: String, _ specification: String) async throws -> Int64 {
        let request = SubmitJobRequest(jobKey: key, kind: kind, specJSON: specification)
        return try await server.submitJob(request, context: CallContext(path: "test")).jobID
    }

    func job(_ id: Int64) async throws -> Job {
        try await server.getJob(GetJobRequest(jobID: id), context: CallContext(path: "test"))
    }

    /// The job when it has ended.
    func end(of id: Int64) async throws -> Job {
        let writer = ResponseWriter<Job> { _ in }
        try await server.watchJob(GetJobRequest(jobID: id), responses: writer, context: CallContext(path: "test"))
        return try await job(id)
    }

    /// Waits until the database says yes.
    func wait(until condition: String, _ id: Int64) async throws {
        let sql = "SELECT coalesce(\(condition), false) FROM jobs WHERE job_id = $1"
        while try await !pool.withConnection({ connection in
            try connection.queryOne(sql, [id]) { (row) throws(StorageError) in try row.get(0, as: Bool.self) }
        }) { try await Task.sleep(for: .milliseconds(2)) }
    }

    func worker(_ owner: String, lease: Interval = .seconds(10)) -> JobWorker {
        var configuration = JobWorker.Configuration(owner: owner)
        configuration.leaseDuration = lease
        configuration.checkpointInterval = .milliseconds(20)
        return JobWorker(configuration, pool: pool, log: Self.silent)
    }

    /// Runs workers while `body` runs, then cancels them.
    func withWorkers<R: Sendable>(
        _ workers: [JobWorker], _ body: @Sendable @escaping () async throws -> R
    ) async throws -> R {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in workers { group.addTask { try await worker.run() } }
            defer { group.cancelAll() }
            return try await body()
        }
    }
}
