internal import Evaluation
internal import Features
internal import MarketData
internal import Policies
internal import Storage
internal import Trading

/// What a job of kind `backtest` is to do: run a stored policy over a span of a stream's stored features.
struct BacktestSpecification: Decodable, Equatable {
    var stream: String
    /// Must be the stream's, where given.
    var exchange: String?
    var symbol: String
    /// Name of the model; default `policy`.
    var model: String
    /// 0, the default: the live one.
    var version: Int64
    /// Decisions begin with the first bar that closes at or after `from`; the last bar closes before `to`.
    var from: Timestamp
    var to: Timestamp
    /// Default: the stream's.
    var account: AccountSettings?
    /// Of the random baseline. Default 1.
    var seed: UInt64

    init(from decoder: any Decoder) throws {
        var reader = try SpecificationReader(decoder)
        stream = try reader.text("stream")
        exchange = try reader.optional("exchange", as: String.self)
        symbol = try reader.text("symbol")
        model = try reader.text("model", default: "policy")
        version = Int64(try reader.number("version", default: 0, in: 0...Int.max))
        from = try reader.time("from")
        to = try reader.time("to")
        account = try reader.account("account")
        seed = try reader.field("seed", default: 1)
        try reader.finish()
        if from >= to { throw reader.fault("to", "is not after “from”") }
    }
}

/// Runs a policy over history as execution-service would: the same features, normaliser, session and terms, bar by bar.
/// On the same stream its fills are those of the paper account.
struct BacktestJob {
    private let context: JobContext
    private let specification: BacktestSpecification

    /// Longer lists of fills and targets are cut: a result is read as a whole.
    private static let listLimit = 5000

    init(_ context: JobContext) throws {
        self.context = context
        specification = try SpecificationReader.read(BacktestSpecification.self, from: context.job.spec)
    }

    private struct Result: Encodable {
        var stream: String
        var symbol: String
        var model: ModelReference
        /// Close of the bar of the first decision, and of the last bar.
        var first: String
        var last: String
        var report: BacktestReport
        var fills: [BacktestReport.FillRow]
        var targets: [BacktestReport.Target]
        var baselines: [String: BacktestReport]
    }

    func run() async throws {
        let specification = specification
        try context.proceed(0, "loading the model")
        let model = try await StoredPolicy.load(specification.model, specification.version, context.pool)
        try context.proceed(0.05, "reading features")
        let data = try await PolicyHistory(
            model, stream: specification.stream, exchange: specification.exchange, symbol: specification.symbol,
            from: specification.from, to: specification.to, context)
        let (series, span) = (data.series, data.span)
        let account = try specification.account ?? AccountSettings(of: data.history.stream)
        // The paper account has the stream's name.
        let backtest = try data.backtest(account, account: specification.stream)
        try context.proceed(0.3, "running the policy")
        let result = try backtest.run(model.policy, on: series, span: span)
        try PlausibilityGuard.check(result)
        let baselines = try Baseline.reports(
            beside: result, backtest, on: series, span: span, seed: specification.seed
        ) { index, name in
            try context.proceed(0.5 + 0.1 * Double(index), "running the baseline \(name)")
        }
        try context.proceed(0.95, "storing the result")
        let answer = Result(
            stream: specification.stream, symbol: specification.symbol, model: ModelReference(model.record),
            first: "\(series.bars[result.rows.lowerBound].closeTime)",
            last: "\(series.bars[result.rows.upperBound - 1].closeTime)", report: BacktestReport(result),
            fills: BacktestReport.fills(result, limit: Self.listLimit),
            targets: BacktestReport.targets(result, limit: Self.listLimit), baselines: baselines)
        let json = try JSON(encoding: answer)
        let score = BacktestReport.percent(answer.report.statistics.totalReturn)
        let message = "\(score) in \(answer.report.bars) bars, \(answer.report.fillCount) fills"
        try await context.complete(message) { _ in json }
    }
}
