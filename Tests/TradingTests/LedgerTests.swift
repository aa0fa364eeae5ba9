import Kernels
import MarketData
import Testing
import Trading

@Suite struct LedgerTests {
    static func fill(_ side: Side, _ quantity: Int64, at price: Int64, fee: Int64) throws -> Fill {
        let price = Price(units: price)
        let notional = try #require(price.notional(of: Quantity(units: quantity), roundingUp: side == .buy))
        return Fill(
            orderID: ClientOrderID(high: 0, low: 0), symbol: "X", side: side, sequence: 1, time: Timestamp(seconds: 0),
            price: price, quantity: Quantity(units: quantity), notional: notional, fee: Amount(units: fee),
            midPrice: price.double)
    }

    @Test("a purchase, a partial sale and a flip, by hand")
    func byHand() throws {
        let one: Int64 = 100_000_000
        var ledger = Ledger(deposited: Amount(units: 100 * one), instrumentCount: 1)
        try ledger.book(Self.fill(.buy, 3 * one, at: 10 * one, fee: one / 10), at: 0)
        #expect(ledger.cash.description == "69.9" && ledger.positions[0].cost.description == "30")
        try ledger.book(Self.fill(.sell, one, at: 12 * one, fee: one / 10), at: 0)
        // One of three bought at 10 and sold at 12.
        #expect(ledger.realised.description == "2" && ledger.positions[0].cost.description == "20")
        try ledger.book(Self.fill(.sell, 5 * one, at: 9 * one, fee: one / 10), at: 0)
        // Two sold at 9 lose 2; three more are sold short for 27.
        #expect(ledger.realised == .zero && ledger.positions[0].cost.description == "-27")
        #expect(ledger.positions[0].quantity.description == "-3" && ledger.fees.description == "0.3")
        try ledger.book(Self.fill(.buy, 3 * one, at: 8 * one, fee: 0), at: 0)
        #expect(ledger.realised.description == "3" && ledger.positions[0].cost == .zero)
        #expect(ledger.cash.description == "102.7" && ledger.turnover == 30 + 12 + 45 + 24)
        #expect(ledger.equity { _ in 123 } == 102.7)
        try ledger.checkInvariants()
    }

    @Test("the books balance to the last unit after any fills", arguments: 1...20)
    func randomFills(seed: UInt64) throws {
        var random = RandomGenerator(seed: seed)
        var ledger = Ledger(deposited: Amount(units: 1_999_000_000), instrumentCount: 3)
        var net: [Int64] = [0, 0, 0]
        var fees: Int64 = 0
        for _ in 0..<200 {
            let index = random.index(below: 3)
            // Odd quantities and prices, so that notionals and cost shares must round.
            var quantity = Int64(random.index(below: 3_000_000_000)) + 1
            if random.uniform() < 0.2, net[index] != 0 { quantity = abs(net[index]) }
            let side: Side = random.uniform() < 0.5 ? .buy : .sell
            let fee = Int64(random.index(below: 1000))
            try ledger.book(
                Self.fill(side, quantity, at: Int64(random.index(below: 900_000_000)) + 1, fee: fee), at: index)
            if random.uniform() < 0.1 {
                try ledger.book(funding: Amount(units: Int64(random.index(below: 2001)) - 1000))
            }
            net[index] += side.sign * quantity
            fees += fee
            try ledger.checkInvariants()
            #expect(ledger.positions[index].quantity.units == net[index])
        }
        #expect(ledger.fees.units == fees && ledger.fillCount == 200)
        // equity = deposited + realised + unrealised − fees + funding at any price; sums of a few doubles below 1e4.
        let prices = (0..<3).map { _ in random.uniform(0.1, 10) }
        let unrealised = (0..<3).reduce(0) { $0 + ledger.positions[$1].unrealised(at: prices[$1]) }
        let expected = (ledger.deposited + ledger.realised - ledger.fees + ledger.funding).double + unrealised
        #expect(abs(ledger.equity { prices[$0] } - expected) < 1e-8)
    }

    @Test("what does not fit is refused, and nothing is booked")
    func overflow() throws {
        var ledger = Ledger(deposited: Amount(units: 1), instrumentCount: 1)
        try ledger.book(Self.fill(.buy, .max - 1, at: 1, fee: 0), at: 0)
        let before = ledger
        #expect(throws: TradingError.overflow) { try ledger.book(Self.fill(.buy, .max - 1, at: 1, fee: 0), at: 0) }
        for (quantity, fee) in [(Int64(0), Int64(0)), (-1, 0), (1, -1)] {
            var bad = try Self.fill(.buy, 1, at: 1, fee: fee)
            bad.quantity = Quantity(units: quantity)
            #expect(throws: TradingError.inconsistentFill(order: bad.orderID, sequence: 1)) {
                try ledger.book(bad, at: 0)
            }
        }
        #expect(ledger == before)
    }
}
