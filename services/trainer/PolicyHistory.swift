internal import Evaluation
internal import MarketData
internal import Policies
internal import Storage
internal import Trading

/// A stored policy with the bars that it is to be run over, as it would see them live.
struct PolicyHistory {
    let model: StoredPolicy
    let history: FeatureHistory
    let series: MarketSeries
    /// The bars that close in the span that was asked for.
    let rows: Range<Int>
    /// The same with the window before them, as far as it is there: where it is not full yet, policy-service abstains,
    /// and so there is no decision here.
    let span: Range<Int>
    private let rules: InstrumentRules

    /// Throws `JobError.badData` where the data are not there, or the policy was trained on other features.
    init(
        _ model: StoredPolicy, stream: String, exchange: String?, symbol: String, from: Timestamp, to: Timestamp,
        _ context: JobContext
    ) async throws {
        let window = model.policy.window
        self.model = model
        history = try await FeatureHistory(
            stream: stream, exchange: exchange, symbol: symbol, from: from, to: to, before: window - 1,
            modules: context.featureModules, pool: context.pool)
        try model.require(history.schema)
        rules = try await InstrumentRules.stored(symbol, of: history.stream, pool: context.pool)
        series = try history.series(model.normaliser)
        rows = history.rows(from: from, to: to)
        span = max(0, rows.lowerBound - (window - 1))..<rows.upperBound
    }

    /// A run on these terms. The account's name is part of every order's id.
    func backtest(_ settings: AccountSettings, account: String) throws -> Backtest {
        Backtest(
            session: try settings.session(account: account, instruments: [rules]), window: model.policy.window,
            modelVersion: "\(model.record.name).\(model.record.version)")
    }
}
