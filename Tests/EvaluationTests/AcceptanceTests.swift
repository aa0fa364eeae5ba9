import Kernels
import MarketData
import Testing

@testable import Evaluation
@testable import Trading

@Suite struct PermutationTestTests {
    @Test("rank correlation with ties is the textbook's") func correlation() {
        var random = RandomGenerator(seed: 1)
        // By hand: ranks 1 2.5 2.5 4 5 6 7 8 and 2 1 3 4 6 5 8 7.
        let test = PermutationTest(
            forecast: [1, 2, 2, 4, 5, 6, 7, 8], truth: [20, 10, 30, 40, 60, 50, 80, 70], random: &random)
        // Σ of products of centred ranks over √(41.5 · 42).
        #expect(abs(test.correlation - 38 / (41.5 * 42.0).squareRoot()) < 1e-12)
        let constant = PermutationTest(
            forecast: Array(repeating: 3, count: 8), truth: (0..<8).map(Double.init), random: &random)
        #expect(constant.correlation == 0 && constant.pValue == 1)
    }

    /// Slow averages of noise look alike by chance more often than values that do not hang together.
    @Test("chance is found significant as rarely as it says, calm series included")
    func honest() {
        var random = RandomGenerator(seed: 2)
        func calm(_ count: Int) -> [Double] {
            var value = 0.0
            return (0..<count).map { _ in
                value += 0.05 * (random.normal() - value)
                return value
            }
        }
        let found = (0..<200).count { _ in
            let (a, b) = (calm(400), calm(400))
            var shifting = RandomGenerator(seed: random.next())
            return PermutationTest(forecast: a, truth: b, shifts: 199, random: &shifting).pValue <= 0.05
        }
        // Of 200 draws of 5 %: more than 22 has probability 1e-4.
        #expect(found <= 22, "\(found)")
        let a = calm(400)
        let b = a.map { $0 + 0.5 * random.normal() }
        #expect(PermutationTest(forecast: a, truth: b, random: &random).pValue <= 0.01)
    }
}

@Suite struct HeadReportTests {
    private static func evidence(
        _ outputs: [Double], gradients: [(layer: String, norm: Double)] = [("0", 1), ("1", 2)], effect: Double = 0.5
    ) -> HeadEvidence {
        var random = RandomGenerator(seed: 9)
        return HeadEvidence(
            name: "value", outputs: outputs, gradients: gradients, effect: effect,
            truth: truth.map { $0 + 0.1 * random.normal() })
    }

    private static let truth = {
        var random = RandomGenerator(seed: 8)
        return (0..<300).map { _ in random.normal() }
    }()

    private static func failures(_ evidence: HeadEvidence) -> [String] {
        var random = RandomGenerator(seed: 3)
        return HeadReport(evidence, random: &random).conditions.filter { !$0.passed }.map(\.name)
    }

    @Test("a head that works passes; each way of being dead is found") func deaths() {
        #expect(Self.failures(Self.evidence(Self.truth)) == [])
        #expect(Self.failures(Self.evidence(Self.truth.map { _ in 0.7 })) == ["varies", "score"])
        #expect(Self.failures(Self.evidence(Self.truth, gradients: [("0", 0), ("1", 2)])) == ["gradient"])
        #expect(Self.failures(Self.evidence(Self.truth, gradients: [])) == ["gradient"])
        #expect(Self.failures(Self.evidence(Self.truth, effect: 0.001)) == ["effect"])
        #expect(Self.failures(Self.evidence(Self.truth.map { -$0 })) == ["score"])
        var random = RandomGenerator(seed: 4)
        let report = HeadReport(Self.evidence(Self.truth, gradients: [("0", 0), ("1", 2)]), random: &random)
        #expect(report.conditions[1].note == "weakest in layer 0" && !report.passed)
    }
}

/// A market whose next return is known in part one bar before: what an honest model may earn from.
private struct Predictable {
    let series: MarketSeries
    /// The sign of what is known of the next bar's return.
    let signal: [Double]

