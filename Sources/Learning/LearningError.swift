public import NeuralNetworks
public import Policies

/// Why a training could not start, go on or be resumed.
public enum LearningError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A field of the configuration is out of its range, or does not fit the policy or the environments.
    case configuration(field: String, reason: String)
    /// The environment gave a reward or an observation that is NaN or infinite, in the given step since the start.
    case environmentNotFinite(environment: Int, step: Int)
    /// A gradient is NaN or infinite: the training diverged. Lower the learning rate, or check the rewards' scale.
    case diverged(iteration: Int)
    /// The checkpoint's bytes are wrong.
    case checkpoint(NeuralNetworkError)
    /// The policy inside the checkpoint is wrong.
    case policy(PolicyError)
    /// The checkpoint is of a training with another configuration, or is inconsistent.
    case checkpointMismatch(field: String, expected: String, found: String)
    /// Replayed from the checkpoint, the environment does not give the observations that it gave before: its data or
    /// code changed, or it is not a function of its generator and the actions.
    case environmentChanged(environment: Int)

    public var description: String {
        switch self {
        case .configuration(let field, let reason): "configuration: \(field) \(reason)"
        case .environmentNotFinite(let environment, let step):
            "environment \(environment) gave a number that is not finite in step \(step)"
        case .diverged(let iteration): "training diverged in iteration \(iteration)"
        case .checkpoint(let cause): "training checkpoint: \(cause)"
        case .policy(let cause): "training checkpoint: \(cause)"
        case .checkpointMismatch(let field, let expected, let found):
            "training checkpoint: \(field) is \(found), \(expected) needed"
        case .environmentChanged(let environment): "environment \(environment) is not the checkpoint's"
        }
    }
}
