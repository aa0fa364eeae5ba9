import Kernels
import MarketData
import Testing
import Trading

@Suite struct TradingSessionTests {
    @Test("an order is filled at the next bar's open, moved against us, never in the bar that made it")
    func nextOpen() throws {
        var session = try makeSession(try rules())
        var events: [SessionEvent] = []
        let plan = try step(&session, bar(0, open: 2, close: 2), 1, into: &events)
        guard case .order(let order) = plan else {
            Issue.record("no order: \(plan)")
            return
        }
        // 19.99·0.995/2 = 9.945 → 9.9 in lots of 0.1.
        #expect(order.quantity.description == "9.9" && order.side == .buy)
        #expect(events.fills.isEmpty && session.position(at: 0) == .zero)
        #expect(events.orders.map(\.state) == [.new, .sent, .acknowledged])
        #expect(session.equity == 19.99)

        events = []
        try session.onBar("SUIUSDT", bar(1, open: 2.001, close: 2.1), into: &events)
        let fill = try #require(events.fills.first)
        // 2.001·(1 + 2 bp) = 2.0014002, up to the tick: 2.0015.
        #expect(fill.price.description == "2.0015" && fill.time == bar(1, open: 1, close: 1).openTime)
        #expect(fill.notional.description == "19.81485" && fill.fee.description == "0.01981485")
        #expect(abs(fill.executionCost - 0.00495) < 1e-9)
        #expect(session.ledger.cash.description == "0.15533515")
        #expect(abs(session.equity - (0.15533515 + 9.9 * 2.1)) < 1e-12)
        #expect(events.orders.map(\.state) == [.filled])
        #expect(session.openOrders.isEmpty)
        try session.checkInvariants()
    }

    @Test("every fill pays its fee and its spread: alternating in a flat market only loses")
    func costs() throws {
        var session = try makeSession(try rules())
        var events: [SessionEvent] = []
        for index in 0..<50 {
            try step(&session, bar(index, open: 1, close: 1), Double((index + 1) % 2), into: &events)
        }
        #expect(events.fills.count == 49)
        for fill in events.fills { #expect(fill.fee.units * 1000 >= fill.notional.units && fill.executionCost > 0) }
        let fees = events.fills.reduce(0) { $0 + $1.fee.double }
        let costs = events.fills.reduce(0) { $0 + $1.executionCost }
        #expect(abs(session.equity - (19.99 - fees - costs)) < 1e-9)
        #expect(
            events.points.count == 50
                && zip(events.points, events.points.dropFirst()).allSatisfy { $0.equity >= $1.equity })
    }

