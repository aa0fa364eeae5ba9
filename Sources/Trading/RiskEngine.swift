public import MarketData

/// What stops the account from trading, whatever the policy says.
public enum KillSwitch: UInt8, Sendable, CaseIterable {
    case off = 0
    /// Nothing is traded any more; positions stay as they are.
    case freeze
    /// Every decision counts as "hold nothing": positions are closed and not opened.
    case flatten
}

/// The rules before every order, in the order in which they are checked. Numbers and names are stored.
public enum RiskRule: Int, Sendable, CaseIterable {
    /// The exposure is NaN or outside [−1, 1]. limit 1, actual the exposure.
    case invalidDecision = 1
    case killSwitch = 2
    /// Seconds between the decision and the newest bar, or between the bars of both.
    case staleData = 3
    /// Relative distance of the expected price, or of the decision's, from the mid.
    case priceCollar = 4
    /// Orders in the last 60 seconds of event time.
    case maxOrdersPerMinute = 5
    /// In the quote currency.
    case maxOrderNotional = 6
    /// |position|·price after the order, in the quote currency.
    case maxPosition = 7
    /// Σ |position|·price after the order over equity.
    case maxLeverage = 8
    /// Loss since the start of the UTC day as a fraction of the equity then.
    case maxDailyLoss = 9
    /// 1 − equity over its highest value.
    case maxDrawdown = 10

    public var name: String {
        switch self {
        case .invalidDecision: "invalid_decision"
        case .killSwitch: "kill_switch"
        case .staleData: "stale_data"
        case .priceCollar: "price_collar"
        case .maxOrdersPerMinute: "max_orders_per_minute"
        case .maxOrderNotional: "max_order_notional"
        case .maxPosition: "max_position"
        case .maxLeverage: "max_leverage"
        case .maxDailyLoss: "max_daily_loss"
        case .maxDrawdown: "max_drawdown"
        }
    }
}

/// An order that was not made, with the rule and the numbers that forbade it.
public struct Refusal: Sendable, Equatable {
    public var rule: RiskRule
    public var limit: Double
    public var actual: Double

    public init(rule: RiskRule, limit: Double, actual: Double) {
        self.rule = rule
        self.limit = limit
        self.actual = actual
    }
}

/// The limits of one account; `nil` is no limit. What reduces a position is never refused for being too large a
/// position, too much leverage or too great a loss.
public struct RiskLimits: Sendable, Equatable {
    /// Quote currency, an instrument. Default none.
    public var maxPositionNotional: Double?
    /// Σ |position|·price over equity. Default 1.
    public var maxLeverage: Double?
    /// Quote currency, an order. Default none.
    public var maxOrderNotional: Double?
    /// By event time. Default 60; at most 600.
    public var maxOrdersPerMinute: Int?
    /// Fraction of the mid. Default 0.05, Binance's own band for perpetuals.
    public var priceCollar: Double?
    /// Default 30 s: a decision about the bar before the newest one is too old on one-minute bars.
    public var maxDataAge: Interval?
    /// Fraction of the equity at the start of the UTC day. Default 0.2.
    public var maxDailyLoss: Double?
    /// Fraction of the highest equity. Default 0.5.
    public var maxDrawdown: Double?
    /// What the kill switch is set to when a loss limit is passed; `off` only refuses new exposure. Default off.
    public var onLossLimit: KillSwitch

    public init(
        maxPositionNotional: Double? = nil, maxLeverage: Double? = 1, maxOrderNotional: Double? = nil,
        maxOrdersPerMinute: Int? = 60, priceCollar: Double? = 0.05, maxDataAge: Interval? = .seconds(30),
        maxDailyLoss: Double? = 0.2, maxDrawdown: Double? = 0.5, onLossLimit: KillSwitch = .off
    ) {
        self.maxPositionNotional = maxPositionNotional
        self.maxLeverage = maxLeverage
        self.maxOrderNotional = maxOrderNotional
        self.maxOrdersPerMinute = maxOrdersPerMinute
        self.priceCollar = priceCollar
        self.maxDataAge = maxDataAge
        self.maxDailyLoss = maxDailyLoss
        self.maxDrawdown = maxDrawdown
        self.onLossLimit = onLossLimit
    }

    /// No limit at all: for tests of what lies below.
    public static let none = RiskLimits(
        maxLeverage: nil, maxOrdersPerMinute: nil, priceCollar: nil, maxDataAge: nil, maxDailyLoss: nil,
        maxDrawdown: nil)

    func validate() throws(TradingError) {
        let positives = [maxPositionNotional, maxLeverage, maxOrderNotional, priceCollar, maxDailyLoss, maxDrawdown]
        for case let limit? in positives where !(limit > 0) {
            throw .invalidConfiguration(reason: "risk limits must be positive")
        }
        if let rate = maxOrdersPerMinute, !(1...600).contains(rate) {
            throw .invalidConfiguration(reason: "maxOrdersPerMinute must be in 1 ... 600")
        }
        if let age = maxDataAge, age.microseconds < 0 {
            throw .invalidConfiguration(reason: "maxDataAge must not be negative")
        }
    }
}

