internal import NeuralNetworks

/// A policy in training: its networks with their passes over a rollout. What `PPO` does with it does not depend on the
/// kind of policy.
///
/// A minibatch is made of units: single steps where the policy has no memory, whole environments where it has.
protocol Learner: Sendable {
    /// The flat vector of parameters, in which `logStd` are the log standard deviations.
    var parameters: [Float] { get set }
    var logStd: Range<Int> { get }

    /// Numbers of units in a rollout and in a minibatch.
    var units: Int { get }
    var unitsPerMinibatch: Int { get }

    /// A rollout begins.
    mutating func begin()
    /// Writes the actor's outputs for step `t` to `rollout.means`.
    mutating func decide(_ t: Int, _ rollout: inout Rollout)
    /// Step `t` was taken: some episodes may have ended.
    mutating func follow(_ t: Int, _ rollout: inout Rollout)
    /// Fills `rollout.values` and `rollout.nextValues`, as far as the steps have not done so.
    mutating func evaluate(_ rollout: inout Rollout)

    /// Starts a minibatch of some of the units.
    mutating func gather(_ units: ArraySlice<Int>, _ rollout: Rollout)
    /// The minibatch's loss of the actor or the critic, with its gradients; the actor's returns the estimated KL
    /// divergence.
    mutating func actorGradients(
        _ rollout: Rollout, _ configuration: PPOConfiguration, _ gradients: inout [Float],
        _ metrics: inout PPOMetrics) -> Float
    mutating func criticGradients(
        _ rollout: Rollout, _ configuration: PPOConfiguration, _ gradients: inout [Float],
        _ metrics: inout PPOMetrics)

    /// For checkpoints: the policy's file, what else the next iteration depends on, and the way back.
    static var kind: String { get }
    var policyBytes: [UInt8] { get }
    var tensors: [Tensor] { get }
    mutating func restore(_ file: Checkpoint) throws(LearningError)
}
