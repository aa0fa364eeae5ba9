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
// joint Laplace transform of v_τ and I at real arguments: decreasing in x, in closed form, with the true decay rate.
// With r the rate of −ln B along a chord before X, the nodes from X on add at most h·B(X)/πX²·(1 + e^(−rh) + …) ≤
// (h + 1/r)·B(X)/πX². That takes −ln B for convex, which it is but for a little: beyond a chord its rate was seen to
// fall to 0.77 of the chord's, no further. Aliases and tail have half of the tolerance each, and the random draws of
// docs/heston.md find no price that this puts beyond the whole.
//
// Each search tries two points and goes on from their secant: every point gives a valid bound, so the best is taken as
// it is. A search is a chain of waits, root upon quotient upon logarithm; those of four maturities go side by side, one
// a lane, in passes short enough that the processor sees the next vector of points while it waits for one.

/// One number of each of four maturities, at four points.
private typealias Points = InlineArray<4, Vector>

/// How far from the forward an option can be and still be worth something, at four maturities.
struct Reach {
    /// V(y) stays below the tolerance, with room for the whole alias series, for y above.
    let right: Vector
    /// The same for −y.
    let left: Vector

    /// - Parameter jumps: of any maturity.
    /// - Parameter variance: about that of ln S: where the search begins.
    /// - Parameter logTolerance: ln of the tolerated V.
    /// - Parameter derivatives: the same for the derivatives by the jumps' parameters.
    /// - Parameter hopeless: where both sides together are longer than that, they need not be as short as they can.
    /// - Parameter slack: how much longer than the shortest a side may be, about.
    init(
        _ heston: HestonParameters, _ jumps: Jumps, tau: Vector, variance: Vector, logTolerance: Vector,
        derivatives: Bool, hopeless: Vector, slack: Double
    ) {
        let half = Vector(repeating: 0.5)
        // ln 4: two sides, and the rest of the geometric series, below the first term for sL > ln 2.
        let digits = 1.3862943611198906 - logTolerance
        let guess = Guess(heston, tau: tau, variance: variance, digits: digits)
        var (first, second) = (guess.best(correlation: heston.rho), guess.best(correlation: -heston.rho))
        if !jumps.areNone {
            first = VectorMath.smaller(jumps.moment(side: 1, tau: tau, digits: digits), first)
            second = VectorMath.smaller(jumps.moment(side: -1, tau: tau, digits: digits), second)
        }
        var (right, left) = (Search(s: first), Search(s: second))
        var isDone = SIMDMask<SIMD4<Int64>>(repeating: false)
        for turn in 0..<8 {
            let s: Points = [right.s, right.lower, left.s, left.lower]
            let q: Points = [half + s[0], half + s[1], half - s[2], half - s[3]]
            var moments = Self.logMoments(q, heston, tau: tau)
            if !jumps.areNone {
                for i in 0..<4 { moments[i] += jumps.logMoment(q[i], tau: tau, derivatives: derivatives) }
            }
            var (rests, lengths, quotients) = (moments, moments, moments)
            for i in 0..<4 {
                // ln c(s) ≤ −ln(s + ½) − (s − ½)/(s + ½).
                rests[i] = digits - VectorMath.log(s[i] + half) - (s[i] - half) / (s[i] + half)
                lengths[i] = (moments[i] + rests[i]) / s[i]
                quotients[i] = (s[i] * s[i] - .init(repeating: 0.25)) / moments[i]
            }
            right.consider(
                (lengths[0], lengths[1]), (quotients[0], quotients[1]), rests[0], slack: slack, unless: isDone)
            left.consider(
                (lengths[2], lengths[3]), (quotients[2], quotients[3]), rests[2], slack: slack, unless: isDone)
            isDone = isDone .| (right.isDone .& left.isDone)
            // (The first turn may be at some distance from the best.)
            if turn >= 1 { isDone = isDone .| ((right.shortest + left.shortest) .> hopeless) }
            if isDone.isAllSet { break }
        }
        // M(0) = M(1) = 1 always.
        let (least, most) = (Vector(repeating: 0.1), 2 * digits)
        self.right = VectorMath.larger(least, VectorMath.smaller(right.shortest, most))
        self.left = VectorMath.larger(least, VectorMath.smaller(left.shortest, most))
    }

