import Kernels
import MarketData
import Testing

@testable import Regimes

/// A model whose regimes are two steps of volatility apart, and a walk through it.
enum Synthetic {
    static func model(_ kind: GaussianHMM.Covariance = .full) throws -> GaussianHMM {
        try GaussianHMM(
            covariance: kind, initial: [0.5, 0.3, 0.2],
            transition: [0.97, 0.02, 0.01, 0.03, 0.95, 0.02, 0.02, 0.04, 0.94],
            means: [0.1, 0, 0, 1, -0.2, 3],
            covariances: [0.1, 0, 0, 0.2, 1, kind == .full ? 0.3 : 0, kind == .full ? 0.3 : 0, 0.4, 6, 0, 0, 1],
            dimension: 2)
    }

    static func sample(_ model: GaussianHMM, _ rows: Int, seed: UInt64) -> (x: [Double], states: [Int]) {
        var random = RandomGenerator(seed: seed)
        func draw(_ weights: [Double]) -> Int {
            var u = random.uniform()
            for (i, w) in weights.enumerated() {
                u -= w
                if u < 0 { return i }
            }
            return weights.count - 1
        }
        var x: [Double] = []
        var states: [Int] = []
        for t in 0..<rows {
            let n = model.stateCount
            let state = t == 0 ? draw(model.initial)
                : draw(Array(model.transition[states[t - 1] * n..<(states[t - 1] + 1) * n]))
            states.append(state)
            let block = Array(model.covariances[state * 4..<(state + 1) * 4])
            let lower = cholesky(block, dimension: 2) ?? [1, 0, 0, 1]
            let (a, b) = (random.normal(), random.normal())
            x.append(model.mean(state: state, feature: 0) + lower[0] * a)
            x.append(model.mean(state: state, feature: 1) + lower[2] * a + lower[3] * b)
        }
        return (x, states)
    }
}

@Suite("Gaussian hidden Markov model")
struct GaussianHMMTests {
    @Test("Scaled passes equal the logarithmic ones", arguments: [GaussianHMM.Covariance.full, .diagonal])
    func scaledEqualsLogarithmic(kind: GaussianHMM.Covariance) throws {
        let model = try Synthetic.model(kind)
        let x = Synthetic.sample(model, 200, seed: 1).x
        let emissions = try #require(Emissions(model))
        var fast = ForwardBackward(rows: 200, states: 3)
        var (a, b): ([Double]?, [Double]?) = (.init(repeating: 0, count: 600), .init(repeating: 0, count: 600))
        let scaled = fast.run(model, emissions, x, posterior: &a)
        let plain = ForwardBackward.runLogarithmic(model, emissions, x, posterior: &b)
        #expect(abs(scaled.logLikelihood - plain.logLikelihood) < 1e-9)
        func largest(_ u: [Double], _ v: [Double]) -> Double { zip(u, v).map { abs($0 - $1) }.max() ?? .nan }
        #expect(largest(a ?? [], b ?? []) < 1e-10)
        #expect(largest(scaled.passages, plain.passages) < 1e-9)
        #expect(largest(scaled.second, plain.second) < 1e-8)
    }

    @Test("An observation that only an unreachable state explains does not break anything")
    func unreachable() throws {
        // State 1 fits the outlier 700 standard deviations away, but no path leads there.
        let model = try GaussianHMM(
            covariance: .diagonal, initial: [1, 0], transition: [1, 0, 0, 1], means: [0, 700], covariances: [1, 1],
            dimension: 1)
        let x = [0.0, 700, 0]
        // ln N(0)·2 + ln N(700) exactly, for there is one path.
        let expected = -1.5 * log(2 * Double.pi) - 0.5 * 490_000
        #expect(abs(try model.logLikelihood(x) - expected) < 1e-6)
        #expect(try model.smoothed(x) == [1, 0, 1, 0, 1, 0])
        #expect(try model.mostProbablePath(x) == [0, 0, 0])
        let filtered = try RegimeFilter(model).filtered(x)
        #expect(filtered.posterior == [1, 0, 1, 0, 1, 0])
        #expect(abs(filtered.logLikelihood - expected) < 1e-6)
    }

