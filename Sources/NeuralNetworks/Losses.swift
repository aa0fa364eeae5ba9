internal import Kernels

/// A loss of one prediction, with its derivative by the prediction. Means over a batch are the caller's.
public enum RegressionLoss: Sendable, Equatable {
    /// ½(p − t)².
    case squared
    /// (p − t)²: PyTorch's `MSELoss`, twice the other.
    case meanSquared
    /// Huber 1964: ½e² for |e| ≤ delta, delta·(|e| − ½·delta) beyond; delta > 0.
    case huber(delta: Float)
    /// Huber's over its delta: e²/(2·beta) for |e| < beta, |e| − ½·beta beyond; beta > 0. PyTorch's `SmoothL1Loss`.
    case smoothL1(beta: Float)

    /// The loss at `prediction` and ∂loss/∂prediction.
    @inline(__always)
    public func callAsFunction(_ prediction: Float, target: Float) -> (value: Float, gradient: Float) {
        let e = prediction - target
        switch self {
        case .squared:
            return (0.5 * e * e, e)
        case .meanSquared:
            return (e * e, 2 * e)
        case .huber(let delta):
            if abs(e) <= delta { return (0.5 * e * e, e) }
            return (delta * (abs(e) - 0.5 * delta), e < 0 ? -delta : delta)
        case .smoothL1(let beta):
            if abs(e) < beta { return (0.5 * e * e / beta, e / beta) }
            return (abs(e) - 0.5 * beta, e < 0 ? -1 : 1)
        }
    }
}

/// The negative log-likelihood of a target under a Gaussian whose mean and variance are predicted (Nix, Weigend 1994),
/// without the constant ½ln 2π: ½(s + (m − t)²·e^{−s}) with the mean m and s = ln σ². The variance is predicted by its
/// logarithm so that it is positive whatever the network says.
public enum GaussianLikelihood {
    /// The loss, and its derivatives by mean and log variance.
    @inline(__always)
    public static func negativeLog(
        mean: Float, logVariance: Float, target: Float
    ) -> (value: Float, byMean: Float, byLogVariance: Float) {
        let e = mean - target
        let precision = exp(-logVariance)
        return (0.5 * (logVariance + e * e * precision), e * precision, 0.5 * (1 - e * e * precision))
    }
}
