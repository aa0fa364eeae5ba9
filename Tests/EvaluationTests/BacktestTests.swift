import Evaluation
import Kernels
import MarketData
import Testing
import Trading

func bars(_ closes: [Double]) -> [Bar] {
    closes.indices.map { index in
        let open = index == 0 ? closes[0] : closes[index - 1]
        return Bar(
            openTime: Timestamp(seconds: 1_772_323_200 + Int64(index) * 60), interval: .minutes(1), open: open,
            high: max(open, closes[index]), low: min(open, closes[index]), close: closes[index], volume: 1000)
    }
}

func walk(_ count: Int, seed: UInt64, volatility: Double = 0.01, drift: Double = 0) -> [Double] {
    var random = RandomGenerator(seed: seed)
    var price = 1.0
    return (0..<count).map { _ in
        price *= exp(drift + volatility * random.normal())
        return price
    }
}

func spot(_ symbol: String = "SUIUSDT", short: Bool = false) throws -> InstrumentRules {
    try InstrumentRules.simulated(symbol, price: 1, allowsShort: short)
}

func configuration(short: Bool = false, risk: RiskLimits = .none) throws -> TradingSession.Configuration {
    .init(instruments: [.init(rules: try spot(short: short))], risk: risk)
}

@Suite struct BacktestTests {
    @Test("buy-and-hold through the session is the closed form: lots, fee, spread and cash that stays")
    func buyAndHold() throws {
        let closes = walk(500, seed: 1)
        let series = try MarketSeries(symbol: "SUIUSDT", bars: bars(closes))
        let result = try Baseline.buyAndHold.run(
            Backtest(session: try configuration(), window: 10), on: series, span: 0..<500)
        // The decision falls at close 9, the fill at open 10, which is close 9. Lots of 0.1, ticks of 0.0001.
        let price = ((closes[9] * 1.0002) / 0.0001).rounded(.up) * 0.0001
        let quantity = (19.99 * 0.995 / closes[9] / 0.1).rounded(.down) * 0.1
        let cash = 19.99 - quantity * price * 1.001
        #expect(result.fills.count == 1 && result.rows == 9..<500 && result.curve.count == 491)
        for (row, equity) in zip(result.rows, result.equity) {
            let expected = row == 9 ? 19.99 : cash + quantity * closes[row]
            // The fee is rounded up to 1e-8; the rest is double arithmetic.
            #expect(abs(equity - expected) < 2e-8)
        }
        #expect(result.statistics.fillCount == 1 && result.statistics.roundTripCount == 0)
        #expect(result.holds == [:] && result.orderCount == 1)
    }