    /// About where (ln M + digits)/s is least. For a normal density that is s₀ = √(2·digits/w). Elsewhere s²/ln M falls
    /// from its 2/w at 0, first at the rate of the skewness, to nothing where moments explode, about as
    /// 2/w·(1 − p·s − c·s²): then the best s solves s·√(1 + c·s²) = s₀·(1 − p·s − c·s²).
    private struct Guess {
        let normal: Vector
        /// p over the correlation.
        let skewness: Vector
        /// The first moment that explodes: without mean reversion, times sin ω/ω for the correlation cos ω; and
        /// forever, times 1 + the correlation.
        let explosion: Vector
        let limit: Double

        @inline(always)
        init(_ heston: HestonParameters, tau: Vector, variance: Vector, digits: Vector) {
            normal = VectorMath.sqrt(2 * digits / variance)
            let x = VectorMath.smaller(heston.kappa * tau, .init(repeating: 1e100))
            // (e^−x − 1 + x)/x², as `roughTotalVariances` has it.
            skewness = heston.sigma * tau * (3 + x) / (6 + x * (4 + x))
            explosion = 2 / (heston.sigma * tau)
            limit = heston.kappa / heston.sigma
        }

        /// One Newton step from between s₀ and the explosion.
        @inline(always)
        func best(correlation: Double) -> Vector {
            let sine = max(1e-9, (1 - correlation * correlation).squareRoot())
            let end = (acos(correlation) / sine) * explosion + .init(repeating: limit / max(1e-9, 1 + correlation))
            let p = correlation * skewness
            let c = (1 - p * end) / (end * end)
            let s = normal * end / (normal + end)
            let cs2 = c * s * s
            let square = VectorMath.larger(1 + cs2, .init(repeating: 0.01))
            let root = VectorMath.sqrt(square)
            let difference = s * root - normal * (1 - p * s - cs2)
            let slope = root + cs2 / root + normal * (p + 2 * c * s)
            let next = VectorMath.larger(s - difference / slope, 0.4 * s)
            return VectorMath.smaller(next, end)
        }
    }

    /// One side's way to the s where (ln M + rest)/s is least, by two trials a turn. What a maturity's search finds
    /// does not depend on the three others.
    private struct Search {
        /// To be tried next, together with `lower`.
        var s: Vector
        var shortest = Vector(repeating: .infinity)
        var isDone = SIMDMask<SIMD4<Int64>>(repeating: false)
        /// The largest s known to have a moment, and the least known to have none.
        private var finite = Vector.zero
        private var infinite = Vector(repeating: .infinity)

        init(s: Vector) { self.s = VectorMath.larger(1.05 * s, .init(repeating: 0.5)) }

        var lower: Vector { VectorMath.larger(0.9 * s, .init(repeating: 0.5)) }

        /// Takes lengths and (s² − ¼)/ln M at `s` and `lower`. That quotient is constant for a normal density, and
        /// falls about linearly to 0 where moments explode: as a − b·s it gives the best s and its length.
        @inline(always)
        mutating func consider(
            _ lengths: (Vector, Vector), _ quotients: (Vector, Vector), _ rest: Vector, slack: Double,
            unless isFinished: SIMDMask<SIMD4<Int64>>
        ) {
            let s = (self.s, lower)
            let never = Vector(repeating: .infinity)
            let before = shortest
            shortest = VectorMath.select(
                isFinished, shortest, else: VectorMath.smaller(lengths.0, VectorMath.smaller(lengths.1, shortest)))
            let (isFinite, isLowerFinite) = (lengths.0 .< never, lengths.1 .< never)
            finite = VectorMath.select(
                isFinite, VectorMath.larger(s.0, finite),
                else: VectorMath.select(isLowerFinite, VectorMath.larger(s.1, finite), else: finite))
            infinite = VectorMath.select(
                isFinite, infinite, else: VectorMath.select(isLowerFinite, s.0, else: s.1))
            let middle = 0.5 * (finite + infinite)
            let nearer = VectorMath.select(finite .> .zero, middle, else: 0.35 * s.0)
            let b = (quotients.1 - quotients.0) / (s.0 - s.1)
            let a = quotients.0 + b * s.0
            let (rootA, root) = (VectorMath.sqrt(a), VectorMath.sqrt(rest))
            let denominator = rootA + b * root
            let isBent = denominator .> .zero
            // Where it rises, the length's own slope tells more.
            let slope = (lengths.0 - lengths.1) * (s.0 + s.1) / ((lengths.0 + lengths.1) * (s.0 - s.1))
            let bent = VectorMath.select(b .> .zero, a * root / denominator, else: s.0 * (1 - slope))
            let best = VectorMath.smaller(
                middle, VectorMath.smaller(2.5 * s.0, VectorMath.larger(bent, 0.4 * s.0)))
            let next = VectorMath.select(isFinite, VectorMath.select(isBent, best, else: 2 * s.0), else: nearer)
            self.s = VectorMath.larger(next, .init(repeating: 0.5))
            let isHere = isBent .& (bent .> 0.8 * s.1) .& (bent .< 1.25 * s.0)
            let isBest = isHere .& (root * (rootA + denominator) .> (1 - slack) * a * shortest)
            // About the best s, the length is flat: longer by ½·(ln s/s₀)² for a normal density.
            let isFlat = (lengths.0 - lengths.1).magnitudes .< slack * shortest
            let isNear = VectorMath.smaller(lengths.0, lengths.1) .< 1.05 * shortest
            let isSettled = isNear .& (before .< (1 + slack) * shortest)
            isDone = .!(s.0 .> s.1) .| (isFinite .& (isBest .| isFlat .| isSettled))
        }
    }

