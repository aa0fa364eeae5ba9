@testable import Heston
import Kernels
import MarketData
import Testing

@Suite struct BlackTests {
    @Test("the normalised function to a few ulp, near and far", arguments: try Golden.rows("black.csv"))
    func normalised(row: [Double]) throws {
        let (x, s, expected) = (row[0], row[1], row[2])
        // e^(−x²/2s²) turns half an ulp of x/s into (x/s)² of them.
        let condition = 1 + (x / s) * (x / s)
        #expect(abs(NormalisedBlack.price(x, s) / expected - 1) < 4e-16 * (8 + condition), "\(row)")
        let solved = try #require(NormalisedBlack.solve(x, NormalisedBlack.price(x, s)))
        // What rounding of b leaves of s: b/(b′s) relative, ×8.
        let attainable = 1 + expected / (NormalisedBlack.vega(x, s) * s)
        if attainable < 1e12 { #expect(abs(solved / s - 1) < 2e-15 * (2 + attainable), "\(row)") }
    }

    @Test("implied volatility inverts the price over the whole domain")
    func roundTrip() throws {
        var random = RandomGenerator(seed: 31)
        for _ in 0..<3000 {
            let k = random.uniform(-3, 3)
            let tau = Draw.logUniform(1e-3, 10, &random)
            let volatility = Draw.logUniform(0.01, 4, &random)
            let kind: OptionQuote.Kind = k >= 0 ? .call : .put
            let strike = 60_000 * exp(k)
            let price = try Black.price(kind, forward: 60_000, strike: strike, tau: tau, volatility: volatility)
            guard price > 1e-280, price < 0.999 * min(60_000, strike) else { continue }
            let found = try Black.impliedVolatility(kind, price: price, forward: 60_000, strike: strike, tau: tau)
            #expect(abs(found / volatility - 1) < 3e-12, "\(k) \(tau) \(volatility)")
            let again = try Black.price(kind, forward: 60_000, strike: strike, tau: tau, volatility: found)
            #expect(abs(again / price - 1) < 1e-12)
        }
    }

    @Test("one step is enough for |x| and s up to 2, and right")
    func directSolution() {
        var random = RandomGenerator(seed: 32)
        for i in 0..<20_000 {
            let s = i % 2 == 0 ? random.uniform(1e-3, 2) : Draw.logUniform(1e-90, 2, &random)
            // At the money, and as far from it as leaves a price.
            let h = i % 3 == 0 ? Draw.logUniform(1e-9, 37, &random) : random.uniform(0, 37)
            let m = i % 5 == 0 ? 0 : min(2, s * h)
            let beta = NormalisedBlack.price(-m, s)
            guard beta > 1e-300 else { continue }
            let found = NormalisedBlack.DirectSolution(
                .init(magnitude: Vector(repeating: m), beta: Vector(repeating: beta)))
            #expect(!found.isOpen.isAnySet, "\(m) \(s)")
            // b's own rounding, and e^(−h²/2)'s in it.
            let condition = 1 + m / s * (m / s)
            let allowed = 4e-16 * (8 + condition) / condition + 2e-15
            #expect(abs(found.total[0] / s - 1) < allowed, "\(m) \(s)")
        }
    }

    @Test("a batch is the single answers, whatever stands beside it")
    func batch() throws {
        var random = RandomGenerator(seed: 33)
        var (kinds, prices, strikes, exact): ([OptionQuote.Kind], [Double], [Double], [Double]) = ([], [], [], [])
        for i in 0..<1003 {
            // Every few, one beyond the reach of the direct solution, and one without a volatility.
            let k = i % 7 == 0 ? random.uniform(2, 5) : random.uniform(-1, 1)
            let volatility = Draw.logUniform(0.1, i % 11 == 0 ? 5 : 1, &random)
            let kind: OptionQuote.Kind = k >= 0 ? .call : .put
            kinds.append(kind)
            strikes.append(100 * exp(k))
            prices.append(try Black.price(kind, forward: 100, strike: 100 * exp(k), tau: 2, volatility: volatility))
            if i % 13 == 0 { prices[i] = i % 2 == 0 ? 0 : 101 + strikes[i] }
            exact.append(volatility)
        }
        var found: [Double] = []
        try Black.impliedVolatilities(kinds, prices: prices, forward: 100, strikes: strikes, tau: 2, into: &found)
        for i in 0..<1003 {
            let single = try? Black.impliedVolatility(
                kinds[i], price: prices[i], forward: 100, strike: strikes[i], tau: 2)
            #expect(found[i].isNaN == (single == nil), "\(i)")
            guard let single else { continue }
            #expect(abs(found[i] / single - 1) < 3e-15, "\(i)")
            // Denormal prices have no digits to give.
            if prices[i] > 1e-290 { #expect(abs(single / exact[i] - 1) < 1e-13, "\(i)") }
        }
    }

    @Test("prices without a volatility say why")
    func errors() {
        func volatility(_ kind: OptionQuote.Kind, _ price: Double, _ strike: Double) throws -> Double {
            try Black.impliedVolatility(kind, price: price, forward: 100, strike: strike, tau: 0.5)
        }
        #expect(throws: HestonError.belowIntrinsic(price: 9, intrinsic: 10)) { try volatility(.call, 9, 90) }
        #expect(throws: HestonError.belowIntrinsic(price: -1, intrinsic: 0)) { try volatility(.call, -1, 110) }
        #expect(throws: HestonError.aboveUpperBound(price: 100, bound: 100)) { try volatility(.call, 100, 90) }
        #expect(throws: HestonError.aboveUpperBound(price: 95, bound: 90)) { try volatility(.put, 95, 90) }
        #expect(throws: HestonError.noVolatilityInformation(price: 10, intrinsic: 10)) { try volatility(.call, 10, 90) }
        #expect(throws: HestonError.noVolatilityInformation(price: 0, intrinsic: 0)) { try volatility(.put, 0, 90) }
        #expect(throws: HestonError.self) { try volatility(.call, .nan, 90) }
        #expect(throws: HestonError.self) { try volatility(.call, 1, -90) }
        #expect(throws: HestonError.self) { try Black.price(.call, forward: 1, strike: 1, tau: 1, volatility: .nan) }
    }

    @Test("Greeks are the price's differences", arguments: [OptionQuote.Kind.call, .put])
    func greeks(kind: OptionQuote.Kind) throws {
        let market = Market(spot: 105, rate: 0.04, dividendYield: 0.015)
        func value(
            spot: Double = 105, tau: Double = 0.4, volatility: Double = 0.35
        ) throws -> Black.Value {
            var moved = market
            moved.spot = spot
            return try Black.blackScholes(kind, market: moved, strike: 100, tau: tau, volatility: volatility)
        }
        let middle = try value()
        let h = 1e-3
        let (up, down) = try (value(spot: 105 + h), value(spot: 105 - h))
        #expect(abs(middle.delta - (up.price - down.price) / (2 * h)) < 1e-7)
        #expect(abs(middle.gamma - (up.delta - down.delta) / (2 * h)) < 1e-7)
        let (wild, calm) = try (value(volatility: 0.35 + h), value(volatility: 0.35 - h))
        #expect(abs(middle.vega - (wild.price - calm.price) / (2 * h)) < 1e-3)
        #expect(abs(middle.vomma - (wild.vega - calm.vega) / (2 * h)) < 1e-3)
        let (later, sooner) = try (value(tau: 0.4 - 1e-5), value(tau: 0.4 + 1e-5))
        #expect(abs(middle.theta - (later.price - sooner.price) / 2e-5) < 1e-4)
        // Black-76 on the forward is the same option.
        let forward = market.forward(tau: 0.4)
        let same = try Black.black76(kind, forward: forward, strike: 100, tau: 0.4, volatility: 0.35, rate: 0.04)
        #expect(abs(same.price - middle.price) < 1e-12 && abs(same.vega - middle.vega) < 1e-10)
        #expect(abs(same.delta * forward / 105 - middle.delta) < 1e-12)
    }

    @Test("the normal quantile inverts the distribution, tails included")
    func quantile() {
        for p in [1e-300, 1e-50, 1e-9, 0.01, 0.3, 0.5, 0.77, 0.999] {
            #expect(abs(Normal.cumulative(Normal.quantile(p)) / p - 1) < 2e-13, "\(p)")
        }
        #expect(Normal.quantile(0) == -.infinity && Normal.quantile(1) == .infinity && Normal.quantile(-0.1).isNaN)
        #expect(abs(erfcx(1) - 0.42758357615580700441) < 1e-16 && abs(erfcx(30) - 0.018795888861416751) < 1e-17)
    }
}
