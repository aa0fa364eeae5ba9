public import Kernels
internal import NeuralNetworks

/// One answer of a policy. Where an action has several components, the scalars are of the first, except the stated.
public struct PolicyDecision: Sendable, Equatable {
    /// In (−1, 1): the share of equity, long positive. tanh(mean) when decided, tanh of a draw when sampled.
    public let action: Float
    /// Mean and standard deviation of the Gaussian before the tanh.
    public let mean: Float
    public let standardDeviation: Float
    /// ln of the action's density on (−1, 1), summed over all components.
    public let logProbability: Float
    /// The critic's value of the observation: expected discounted sum of (scaled) rewards.
    public let value: Float
    /// Φ(|mean|/σ), from 0.5 to 1: the probability, under the policy's own Gaussian, that an action drawn from it has
    /// the sign of its mean. It is the policy's decidedness, not a calibrated probability of profit.
    public let confidence: Float
}

/// Computes decisions of one policy with preallocated buffers: nothing is allocated by a decision.
///
/// A value with scratch memory: each stream or thread has its own. The parameters, and the copy of them that is packed
/// for speed when the runner is made, are shared between copies.
public struct PolicyRunner: Sendable {
    public let policy: MLPPolicy
    /// All components of the last decision's action.
    public private(set) var actions: [Float]
    private var packed: PackedPolicy
    /// For `explain` alone.
    private var actorWorkspace: MLPWorkspace
    private var gradient: [Float]

    public init(_ policy: MLPPolicy) {
        self.policy = policy
        actions = [Float](repeating: 0, count: policy.actionSize)
        packed = PackedPolicy(policy)
        actorWorkspace = MLPWorkspace(policy.actor, capacity: 1)
        gradient = [Float](repeating: 0, count: policy.observationSize)
    }

    /// The policy's deterministic action, tanh of the mean: what is traded. About 10 µs for 1280-128-128,
    /// 3 µs each in a batch.
    ///
    /// Throws `observationSize` or `observationNotFinite`.
    public mutating func decide(_ observation: Span<Float>) throws(PolicyError) -> PolicyDecision {
        try evaluate(one: observation)
        return decision(0) { mean, _ in mean }
    }

    /// The decisions of several observations, one after the other in `observations`: the same as one by one, bit for
    /// bit, in a third of the time or less. `actions` has the last one's. Allocates the result, and grows with the
    /// largest batch up to `batchLimit` rows. Throws `observationSize` when the count is not that of whole
    /// observations, and `observationNotFinite` with the index in all of them.
    public mutating func decide(batch observations: Span<Float>) throws(PolicyError) -> [PolicyDecision] {
        let size = policy.observationSize
        guard observations.count % size == 0 else {
            throw .observationSize(expected: size, found: observations.count % size)
        }
        var decisions: [PolicyDecision] = []
        decisions.reserveCapacity(observations.count / size)
        while decisions.count < observations.count / size {
            let rows = min(Self.batchLimit, observations.count / size - decisions.count)
            let first = decisions.count * size
            try evaluate(observations.extracting(first..<first + rows * size), rows: rows, firstIndex: first)
            for row in 0..<rows { decisions.append(decision(row) { mean, _ in mean }) }
        }
        return decisions
    }

    /// Rows that are computed at once: enough to use each weight well, and their values stay in the cache.
    public static let batchLimit = 64

    /// An action drawn from the policy's distribution, as in training. Throws as `decide`.
    public mutating func sample(
        _ observation: Span<Float>, random: inout RandomGenerator
    ) throws(PolicyError) -> PolicyDecision {
        try evaluate(one: observation)
        return decision(0) { mean, sigma in mean + sigma * Float(random.normal()) }
    }

