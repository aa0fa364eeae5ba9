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
// by summing |f| along the two lines; h follows from the bound. The sum is coarse, and what could hide from it makes it
// give the strip up: high peaks on an edge, and terms so large in the middle that their rounding counts.
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

    /// Contours between two angles from the vertical that are analytic together.
    struct Family {
        /// δ.
        let halfWidth: Double
        /// ln of the largest term that an edge may have: higher ones are peaks beside M's singularities on the real
        /// axis, too narrow for the coarse sum where the edge comes near.
        let highest: Double
        /// b, and Re s at the axis less what a contour's own angle makes of it, for a tilt to the right.
        fileprivate let radius: Double
        fileprivate let first: Double
        /// Of the angles ω + δ, ω, ω − δ.
        fileprivate let sines: (outer: Double, middle: Double, inner: Double)
        fileprivate let cosines: (outer: Double, middle: Double, inner: Double)
        fileprivate let cosineOfHalfWidth: Double
        /// Of the outer edge from the axis, in Im y.
        fileprivate let distance: Double

        private init(angle: Double, halfWidth: Double, highest: Double) {
            distance = .pi / 2 - angle - halfWidth
            self.halfWidth = halfWidth
            self.highest = highest
            // The family crosses the real axis at centre ± b·sin(ω ∓ δ): b and the centre put that in [0.1, 0.9].
            radius = 0.8 / (2 * cos(angle) * sin(halfWidth))
            first = 0.1 - radius * sin(angle - halfWidth)
            sines = (sin(angle + halfWidth), sin(angle), sin(angle - halfWidth))
            cosines = (cos(angle + halfWidth), cos(angle), cos(angle - halfWidth))
            cosineOfHalfWidth = cos(halfWidth)
        }

        /// The widest strip has the longest step unless its edge comes too near to the real axis.
        static let heston = [
            Family(angle: .pi / 4, halfWidth: 0.7, highest: 5), Family(angle: 0.62, halfWidth: 0.55, highest: 10),
            Family(angle: 0.5, halfWidth: 0.4, highest: 10), Family(angle: 0.4, halfWidth: 0.25, highest: 20),
        ]
        /// Within 45° of the vertical, where a jump's factor falls.
        static let bates = [0.32, 0.2, 0.1].map { Family(angle: 0.36, halfWidth: $0, highest: 20) }
    }

    /// The family's contour to one side with one of its sines and cosines.
    private init(side: Double, _ family: Family, sine: Double, cosine: Double) {
        self.side = side
        self.sine = sine
        self.cosine = cosine
        radius = family.radius
        center = side > 0 ? family.first : 1 - family.first
    }

    /// s at four y ≥ 0.
    @inline(always)
    func point(_ y: Vector) -> ComplexVector {
        let growth = VectorMath.exp(y)
        return point(growth: growth, decay: 1 / growth)
    }

    /// The same from e^y and e^−y.
    @inline(always)
    func point(growth: Vector, decay: Vector) -> ComplexVector {
        let hyperbolicCosine = (0.5 * radius) * (growth + decay)
        let hyperbolicSine = (0.5 * radius) * (growth - decay)
        return .init(.init(repeating: center) + (side * sine) * hyperbolicCosine, cosine * hyperbolicSine)
    }

    /// ds/dy/i where s is.
    @inline(always)
    func slope(at s: ComplexVector) -> ComplexVector {
        let cotangent = cosine / (side * sine)
        return .init(cotangent * (s.real - center), (-1 / cotangent) * s.imaginary)
    }

    /// The largest ln |φ| of a jump's φ(s) = e^(μs + δ²s²/2) from each of four y on; ∞ where it grows without end.
    @inline(always)
    func largestJump(_ y: Vector, _ jumps: Jumps) -> Vector {
        // With C = cosh y: Re s = a + pC, (Im s)² = q²(C² − 1), and ln |φ| is a parabola in C.
        let p = side * radius * sine
        let q2 = radius * radius * cosine * cosine
        let constant = jumps.mean * center + jumps.halfVariance * (center * center + q2)
        let linear = p * (jumps.mean + 2 * jumps.halfVariance * center)
        let square = jumps.halfVariance * (p * p - q2)
        let growth = VectorMath.exp(y)
        let here = 0.5 * (growth + 1 / growth)
        guard square < 0 || linear <= 0 else { return .init(repeating: .infinity) }
        let top = Vector(repeating: square < 0 ? -0.5 * linear / square : 1)
        let best = VectorMath.select(top .> here, top, else: here)
        return constant + best * (linear + square * best)
    }

    /// Beyond, the rule is not better than refusing: e^y would leave the range of |s| that M can be evaluated for.
    static let farthest = 22.0

    /// How a sum along a contour is taken.
    struct Rule {
        var contour: TiltedContour
        /// h.
        var step: Double
        /// No term beyond this y matters; before, they may fall and rise again.
        var last: Double
    }

    /// The rule for `logTolerance` (ln of the tolerated error of m); `nil` where no strip bounds it. Overwrites the
    /// first groups of `nodes`.
    static func rule(
        _ c: CharacteristicConstants, side: Double, range: ClosedRange<Double>, logTolerance: Double,
        derivatives: Bool, nodes: NodeRecords
    ) -> Rule? {
        var best: Rule?
        var logFactor = 0.0
        for family in c.jumps.areNone ? Family.heston : Family.bates {
            guard
                let (logNorm, last) = unsafe bound(
                    c, side, family, range: range, logTolerance: logTolerance, derivatives: derivatives,
                    nodes: nodes)
            else { continue }
            let contour = TiltedContour(
                side: side, family, sine: family.sines.middle, cosine: family.cosines.middle)
            if derivatives, logFactor == 0 { logFactor = contour.logGradientFactor(last, c) }
            let digits = max(1, logNorm + logFactor - log(.pi) - logTolerance)
            let step = 2 * .pi * family.halfWidth / digits
            if step > (best?.step ?? 0) {
                best = Rule(contour: contour, step: step, last: last)
            }
            // A strip of four fifths of the width has no longer step, even where its norm is e.
            if digits < 1.25 * (1 + logFactor - logTolerance) { break }
        }
        return best
    }

    /// ln(N₊ + N₋), each from a coarse sum that counts sixfold for what may hide between its points, and the y from
    /// which on the middle contour's terms stay small: ln |f| is subharmonic, so that between the edges it is at most
    /// about their mean. `nil` where f does not fall, or rises so high that the sum is not to be trusted.
    ///
    /// Along an edge |f| can fall to nothing and rise again, as long as M is like a normal distribution's. That ends
    /// where e^(−dτ) is small: ln M is linear in s from there on, and the side was chosen so that it falls.
    private static func bound(
        _ c: CharacteristicConstants, _ side: Double, _ family: Family, range: ClosedRange<Double>,
        logTolerance: Double, derivatives: Bool, nodes: NodeRecords
    ) -> (logNorm: Double, last: Double)? {
        let outer = TiltedContour(side: side, family, sine: family.sines.outer, cosine: family.cosines.outer)
        let inner = TiltedContour(side: side, family, sine: family.sines.inner, cosine: family.cosines.inner)
        var sum = Vector.zero
        var last = 0.0
        let highest = family.highest + (derivatives ? 4 : 0)
        // Where ln |f| falls like a multiple of |s|, it is 1/cos δ times the edges' mean in the middle.
        let negligible = 2 * family.cosineOfHalfWidth * (logTolerance - 4.6)
        var (peakA, peakB) = (PeakGuard(), PeakGuard())
        let singularities = SingularityGuard(c)
        // Nearer than the points are to each other; otherwise they see what there is. (The inner edge never is.)
        let isNearAxis = family.distance < Self.spacing
        // Both edges to where most sums end, then four points of each at a time.
        var count = Self.groups / 2
        var y = spacing * Vector(0, 1, 2, 3)
        while y[0] < farthest {
            var growth = VectorMath.exp(y)
            var decay = 1 / growth
            for group in 0..<count {
                unsafe nodes[NodeRecords.Pass.point, group] = outer.point(growth: growth, decay: decay)
                unsafe nodes[NodeRecords.Pass.point, count + group] = inner.point(growth: growth, decay: decay)
                growth *= Self.growth
                decay *= 1 / Self.growth
            }
            unsafe nodes.logarithms(0..<2 * count, c)
            for group in 0..<count {
                let a = unsafe outer.logTerm(y, c, nodes, group, range: range, derivatives: derivatives)
                let b = unsafe inner.logTerm(y, c, nodes, count + group, range: range, derivatives: derivatives)
                sum += VectorMath.exp(a) + VectorMath.exp(b)
                let isTooHigh = peakA.isSeen(a, highest) .| peakB.isSeen(b, highest)
                // (One branch for both: mostly neither.)
                if unsafe (isTooHigh .| singularities.mayMatter(a, nodes, group, highest)).isAnySet {
                    if isTooHigh.isAnySet { return nil }
                    if isNearAxis, unsafe singularities.isSeen(a, nodes, group, highest) { return nil }
                }
                let both = a + b
                for lane in 0..<4 where both[lane] > negligible { last = y[lane] }
                // |e^(−dτ)|² < 0.01.
                let least = unsafe min(
                    nodes[NodeRecords.Pass.root, group].real[3], nodes[NodeRecords.Pass.root, count + group].real[3])
                if a[3] < logTolerance, b[3] < logTolerance, c.tau * least > 2.302585092994046 {
                    return (log(6 * Self.spacing * sum.total()), last)
                }
                y += 4 * Self.spacing
            }
            count = 1
        }
        return nil
    }

    /// Groups of `nodes` that `rule` needs.
    static let groups = 8

    /// Looks for peaks that the coarse sum does not see the whole of.
    private struct PeakGuard {
        private var before = (Double.infinity, Double.infinity)

        /// Where a term is above the highest allowed, or no number, or falls by more than e⁸ in one step, from one
        /// above 1 that had risen by e²: the flanks of a peak beside a singularity, which may be higher by far than its
        /// points.
        @inline(always)
        mutating func isSeen(_ logTerms: Vector, _ highest: Double) -> SIMDMask<SIMD4<Int64>> {
            let earlier = Vector(before.1, logTerms[0], logTerms[1], logTerms[2])
            let earliest = Vector(before.0, before.1, logTerms[0], logTerms[1])
            before = (logTerms[2], logTerms[3])
            let isFlank = (earlier .> .zero) .& ((earlier - logTerms) .> Vector(repeating: 8))
            let isPeak = isFlank .& ((earlier - earliest) .> Vector(repeating: 2))
            return isPeak .| .!(logTerms .< Vector(repeating: highest))
        }
    }

    /// Looks for what M's singularities on the real axis may lift above the highest term allowed, between the points of
    /// an edge beside the axis: it passes them at the angle α = π/2 − ω − δ, and as wide in y is what each does to |f|.
    /// For the widest strip that is a sixth of the points' distance.
    ///
    /// With q = (d − β)/(d + β) and P = q·e^(−dτ),
    ///
    ///     1 + z = (1 + P)·(d + β)/2d,    ln M = … − (2κθ/σ²)·ln(1 + P) − (2v₀/σ²)·d/(1 + P),
    ///
    /// and the singularities are where P = −1. From point to point P's phase turns fast; all else is smooth. So where
    /// the phase is near −1's, or may have passed it, a peak is at most as high as with the worst phase of all.
    private struct SingularityGuard {
        private let tau: Double
        private let kappa: Double
        private let slope: Double
        /// 2κθ/σ² and 2v₀/σ².
        private let exponent: Double
        private let numerator: Double

        init(_ c: CharacteristicConstants) {
            let factor = 2 / c.sigma2
            (tau, kappa, slope) = (c.tau, c.kappa, c.rho * c.sigma)
            (exponent, numerator) = (factor * c.kappaTheta, factor * c.v0)
        }

        /// Where any phase of P might matter: ln M's two terms change by at most 2|P|/(1 − |P|) times their factors.
        @inline(always)
        func mayMatter(
            _ logTerms: Vector, _ nodes: NodeRecords, _ group: Int, _ highest: Double
        ) -> SIMDMask<SIMD4<Int64>> {
            let d = unsafe nodes[NodeRecords.Pass.root, group]
            let (sum, product) = unsafe parts(nodes, group)
            let room = highest - logTerms
            let whole = room + 2 * (exponent + numerator * (d.real + d.imaginary.magnitudes))
            return product.absoluteSquare * (whole * whole) .>= (room * room) * sum.absoluteSquare
        }

        /// Whether a term next to these may be above the highest allowed.
        @inline(never)
        func isSeen(_ logTerms: Vector, _ nodes: NodeRecords, _ group: Int, _ highest: Double) -> Bool {
            let d = unsafe nodes[NodeRecords.Pass.root, group]
            let (sum, product) = unsafe parts(nodes, group)
            let square = sum.absoluteSquare
            let p = ComplexVector(
                (product.real * sum.real + product.imaginary * sum.imaginary) / square,
                (product.imaginary * sum.real - product.real * sum.imaginary) / square)
            let isTurned = (p.real .< .zero) .| ((tau * d.imaginary).magnitudes .> Vector(repeating: .pi))
            // With the worst phase 1 + P is 1 − |P|, and 1/(1 + P) on the circle about 1/(1 − |P|²) of radius
            // |P|/|1 − |P|²|.
            let onePlusP = 1 + p
            let modulus = VectorMath.sqrt(p.absoluteSquare)
            let inverse = 1 / (1 - p.absoluteSquare)
            let least = d.real * inverse - VectorMath.sqrt(d.absoluteSquare) * modulus * inverse.magnitudes
            let here = (d.real * onePlusP.real + d.imaginary * onePlusP.imaginary) / onePlusP.absoluteSquare
            let quotient = onePlusP.absoluteSquare / ((1 - modulus) * (1 - modulus))
            let peak = logTerms + (0.5 * exponent) * VectorMath.log(quotient) + numerator * (here - least)
            return (isTurned .& .!(peak .< Vector(repeating: highest))).isAnySet
        }

        /// d + β, and P times that.
        @inline(always)
        private func parts(_ nodes: NodeRecords, _ group: Int) -> (ComplexVector, ComplexVector) {
            let (s, d) = unsafe (nodes[NodeRecords.Pass.point, group], nodes[NodeRecords.Pass.root, group])
            let sum = ComplexVector(d.real + (kappa - slope * s.real), d.imaginary - slope * s.imaginary)
            return unsafe (sum, 2 * (d * nodes[NodeRecords.Pass.onePlusZ, group]) - sum)
        }
    }

    /// Of the coarse sum's points in y. At 0.7, a price in a million is off by more than its tolerance.
    private static let spacing = 0.5
    /// e^(4·spacing).
    private static let growth = 7.38905609893065

    /// ln |f| at the four y of a group, for the strike where it is largest.
    @inline(always)
    private func logTerm(
        _ y: Vector, _ c: CharacteristicConstants, _ nodes: NodeRecords, _ group: Int, range: ClosedRange<Double>,
        derivatives: Bool
    ) -> Vector {
        let s = unsafe nodes[NodeRecords.Pass.point, group]
        let inverseW = unsafe nodes[NodeRecords.Pass.inverseW, group].absoluteSquare
        let rest = 1 - s.real
        // The exponent is linear in k: one end of the range has the maximum.
        let (low, high) = (rest * range.lowerBound, rest * range.upperBound)
        var logarithm = unsafe nodes[NodeRecords.Pass.logarithm, group].real
            + VectorMath.select(low .> high, low, else: high)
        // Gamma's integrand has s(1 − s) more.
        let slope = slope(at: s).absoluteSquare
        logarithm += 0.5 * VectorMath.log(derivatives ? slope : slope * inverseW)
        if !c.jumps.areNone {
            let largest = largestJump(y, c.jumps)
            let phi = VectorMath.exp(largest)
            logarithm += c.jumps.count * (phi - 1 - c.jumps.meanJump * s.real)
            if derivatives { logarithm += VectorMath.log(Self.jumpFactor(phi, inverseW, s, c.jumps)) }
            // e^x stops growing at 709.
            logarithm = VectorMath.select(
                largest .> Vector(repeating: 700), .init(repeating: .infinity), else: logarithm)
        }
        return logarithm
    }

    /// ln of a bound of what the derivatives by Heston's parameters multiply M by, over |s(1 − s)|, up to y = `last`:
    /// twice the largest of four values, for it changes slowly.
    private func logGradientFactor(_ last: Double, _ c: CharacteristicConstants) -> Double {
        let s = point((last / 3) * Vector(0, 1, 2, 3))
        let kernel = CharacteristicKernel(s, c)
        let g = kernel.logGradient(s, c)
        var largest = g.0.absoluteSquare + g.1.absoluteSquare + g.2.absoluteSquare
        largest += g.3.absoluteSquare + g.4.absoluteSquare
        let factors = largest / kernel.w.absoluteSquare
        return log(2 * (1 + max(max(factors[0], factors[1]), max(factors[2], factors[3])).squareRoot()))
    }

    /// The same for the derivatives by the jumps' parameters, where |φ| is `phi` and 1/|s(1 − s)|² `inverseW`.
    @inline(always)
    private static func jumpFactor(
        _ phi: Vector, _ inverseW: Vector, _ s: ComplexVector, _ jumps: Jumps
    ) -> Vector {
        let modulus = VectorMath.sqrt(s.absoluteSquare)
        // By λ and δ; that by μ is between them.
        let byIntensity = jumps.tau * (1 + phi + abs(jumps.meanJump) * modulus)
        let byDeviation =
            (jumps.count * max(1, jumps.deviation)) * (modulus * (1 + abs(jumps.meanJump) + (1 + modulus) * phi))
        return 1 + (byIntensity + byDeviation) * VectorMath.sqrt(inverseW)
    }
}
