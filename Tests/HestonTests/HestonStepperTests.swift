import Heston
import Kernels
import Testing

@Suite struct HestonStepperTests {
    /// Feller holds / is violated: both branches of QE are walked.
    static let sets = [
        HestonParameters(kappa: 3, theta: 0.3, sigma: 0.6, rho: -0.5, v0: 0.4),
        HestonParameters(kappa: 1, theta: 0.2, sigma: 1.4, rho: -0.8, v0: 0.15),
        HestonParameters(kappa: 2, theta: 0.5, sigma: 1.2, rho: 0.4, v0: 0.6),
    ]

    @Test("Monte-Carlo prices are inside their confidence interval", arguments: sets)
    func prices(heston: HestonParameters) throws {
        let market = Market(spot: 100, rate: 0.03, dividendYield: 0.01)
        let tau = 0.5
        let stepper = try HestonStepper(heston, drift: 0.02, stepYears: tau / 32)
        var random = RandomGenerator(seed: 41)
        let strikes = [80.0, 100, 130]
        var sums = [Double](repeating: 0, count: 5)
        var squares = [Double](repeating: 0, count: 5)
        let count = 12_000
        for _ in 0..<count {
            var state = stepper.start(spot: market.spot)
            for _ in 0..<32 { stepper.step(&state, using: &random) }
            let payoffs = strikes.map { max(0, state.spot - $0) } + [state.spot, state.variance]
            for (i, payoff) in payoffs.enumerated() {
                sums[i] += payoff
                squares[i] += payoff * payoff
            }
        }
        let pricer = try HestonPricer(heston, market)
        let discount = market.discount(tau: tau)
        let meanVariance = heston.theta + (heston.v0 - heston.theta) * exp(-heston.kappa * tau)
        let expected =
            try strikes.map { try pricer.call(strike: $0, tau: tau) / discount }
            + [market.forward(tau: tau), meanVariance]
        for i in 0..<5 {
            let mean = sums[i] / Double(count)
            let error = ((squares[i] / Double(count) - mean * mean) / Double(count)).squareRoot()
            // Four standard errors, and the scheme's own bias at 32 steps: below 0.3 %.
            #expect(abs(mean - expected[i]) < 4 * error + 0.003 * expected[i], "\(i): \(mean) ± \(error)")
        }
    }

    @Test("jumps leave the martingale and add their variance")
    func jumps() throws {
        let heston = HestonParameters(kappa: 2, theta: 0.04, sigma: 0.2, rho: -0.3, v0: 0.04)
        let jumps = JumpParameters(intensity: 5, mean: -0.1, standardDeviation: 0.15)
        let stepper = try HestonStepper(heston, drift: 0.1, stepYears: 0.05, jumps: jumps)
        var random = RandomGenerator(seed: 42)
        let count = 20_000
        var (sum, square, logSum, logSquare) = (0.0, 0.0, 0.0, 0.0)
        for _ in 0..<count {
            var variance = heston.v0
            var total = 0.0
            for _ in 0..<10 { total += stepper.logReturn(variance: &variance, using: &random) }
            sum += exp(total)
            square += exp(2 * total)
            logSum += total
            logSquare += total * total
        }
        let n = Double(count)
        let mean = sum / n
        let error = ((square / n - mean * mean) / n).squareRoot()
        #expect(abs(mean - exp(0.05)) < 4 * error)
        let variance = logSquare / n - (logSum / n) * (logSum / n)
        let expected = 0.04 * 0.5 + 5 * 0.5 * (0.01 + 0.0225)
        // The jumps' kurtosis is about 5: the variance's relative error is √(4/n) = 1.4 %.
        #expect(abs(variance / expected - 1) < 0.05, "\(variance) \(expected)")
    }

    @Test("one seed gives one path, in minutes too; variance never goes negative")
    func determinism() throws {
        let heston = HestonParameters(kappa: 1, theta: 0.3, sigma: 2, rho: -0.7, v0: 0.3)
        let stepper = try HestonStepper(heston, drift: 0, stepYears: 1 / 525_600.0)
        func walk() -> [HestonState] {
            var random = RandomGenerator(seed: 43)
            var state = stepper.start(spot: 60_000)
            return (0..<5000).map { _ in
                stepper.step(&state, using: &random)
                return state
            }
        }
        let path = walk()
        #expect(path == walk())
        #expect(path.allSatisfy { $0.variance >= 0 && $0.spot > 0 && $0.spot.isFinite })
        #expect(throws: HestonError.self) { try HestonStepper(heston, drift: 0, stepYears: 0) }
        #expect(throws: HestonError.self) {
            try HestonStepper(
                heston, drift: 0, stepYears: 1, jumps: .init(intensity: -1, mean: 0, standardDeviation: 0))
        }
    }
}
