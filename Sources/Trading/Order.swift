public import MarketData

public enum Side: String, Sendable, CaseIterable {
    case buy, sell

    /// 1 for a purchase, −1 for a sale.
    @inlinable public var sign: Int64 { self == .buy ? 1 : -1 }
}

/// Where an order is in its life. The raw values are the ones that are stored.
public enum OrderState: String, Sendable, CaseIterable {
    /// Decided and stored, not yet on its way. Then: sent, cancelled or expired (never sent), rejected (by ourselves).
    case new
    /// On its way; the exchange has not answered. Then: anything but new.
    case sent
    /// The exchange has it. Then: fills, cancelled, expired, rejected (while matching), unknown.
    case acknowledged
    /// A part is filled. Then: more fills, cancelled, expired, unknown.
    case partiallyFilled = "partially_filled"
    /// Final: all of it is filled.
    case filled
    /// Final: taken back by us.
    case cancelled
    /// Final: the exchange refused it.
    case rejected
    /// Final: it lapsed at the exchange, or waited too long at ours.
    case expired
    /// The exchange did not say what became of it: it must be queried, never resent. Then: what the query says.
    case unknown

    public var isFinal: Bool {
        switch self {
        case .filled, .cancelled, .rejected, .expired: true
        case .new, .sent, .acknowledged, .partiallyFilled, .unknown: false
        }
    }

    /// Whether an order may go from this state to `next` in one step.
    public func canBecome(_ next: OrderState) -> Bool {
        switch (self, next) {
        case (.new, .sent), (.new, .cancelled), (.new, .expired), (.new, .rejected): true
        case (.sent, let next): next != .new && next != .sent
        case (.acknowledged, let next): next != .new && next != .sent && next != .acknowledged
        case (.partiallyFilled, .partiallyFilled), (.partiallyFilled, .filled), (.partiallyFilled, .cancelled),
            (.partiallyFilled, .expired), (.partiallyFilled, .unknown):
            true
        case (.unknown, let next): next != .new && next != .sent && next != .unknown
        default: false
        }
    }
}

/// Why an order ended without being filled. The raw values are the ones that are stored.
public enum OrderReason: String, Sendable, CaseIterable {
    /// Not a multiple of the lot, or below the least or above the greatest quantity.
    case lotSize = "lot_size"
    case minQuantity = "min_quantity"
    case maxQuantity = "max_quantity"
    case minNotional = "min_notional"
    /// Cash does not cover notional and fee.
    case insufficientBalance = "insufficient_balance"
    /// The position would exceed what the exchange lends for.
    case insufficientMargin = "insufficient_margin"
    /// A spot market sells only what is held.
    case shortNotAllowed = "short_not_allowed"
    /// Nobody traded in the bar in which it should have been filled.
    case noTrades = "no_trades"
    /// It was not sent before the next bar: its decision is out of date.
    case notSent = "not_sent"
    case killSwitch = "kill_switch"
    /// The price or the notional does not fit the number range.
    case outOfRange = "out_of_range"
    /// A limit that is no multiple of the tick.
    case tickSize = "tick_size"
    /// It would have taken although it asked to rest only.
    case makerOnly = "maker_only"
    /// The book that is known had no more to take.
    case noLiquidity = "no_liquidity"
    /// An order of this id is open.
    case duplicate
    case tooManyOrders = "too_many_orders"
}

/// One market order and its life: a pure state machine that refuses what the exchange cannot have meant.
public struct Order: Sendable, Equatable {
    public let id: ClientOrderID
    public let key: DecisionKey
    public let side: Side
    /// Positive, a multiple of the lot.
    public let quantity: Quantity
    /// The price at which it was sized: the last close.
    public let referencePrice: Double
    public let createdAt: Timestamp
    public private(set) var state = OrderState.new
    /// When `state` was entered.
    public private(set) var updatedAt: Timestamp
    /// Set with `cancelled`, `rejected` and `expired`.
    public private(set) var reason: OrderReason?
    public private(set) var filledQuantity = Quantity.zero
    public private(set) var filledNotional = Amount.zero
    public private(set) var fee = Amount.zero
    public private(set) var fillCount = 0

    public init(key: DecisionKey, side: Side, quantity: Quantity, referencePrice: Double, createdAt: Timestamp) {
        id = ClientOrderID(key)
        self.key = key
        self.side = side
        self.quantity = quantity
        self.referencePrice = referencePrice
        self.createdAt = createdAt
        updatedAt = createdAt
    }

