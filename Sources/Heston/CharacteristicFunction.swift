public import Kernels

// Goals in order: no branch to track, relative accuracy (σ → 0, short τ), one evaluation for value and gradient, speed.
//
// With w = u² + iu, β = κ − ρσ·iu, d = √(β² + σ²w), e = exp(−dτ), p = β + d, r = (d − β)/2d:
//
//     ln φ = κθ·C + v₀·D,   C = −τw/p − (2/σ²)·ln(1 + z),   z = −r(1 − e),   D = −w(1 − e)/(2d(1 + z))
//
// It is the "little trap" form (Albrecher et al. 2007) with β − d replaced by −σ²w/(β + d), so that nothing cancels as
// σ → 0. Where Re β < 0 it is β + d that would cancel, and is taken as σ²w/(d − β) instead.

/// E[exp(iu·ln(S_τ/F))] under Heston; `tau` in years, `u` in the strip where the moment exists.
///
/// Valid parameters are the caller's duty (`HestonParameters.validate`). Relative error near 1e-13 for |ln φ| up to
/// 100.
public func characteristicFunction(_ u: Complex, _ heston: HestonParameters, tau: Double) -> Complex {
    let terms = CharacteristicTerms(iu: .i * u, heston, tau: tau)
    return .exp(heston.kappa * heston.theta * terms.level + heston.v0 * terms.slope)
}

/// φ and its derivatives by the five parameters (Cui, del Baño Rollin, Germano 2017, section 3, derived anew for the
/// form above): order (kappa, theta, sigma, rho, v0).
public func characteristicFunctionGradient(
    _ u: Complex, _ heston: HestonParameters, tau: Double
) -> (value: Complex, gradient: [Complex]) {
    let iu = .i * u
    let terms = CharacteristicTerms(iu: iu, heston, tau: tau)
    let value = Complex.exp(heston.kappa * heston.theta * terms.level + heston.v0 * terms.slope)
    let g = terms.logGradient(iu: iu, heston, tau: tau)
    return (value, [value * g.0, value * g.1, value * g.2, value * g.3, value * g.4])
}

/// The parts of ln φ at one (u, τ), kept for its gradient.
struct CharacteristicTerms {
    /// C: ln φ's factor of κθ.
    var level: Complex
    /// D: ln φ's factor of v₀.
    var slope: Complex
    private var w: Complex
    private var beta: Complex
    private var d: Complex
    /// w/(β + d).
    private var ratio: Complex
    private var e: Complex
    /// (d − β)/2d.
    private var r: Complex
    /// 1 + z.
    private var onePlusZ: Complex
    private var logOnePlusZ: Complex

    /// `iu` is i·u: ix + ½ on Lewis's line.
    @inline(__always)
    init(iu: Complex, _ heston: HestonParameters, tau: Double) {
        let sigma2 = heston.sigma * heston.sigma
        // u² + iu = −(iu)² + iu.
        w = iu - iu * iu
        beta = heston.kappa - heston.rho * heston.sigma * iu
        d = Complex.sqrt(beta * beta + sigma2 * w)
        e = Complex.exp(-tau * d)
        let oneMinusE = 1 - e
        let z: Complex
        if beta.real >= 0 {
            ratio = w / (beta + d)
            r = (0.5 * sigma2) * ratio / d
            z = -(r * oneMinusE)
            onePlusZ = 1 + z
        } else {
            let difference = d - beta
            ratio = difference / sigma2
            r = 0.5 * difference / d
            z = -(r * oneMinusE)
            // 1 − r = (β + d)/2d is small here, and e may be smaller.
            onePlusZ = 0.5 * sigma2 * w / (difference * d) + r * e
        }
        logOnePlusZ = z.absoluteSquare < 0.25 ? Complex.log(onePlus: z) : Complex.log(onePlusZ)
        level = -tau * ratio - (2 / sigma2) * logOnePlusZ
        // D = −w(1 − e)/(β + d + (d − β)e), and that denominator is 2d(1 + z).
        slope = -(w * oneMinusE) / (2 * (d * onePlusZ))
    }

    /// ∂ ln φ by (kappa, theta, sigma, rho, v0).
    @inline(__always)
    func logGradient(iu: Complex, _ heston: HestonParameters, tau: Double)
        -> (Complex, Complex, Complex, Complex, Complex)
    {
        let sigma2 = heston.sigma * heston.sigma
        let kappaTheta = heston.kappa * heston.theta
        let inverseD = Complex(1) / d
        let oneMinusE = 1 - e
        let inverse = Complex(1) / onePlusZ
        let wOverD2 = w * inverseD * inverseD
        let tauE = tau * e

        // By β with σ² fixed. r′ = r/σ² stays finite as σ → 0, and ∂r/∂β = −σ²w/2d³.
        let rPrime = r / sigma2
        let zBeta = 0.5 * (wOverD2 * inverseD * oneMinusE) - rPrime * tauE * beta * inverseD
        let levelBeta = 2 * (tau * rPrime - zBeta * inverse)
        // D = −w(1 − e)/Q, Q = 2d(1 + z) = β + d + (d − β)e: ∂D = (w ∂e − D ∂Q)/Q.
        let q = 2 * (d * onePlusZ)
        let inverseQ = Complex(1) / q
        let dBeta = beta * inverseD
        let eBeta = -(tauE * dBeta)
        let difference = 2 * (d * r)
        let qBeta = oneMinusE + dBeta * (1 + e) + difference * eBeta
        let slopeBeta = (w * eBeta - slope * qBeta) * inverseQ

        // By σ² with β fixed: ∂d = w/2d, ∂r = βw/4d³.
        let dSigma2 = 0.5 * (w * inverseD)
        let eSigma2 = -(tauE * dSigma2)
        let rSigma2 = 0.25 * (beta * wOverD2 * inverseD)
        let zSigma2 = r * eSigma2 - rSigma2 * oneMinusE
        let levelSigma2 =
            (0.5 * tau) * ratio * ratio * inverseD + (2 / sigma2) * (logOnePlusZ / sigma2 - zSigma2 * inverse)
        let qSigma2 = dSigma2 * (1 + e) + difference * eSigma2
        let slopeSigma2 = (w * eSigma2 - slope * qSigma2) * inverseQ

        let byBeta = kappaTheta * levelBeta + heston.v0 * slopeBeta
        let bySigma2 = kappaTheta * levelSigma2 + heston.v0 * slopeSigma2
        return (
            heston.theta * level + byBeta,
            heston.kappa * level,
            (2 * heston.sigma) * bySigma2 - heston.rho * (iu * byBeta),
            -heston.sigma * (iu * byBeta),
            slope
        )
    }
}
