public import Glibc

/// The normal distribution and its relatives, to a few units in the last place.
public enum Normal {
    /// 1/√(2π).
    public static let inverseRootTwoPi = 0.398942280401432677939946059934

    /// The density at `x`.
    @inlinable
    public static func density(_ x: Double) -> Double { inverseRootTwoPi * exp(-0.5 * x * x) }

    /// P(Z ≤ x). Full relative accuracy in the lower tail, down to the smallest double.
    @inlinable
    public static func cumulative(_ x: Double) -> Double { 0.5 * erfc(-x * 0.707106781186547524400844362105) }

    /// The `x` with P(Z ≤ x) = `p`; −∞ at 0, ∞ at 1, NaN outside.
    ///
    /// Wichura 1988, "Algorithm AS 241", routine PPND16: relative error below 1e-15.
    public static func quantile(_ p: Double) -> Double {
        guard p >= 0, p <= 1 else { return .nan }
        let q = p - 0.5
        if abs(q) <= 0.425 {
            let r = 0.180625 - q * q
            return q * polynomial(r, centralNumerator) / polynomial(r, centralDenominator)
        }
        let tail = q < 0 ? p : 1 - p
        guard tail > 0 else { return q < 0 ? -.infinity : .infinity }
        var r = (-log(tail)).squareRoot()
        let value: Double
        if r <= 5 {
            r -= 1.6
            value = polynomial(r, middleNumerator) / polynomial(r, middleDenominator)
        } else {
            r -= 5
            value = polynomial(r, farNumerator) / polynomial(r, farDenominator)
        }
        return q < 0 ? -value : value
    }

    private typealias Coefficients = (Double, Double, Double, Double, Double, Double, Double, Double)

    private static func polynomial(_ r: Double, _ c: Coefficients) -> Double {
        ((((((c.7 * r + c.6) * r + c.5) * r + c.4) * r + c.3) * r + c.2) * r + c.1) * r + c.0
    }

    private static let centralNumerator: Coefficients = (
        3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
        4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3
    )
    private static let centralDenominator: Coefficients = (
        1, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
        2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3
    )
    private static let middleNumerator: Coefficients = (
        1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
        1.27045825245236838258, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4
    )
    private static let middleDenominator: Coefficients = (
        1, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1,
        1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9
    )
    private static let farNumerator: Coefficients = (
        6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 2.96560571828504891230e-1,
        2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7
    )
    private static let farDenominator: Coefficients = (
        1, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
        7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15
    )
}

/// e^(x²)·erfc(x), which neither over- nor underflows for x > −26. Relative error a few 1e-16.
///
/// Below 25 it is the product, with x² split in two doubles so that squaring costs no digits; above, the asymptotic
/// series, whose fifth term is below 1e-17 there.
public func erfcx(_ x: Double) -> Double {
    if x < 25 {
        let square = x * x
        let rest = (-square).addingProduct(x, x)
        return exp(square) * (1 + rest) * erfc(x)
    }
    let t = 0.5 / (x * x)
    let series = 1 - t * (1 - 3 * t * (1 - 5 * t * (1 - 7 * t * (1 - 9 * t))))
    return 0.564189583547756286948079451561 / x * series
}
