internal import Kernels

extension GaussianHMM {
    /// How to fit.
    public struct FitConfiguration: Sendable, Equatable {
        /// At least 1.
        public var stateCount = 3
        public var covariance = Covariance.full
        /// EM iterations of the winning start; those of a trial are `trialIterations`.
        public var maximumIterations = 100
        /// EM stops when an iteration raises the log-likelihood by less than this an observation.
        public var tolerance = 1e-7
        /// Starting points: the first from the data's own volatility, the others by k-means++.
        public var restarts = 4
        public var trialIterations = 5
        /// No variance within a state falls below this fraction of the feature's variance over all rows: a state that
        /// collapses onto a few rows has infinite likelihood and no meaning.
        public var covarianceFloor = 1e-4
        public var order = StateOrder.variance(feature: 0)
        public var seed: UInt64 = 1

        public init() {}
    }

    /// A fitted model and how it came about.
    public struct Fit: Sendable {
        public var model: GaussianHMM
        /// Log-likelihood at the beginning of each iteration, of the winning start; never falls (but for the floor).
        public var history: [Double]
        /// Of `model` itself.
        public var logLikelihood: Double
        public var hasConverged: Bool
        public var observationCount: Int

        /// Bayesian information criterion, −2·logL + parameters·ln(rows): smaller is better.
        public var bic: Double {
            -2 * logLikelihood + Double(model.parameterCount) * log(Double(observationCount))
        }
    }

    /// Fits by Baum–Welch from several starts. `observations`: `[rows × dimension]`, row-major, one row a step, no
    /// gaps.
    ///
    /// O(iterations · rows · (states² + states · dimension²)). Same seed, same bits.
    /// Throws `shapeMismatch`, `nonFiniteObservation`, `tooFewObservations`, `constantFeature`.
    public static func fit(
        _ observations: [Double], dimension: Int, _ configuration: FitConfiguration = .init()
    ) throws(RegimeError) -> Fit {
        let scales = try Self.scales(observations, dimension, configuration)
        var random = RandomGenerator(seed: configuration.seed)
        var best: GaussianHMM?
        var bestLikelihood = -Double.infinity
        let starts = max(1, configuration.restarts)
        for start in 0..<(configuration.stateCount == 1 ? 1 : starts) {
            let clusters = start == 0
                ? volatilityClusters(observations, dimension, scales, configuration.stateCount)
                : kMeansClusters(observations, dimension, scales, configuration.stateCount, &random)
            let model = startingModel(observations, dimension, clusters, scales, configuration)
            guard starts > 1 else {
                best = model
                break
            }
            let trial = refine(model, observations, scales, configuration, iterations: configuration.trialIterations)
            if trial.logLikelihood > bestLikelihood || best == nil {
                bestLikelihood = trial.logLikelihood
                best = trial.model
            }
        }
        guard let best else { throw .tooFewObservations(count: 0, needed: 1) }
        return refine(best, observations, scales, configuration, iterations: configuration.maximumIterations)
    }

    /// Goes on from this model on other (or the same) observations: warm starts and comparisons with other programs.
    /// The number of states and the kind of covariance are the model's.
    public func refined(
        _ observations: [Double], _ configuration: FitConfiguration = .init()
    ) throws(RegimeError) -> Fit {
        var own = configuration
        own.stateCount = stateCount
        own.covariance = covariance
        let scales = try Self.scales(observations, dimension, own)
        return Self.refine(self, observations, scales, own, iterations: own.maximumIterations)
    }

    /// One fit for each number of states, and the one with the smallest BIC first choice.
    public static func select(
        _ observations: [Double], dimension: Int, stateCounts: ClosedRange<Int>,
        _ configuration: FitConfiguration = .init()
    ) throws(RegimeError) -> (best: Fit, all: [Fit]) {
        var all: [Fit] = []
        for count in stateCounts {
            var one = configuration
            one.stateCount = count
            all.append(try fit(observations, dimension: dimension, one))
        }
        var best = all[0]
        for fit in all where fit.bic < best.bic { best = fit }
        return (best, all)
    }

    // MARK: EM

    private static func refine(
        _ start: GaussianHMM, _ observations: [Double], _ scales: Scales, _ configuration: FitConfiguration,
        iterations: Int
    ) -> Fit {
        let rows = observations.count / start.dimension
        var passes = ForwardBackward(rows: rows, states: start.stateCount)
        var model = start
        var history: [Double] = []
        var hasConverged = false
        var nothing: [Double]?
        // The floor makes every covariance of a fit positive definite; a start's is checked by its initialiser.
        while history.count < iterations, let emissions = Emissions(model) {
            let statistics = passes.run(model, emissions, observations, posterior: &nothing)
            let gain = statistics.logLikelihood - (history.last ?? -.infinity)
            history.append(statistics.logLikelihood)
            if gain < configuration.tolerance * Double(rows) {
                hasConverged = true
                break
            }
            model = maximised(model, statistics, scales, configuration)
        }
        let final =
            hasConverged
            ? history[history.count - 1]
            : Emissions(model).map { passes.run(model, $0, observations, posterior: &nothing).logLikelihood }
        return Fit(
            model: configuration.order.sorted(model), history: history, logLikelihood: final ?? -.infinity,
            hasConverged: hasConverged, observationCount: rows)
    }

