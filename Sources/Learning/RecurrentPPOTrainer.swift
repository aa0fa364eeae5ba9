internal import Kernels
public import Policies

/// Trains policy `recurrent` by proximal policy optimisation (see PPO.swift) on several environments.
///
/// As `PPOTrainer` but for memory: a rollout keeps the state that each environment's sequence starts with; a minibatch
/// is the whole sequences of some environments, `minibatchSize`/`stepsPerEnvironment` of them and at least one, and the
/// gradient goes back through all their steps, stopping where an episode starts. A sequence's first state was computed
/// before the last update, as in other implementations: how far back the gradient reaches is `stepsPerEnvironment`.
public struct RecurrentPPOTrainer<E: Environment>: Sendable {
    private var training: PPO<E, RecurrentLearner>

    /// Prepares a training of `policy` and resets the environments, each with a generator of its own drawn from
    /// `seed`. Throws `configuration` for a bad field, no environment, or sizes that do not fit the policy, and
    /// `environmentNotFinite`.
    public init(
        _ policy: RecurrentPolicy, environments: [E], configuration: PPOConfiguration = .init(), seed: UInt64
    ) throws(LearningError) {
        var random = RandomGenerator(seed: seed)
        let slots = environments.map { EnvironmentSlot($0, random: RandomGenerator(seed: random.next())) }
        training = try Self.prepare(policy, slots: slots, configuration: configuration, random: random)
        try training.start()
    }

    /// Continues a training from `checkpoint()`'s bytes, with environments and configuration as they were.
    ///
    /// Throws `checkpoint`, `policy`, `checkpointMismatch` (another configuration or number of environments),
    /// `environmentChanged`, or what the other initialiser throws. Replays each environment's current episode.
    public init(
        resuming bytes: [UInt8], environments: [E], configuration: PPOConfiguration
    ) throws(LearningError) {
        let file = try Checkpoint(bytes, kind: RecurrentLearner.kind, configuration: configuration)
        let policyBytes = try file.policyBytes()
        let policy: RecurrentPolicy
        do { policy = try RecurrentPolicy(safetensors: policyBytes) } catch { throw .policy(error) }
        let idle = environments.map { EnvironmentSlot($0, random: RandomGenerator(seed: 0)) }
        training = try Self.prepare(
            policy, slots: idle, configuration: configuration, random: RandomGenerator(seed: 0))
        try training.restore(file)
    }

    /// Sizes are checked before any environment runs on them.
    private static func prepare(
        _ policy: RecurrentPolicy, slots: [EnvironmentSlot<E>], configuration: PPOConfiguration, random: RandomGenerator
    ) throws(LearningError) -> PPO<E, RecurrentLearner> {
        try PPO<E, RecurrentLearner>.validate(
            configuration, slots.map(\.environment), observationSize: policy.observationSize,
            actionSize: policy.actionSize)
        return PPO(
            RecurrentLearner(policy, environments: slots.count, configuration: configuration), slots: slots,
            observationSize: policy.observationSize, actionSize: policy.actionSize, configuration: configuration,
            random: random)
    }

    public var configuration: PPOConfiguration { training.configuration }
    /// As trained so far.
    public var policy: RecurrentPolicy { training.learner.policy }
    /// Iterations and environment steps done.
    public var iteration: Int { training.iteration }
    public var steps: Int { training.steps }
    /// Whether all iterations of the configuration are done. More may follow, at the schedule's last learning rate.
    public var isFinished: Bool { iteration >= configuration.totalIterations }

    /// One rollout and one update. Throws `environmentNotFinite` or `diverged`: then go back to a checkpoint, or end.
    public mutating func iterate() throws(LearningError) -> PPOMetrics { try training.iterate() }

    /// The whole state between two iterations, as a safetensors file: equal bytes for equal states.
    public func checkpoint() -> [UInt8] { training.checkpoint() }
}
