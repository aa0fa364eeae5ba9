internal import Kernels

/// The distribution of a = tanh(u), u ~ N(mean, σ²): a policy's action on (−1, 1). Everything is stated in u, which a
/// rollout keeps, so that no inverse tanh loses digits near ±1. Sums over independent components are the caller's.
public enum SquashedGaussian {
    /// ln p(u) of the Gaussian alone. In a ratio of two densities of the same action the tanh's Jacobian cancels, so
    /// this is also what PPO's ratio needs.
    @inline(__always)
    public static func baseLogProbability(_ u: Float, mean: Float, logStd: Float) -> Float {
        let z = (u - mean) * exp(-logStd)
        return -0.5 * z * z - logStd - 0.9189385332046727
    }

    /// ∂ ln p(u) / ∂mean and ∂logStd at fixed u; the same for the base and the squashed density.
    @inline(__always)
    public static func logProbabilityGradient(
        _ u: Float, mean: Float, logStd: Float
    ) -> (mean: Float, logStd: Float) {
        let inverse = exp(-logStd)
        let z = (u - mean) * inverse
        return (z * inverse, z * z - 1)
    }

    /// ln p(a) of the action a = tanh(u): the base density divided by da/du = 1 − tanh²u.
    public static func logProbability(_ u: Float, mean: Float, logStd: Float) -> Float {
        baseLogProbability(u, mean: mean, logStd: logStd) - Float(logDerivative(Double(u)))
    }

    /// ln(1 − tanh²u) = 2(ln 2 − |u| − ln(1 + e^{−2|u|})): exact where 1 − tanh²u would cancel to 0.
    static func logDerivative(_ u: Double) -> Double {
        2 * (0.6931471805599453 - abs(u) - log1p(exp(-2 * abs(u))))
    }

    /// The entropy of the action, E[−ln p(a)], and its derivatives: the Gaussian's ln σ + ½ln 2πe, plus
    /// E[ln(1 − tanh²u)] by Gauss–Hermite quadrature with 8 nodes (error below 0.003 for σ ≤ 1, 0.1 for σ ≤ 3). The
    /// derivatives are those of the quadrature itself. Unlike the Gaussian's it falls again for large σ: the bonus
    /// does not push actions to the borders.
    public static func entropy(mean: Float, logStd: Float) -> (value: Float, mean: Float, logStd: Float) {
        let sigma = exp(Double(logStd))
        var (value, byMean, byLogStd) = (Double(logStd) + 1.4189385332046727, 0.0, 1.0)
        for i in 0..<8 {
            let node = i < 4 ? -hermite[3 - i].node : hermite[i - 4].node
            let weight = i < 4 ? hermite[3 - i].weight : hermite[i - 4].weight
            let u = Double(mean) + sigma * node
            let slope = -2 * tanh(u)
            value += weight * logDerivative(u)
            byMean += weight * slope
            byLogStd += weight * slope * sigma * node
        }
        return (Float(value), Float(byMean), Float(byLogStd))
    }

    /// The positive half of the 8-point rule for the standard normal density (Abramowitz, Stegun 1964, table 25.10,
    /// nodes times √2, weights over √π).
    private static let hermite: [(node: Double, weight: Double)] = [
        (0.5390798113513751, 0.3730122576790774),
        (1.6365190424351082, 0.1172399076617590),
        (2.8024858612875416, 0.009635220120788270),
        (4.1445471861258945, 0.0001126145383753677),
    ]
}
