public import MarketData
public import Trading

/// What a policy under test may know at the close of a bar, beside the observation.
public struct BacktestContext: Sendable {
    /// The bar's row in the series. Rows after it are the future: a policy that reads them is cheating.
    public var row: Int
    public var bar: Bar
    /// Signed, in base units.
    public var position: Double
    /// position·price over equity, signed.
    public var exposure: Double
    /// The target of the decision before, in [−1, 1].
    public var previousTarget: Double
    /// In the quote currency.
    public var equity: Double
}

/// A policy under test: the target exposure in [−1, 1] at the close of a bar, or `nil` for no decision, which leaves
/// the position as it is. NaN is refused by the risk engine, and counted.
public typealias BacktestPolicy = (Span<Float>, BacktestContext) -> Double?

/// What a backtest found. Positions still open at the end are marked at the last close, not sold.
public struct BacktestResult: Sendable {
    /// The rows between whose closes the account was watched: the first decision is taken at the lower bound.
    public var rows: Range<Int>
    public var interval: Interval
    /// The account at each close of `rows`.
    public var curve: EquityCurve
    /// What the policy asked for at each close but the last; `nil` where it asked for nothing.
    public var targets: [Double?]
    public var fills: [Fill]
    /// How often each rule refused, each hold was held, each reason ended an order.
    public var refusals: [RiskRule: Int]
    public var holds: [String: Int]
    public var failedOrders: [OrderReason: Int]
    public var orderCount: Int
    /// The account at the end.
    public var session: TradingSession

    /// In the quote currency, the capital first.
    public var equity: [Double] { curve.equity }

    public var statistics: PerformanceStatistics {
        PerformanceStatistics(equity: equity, exposure: curve.leverages, fills: fills, interval: interval)
    }

    /// One interval's simple returns, for `Significance`.
    public var returns: [Double] { PerformanceStatistics.returns(equity) }
}

/// Runs a policy over history through the same `TradingSession` as training and paper trading, bar by bar, in the order
/// of things as they happen live: bar t closes, the policy decides, the order is filled at the open of bar t+1. Funding
/// is settled between them, at its own times, on what is held then.
public struct Backtest: Sendable {
    public var session: TradingSession.Configuration
    /// Rows of an observation.
    public var window: Int
    /// Part of each order's id.
    public var modelVersion: String
    /// The settlements of the instrument's funding, in order of time, each with its own interval; those outside the
    /// span are passed over. Spot pays none.
    public var funding: [Stamped<FundingRate>]

    public init(
        session: TradingSession.Configuration, window: Int = 16, modelVersion: String = "backtest",
        funding: [Stamped<FundingRate>] = []
    ) {
        self.session = session
        self.window = window
        self.modelVersion = modelVersion
        self.funding = funding
    }

    /// Runs `policy` over the rows of `span`, of which the first window − 1 only fill the first observation. Throws
    /// `invalidSeries` for a span outside the series or shorter than window + 1 and for funding that is not in order of
    /// time, and what the session throws.
    public func run(
        on series: MarketSeries, span: Range<Int>, policy: BacktestPolicy
    ) throws(TradingError) -> BacktestResult {
        let rows = try rows(of: series, span)
        guard zip(funding, funding.dropFirst()).allSatisfy({ $0.time < $1.time }) else {
            throw .invalidSeries(reason: "funding is not in order of time")
        }
        var due = 0
        var session = try TradingSession(session)
        let index = try index(of: series, in: session)
        let layout = ObservationLayout(window: window, featureCount: series.featureCount)
        var record = SessionRecord(series, rows: rows)
        var observation = [Float](repeating: 0, count: layout.count)
        var targets: [Double?] = []
        targets.reserveCapacity(rows.count)
        for row in rows {
            let bar = series.bars[row]
            let settled = due
            while due < funding.count, funding[due].time < bar.closeTime { due += 1 }
            try session.onBar(at: index, bar, funding: funding[settled..<due], into: &record)
            guard row + 1 < rows.upperBound else { break }
            let previous = session.targetExposure(at: index)
            var target = observation.mutableSpan
            series.observe(row, layout, previousExposure: Float(previous), into: &target)
            let context = BacktestContext(
                row: row, bar: bar, position: session.position(at: index).double,
                exposure: session.exposure(at: index), previousTarget: previous, equity: session.equity)
            let exposure = policy(observation.span, context)
            targets.append(exposure)
            guard let exposure else { continue }
            let decision = Decision(
                symbol: series.symbol, barTime: bar.openTime, modelVersion: modelVersion, targetExposure: exposure,
                time: bar.closeTime, referencePrice: bar.close)
            try session.act(decision, at: index, into: &record)
        }
        return try result(record, session, rows, series.interval, targets)
    }

    /// Runs decisions that were made beforehand: `signal[row]` is the target exposure at the close of that row of the
    /// series, `nil` for no decision. The same as `run` with a policy that answers `signal[context.row]`, bit for bit,
    /// and many times as fast, because nothing is observed and bars on which nothing happens cost a few
    /// instructions.
    ///
    /// A signal is only as honest as its maker: what it says at a row must not know more than that row's close. Throws
    /// as the other does, and `invalidSeries` when the signal has not one element a row of the series.
    public func run(
        on series: MarketSeries, span: Range<Int>, signal: [Double?]
    ) throws(TradingError) -> BacktestResult {
        let rows = try rows(of: series, span)
        guard signal.count == series.count else {
            throw .invalidSeries(reason: "the signal has \(signal.count) elements for \(series.count) rows")
        }
        guard funding.isEmpty else { return try run(on: series, span: span) { _, context in signal[context.row] } }
        var session = try TradingSession(session)
        let index = try index(of: series, in: session)
        var record = SessionRecord(series, rows: rows)
        let targets = Array(signal[rows.dropLast()])
        try session.replay(
            series, rows: rows, at: index, targets: targets.span, modelVersion: modelVersion, into: &record)
        return try result(record, session, rows, series.interval, targets)
    }

    private func rows(of series: MarketSeries, _ span: Range<Int>) throws(TradingError) -> Range<Int> {
        guard window >= 1, span.lowerBound >= 0, span.upperBound <= series.count, span.count > window else {
            throw .invalidSeries(reason: "the span needs window + 1 rows within the series")
        }
        return (span.lowerBound + window - 1)..<span.upperBound
    }

    private func index(of series: MarketSeries, in session: TradingSession) throws(TradingError) -> Int {
        guard let index = session.index(of: series.symbol) else { throw .unknownSymbol(series.symbol) }
        return index
    }

    private func result(
        _ record: SessionRecord, _ session: TradingSession, _ rows: Range<Int>, _ interval: Interval,
        _ targets: [Double?]
    ) throws(TradingError) -> BacktestResult {
        try session.checkInvariants()
        return BacktestResult(
            rows: rows, interval: interval, curve: record.curve, targets: targets, fills: record.fills,
            refusals: record.refusals, holds: record.holds, failedOrders: record.failedOrders,
            orderCount: record.orderCount, session: session)
    }
}
