internal import Kernels

// Prices come from Lewis's integral on the line u = x − i/2 (A. Lewis 2001), with k = ln(K/F), m = E[min(S, K)]/F:
//
//     m(k)·e^(−k/2) = g(k) = (1/π) ∫₀^∞ Re[e^(−ixk) φ(x − i/2)] / (x² + ¼) dx
//
// by the trapezoidal rule of step h on [0, X]. Both its errors have bounds in closed form, so that the rule is chosen
// and an accuracy is promised before the first node is evaluated; nothing is measured by hope.
//
// Step. By Poisson's formula the rule gives Σₙ g(k + nL), L = 2π/h, exactly. Since g(y) = e^(−|y|/2) − V(y), with V ≥ 0
// the out-of-the-money price times e^(−y/2)/F, the first part of the aliases is a geometric series, which is added
// back; what is left is Σ_{n≠0} V(k + nL). Markov's inequality bounds V by any finite moment M(q) = E[(S/F)^q]:
//
//     V(y) ≤ c(s)·M(½ ± s)·e^(−s|y|),  s > ½,  c(s) = (s−½)^(s−½)/(s+½)^(s+½),  + for y > 0, − for y < 0.
//
// Truncation. Given the path of v, ln S is normal with variance (1 − ρ²)I, I = ∫v dt; hence |φ(x − i/2)| ≤ B(x), the
// joint Laplace transform of v_τ and I at real arguments: decreasing in x, in closed form, and with the true decay
// rate.

/// The trapezoidal rule for one maturity: nodes x_j = j·step, j = 0 ..< count.
struct QuadratureRule: Equatable {
    var step: Double
    var count: Int

    /// The rule whose error in price/(discounted forward) is at most `tolerance` for all |ln(K/F)| ≤
    /// `maximumAbsoluteK`.
    ///
    /// - Parameter derivatives: also bounds the tail of the integrals with x² more in them (gamma, gradients).
    /// - Throws: `accuracyNotReached` when more than `maximumNodes` are needed.
    init(
        _ heston: HestonParameters, tau: Double, maximumAbsoluteK: Double, tolerance: Double, maximumNodes: Int,
        derivatives: Bool
    ) throws(HestonError) {
        // Prices are e^(k/2)·g: the factor comes off the tolerance. Half of it is for each source of error.
        let logTolerance = log(0.5 * tolerance) - 0.5 * maximumAbsoluteK
        let period = maximumAbsoluteK + Self.decayLength(heston, tau: tau, logTolerance: logTolerance)
        let cutoff = Self.cutoff(heston, tau: tau, logTolerance: logTolerance, derivatives: derivatives)
        let needed = (cutoff * period / (2 * .pi)).rounded(.up) + 1
        guard needed <= Double(maximumNodes) else {
            throw .accuracyNotReached(
                tau: tau, tolerance: tolerance, nodesNeeded: needed, nodesAllowed: maximumNodes)
        }
        step = 2 * .pi / period
        count = Int(needed)
    }

    /// A y with Σₙ V(±(y + nL)) below the tolerance on both sides: any admissible s gives one, a good s a short one.
    static func decayLength(_ heston: HestonParameters, tau: Double, logTolerance: Double) -> Double {
        let variance = heston.expectedTotalVariance(tau: tau)
        // For a normal density the best s is √(2·ln(1/ε)/w).
        let guess = max(0.6, (-2 * logTolerance / variance).squareRoot())
        var longest = 0.0
        for side in [1.0, -1.0] {
            func length(_ s: Double) -> Double {
                let moment = logMoment(0.5 + side * s, heston, tau: tau)
                guard moment.isFinite else { return .infinity }
                let a = s - 0.5
                let constant = (a > 0 ? a * log(a) : 0) - (s + 0.5) * log(s + 0.5)
                // ln 4: two sides, and the rest of the geometric series, which is below the first term for sL > ln 2.
                return (moment + constant + log(4) - logTolerance) / s
            }
            var s = guess
            var best = length(s)
            while !best.isFinite, s > 0.5 {
                s = max(0.5, 0.5 * s)
                best = length(s)
            }
            // A short search downhill; each point is a valid bound, so it may stop anywhere.
            var factor = 1.35
            for _ in 0..<10 {
                var moved = false
                for trial in [s * factor, max(0.5, s / factor)] {
                    let value = length(trial)
                    if value < best {
                        (s, best, moved) = (trial, value, true)
                        break
                    }
                }
                if !moved { factor = factor.squareRoot() }
                if factor < 1.1 { break }
            }
            longest = max(longest, best)
        }
        return max(longest, 0.1)
    }