/// The last gate before an order, with the memory that its rules need. Time is the events'.
public struct RiskEngine: Sendable, Equatable {
    public var limits: RiskLimits
    public internal(set) var killSwitch = KillSwitch.off
    /// The highest equity seen, and the equity at the start of the current UTC day.
    public internal(set) var peakEquity: Double
    public internal(set) var dayStartEquity: Double
    /// The end of the current UTC day in microseconds, `Int64.min` before the first bar.
    var dayEnd = Int64.min
    /// Times of the last orders in microseconds, a ring of `maxOrdersPerMinute`; `next` is the oldest.
    var orderTimes: [Int64]
    var next = 0

    public init(limits: RiskLimits, equity: Double) {
        self.limits = limits
        peakEquity = equity
        dayStartEquity = equity
        orderTimes = Array(repeating: .min, count: limits.maxOrdersPerMinute ?? 0)
    }

    /// What an order would do, as the rules see it. Money in the quote currency.
    public struct Proposal: Sendable {
        public var time: Timestamp
        public var notional: Double
        /// |position|·price of the instrument before and after, and Σ over the account after.
        public var positionBefore: Double
        public var positionAfter: Double
        public var grossAfter: Double
        public var equity: Double
        public var mid: Double
        public var expectedPrice: Double
        public var referencePrice: Double?
        /// The position shrinks without changing side.
        public var isReduction: Bool
    }

    /// The share of the highest equity that is lost at `equity`.
    public func drawdown(at equity: Double) -> Double { peakEquity > 0 ? 1 - equity / peakEquity : 0 }
    func dailyLoss(at equity: Double) -> Double { dayStartEquity > 0 ? 1 - equity / dayStartEquity : 0 }

    /// Takes in the account's equity after a bar. Returns the rule that has set the kill switch with it, if one has.
    mutating func mark(equity: Double, equityBefore: Double, barTime: Timestamp) -> Refusal? {
        if barTime.microseconds >= dayEnd {
            dayEnd = (barTime.floored(to: .days(1)) + .days(1)).microseconds
            dayStartEquity = equityBefore
        }
        peakEquity = max(peakEquity, equity)
        guard limits.onLossLimit != .off, killSwitch == .off, let breach = lossBreach(equity) else { return nil }
        killSwitch = limits.onLossLimit
        return breach
    }

    /// The first rule that forbids the order, or `nil`.
    public func check(_ order: Proposal) -> Refusal? {
        if killSwitch == .freeze || (killSwitch == .flatten && !order.isReduction) {
            return Refusal(rule: .killSwitch, limit: 0, actual: Double(killSwitch.rawValue))
        }
        if let collar = limits.priceCollar {
            var distance = abs(order.expectedPrice / order.mid - 1)
            if let reference = order.referencePrice { distance = max(distance, abs(reference / order.mid - 1)) }
            guard distance <= collar else { return Refusal(rule: .priceCollar, limit: collar, actual: distance) }
        }
        if let rate = limits.maxOrdersPerMinute, let refusal = tooMany(at: order.time, limit: rate) {
            return refusal
        }
        if order.isReduction { return nil }
        if let limit = limits.maxOrderNotional, order.notional > limit {
            return Refusal(rule: .maxOrderNotional, limit: limit, actual: order.notional)
        }
        if let limit = limits.maxPositionNotional, order.positionAfter > limit {
            return Refusal(rule: .maxPosition, limit: limit, actual: order.positionAfter)
        }
        if let limit = limits.maxLeverage, order.grossAfter > limit * order.equity {
            return Refusal(rule: .maxLeverage, limit: limit, actual: order.grossAfter / order.equity)
        }
        return lossBreach(order.equity)
    }

    /// Whether the decision and the newest bar belong together. `age` is not negative.
    func checkAge(_ age: Interval) -> Refusal? {
        guard let limit = limits.maxDataAge, age > limit else { return nil }
        return Refusal(rule: .staleData, limit: limit.seconds, actual: age.seconds)
    }

    /// Remembers that an order was made.
    mutating func record(orderAt time: Timestamp) {
        guard !orderTimes.isEmpty else { return }
        orderTimes[next] = time.microseconds
        next = next + 1 == orderTimes.count ? 0 : next + 1
    }

    private func tooMany(at time: Timestamp, limit: Int) -> Refusal? {
        guard !orderTimes.isEmpty, orderTimes[next] > time.microseconds - 60_000_000 else { return nil }
        return Refusal(rule: .maxOrdersPerMinute, limit: Double(limit), actual: Double(limit + 1))
    }

    private func lossBreach(_ equity: Double) -> Refusal? {
        if let limit = limits.maxDailyLoss, dailyLoss(at: equity) > limit {
            return Refusal(rule: .maxDailyLoss, limit: limit, actual: dailyLoss(at: equity))
        }
        if let limit = limits.maxDrawdown, drawdown(at: equity) > limit {
            return Refusal(rule: .maxDrawdown, limit: limit, actual: drawdown(at: equity))
        }
        return nil
    }
}