    /// ln E[(S_τ/F)^q] for real q; ∞ where the moment has exploded (Andersen, Piterbarg 2007, proposition 3.1).
    @inline(always)
    private static func logMoments(_ q: Points, _ heston: HestonParameters, tau: Vector) -> Points {
        let one = Vector(repeating: 1)
        let sigma2 = heston.sigma * heston.sigma
        @inline(always) func beta(_ q: Vector) -> Vector { heston.kappa - heston.rho * heston.sigma * q }
        var (discriminants, roots, decays) = (q, q, q)
        for i in 0..<4 {
            let beta = beta(q[i])
            discriminants[i] = beta * beta - sigma2 * (q[i] * (q[i] - one))
            roots[i] = VectorMath.sqrt(discriminants[i].magnitudes)
        }
        for i in 0..<4 { decays[i] = VectorMath.exp(-tau * roots[i]) }
        var moments = q
        for i in 0..<4 {
            let (product, beta, discriminant, d) = (q[i] * (q[i] - one), beta(q[i]), discriminants[i], roots[i])
            // Both forms agree where d = 0, and the second has no 0/0 there. Mostly all four lanes need the same one.
            let isReal = discriminant .> (1e-12 * beta * beta)
            var (level, slope) = (Vector.zero, Vector.zero)
            var isFinite = SIMDMask<SIMD4<Int64>>(repeating: true)
            if isReal.isAnySet {
                // Real d: β ± d, the smaller from the product (β + d)(β − d) = σ²q(q − 1).
                let big = d + beta.magnitudes
                let minus = VectorMath.select(beta .>= .zero, sigma2 * product / big, else: -big)
                let oneMinusE = one - decays[i]
                let inverse = 0.5 / d
                // 2d times 1 + z.
                let rest = 2 * d + minus * oneMinusE
                let z = minus * oneMinusE * inverse
                let isPositive = rest .> .zero
                let logarithm = VectorMath.log(
                    onePlus: z, where: z.magnitudes .< Vector(repeating: 0.5),
                    else: VectorMath.select(isPositive, rest * inverse, else: one))
                level = minus * tau - 2 * logarithm
                slope = product * oneMinusE / rest
                isFinite = isPositive
            }
            if !isReal.isAllSet {
                // Imaginary d: cos + β/ω·sin stays positive until the explosion; beyond, the angle exceeds its first
                // zero.
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
            moments[i] = VectorMath.select(isFinite, value, else: .init(repeating: .infinity))
        }
        return moments
    }
}

/// Where the nodes on Lewis's line end, at four maturities.
struct Cutoff {
    private let tau: Vector
    /// About X.
    private(set) var center: Vector
    /// At two points below: the upper one, −ln B there, and the slope of the chord between them; where that does not
    /// exist or does not rise, no positive number.
    private var x = Vector.zero
    private var envelope = Vector.zero
    private var slope = Vector.zero

    /// Begins with a normal distribution's, and that of the exponential decay which takes over where σ is large.
    init(_ heston: HestonParameters, tau: Vector, variance: Vector, logTolerance: Vector) {
        let normal = -2 * logTolerance / variance
        let rate = (1 / heston.sigma) * (heston.v0 + heston.kappa * heston.theta * tau)
        let exponential = -logTolerance / ((1 - heston.rho * heston.rho).squareRoot() * rate)
        self.tau = tau
        center = 0.9 * VectorMath.sqrt(normal + exponential * exponential)
        move(heston, center)
        // h is about 1/r.
        center = next(excess(step: 1 / slope, logTolerance: logTolerance, derivatives: false), derivatives: false)
        move(heston, center)
    }

