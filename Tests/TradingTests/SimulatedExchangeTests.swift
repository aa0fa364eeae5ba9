import MarketData
import Testing
import Trading

@Suite struct SimulatedExchangeTests {
    let exchange = SimulatedExchange()
    func account(cash: String, position: String = "0", equity: Double = 100) throws -> SimulatedExchange.Account {
        try .init(
            cash: #require(Amount(cash)), position: #require(Quantity(position)), equity: equity)
    }

    @Test("each reason to refuse an order, at its border")
    func refusals() throws {
        let spot = try rules(minQuantity: "0.2")
        func reason(_ side: Side, _ quantity: String, cash: String = "100", position: String = "0", mid: Double = 100)
            throws -> OrderReason?
        {
            try exchange.refusal(
                side: side, quantity: #require(Quantity(quantity)), mid: mid, rules: spot,
                account: account(cash: cash, position: position))
        }
        #expect(try reason(.buy, "0.1") == .minQuantity)
        #expect(try reason(.buy, "0.25") == .lotSize)
        #expect(try reason(.buy, "900000.1") == .maxQuantity)
        #expect(try reason(.buy, "0.2", mid: 24.99) == .minNotional)
        #expect(try reason(.buy, "0.2", mid: 25) == nil)
        // 0.9·100.02 = 90.018, and 0.090018 of fee.
        #expect(try reason(.buy, "0.9", cash: "90.108017") == .insufficientBalance)
        #expect(try reason(.buy, "0.9", cash: "90.108018") == nil)
        #expect(try reason(.sell, "0.5", position: "0.4") == .shortNotAllowed)
        #expect(try reason(.sell, "0.5", position: "0.5") == nil)
        #expect(try reason(.buy, "0.5", mid: 1e11) == .outOfRange)

        let perpetual = try rules(allowsShort: true, maxLeverage: 2)
        func margin(_ side: Side, _ quantity: String, position: String) throws -> OrderReason? {
            try exchange.refusal(
                side: side, quantity: #require(Quantity(quantity)), mid: 100, rules: perpetual,
                account: account(cash: "0", position: position))
        }
        #expect(try margin(.buy, "1.9", position: "0") == nil)
        #expect(try margin(.buy, "2", position: "0") == .insufficientMargin)
        #expect(try margin(.sell, "1.9", position: "0") == nil)
        // What shrinks a position needs no margin.
        #expect(try margin(.sell, "5", position: "9") == nil)
    }

    @Test("prices move against us by spread, slippage and the root of the share of the volume")
    func prices() throws {
        let costs = ExecutionCosts(halfSpreadBasisPoints: 2, slippageBasisPoints: 3, impactBasisPoints: 40)
        let tick = try #require(Price("0.0001"))
        let quantity = try #require(Quantity("25"))
        let buy = SimulatedExchange(costs: costs).price(.buy, mid: 100, quantity: quantity, volume: 400, tick: tick)
        // 5 + 40·√(25/400) = 15 basis points.
        #expect(buy?.description == "100.15")
        let sell = SimulatedExchange(costs: costs).price(.sell, mid: 100, quantity: quantity, volume: 400, tick: tick)
        #expect(sell?.description == "99.85")
        let whole = SimulatedExchange(costs: costs).price(.buy, mid: 100, quantity: quantity, volume: 1, tick: tick)
        #expect(whole?.description == "100.45")
    }

    @Test("nobody trades, nothing is filled")
    func noVolume() throws {
        let account = try account(cash: "100")
        let quantity = try #require(Quantity("0.5"))
        let quiet = exchange.execute(
            side: .buy, quantity: quantity, bar: bar(0, open: 100, close: 100, volume: 0), rules: try rules(),
            account: account)
        #expect(quiet == .expired(.noTrades))
        let busy = exchange.execute(
            side: .buy, quantity: quantity, bar: bar(0, open: 100, close: 90), rules: try rules(), account: account)
        let (price, notional, fee) = (Price("100.02"), Amount("50.01"), Amount("0.05001"))
        #expect(busy == .filled(price: try #require(price), notional: try #require(notional), fee: try #require(fee)))
    }
}
