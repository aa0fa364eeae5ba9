internal import Kernels

/// Jäckel's normalised Black function and its inverse ("Let's be rational", 2015): b = price/√(FK) of the
/// out-of-the-money option as a function of x = −|ln(F/K)| ≤ 0 and the total volatility s = σ√τ.
///
///     b(x, s) = e^(x/2)·N(x/s + s/2) − e^(−x/2)·N(x/s − s/2)
enum NormalisedBlack {
    /// b(x, s) for x ≤ 0, to a few units in the last place down to the smallest doubles. `s` ≤ 0 gives 0.
    static func price(_ x: Double, _ s: Double) -> Double {
        guard s > 0 else { return 0 }
        let t = 0.5 * s
        let h = x / s
        // With Y = N/n (Mills' ratio): b = n-part·[Y(h + t) − Y(h − t)].
        let front = -0.5 * (h * h + t * t)
        guard front > -760 else { return 0 }
        let prefactor = Normal.inverseRootTwoPi * exp(front)
        if t < 0.4 - 0.04 * h {
            return prefactor * millsDifference(h, t)
        }
        return prefactor * (mills(h + t) - mills(h - t))
    }

    /// ∂b/∂s.
    static func vega(_ x: Double, _ s: Double) -> Double {
        guard s > 0 else { return 0 }
        let h = x / s
        return Normal.inverseRootTwoPi * exp(-0.5 * (h * h + 0.25 * s * s))
    }

    /// The total volatility of an out-of-the-money price relative to the forward; `nil` outside the open interval of
    /// possible prices.
    static func totalVolatility(outOfTheMoney price: Double, logMoneyness k: Double) -> Double? {
        solve(-abs(k), price * exp(-0.5 * k))
    }

    /// The s with b(x, s) = `beta`; `nil` unless 0 < beta < e^(x/2).
    ///
    /// Halley's iteration, safeguarded by a bracket, on whichever of 1/ln b, b and ln(e^(x/2) − b) is nearly straight;
    /// started from the asymptotics of that branch. Three or four evaluations of b.
    static func solve(_ x: Double, _ beta: Double) -> Double? {
        let bound = exp(0.5 * x)
        guard beta > 0, beta < bound else { return nil }
        if x == 0 {
            // b = 2N(s/2) − 1 = erf(s/2√2).
            return beta < 0.5
                ? solveAtTheMoney(beta) : -2 * Normal.quantile(0.5 * (1 - beta))
        }
        // The point of inflection: below it b is convex in s, above concave.
        let inflection = (-2 * x).squareRoot()
        let middle = price(x, inflection)
        let slope = vega(x, inflection)
        var (low, high) = (0.0, Double.infinity)
        var s: Double
        enum Branch { case low, middle, high }
        var branch = Branch.middle
        if beta < middle {
            high = inflection
            // Jäckel's lower map: b ~ 2π|x|/(3√3)·N(−|x|/(√3 s))³.
            let argument = cbrt(beta * 5.196152422706632 / (-2 * .pi * x))
            let z = argument < 0.5 ? Normal.quantile(argument) : -0.1
            s = z < 0 ? x / (1.7320508075688772 * z) : inflection
            let tangent = inflection - (middle - beta) / slope
            if beta < 0.5 * middle { branch = .low }
            if !(s > 0 && s < inflection) { s = 0.999 * inflection }
            // b is convex here, and so above its tangent at the inflection, which gives an upper bound of the root.
            if tangent > 0 {
                high = tangent
                s = min(s, tangent)
            }
        } else {
            low = inflection
            let remaining = bound - beta
            // bound − b → (e^(x/2) + e^(−x/2))·N(−s/2) as s → ∞, too large for smaller s.
            let far = -2 * Normal.quantile(min(0.5, remaining / (2 * cosh(0.5 * x))))
            let tangent = inflection + (beta - middle) / slope
            if remaining < 0.5 * (bound - middle) {
                branch = .high
                s = max(far, tangent)
            } else {
                s = tangent
            }
            if !(s > low) { s = low * 1.0001 }
        }
        let logBeta = log(beta)
        for _ in 0..<60 {
            let b = price(x, s)
            if b == beta { return s }
            if b < beta { low = max(low, s) } else { high = min(high, s) }
            let v = vega(x, s)
            let curvature = x * x / (s * s * s) - 0.25 * s
            var step: Double
            switch branch {
            case .low where b > 0:
                let logB = log(b)
                let rate = v / b
                // f = 1/ln b: f″/f′ = b″/b′ − b′/b − 2·(b′/b)/ln b.
                let newton = (logBeta - logB) * logB / (logBeta * rate)
                let ratio = curvature - rate - 2 * rate / logB
                step = newton / max(0.5, 1 + 0.5 * newton * ratio)
            case .high where b < bound:
                let rest = bound - b
                let rate = v / rest
                let newton = log(rest / (bound - beta)) / rate
                step = newton / max(0.5, 1 + 0.5 * newton * (curvature + rate))
            default:
                let newton = (beta - b) / v
                step = newton / max(0.5, 1 + 0.5 * newton * curvature)
            }
            var next = s + step
            // Third-order convergence: after a step of 1e-6 the rest is below rounding.
            if abs(step) < 1e-6 * s { return next }
            if !(next > low && next < high) { next = high.isFinite ? 0.5 * (low + high) : 2 * s }
            s = next
        }
        return s
    }

    private static func solveAtTheMoney(_ beta: Double) -> Double {
        // s = √(2π)·β(1 + …), polished by Newton on erf; b″ = −sb′/4.
        var s = 2.5066282746310002 * beta * (1 + beta * beta * 0.2617993877991494)
        for _ in 0..<4 {
            let error = beta - erf(s * 0.35355339059327376)
            let newton = error / (Normal.inverseRootTwoPi * exp(-0.125 * s * s))
            let step = newton / (1 - 0.125 * newton * s)
            s += step
            if abs(step) < 1e-6 * s { break }
        }
        return s
    }

    /// N(y)/n(y).
    private static func mills(_ y: Double) -> Double {
        1.2533141373155002512 * erfcx(-y * 0.707106781186547524400844362105)
    }

    /// Y(h + t) − Y(h − t) where the difference would cancel: ∫ Y′ over [h − t, h + t] by Gauss–Legendre with ten
    /// nodes. Y′ is smooth on the scale |h| + 1 there, and the interval shorter than that.
    private static func millsDifference(_ h: Double, _ t: Double) -> Double {
        var sum = 0.0
        for (node, weight) in gauss { sum += weight * (millsSlope(h + t * node) + millsSlope(h - t * node)) }
        return t * sum
    }

    /// Y′(y) = 1 + yY(y) = ∫₀^∞ u·e^(yu − u²/2) du for y < ½.
    private static func millsSlope(_ y: Double) -> Double {
        if y > -4 { return 1 + y * mills(y) }
        // Y(y) = 1/(a + K), a = −y, K = 1/(a + 2/(a + 3/(a + …))): 1 − aY = K·Y without cancellation.
        let a = -y
        let depth = y < -12 ? 14 : (y < -7 ? 26 : 60)
        var fraction = a
        for n in Swift.stride(from: depth, through: 2, by: -1) { fraction = a + Double(n) / fraction }
        let k = 1 / fraction
        return k / (a + k)
    }

    private static let gauss: [(Double, Double)] = [
        (0.1488743389816312, 0.2955242247147529), (0.4333953941292472, 0.2692667193099963),
        (0.6794095682990244, 0.2190863625159821), (0.8650633666889845, 0.1494513491505806),
        (0.9739065285171717, 0.0666713443086881),
    ]
}
