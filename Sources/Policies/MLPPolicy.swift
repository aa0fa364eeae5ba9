public import Kernels
public import NeuralNetworks

/// Policy `mlp`: two multilayer perceptrons on the whole observation. The actor's outputs are the means of a Gaussian
/// whose standard deviations do not depend on the state; its tanh is the action in (−1, 1). The critic gives the value.
///
/// All parameters stand in one vector: actor, log standard deviations, critic. The value is unchanged once trained;
/// copies share memory. `PolicyRunner` computes decisions with it, `PPOTrainer` trains it.
public struct MLPPolicy: Sendable, Equatable {
    /// What fixes the parameters' number and meaning.
    public struct Architecture: Sendable, Equatable {
        /// Numbers in an observation, ≥ 1. What they mean is the environment's to say (`Trading.ObservationLayout`).
        public var observationSize: Int
        /// Components of an action, ≥ 1. One market has one: the share of equity, long positive.
        public var actionSize: Int
        /// Widths of the hidden layers, of actor and critic alike; all positive. [128, 128] is the house's default.
        public var hidden: [Int]
        public var activation: Activation
        /// For serving, which has to find the observation's layout again: the rows of features in an observation, ≥ 1,
        /// and the features in a row, ≥ 0. The network does not depend on them; whoever serves compares its layout's
        /// count with `observationSize`.
        public var window: Int
        public var featureCount: Int

        public init(
            observationSize: Int, actionSize: Int = 1, hidden: [Int] = [128, 128], activation: Activation = .tanh,
            window: Int = 1, featureCount: Int = 0
        ) {
            self.observationSize = observationSize
            self.actionSize = actionSize
            self.hidden = hidden
            self.activation = activation
            self.window = window
            self.featureCount = featureCount
        }
    }

    /// Bounds of the log standard deviations, kept by training: σ from 0.0067 to 7.4, before the tanh.
    public static let logStdBounds: ClosedRange<Float> = -5...2

    public let architecture: Architecture
    /// Maps the observation to one mean an action component, before the tanh.
    public let actor: MLP
    /// Where the log standard deviations stand in `parameters`, one an action component.
    public let logStd: Range<Int>
    /// Maps the observation to its value: the expected discounted sum of rewards.
    public let critic: MLP
    /// Finite; `parameterCount` of them.
    public var parameters: [Float] {
        didSet { precondition(parameters.count == parameterCount, "the architecture fixes the parameters' count") }
    }
    /// Free strings that travel with the parameters: `schema_version`, `normaliser_id`, `symbol`, … Keys that begin
    /// with `vomma.` are the format's own: they are not kept.
    public var metadata: [String: String]

    public var parameterCount: Int { critic.offset + critic.parameterCount }
    public var observationSize: Int { architecture.observationSize }
    public var actionSize: Int { architecture.actionSize }
    public var window: Int { architecture.window }
    public var featureCount: Int { architecture.featureCount }

    /// A policy ready to be trained: orthogonal weights, the actor's last layer scaled by 0.01 so that the first means
    /// are near 0, and the given standard deviation (before the tanh; clamped to `logStdBounds`).
    public init(
        _ architecture: Architecture, initialStandardDeviation: Float = 0.6, metadata: [String: String] = [:],
        random: inout RandomGenerator
    ) {
        precondition(initialStandardDeviation > 0, "a standard deviation is positive")
        self.init(zeroed: architecture, metadata: metadata)
        var values = parameters
        actor.initialise(&values, outputGain: 0.01, random: &random)
        critic.initialise(&values, outputGain: 1, random: &random)
        let bounds = Self.logStdBounds
        for i in logStd { values[i] = min(max(log(initialStandardDeviation), bounds.lowerBound), bounds.upperBound) }
        parameters = values
    }

    /// All parameters 0.
    init(zeroed architecture: Architecture, metadata: [String: String]) {
        precondition(
            architecture.observationSize > 0 && architecture.actionSize > 0,
            "an observation has a number and an action a component")
        self.architecture = architecture
        actor = MLP(
            sizes: [architecture.observationSize] + architecture.hidden + [architecture.actionSize],
            activation: architecture.activation)
        logStd = actor.parameterCount..<actor.parameterCount + architecture.actionSize
        critic = MLP(
            sizes: [architecture.observationSize] + architecture.hidden + [1], activation: architecture.activation,
            offset: logStd.upperBound)
        parameters = [Float](repeating: 0, count: critic.offset + critic.parameterCount)
        self.metadata = metadata.filter { !$0.key.hasPrefix(PolicyFormat.reservedPrefix) }
    }
}
