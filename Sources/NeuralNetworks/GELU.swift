/// The Gaussian error linear unit y = x·Φ(x), Φ the standard normal distribution (Hendrycks, Gimpel 2016): the exact
/// form with the error function, not the one with tanh; PyTorch's default.
///
/// It stands beside `Activation`, whose derivatives are functions of the output: this one needs the input.
public enum GELU {
    /// y from x, `count` numbers each; the two may be one.
    @unsafe
    package static func forward(_ x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>) {
        for i in 0..<count { unsafe y[i] = x[i] * normal(x[i]).cumulative }
    }

    /// Multiplies `gradient`, ∂loss/∂y, by dy/dx = Φ(x) + x·φ(x): it becomes ∂loss/∂x.
    @unsafe
    package static func applyDerivative(
        inputs x: UnsafePointer<Float>, gradient: UnsafeMutablePointer<Float>, count: Int
    ) {
        for i in 0..<count {
            let (cumulative, density) = unsafe normal(x[i])
            unsafe gradient[i] *= cumulative + x[i] * density
        }
    }

    /// Φ and φ at x. The complement of the error function is a polynomial in 1/(1 + p·z) times e^{−z²} (Abramowitz,
    /// Stegun 1964, 7.1.26), so that one exponential serves both; absolute error of Φ below 2e-7. NaN gives NaN.
    @inline(__always)
    private static func normal(_ x: Float) -> (cumulative: Float, density: Float) {
        let z = abs(x) * 0.70710678
        let e = exponential(-(z * z))
        let t = 1 / (1 + 0.3275911 * z)
        var p: Float = 1.061405429
        p = p * t - 1.453152027
        p = p * t + 1.421413741
        p = p * t - 0.284496736
        p = p * t + 0.254829592
        let tail = 0.5 * p * t * e
        return (x < 0 ? tail : 1 - tail, 0.39894228 * e)
    }
}
