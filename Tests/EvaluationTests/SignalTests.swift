import Evaluation
import Kernels
import MarketData
import Testing
import Trading

/// A backtest step by step, as the paper account goes: `onBar`, `plan`, `send`, and every event kept.
private struct StepByStep {
    var points: [EquityPoint] = []
    var fills: [Fill] = []
    var refusals: [RiskRule: Int] = [:]
    var holds: [String: Int] = [:]
    var failedOrders: [OrderReason: Int] = [:]
    var orderCount = 0
    var killSwitches = 0
    var session: TradingSession

    init(_ backtest: Backtest, _ series: MarketSeries, _ rows: Range<Int>, _ signal: [Double?]) throws {
        session = try TradingSession(backtest.session)
        for row in rows {
            var events: [SessionEvent] = []
            let bar = series.bars[row]
            try session.onBar(series.symbol, bar, into: &events)
            if row + 1 < rows.upperBound, let target = signal[row] {
                let decision = Decision(
                    symbol: series.symbol, barTime: bar.openTime, modelVersion: backtest.modelVersion,
                    targetExposure: target, time: bar.closeTime, referencePrice: bar.close)
                if case .order(let order) = try session.plan(decision, into: &events) {
                    try session.send(order, at: bar.closeTime, into: &events)
                }
            }
            try session.checkInvariants()
            for event in events { take(event) }
        }
    }

    private mutating func take(_ event: SessionEvent) {
        switch event {
        case .equity(let point): points.append(point)
        case .fill(let fill): fills.append(fill)
        case .refusal(_, _, let refusal): refusals[refusal.rule, default: 0] += 1
        case .hold(_, _, let reason): holds[reason.name, default: 0] += 1
        case .order(let order):
            if order.state == .new { orderCount += 1 }
            if let reason = order.reason { failedOrders[reason, default: 0] += 1 }
        case .killSwitch: killSwitches += 1
        case .funding: break
        }
    }
}

/// Bars of some market: quiet or wild, with jumps between close and open, bars without trades, and missing bars.
private func randomBars(_ count: Int, _ random: inout RandomGenerator) -> [Bar] {
    let volatility = [0.0005, 0.005, 0.05][random.index(below: 3)]
    let interval = [Interval.seconds(5), .minutes(1), .hours(7)][random.index(below: 3)]
    var (price, time) = (exp(random.uniform(-1, 1)), Timestamp(seconds: 1_772_323_200))
    return (0..<count).map { _ in
        time = time + interval * Int64(random.uniform() < 0.05 ? 1 + random.index(below: 40) : 1)
        let open = price * exp(random.uniform() < 0.1 ? volatility * random.normal() : 0)
        price = open * exp(volatility * random.normal())
        return Bar(
            openTime: time, interval: interval, open: open, high: max(open, price) * 1.001,
            low: min(open, price) / 1.001, close: price, volume: random.uniform() < 0.05 ? 0 : 100 * random.uniform())
    }
}

/// Targets that change rarely or at each bar, are left out, or are wrong.
private func randomSignal(_ count: Int, _ random: inout RandomGenerator) -> [Double?] {
    let (change, silence, fault) = (random.uniform() * random.uniform(), random.uniform(), random.uniform() * 0.02)
    let levels: [Double] = [-1, -0.3, 0, 0.001, 0.5, 1]
    var target = 0.0
    return (0..<count).map { _ in
        if random.uniform() < change {
            target = random.uniform() < 0.3 ? random.uniform(-1, 1) : levels[random.index(below: levels.count)]
        }
        if random.uniform() < fault { return [Double.nan, 1.5, -.infinity][random.index(below: 3)] }
        return random.uniform() < silence ? nil : target
    }
}

private func randomBacktest(_ random: inout RandomGenerator) throws -> Backtest {
    let short = random.uniform() < 0.5
    let rules = try InstrumentRules.simulated(
        "SUIUSDT", price: 1, allowsShort: short, takerFee: [0, 0.0005, 0.001][random.index(below: 3)])
    var risk = RiskLimits()
    if random.uniform() < 0.5 { risk.maxDailyLoss = 0.2 * random.uniform() + 0.001 }
    if random.uniform() < 0.5 { risk.maxDrawdown = 0.5 * random.uniform() + 0.001 }
    if random.uniform() < 0.3 { risk.maxOrdersPerMinute = nil }
    if random.uniform() < 0.3 { risk.maxOrdersPerMinute = 1 }
    if random.uniform() < 0.3 { risk.priceCollar = 0.0003 }
    if random.uniform() < 0.2 { risk.maxLeverage = 0.4 }
    if random.uniform() < 0.2 { risk.maxOrderNotional = 15 }
    if random.uniform() < 0.2 { risk.maxPositionNotional = 18 }
    if random.uniform() < 0.1 { risk = .none }
    risk.onLossLimit = KillSwitch.allCases[random.index(below: 3)]
    let allocation = random.uniform() < 0.5 ? 1 : 0.5 + 0.5 * random.uniform()
    var instruments = [TradingSession.Instrument(rules: rules, allocation: allocation)]
    if random.uniform() < 0.3 {
        instruments[0].allocation = 0.5
        let other = TradingSession.Instrument(rules: try .simulated("XYZUSDT", price: 3), allocation: 0.5)
        instruments.insert(other, at: random.index(below: 2))
    }
    let cash = [19.99, 100, 100_000][random.index(below: 3)]
    return Backtest(
        session: .init(
            initialCash: try #require(Amount(cash)), instruments: instruments, reserve: 0.01 * random.uniform(),
            costs: .init(impactBasisPoints: random.uniform() < 0.5 ? 0 : 20), risk: risk),
        window: 1 + random.index(below: 5))
}

