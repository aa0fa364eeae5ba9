import Foundation
import Kernels
import MarketData
import Testing
import Trading

@Suite struct FeeAssetTests {
    @Test("a fee in the base asset lowers what arrives, and leaves dust")
    func received() throws {
        var bench = try BookBench(cash: "100", feeAsset: .received)
        try bench.quote(0, 9.9, 5, 10, 5)
        try bench.send(0, 1, .buy, "1", .market)
        try bench.send(0, 2, .sell, "1", .market)
        try bench.send(0, 3, .sell, "0.9", .market)
        try bench.quote(1, 9.9, 5, 10, 5)
        // 1 bought, 0.001 of it kept by the exchange: a whole lot of 1 is not there to be sold, 0.9 is.
        #expect(
            bench.told() == ["1 fill 1@10 taker", "2 rejected short_not_allowed", "3 fill 0.9@9.9 taker"])
        let ledger = bench.exchange.ledger
        // The purchase took 10 from cash; the sale brought 8.91 less 0.00891.
        #expect(ledger.cash.description == "98.90109" && bench.exchange.position.description == "0.099")
        #expect(ledger.fees.description == "0.01891" && ledger.feesInBase.description == "0.01")
        #expect(bench.exchange.dust == bench.exchange.position)
        // What arrived cost 9.99: of it 0.9/0.999 went with the sale.
        #expect(ledger.positions[0].cost.description == "0.99" && ledger.realised.description == "-0.09")
        try ledger.checkInvariants()
        #expect(abs(bench.exchange.equity - (98.90109 + 0.099 * 9.95)) < 1e-9)
    }

    @Test("bar mode: the same fees in the same assets", arguments: 1...20)
    func bars(seed: UInt64) throws {
        for feeAsset in [FeeAsset.quote, .received, .other("BNB", price: Price(units: 60_000_000_000), discount: 0.25)] {
            var configuration = try makeSession(try rules()).configuration
            configuration.feeAsset = feeAsset
            var session = try TradingSession(configuration)
            var events: [SessionEvent] = []
            var random = RandomGenerator(seed: seed)
            let bars = randomBars(200, seed: seed)
            for bar in bars {
                try step(&session, bar, random.uniform() < 0.5 ? 0 : random.uniform(), into: &events)
                #expect(session.position(at: 0) >= .zero && session.ledger.cash >= .zero)
            }
            let fills = events.fills
            #expect(fills.count > 20)
            for fill in fills {
                switch (feeAsset, fill.charge) {
                case (.received, .base(let taken)):
                    #expect(fill.side == .buy && taken.units == (fill.quantity.units + 999) / 1000)
                case (.received, .quote): #expect(fill.side == .sell)
                case (.quote, .quote): break
                case (.other, .other(let name, let paid)):
                    #expect(name == "BNB" && abs(paid.double * 600 - fill.fee.double) <= 600 * 1e-8)
                default: Issue.record("\(feeAsset) paid by \(fill.charge)")
                }
            }
            let held = fills.reduce(Int64(0)) { $0 + $1.positionChange.units }
            #expect(held == session.position(at: 0).units)
            #expect((session.ledger.feesInBase > .zero) == (feeAsset == .received))
            // Saved and restored, in the middle of what fees left behind.
            var copy = try TradingSession(configuration)
            try copy.restoreState(session.saveState())
            #expect(copy.ledger == session.ledger && copy.dust(at: 0) == session.dust(at: 0))
        }
    }

    @Test("a third asset takes its discounted fee, told in both currencies")
    func other() throws {
        let price = try #require(Price("600"))
        var bench = try BookBench(cash: "100", feeAsset: .other("BNB", price: price, discount: 0.25))
        try bench.quote(0, 9.9, 5, 10, 5)
        try bench.send(0, 1, .buy, "1", .market)
        try bench.quote(1, 9.9, 5, 10, 5)
        guard case .fill(let fill)? = bench.reports.first?.content else {
            Issue.record("no fill")
            return
        }
        #expect(fill.fee.description == "0.0075")
        #expect(fill.charge == .other(asset: "BNB", quantity: try #require(Quantity("0.0000125"))))
        #expect(bench.exchange.ledger.cash.description == "89.9925" && bench.exchange.position.description == "1")
        try bench.exchange.ledger.checkInvariants()
    }

    @Test("maker and taker pay their own rates; a rebate is not paid")
    func makerFee() throws {
        for (maker, fee) in [(0.0002, "0.00198"), (-0.0001, "0")] {
            let rules = try InstrumentRules(
                symbol: "X", baseAsset: "X", quoteAsset: "USDT", tickSize: Price(units: 1), lotSize: Quantity(units: 1),
                minQuantity: Quantity(units: 1), maxQuantity: Quantity(units: 1 << 50), minNotional: .zero,
                makerFee: maker, takerFee: 0.0005, allowsShort: true)
            var exchange = try BookExchange(
                .init(rules: rules, initialCash: Amount(units: 10_000_000_000), settling: .milliseconds(0)))
            var reports: [BookReport] = []
            func receive(_ milliseconds: Int64, _ payload: MarketEvent.Payload) throws {
                let time = BookBench.at(milliseconds)
                try exchange.receive(
                    MarketEvent(exchange: "", symbol: "X", eventTime: time, knownAt: time, payload: payload),
                    into: &reports)
            }
            try receive(0, .bookTop(BookTop(bidPrice: 9.9, askPrice: 10, bidVolume: 1, askVolume: 1)))
            let quantity = Quantity(units: 100_000_000)
            let limit = BookOrder.Kind.limit(Price(units: 990_000_000), .makerOnly)
            exchange.submit(
                BookOrder(id: BookBench.id(1), side: .buy, quantity: quantity, kind: limit), at: BookBench.at(0))
            try receive(1, .trade(PublicTrade(id: 1, price: 9.8, quantity: 1, isBuy: false)))
            #expect(exchange.ledger.fees.description == fee)
            exchange.submit(
                BookOrder(id: BookBench.id(2), side: .sell, quantity: quantity, kind: .market), at: BookBench.at(1))
            try receive(2, .trade(PublicTrade(id: 2, price: 9.9, quantity: 1, isBuy: false)))
            #expect((exchange.ledger.fees - (Amount(fee) ?? .zero)).description == "0.00495")
            try exchange.ledger.checkInvariants()
        }
    }

    @Test("what cannot be a fee asset is refused")
    func invalid() throws {
        #expect(throws: TradingError.self) { try BookBench(feeAsset: .received, short: true) }
        #expect(throws: TradingError.self) { try BookBench(feeAsset: .other("BNB", price: .zero, discount: 0)) }
        #expect(throws: TradingError.self) {
            try BookBench(feeAsset: .other("BNB", price: Price(units: 1), discount: 1))
        }
        #expect(throws: TradingError.self) { try BookBench(cash: "0") }
        #expect(throws: TradingError.self) {
            var configuration = try makeSession(try rules(allowsShort: true)).configuration
            configuration.feeAsset = .received
            _ = try TradingSession(configuration)
        }
        let never = LatencyModel.Delay(Interval(microseconds: -1))
        #expect(throws: TradingError.self) {
            try BookBench(latency: LatencyModel(order: never, cancel: never, acknowledgement: never, marketData: never))
        }
    }

    /// 10,000 sequences of fills, each with fees of every kind, through zero where the kind allows it.
    @Test("the books balance to the last unit after any fills with any fees", arguments: 0..<100)
    func ledger(block: Int) throws {
        for seed in 0..<100 {
            var random = RandomGenerator(seed: UInt64(block * 100 + seed))
            let isSpot = random.uniform() < 0.6
            var ledger = Ledger(deposited: Amount(units: 1_999_000_000), instrumentCount: 1)
            var (position, cash, fees) = (Int64(0), Int64(1_999_000_000), Int64(0))
            for number in 1...20 {
                var side: Side = random.uniform() < 0.5 ? .buy : .sell
                var quantity = Int64(random.index(below: 3_000_000_000)) + 1
                if isSpot, side == .sell {
                    if position == 0 { side = .buy } else { quantity = min(quantity, position) }
                }
                let price = Price(units: Int64(random.index(below: 900_000_000)) + 1)
                let notional = try #require(price.notional(of: Quantity(units: quantity), roundingUp: side == .buy))
                var fill = Fill(
                    orderID: BookBench.id(1), symbol: "X", side: side, sequence: number, time: BookBench.at(0),
                    price: price, quantity: Quantity(units: quantity), notional: notional,
                    fee: Amount(units: Int64(random.index(below: 1000))), midPrice: price.double)
                if isSpot, side == .buy, random.uniform() < 0.7 {
                    // Sometimes all of it.
                    let taken = random.uniform() < 0.1 ? quantity : quantity / 1000 + 1
                    fill.charge = .base(Quantity(units: taken))
                    fill.fee = try #require(price.notional(of: Quantity(units: taken), roundingUp: true))
                } else if random.uniform() < 0.3 {
                    fill.charge = .other(asset: "BNB", quantity: Quantity(units: 1))
                }
                try ledger.book(fill, at: 0)
                position += fill.positionChange.units
                cash -= side.sign * notional.units
                if case .base = fill.charge {} else { cash -= fill.fee.units }
                fees += fill.fee.units
                try ledger.checkInvariants()
            }
            try #require(ledger.positions[0].quantity.units == position && ledger.cash.units == cash, "seed \(seed)")
            try #require(ledger.fees.units == fees)
            let value = ledger.equity { _ in 3.7 }
            let unrealised = ledger.positions[0].unrealised(at: 3.7)
            let expected = (ledger.deposited + ledger.realised - ledger.fees).double + unrealised
            try #require(abs(value - expected) < 1e-8)
        }
    }

    @Test("the ledger refuses a fee in the base asset where nothing is bought, or more than is")
    func refused() throws {
        var ledger = Ledger(deposited: Amount(units: 1_000_000_000), instrumentCount: 1)
        let one: Int64 = 100_000_000
        func base(_ side: Side, _ taken: Int64, fee: Int64) throws -> Fill {
            var fill = try LedgerTests.fill(side, one, at: one, fee: fee)
            fill.charge = .base(Quantity(units: taken))
            return fill
        }
        for fill in [
            try base(.sell, 1, fee: 1), try base(.buy, -1, fee: 1), try base(.buy, one + 1, fee: 1),
            try base(.buy, one, fee: 1), try base(.buy, 1, fee: one + 1),
        ] {
            let before = ledger
            #expect(throws: TradingError.inconsistentFill(order: fill.orderID, sequence: 1)) {
                try ledger.book(fill, at: 0)
            }
            #expect(ledger == before)
        }
        try ledger.book(LedgerTests.fill(.sell, one, at: one, fee: 0), at: 0)
        #expect(throws: TradingError.self) { try ledger.book(base(.buy, 1, fee: 1), at: 0) }
    }

    @Test("a state of version 1, which knew no fees in the base asset, is read")
    func stateVersion1() throws {
        var session = try makeSession(try rules())
        var events: [SessionEvent] = []
        for (index, exposure) in [1.0, 0.5, 1, 0].enumerated() {
            try step(&session, bar(index, open: 1, close: 1 + 0.01 * Double(index)), exposure, into: &events)
        }
        var bytes = session.saveState()
        // magic, "paper", 1 market, "SUIUSDT", then the ledger: 4 amounts | feesInBase | count, 3 units, 4 sums | sum.
        let ledger = 8 + 8 + 5 + 8 + 8 + 7
        bytes.removeSubrange((ledger + 40 + 8 + 24 + 64)..<(ledger + 40 + 8 + 24 + 80))
        bytes.removeSubrange((ledger + 32)..<(ledger + 40))
        bytes.replaceSubrange(6..<8, with: [0x31, 0x01])
        bytes.removeLast(8)
        let sum = bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        for shift in stride(from: UInt64(0), to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: sum >> shift)) }
        var copy = try makeSession(try rules())
        try copy.restoreState(bytes)
        #expect(copy.saveState() == session.saveState() && copy.ledger == session.ledger)
    }
}

