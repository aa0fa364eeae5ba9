internal import Storage

/// Why a job has failed for good: trying it again would change nothing.
enum JobError: Error, Equatable, CustomStringConvertible {
    /// The specification has a field that is missing, unknown or out of range.
    case badSpecification(String)
    /// The data that the specification names are not there, or do not fit together.
    case badData(String)

    var description: String {
        switch self {
        case .badSpecification(let reason): "specification: \(reason)"
        case .badData(let reason): "data: \(reason)"
        }
    }
}

/// Why the work on a job was left off although nothing is wrong with it.
enum Interruption: Error {
    /// The lease is not ours any more: taken over, or the job was cancelled. Nothing may be written.
    case leaseLost
    /// The process shuts down: what there is has been saved, and the job goes back into the queue.
    case released
}

extension StorageError {
    /// Whether a job that failed with it may succeed at another attempt.
    var isTransient: Bool {
        switch self {
        case .timeout, .tooManyWaiters: true
        default: isRetryable
        }
    }
}