    @Test("what is too small is reported as such, with the rule and its numbers, and not traded")
    func tooSmall() throws {
        func hold(_ rules: InstrumentRules, _ exposure: Double, price: Double = 1) throws -> HoldReason? {
            var session = try makeSession(rules, reserve: 0)
            var events: [SessionEvent] = []
            let plan = try step(&session, bar(0, open: price, close: price), exposure, into: &events)
            #expect(events.orders.isEmpty)
            if case .hold(let reason) = plan { return reason }
            return nil
        }
        #expect(try hold(rules(), 0.2) == .tooSmall(rule: .minNotional, wanted: 0.2 * 19.99, minimum: 5))
        #expect(
            try hold(rules(lot: "0.001", minNotional: "1"), 1, price: 68_000)
                == .tooSmall(rule: .lotSize, wanted: 19.99 / 68_000, minimum: 0.001))
        #expect(
            try hold(rules(minQuantity: "20", minNotional: "1"), 1)
                == .tooSmall(rule: .minQuantity, wanted: 19.99, minimum: 20))
        #expect(try hold(rules(), 0) == .atTarget)
        // A USD-M contract with a minimum of 50 cannot be traded with 19.99 at all.
        let contract = try #require(InstrumentRules.binancePerpetual("BTCUSDT"))
        var session = try makeSession(contract)
        try session.onBar(at: 0, bar(0, open: 68_000, close: 68_000))
        let plan = try session.act(decision("BTCUSDT", at: bar(0, open: 68_000, close: 68_000), 1), at: 0)
        guard case .hold(.tooSmall) = plan else {
            Issue.record("\(plan)")
            return
        }
    }

    @Test("quantities never exceed what the target, the cash and its fee allow", arguments: 1...40)
    func neverBeyondCash(seed: UInt64) throws {
        var random = RandomGenerator(seed: seed)
        let price = exp(random.uniform(-7, 11))
        let rules = try InstrumentRules.simulated("COINUSDT", price: price)
        var session = try makeSession(rules, reserve: 0)
        var events: [SessionEvent] = []
        for index in 0..<20 {
            let close = price * exp(0.02 * random.normal())
            let current = bar(index, open: price, close: close)
            let exposure = random.uniform(-1, 1)
            let plan = try step(&session, current, exposure, symbol: "COINUSDT", into: &events)
            #expect(session.ledger.cash >= .zero && session.position(at: 0) >= .zero)
            if case .order(let order) = plan {
                #expect(order.quantity.units % rules.lotSize.units == 0 && order.quantity >= rules.minQuantity)
                #expect(order.quantity.double * close >= 5 * (1 - 1e-9))
                if order.side == .buy {
                    let target = max(0, exposure) * session.equity / close
                    #expect(session.position(at: 0).double + order.quantity.double <= target + 1e-8)
                }
            }
        }
    }

    @Test("a sale does not leave what could not be sold; what shrinks below the minimum is dust and said so")
    func dust() throws {
        var session = try makeSession(try rules(), reserve: 0.02)
        var events: [SessionEvent] = []
        try step(&session, bar(0, open: 1, close: 1), 1, into: &events)
        // The target of 0.2·19.5 = 3.9 is below the minimum of 5, so all goes.
        guard case .order(let sale) = try step(&session, bar(1, open: 1, close: 1), 0.2, into: &events) else {
            Issue.record("no sale")
            return
        }
        #expect(sale.side == .sell && sale.quantity == session.position(at: 0))
        try step(&session, bar(2, open: 1, close: 1), 1, into: &events)
        #expect(session.position(at: 0) == .zero)
        // Bought again, then the coin loses 80 %: what is left is worth less than 5.
        try step(&session, bar(3, open: 1, close: 1), 1, into: &events)
        #expect(session.position(at: 0) > .zero && session.dust(at: 0) == .zero)
        let plan = try step(&session, bar(4, open: 0.9, close: 0.2), 0, into: &events)
        guard case .hold(.tooSmall(rule: .minNotional, let wanted, 5)) = plan else {
            Issue.record("\(plan)")
            return
        }
        #expect(abs(wanted - session.position(at: 0).double * 0.2) < 1e-12)
        #expect(session.dust(at: 0) == session.position(at: 0))
    }

    @Test("on spot a negative exposure holds nothing; where short sales are allowed it sells short and can cover")
    func shorts() throws {
        var spot = try makeSession(try rules())
        var events: [SessionEvent] = []
        #expect(try step(&spot, bar(0, open: 1, close: 1), -1, into: &events) == .hold(.atTarget))
        #expect(spot.targetExposure(at: 0) == -1)

        var perpetual = try makeSession(try rules(allowsShort: true))
        events = []
        try step(&perpetual, bar(0, open: 1, close: 1), -1, into: &events)
        try step(&perpetual, bar(1, open: 1, close: 0.9), 1, into: &events)
        #expect(perpetual.position(at: 0).description == "-19.8")
        #expect(perpetual.equity > 21.9 && abs(perpetual.exposure(at: 0) + 19.8 * 0.9 / perpetual.equity) < 1e-12)
        try step(&perpetual, bar(2, open: 0.9, close: 0.9), 0, into: &events)
        #expect(perpetual.position(at: 0) > .zero && perpetual.ledger.realised > .zero)
        try step(&perpetual, bar(3, open: 0.9, close: 0.9), 0, into: &events)
        #expect(perpetual.position(at: 0) == .zero)
    }

    @Test("no order outlives its bar: without trades or money at the new price it expires")
    func expiry() throws {
        var session = try makeSession(try rules())
        var events: [SessionEvent] = []
        try step(&session, bar(0, open: 1, close: 1), 1, into: &events)
        events = []
        try step(&session, bar(1, open: 1, close: 1, volume: 0), 1, into: &events)
        #expect(events.orders.first?.state == .expired && events.orders.first?.reason == .noTrades)
        // The new order meets an open 3 % higher, which the reserve of 0.5 % does not cover.
        events = []
        try session.onBar("SUIUSDT", bar(2, open: 1.03, close: 1.03), into: &events)
        #expect(events.fills.isEmpty && events.orders.last?.reason == .insufficientBalance)
        // Planned but never sent: out of date at the next bar.
        let closed = bar(2, open: 1.03, close: 1.03)
        guard case .order = try session.plan(decision("SUIUSDT", at: closed, 1), into: &events) else {
            Issue.record("no order")
            return
        }
        try session.onBar("SUIUSDT", bar(3, open: 1, close: 1), into: &events)
        #expect(events.orders.last?.state == .expired && events.orders.last?.reason == .notSent)
        #expect(session.ledger.fillCount == 0)
    }

    @Test("repeated bars, decisions and sends change nothing")
    func idempotence() throws {
        var session = try makeSession(try rules())
        var events: [SessionEvent] = []
        let first = bar(0, open: 1, close: 1)
        try session.onBar("SUIUSDT", first, into: &events)
        let plan = try session.plan(decision("SUIUSDT", at: first, 1), into: &events)
        guard case .order(let order) = plan else {
            Issue.record("no order")
            return
        }
        #expect(try session.plan(decision("SUIUSDT", at: first, 1), into: &events) == .hold(.duplicateDecision))
        let sent = try session.send(order, at: first.closeTime, into: &events)
        let before = session.saveState()
        #expect(try session.send(order, at: first.closeTime, into: &events) == sent)
        #expect(try session.onBar("SUIUSDT", first, into: &events) == false)
        #expect(session.saveState() == before)
        try session.onBar("SUIUSDT", bar(1, open: 1, close: 1), into: &events)
        #expect(throws: TradingError.unknownOrder(order.id)) {
            try session.send(order, at: first.closeTime, into: &events)
        }
        #expect(events.fills.count == 1)
    }

    @Test("bars and symbols that cannot be are thrown, and decisions without a market are held")
    func badInput() throws {
        var session = try makeSession(try rules())
        var events: [SessionEvent] = []
        #expect(
            try session.plan(decision("SUIUSDT", at: bar(0, open: 1, close: 1), 1), into: &events)
                == .hold(.noMarketData))
        #expect(throws: TradingError.unknownSymbol("DOGEUSDT")) {
            try session.onBar("DOGEUSDT", bar(0, open: 1, close: 1), into: &events)
        }
        var bad = [Bar](repeating: bar(0, open: 1, close: 1), count: 6)
        bad[0].open = .nan
        bad[1].close = -1
        bad[2].low = 0
        bad[3].high = .infinity
        bad[4].volume = .nan
        bad[5].high = 0.5
        for bar in bad {
            #expect(throws: TradingError.self) { try session.onBar("SUIUSDT", bar, into: &events) }
        }
        #expect(session.price(at: 0) == nil)
        for (share, reserve) in [(0.0, 0.0), (1.1, 0), (.nan, 0), (1, -0.1), (1, .nan)] {
            #expect(throws: TradingError.self) {
                try TradingSession(.init(instruments: [.init(rules: try rules(), allocation: share)], reserve: reserve))
            }
        }
        #expect(throws: TradingError.self) { try makeSession(try rules(), try rules()) }
        #expect(throws: TradingError.self) { try makeSession(try rules(), cash: "0") }
        #expect(throws: TradingError.self) {
            try makeSession(try rules(), costs: ExecutionCosts(halfSpreadBasisPoints: -1))
        }
    }

    @Test("two symbols share the cash and never overdraw it")
    func twoSymbols() throws {
        var session = try makeSession(try rules("AUSDT"), try rules("BUSDT"), reserve: 0)
        var events: [SessionEvent] = []
        var random = RandomGenerator(seed: 3)
        let (a, b) = (randomBars(200, seed: 4), randomBars(200, seed: 5, start: 2))
        for index in 0..<200 {
            try step(&session, a[index], random.uniform(), symbol: "AUSDT", into: &events)
            try step(&session, b[index], random.uniform(), symbol: "BUSDT", into: &events)
            #expect(session.ledger.cash >= .zero)
        }
        #expect(Set(events.fills.map(\.symbol)) == ["AUSDT", "BUSDT"])
    }

    @Test("funding: a long position pays a positive rate, once, against itself to the last unit")
    func funding() throws {
        var session = try makeSession(try rules(allowsShort: true))
        var events: [SessionEvent] = []
        let rate = FundingRate(rate: 0.0001, interval: .hours(8))
        let time = Timestamp(seconds: 1_772_323_260)
        try session.onFunding("SUIUSDT", rate, markPrice: 1, at: time, into: &events)
        #expect(session.ledger.funding == .zero)
        try step(&session, bar(0, open: 1, close: 1), 1, into: &events)
        try step(&session, bar(1, open: 1, close: 1), 1, into: &events)
        for _ in 0..<2 {
            try session.onFunding("SUIUSDT", rate, markPrice: 1.5, at: time + .hours(8), into: &events)
        }
        #expect(session.ledger.funding.description == "-0.00297")
        try session.checkInvariants()
    }

    @Test("saved and restored at any point, a session goes on bit for bit", arguments: 1...6)
    func saveAndRestore(seed: UInt64) throws {
        var random = RandomGenerator(seed: seed)
        let limits = RiskLimits(maxOrdersPerMinute: 1, maxDailyLoss: 0.1, maxDrawdown: 0.2, onLossLimit: .flatten)
        func session() throws -> TradingSession {
            try makeSession(try rules("AUSDT"), try rules("BUSDT", allowsShort: true), cash: "1000", risk: limits)
        }
        var (straight, broken) = (try session(), try session())
        var (events, restoredEvents): ([SessionEvent], [SessionEvent]) = ([], [])
        let series = [
            randomBars(150, seed: seed + 10, volatility: 0.02), randomBars(150, seed: seed + 20, volatility: 0.02),
        ]
        func interrupt() throws {
            guard random.uniform() < 0.2 else { return }
            let bytes = broken.saveState()
            broken = try session()
            try broken.restoreState(bytes)
            #expect(broken.saveState() == bytes)
        }
        for index in 0..<150 {
            for (symbol, bars) in zip(["AUSDT", "BUSDT"], series) {
                let wish = decision(symbol, at: bars[index], random.uniform(-1, 1))
                try straight.onBar(symbol, bars[index], into: &events)
                if case .order(let order) = try straight.plan(wish, into: &events) {
                    try straight.send(order, at: wish.time, into: &events)
                }
                try broken.onBar(symbol, bars[index], into: &restoredEvents)
                try interrupt()
                _ = try broken.plan(wish, into: &restoredEvents)
                try interrupt()
                // After a restart, what was planned and not sent is sent.
                for order in broken.openOrders where order.state == .new {
                    try broken.send(order, at: wish.time, into: &restoredEvents)
                }
                try interrupt()
            }
        }
        #expect(events == restoredEvents)
        #expect(straight.saveState() == broken.saveState())
        #expect(events.fills.count > 20)
    }

    @Test("damaged, foreign and shortened states are refused and change nothing")
    func corruptState() throws {
        var session = try makeSession(try rules(), risk: RiskLimits())
        var events: [SessionEvent] = []
        for (index, bar) in randomBars(5, seed: 9).enumerated() {
            try step(&session, bar, Double(index % 2), into: &events)
        }
        let bytes = session.saveState()
        var random = RandomGenerator(seed: 1)
        for _ in 0..<300 {
            var damaged = bytes
            if random.uniform() < 0.5 {
                damaged[random.index(below: bytes.count)] ^= UInt8(1 << random.index(below: 8))
            } else {
                damaged.removeLast(1 + random.index(below: bytes.count))
            }
            var copy = session
            #expect(throws: TradingError.self) { try copy.restoreState(damaged) }
            #expect(copy.saveState() == bytes)
        }
        var other = try makeSession(try rules("BTCUSDT"))
        #expect(throws: TradingError.corruptState(reason: "other symbols")) { try other.restoreState(bytes) }
        var account = try TradingSession(.init(account: "live", instruments: [.init(rules: try rules())]))
        #expect(throws: TradingError.corruptState(reason: "another account")) { try account.restoreState(bytes) }
    }

    @Test("with and without events, planned and sent or acted at once: the same account")
    func fastPath() throws {
        var (slow, fast) = (try makeSession(try rules()), try makeSession(try rules()))
        var events: [SessionEvent] = []
        var random = RandomGenerator(seed: 6)
        for bar in randomBars(300, seed: 7) {
            let exposure = random.uniform()
            try step(&slow, bar, exposure, into: &events)
            try fast.onBar(at: 0, bar)
            try fast.act(decision("SUIUSDT", at: bar, exposure), at: 0)
        }
        #expect(slow.saveState() == fast.saveState() && slow.ledger.fillCount > 50)
    }
}
