public import MarketData
internal import Trading

/// What a backtest found, as it is stored and read again. Fractions are absolute (0.05 is 5 %), money is in the quote
/// currency.
public struct BacktestReport: Sendable, Equatable, Codable {
    public struct Statistics: Sendable, Equatable, Codable {
        public var totalReturn: Double
        public var annualisedReturn: Double?
        public var sharpe: Double?
        public var sortino: Double?
        public var maxDrawdown: Double
        public var calmar: Double?
        public var roundTrips: Int
        public var winRate: Double?
        public var profitFactor: Double?
        public var turnover: Double
        public var relativeTurnover: Double
        public var fees: Double
        /// What spread, slippage and impact took.
        public var executionCosts: Double
        /// Net, received.
        public var funding: Double
        public var averageExposure: Double
        public var finalEquity: Double

        public init(_ result: BacktestResult) {
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
            funding = result.session.ledger.funding.double
            averageExposure = found.averageExposure
            finalEquity = result.equity.last ?? 0
        }
    }

    /// The account at one close, written as `[microseconds since 1970, equity, exposure, price]`; exposure is signed.
    public struct Point: Sendable, Equatable, Codable {
        public var time: Timestamp
        public var equity: Double
        public var exposure: Double
        public var price: Double

        public init(time: Timestamp, equity: Double, exposure: Double, price: Double) {
            self.time = time
            self.equity = equity
            self.exposure = exposure
            self.price = price
        }

        public init(from decoder: any Decoder) throws {
            var values = try decoder.unkeyedContainer()
            time = Timestamp(microseconds: try values.decode(Int64.self))
            equity = try values.decode(Double.self)
            exposure = try values.decode(Double.self)
            price = try values.decode(Double.self)
        }

        public func encode(to encoder: any Encoder) throws {
            var values = encoder.unkeyedContainer()
            try values.encode(time.microseconds)
            try values.encode(equity)
            try values.encode(exposure)
            try values.encode(price)
        }
    }

    public struct FillRow: Sendable, Equatable, Codable {
        public var orderId: String
        public var timeMicroseconds: Int64
        public var side: String
        /// Decimal texts.
        public var price: String
        public var quantity: String
        public var fee: String
    }

    /// What was asked for at a close, written as `[microseconds since 1970, target exposure]`; bars without a decision
    /// have none.
    public struct Target: Sendable, Equatable, Codable {
        public var time: Timestamp
        public var exposure: Double

        public init(time: Timestamp, exposure: Double) {
            self.time = time
            self.exposure = exposure
        }

        public init(from decoder: any Decoder) throws {
            var values = try decoder.unkeyedContainer()
            time = Timestamp(microseconds: try values.decode(Int64.self))
            exposure = try values.decode(Double.self)
        }

        public func encode(to encoder: any Encoder) throws {
            var values = encoder.unkeyedContainer()
            try values.encode(time.microseconds)
            try values.encode(exposure)
        }
    }

    /// One calendar month, UTC.
    public struct Month: Sendable, Equatable, Codable {
        /// `2026-03`.
        public var month: String
        public var totalReturn: Double
        public var maxDrawdown: Double
        public var fills: Int
        public var fees: Double
    }

    public var statistics: Statistics
    public var bars: Int
    public var decisions: Int
    public var orderCount: Int
    public var fillCount: Int
    /// By rule, by reason, by reason.
    public var refusals: [String: Int]
    public var holds: [String: Int]
    public var failedOrders: [String: Int]
    public var months: [Month]
    public var equity: [Point]

    public static let pointLimit = 2000

    public init(_ result: BacktestResult, pointLimit: Int = pointLimit) {
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
        months = Self.months(result)
        let points = Self.thinned(result.curve, to: pointLimit)
        equity = points.map {
            let side: Double = $0.position < .zero ? -1 : 1
            return Point(time: $0.time, equity: $0.equity, exposure: side * $0.leverage, price: $0.price)
        }
    }

    /// At most `limit` fills, in order of time.
    public static func fills(_ result: BacktestResult, limit: Int) -> [FillRow] {
        result.fills.prefix(limit).map { fill in
            FillRow(
                orderId: fill.orderID.description, timeMicroseconds: fill.time.microseconds, side: fill.side.rawValue,
                price: fill.price.description, quantity: fill.quantity.description, fee: fill.fee.description)
        }
    }

    /// At most `limit` targets, in order of time.
    public static func targets(_ result: BacktestResult, limit: Int) -> [Target] {
        var targets: [Target] = []
        for (point, target) in zip(result.curve, result.targets) where targets.count < limit {
            if let target, target.isFinite { targets.append(Target(time: point.time, exposure: target)) }
        }
        return targets
    }

    /// A month begins with the equity at the last close before it; what is filled at a month's first open is its own.
    static func months(_ result: BacktestResult) -> [Month] {
        func name(_ time: Timestamp) -> String { String(time.description.prefix(7)) }
        guard var last = result.curve.first?.equity else { return [] }
        var months: [Month] = []
        var curve: [Double] = []
        func close(_ month: String) {
            let fills = result.fills.filter { name($0.time) == month }
            months.append(
                Month(
                    month: month, totalReturn: (curve.last ?? last) / last - 1,
                    maxDrawdown: PerformanceStatistics.maxDrawdown([last] + curve), fills: fills.count,
                    fees: fills.reduce(0) { $0 + $1.fee.double }))
            last = curve.last ?? last
            curve = []
        }
        // A bar belongs to the month that it opened in; only another day can be another month.
        func opened(_ point: EquityPoint) -> Timestamp { Timestamp(microseconds: point.time.microseconds - 1) }
        func day(_ point: EquityPoint) -> Timestamp { opened(point).floored(to: .days(1)) }
        let first = result.curve.count > 1 ? result.curve[1] : result.curve[0]
        var (current, today) = (name(opened(first)), day(first))
        for point in result.curve.dropFirst() {
            if day(point) != today {
                today = day(point)
                let month = name(opened(point))
                if month != current {
                    close(current)
                    current = month
                }
            }
            curve.append(point.equity)
        }
        close(current)
        return months
    }

    /// A fraction for people: `-1.25 %`.
    public static func percent(_ fraction: Double) -> String { "\((fraction * 1e4).rounded() / 100) %" }

    /// At most `limit` (≥ 2) of the points, evenly spaced, the first and the last among them.
    public static func thinned<C: RandomAccessCollection>(_ points: C, to limit: Int) -> [C.Element]
    where C.Index == Int {
        guard points.count > limit else { return Array(points) }
        return (0..<limit).map { points[points.startIndex + $0 * (points.count - 1) / (limit - 1)] }
    }
}
