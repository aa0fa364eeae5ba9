internal import Kernels

// Compensated log-normal jumps multiply M(s) = E[(S/F)^s] by J(s) = exp(λτ·(φ(s) − 1 − s·m)), with φ(s) = E[e^(sj)] =
// exp(μs + δ²s²/2) and m = φ(1) − 1, so that J(1) = 1. J has no singularity anywhere, and all that the rules' errors
// are bounded by carries over:
//
// - moments, for real s: J(s) itself, finite everywhere (the reach of the strikes, and the step on the vertical line);
// - on the vertical line: |φ(½ + ix)| <= φ(½), hence |J(½ + ix)| <= J(½), which is at most 1 by convexity: Heston's
//   cutoff stands;
// - on a tilted contour: |φ(s)| = exp(μ·Re s + δ²/2·((Re s)² − (Im s)²)) falls in the end if the contour stays within
//   45° of the vertical, and has a largest value from any point on in closed form (`TiltedContour.largestJump`). Where
//   that is too large to sum over, the contour is refused.

/// The jumps of one maturity.
struct Jumps: Equatable {
    /// Heston's model: nothing of theirs is computed. (With λ = 0 there are no jumps either, but a derivative by λ.)
    let areNone: Bool
    let tau: Double
    let lambda: Double
    /// λτ: jumps expected until maturity. 0: none.
    let count: Double
    let mean: Double
    let deviation: Double
    /// δ²/2.
    let halfVariance: Double
    /// m.
    let meanJump: Double

    static let none = Jumps(areNone: true, lambda: 0, mean: 0, deviation: 0, tau: 0)

    init(_ jumps: JumpParameters, tau: Double) {
        self.init(
            areNone: false, lambda: jumps.intensity, mean: jumps.mean, deviation: jumps.standardDeviation, tau: tau)
    }

    private init(areNone: Bool, lambda: Double, mean: Double, deviation: Double, tau: Double) {
        self.areNone = areNone
        self.tau = tau
        self.lambda = lambda
        count = lambda * tau
        self.mean = mean
        self.deviation = deviation
        halfVariance = 0.5 * deviation * deviation
        meanJump = expm1(mean + halfVariance)
    }

    /// What jumps add to the expected variance of ln S, per year.
    var varianceRate: Double { lambda * (mean * mean + deviation * deviation) }

    /// About the s > 0 where ln J(±s) is `digits`, of four maturities; ∞ where it stays below.
    func moment(side: Double, tau: Vector, digits: Vector) -> Vector {
        // λτ·φ is most of it.
        let exponent = VectorMath.larger(VectorMath.log(digits / (lambda * tau)), .init(repeating: 1))
        let drift = side * mean
        let root = VectorMath.sqrt(drift * drift + 4 * halfVariance * exponent)
        return 2 * exponent / VectorMath.larger(drift + root, .init(repeating: 1e-9))
    }

    /// ln J at real s, of four maturities; ∞ where it leaves the range. With `derivatives`, also room for what the
    /// derivatives by λ, μ and δ multiply J by: they matter where jumps are so rare that the price itself is small.
    @inline(always)
    func logMoment(_ s: Vector, tau: Vector, derivatives: Bool) -> Vector {
        let exponent = s * (mean + halfVariance * s)
        let phi = VectorMath.exp(exponent)
        var moment = lambda * tau * (phi - 1 - meanJump * s)
        if derivatives {
            moment += VectorMath.log(1 + ((1 + lambda) * tau) * ((1 + s * s) * (1 + abs(meanJump) + phi)))
        }
        return VectorMath.select(exponent .< Vector(repeating: 700), moment, else: .init(repeating: .infinity))
    }
}

/// ln J at four complex s, with its derivatives.
struct JumpKernel {
    let logarithm: ComplexVector
    private let phi: ComplexVector
    private let perJump: ComplexVector

    @inline(always)
    init(_ s: ComplexVector, _ jumps: Jumps) {
        phi = ComplexVector.exp(s * (jumps.mean + jumps.halfVariance * s))
        perJump = -1 + phi - jumps.meanJump * s
        logarithm = jumps.count * perJump
    }

    /// ∂ ln J/∂τ.
    @inline(always)
    func logDecay(_ jumps: Jumps) -> ComplexVector { jumps.lambda * perJump }

    /// ∂ ln J by (intensity, mean, standardDeviation).
    @inline(always)
    func logGradient(_ s: ComplexVector, _ jumps: Jumps) -> (ComplexVector, ComplexVector, ComplexVector) {
        let growth = (1 + jumps.meanJump) * s
        let first = s * phi
        return (
            jumps.tau * perJump, jumps.count * (first - growth),
            (jumps.count * jumps.deviation) * (s * first - growth)
        )
    }
}