    /// `strength` is the known part of a bar's return, `noise` the rest; days of the given bars.
    init(days: Int, bars perDay: Int, strength: Double, noise: Double, seed: UInt64) throws {
        var random = RandomGenerator(seed: seed)
        let count = days * perDay
        let seconds = Int64(86_400 / perDay)
        let interval = Interval.seconds(seconds)
        var (price, sign) = (1.0, 1.0)
        var bars: [Bar] = []
        var signs: [Double] = []
        for index in 0..<count {
            let open = price
            price *= exp(strength * sign + noise * random.normal())
            bars.append(
                Bar(
                    openTime: Timestamp(seconds: 1_767_225_600 + Int64(index) * seconds), interval: interval,
                    open: open, high: max(open, price), low: min(open, price), close: price, volume: 1000))
            if random.uniform() < 0.05 { sign = -sign }
            signs.append(sign)
        }
        series = try MarketSeries(symbol: "SUIUSDT", bars: bars)
        signal = signs
    }

    func run(_ target: (Int) -> Double) throws -> BacktestResult {
        try Backtest(session: try configuration(risk: .none), window: 1).run(on: series, span: 0..<series.count) {
            _, context in target(context.row)
        }
    }

    func evidence(_ result: BacktestResult) -> [HeadEvidence] {
        let outputs = result.targets.map { $0 ?? 0 }
        let returns = (0..<outputs.count).map { series.bars[$0 + 1].close / series.bars[$0].close - 1 }
        return [
            HeadEvidence(
                name: "policy", outputs: outputs, gradients: [("0", 1)], effect: 1, truth: returns)
        ]
    }
}

@Suite struct AcceptanceTests {
    private func judge(
        _ result: BacktestResult, _ heads: [HeadEvidence], isAllThereIs: Bool = false, trials: Int = 1,
        _ change: (inout AcceptanceCriteria) -> Void = { _ in }
    ) throws -> Acceptance {
        var criteria = AcceptanceCriteria()
        criteria.bootstrapSamples = 200
        change(&criteria)
        var random = RandomGenerator(seed: 5)
        return try Acceptance(
            result, heads: heads, isAllThereIs: isAllThereIs, trials: (trials, nil), criteria: criteria,
            random: &random)
    }