    /// Looks about `center`.
    private mutating func move(_ heston: HestonParameters, _ center: Vector) {
        self.center = center
        x = 0.96 * center
        let below = 0.86 * center
        let lower = QuadratureRule.logEnvelope(below, heston, tau: tau)
        envelope = QuadratureRule.logEnvelope(x, heston, tau: tau)
        slope = VectorMath.select(lower .< Vector(repeating: .infinity), (lower - envelope) / (x - below), else: .zero)
    }

    /// ln of what the nodes from `x` on add at most, over the tolerance.
    private func excess(step: Vector, logTolerance: Vector, derivatives: Bool) -> Vector {
        let room = (step + 1 / slope) / (derivatives ? .init(repeating: 1) : x * x)
        // (ln π.)
        return envelope + VectorMath.log(VectorMath.select(slope .> .zero, room, else: .init(repeating: 1)))
            - (logTolerance + 1.1447298858494002)
    }

    /// Where `excess` is 0, about, by a step in ln x; further out where B did not fall yet.
    private func next(_ excess: Vector, derivatives: Bool) -> Vector {
        let change = excess / (slope * x + .init(repeating: derivatives ? 0 : 2))
        let bounded = VectorMath.larger(
            VectorMath.smaller(change, .init(repeating: 1.2)), .init(repeating: -0.9))
        // e^change, nearly.
        let better = x * ((2 + bounded) / (2 - bounded))
        return VectorMath.select(slope .> .zero, better, else: 4 * center)
    }

    /// The least X found from which on the nodes add less than the tolerance, ∞ for none.
    ///
    /// - Parameter slack: how much longer than the shortest it may be, about.
    /// - Parameter enough: with more nodes than that, they need not be the fewest.
    mutating func least(
        _ heston: HestonParameters, step: Vector, logTolerance: Vector, derivatives: Bool, slack: Double,
        enough: Double
    ) -> Vector {
        var least = Vector(repeating: .infinity)
        for _ in 0..<10 {
            let isFalling = slope .> .zero
            let excess = excess(step: step, logTolerance: logTolerance, derivatives: derivatives)
            // What is left over is gone after as many more steps of the slope, which only grows.
            let found = x + VectorMath.select(excess .> .zero, excess / slope, else: .zero)
            least = VectorMath.select(isFalling .& (found .< least), found, else: least)
            let best = next(excess, derivatives: derivatives)
            let isNear = (isFalling .& (found .< (1 + 2 * slack) * best)) .| (best .> enough * step)
            if isNear.isAllSet { break }
            // Where B hardly falls, what is left over is not gone soon: no further in than that.
            let margin = 0.07 / (1 + slope * x)
            move(heston, VectorMath.select(isNear, center, else: best + best * margin))
        }
        return least
    }
}

/// The midpoint rules on Lewis's line for four maturities: nodes x_j = (j + ½)·step, j = 0 ..< count.
struct QuadratureRule {
    let step: Vector
    /// ∞ where no cutoff was found.
    let count: Vector

    /// The rules whose error in price/(discounted forward) is at most `tolerance` for all k = ln(K/F) between `low` and
    /// `high`, which lie within `reach`.
    ///
    /// - Parameter cutoff: overwritten.
    /// - Parameter logTolerance: ln of the tolerated error of g.
    /// - Parameter derivatives: also bounds the tail of the integrals with x² more in them (gamma, gradients).
    /// - Parameter slack, enough: of the cutoff.
    init(
        _ heston: HestonParameters, low: Vector, high: Vector, reach: Reach, cutoff: inout Cutoff,
        logTolerance: Vector, derivatives: Bool, slack: Double, enough: Double
    ) {
        step = 2 * .pi / VectorMath.larger(reach.right - low, reach.left + high)
        let least = cutoff.least(
            heston, step: step, logTolerance: logTolerance, derivatives: derivatives, slack: slack,
            enough: enough)
        // The first node left out is there or beyond.
        let nodes = least / step - Vector(repeating: 0.5)
        count = VectorMath.larger(
            .init(repeating: 1),
            Vector(
                nodes[0].rounded(.up), nodes[1].rounded(.up), nodes[2].rounded(.up), nodes[3].rounded(.up)))
    }

    /// ln B(x) ≥ ln |M(½ + ix)|, decreasing in x; ∞ where the bound does not exist (small x).
    @inline(always)
    static func logEnvelope(_ x: Vector, _ heston: HestonParameters, tau: Vector) -> Vector {
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
        let value = heston.v0 * slope + kappa * heston.theta * level + fixed
        return VectorMath.select(
            exists .& (change .> Vector(repeating: -1)), value, else: .init(repeating: .infinity))
    }
}
