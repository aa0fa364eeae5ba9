import Kernels
import Testing

@testable import NeuralNetworks

@Suite struct OptimisationTests {
    @Test("Adam and AdamW follow the papers' formulas", arguments: [Float(0), 0.1])
    func adam(weightDecay: Float) {
        var random = RandomGenerator(seed: 2)
        var configuration = Adam.Configuration()
        configuration.weightDecay = weightDecay
        let count = 37
        var parameters = (0..<count).map { _ in Float(random.normal()) }
        var (exact, m, v) = (parameters.map(Double.init), [Double](repeating: 0, count: count), [Double]())
        v = m
        var optimiser = Adam(parameterCount: count, configuration: configuration)
        for t in 1...20 {
            let gradients = (0..<count).map { i in i == 0 ? 0 : Float(random.normal()) * Float(i) * 0.01 }
            let rate = 0.01 / Double(t)
            optimiser.step(&parameters, gradients: gradients, learningRate: Float(rate))
            for i in 0..<count {
                let g = Double(gradients[i])
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g * g
                let first = m[i] / (1 - pow(0.9, Double(t)))
                let second = v[i] / (1 - pow(0.999, Double(t)))
                exact[i] -= rate * Double(weightDecay) * exact[i] + rate * first / (second.squareRoot() + 1e-8)
            }
        }
        // A step is of the order of the rate, its rounding of 1e-7; β in single precision is off by 1e-5 relative.
        for i in 0..<count { #expect(abs(Double(parameters[i]) - exact[i]) < 3e-6) }
        #expect(optimiser.stepCount == 20)
    }

    @Test("The fast square root is right to 3 units in the last place")
    func root() {
        var random = RandomGenerator(seed: 4)
        #expect(NeuralNetworks.squareRoot(0) == 0)
        for _ in 0..<20_000 {
            let x = Float(exp(random.uniform(-80, 80)))
            let exact = Double(x).squareRoot()
            #expect(abs(Double(NeuralNetworks.squareRoot(x)) - exact) <= 3 * Double(Float(exact).ulp))
        }
    }

    @Test("Clipping scales to the limit, leaves short and broken gradients alone, and returns the norm before")
    func clipping() {
        var gradients = [Float](repeating: 0, count: 19)
        gradients[3] = 3
        gradients[17] = -4
        let short = gradients
        #expect(clipGlobalNorm(&gradients, limit: 6) == 5 && gradients == short)
        #expect(clipGlobalNorm(&gradients, limit: 1) == 5)
        #expect(abs(gradients[3] - 0.6) < 1e-7 && abs(gradients[17] + 0.8) < 1e-7)
        gradients[0] = .nan
        #expect(clipGlobalNorm(&gradients, limit: 0.1).isNaN)
        #expect(abs(gradients[3] - 0.6) < 1e-7)
        var none: [Float] = []
        #expect(clipGlobalNorm(&none, limit: 1) == 0)
    }

    @Test("Schedules start, pass the middle and end where they say, and stay there")
    func schedules() {
        let linear = Schedule.linear(from: 1, to: 0.5)
        let cosine = Schedule.cosine(from: 1, to: 0)
        #expect(linear.value(at: 0) == 1 && linear.value(at: 0.5) == 0.75 && linear.value(at: 7) == 0.5)
        #expect(cosine.value(at: -1) == 1 && abs(cosine.value(at: 0.5) - 0.5) < 1e-7 && cosine.value(at: 1) == 0)
        #expect(abs(cosine.value(at: 0.25) - 0.8535534) < 1e-6)
        #expect(Schedule.constant(3).value(at: 0.9) == 3)
    }

    @Test("The squashed density integrates to 1 and to its entropy", arguments: [(0.0, -0.5), (0.8, -1.0), (-1.5, 0.3)])
    func density(mean: Double, logStd: Double) {
        // ∫ over (−1, 1) by the midpoint rule in a; u = atanh a.
        let n = 20_000
        var (mass, entropy) = (0.0, 0.0)
        for i in 0..<n {
            let a = (Double(i) + 0.5) / Double(n) * 2 - 1
            let u = atanh(a)
            let log = Double(SquashedGaussian.logProbability(Float(u), mean: Float(mean), logStd: Float(logStd)))
            mass += exp(log) * 2 / Double(n)
            entropy -= exp(log) * log * 2 / Double(n)
        }
        #expect(abs(mass - 1) < 2e-3)
        let computed = SquashedGaussian.entropy(mean: Float(mean), logStd: Float(logStd))
        #expect(abs(Double(computed.value) - entropy) < 0.02)
    }

    @Test("The density's and the entropy's derivatives equal finite differences")
    func densityGradients() {
        let h: Float = 1e-2
        for (u, mean, logStd): (Float, Float, Float) in [(0.3, 0.1, -0.5), (-2, 0.5, 0.4), (1, 1.1, -1)] {
            func check(_ f: (Float, Float) -> Float, _ gradient: (Float, Float)) {
                let byMean = (f(mean + h, logStd) - f(mean - h, logStd)) / (2 * h)
                let byLogStd = (f(mean, logStd + h) - f(mean, logStd - h)) / (2 * h)
                #expect(abs(byMean - gradient.0) < 2e-3 * max(1, abs(gradient.0)))
                #expect(abs(byLogStd - gradient.1) < 2e-3 * max(1, abs(gradient.1)))
            }
            let slope = SquashedGaussian.logProbabilityGradient(u, mean: mean, logStd: logStd)
            check({ SquashedGaussian.logProbability(u, mean: $0, logStd: $1) }, (slope.mean, slope.logStd))
            let entropy = SquashedGaussian.entropy(mean: mean, logStd: logStd)
            check({ SquashedGaussian.entropy(mean: $0, logStd: $1).value }, (entropy.mean, entropy.logStd))
        }
        // Far out, where 1 − tanh² is 0 in any precision, the density stays finite.
        #expect(SquashedGaussian.logProbability(60, mean: 60, logStd: 0).isFinite)
    }
}
