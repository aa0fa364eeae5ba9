import Heston
import Kernels
import MarketData
import Testing

@Suite struct ThetaTests {
    static let market = Market(spot: 100, rate: 0.03, dividendYield: 0.05)

    /// The first three sets stay on the vertical line, the wild ones take the tilted contour (12,000 nodes and more on
    /// the line); one day to thirty years.
    @Test(
        "theta is the price's difference in time", arguments: [OptionQuote.Kind.call, .put],
        [
            [2, 0.04, 0.3, -0.7, 0.04], [3, 0.5, 1.5, -0.2, 0.45], [0.8, 0.02, 0.2, 0.1, 0.09],
            [1.15, 0.0398, 5.75, -0.95, 0.17], [0.3, 0.01, 4, 0.6, 0.02],
        ])
    func differences(kind: OptionQuote.Kind, set: [Double]) throws {
        let pricer = try HestonPricer(
            try HestonParameters(array: set), Self.market, accuracy: .init(tolerance: 1e-13, maximumNodes: 2048))
        for tau in [1.0 / 365, 0.02, 0.3, 2, 30] {
            for deviations in [-1.5, -0.3, 0.0, 0.6, 1.5] {
                let strike = 100 * exp(deviations * (set[4] * min(tau, 1)).squareRoot())
                func price(_ tau: Double) throws -> Double {
                    try pricer.price(.init(kind: kind, strike: strike, tau: tau))
                }
                let value = try pricer.value(.init(kind: kind, strike: strike, tau: tau))
                // Five points: an error of h⁴/30 of the fifth derivative; the prices err by 1e-13 of spot at most.
                let h = 0.003 * tau
                let near = try price(tau + h) - price(tau - h)
                let far = try price(tau + 2 * h) - price(tau - 2 * h)
                let difference = -(8 * near - far) / (12 * h)
                let scale = max(abs(difference), value.price / tau)
                #expect(
                    abs(value.theta - difference) < 1e-6 * scale + 1e-11 / h,
                    "\(set) \(tau) \(strike): \(value.theta), \(difference)")
            }
        }
    }

    @Test("call and put differ by the decay of the forward contract; deep strikes too")
    func parity() throws {
        var random = RandomGenerator(seed: 61)
        for _ in 0..<40 {
            let heston = Draw.crypto(&random)
            let pricer = try HestonPricer(heston, Self.market)
            for tau in [0.003, 0.2, 5] {
                for strike in [1.0, 60, 100, 170, 10_000] {
                    let call = try pricer.value(.init(kind: .call, strike: strike, tau: tau))
                    let put = try pricer.value(.init(kind: .put, strike: strike, tau: tau))
                    let carry = 100 * exp(-0.05 * tau)
                    let forward = -0.05 * carry + 0.03 * strike * exp(-0.03 * tau)
                    #expect(abs(put.theta - call.theta - forward) < 1e-12 * max(100, strike, abs(call.theta)))
                }
            }
        }
    }

    @Test("without volatility of variance it is Black and Scholes's")
    func black() throws {
        let heston = HestonParameters(kappa: 1, theta: 0.09, sigma: 1e-6, rho: 0, v0: 0.09)
        let pricer = try HestonPricer(heston, Self.market)
        for kind in [OptionQuote.Kind.call, .put] {
            for (strike, tau) in [(80.0, 0.5), (100, 0.01), (100, 3), (130, 1)] {
                let value = try pricer.value(.init(kind: kind, strike: strike, tau: tau))
                let exact = try Black.blackScholes(kind, market: Self.market, strike: strike, tau: tau, volatility: 0.3)
                #expect(abs(value.theta - exact.theta) < 1e-8, "\(kind) \(strike) \(tau)")
            }
        }
    }
}