    /// The decision with what each input contributed to its action: gradient × input of tanh(mean) (Shrikumar et al.
    /// 2016), of the first component, laid out as the observation. The sum is the action itself to first order around
    /// 0 and means nothing more: read the large ones. Allocates the result; one backward pass.
    public mutating func explain(
        _ observation: Span<Float>
    ) throws(PolicyError) -> (decision: PolicyDecision, contributions: [Float]) {
        let decision = try decide(observation)
        policy.actor.forward(observation, rows: 1, parameters: policy.parameters, workspace: &actorWorkspace)
        for k in 0..<policy.actionSize {
            actorWorkspace.setOutputGradient(k == 0 ? 1 - decision.action * decision.action : 0, 0, k)
        }
        policy.actor.inputGradient(
            observation, rows: 1, parameters: policy.parameters, workspace: &actorWorkspace, into: &gradient)
        var contributions = gradient
        for i in 0..<contributions.count { contributions[i] *= observation[i] }
        return (decision, contributions)
    }

    /// The name under which `byFeature`'s last number is shown.
    public static let previousExposureName = "policy.previous_exposure"

    /// `explain`'s contributions summed by feature: `featureCount` numbers, each the sum over the window's rows and the
    /// feature's mask cell, then one for the previous exposure. The layout is `Trading.ObservationLayout`'s: `window`
    /// rows of values, one row of mask cells, the previous exposure. Traps when the count is not that layout's.
    public static func byFeature(_ contributions: [Float], window: Int, featureCount: Int) -> [Float] {
        precondition(window >= 1 && featureCount >= 0, "an observation has a row and a count of features")
        precondition(contributions.count == (window + 1) * featureCount + 1, "one contribution an input")
        var sums = [Float](repeating: 0, count: featureCount + 1)
        for index in 0..<contributions.count - 1 { sums[index % featureCount] += contributions[index] }
        sums[featureCount] = contributions[contributions.count - 1]
        return sums
    }

    private mutating func evaluate(one observation: Span<Float>) throws(PolicyError) {
        guard observation.count == policy.observationSize else {
            throw .observationSize(expected: policy.observationSize, found: observation.count)
        }
        try evaluate(observation, rows: 1)
    }

    /// `firstIndex` is where the first of these observations stands among the caller's numbers.
    private mutating func evaluate(
        _ observations: Span<Float>, rows: Int, firstIndex: Int = 0
    ) throws(PolicyError) {
        if !PackedLayers.areFinite(observations) {
            for i in 0..<observations.count where !observations[i].isFinite {
                throw .observationNotFinite(index: firstIndex + i)
            }
        }
        packed.evaluate(observations, rows: rows)
    }

    private mutating func decision(_ row: Int, draw: (Float, Float) -> Float) -> PolicyDecision {
        PolicyDecision(
            value: packed.value(row), logStd: policy.parameters[policy.logStd], actions: &actions,
            mean: { packed.mean(row, $0) }, draw: draw)
    }
}

extension PolicyDecision {
    /// From the network's outputs: `mean` of each component of the action, and their log standard deviations. `draw`
    /// maps mean and standard deviation of a component to its value before the tanh; `actions` gets all components.
    init(
        value: Float, logStd: ArraySlice<Float>, actions: inout [Float], mean: (Int) -> Float,
        draw: (Float, Float) -> Float
    ) {
        var logProbability: Float = 0
        for k in 0..<actions.count {
            let (mean, logStd) = (mean(k), logStd[logStd.startIndex + k])
            let u = draw(mean, exp(logStd))
            actions[k] = hyperbolicTangent(u)
            logProbability += SquashedGaussian.logProbability(u, mean: mean, logStd: logStd)
        }
        let sigma = exp(logStd[logStd.startIndex])
        self.init(
            action: actions[0], mean: mean(0), standardDeviation: sigma, logProbability: logProbability, value: value,
            confidence: Float(Normal.cumulative(Double(abs(mean(0)) / sigma))))
    }
}

/// Throws `observationSize` or `observationNotFinite`.
func checkObservation(_ observation: Span<Float>, size: Int) throws(PolicyError) {
    guard observation.count == size else { throw .observationSize(expected: size, found: observation.count) }
    for i in 0..<observation.count where !observation[i].isFinite { throw .observationNotFinite(index: i) }
}
