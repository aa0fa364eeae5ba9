import Heston
import Kernels
import MarketData
import Testing

@Suite struct VolatilityGridTests {
    @Test func volatilitiesAreThoseOfThePrices() throws {
        var random = RandomGenerator(seed: 5)
        let (ks, taus) = ([-0.5, -0.1, 0, 0.3], [0.02, 0.3, 1.7])
        var grid = try VolatilityGrid(logMoneyness: ks, tau: taus)
        for _ in 0..<100 {
            let parameters = Draw.crypto(&random)
            try grid.evaluate(parameters)
            let pricer = try HestonPricer(parameters, Market(spot: 1))
            for (i, k) in ks.enumerated() {
                for (t, tau) in taus.enumerated() {
                    let volatility = grid.volatilities[i * taus.count + t]
                    let price = try pricer.price(.init(kind: k < 0 ? .put : .call, strike: exp(k), tau: tau))
                    guard !volatility.isNaN else {
                        #expect(price < 2e-10)
                        continue
                    }
                    let again = try Black.price(
                        k < 0 ? .put : .call, forward: 1, strike: exp(k), tau: tau, volatility: volatility)
                    #expect(abs(again - price) < 2e-12)
                }
            }
        }
    }

    @Test func whatTellsNothingIsMissing() throws {
        var grid = try VolatilityGrid(logMoneyness: [-1, 0, 1], tau: [0.01], informationFloor: 1e-4)
        try grid.evaluate(.init(kappa: 1, theta: 0.04, sigma: 0.3, rho: -0.5, v0: 0.04))
        #expect(grid.volatilities[0].isNaN && grid.volatilities[2].isNaN)
        #expect(abs(grid.volatilities[1] - 0.2) < 0.01)
        #expect(throws: HestonError.self) {
            try grid.evaluate(.init(kappa: -1, theta: 0.04, sigma: 0.3, rho: 0, v0: 0.04))
        }
    }

    /// The loss's gradient, against central differences.
    @Test func theRepricingLossHasItsGradient() throws {
        var random = RandomGenerator(seed: 6)
        for _ in 0..<50 {
            let truth = Draw.crypto(&random)
            // Near enough for all cells to have a volatility: what has none is compared by price.
            var factors = (0..<5).map { _ in exp(0.2 * random.normal()) }
            factors[3] = random.uniform(0.5, 1)
            let guess = try HestonParameters(array: zip(truth.array, factors).map { $0 * $1 })
            var grid = try VolatilityGrid(
                logMoneyness: [-0.4, -0.2, 0, 0.2, 0.4], tau: [0.1, 0.5, 2], informationFloor: 1e-6)
            try grid.evaluate(truth)
            var quotes: [CalibrationQuote] = []
            for cell in 0..<15 where !grid.volatilities[cell].isNaN {
                quotes.append(
                    .init(
                        logMoneyness: grid.logMoneyness[cell / 3], tau: grid.tau[cell % 3],
                        impliedVolatility: grid.volatilities[cell], weight: 1 + Double(cell % 2)))
            }
            var loss = try RepricingLoss(quotes, accuracy: .reference)
            let exact = loss.evaluate(truth)
            #expect(try #require(exact).meanSquare < 1e-16)
            let evaluated = loss.evaluate(guess)
            let found = try #require(evaluated)
            #expect(found.meanSquare > 0)
            for i in 0..<5 {
                var (up, down) = (guess.array, guess.array)
                let step = 1e-5 * max(abs(guess.array[i]), 0.01)
                up[i] += step
                down[i] -= step
                let (ahead, behind) = (
                    loss.evaluate(try HestonParameters(array: up)), loss.evaluate(try HestonParameters(array: down))
                )
                let expected = try (#require(ahead).meanSquare - #require(behind).meanSquare) / (2 * step)
                #expect(abs(found.gradient.array[i] - expected) <= 1e-4 * abs(expected) + 1e-9, "parameter \(i)")
            }
        }
    }
}
