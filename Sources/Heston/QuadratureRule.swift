internal import Kernels

// Prices come from Lewis's integral (A. Lewis 2001), with k = ln(K/F), M(s) = E[(S/F)^s], m = E[min(S, K)]/F:
//
//     m(k) = (1/2πi) ∫ e^((1−s)k) M(s) / (s(1 − s)) ds,   0 < Re s < 1,
//
// on the vertical line s = ½ + ix, where m(k)·e^(−k/2) = g(k) = (1/π) ∫₀^∞ Re[e^(−ixk) M(½ + ix)] / (x² + ¼) dx, by the
// midpoint rule of step h: nodes (j + ½)h, j = 0 ..< N. Both its errors have bounds in closed form, so that the rule is
// chosen and an accuracy is promised before the first node is evaluated; nothing is measured by hope. Where the
// distribution is so skewed or M decays so slowly that this takes too many nodes, TiltedContour.swift has the other
// path.
//
// Step. By Poisson's formula the endless rule gives Σₙ (−1)ⁿ g(k + nL), L = 2π/h, exactly. Since g(y) = e^(−|y|/2) −
// V(y), with V ≥ 0 the out-of-the-money price times e^(−y/2)/F, the first part of the aliases is a geometric series,
// which is taken off; what is left is at most Σ_{n≠0} V(k + nL). Markov's inequality bounds V by any finite moment:
//
//     V(y) ≤ c(s)·M(½ ± s)·e^(−s|y|),  s > ½,  c(s) = (s−½)^(s−½)/(s+½)^(s+½),  + for y > 0, − for y < 0.
//
// Truncation. Given the path of v, ln S is normal with variance (1 − ρ²)I, I = ∫v dt; hence |M(½ + ix)| ≤ B(x), the
// joint Laplace transform of v_τ and I at real arguments: decreasing and log-concave in x, in closed form, and with
// the true decay rate. −ln B rises at least at the rate r of any chord before X: the nodes from X on add at most
// h·B(X)/πX²·(1 + e^(−rh) + …) ≤ (h + 1/r)·B(X)/πX².
//
// Each search tries points four at a time: every one of them gives a valid bound, so the best is taken as it is. Where
// it looks first is what the maturity before taught.

/// Where the searches begin, as multiples of their guesses.
struct RuleHints: Equatable {
    /// Of a normal density's best s.
    var right = 0.7
    var left = 0.7
    var cutoff = 0.9
}

/// How far from the forward an option can be and still be worth something.
struct Reach: Equatable {
    /// V(y) stays below the tolerance, with room for the whole alias series, for y above.
    var right: Double
    /// The same for −y.
    var left: Double

    /// - Parameter variance: about that of ln S: where the search begins.
    /// - Parameter logTolerance: ln of the tolerated V.
    /// - Parameter derivatives: the same for the derivatives by the jumps' parameters.
    /// - Parameter hopeless: where both sides together are longer than that, they need not be as short as they can.
    init(
        _ heston: HestonParameters, _ jumps: Jumps, tau: Double, variance: Double, logTolerance: Double,
        derivatives: Bool, hopeless: Double, hints: inout RuleHints
    ) {
        // For a normal density the best s is √(2·ln(1/ε)/w).
        let guess = (-2 * logTolerance / variance).squareRoot()
        let half = Vector(repeating: 0.5)
        let signs = Vector(1, 1, -1, -1)
        // ln 4: two sides, and the rest of the geometric series, below the first term for sL > ln 2.
        let digits = 1.3862943611198906 - logTolerance
        var (right, left) = (Search(s: guess * hints.right), Search(s: guess * hints.left))
        for turn in 0..<5 {
            let trial = Vector(right.s, Search.lower * right.s, left.s, Search.lower * left.s)
            let s = VectorMath.select(trial .< half, half, else: trial)
            var moment = Self.logMoment(half + signs * s, heston, tau: tau)
            if !jumps.areNone { moment += jumps.logMoment(half + signs * s, derivatives: derivatives) }
            // ln c(s) ≤ −ln(s + ½) − (s − ½)/(s + ½).
            let rest = digits - VectorMath.log(s + half) - (s - half) / (s + half)
            let lengths = (moment + rest) / s
            let quotients = (s * s - .init(repeating: 0.25)) / moment
            right.consider((s[0], s[1]), lengths: (lengths[0], lengths[1]), (quotients[0], quotients[1]), rest[0])
            left.consider((s[2], s[3]), lengths: (lengths[2], lengths[3]), (quotients[2], quotients[3]), rest[2])
            if right.isDone && left.isDone { break }
            if turn >= 1, right.shortest + left.shortest > hopeless { break }
        }
        (hints.right, hints.left) = (right.s / guess, left.s / guess)
        // M(0) = M(1) = 1 always.
        self.right = max(0.1, min(right.shortest, 2 * digits))
        self.left = max(0.1, min(left.shortest, 2 * digits))
    }

    /// One side's way to the s where (ln M + rest)/s is least, by two trials a turn.
    private struct Search {
        /// To be tried next, with `lower` times it; in the end, where to begin at the next maturity.
        var s: Double
        var shortest = Double.infinity
        var isDone = false
        /// The largest s known to have a moment, and the least known to have none.
        private var finite = 0.0
        private var infinite = Double.infinity