    @Test("a backtest and the learning environment give the same account, bit for bit")
    func sameAsEnvironment() throws {
        let closes = walk(400, seed: 2)
        let series = try MarketSeries(symbol: "SUIUSDT", bars: bars(closes))
        var random = RandomGenerator(seed: 3)
        let actions = (0..<400).map { _ in Float(random.uniform(-1, 1)) }
        let result = try Backtest(session: try configuration(), window: 5).run(on: series, span: 50..<400) {
            _, context in
            Double(actions[context.row])
        }
        var environment = try TradingEnvironment(
            .init(session: try configuration(), window: 5, episodeLength: 1000), series: series, span: 50..<400)
        var buffer = [Float](repeating: 0, count: environment.observationSize)
        var target = buffer.mutableSpan
        environment.reset(at: 54, observation: &target)
        var equity = [environment.session.equity]
        for row in 54..<399 {
            let step = environment.step([actions[row]].span, observation: &target)
            equity.append(environment.session.equity)
            #expect(step.truncated == (row == 398))
        }
        #expect(result.equity == equity && result.session.ledger == environment.session.ledger)
        #expect(result.fills.count > 50)
        #expect(
            result.statistics.fees == environment.episode.fees
                || abs(result.statistics.fees - environment.episode.fees) < 1e-9)
    }

    @Test("the policy sees the window up to its bar and its own last target, and nothing later moves it")
    func noLookAhead() throws {
        let closes = walk(200, seed: 4)
        func series(_ closes: [Double]) throws -> MarketSeries {
            try MarketSeries(
                symbol: "SUIUSDT", bars: bars(closes), featureCount: 1, features: closes.map { Float($0) },
                mask: closes.map { _ in 1 })
        }
        func run(_ closes: [Double]) throws -> BacktestResult {
            try Backtest(session: try configuration(), window: 3).run(on: try series(closes), span: 0..<closes.count) {
                seen, context in
                #expect(seen.count == 5 && seen[2] == Float(context.bar.close) && seen[3] == 1)
                #expect(seen[4] == Float(context.previousTarget))
                return seen[2] > seen[0] ? 1 : 0
            }
        }
        let whole = try run(closes)
        for length in [20, 77, 140] {
            let prefix = try run(Array(closes[..<length]))
            #expect(prefix.equity == Array(whole.equity[..<prefix.equity.count]))
            #expect(prefix.fills == Array(whole.fills[..<prefix.fills.count]))
        }
    }

    @Test("refusals, holds and failed orders are counted; a policy that answers NaN trades nothing")
    func counts() throws {
        let series = try MarketSeries(symbol: "SUIUSDT", bars: bars(walk(50, seed: 5)))
        let backtest = Backtest(session: try configuration(), window: 1)
        let nan = try backtest.run(on: series, span: 0..<50) { _, _ in .nan }
        #expect(nan.refusals == [.invalidDecision: 49] && nan.fills.isEmpty && nan.equity.allSatisfy { $0 == 19.99 })
        let timid = try backtest.run(on: series, span: 0..<50) { _, _ in 0.1 }
        #expect(timid.holds == ["too_small.min_notional": 49] && timid.fills.isEmpty)
        #expect(throws: TradingError.self) { try backtest.run(on: series, span: 0..<51) { _, _ in nil } }
        #expect(throws: TradingError.self) {
            try Backtest(session: try configuration(), window: 50).run(on: series, span: 0..<50) { _, _ in nil }
        }
        let other = try MarketSeries(symbol: "BTCUSDT", bars: bars(walk(50, seed: 5)))
        #expect(throws: TradingError.unknownSymbol("BTCUSDT")) {
            try backtest.run(on: other, span: 0..<50) { _, _ in nil }
        }
    }
}

@Suite struct BacktestFundingTests {
    /// One-minute bars from 2026-03-01, all at price 1 but for the closes that are given.
    private func series(_ closes: [Double]) throws -> MarketSeries {
        try MarketSeries(symbol: "SUIUSDT", bars: bars(closes))
    }

    private func minute(_ minute: Double, _ rate: Double, hours: Int64) -> Stamped<FundingRate> {
        Stamped(
            time: Timestamp(microseconds: 1_772_323_200_000_000 + Int64(minute * 60_000_000)),
            value: FundingRate(rate: rate, interval: .hours(hours)))
    }

