/// A loss of one prediction, with its derivative by the prediction. Means over a batch are the caller's.
public enum RegressionLoss: Sendable, Equatable {
    /// ½(p − t)².
    case squared
    /// Huber 1964: ½e² for |e| ≤ delta, delta·(|e| − ½·delta) beyond; delta > 0.
    case huber(delta: Float)

    /// The loss at `prediction` and ∂loss/∂prediction.
    @inline(__always)
    public func callAsFunction(_ prediction: Float, target: Float) -> (value: Float, gradient: Float) {
        let e = prediction - target
        switch self {
        case .squared:
            return (0.5 * e * e, e)
        case .huber(let delta):
            if abs(e) <= delta { return (0.5 * e * e, e) }
            return (delta * (abs(e) - 0.5 * delta), e < 0 ? -delta : delta)
        }
    }
}