        static let lower = 0.88

        init(s: Double) { self.s = s }

        /// Takes lengths and (s² − ¼)/ln M at two s, the larger one first. That quotient is constant for a normal
        /// density, and falls about linearly to 0 where moments explode: as a − b·s it gives the best s and its length.
        @inline(always)
        mutating func consider(
            _ s: (Double, Double), lengths: (Double, Double), _ quotients: (Double, Double), _ rest: Double
        ) {
            shortest = min(shortest, lengths.0, lengths.1)
            guard s.0 > s.1 else {
                isDone = true
                return
            }
            guard lengths.0.isFinite else {
                infinite = lengths.1.isFinite ? s.0 : s.1
                if lengths.1.isFinite { finite = max(finite, s.1) }
                self.s = finite > 0 ? 0.5 * (finite + infinite) : 0.35 * s.0
                return
            }
            finite = max(finite, s.0)
            let b = (quotients.1 - quotients.0) / (s.0 - s.1)
            let a = quotients.0 + b * s.0
            let (rootA, root) = (a.squareRoot(), rest.squareRoot())
            let denominator = rootA + b * root
            guard denominator > 0 else {
                self.s = 2 * s.0
                return
            }
            isDone = root * (rootA + denominator) > 0.97 * a * shortest
            self.s = min(max(a * root / denominator, 0.4 * s.0), 2.5 * s.0, 0.5 * (finite + infinite))
            // Moments explode sooner at the next maturity.
            if isDone { self.s *= 0.97 }
        }
    }

    /// ln E[(S_τ/F)^q] for real q; ∞ where the moment has exploded (Andersen, Piterbarg 2007, proposition 3.1).
    static func logMoment(_ q: Vector, _ heston: HestonParameters, tau: Double) -> Vector {
        let one = Vector(repeating: 1)
        let sigma2 = heston.sigma * heston.sigma
        let product = q * (q - one)
        let beta = heston.kappa - heston.rho * heston.sigma * q
        let discriminant = beta * beta - sigma2 * product
        let d = VectorMath.sqrt(discriminant.magnitudes)
        // Both forms agree where d = 0, and the second has no 0/0 there. Mostly all four lanes need the same one.
        let isReal = discriminant .> (1e-12 * beta * beta)
        var (level, slope) = (Vector.zero, Vector.zero)
        var isFinite = SIMDMask<SIMD4<Int64>>(repeating: true)
        if isReal.isAnySet {
            // Real d: β ± d, the smaller from the product (β + d)(β − d) = σ²q(q − 1).
            let isForward = beta .>= .zero
            let big = d + beta.magnitudes
            let small = sigma2 * product / big
            let plus = VectorMath.select(isForward, big, else: -small)
            let minus = VectorMath.select(isForward, small, else: -big)
            let oneMinusE = one - VectorMath.exp(-tau * d)
            let inverse = 0.5 / d
            let ratio = (plus - minus + minus * oneMinusE) * inverse
            let isPositive = ratio .> .zero
            let logRatio = VectorMath.log(
                onePlus: minus * oneMinusE * inverse, where: (ratio - one).magnitudes .< Vector(repeating: 0.5),
                else: VectorMath.select(isPositive, ratio, else: one))
            level = minus * tau - 2 * logRatio
            slope = product * oneMinusE * inverse / ratio
            isFinite = isPositive
        }
        if !isReal.isAllSet {
            // Imaginary d: cos + β/ω·sin stays positive until the explosion; beyond, the angle exceeds its first zero.
            let angle = 0.5 * tau * d
            let (sine, cosine) = VectorMath.sincos(angle)
            let isTiny = angle .< Vector(repeating: 1e-8)
            let sinc = VectorMath.select(isTiny, one, else: sine / VectorMath.select(isTiny, one, else: angle))
            let denominator = cosine + 0.5 * tau * beta * sinc
            let exists = (denominator .> .zero) .& (angle .< Vector(repeating: .pi))
            let imaginaryLevel = beta * tau - 2 * VectorMath.log(VectorMath.select(exists, denominator, else: one))
            let imaginarySlope = 0.5 * tau * product * sinc / denominator
            level = VectorMath.select(isReal, level, else: imaginaryLevel)
            slope = VectorMath.select(isReal, slope, else: imaginarySlope)
            isFinite = (isReal .& isFinite) .| (.!isReal .& exists)
        }
        let value = (heston.kappa * heston.theta / sigma2) * level + heston.v0 * slope
        return VectorMath.select(isFinite, value, else: .init(repeating: .infinity))
    }
}

/// The midpoint rule on Lewis's line for one maturity: nodes x_j = (j + ½)·step, j = 0 ..< count.
struct QuadratureRule: Equatable {
    var step: Double
    /// ∞ where no cutoff was found.
    var count: Double