    @Test("each settlement counts once, at its time, on what is held then, whatever its interval")
    func byHand() throws {
        let session = TradingSession.Configuration(
            initialCash: Amount(units: 10_000_000_000),
            instruments: [
                .init(rules: try InstrumentRules.simulated("SUIUSDT", price: 1, allowsShort: true, takerFee: 0))
            ],
            reserve: 0, costs: ExecutionCosts(halfSpreadBasisPoints: 0, slippageBasisPoints: 0), risk: .none)
        // Long 50 from minute 1 on, short 50 from minute 4, flat from minute 6.
        let targets = [0.5, 0.5, 0.5, -0.5, -0.5, 0, 0]
        var backtest = Backtest(session: session, window: 1)
        backtest.funding = [
            minute(-5, 0.9, hours: 8), minute(0, 0.9, hours: 8),
            // At the open that fills the first order: nothing was held yet.
            minute(1, 0.9, hours: 8),
            // Within a bar, of what its open filled, at its open; at a bar's open, of what was held before.
            minute(1.001, 0.01, hours: 4), minute(2, 0.02, hours: 4), minute(4, 0.001, hours: 8),
            minute(5, 0.01, hours: 1), minute(6, 0.002, hours: 4), minute(6.5, 0.9, hours: 8),
            minute(60, 0.9, hours: 8),
        ]
        let result = try backtest.run(on: try series(Array(repeating: 1, count: 8)), span: 0..<8) { _, context in
            targets[context.row]
        }
        // −0.5 − 1 − 0.05 long, then short: the lots and price are 50·1, later a little less as equity falls.
        let short = result.fills.dropFirst().first.map { $0.quantity.double - 50 } ?? 0
        let expected = -50 * 0.01 - 50 * 0.02 - 50 * 0.001 + short * 0.012
        #expect(result.fills.count >= 3 && result.session.position(at: 0) == .zero)
        #expect(abs(result.session.ledger.funding.double - expected) < 1e-7)
        // The account at the close of each minute knows what was paid until then.
        #expect(result.equity.prefix(3).map { ($0 * 1e4).rounded() / 1e4 } == [100, 99.5, 98.5])
        // Spot pays nothing, and nobody pays for settlements out of order.
        backtest.session = try configuration()
        let spot = try Baseline.buyAndHold.run(backtest, on: try series(walk(8, seed: 1)), span: 0..<8)
        #expect(spot.session.ledger.funding == .zero && spot.fills.count == 1)
        backtest.funding.reverse()
        #expect(throws: TradingError.invalidSeries(reason: "funding is not in order of time")) {
            try backtest.run(on: try series(walk(8, seed: 1)), span: 0..<8) { _, _ in nil }
        }
    }

    @Test("the baselines of a perpetual pay funding too: what a holder pays is Σ position·price·rate")
    func baseline() throws {
        let closes = walk(2000, seed: 12, volatility: 0.001)
        var random = RandomGenerator(seed: 13)
        var backtest = Backtest(session: try configuration(short: true), window: 1)
        // Every 4 hours, then every 8, of a bar a minute.
        let times = stride(from: 0, to: 1000, by: 240).map { ($0, Int64(4)) } + [(1200, 4), (1680, 8)]
        backtest.funding = times.map { minute(Double($0.0), 1e-3 * random.normal(), hours: $0.1) }
        let result = try Baseline.buyAndHold.run(backtest, on: try series(closes), span: 0..<2000)
        let held = result.session.position(at: 0).double
        // At the last close before each settlement; the first is before the purchase.
        let expected = zip(times, backtest.funding).dropFirst().reduce(0) {
            $0 - held * closes[$1.0.0 - 1] * $1.1.value.rate
        }
        #expect(result.fills.count == 1 && abs(result.session.ledger.funding.double - expected) < 1e-6)
        #expect(BacktestReport(result).statistics.funding == result.session.ledger.funding.double)
    }
}

@Suite struct BaselineTests {
    @Test("flat stays flat; the random one trades about as much as it is told to", arguments: [false, true])
    func turnover(short: Bool) throws {
        let series = try MarketSeries(symbol: "SUIUSDT", bars: bars(walk(4000, seed: 6, volatility: 0.002)))
        let backtest = Backtest(session: try configuration(short: short), window: 1)
        let flat = try Baseline.flat.run(backtest, on: series, span: 0..<4000)
        #expect(flat.equity.allSatisfy { $0 == 19.99 } && flat.orderCount == 0)
        for turnover in [0.02, 0.08] {
            let result = try Baseline.random(turnoverPerBar: turnover, seed: 7).run(
                backtest, on: series, span: 0..<4000)
            let measured = result.statistics.relativeTurnover / 3999
            // 80 jumps or more: three standard deviations are 34 %.
            #expect(abs(measured / turnover - 1) < 0.35, "\(measured) for \(turnover)")
            #expect(result.statistics.totalReturn < 0)
        }
    }