    @Test("a model with an edge is accepted, and each condition refuses it by itself")
    func conditions() throws {
        let market = try Predictable(days: 70, bars: 24, strength: 0.0014, noise: 0.01, seed: 1)
        let result = try market.run { market.signal[$0] > 0 ? 1 : 0 }
        let heads = market.evidence(result)
        let accepted = try judge(result, heads)
        #expect(accepted.passed, "\(accepted.failures) \(result.statistics)")
        #expect(accepted.conditions.count == 10 && abs(accepted.days - 70) < 0.1)
        func failures(trials: Int = 1, _ change: (inout AcceptanceCriteria) -> Void = { _ in }) throws -> [String] {
            try judge(result, heads, trials: trials, change).failures
        }
        #expect(try failures { $0.minimumDays = 80 } == ["days out of sample"])
        #expect(try failures { $0.minimumProbabilityOfProfit = 1.01 } == ["probability of profit"])
        #expect(try failures { $0.minimumDeflatedSharpe = 1.01 } == ["deflated Sharpe ratio"])
        #expect(try failures { $0.maximumDrawdown = 0.001 } == ["max drawdown"])
        #expect(try failures { $0.minimumTrades = 10_000 } == ["trades"])
        // What is found among more is worth less.
        let many = try judge(result, heads, trials: 1000)
        #expect(try #require(many.deflatedSharpe) < (try #require(accepted.deflatedSharpe)))
        // Fewer days pass where there are no more, and the verdict says so.
        let all = try judge(result, heads, isAllThereIs: true) { $0.minimumDays = 80 }
        #expect(all.passed && all.conditions[0].note.contains("all there is"))
        let dead = HeadEvidence(
            name: "value", outputs: heads[0].outputs.map { _ in 0.5 }, gradients: [("0", 1)], effect: 0,
            truth: heads[0].truth)
        let refused = try judge(result, heads + [dead])
        #expect(
            refused.failures == ["head value: varies", "head value: effect", "head value: score"])
    }

    @Test("a model without an edge is refused: by its loss, its odds and its head's score")
    func noEdge() throws {
        let market = try Predictable(days: 70, bars: 24, strength: 0, noise: 0.01, seed: 2)
        let result = try market.run { market.signal[$0] > 0 ? 1 : 0 }
        let verdict = try judge(result, market.evidence(result))
        #expect(!verdict.passed && verdict.failures.contains("probability of profit"), "\(verdict.failures)")
        #expect(verdict.failures.contains("head policy: score"))
        // Who never trades has nothing to be judged by.
        let flat = try market.run { _ in 0 }
        let verdictOfFlat = try judge(flat, market.evidence(flat))
        #expect(
            verdictOfFlat.failures == [
                "net profit", "probability of profit", "deflated Sharpe ratio", "trades", "head policy: varies",
                "head policy: score",
            ])
    }

    @Test("a model that looks ahead is caught, and look-ahead named") func lookAhead() throws {
        let market = try Predictable(days: 40, bars: 24, strength: 0, noise: 0.01, seed: 3)
        let bars = market.series.bars
        let result = try market.run { bars[$0 + 1].close > bars[$0 + 1].open ? 1 : 0 }
        #expect(throws: Implausible.self) { try judge(result, market.evidence(result)) }
        do throws(Implausible) { try PlausibilityGuard.check(result) } catch {
            #expect(error.finding.contains("Sharpe ratio") && error.cause.hasPrefix("look-ahead: the targets"))
        }
    }

    @Test("winning nearly always is caught; so is a profit while nothing was held") func impossible() throws {
        let market = try Predictable(days: 40, bars: 24, strength: 0, noise: 0.004, seed: 4)
        // Sells only what has gained: losers are held to the end.
        let bars = market.series.bars
        var bought: Double?
        let result = try market.run { row in
            if let price = bought, bars[row].close > price * 1.004 { bought = nil } else if bought == nil {
                bought = bars[row].close
            }
            return bought == nil ? 0 : 1
        }
        #expect(result.statistics.roundTripCount >= 10)
        do throws(Implausible) {
            try PlausibilityGuard.check(result)
            Issue.record("\(result.statistics)")
        } catch { #expect(error.finding.contains("trades won")) }
        var flat = try market.run { _ in 0 }
        try PlausibilityGuard.check(flat)
        for index in 100..<flat.curve.count { flat.curve.points[index].equity += 0.01 }
        do throws(Implausible) {
            try PlausibilityGuard.check(flat)
            Issue.record("a profit out of nothing passed")
        } catch { #expect(error.finding.contains("held nothing") && error.cause.hasPrefix("the books")) }
    }

    @Test("three lucky days are no reason to stop") func shortLuck() throws {
        let market = try Predictable(days: 2, bars: 24, strength: 0.002, noise: 0.004, seed: 6)
        let result = try market.run { _ in 1 }
        #expect(try #require(result.statistics.sharpe) > 10)
        try PlausibilityGuard.check(result)
    }

    @Test("what can be traded with 19.99: by minima and lots, by hand") func tradability() throws {
        func rules(lot: String, least: String) throws -> InstrumentRules {
            try InstrumentRules(
                symbol: "BTCUSDT", baseAsset: "BTC", quoteAsset: "USDT", tickSize: try #require(Price("0.01")),
                lotSize: try #require(Quantity(lot)), minQuantity: try #require(Quantity(least)),
                maxQuantity: try #require(Quantity("100")), minNotional: try #require(Amount("5")), makerFee: 0.001,
                takerFee: 0.001, allowsShort: false)
        }
        let fine = Tradability(try rules(lot: "0.00001", least: "0.00001"), price: 67_000, capital: 19.99)
        // 8 lots of 0.67 are the first above 5; 29 fit into 19.89.
        #expect(fine.isTradable && abs(fine.minimumOrder - 5.36) < 1e-9 && fine.steps == 29)
        #expect(abs(fine.roundTripCost - 0.0024) < 1e-12)
        let coarse = Tradability(try rules(lot: "0.001", least: "0.001"), price: 67_000, capital: 19.99)
        #expect(!coarse.isTradable && abs(coarse.minimumOrder - 67) < 1e-9 && coarse.steps == 0)
        let whole = Tradability(try rules(lot: "0.00001", least: "0.0001"), price: 50_000, capital: 5)
        #expect(!whole.isTradable && abs(whole.minimumOrder - 5) < 1e-9)
    }
}
