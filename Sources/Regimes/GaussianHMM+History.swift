internal import Kernels

// What a whole history says. Smoothed probabilities and paths use later observations: for reports and labels, never as
// an input of a decision.
extension GaussianHMM {
    /// ln p(observations). Throws `shapeMismatch`, `nonFiniteObservation`, `invalidModel`.
    public func logLikelihood(_ observations: [Double]) throws(RegimeError) -> Double {
        try pass(observations, wantsPosterior: false).statistics.logLikelihood
    }

    /// P(state | all observations), `[rows × states]`: looks ahead.
    public func smoothed(_ observations: [Double]) throws(RegimeError) -> [Double] {
        try pass(observations, wantsPosterior: true).posterior
    }

    /// The most probable sequence of states (Viterbi), in logarithms: looks ahead. Ties go to the smaller state.
    public func mostProbablePath(_ observations: [Double]) throws(RegimeError) -> [Int] {
        let rows = try rowCount(observations, dimension: dimension)
        guard rows > 0 else { return [] }
        guard let emissions = Emissions(self) else { throw .invalidModel(what: "positive definite covariances") }
        let n = stateCount
        let logTransition = transition.map { log($0) }
        var from = [UInt8](repeating: 0, count: rows * n)
        var best = initial.map { log($0) }
        var following = best
        var logs = [Double](repeating: 0, count: n)
        for t in 0..<rows {
            var out = logs.mutableSpan
            emissions.logDensities(observations.span, at: t * dimension, into: &out)
            for s in 0..<n {
                guard t > 0 else {
                    following[s] = best[s] + logs[s]
                    continue
                }
                var largest = best[0] + logTransition[s]
                for r in 1..<max(1, n) where best[r] + logTransition[r * n + s] > largest {
                    largest = best[r] + logTransition[r * n + s]
                    from[t * n + s] = UInt8(r)
                }
                following[s] = largest + logs[s]
            }
            swap(&best, &following)
        }
        var state = 0
        for s in 1..<max(1, n) where best[s] > best[state] { state = s }
        var path = [Int](repeating: 0, count: rows)
        for t in stride(from: rows - 1, through: 0, by: -1) {
            path[t] = state
            state = Int(from[t * n + state])
        }
        return path
    }

    /// How the states share a history: for the report on whether the regimes are real and stable.
    public struct Occupancy: Sendable, Equatable {
        /// Share of the rows in each state on the most probable path, beside the model's own long-run share.
        public var share: [Double]
        public var stationaryShare: [Double]
        /// Mean length of a stay in steps on the path (0 for a state never visited), beside the model's expectation.
        public var meanDwell: [Double]
        public var expectedDwell: [Double]
        /// Stays in each state.
        public var visits: [Int]
    }

    public func occupancy(_ observations: [Double]) throws(RegimeError) -> Occupancy {
        let path = try mostProbablePath(observations)
        var counts = [Int](repeating: 0, count: stateCount)
        var visits = counts
        for (t, state) in path.enumerated() {
            counts[state] += 1
            if t == 0 || path[t - 1] != state { visits[state] += 1 }
        }
        return Occupancy(
            share: counts.map { path.isEmpty ? 0 : Double($0) / Double(path.count) }, stationaryShare: stationary,
            meanDwell: zip(counts, visits).map { $1 == 0 ? 0 : Double($0) / Double($1) }, expectedDwell: dwellTimes,
            visits: visits)
    }

    private func pass(
        _ observations: [Double], wantsPosterior: Bool
    ) throws(RegimeError) -> (statistics: Statistics, posterior: [Double]) {
        let rows = try rowCount(observations, dimension: dimension)
        guard rows > 0 else { throw .tooFewObservations(count: 0, needed: 1) }
        guard let emissions = Emissions(self) else { throw .invalidModel(what: "positive definite covariances") }
        var passes = ForwardBackward(rows: rows, states: stateCount)
        var posterior: [Double]? = wantsPosterior ? [Double](repeating: 0, count: rows * stateCount) : nil
        let statistics = passes.run(self, emissions, observations, posterior: &posterior)
        return (statistics, posterior ?? [])
    }
}