    @Test("EM never lowers the likelihood, recovers the regimes, and numbers them by volatility", arguments: [1, 2])
    func fit(seed: UInt64) throws {
        let truth = try Synthetic.model()
        let (x, states) = Synthetic.sample(truth, 3000, seed: seed)
        var configuration = GaussianHMM.FitConfiguration()
        configuration.seed = seed
        configuration.maximumIterations = 40
        configuration.restarts = 3
        let fit = try GaussianHMM.fit(x, dimension: 2, configuration)
        for (before, after) in zip(fit.history, fit.history.dropFirst()) {
            #expect(after >= before - 1e-7 * abs(before), "seed \(seed)")
        }
        let variances = (0..<3).map { fit.model.variance(state: $0, feature: 0) }
        #expect(variances == variances.sorted())
        let path = try fit.model.mostProbablePath(x)
        let agreement = Double(zip(path, states).count { $0 == $1 }) / 3000
        #expect(agreement > 0.95, "seed \(seed)")
        #expect(fit.logLikelihood >= (try truth.logLikelihood(x)))
        #expect(abs(fit.model.transition(from: 0, to: 0) - 0.97) < 0.02)
        let again = try GaussianHMM.fit(x, dimension: 2, configuration)
        #expect(again.model == fit.model)

        let occupancy = try fit.model.occupancy(x)
        #expect(abs(occupancy.share.reduce(0, +) - 1) < 1e-12)
        for s in 0..<3 { #expect(abs(occupancy.share[s] - occupancy.stationaryShare[s]) < 0.15) }
    }

    @Test("BIC finds the number of states")
    func selection() throws {
        let x = Synthetic.sample(try Synthetic.model(), 2000, seed: 9).x
        var configuration = GaussianHMM.FitConfiguration()
        configuration.restarts = 2
        configuration.maximumIterations = 15
        let chosen = try GaussianHMM.select(x, dimension: 2, stateCounts: 1...4, configuration)
        #expect(chosen.best.model.stateCount == 3)
        #expect(chosen.all.map(\.model.stateCount) == [1, 2, 3, 4])
    }

    @Test("The floor holds where a state collapses on equal rows")
    func collapse() throws {
        var random = RandomGenerator(seed: 2)
        var x = (0..<400).map { _ in random.normal() }
        for i in 100..<200 { x[i] = 5 }
        var configuration = GaussianHMM.FitConfiguration()
        configuration.stateCount = 2
        let fit = try GaussianHMM.fit(x, dimension: 1, configuration)
        let total = x.map { $0 * $0 }.reduce(0, +) / 400 - pow(x.reduce(0, +) / 400, 2)
        #expect(abs(fit.model.variance(state: 0, feature: 0) - configuration.covarianceFloor * total) < 1e-9)
        #expect(abs(fit.model.mean(state: 0, feature: 0) - 5) < 0.01)
    }

    @Test("Filter = forward recursion written out; streaming = batch; restored = never stopped")
    func filter() throws {
        let model = try Synthetic.model()
        let x = Synthetic.sample(model, 60, seed: 4).x
        let filter = try RegimeFilter(model)
        let batch = try filter.filtered(x)
        #expect(abs(batch.logLikelihood - (try model.logLikelihood(x))) < 1e-9)

        // P(s, x₁…xₜ) summed over all paths, without scaling: 60 steps do not underflow.
        let emissions = try #require(Emissions(model))
        var joint = model.initial
        var logs = [0.0, 0, 0]
        var state = FilterState(filter)
        for t in 0..<60 {
            var out = logs.mutableSpan
            emissions.logDensities(x.span, at: 2 * t, into: &out)
            let prior = t == 0 ? joint : (0..<3).map { s in
                (0..<3).reduce(0.0) { $0 + joint[$1] * model.transition(from: $1, to: s) }
            }
            joint = (0..<3).map { prior[$0] * exp(logs[$0]) }
            let total = joint.reduce(0, +)
            try state.update([x[2 * t], x[2 * t + 1]])
            if t == 30 { state = try FilterState(filter, posterior: state.posterior) }
            for s in 0..<3 {
                #expect(abs(state.posterior[s] - joint[s] / total) < 1e-10)
                #expect(state.posterior[s] == batch.posterior[3 * t + s])
            }
        }
        let smoothed = try model.smoothed(x)
        // At the last row nothing lies ahead, so both agree there; before, they must not.
        for s in 0..<3 { #expect(abs(smoothed[177 + s] - batch.posterior[177 + s]) < 1e-10) }
        #expect(zip(smoothed, batch.posterior).contains { abs($0 - $1) > 0.05 })
    }

    @Test("A step without an observation moves towards the long run; a bad one moves nothing")
    func missing() throws {
        let model = try Synthetic.model()
        var state = FilterState(try RegimeFilter(model))
        #expect(state.mostProbable == nil)
        try state.update([0.1, 0])
        let before = state.posterior
        #expect(throws: RegimeError.nonFiniteObservation(row: 0, feature: 1)) { try state.update([0, .nan]) }
        #expect(throws: RegimeError.self) { try state.update([0, 0, 0]) }
        #expect(state.posterior == before)
        for _ in 0..<2000 { try state.advance() }
        for (p, q) in zip(state.posterior, model.stationary) { #expect(abs(p - q) < 1e-9) }
        try state.update([-0.2, 3])
        #expect(state.mostProbable == 2)
    }

    @Test("Bytes read back bit for bit, and damaged ones are refused")
    func serialisation() throws {
        let model = try Synthetic.model()
        let bytes = model.serialised
        #expect(try GaussianHMM(serialised: bytes) == model)
        var random = RandomGenerator(seed: 11)
        for _ in 0..<200 {
            var damaged = bytes
            if random.index(below: 2) == 0 {
                damaged[random.index(below: bytes.count)] ^= UInt8(1 << random.index(below: 8))
            } else {
                damaged.removeLast(1 + random.index(below: bytes.count - 1))
            }
            #expect(throws: RegimeError.notAModel) { try GaussianHMM(serialised: damaged) }
        }
    }

    @Test("Inputs that cannot be fitted say why")
    func refusals() throws {
        #expect(throws: RegimeError.shapeMismatch(count: 3, dimension: 2)) {
            try GaussianHMM.fit([1, 2, 3], dimension: 2)
        }
        var x = (0..<200).map { Double($0 % 7) }
        #expect(throws: RegimeError.tooFewObservations(count: 4, needed: 9)) {
            try GaussianHMM.fit([1, 2, 3, 4], dimension: 1)
        }
        x[101] = .nan
        #expect(throws: RegimeError.nonFiniteObservation(row: 50, feature: 1)) { try GaussianHMM.fit(x, dimension: 2) }
        let flat = (0..<200).map { $0 % 2 == 0 ? Double($0) : 3 }
        #expect(throws: RegimeError.constantFeature(1)) { try GaussianHMM.fit(flat, dimension: 2) }
        #expect(throws: RegimeError.self) {
            try GaussianHMM(
                covariance: .full, initial: [1], transition: [1], means: [0, 0], covariances: [1, 2, 2, 1],
                dimension: 2)
        }
    }
}