    @Test("the moving averages ride a trend, are in only after the warm-up, and go short only where one may")
    func emaCross() throws {
        let up = walk(300, seed: 8, volatility: 0.001, drift: 0.004)
        let closes = up + up.reversed()
        let series = try MarketSeries(symbol: "SUIUSDT", bars: bars(closes))
        let baseline = Baseline.emaCross(fast: 5, slow: 20)
        let long = try baseline.run(Backtest(session: try configuration(), window: 1), on: series, span: 0..<600)
        #expect(long.targets.prefix(20).allSatisfy { $0 == nil } && long.targets[20] == 1)
        #expect(long.fills.count == 2 && long.statistics.totalReturn > 1.5)
        let both = try baseline.run(
            Backtest(session: try configuration(short: true), window: 1), on: series, span: 0..<600)
        #expect(both.statistics.totalReturn > long.statistics.totalReturn && both.fills.last?.side == .sell)
    }

    @Test("the standard four go beside a result, the random one with its turnover")
    func standard() throws {
        let series = try MarketSeries(symbol: "SUIUSDT", bars: bars(walk(300, seed: 9)))
        let backtest = Backtest(session: try configuration(), window: 2)
        let result = try backtest.run(on: series, span: 0..<300) { _, context in context.row % 10 < 5 ? 1 : 0 }
        let baselines = Baseline.standard(beside: result, seed: 1)
        #expect(baselines.map(\.name) == ["buy-and-hold", "flat", "random", "ema-cross-12-26"])
        guard case .random(let turnover, 1) = baselines[2] else {
            Issue.record("no random baseline")
            return
        }
        #expect(abs(turnover - 0.2) < 0.05)
        for baseline in baselines { #expect(try baseline.run(backtest, on: series, span: 0..<300).rows == result.rows) }
    }
}

@Suite struct WalkForwardTests {
    @Test("spans follow one another with the whole gap between them, tests side by side", arguments: [true, false])
    func folds(isExpanding: Bool) throws {
        let split = WalkForward(
            trainingCount: 100, validationCount: 30, testCount: 40, labelHorizon: 5, featureMemory: 15,
            isExpanding: isExpanding)
        let folds = try split.folds(in: 1000..<1500)
        // 100 + 20 + 30 + 20 rows before the first test: 330 are left for tests of 40.
        #expect(folds.count == 8 && folds[0].test == 1170..<1210 && folds[0].training == 1000..<1100)
        #expect(folds[0].validation == 1120..<1150)
        for fold in folds {
            #expect(fold.validation.lowerBound - fold.training.upperBound == 20)
            #expect(fold.test.lowerBound - fold.validation.upperBound == 20)
            #expect(isExpanding ? fold.training.lowerBound == 1000 : fold.training.count == 100)
            #expect(fold.test.upperBound <= 1500 && fold.test.count == 40 && fold.validation.count == 30)
        }
        for (early, late) in zip(folds, folds.dropFirst()) { #expect(early.test.upperBound == late.test.lowerBound) }
    }

    @Test("without validation there is one gap; what does not fit is refused")
    func edges() throws {
        let split = WalkForward(trainingCount: 10, testCount: 5, labelHorizon: 1, featureMemory: 2)
        let folds = try split.folds(in: 0..<18)
        #expect(folds == [.init(training: 0..<10, validation: 10..<10, test: 13..<18)])
        #expect(throws: TradingError.self) { try split.folds(in: 0..<17) }
        #expect(throws: TradingError.self) {
            try WalkForward(trainingCount: 0, testCount: 5, labelHorizon: 0, featureMemory: 0).folds(in: 0..<100)
        }
    }
}