    /// Restores a stored order; checked, because a row can be wrong. `nil` when the parts contradict one another.
    public init?(
        key: DecisionKey, side: Side, quantity: Quantity, referencePrice: Double, createdAt: Timestamp,
        state: OrderState, updatedAt: Timestamp, reason: OrderReason?, filledQuantity: Quantity,
        filledNotional: Amount, fee: Amount, fillCount: Int
    ) {
        guard quantity > .zero, filledQuantity >= .zero, filledQuantity <= quantity, fillCount >= 0,
            (filledQuantity == quantity) == (state == .filled), (fillCount > 0) == (filledQuantity > .zero),
            filledQuantity == .zero || !(state == .new || state == .rejected)
        else { return nil }
        self.init(key: key, side: side, quantity: quantity, referencePrice: referencePrice, createdAt: createdAt)
        self.state = state
        self.updatedAt = updatedAt
        self.reason = reason
        self.filledQuantity = filledQuantity
        self.filledNotional = filledNotional
        self.fee = fee
        self.fillCount = fillCount
    }

    /// Goes to `next`. Throws `illegalTransition`, and changes nothing, where the table forbids it, and for the filled
    /// states, which only `apply` reaches; but an unknown order with fills may be found to be still partially filled.
    public mutating func advance(
        to next: OrderState, at time: Timestamp, reason: OrderReason? = nil
    ) throws(TradingError) {
        let agreesWithFills =
            switch next {
            case .filled: false
            case .partiallyFilled: state == .unknown && fillCount > 0
            case .acknowledged, .rejected: fillCount == 0
            case .new, .sent, .cancelled, .expired, .unknown: true
            }
        guard state.canBecome(next), agreesWithFills else { throw .illegalTransition(from: state, to: next) }
        state = next
        updatedAt = time
        self.reason = reason
    }

    /// Adds a fill. `false`, and no change, for one that was added before: exchanges repeat themselves. Throws when
    /// one is missing in between, when it exceeds the quantity, or when the order's state admits no fill.
    public mutating func apply(_ fill: Fill) throws(TradingError) -> Bool {
        guard fill.orderID == id, fill.side == side else { throw .unknownOrder(fill.orderID) }
        if fill.sequence <= fillCount { return false }
        let total = filledQuantity + fill.quantity
        let next = total == quantity ? OrderState.filled : .partiallyFilled
        guard state.canBecome(next) else { throw .illegalTransition(from: state, to: next) }
        guard fill.sequence == fillCount + 1, fill.quantity > .zero, total <= quantity else {
            throw .inconsistentFill(order: id, sequence: fill.sequence)
        }
        state = next
        updatedAt = fill.time
        filledQuantity = total
        filledNotional += fill.notional
        fee += fill.fee
        fillCount += 1
        return true
    }
}

/// One execution of an order, or of a part of it.
public struct Fill: Sendable, Equatable {
    public var orderID: ClientOrderID
    public var symbol: String
    public var side: Side
    /// 1 for the order's first fill: with `orderID` its natural key.
    public var sequence: Int
    public var time: Timestamp
    public var price: Price
    public var quantity: Quantity
    /// price × quantity: rounded up for a purchase, down for a sale.
    public var notional: Amount
    /// In the quote currency: what was charged, or the value of what was charged in another asset.
    public var fee: Amount
    /// The market's price before spread, slippage and impact: the bar's open, or the middle of bid and ask.
    public var midPrice: Double
    public var charge: FeeCharge
    public var liquidity: Liquidity

    public init(
        orderID: ClientOrderID, symbol: String, side: Side, sequence: Int, time: Timestamp, price: Price,
        quantity: Quantity, notional: Amount, fee: Amount, midPrice: Double, charge: FeeCharge = .quote,
        liquidity: Liquidity = .taker
    ) {
        self.orderID = orderID
        self.symbol = symbol
        self.side = side
        self.sequence = sequence
        self.time = time
        self.price = price
        self.quantity = quantity
        self.notional = notional
        self.fee = fee
        self.midPrice = midPrice
        self.charge = charge
        self.liquidity = liquidity
    }

    /// What the fill does to the position, signed: a fee taken from what was bought counts.
    public var positionChange: Quantity {
        if case .base(let taken) = charge { return Quantity(units: side.sign * quantity.units - taken.units) }
        return Quantity(units: side.sign * quantity.units)
    }

    /// What spread, slippage, impact and tick cost against the mid, in the quote currency; negative where a resting
    /// order earned a part of the spread.
    public var executionCost: Double { Double(side.sign) * (price.double - midPrice) * quantity.double }
}
