public import NeuralNetworks

/// Why a stored policy was not loaded, or an observation not answered.
public enum PolicyError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The checkpoint's bytes or tensors are wrong. The cause says how.
    case checkpoint(NeuralNetworkError)
    /// The checkpoint's metadata lacks `key`, or has a value that makes no policy.
    case metadata(key: String, value: String?)
    /// The checkpoint is of another kind of policy, or of a later format than this code reads.
    case unsupported(kind: String, format: String)
    /// A parameter is NaN or infinite: the training that made it failed.
    case parameterNotFinite(index: Int)
    /// The observation has another count than the policy was made for. Check the schema version.
    case observationSize(expected: Int, found: Int)
    /// An input is NaN or infinite. Absent features must be filled and masked before.
    case observationNotFinite(index: Int)
    /// A head answers a golden input otherwise than it did when it was stored: the file is damaged, or was made by code
    /// whose arithmetic differs.
    case headWrong(head: String, input: Int, expected: Float, found: Float)
    /// A head gives one answer to all golden inputs: it is dead. Train anew.
    case headDead(head: String)
    /// The state to restore is of another policy: it has another count of numbers.
    case stateSize(expected: Int, found: Int)
    /// The state to restore has a number that is NaN or infinite.
    case stateNotFinite(index: Int)

    public var description: String {
        switch self {
        case .checkpoint(let cause): "policy checkpoint: \(cause)"
        case .metadata(let key, let value): "policy checkpoint: metadata \(key) is \(value ?? "absent")"
        case .unsupported(let kind, let format): "policy checkpoint: kind \(kind), format \(format) is not supported"
        case .parameterNotFinite(let index): "policy parameter \(index) is not finite"
        case .observationSize(let expected, let found): "observation of \(found) numbers, \(expected) needed"
        case .observationNotFinite(let index): "observation is not finite at \(index)"
        case .headWrong(let head, let input, let expected, let found):
            "head \(head) answers golden input \(input) with \(found), not \(expected) as when it was stored"
        case .headDead(let head): "head \(head) is dead: it gives the same answer to all golden inputs"
        case .stateSize(let expected, let found): "state of \(found) numbers, \(expected) needed"
        case .stateNotFinite(let index): "state is not finite at \(index)"
        }
    }
}