@Suite struct SignalTests {
    @Test(
        "a signal, a policy that answers it and the account step by step give one result, bit for bit",
        arguments: 0..<60)
    func sameResult(seed: Int) throws {
        var random = RandomGenerator(seed: UInt64(seed))
        for _ in 0..<20 {
            let count = 20 + random.index(below: 300)
            let backtest = try randomBacktest(&random)
            let series = try MarketSeries(symbol: "SUIUSDT", bars: randomBars(count, &random))
            let signal = randomSignal(count, &random)
            let start = random.index(below: 10)
            let fast = try backtest.run(on: series, span: start..<count, signal: signal)
            let general = try backtest.run(on: series, span: start..<count) { _, context in signal[context.row] }
            let slow = try StepByStep(backtest, series, fast.rows, signal)
            for result in [fast, general] {
                #expect(Array(result.curve) == slow.points && result.fills == slow.fills)
                #expect(result.refusals == slow.refusals && result.holds == slow.holds)
                #expect(result.failedOrders == slow.failedOrders && result.orderCount == slow.orderCount)
                #expect(result.session.saveState() == slow.session.saveState())
                #expect(result.equity == slow.points.map(\.equity))
                #expect(result.curve.leverages == slow.points.map(\.leverage))
            }
            // NaN is not equal to itself.
            #expect(fast.targets.map { $0?.bitPattern } == general.targets.map { $0?.bitPattern })
            #expect(fast.rows == general.rows && fast.statistics == general.statistics)
        }
    }

    @Test("the random markets and signals reach every rule that a backtest can meet")
    func coverage() throws {
        var (rules, holds, failures): (Set<RiskRule>, Set<String>, Set<OrderReason>) = ([], [], [])
        var (fills, killSwitches) = (0, 0)
        for seed in 0..<60 {
            var random = RandomGenerator(seed: UInt64(seed))
            for _ in 0..<20 {
                let count = 20 + random.index(below: 300)
                let backtest = try randomBacktest(&random)
                let series = try MarketSeries(symbol: "SUIUSDT", bars: randomBars(count, &random))
                let signal = randomSignal(count, &random)
                let found = try StepByStep(backtest, series, random.index(below: 10)..<count, signal)
                rules.formUnion(found.refusals.keys)
                holds.formUnion(found.holds.keys)
                failures.formUnion(found.failedOrders.keys)
                fills += found.fills.count
                killSwitches += found.killSwitches
            }
        }
        // One decision a bar, about that bar: neither stale nor repeated.
        #expect(rules == Set(RiskRule.allCases).subtracting([.staleData]))
        #expect(holds == ["at_target", "too_small.lot_size", "too_small.min_notional"])
        #expect(failures.isSuperset(of: [.noTrades, .insufficientBalance]))
        #expect(fills > 10_000 && killSwitches > 20)
    }

    @Test("a signal has an element a row; a span must fit, and the series' bars must be bars")
    func edges() throws {
        let series = try MarketSeries(symbol: "SUIUSDT", bars: bars(walk(50, seed: 5)))
        let backtest = Backtest(session: try configuration(), window: 1)
        #expect(throws: TradingError.self) {
            try backtest.run(on: series, span: 0..<50, signal: [Double?](repeating: 1, count: 49))
        }
        let signal = [Double?](repeating: 1, count: 50)
        #expect(throws: TradingError.self) { try backtest.run(on: series, span: 0..<51, signal: signal) }
        #expect(throws: TradingError.self) { try backtest.run(on: series, span: 3..<4, signal: signal) }
        let instant = Bar(
            openTime: Timestamp(seconds: 60), interval: Interval(microseconds: 0), open: 1, high: 1, low: 1, close: 1,
            volume: 1)
        var later = instant
        later.openTime = Timestamp(seconds: 61)
        let flawed = try MarketSeries(symbol: "SUIUSDT", bars: [instant, later])
        #expect(throws: TradingError.invalidBar(symbol: "SUIUSDT", openTimeMicroseconds: 60_000_000)) {
            try backtest.run(on: flawed, span: 0..<2, signal: [1, nil])
        }
        let least = try backtest.run(on: series, span: 10..<12, signal: signal)
        #expect(least.rows == 10..<12 && least.targets == [1] && least.fills.count == 1 && least.curve.count == 2)
    }
}
