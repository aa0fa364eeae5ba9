internal import Kernels

/// What the M step needs, summed over the observations; features are counted from the current means, so that nothing
/// cancels in the second moments.
struct Statistics {
    var logLikelihood = 0.0
    var initial: [Double]
    /// Expected passages, `[from × to]`.
    var passages: [Double]
    /// Σγ, Σγ(x − μ), Σγ(x − μ)(x − μ)ᵀ of each state.
    var occupancy: [Double]
    var first: [Double]
    var second: [Double]

    init(states: Int, dimension: Int) {
        initial = [Double](repeating: 0, count: states)
        passages = [Double](repeating: 0, count: states * states)
        occupancy = initial
        first = [Double](repeating: 0, count: states * dimension)
        second = [Double](repeating: 0, count: states * dimension * dimension)
    }

    /// Adds one observation with weight γ for each state.
    @inline(__always)
    mutating func add(
        _ observations: Span<Double>, at offset: Int, weights: Span<Double>, model: GaussianHMM, scratch: inout [Double]
    ) {
        let d = model.dimension
        for state in 0..<weights.count {
            let weight = weights[state]
            // Beyond this a weight cannot move any sum, and most weights are there.
            guard weight > 1e-300 else { continue }
            occupancy[state] += weight
            for i in 0..<d {
                let x = observations[offset + i] - model.means[state * d + i]
                scratch[i] = x
                first[state * d + i] += weight * x
                let row = (state * d + i) * d
                if model.covariance == .diagonal {
                    second[row + i] += weight * x * x
                } else {
                    for j in 0...i { second[row + j] += weight * x * scratch[j] }
                }
            }
        }
    }
}

/// The forward and backward passes over one series, with their buffers: the E step, the likelihood, the smoother.
///
/// Rabiner 1989, section V.A: forward probabilities scaled to 1 at each step, densities divided by their largest at
/// each step so that none underflows for all states at once. Where scaling fails all the same (the likely state is all
/// but unreachable), `run` falls back to `runLogarithmic`: slower, never wrong, and the reference that tests compare
/// with.
struct ForwardBackward {
    private let rows: Int
    private let states: Int
    /// `[rows × states]`.
    private var alpha: [Double]
    private var density: [Double]
    private var scale: [Double]

    init(rows: Int, states: Int) {
        self.rows = rows
        self.states = states
        alpha = [Double](repeating: 0, count: rows * states)
        density = alpha
        scale = [Double](repeating: 0, count: rows)
    }

    /// Sums the statistics; `posterior`, when given, receives P(state | all observations), `[rows × states]`.
    mutating func run(
        _ model: GaussianHMM, _ emissions: Emissions, _ observations: [Double], posterior: inout [Double]?
    ) -> Statistics {
        let done = Self.forward(model, emissions, observations, alpha: &alpha, density: &density, scale: &scale)
        if let logLikelihood = done,
            let statistics = backward(model, observations, logLikelihood, &posterior)
        {
            return statistics
        }
        return Self.runLogarithmic(model, emissions, observations, posterior: &posterior)
    }

    /// The log-likelihood; fills `alpha`, `density`, `scale`. `nil` when scaling failed.
    private static func forward(
        _ model: GaussianHMM, _ emissions: Emissions, _ observations: [Double], alpha alphaArray: inout [Double],
        density densityArray: inout [Double], scale scaleArray: inout [Double]
    ) -> Double? {
        let n = model.stateCount
        let rows = scaleArray.count
        let d = model.dimension
        let x = observations.span
        let transition = model.transition.span
        var alpha = alphaArray.mutableSpan
        var density = densityArray.mutableSpan
        var scale = scaleArray.mutableSpan
        var logs = [Double](repeating: 0, count: n)
        var predicted = model.initial
        var logLikelihood = 0.0
        for t in 0..<rows {
            var out = logs.mutableSpan
            emissions.logDensities(x, at: t * d, into: &out)
            var largest = logs[0]
            for s in 1..<max(1, n) where logs[s] > largest { largest = logs[s] }
            var sum = 0.0
            for s in 0..<n {
                let b = exp(logs[s] - largest)
                density[t * n + s] = b
                let joint = predicted[s] * b
                alpha[t * n + s] = joint
                sum += joint
            }
            guard sum > 1e-200 else { return nil }
            scale[t] = sum
            logLikelihood += log(sum) + largest
            let inverse = 1 / sum
            for s in 0..<n {
                alpha[t * n + s] *= inverse
                predicted[s] = 0
            }
            for r in 0..<n {
                let a = alpha[t * n + r]
                for s in 0..<n { predicted[s] += a * transition[r * n + s] }
            }
        }
        return logLikelihood
    }

