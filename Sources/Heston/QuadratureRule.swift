internal import Kernels

// Prices come from Lewis's integral (A. Lewis 2001), with k = ln(K/F), M(s) = E[(S/F)^s], m = E[min(S, K)]/F:
//
//     m(k) = (1/2πi) ∫ e^((1−s)k) M(s) / (s(1 − s)) ds,   0 < Re s < 1,
//
// on the vertical line s = ½ + ix, where m(k)·e^(−k/2) = g(k) = (1/π) ∫₀^∞ Re[e^(−ixk) M(½ + ix)] / (x² + ¼) dx, by the
// trapezoidal rule of step h on [0, X]. Both its errors have bounds in closed form, so that the rule is chosen and an
// accuracy is promised before the first node is evaluated; nothing is measured by hope. Where the distribution is so
// skewed or M decays so slowly that this takes too many nodes, TiltedContour.swift has the other path.
//
// Step. By Poisson's formula the rule gives Σₙ g(k + nL), L = 2π/h, exactly. Since g(y) = e^(−|y|/2) − V(y), with V ≥ 0
// the out-of-the-money price times e^(−y/2)/F, the first part of the aliases is a geometric series, which is added
// back; what is left is Σ_{n≠0} V(k + nL). Markov's inequality bounds V by any finite moment:
//
//     V(y) ≤ c(s)·M(½ ± s)·e^(−s|y|),  s > ½,  c(s) = (s−½)^(s−½)/(s+½)^(s+½),  + for y > 0, − for y < 0.
//
// Truncation. Given the path of v, ln S is normal with variance (1 − ρ²)I, I = ∫v dt; hence |M(½ + ix)| ≤ B(x), the
// joint Laplace transform of v_τ and I at real arguments: decreasing and log-concave in x, in closed form, and with
// the true decay rate.
//
// Each search tries points four at a time: every one of them gives a valid bound, so the best is taken as it is.

/// How far from the forward an option can be and still be worth something.
struct Reach: Equatable {
    /// V(y) stays below the tolerance, with room for the whole alias series, for y above.
    var right: Double
    /// The same for −y.
    var left: Double

    /// Where a search found its best s, as a fraction of a normal density's: near by for the next maturity.
    struct Hint {
        var right = 0.7
        var left = 0.7
    }

    /// - Parameter logTolerance: ln of the tolerated V.
    /// - Parameter derivatives: the same for the derivatives by the jumps' parameters.
    init(
        _ heston: HestonParameters, _ jumps: Jumps, tau: Double, logTolerance: Double, derivatives: Bool,
        hint: inout Hint
    ) {
        // For a normal density the best s is √(2·ln(1/ε)/w).
        let variance = heston.expectedTotalVariance(tau: tau) + jumps.variance
        let guess = (-2 * logTolerance / variance).squareRoot()
        right = Self.length(1, guess, heston, jumps, tau, logTolerance, derivatives, &hint.right)
        left = Self.length(-1, guess, heston, jumps, tau, logTolerance, derivatives, &hint.left)
    }

