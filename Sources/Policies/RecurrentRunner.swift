public import Kernels
internal import NeuralNetworks

/// Computes decisions of one recurrent policy, carrying its memory from one to the next. Nothing is allocated by a
/// decision.
///
/// A value with its own memory: each stream of observations has its own runner. Every observation of an episode must be
/// decided once and in order; `reset` before the next episode. The parameters are shared between copies.
public struct RecurrentRunner: Sendable {
    public let policy: RecurrentPolicy
    /// All components of the last decision's action.
    public private(set) var actions: [Float]
    private var actorState: LSTMState
    private var criticState: LSTMState
    private var actorWorkspace: RecurrentWorkspace
    private var criticWorkspace: RecurrentWorkspace

    /// At the start of an episode.
    public init(_ policy: RecurrentPolicy) {
        self.policy = policy
        actions = [Float](repeating: 0, count: policy.actionSize)
        actorState = LSTMState(rows: 1, hidden: policy.architecture.hidden)
        criticState = actorState
        actorWorkspace = RecurrentWorkspace(policy.actor, steps: 1, rows: 1)
        criticWorkspace = RecurrentWorkspace(policy.critic, steps: 1, rows: 1)
    }

    /// Forgets everything: an episode starts.
    public mutating func reset() {
        actorState.clear()
        criticState.clear()
    }

    /// What the runner remembers, 4 × `hidden` numbers: the actor's h and c, then the critic's. To be kept with a
    /// position over a restart. Allocates the result.
    public var state: [Float] { actorState.hidden + actorState.cell + criticState.hidden + criticState.cell }

    /// Goes on from what `state` returned. Throws `stateSize` or `stateNotFinite`: then nothing has changed.
    public mutating func restore(_ state: [Float]) throws(PolicyError) {
        let size = policy.architecture.hidden
        guard state.count == 4 * size else { throw .stateSize(expected: 4 * size, found: state.count) }
        if let index = state.firstIndex(where: { !$0.isFinite }) { throw .stateNotFinite(index: index) }
        actorState.hidden = Array(state[..<size])
        actorState.cell = Array(state[size..<2 * size])
        criticState.hidden = Array(state[2 * size..<3 * size])
        criticState.cell = Array(state[(3 * size)...])
    }

    /// The policy's deterministic action, tanh of the mean: what is traded. About 5 µs for 40-64-64.
    ///
    /// Throws `observationSize` or `observationNotFinite`: then the memory is as it was.
    public mutating func decide(_ observation: Span<Float>) throws(PolicyError) -> PolicyDecision {
        try evaluate(observation)
        return decision { mean, _ in mean }
    }

    /// An action drawn from the policy's distribution, as in training. Throws as `decide`.
    public mutating func sample(
        _ observation: Span<Float>, random: inout RandomGenerator
    ) throws(PolicyError) -> PolicyDecision {
        try evaluate(observation)
        return decision { mean, sigma in mean + sigma * Float(random.normal()) }
    }

    /// The decision with what each input contributed to its action, as `PolicyRunner.explain`: gradient × input of
    /// tanh(mean) by this observation alone, what is remembered held fixed. Allocates.
    public mutating func explain(
        _ observation: Span<Float>
    ) throws(PolicyError) -> (decision: PolicyDecision, contributions: [Float]) {
        let decision = try decide(observation)
        for k in 0..<policy.actionSize {
            actorWorkspace.setOutputGradient(k == 0 ? 1 - decision.action * decision.action : 0, 0, k)
        }
        var input = [Float](repeating: 0, count: observation.count)
        for i in 0..<observation.count { input[i] = observation[i] }
        var stateGradient = LSTMState(rows: 1, hidden: policy.architecture.hidden)
        var gradients = [Float](repeating: 0, count: policy.parameterCount)
        policy.actor.backward(
            input, steps: 1, rows: 1, parameters: policy.parameters, stateGradient: &stateGradient,
            workspace: &actorWorkspace, gradients: &gradients)
        // Of one row, the gradient by the encoder's biases is the one behind its weights: their product is the input's.
        let encoder = policy.actor.encoder
        var contributions = [Float](repeating: 0, count: encoder.inputs)
        for unit in 0..<encoder.outputs {
            let slope = gradients[encoder.biases.lowerBound + unit]
            let weights = encoder.weights.lowerBound + unit * encoder.inputs
            for i in 0..<encoder.inputs { contributions[i] += slope * policy.parameters[weights + i] }
        }
        for i in 0..<encoder.inputs { contributions[i] *= input[i] }
        return (decision, contributions)
    }

    private mutating func evaluate(_ observation: Span<Float>) throws(PolicyError) {
        try checkObservation(observation, size: policy.observationSize)
        let parameters = policy.parameters
        policy.actor.forward(
            observation, steps: 1, rows: 1, parameters: parameters, state: &actorState, workspace: &actorWorkspace)
        policy.critic.forward(
            observation, steps: 1, rows: 1, parameters: parameters, state: &criticState, workspace: &criticWorkspace)
    }

    private mutating func decision(draw: (Float, Float) -> Float) -> PolicyDecision {
        PolicyDecision(
            value: criticWorkspace.output(0), logStd: policy.parameters[policy.logStd], actions: &actions,
            mean: { actorWorkspace.output(0, $0) }, draw: draw)
    }
}
