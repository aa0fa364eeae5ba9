internal import Kernels

// Where M decays slowly on the vertical line or the strip of moments is narrow, the path of Lewis's integral is bent
// towards the real axis, on the side where e^(−sk) falls (sinh-acceleration: S. Boyarchenko, S. Levendorskii 2019):
//
//     s(y) = a ± b·sin ω·cosh y + i·b·cos ω·sinh y,    + for calls, − for puts.
//
// There the integrand dies like exp(−c·e^y), and the trapezoidal rule in y, of step h, errs by at most
//
//     (N₊ + N₋)/2π / (e^(2πδ/h) − 1),    N± = ∫|f(y ± iδ)| dy,
//
// for any δ for which f is analytic in |Im y| ≤ δ: the lines y ± iδ are contours of the same family with ω ± δ, and M's
// singularities all lie on the real axis outside (0, 1), which the whole family crosses in [0.1, 0.9]. N± are computed
// by summing |f| along the two lines; h follows from the bound.
//
// Which side. As |s| → ∞, ln M ~ −C·(√(1−ρ²)·|Im s| + ρ·Re s), C = (v₀ + κθτ)/σ: together with e^(−sk), the integrand
// falls along Re s like e^(−(k + ρC)·Re s). So the tilt goes right where k + ρC ≥ 0, and left elsewhere.

struct TiltedContour {
    /// +1: towards growing Re s; −1: towards falling.
    let side: Double
    private let center: Double
    private let radius: Double
    private let sine: Double
    private let cosine: Double

    static let angle = Double.pi / 4

    /// The contour at the family's middle angle, or at its edge (`offset` ±halfWidth).
    init(side: Double, halfWidth: Double, offset: Double = 0) {
        self.side = side
        // The family crosses the real axis at centre ± b·sin(ω ∓ δ): b and the centre put that in [0.1, 0.9].
        radius = 0.8 / (2 * cos(Self.angle) * sin(halfWidth))
        let first = 0.1 - radius * sin(Self.angle - halfWidth)
        center = side > 0 ? first : 1 - first
        sine = sin(Self.angle + offset)
        cosine = cos(Self.angle + offset)
    }

    /// s and ds/dy/i at four y ≥ 0.
    @inline(always)
    func point(_ y: Vector) -> (s: ComplexVector, slope: ComplexVector) {
        let growth = VectorMath.exp(y)
        let decay = 1 / growth
        let hyperbolicCosine = (0.5 * radius) * (growth + decay)
        let hyperbolicSine = (0.5 * radius) * (growth - decay)
        return (
            .init(.init(repeating: center) + (side * sine) * hyperbolicCosine, cosine * hyperbolicSine),
            .init(cosine * hyperbolicCosine, (-side * sine) * hyperbolicSine)
        )
    }

    /// Beyond, the rule is not better than refusing: e^y would leave the range of |s| that M can be evaluated for.
    static let farthest = 22.0

    /// Half-width δ and step h for `logTolerance` (ln of the tolerated error of m); `nil` where no δ bounds it.
    static func rule(
        _ c: CharacteristicConstants, side: Double, range: ClosedRange<Double>, logTolerance: Double,
        derivatives: Bool
    ) -> (contour: TiltedContour, step: Double)? {
        var best: (contour: TiltedContour, step: Double)?
        for halfWidth in [0.7, 0.5, 0.3] {
            var norm = 0.0
            for offset in [halfWidth, -halfWidth] {
                let edge = TiltedContour(side: side, halfWidth: halfWidth, offset: offset)
                norm += edge.norm(c, range: range, logTolerance: logTolerance, derivatives: derivatives)
            }
            guard norm.isFinite else { continue }
            let digits = max(1, log(norm / .pi) - logTolerance)
            let step = 2 * .pi * halfWidth / digits
            if step > (best?.step ?? 0) { best = (TiltedContour(side: side, halfWidth: halfWidth), step) }
            // The widest strip has the longest step unless its edges come too near to a singularity.
            if log(norm) < 0.25 * -logTolerance { break }
        }
        return best
    }

    /// A bound of ∫₀^∞ |f| dy along this contour: three times a coarse sum, which costs a thirtieth of the nodes;
    /// ∞ where f does not fall.
    private func norm(
        _ c: CharacteristicConstants, range: ClosedRange<Double>, logTolerance: Double, derivatives: Bool
    ) -> Double {
        var y = Vector(0, 1, 2, 3)
        var sum = Vector.zero
        let floor = Vector(repeating: logTolerance)
        while y[0] < Self.farthest {
            let (s, slope) = point(y)
            let kernel = CharacteristicKernel(s, c)
            let rest = 1 - s.real
            // The exponent is linear in k: one end of the range has the maximum.
            let (low, high) = (rest * range.lowerBound, rest * range.upperBound)
            var logarithm = kernel.logarithm(c).real + VectorMath.select(low .> high, low, else: high)
            logarithm += 0.5 * VectorMath.log(slope.absoluteSquare)
            if derivatives {
                logarithm += VectorMath.log(Self.derivativeFactor(kernel, s, c))
            } else {
                logarithm -= 0.5 * VectorMath.log(kernel.w.absoluteSquare)
            }
            sum += VectorMath.exp(logarithm)
            y += 4
            if logarithm[3] < floor[3] { return 3 * sum.total() }
            if !(logarithm[0] < 600) { return .infinity }
        }
        return .infinity
    }

    /// A bound of what the derivatives multiply the price's integrand by, over |s(1 − s)|: 1 for gamma itself.
    @inline(always)
    private static func derivativeFactor(
        _ kernel: CharacteristicKernel, _ s: ComplexVector, _ c: CharacteristicConstants
    ) -> Vector {
        let g = kernel.logGradient(s, c)
        let largest =
            g.0.absoluteSquare + g.1.absoluteSquare + g.2.absoluteSquare + g.3.absoluteSquare + g.4.absoluteSquare
        return 1 + VectorMath.sqrt(largest / kernel.w.absoluteSquare)
    }
}