    /// The M step.
    private static func maximised(
        _ model: GaussianHMM, _ statistics: Statistics, _ scales: Scales, _ configuration: FitConfiguration
    ) -> GaussianHMM {
        let n = model.stateCount
        let d = model.dimension
        var transition = model.transition
        var means = model.means
        var covariances = model.covariances
        for state in 0..<n {
            let row = state * n..<(state + 1) * n
            let passages = statistics.passages[row].reduce(0, +)
            // A state that is never left (or never visited) keeps what it had.
            if passages > 1e-12 { for i in row { transition[i] = statistics.passages[i] / passages } }
            let weight = statistics.occupancy[state]
            guard weight > Double(d) + 1 else { continue }
            var matrix = [Double](repeating: 0, count: d * d)
            for i in 0..<d {
                let shiftI = statistics.first[state * d + i] / weight
                means[state * d + i] += shiftI
                for j in (model.covariance == .diagonal ? i : 0)...i {
                    let shiftJ = statistics.first[state * d + j] / weight
                    let value = statistics.second[(state * d + i) * d + j] / weight - shiftI * shiftJ
                    matrix[i * d + j] = value
                    matrix[j * d + i] = value
                }
            }
            floor(&matrix, scales, configuration)
            covariances.replaceSubrange(state * d * d..<(state + 1) * d * d, with: matrix)
        }
        return GaussianHMM(
            unchecked: model.covariance, dimension: d, initial: statistics.initial, transition: transition,
            means: means, covariances: covariances)
    }

    /// Lifts variances to the floor; a full matrix that is still not positive definite gets the floor added to its
    /// diagonal, doubled until it is.
    private static func floor(_ matrix: inout [Double], _ scales: Scales, _ configuration: FitConfiguration) {
        let d = scales.variance.count
        for i in 0..<d {
            let least = configuration.covarianceFloor * scales.variance[i]
            if !(matrix[i * d + i] >= least) { matrix[i * d + i] = least }
        }
        guard configuration.covariance == .full else { return }
        var factor = configuration.covarianceFloor
        while cholesky(matrix, dimension: d) == nil {
            for i in 0..<d { matrix[i * d + i] += factor * scales.variance[i] }
            factor *= 2
        }
    }

    // MARK: Starts

    /// Mean and variance of each feature over all rows.
    struct Scales {
        var mean: [Double]
        var variance: [Double]
    }

    private static func scales(
        _ observations: [Double], _ dimension: Int, _ configuration: FitConfiguration
    ) throws(RegimeError) -> Scales {
        let rows = try rowCount(observations, dimension: dimension)
        guard (1...maximumStates).contains(configuration.stateCount), (1...maximumDimension).contains(dimension),
            configuration.covarianceFloor > 0, configuration.covarianceFloor < 1
        else { throw .invalidModel(what: "states, features or floor out of range") }
        let needed = configuration.stateCount * (dimension + 2)
        guard rows >= needed else { throw .tooFewObservations(count: rows, needed: needed) }
        var scales = Scales(
            mean: [Double](repeating: 0, count: dimension), variance: [Double](repeating: 0, count: dimension))
        for i in observations.indices { scales.mean[i % dimension] += observations[i] / Double(rows) }
        for i in observations.indices {
            let x = observations[i] - scales.mean[i % dimension]
            scales.variance[i % dimension] += x * x / Double(rows)
        }
        for i in 0..<dimension {
            let magnitude = abs(scales.mean[i]) * 1e-12
            guard scales.variance[i] > magnitude * magnitude, scales.variance[i].isNormal else {
                throw .constantFeature(i)
            }
        }
        return scales
    }

    /// Means and covariances of the clusters, and a chain that stays where it is nine times out of ten.
    private static func startingModel(
        _ observations: [Double], _ d: Int, _ clusters: [Int], _ scales: Scales, _ configuration: FitConfiguration
    ) -> GaussianHMM {
        let n = configuration.stateCount
        let uniform = [Double](repeating: 1 / Double(n), count: n)
        var transition = [Double](repeating: n == 1 ? 1 : 0.1 / Double(max(1, n - 1)), count: n * n)
        if n > 1 { for i in 0..<n { transition[i * n + i] = 0.9 } }
        let unit = (0..<n * d * d).map { $0 % (d * d) % (d + 1) == 0 ? scales.variance[$0 % d] : 0 }
        let flat = GaussianHMM(
            unchecked: configuration.covariance, dimension: d, initial: uniform, transition: transition,
            means: (0..<n * d).map { scales.mean[$0 % d] }, covariances: unit)
        var statistics = Statistics(states: n, dimension: d)
        var weights = [Double](repeating: 0, count: n)
        var scratch = [Double](repeating: 0, count: d)
        for (t, cluster) in clusters.enumerated() {
            weights[cluster] = 1
            statistics.add(observations.span, at: t * d, weights: weights.span, model: flat, scratch: &scratch)
            weights[cluster] = 0
        }
        statistics.initial = uniform
        return maximised(flat, statistics, scales, configuration)
    }
}
