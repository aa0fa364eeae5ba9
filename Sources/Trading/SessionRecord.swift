internal import MarketData

/// What a backtest keeps of a session's events: the curve, the fills, and how often everything else happened.
package struct SessionRecord: EventSink {
    package private(set) var curve: EquityCurve
    package private(set) var fills: [Fill] = []
    package private(set) var failedOrders: [OrderReason: Int] = [:]
    package private(set) var orderCount = 0
    /// By the number of the rule, and by `place`.
    private var refusalCounts = [Int](repeating: 0, count: 1 + (RiskRule.allCases.map(\.rawValue).max() ?? 0))
    private var holdCounts = [Int](repeating: 0, count: HoldReason.kindCount)
    private var holdReasons = [HoldReason?](repeating: nil, count: HoldReason.kindCount)
    /// Of the account on the curve's last page.
    private var fillCount = -1
    private var cash = Amount.zero

    /// For one symbol of one series.
    package init(_ series: MarketSeries, rows: Range<Int>) { curve = EquityCurve(series, rows: rows) }

    /// How often each rule refused an order, and each hold was held.
    package var refusals: [RiskRule: Int] {
        var counts: [RiskRule: Int] = [:]
        for rule in RiskRule.allCases where refusalCounts[rule.rawValue] > 0 {
            counts[rule] = refusalCounts[rule.rawValue]
        }
        return counts
    }
    package var holds: [String: Int] {
        var counts: [String: Int] = [:]
        for case (let reason?, let count) in zip(holdReasons, holdCounts) { counts[reason.name] = count }
        return counts
    }

    @inline(__always)
    mutating func record(_ event: @autoclosure () -> SessionEvent) {
        switch event() {
        case .equity, .funding, .killSwitch, .order: break
        case .fill(let fill): fills.append(fill)
        case .refusal(_, _, let refusal): refuse(refusal.rule)
        case .hold(_, _, let reason): hold(reason)
        }
    }

    @inline(__always)
    mutating func record(_ state: OrderState, _ reason: OrderReason?, _ order: @autoclosure () -> Order) {
        if state == .new { orderCount += 1 }
        if let reason { failedOrders[reason, default: 0] += 1 }
    }

    @inline(__always)
    mutating func refuse(_ rule: RiskRule) { refusalCounts[rule.rawValue] += 1 }

    @inline(__always)
    mutating func hold(_ reason: HoldReason) {
        let kind = reason.kind
        if holdCounts[kind] == 0 { holdReasons[kind] = reason }
        holdCounts[kind] += 1
    }

    @inline(__always)
    mutating func mark(
        equity: Double, peak: Double, cash: Amount, fillCount: Int, _ point: @autoclosure () -> EquityPoint
    ) {
        if fillCount != self.fillCount || cash != self.cash {
            (self.fillCount, self.cash) = (fillCount, cash)
            let point = point()
            curve.pages.append(
                .init(cash: point.cash, position: point.position, realised: point.realised, fees: point.fees))
        }
        mark(equity: equity, peak: peak)
    }

    /// The same for an account whose books are those of the last page.
    @inline(__always)
    mutating func mark(equity: Double, peak: Double) {
        curve.points.append(.init(equity: equity, peak: peak, page: curve.pages.count - 1))
    }
}

extension HoldReason {
    static let kindCount = 20

    /// A number below `kindCount` for each `name`.
    var kind: Int {
        switch self {
        case .noMarketData: 0
        case .duplicateDecision: 1
        case .orderInFlight: 2
        case .atTarget: 3
        case .tooSmall(let rule, _, _):
            switch rule {
            case .lotSize: 4
            case .minQuantity: 5
            case .maxQuantity: 6
            case .minNotional: 7
            case .insufficientBalance: 8
            case .insufficientMargin: 9
            case .shortNotAllowed: 10
            case .noTrades: 11
            case .notSent: 12
            case .killSwitch: 13
            case .outOfRange: 14
            case .tickSize: 15
            case .makerOnly: 16
            case .noLiquidity: 17
            case .duplicate: 18
            case .tooManyOrders: 19
            }
        }
    }
}
