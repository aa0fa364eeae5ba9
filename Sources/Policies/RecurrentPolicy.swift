public import Kernels
public import NeuralNetworks

/// Policy `recurrent`: as `mlp`, with memory. Actor and critic are two networks of the same sizes, each a linear layer
/// with tanh, long short-term memory, and a linear layer; nothing is shared, so that the value's loss cannot spoil what
/// the actor remembers. The actor's outputs are the means of a Gaussian whose standard deviations do not depend on the
/// state; its tanh is the action in (−1, 1). The critic gives the value.
///
/// All parameters stand in one vector: actor, log standard deviations, critic. The value is unchanged once trained;
/// copies share memory. `RecurrentRunner` computes decisions with it, `RecurrentPPOTrainer` trains it.
public struct RecurrentPolicy: Sendable, Equatable {
    /// What fixes the parameters' number and meaning.
    public struct Architecture: Sendable, Equatable {
        /// Numbers in an observation, ≥ 1. What they mean is the environment's to say.
        public var observationSize: Int
        /// Components of an action, ≥ 1. One market has one: the share of equity, long positive.
        public var actionSize: Int
        /// Width of the layer before the memory, and units of the memory, of actor and critic alike; both ≥ 1.
        public var encoded: Int
        public var hidden: Int
        /// As in `MLPPolicy.Architecture`: the rows of features in an observation, ≥ 1, and the features in a row, ≥ 0.
        /// A memory needs no window of several rows: 1 is usual.
        public var window: Int
        public var featureCount: Int

        public init(
            observationSize: Int, actionSize: Int = 1, encoded: Int = 64, hidden: Int = 64, window: Int = 1,
            featureCount: Int = 0
        ) {
            self.observationSize = observationSize
            self.actionSize = actionSize
            self.encoded = encoded
            self.hidden = hidden
            self.window = window
            self.featureCount = featureCount
        }
    }

    public let architecture: Architecture
    /// Maps observations to one mean an action component, before the tanh.
    public let actor: RecurrentNetwork
    /// Where the log standard deviations stand in `parameters`, one an action component.
    public let logStd: Range<Int>
    /// Maps observations to their values: the expected discounted sum of rewards.
    public let critic: RecurrentNetwork
    /// Finite; `parameterCount` of them.
    public var parameters: [Float] {
        didSet { precondition(parameters.count == parameterCount, "the architecture fixes the parameters' count") }
    }
    /// Free strings that travel with the parameters, as in `MLPPolicy`.
    public var metadata: [String: String]

    public var parameterCount: Int { critic.offset + critic.parameterCount }
    public var observationSize: Int { architecture.observationSize }
    public var actionSize: Int { architecture.actionSize }
    public var window: Int { architecture.window }
    public var featureCount: Int { architecture.featureCount }

    /// A policy ready to be trained: orthogonal weights, forget gates open, the actor's last layer scaled by 0.01 so
    /// that the first means are near 0, and the given standard deviation (before the tanh; clamped to
    /// `MLPPolicy.logStdBounds`).
    public init(
        _ architecture: Architecture, initialStandardDeviation: Float = 0.6, metadata: [String: String] = [:],
        random: inout RandomGenerator
    ) {
        precondition(initialStandardDeviation > 0, "a standard deviation is positive")
        self.init(zeroed: architecture, metadata: metadata)
        var values = parameters
        actor.initialise(&values, outputGain: 0.01, random: &random)
        critic.initialise(&values, outputGain: 1, random: &random)
        let bounds = MLPPolicy.logStdBounds
        for i in logStd { values[i] = min(max(log(initialStandardDeviation), bounds.lowerBound), bounds.upperBound) }
        parameters = values
    }

    /// All parameters 0. Traps for sizes that are not positive.
    init(zeroed architecture: Architecture, metadata: [String: String]) {
        self.architecture = architecture
        actor = RecurrentNetwork(
            inputs: architecture.observationSize, encoded: architecture.encoded, hidden: architecture.hidden,
            outputs: architecture.actionSize)
        logStd = actor.parameterCount..<actor.parameterCount + architecture.actionSize
        critic = RecurrentNetwork(
            inputs: architecture.observationSize, encoded: architecture.encoded, hidden: architecture.hidden,
            outputs: 1, offset: logStd.upperBound)
        parameters = [Float](repeating: 0, count: critic.offset + critic.parameterCount)
        self.metadata = metadata.filter { !$0.key.hasPrefix(PolicyFormat.reservedPrefix) }
    }
}