@Suite struct LatencyModelTests {
    @Test("delays have their distribution, and one seed gives the same ones")
    func distribution() throws {
        func arrivals(_ jitter: LatencyModel.Jitter, seed: UInt64) throws -> [Double] {
            let delay = LatencyModel.Delay(.milliseconds(3), jitter: jitter)
            var bench = try BookBench(
                latency: LatencyModel(order: delay, cancel: delay, acknowledgement: delay, marketData: delay),
                seed: seed)
            // So far apart that none waits for the one before it.
            return try (0..<4000).map { index in
                let arrival = try bench.send(Int64(index) * 600_000, 1, .buy, "1", .market)
                return (arrival - BookBench.at(Int64(index) * 600_000)).seconds * 1000 - 3
            }
        }
        let exponential = try arrivals(.exponential(mean: .milliseconds(2)), seed: 1)
        let mean = exponential.reduce(0, +) / 4000
        // The mean's standard error is 2/√4000 = 0.032; the share above the mean is 1/e.
        #expect(abs(mean - 2) < 0.13 && exponential.allSatisfy { $0 >= 0 })
        #expect(abs(Double(exponential.count { $0 > 2 }) / 4000 - exp(-1)) < 0.03)
        let logNormal = try arrivals(.logNormal(median: .milliseconds(2), sigma: 1), seed: 2)
        #expect(abs(Double(logNormal.count { $0 > 2 }) / 4000 - 0.5) < 0.032)
        // P(Z > 1) = 0.1587.
        #expect(abs(Double(logNormal.count { $0 > 2 * exp(1) }) / 4000 - 0.1587) < 0.024)
        #expect(try arrivals(.logNormal(median: .milliseconds(2), sigma: 1), seed: 2) == logNormal)
        #expect(try arrivals(.none, seed: 3).allSatisfy { $0 == 0 })
    }
}
