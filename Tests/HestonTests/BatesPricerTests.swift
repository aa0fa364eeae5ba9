import Heston
import Kernels
import MarketData
import Testing

@Suite struct BatesPricerTests {
    static let market = Market(spot: 100, rate: 0.02, dividendYield: 0.01)

    /// Random parameters, from rare jumps to ten a year, most of them beyond Feller's condition.
    private static func draw(_ random: inout RandomGenerator) -> BatesParameters {
        BatesParameters(
            heston: Draw.wide(&random),
            jumps: .init(
                intensity: Draw.logUniform(0.01, 10, &random), mean: random.uniform(-0.6, 0.6),
                standardDeviation: random.uniform(0, 0.5)))
    }

    /// Golden/make-bates.py; one day to five years.
    @Test("references of 20 digits: prices to 1e-9 of the forward, gradients to 1e-7 or 1e-9 of it")
    func golden() throws {
        let rows = try Golden.rows("bates.csv")
        try #require(rows.count == 80)
        var refused = 0
        for row in rows {
            let contract = OptionContract(kind: .call, strike: exp(row[9]), tau: row[8])
            let pricer = try BatesPricer(try BatesParameters(array: Array(row[0..<8])), Market(spot: 1))
            do {
                let plain = try pricer.price(contract)
                let value = try pricer.value(contract)
                #expect(abs(plain - row[10]) < 1e-12 && abs(value.price - row[10]) < 1e-12, "\(row)")
                for (ours, theirs) in zip(value.gradient.array + value.jumpGradient.array, row[11...]) {
                    #expect(abs(ours - theirs) < max(1e-9, 1e-7 * abs(theirs)), "\(ours) \(theirs) \(row)")
                }
            } catch {
                guard case HestonError.accuracyNotReached = error else { throw error }
                refused += 1
            }
        }
        #expect(refused <= 3)
    }

    @Test("without jumps it is Heston's model, with a derivative by their intensity")
    func heston() throws {
        var random = RandomGenerator(seed: 81)
        for _ in 0..<40 {
            let heston = Draw.crypto(&random)
            let bates = BatesParameters(heston: heston, jumps: .init(intensity: 0, mean: -0.3, standardDeviation: 0.2))
            var rare = bates
            rare.jumps.intensity = 1e-6
            for (strike, tau) in [(80.0, 0.01), (100, 0.1), (170, 0.5), (60, 2)] {
                let contract = OptionContract(kind: strike < 100 ? .put : .call, strike: strike, tau: tau)
                let exact = try HestonPricer(heston, Self.market).value(contract)
                let value = try BatesPricer(bates, Self.market).value(contract)
                #expect(abs(value.price - exact.price) < 1e-10 && abs(value.delta - exact.delta) < 1e-10)
                #expect(abs(value.gradient.v0 - exact.gradient.v0) < 1e-8 && value.jumpGradient.mean == 0)
                let change = (try BatesPricer(rare, Self.market).price(contract) - value.price) / 1e-6
                // The prices err by some 1e-14 of spot, a millionth of which is 1e-6; the second derivative adds less.
                #expect(abs(change - value.jumpGradient.intensity) < 1e-4, "\(heston) \(strike) \(tau)")
            }
        }
    }

    /// Given n jumps, ln S is normal: Black's price at forward F·e^(−λmτ)·(1 + m)^n and variance vτ + nδ², R. Merton
    /// 1976.
    @Test("with constant variance it is Merton's series")
    func merton() throws {
        for (lambda, mu, delta) in [(0.3, -0.2, 0.1), (8, 0.02, 0.03), (2, 0.25, 0.3), (1, -0.1, 0)] {
            let heston = HestonParameters(kappa: 1, theta: 0.06, sigma: 1e-6, rho: 0, v0: 0.06)
            let bates = BatesParameters(
                heston: heston, jumps: .init(intensity: lambda, mean: mu, standardDeviation: delta))
            let pricer = try BatesPricer(bates, Self.market)
            for tau in [0.02, 0.5, 3] {
                for strike in [70.0, 95, 100, 140] {
                    let forward = Self.market.forward(tau: tau)
                    var exact = 0.0
                    var probability = exp(-lambda * tau)
                    for n in 0..<200 {
                        let count = Double(n)
                        if n > 0 { probability *= lambda * tau / count }
                        let volatility = (0.06 + count * delta * delta / tau).squareRoot()
                        let growth = bates.jumps.meanRelativeJump
                        let moved = forward * exp(-lambda * growth * tau) * pow(1 + growth, count)
                        exact += probability * (try Black.price(
                            .call, forward: moved, strike: strike, tau: tau, volatility: volatility))
                    }
                    let price = try pricer.call(strike: strike, tau: tau)
                    #expect(abs(price - Self.market.discount(tau: tau) * exact) < 1e-9, "\(bates) \(tau) \(strike)")
                }
            }
        }
    }

    @Test("a martingale: the integral of P(S > K) over K is the forward")
    func martingale() throws {
        var random = RandomGenerator(seed: 82)
        for _ in 0..<10 {
            let bates = BatesParameters(
                heston: Draw.equity(&random),
                jumps: .init(intensity: random.uniform(0.1, 4), mean: random.uniform(-0.3, 0.2),
                standardDeviation: random.uniform(0.05, 0.2)))
            let pricer = try BatesPricer(bates, Market(spot: 1))
            // In ln K the integrand is analytic and dies at both ends, so that the trapezoidal sum converges at once.
            let step = 0.02
            let ks = Swift.stride(from: -34.0, through: 7, by: step)
            let values = try pricer.values(ks.map { .init(kind: .call, strike: exp($0), tau: 0.5) }, greeks: true)
            let sum = zip(ks, values).reduce(0) { $0 + step * exp($1.0) * $1.1.digital }
            #expect(abs(sum - 1) < 1e-8, "\(bates) \(sum)")
        }
    }

