import MarketData
import Testing
import Trading

@Suite struct RiskEngineTests {
    /// What a decision for `exposure` becomes under `limits`, in a market at 1 with an account of 19.99.
    func refusal(
        _ limits: RiskLimits, _ exposure: Double = 1, reference: Double? = nil, delay: Int64 = 0,
        cash: String = "19.99",
        rules marketRules: InstrumentRules? = nil
    ) throws -> Refusal? {
        var session = try makeSession(try marketRules ?? rules(), cash: cash, risk: limits)
        var events: [SessionEvent] = []
        let closed = bar(0, open: 1, close: 1)
        try session.onBar("SUIUSDT", closed, into: &events)
        var wish = decision("SUIUSDT", at: closed, exposure, reference: reference)
        wish.time = wish.time + .seconds(delay)
        let plan = try session.plan(wish, into: &events)
        guard case .refuse(let refusal) = plan else { return nil }
        #expect(events.orders.isEmpty && session.openOrders.isEmpty)
        #expect(
            events.contains { if case .refusal(_, _, let stored) = $0 { stored.rule == refusal.rule } else { false } })
        return refusal
    }

    static func only(_ change: (inout RiskLimits) -> Void) -> RiskLimits {
        var limits = RiskLimits.none
        change(&limits)
        return limits
    }

    @Test("each rule refuses beyond its limit with its numbers, and lets pass at it")
    func eachRule() throws {
        for exposure in [1.0001, -2, .infinity] {
            #expect(try refusal(.none, exposure)?.rule == .invalidDecision)
        }
        #expect(try refusal(.none, .nan)?.actual.isNaN == true)

        let age = Self.only { $0.maxDataAge = .seconds(30) }
        #expect(try refusal(age, delay: 30) == nil)
        #expect(try refusal(age, delay: 31) == Refusal(rule: .staleData, limit: 30, actual: 31))

        let collar = Self.only { $0.priceCollar = 0.05 }
        #expect(try refusal(collar, reference: 1.05 - 1e-12) == nil)
        #expect(try refusal(collar, reference: 1.06)?.rule == .priceCollar)
        #expect(try refusal(Self.only { $0.priceCollar = 1e-4 })?.rule == .priceCollar)

        // The target is 19.8 at a price of 1.
        #expect(try refusal(Self.only { $0.maxOrderNotional = 19.9 }) == nil)
        let order = try refusal(Self.only { $0.maxOrderNotional = 10 })
        #expect(order?.rule == .maxOrderNotional && order?.limit == 10)
        #expect(abs((order?.actual ?? 0) - 19.8) < 1e-9)
        #expect(try refusal(Self.only { $0.maxPositionNotional = 19 })?.rule == .maxPosition)
        #expect(try refusal(Self.only { $0.maxLeverage = 0.5 })?.rule == .maxLeverage)
        #expect(try refusal(Self.only { $0.maxLeverage = 1 }) == nil)
    }

    @Test("a decision about a bar that is not the newest is stale, older or not yet seen")
    func staleBars() throws {
        var session = try makeSession(try rules(), risk: RiskLimits())
        var events: [SessionEvent] = []
        let bars = (0..<3).map { bar($0, open: 1, close: 1) }
        try session.onBar("SUIUSDT", bars[0], into: &events)
        try session.onBar("SUIUSDT", bars[1], into: &events)
        for index in [0, 2] {
            let plan = try session.plan(decision("SUIUSDT", at: bars[index], 1), into: &events)
            #expect(plan == .refuse(Refusal(rule: .staleData, limit: 30, actual: 60)))
        }
    }

    @Test("orders a minute are counted by event time in a sliding window")
    func rate() throws {
        var session = try makeSession(try rules(), risk: Self.only { $0.maxOrdersPerMinute = 2 })
        var events: [SessionEvent] = []
        var made: [Int] = []
        for index in 0..<12 {
            let quick = Bar(
                openTime: Timestamp(seconds: Int64(index) * 20), interval: .seconds(20), open: 1, high: 1, low: 1,
                close: 1,
                volume: 1)
            let plan = try step(&session, quick, Double((index + 1) % 2), into: &events)
            switch plan {
            case .order: made.append(index)
            case .refuse(let refusal):
                #expect(refusal == Refusal(rule: .maxOrdersPerMinute, limit: 2, actual: 3))
            case .hold: break
            }
        }
        // Three bars a minute: never more than two orders in any 60 seconds.
        #expect(made.count >= 4)
        for (early, late) in zip(made, made.dropFirst(2)) { #expect(late - early >= 3) }
    }

    @Test("losses stop new exposure, let one leave the market, and set the kill switch where that is configured")
    func losses() throws {
        for (rule, limits) in [
            (RiskRule.maxDailyLoss, Self.only { $0.maxDailyLoss = 0.2 }),
            (.maxDrawdown, Self.only { $0.maxDrawdown = 0.2 }),
        ] {
            var session = try makeSession(try rules(), risk: limits)
            var events: [SessionEvent] = []
            try step(&session, bar(0, open: 1, close: 1), 0.6, into: &events)
            try step(&session, bar(1, open: 1, close: 0.5), 0.9, into: &events)
            guard case .refusal(_, _, let refusal) = events.last else {
                Issue.record("not refused")
                return
            }
            #expect(refusal.rule == rule && refusal.limit == 0.2 && refusal.actual > 0.29 && refusal.actual < 0.31)
            guard case .order(let order) = try step(&session, bar(2, open: 0.5, close: 0.5), 0, into: &events) else {
                Issue.record("cannot leave")
                return
            }
            #expect(order.side == .sell)
            // The next day the daily loss starts anew, the drawdown does not.
            var tomorrow = bar(3, open: 0.5, close: 0.5)
            try step(&session, tomorrow, 0, into: &events)
            tomorrow.openTime = tomorrow.openTime + .days(1)
            let plan = try step(&session, tomorrow, 0.9, into: &events)
            if case .order = plan { #expect(rule == .maxDailyLoss) } else { #expect(rule == .maxDrawdown) }
        }

        var session = try makeSession(
            try rules(),
            risk: Self.only {
                $0.maxDrawdown = 0.2
                $0.onLossLimit = .flatten
            })
        var events: [SessionEvent] = []
        try step(&session, bar(0, open: 1, close: 1), 1, into: &events)
        try step(&session, bar(1, open: 1, close: 0.7), 1, into: &events)
        #expect(session.risk.killSwitch == .flatten)
        #expect(
            events.contains {
                if case .killSwitch(.flatten, _, let cause?) = $0 { cause.rule == .maxDrawdown } else { false }
            })
        // The decision at that close wanted to stay in, and was turned into a sale.
        try session.onBar("SUIUSDT", bar(2, open: 0.7, close: 0.7), into: &events)
        #expect(session.position(at: 0) == .zero)
    }

    @Test("freeze takes back what waits and trades nothing; off lets trade again; a close needs no decision")
    func killSwitch() throws {
        var session = try makeSession(try rules(), risk: RiskLimits())
        var events: [SessionEvent] = []
        try step(&session, bar(0, open: 1, close: 1), 1, into: &events)
        try session.setKillSwitch(.freeze, at: bar(0, open: 1, close: 1).closeTime, into: &events)
        #expect(events.orders.last?.state == .cancelled && events.orders.last?.reason == .killSwitch)
        #expect(
            try step(&session, bar(1, open: 1, close: 1), 1, into: &events)
                == .refuse(Refusal(rule: .killSwitch, limit: 0, actual: 1)))
        #expect(session.ledger.fillCount == 0)
        try session.setKillSwitch(.off, at: bar(1, open: 1, close: 1).closeTime, into: &events)
        try step(&session, bar(2, open: 1, close: 1), 1, into: &events)
        let next = bar(3, open: 1, close: 1)
        try step(&session, next, 1, into: &events)
        try session.setKillSwitch(.flatten, at: next.closeTime, into: &events)
        let plan = try session.planClose("SUIUSDT", origin: "cli", at: next.closeTime, into: &events)
        guard case .order(let order) = plan else {
            Issue.record("\(plan)")
            return
        }
        #expect(order.quantity == session.position(at: 0) && order.key.modelVersion == "cli")
    }

    @Test("limits that cannot be meant are refused")
    func validation() throws {
        for limits in [
            Self.only { $0.maxLeverage = 0 }, Self.only { $0.maxDrawdown = .nan },
            Self.only { $0.maxOrdersPerMinute = 0 },
            Self.only { $0.maxDataAge = .seconds(-1) },
        ] {
            #expect(throws: TradingError.self) { try makeSession(try rules(), risk: limits) }
        }
    }
}
