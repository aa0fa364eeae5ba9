internal import Kernels

/// The probability of each regime given the observations so far and none later: what may be traded on.
///
/// Prepared once from a model; one step is O(states² + states · dimension²) and allocates nothing.
public struct RegimeFilter: Sendable {
    public let model: GaussianHMM
    private let emissions: Emissions

    /// Throws `invalidModel` when a covariance is not positive definite.
    public init(_ model: GaussianHMM) throws(RegimeError) {
        guard let emissions = Emissions(model) else { throw .invalidModel(what: "positive definite covariances") }
        self.model = model
        self.emissions = emissions
    }

    /// Takes P(state at t−1 | x₁…x₍t−1₎) and xₜ, writes P(state at t | x₁…xₜ), and returns ln p(xₜ | x₁…x₍t−1₎).
    ///
    /// `previous`: `[states]`, empty before the first observation; `posterior`: `[states]`. Throws `shapeMismatch` and
    /// `nonFiniteObservation`, and has then written nothing.
    @discardableResult
    public func update(
        previous: Span<Double>, observation: Span<Double>, posterior: inout MutableSpan<Double>
    ) throws(RegimeError) -> Double {
        let n = model.stateCount
        guard observation.count == model.dimension else {
            throw .shapeMismatch(count: observation.count, dimension: model.dimension)
        }
        guard posterior.count == n, previous.isEmpty || previous.count == n else {
            throw .shapeMismatch(count: previous.count, dimension: n)
        }
        for i in 0..<observation.count {
            guard observation[i].isFinite else { throw .nonFiniteObservation(row: 0, feature: i) }
        }
        // ln P(state, x): the sum is of logarithms, so that an observation far from every state still moves it.
        return withTemporaryDoubles(n) { logs in
            emissions.logDensities(observation, at: 0, into: &logs)
            var largest = -Double.infinity
            for s in 0..<n {
                let prior = predicted(s, previous)
                logs[s] = prior > 0 ? logs[s] + log(prior) : -.infinity
                if logs[s] > largest { largest = logs[s] }
            }
            var sum = 0.0
            for s in 0..<n {
                logs[s] = exp(logs[s] - largest)
                sum += logs[s]
            }
            for s in 0..<n { posterior[s] = logs[s] / sum }
            return largest + log(sum)
        }
    }

    /// P(state at t+1 | x₁…xₜ): the step for a bar without an observation.
    public func advance(previous: Span<Double>, posterior: inout MutableSpan<Double>) throws(RegimeError) {
        let n = model.stateCount
        guard posterior.count == n, previous.isEmpty || previous.count == n else {
            throw .shapeMismatch(count: previous.count, dimension: n)
        }
        for s in 0..<n { posterior[s] = predicted(s, previous) }
    }

    private func predicted(_ state: Int, _ previous: Span<Double>) -> Double {
        guard !previous.isEmpty else { return model.initial[state] }
        var sum = 0.0
        for r in 0..<previous.count { sum += previous[r] * model.transition[r * model.stateCount + state] }
        return sum
    }

    /// The filtered probabilities of a whole history, `[rows × states]`, and its log-likelihood.
    public func filtered(_ observations: [Double]) throws(RegimeError) -> (posterior: [Double], logLikelihood: Double) {
        let rows = try rowCount(observations, dimension: model.dimension)
        let n = model.stateCount
        let d = model.dimension
        var state = FilterState(self)
        var posterior = [Double](repeating: 0, count: rows * n)
        var total = 0.0
        for t in 0..<rows {
            total += try state.update(observations.span.extracting(t * d..<(t + 1) * d))
            for s in 0..<n { posterior[t * n + s] = state.posterior[s] }
        }
        return (posterior, total)
    }
}

/// A filter with its memory: one a stream. What is to be kept between runs is `posterior`.
public struct FilterState: Sendable {
    public let filter: RegimeFilter
    /// P(state | observations so far), `[states]`; empty before the first.
    public private(set) var posterior: [Double]
    private var next: [Double]

    public init(_ filter: RegimeFilter) {
        self.filter = filter
        posterior = []
        posterior.reserveCapacity(filter.model.stateCount)
        next = [Double](repeating: 0, count: filter.model.stateCount)
    }

    /// Continues from a kept `posterior`. Throws `shapeMismatch` or `invalidModel` where it is not one of the model.
    public init(_ filter: RegimeFilter, posterior: [Double]) throws(RegimeError) {
        self.init(filter)
        guard posterior.isEmpty || posterior.count == filter.model.stateCount else {
            throw .shapeMismatch(count: posterior.count, dimension: filter.model.stateCount)
        }
        guard posterior.isEmpty || abs(posterior.reduce(0, +) - 1) < 1e-6, posterior.allSatisfy({ $0 >= 0 }) else {
            throw .invalidModel(what: "a posterior that adds up to 1")
        }
        self.posterior = posterior
    }

    /// Takes one observation; returns its log-density given those before. An error leaves the state as it was.
    @discardableResult
    public mutating func update(_ observation: Span<Double>) throws(RegimeError) -> Double {
        var result: [Double] = []
        swap(&result, &next)
        defer { swap(&result, &next) }
        var out = result.mutableSpan
        let density = try filter.update(previous: posterior.span, observation: observation, posterior: &out)
        if posterior.isEmpty { posterior = result } else { swap(&posterior, &result) }
        return density
    }

    @discardableResult
    public mutating func update(_ observation: [Double]) throws(RegimeError) -> Double {
        try update(observation.span)
    }

    /// One step without an observation: the bar was missing or incomplete.
    public mutating func advance() throws(RegimeError) {
        var result: [Double] = []
        swap(&result, &next)
        defer { swap(&result, &next) }
        var out = result.mutableSpan
        try filter.advance(previous: posterior.span, posterior: &out)
        if posterior.isEmpty { posterior = result } else { swap(&posterior, &result) }
    }

    /// The most probable state; `nil` before the first observation.
    public var mostProbable: Int? { posterior.indices.max { posterior[$0] < posterior[$1] } }
}

/// Lends `count` doubles on the stack.
private func withTemporaryDoubles<R>(_ count: Int, _ body: (inout MutableSpan<Double>) -> R) -> R {
    unsafe withUnsafeTemporaryAllocation(of: Double.self, capacity: count) { buffer in
        unsafe buffer.initialize(repeating: 0)
        var span = unsafe MutableSpan(_unsafeElements: buffer)
        return body(&span)
    }
}
