internal import Kernels
public import Policies

/// Trains policy `mlp` by proximal policy optimisation (see PPO.swift) on several environments.
public struct PPOTrainer<E: Environment>: Sendable {
    private var training: PPO<E, MLPLearner>

    /// Prepares a training of `policy` and resets the environments, each with a generator of its own drawn from
    /// `seed`. Throws `configuration` for a bad field, no environment, or sizes that do not fit the policy, and
    /// `environmentNotFinite`.
    public init(
        _ policy: MLPPolicy, environments: [E], configuration: PPOConfiguration = .init(), seed: UInt64
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
        let file = try Checkpoint(bytes, kind: MLPLearner.kind, configuration: configuration)
        let policyBytes = try file.policyBytes()
        let policy: MLPPolicy
        do { policy = try MLPPolicy(safetensors: policyBytes) } catch { throw .policy(error) }
        let idle = environments.map { EnvironmentSlot($0, random: RandomGenerator(seed: 0)) }
        training = try Self.prepare(
            policy, slots: idle, configuration: configuration, random: RandomGenerator(seed: 0))
        try training.restore(file)
    }

    /// Sizes are checked before any environment runs on them.
    private static func prepare(
        _ policy: MLPPolicy, slots: [EnvironmentSlot<E>], configuration: PPOConfiguration, random: RandomGenerator
    ) throws(LearningError) -> PPO<E, MLPLearner> {
        try PPO<E, MLPLearner>.validate(
            configuration, slots.map(\.environment), observationSize: policy.observationSize,
            actionSize: policy.actionSize)
        return PPO(
            MLPLearner(policy, environments: slots.count, configuration: configuration), slots: slots,
            observationSize: policy.observationSize, actionSize: policy.actionSize, configuration: configuration,
            random: random)
    }

    public var configuration: PPOConfiguration { training.configuration }
    /// As trained so far.
    public var policy: MLPPolicy { training.learner.policy }
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