    /// `nil` when scaling failed.
    private mutating func backward(
        _ model: GaussianHMM, _ observations: [Double], _ logLikelihood: Double, _ posterior: inout [Double]?
    ) -> Statistics? {
        let n = states
        let d = model.dimension
        let x = observations.span
        let transition = model.transition.span
        let alpha = self.alpha.span
        let density = self.density.span
        var statistics = Statistics(states: n, dimension: d)
        statistics.logLikelihood = logLikelihood
        var beta = [Double](repeating: 1, count: n)
        var ahead = beta  // density · beta / scale of the step after
        var gamma = beta
        var scratch = [Double](repeating: 0, count: d)
        for t in stride(from: rows - 1, through: 0, by: -1) {
            if t < rows - 1 {
                let inverse = 1 / scale[t + 1]
                for s in 0..<n { ahead[s] = density[(t + 1) * n + s] * beta[s] * inverse }
                for r in 0..<n {
                    let a = alpha[t * n + r]
                    var sum = 0.0
                    for s in 0..<n {
                        statistics.passages[r * n + s] += a * ahead[s]
                        sum += transition[r * n + s] * ahead[s]
                    }
                    beta[r] = sum
                }
            }
            var sum = 0.0
            for s in 0..<n {
                gamma[s] = alpha[t * n + s] * beta[s]
                sum += gamma[s]
            }
            // The scaled product is 1 by construction; it is not where something under- or overflowed on the way.
            guard abs(sum - 1) < 1e-6 else { return nil }
            if posterior != nil {
                for s in 0..<n { posterior?[t * n + s] = gamma[s] }
            }
            if t == 0 { statistics.initial = gamma }
            statistics.add(x, at: t * d, weights: gamma.span, model: model, scratch: &scratch)
        }
        for i in statistics.passages.indices { statistics.passages[i] *= transition[i] }
        return statistics.passages.allSatisfy(\.isFinite) ? statistics : nil
    }

    /// The same in logarithms throughout.
    static func runLogarithmic(
        _ model: GaussianHMM, _ emissions: Emissions, _ observations: [Double], posterior: inout [Double]?
    ) -> Statistics {
        let n = model.stateCount
        let d = model.dimension
        let rows = observations.count / d
        let logTransition = model.transition.map { log($0) }
        var densities = [Double](repeating: 0, count: rows * n)
        var alpha = densities
        var logs = [Double](repeating: 0, count: n)
        var terms = logs
        for t in 0..<rows {
            var out = logs.mutableSpan
            emissions.logDensities(observations.span, at: t * d, into: &out)
            for s in 0..<n {
                densities[t * n + s] = logs[s]
                if t == 0 {
                    alpha[s] = log(model.initial[s]) + logs[s]
                } else {
                    for r in 0..<n { terms[r] = alpha[(t - 1) * n + r] + logTransition[r * n + s] }
                    alpha[t * n + s] = logSum(terms) + logs[s]
                }
            }
        }
        var statistics = Statistics(states: n, dimension: d)
        let total = logSum(Array(alpha[((rows - 1) * n)...]))
        statistics.logLikelihood = total
        var beta = [Double](repeating: 0, count: n)
        var gamma = beta
        var scratch = [Double](repeating: 0, count: d)
        for t in stride(from: rows - 1, through: 0, by: -1) {
            if t < rows - 1 {
                var earlier = beta
                for r in 0..<n {
                    for s in 0..<n {
                        terms[s] = logTransition[r * n + s] + densities[(t + 1) * n + s] + beta[s]
                        statistics.passages[r * n + s] += exp(alpha[t * n + r] + terms[s] - total)
                    }
                    earlier[r] = logSum(terms)
                }
                beta = earlier
            }
            for s in 0..<n { gamma[s] = exp(alpha[t * n + s] + beta[s] - total) }
            if posterior != nil {
                for s in 0..<n { posterior?[t * n + s] = gamma[s] }
            }
            if t == 0 { statistics.initial = gamma }
            statistics.add(observations.span, at: t * d, weights: gamma.span, model: model, scratch: &scratch)
        }
        return statistics
    }
}

/// ln Σ exp(x), −∞ for nothing but −∞.
func logSum(_ x: [Double]) -> Double {
    guard let largest = x.max(), largest > -.infinity else { return -.infinity }
    var sum = 0.0
    for value in x { sum += exp(value - largest) }
    return largest + log(sum)
}
