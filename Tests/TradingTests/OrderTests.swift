import MarketData
import Testing
import Trading

@Suite struct OrderTests {
    /// Every legal step; what is not here must throw.
    static let legal: [OrderState: Set<OrderState>] = [
        .new: [.sent, .cancelled, .expired, .rejected],
        .sent: [.acknowledged, .partiallyFilled, .filled, .cancelled, .rejected, .expired, .unknown],
        .acknowledged: [.partiallyFilled, .filled, .cancelled, .rejected, .expired, .unknown],
        .partiallyFilled: [.partiallyFilled, .filled, .cancelled, .expired, .unknown],
        .unknown: [.acknowledged, .partiallyFilled, .filled, .cancelled, .rejected, .expired],
        .filled: [], .cancelled: [], .rejected: [], .expired: [],
    ]
    static let time = Timestamp(seconds: 1_772_323_200)
    static let key = DecisionKey(account: "paper", symbol: "SUIUSDT", barTime: time, modelVersion: "v1")

    static func order() -> Order {
        Order(key: key, side: .buy, quantity: Quantity(units: 1000), referencePrice: 1, createdAt: time)
    }

    static func fill(_ order: Order, _ sequence: Int, _ units: Int64) -> Fill {
        Fill(
            orderID: order.id, symbol: "SUIUSDT", side: order.side, sequence: sequence, time: time,
            price: Price(units: 100_000_000), quantity: Quantity(units: units), notional: Amount(units: units),
            fee: Amount(units: 1), midPrice: 1)
    }

    /// An order brought into `state` by legal steps.
    static func order(in state: OrderState) throws -> Order {
        var order = order()
        if state == .new { return order }
        if state == .rejected || state == .cancelled || state == .expired {
            try order.advance(to: state, at: time)
            return order
        }
        try order.advance(to: .sent, at: time)
        switch state {
        case .partiallyFilled: #expect(try order.apply(fill(order, 1, 400)))
        case .filled: #expect(try order.apply(fill(order, 1, 1000)))
        case .acknowledged, .unknown: try order.advance(to: state, at: time)
        default: break
        }
        return order
    }

    @Test("all pairs of states: the legal ones are taken, the others throw and change nothing")
    func allPairs() throws {
        for from in OrderState.allCases {
            for to in OrderState.allCases {
                let isLegal = Self.legal[from]?.contains(to) == true
                #expect(from.canBecome(to) == isLegal, "\(from) -> \(to)")
                let before = try Self.order(in: from)
                #expect(before.state == from)
                var order = before
                if to == .filled || to == .partiallyFilled {
                    let rest = Self.fill(
                        order, order.fillCount + 1, to == .filled ? 1000 - order.filledQuantity.units : 100)
                    if isLegal {
                        #expect(try order.apply(rest))
                        #expect(order.state == to)
                    } else {
                        #expect(throws: TradingError.self) { try order.apply(rest) }
                        #expect(order == before)
                    }
                } else if isLegal {
                    try order.advance(to: to, at: Self.time)
                    #expect(order.state == to)
                } else {
                    #expect(throws: TradingError.illegalTransition(from: from, to: to)) {
                        try order.advance(to: to, at: Self.time)
                    }
                    #expect(order == before)
                }
            }
            #expect(from.isFinal == Self.legal[from]?.isEmpty)
        }
    }

    @Test("a repeated fill counts once; a missing, excessive or foreign one is refused")
    func fills() throws {
        var order = try Self.order(in: .partiallyFilled)
        #expect(try order.apply(Self.fill(order, 1, 400)) == false)
        #expect(order.filledQuantity.units == 400 && order.fee.units == 1)
        #expect(throws: TradingError.self) { try order.apply(Self.fill(order, 3, 100)) }
        #expect(throws: TradingError.self) { try order.apply(Self.fill(order, 2, 601)) }
        var foreign = Self.fill(order, 2, 100)
        foreign.orderID = ClientOrderID(high: 1, low: 2)
        #expect(throws: TradingError.unknownOrder(foreign.orderID)) { try order.apply(foreign) }
        #expect(try order.apply(Self.fill(order, 2, 600)))
        #expect(order.state == .filled && order.filledNotional.units == 1000 && order.fee.units == 2)
        // Even a late repetition, after the end.
        #expect(try order.apply(Self.fill(order, 2, 600)) == false)
    }

    @Test("an unknown order with fills may be partially filled again, but not merely acknowledged")
    func reconciliation() throws {
        var order = try Self.order(in: .partiallyFilled)
        try order.advance(to: .unknown, at: Self.time)
        #expect(throws: TradingError.self) { try order.advance(to: .acknowledged, at: Self.time) }
        #expect(throws: TradingError.self) { try order.advance(to: .rejected, at: Self.time) }
        try order.advance(to: .partiallyFilled, at: Self.time)
        var empty = try Self.order(in: .unknown)
        #expect(throws: TradingError.self) { try empty.advance(to: .partiallyFilled, at: Self.time) }
    }

    @Test("ids are FNV-1a of the decision: equal for equal decisions, stable over time")
    func identity() throws {
        for row in Golden.all("id") {
            let micros = try #require(Int64(row[3]))
            let key = DecisionKey(
                account: row[0], symbol: row[1], barTime: Timestamp(microseconds: micros), modelVersion: row[2])
            #expect(ClientOrderID(key).description == row[4])
            #expect(ClientOrderID(row[4]) == ClientOrderID(key))
        }
        #expect(Golden.all("id").count == 3)
        let id = ClientOrderID(Self.key)
        #expect(id == Self.order().id && id.description.utf8.count <= 36)
        var others = [Self.key, Self.key, Self.key, Self.key]
        others[0].account = "live"
        others[1].symbol = "BTCUSDT"
        others[2].barTime = Timestamp(microseconds: Self.time.microseconds + 1)
        others[3].modelVersion = "v2"
        #expect(Set(others.map(ClientOrderID.init)).union([id]).count == 5)
        for text in [
            "", "vm", "xx" + id.description.dropFirst(2), id.description + "0", "vm+" + id.description.dropFirst(3),
        ] {
            #expect(ClientOrderID(text) == nil)
        }
    }
}
