internal import Kernels
public import MarketData

/// How an account did: from its equity at equal intervals and from its fills.
///
/// Ratios are annualised by the true interval of the curve with years of 365 days, because these markets never close.
/// `nil` is "not defined": a ratio with nothing below its line, a mean of nothing.
public struct PerformanceStatistics: Sendable, Equatable {
    /// Last equity over the first − 1, as a fraction.
    public var totalReturn: Double
    /// (1 + totalReturn)^(1/years) − 1; −1 for a lost account, `nil` where it exceeds the number range.
    public var annualisedReturn: Double?
    /// Mean and sample standard deviation (n − 1) of one interval's simple returns.
    public var meanReturn: Double
    public var returnVolatility: Double?
    /// mean/volatility·√(intervals a year), risk-free rate 0.
    public var sharpe: Double?
    /// mean/√(mean of min(r, 0)²)·√(intervals a year), target 0.
    public var sortino: Double?
    /// The greatest 1 − equity over its highest value before, as a fraction.
    public var maxDrawdown: Double
    /// annualisedReturn/maxDrawdown.
    public var calmar: Double?
    /// Finished trades, and the share of them with a profit after fees.
    public var roundTripCount: Int
    public var winRate: Double?
    /// Σ profits over Σ losses of finished trades, after fees.
    public var profitFactor: Double?
    public var fillCount: Int
    /// Σ notional of the fills, in the quote currency, and over the mean equity.
    public var turnover: Double
    public var relativeTurnover: Double
    /// In the quote currency.
    public var fees: Double
    /// What spread, slippage and impact took, in the quote currency.
    public var executionCosts: Double
    /// Mean of |position|·price/equity over the curve.
    public var averageExposure: Double
    /// Returns that the figures rest on.
    public var intervalCount: Int

    /// `equity` begins with the capital and has one value an interval after it, all finite; at least two. `exposure` is
    /// |position|·price/equity at the same instants, or after the first. Traps on fewer than two values.
    public init(equity: [Double], exposure: [Double], fills: [Fill], interval: Interval) {
        precondition(equity.count >= 2 && interval.microseconds > 0, "statistics need a curve")
        let returns = Self.returns(equity)
        let intervalsPerYear = 1 / interval.years
        intervalCount = returns.count
        totalReturn = equity[equity.count - 1] / equity[0] - 1
        let annual = Self.annualised(totalReturn, years: Double(returns.count) * interval.years)
        annualisedReturn = annual
        let (mean, deviation) = Self.meanAndDeviation(returns)
        meanReturn = mean
        returnVolatility = deviation
        sharpe = Self.sharpe(returns).map { $0 * intervalsPerYear.squareRoot() }
        let downside = (returns.reduce(0) { $0 + min($1, 0) * min($1, 0) } / Double(returns.count)).squareRoot()
        sortino = downside > 0 ? mean / downside * intervalsPerYear.squareRoot() : nil
        let drawdown = Self.maxDrawdown(equity)
        maxDrawdown = drawdown
        calmar = drawdown > 0 ? annual.map { $0 / drawdown } : nil

        var trips: [RoundTrip] = []
        for symbol in Set(fills.map(\.symbol)).sorted() {
            trips += RoundTrip.trips(in: fills.lazy.filter { $0.symbol == symbol })
        }
        roundTripCount = trips.count
        winRate = trips.isEmpty ? nil : Double(trips.count { $0.net > 0 }) / Double(trips.count)
        let losses = trips.reduce(0) { $0 - min($1.net, 0) }
        profitFactor = losses > 0 ? trips.reduce(0) { $0 + max($1.net, 0) } / losses : nil
        fillCount = fills.count
        turnover = fills.reduce(0) { $0 + $1.notional.double }
        relativeTurnover = turnover / (equity.reduce(0, +) / Double(equity.count))
        fees = fills.reduce(0) { $0 + $1.fee.double }
        executionCosts = fills.reduce(0) { $0 + $1.executionCost }
        averageExposure = exposure.isEmpty ? 0 : exposure.reduce(0, +) / Double(exposure.count)
    }

    /// Simple returns of a curve; after a value that is not positive there is nothing to earn, and they are 0.
    public static func returns(_ equity: [Double]) -> [Double] {
        zip(equity.dropFirst(), equity).map { after, before in before > 0 ? after / before - 1 : 0 }
    }

    /// The greatest 1 − equity over its highest value before, as a fraction.
    public static func maxDrawdown(_ equity: [Double]) -> Double {
        var (peak, worst) = (-Double.infinity, 0.0)
        for value in equity {
            peak = max(peak, value)
            if peak > 0 { worst = max(worst, 1 - value / peak) }
        }
        return worst
    }

    /// mean/sample standard deviation, of one interval: not annualised. `nil` for fewer than two or equal returns.
    public static func sharpe(_ returns: [Double]) -> Double? {
        let (mean, deviation) = meanAndDeviation(returns)
        // Equal returns differ from their mean by rounding alone.
        guard let deviation, deviation > 1e-12 * abs(mean) else { return nil }
        return mean / deviation
    }

    static func meanAndDeviation(_ values: [Double]) -> (mean: Double, deviation: Double?) {
        guard !values.isEmpty else { return (0, nil) }
        let mean = values.reduce(0, +) / Double(values.count)
        guard values.count > 1 else { return (mean, nil) }
        let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        return (mean, (squares / Double(values.count - 1)).squareRoot())
    }

    static func annualised(_ totalReturn: Double, years: Double) -> Double? {
        guard totalReturn > -1 else { return -1 }
        let value = exp(log(1 + totalReturn) / years) - 1
        return value.isFinite ? value : nil
    }
}
