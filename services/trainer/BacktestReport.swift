internal import Evaluation
internal import MarketData
internal import Trading

/// What a backtest found, as jobs store it. Fractions are absolute (0.05 is 5 %), money is in the quote currency.
struct BacktestReport: Encodable {
    struct Statistics: Encodable {
        var totalReturn: Double
        var annualisedReturn: Double?
        var sharpe: Double?
        var sortino: Double?
        var maxDrawdown: Double
        var calmar: Double?
        var roundTrips: Int
        var winRate: Double?
        var profitFactor: Double?
        var turnover: Double
        var relativeTurnover: Double
        var fees: Double
        var executionCosts: Double
        var averageExposure: Double
        var finalEquity: Double

        init(_ result: BacktestResult) {
            let found = result.statistics
            totalReturn = found.totalReturn
            annualisedReturn = found.annualisedReturn
            sharpe = found.sharpe
            sortino = found.sortino
            maxDrawdown = found.maxDrawdown
            calmar = found.calmar
            roundTrips = found.roundTripCount
            winRate = found.winRate
            profitFactor = found.profitFactor
            turnover = found.turnover
            relativeTurnover = found.relativeTurnover
            fees = found.fees
            executionCosts = found.executionCosts
            averageExposure = found.averageExposure
            finalEquity = result.equity.last ?? 0
        }
    }

    /// One point of a curve, written as `[microseconds since 1970, equity]`.
    struct Point: Encodable {
        var time: Timestamp
        var equity: Double

        func encode(to encoder: any Encoder) throws {
            var values = encoder.unkeyedContainer()
            try values.encode(time.microseconds)
            try values.encode(equity)
        }
    }

    struct FillRow: Encodable {
        var orderId: String
        var timeMicroseconds: Int64
        var side: String
        /// Decimal texts.
        var price: String
        var quantity: String
        var fee: String
    }

    var statistics: Statistics
    var bars: Int
    var decisions: Int
    var orderCount: Int
    var fillCount: Int
    /// By rule, by reason, by reason.
    var refusals: [String: Int]
    var holds: [String: Int]
    var failedOrders: [String: Int]
    var equity: [Point]

    static let pointLimit = 2000

    init(_ result: BacktestResult, pointLimit: Int = pointLimit) {
        statistics = Statistics(result)
        bars = result.curve.count
        decisions = result.targets.count { $0 != nil }
        orderCount = result.orderCount
        fillCount = result.fills.count
        refusals = [:]
        for (rule, count) in result.refusals { refusals[rule.name, default: 0] += count }
        holds = result.holds
        failedOrders = [:]
        for (reason, count) in result.failedOrders { failedOrders[reason.rawValue, default: 0] += count }
        equity = Self.thinned(result.curve.map { Point(time: $0.time, equity: $0.equity) }, to: pointLimit)
    }

    static func fills(_ result: BacktestResult, limit: Int) -> [FillRow] {
        result.fills.prefix(limit).map { fill in
            FillRow(
                orderId: fill.orderID.description, timeMicroseconds: fill.time.microseconds, side: fill.side.rawValue,
                price: fill.price.description, quantity: fill.quantity.description, fee: fill.fee.description)
        }
    }

    /// A fraction for people: `-1.25 %`.
    static func percent(_ fraction: Double) -> String { "\((fraction * 1e4).rounded() / 100) %" }

    /// At most `limit` (≥ 2) of the points, evenly spaced, the first and the last among them.
    static func thinned<T>(_ points: [T], to limit: Int) -> [T] {
        guard points.count > limit else { return points }
        return (0..<limit).map { points[$0 * (points.count - 1) / (limit - 1)] }
    }
}