    /// The rule whose error in price/(discounted forward) is at most `tolerance` for all k = ln(K/F) in `range`, which
    /// lies within `reach`.
    ///
    /// - Parameter cutoffs: at and about where the last node will be.
    /// - Parameter logTolerance: ln of the tolerated error of g.
    /// - Parameter derivatives: also bounds the tail of the integrals with x² more in them (gamma, gradients).
    init(
        _ heston: HestonParameters, tau: Double, range: ClosedRange<Double>, reach: Reach, cutoffs first: Cutoffs,
        logTolerance: Double, derivatives: Bool
    ) {
        let period = max(reach.right - range.lowerBound, reach.left + range.upperBound)
        step = 2 * .pi / period
        var cutoffs = first
        var cutoff = Double.infinity
        for _ in 0..<10 {
            cutoff = min(cutoff, cutoffs.least(step: step, logTolerance: logTolerance, derivatives: derivatives))
            let (low, high) = (cutoffs.x[1], 1.2 * cutoffs.x[3])
            if cutoff > low && cutoff < high { break }
            let center = cutoff.isFinite ? (cutoff > low ? cutoff : 0.75 * cutoffs.center) : 4 * cutoffs.center
            cutoffs = Cutoffs(heston, tau: tau, center: center)
        }
        // The first node left out is there or beyond.
        count = max(1, (cutoff / step - 0.5).rounded(.up))
    }

    /// Where the search for the cutoff begins without a hint: a normal distribution's, and that of the exponential
    /// decay which takes over where σ is large.
    static func guess(_ heston: HestonParameters, tau: Double, variance: Double, logTolerance: Double) -> Double {
        let normal = -2 * logTolerance / variance
        let rate = (heston.v0 + heston.kappa * heston.theta * tau) / heston.sigma
        let exponential = -logTolerance / (rate * (1 - heston.rho * heston.rho).squareRoot())
        return (normal + exponential * exponential).squareRoot()
    }

    /// B at four x about a center, and the slopes between them.
    struct Cutoffs {
        let center: Double
        let x: Vector
        private let envelope: Vector
        /// From the second on, −ln B's of the chord from the point before; elsewhere and where it does not rise, no
        /// positive number.
        private let slope: Vector

        init(_ heston: HestonParameters, tau: Double, center: Double) {
            self.center = center
            x = center * Vector(0.72, 0.84, 0.95, 1.05)
            envelope = logEnvelope(x, heston, tau: tau)
            let before = Vector(-.infinity, envelope[0], envelope[1], envelope[2])
            let rise = (before - envelope) / (center * Vector(1, 0.12, 0.11, 0.1))
            slope = VectorMath.select(before .< Vector(repeating: .infinity), rise, else: .zero)
        }

        /// The least X found from which on the nodes add less than the tolerance, ∞ for none.
        @inline(always)
        func least(step: Double, logTolerance: Double, derivatives: Bool) -> Double {
            let isFalling = slope .> .zero
            let room = (step + 1 / slope) / (derivatives ? .init(repeating: 1) : x * x)
            // (ln π.)
            let excess = envelope + VectorMath.log(VectorMath.select(isFalling, room, else: .init(repeating: 1)))
                - (logTolerance + 1.1447298858494002)
            // What is left over is gone after as many more steps of the slope, which only grows.
            let more = VectorMath.select(excess .> .zero, excess / slope, else: .zero)
            return VectorMath.select(isFalling, x + more, else: .init(repeating: .infinity)).min()
        }
    }

    /// ln B(x) ≥ ln |M(½ + ix)|, decreasing in x; ∞ where the bound does not exist (small x).
    static func logEnvelope(_ x: Vector, _ heston: HestonParameters, tau: Double) -> Vector {
        let (kappa, sigma, rho) = (heston.kappa, heston.sigma, heston.rho)
        let sigma2 = sigma * sigma
        let start = 0.5 * rho / sigma
        let b = (0.25 - kappa * start) + (0.5 * (1 - rho * rho)) * (x * x - .init(repeating: 0.25))
        let discriminant = kappa * kappa + 2 * sigma2 * b
        let isReal = discriminant .> .zero
        let d = VectorMath.sqrt(VectorMath.select(isReal, discriminant, else: .init(repeating: 1)))
        let kappaD = kappa + d
        let upper = (1 / sigma2) * kappaD
        let lower = -2 * b / kappaD
        let exists = isReal .& (upper .> Vector(repeating: start))
        let y = (start - lower) / VectorMath.select(exists, start - upper, else: .init(repeating: 1))
        let e = VectorMath.exp(-tau * d)
        let slope = (lower - upper * y * e) / (1 - y * e)
        let change = y * (1 - e) / (1 - y)
        let onePlus = VectorMath.log(
            onePlus: change, where: change.magnitudes .< Vector(repeating: 0.5),
            else: VectorMath.select(change .> Vector(repeating: -1), 1 + change, else: .init(repeating: 1)))
        let level = tau * lower - (2 / sigma2) * onePlus
        let fixed = -start * (heston.v0 + kappa * heston.theta * tau)
        let value = heston.v0 * slope + kappa * heston.theta * level + .init(repeating: fixed)
        return VectorMath.select(
            exists .& (change .> Vector(repeating: -1)), value, else: .init(repeating: .infinity))
    }
}