    private static func length(
        _ side: Double, _ guess: Double, _ heston: HestonParameters, _ jumps: Jumps, _ tau: Double,
        _ logTolerance: Double, _ derivatives: Bool, _ hint: inout Double
    ) -> Double {
        let half = Vector(repeating: 0.5)
        var shortest = Double.infinity
        // A lighter tail's s is near the guess, a heavy tail's far below it: downhill from the hint, four at a time.
        var center = hint
        for turn in 0..<4 {
            let factors = center * Vector(1.3, 1.05, 0.8, 0.55)
            let trial = guess * factors
            let s = VectorMath.select(trial .< half, half, else: trial)
            var moment = logMoment(half + side * s, heston, tau: tau)
            if !jumps.areNone { moment += jumps.logMoment(half + side * s, derivatives: derivatives) }
            // ln c(s) ≤ −ln(s + ½) − (s − ½)/(s + ½). ln 4: two sides, and the rest of the geometric series, below the
            // first term for sL > ln 2.
            let constant = VectorMath.log(s + half) + (s - half) / (s + half)
            let lengths = (moment - constant + (1.3862943611198906 - logTolerance)) / s
            var best = -1
            for lane in 0..<4 where lengths[lane] < shortest { (shortest, best) = (lengths[lane], lane) }
            if best >= 0 { hint = factors[best] }
            // At an edge the optimum may lie beyond it.
            if best == 0, turn == 0 {
                center *= 2
            } else if best == 3 || !shortest.isFinite {
                center *= 0.4
            } else {
                break
            }
        }
        // M(0) = M(1) = 1 always.
        return max(0.1, min(shortest, 2 * (1.3862943611198906 - logTolerance)))
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

/// The trapezoidal rule on Lewis's line for one maturity: nodes x_j = j·step, j = 0 ..< count.
struct QuadratureRule: Equatable {
    var step: Double
    /// ∞ where no cutoff was found.
    var count: Double

    /// The rule whose error in price/(discounted forward) is at most `tolerance` for all k = ln(K/F) in `range`, which
    /// lies within `reach`.
    ///
    /// - Parameter logTolerance: ln of the tolerated error of g.
    /// - Parameter derivatives: also bounds the tail of the integrals with x² more in them (gamma, gradients).
    init(
        _ heston: HestonParameters, tau: Double, range: ClosedRange<Double>, reach: Reach, logTolerance: Double,
        derivatives: Bool
    ) {
        let period = max(reach.right - range.lowerBound, reach.left + range.upperBound)
        step = 2 * .pi / period
        let cutoff = Self.cutoff(heston, tau: tau, logTolerance: logTolerance, derivatives: derivatives)
        count = (cutoff / step).rounded(.up) + 1
    }

    /// An X beyond which the integral is below the tolerance.
    static func cutoff(_ heston: HestonParameters, tau: Double, logTolerance: Double, derivatives: Bool) -> Double {
        // A normal distribution's, and that of the exponential decay which takes over where σ is large.
        let normal = -2 * logTolerance / heston.expectedTotalVariance(tau: tau)
        let rate = (heston.v0 + heston.kappa * heston.theta * tau) / heston.sigma
        let exponential = -logTolerance / (rate * (1 - heston.rho * heston.rho).squareRoot())
        let guess = (normal + exponential * exponential).squareRoot()
        // B is log-concave (its exponent is made of hyperbolas), so that ∫_X^∞ B ≤ B(X)/c for the slope c of −ln B at X
        // or anywhere before it, such as a chord's.
        let power = derivatives ? 0.0 : -2.0
        var (before, height) = (0.0, 0.0)
        for factors in [
            Vector(0.62, 0.72, 0.8, 0.87), Vector(0.94, 1.01, 1.1, 1.25), Vector(1.5, 2, 4, 16),
            Vector(64, 300, 1e3, 1e4),
        ] {
            let x = guess * factors
            let envelope = logEnvelope(x, heston, tau: tau)
            let rest = power * VectorMath.log(x) - .init(repeating: logTolerance + 1.1447298858494002)
            for lane in 0..<4 {
                let slope = (height - envelope[lane]) / (x[lane] - before)
                (before, height) = (x[lane], envelope[lane])
                // exp rather than log: it is asked once, at the end of the search.
                if slope > 0, height + rest[lane] < 30, exp(height + rest[lane]) <= slope { return x[lane] }
            }
        }
        return .infinity
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
            else: VectorMath.select(change .> Vector(repeating: -0.5), 1 + change, else: .init(repeating: 1)))
        let level = tau * lower - (2 / sigma2) * onePlus
        let fixed = -start * (heston.v0 + kappa * heston.theta * tau)
        let value = heston.v0 * slope + kappa * heston.theta * level + .init(repeating: fixed)
        return VectorMath.select(
            exists .& (change .> Vector(repeating: -1)), value, else: .init(repeating: .infinity))
    }
}