    @Test("the promised error holds, parity and bounds too: a loose answer differs from a tight one by its tolerance")
    func errorBound() throws {
        var random = RandomGenerator(seed: 83)
        var compared = 0
        for _ in 0..<3000 {
            let bates = Self.draw(&random)
            let tau = Draw.logUniform(1.0 / 365, 10, &random)
            let strikes = [-1.5, -0.4, -0.1, 0, 0.2, 0.7, 2].map { 100 * exp($0) }
            func prices(_ kind: OptionQuote.Kind, _ tolerance: Double) throws -> [Double] {
                try BatesPricer(
                    bates, Market(spot: 100), accuracy: .init(tolerance: tolerance, maximumNodes: 4096)
                ).values(strikes.map { .init(kind: kind, strike: $0, tau: tau) }, greeks: false).map(\.price)
            }
            let tight: [Double]
            do { tight = try prices(.call, 1e-13) } catch {
                guard case HestonError.accuracyNotReached = error else { throw error }
                continue
            }
            for tolerance in [1e-4, 1e-7, 1e-10] {
                for (loose, exact) in zip(try prices(.call, tolerance), tight) {
                    #expect(abs(loose - exact) <= 100 * tolerance + 1e-10, "\(bates) \(tau) \(tolerance)")
                    compared += 1
                }
            }
            for ((call, put), strike) in zip(zip(tight, try prices(.put, 1e-13)), strikes) {
                #expect(abs(call - put - 100 + strike) < 1e-9 && call >= 0 && put >= 0 && call <= 100)
            }
        }
        #expect(compared > 50_000)
    }

    @Test("delta, gamma, theta and the gradient are the price's differences", arguments: [OptionQuote.Kind.call, .put])
    func greeks(kind: OptionQuote.Kind) throws {
        let array = [1.7, 0.3, 0.9, -0.4, 0.2, 1.5, -0.15, 0.2]
        func price(_ array: [Double], spot: Double = 100, strike: Double, tau: Double) throws -> Double {
            let market = Market(spot: spot, rate: 0.02, dividendYield: 0.01)
            return try BatesPricer(try .init(array: array), market).price(
                .init(kind: kind, strike: strike, tau: tau))
        }
        for tau in [0.02, 0.5, 2] {
            for strike in [75.0, 100, 140] {
                let pricer = try BatesPricer(try .init(array: array), Self.market)
                let value = try pricer.value(.init(kind: kind, strike: strike, tau: tau))
                let up = try price(array, spot: 100.1, strike: strike, tau: tau)
                let down = try price(array, spot: 99.9, strike: strike, tau: tau)
                // Second-order differences: the third derivatives by spot are below 1e-2.
                #expect(abs(value.delta - (up - down) / 0.2) < 1e-5)
                #expect(abs(value.gamma - (up - 2 * value.price + down) / 0.01) < 3e-6)
                let h = 1e-3 * tau
                let later = try price(array, strike: strike, tau: tau + h)
                let earlier = try price(array, strike: strike, tau: tau - h)
                #expect(abs(value.theta + (later - earlier) / (2 * h)) < 1e-5 * max(1, abs(value.theta)))
                for index in 0..<8 {
                    var (above, below) = (array, array)
                    above[index] += 1e-4
                    below[index] -= 1e-4
                    let difference =
                        try (price(above, strike: strike, tau: tau) - price(below, strike: strike, tau: tau)) / 2e-4
                    let ours = (value.gradient.array + value.jumpGradient.array)[index]
                    #expect(abs(ours - difference) < 2e-5, "\(BatesParameters.names[index]) \(strike) \(tau)")
                }
            }
        }
    }

    @Test("what can't be guaranteed is refused; bad input is named")
    func refusal() throws {
        // Fifty jumps of exactly 5 % and no diffusion to speak of: a density of separate peaks.
        let heston = HestonParameters(kappa: 1, theta: 1e-8, sigma: 0.01, rho: 0, v0: 1e-8)
        let bates = BatesParameters(heston: heston, jumps: .init(intensity: 50, mean: 0.05, standardDeviation: 0))
        let pricer = try BatesPricer(bates, Self.market, accuracy: .init(tolerance: 1e-12, maximumNodes: 1024))
        #expect {
            try pricer.call(strike: 100, tau: 1)
        } throws: { error in
            guard case HestonError.accuracyNotReached(1, 1e-12, let needed, 1024) = error else { return false }
            return needed > 1024
        }
        let good = [1, 0.1, 1, 0, 0.1, 1, 0, 0.1]
        for (index, name) in BatesParameters.names.enumerated() {
            for value in [Double.nan, .infinity, index == 6 ? -4 : -1.5] {
                var array = good
                array[index] = value
                #expect {
                    _ = try BatesPricer(try .init(array: array), Self.market)
                } throws: { error in
                    guard case HestonError.invalidArgument(let named, _, _) = error else { return false }
                    return named == name
                }
            }
        }
        #expect(throws: HestonError.shapeMismatch(name: "parameters", expected: 8, actual: 5)) {
            try BatesParameters(array: [1, 2, 3, 4, 5])
        }
    }
}
