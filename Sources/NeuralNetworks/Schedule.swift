internal import Kernels

/// A value that changes over training, as a function of progress from 0 (start) to 1 (end). Progress outside is
/// clamped.
public enum Schedule: Sendable, Equatable {
    case constant(Float)
    /// A straight line between two values.
    case linear(from: Float, to: Float)
    /// Half a cosine between two values (Loshchilov, Hutter 2017, equation 5, without restarts).
    case cosine(from: Float, to: Float)

    public func value(at progress: Double) -> Float {
        let t = min(max(progress, 0), 1)
        switch self {
        case .constant(let value): return value
        case .linear(let from, let to): return from + (to - from) * Float(t)
        case .cosine(let from, let to): return to + (from - to) * Float(0.5 * (1 + cos(.pi * t)))
        }
    }
}
