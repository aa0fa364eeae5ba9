public import MarketData

/// An order as the simulated book takes it.
public struct BookOrder: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        /// Takes what the book shows, best first; what is left over when the known book ends expires.
        case market
        /// At the price or better.
        case limit(Price, TimeInForce)
    }

    public enum TimeInForce: Sendable, Equatable {
        /// Takes what is there, and rests with what is left.
        case goodTillCancelled
        /// Takes what is there; what is left expires.
        case immediateOrCancel
        /// Rests, or is refused when it would take: never pays the taker's fee.
        case makerOnly
    }

    public var id: ClientOrderID
    public var side: Side
    public var quantity: Quantity
    public var kind: Kind

    public init(id: ClientOrderID, side: Side, quantity: Quantity, kind: Kind) {
        self.id = id
        self.side = side
        self.quantity = quantity
        self.kind = kind
    }
}

/// What the exchange says about an order.
public struct BookReport: Sendable, Equatable {
    public enum Content: Sendable, Equatable {
        /// It rests. `ahead`: what of others is in front of it at its price; `nil` where the book does not show it.
        case accepted(ahead: Quantity?)
        case rejected(OrderReason)
        case fill(Fill)
        case cancelled
        case expired(OrderReason)
        /// There was nothing to cancel: the order has ended, or never came.
        case cancelRefused
    }

    public var orderID: ClientOrderID
    /// By the exchange's clock.
    public var time: Timestamp
    /// When we have the message.
    public var knownAt: Timestamp
    public var content: Content

    public init(orderID: ClientOrderID, time: Timestamp, knownAt: Timestamp, content: Content) {
        self.orderID = orderID
        self.time = time
        self.knownAt = knownAt
        self.content = content
    }
}
