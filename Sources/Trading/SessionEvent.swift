public import MarketData

/// Why a decision made no order although no rule forbade it.
public enum HoldReason: Sendable, Equatable {
    /// No bar of the symbol has been seen.
    case noMarketData
    /// A decision about this bar or a later one was taken before.
    case duplicateDecision
    /// The order before it has not ended.
    case orderInFlight
    /// The position is what the decision wants.
    case atTarget
    /// The exchange would not take so small an order. `rule` says by which of its rules (`lotSize`, `minQuantity`: in
    /// base units; `minNotional`: in the quote currency), `wanted` is what the decision asks for.
    case tooSmall(rule: OrderReason, wanted: Double, minimum: Double)

    /// For storage and counting: `no_market_data`, …, `too_small.min_notional`.
    public var name: String {
        switch self {
        case .noMarketData: "no_market_data"
        case .duplicateDecision: "duplicate_decision"
        case .orderInFlight: "order_in_flight"
        case .atTarget: "at_target"
        case .tooSmall(let rule, _, _): "too_small." + rule.rawValue
        }
    }
}

/// What becomes of a decision.
public enum Plan: Sendable, Equatable {
    /// Store it, then `send` it.
    case order(Order)
    case hold(HoldReason)
    case refuse(Refusal)
}

/// The account after a bar of `symbol`.
public struct EquityPoint: Sendable, Equatable {
    /// The bar's close.
    public var time: Timestamp
    public var symbol: String
    public var cash: Amount
    /// The symbol's position, signed.
    public var position: Quantity
    /// The symbol's closing price.
    public var price: Double
    /// Of the whole account, in the quote currency.
    public var equity: Double
    /// Σ |position|·price over equity; 0 when equity is not positive.
    public var leverage: Double
    /// 1 − equity over its highest value so far.
    public var drawdown: Double
    public var realised: Amount
    public var fees: Amount

    public init(
        time: Timestamp, symbol: String, cash: Amount, position: Quantity, price: Double, equity: Double,
        leverage: Double, drawdown: Double, realised: Amount, fees: Amount
    ) {
        self.time = time
        self.symbol = symbol
        self.cash = cash
        self.position = position
        self.price = price
        self.equity = equity
        self.leverage = leverage
        self.drawdown = drawdown
        self.realised = realised
        self.fees = fees
    }
}

/// All that happens in a session and is worth storing, in its order.
public enum SessionEvent: Sendable, Equatable {
    /// The order after a change of state.
    case order(Order)
    case fill(Fill)
    case refusal(DecisionKey, time: Timestamp, Refusal)
    case hold(DecisionKey, time: Timestamp, HoldReason)
    case equity(EquityPoint)
    /// Positive is received.
    case funding(symbol: String, time: Timestamp, rate: Double, amount: Amount)
    /// `cause` is the loss limit that set it, `nil` where a person did.
    case killSwitch(KillSwitch, time: Timestamp, cause: Refusal?)
}

/// Where a session's events go: an array, a record that counts them, or nowhere; what is not kept is not even made.
protocol EventSink {
    mutating func record(_ event: @autoclosure () -> SessionEvent)
    /// An order that has come to `state`.
    mutating func record(_ state: OrderState, _ reason: OrderReason?, _ order: @autoclosure () -> Order)
    /// The account after a bar; `point` is all of it, for whoever keeps more than the numbers before it.
    mutating func mark(
        equity: Double, peak: Double, cash: Amount, fillCount: Int, _ point: @autoclosure () -> EquityPoint)
}

extension [SessionEvent]: EventSink {
    @inline(__always)
    mutating func record(_ event: @autoclosure () -> SessionEvent) { append(event()) }

    @inline(__always)
    mutating func record(_ state: OrderState, _ reason: OrderReason?, _ order: @autoclosure () -> Order) {
        append(.order(order()))
    }

    @inline(__always)
    mutating func mark(
        equity: Double, peak: Double, cash: Amount, fillCount: Int, _ point: @autoclosure () -> EquityPoint
    ) { append(.equity(point())) }
}

struct NoEvents: EventSink {
    @inline(__always)
    mutating func record(_ event: @autoclosure () -> SessionEvent) {}

    @inline(__always)
    mutating func record(_ state: OrderState, _ reason: OrderReason?, _ order: @autoclosure () -> Order) {}

    @inline(__always)
    mutating func mark(
        equity: Double, peak: Double, cash: Amount, fillCount: Int, _ point: @autoclosure () -> EquityPoint
    ) {}
}