    /// An X beyond which the integral is below the tolerance.
    static func cutoff(
        _ heston: HestonParameters, tau: Double, logTolerance: Double, derivatives: Bool
    ) -> Double {
        func excess(_ x: Double) -> Double {
            logEnvelope(x, heston, tau: tau) + (derivatives ? 1 : -1) * log(x) - logTolerance
        }
        var high = max(1, (-2 * logTolerance / heston.expectedTotalVariance(tau: tau)).squareRoot())
        var low = high
        if excess(high) > 0 {
            repeat {
                low = high
                high *= 1.7
            } while excess(high) > 0 && high < 1e12
        } else {
            repeat {
                high = low
                low /= 1.7
            } while excess(low) <= 0 && low > 1
        }
        for _ in 0..<4 {
            let middle = (low * high).squareRoot()
            if excess(middle) > 0 { low = middle } else { high = middle }
        }
        return high
    }

    /// ln E[(S_τ/F)^q] for real q; ∞ where the moment has exploded (Andersen, Piterbarg 2007, proposition 3.1).
    static func logMoment(_ q: Double, _ heston: HestonParameters, tau: Double) -> Double {
        let sigma2 = heston.sigma * heston.sigma
        let product = q * (q - 1)
        let beta = heston.kappa - heston.rho * heston.sigma * q
        let discriminant = beta * beta - sigma2 * product
        let slope: Double
        let level: Double
        if discriminant > 0 {
            let d = discriminant.squareRoot()
            let e = exp(-d * tau)
            // β ± d, the smaller from the product (β + d)(β − d) = σ²q(q − 1).
            let plus = beta >= 0 ? beta + d : sigma2 * product / (beta - d)
            let minus = beta >= 0 ? sigma2 * product / plus : beta - d
            let ratio = (plus - minus * e) / (2 * d)
            guard ratio > 0 else { return .infinity }
            slope = -product * expm1(-d * tau) / (2 * d * ratio)
            // ln ratio = ln(1 + (β − d)(1 − e)/2d).
            level = (minus * tau - 2 * log1p(-minus * expm1(-d * tau) / (2 * d))) / sigma2
        } else {
            let omega = (-discriminant).squareRoot()
            let angle = 0.5 * omega * tau
            // cos + β/ω·sin stays positive until the explosion; beyond the first zero the angle exceeds its root.
            let sinc = angle > 1e-8 ? sin(angle) / angle : 1
            let denominator = cos(angle) + 0.5 * beta * tau * sinc
            guard angle < .pi, denominator > 0 else { return .infinity }
            slope = 0.5 * product * tau * sinc / denominator
            level = (beta * tau - 2 * log(denominator)) / sigma2
        }
        return heston.kappa * heston.theta * level + heston.v0 * slope
    }

    /// ln B(x) ≥ ln |φ(x − i/2)|, decreasing in x; ∞ where the bound does not exist (small x).
    static func logEnvelope(_ x: Double, _ heston: HestonParameters, tau: Double) -> Double {
        let (kappa, sigma, rho) = (heston.kappa, heston.sigma, heston.rho)
        let sigma2 = sigma * sigma
        let start = 0.5 * rho / sigma
        let b = 0.25 - kappa * start + 0.5 * (x * x - 0.25) * (1 - rho * rho)
        let discriminant = kappa * kappa + 2 * sigma2 * b
        guard discriminant > 0 else { return .infinity }
        let d = discriminant.squareRoot()
        let upper = (kappa + d) / sigma2
        let lower = -2 * b / (kappa + d)
        guard start < upper else { return .infinity }
        let y = (start - lower) / (start - upper)
        let e = exp(-d * tau)
        let slope = (lower - upper * y * e) / (1 - y * e)
        let level = lower * tau - 2 / sigma2 * log1p(y * (1 - e) / (1 - y))
        let fixed = -start * (heston.v0 + kappa * heston.theta * tau)
        return heston.v0 * slope + kappa * heston.theta * level + fixed
    }
}
