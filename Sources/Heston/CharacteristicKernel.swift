internal import Kernels

// CharacteristicFunction.swift's formulas for four moments at a time: the same names, the same order, no branches. The
// scalar version is what this one is tested against.

/// What one maturity's evaluations share.
struct CharacteristicConstants {
    let kappa: Double
    let theta: Double
    let sigma: Double
    let rho: Double
    let v0: Double
    let tau: Double
    let sigma2: Double
    let kappaTheta: Double
    /// `none` for Heston's model.
    let jumps: Jumps

    init(_ heston: HestonParameters, tau: Double, jumps: Jumps = .none) {
        kappa = heston.kappa
        theta = heston.theta
        sigma = heston.sigma
        rho = heston.rho
        v0 = heston.v0
        self.tau = tau
        sigma2 = heston.sigma * heston.sigma
        kappaTheta = heston.kappa * heston.theta
        self.jumps = jumps
    }
}

/// d = √(β² + σ²w) and its modulus at four s.
struct CharacteristicRoot {
    let d: ComplexVector
    let modulus: Vector

    @inline(always)
    init(_ s: ComplexVector, _ c: CharacteristicConstants) {
        let beta = c.kappa - c.rho * c.sigma * s
        (d, modulus) = ComplexVector.sqrt(beta * beta + c.sigma2 * (s - s * s))
    }

    @inline(always)
    init(d: ComplexVector, modulus: Vector) {
        self.d = d
        self.modulus = modulus
    }

    /// e^(−dτ).
    @inline(always)
    func decay(_ tau: Double) -> ComplexVector { ComplexVector.exp(-tau * d) }
}

/// Three reciprocals from one division.
struct Reciprocals {
    let big: ComplexVector
    let w: ComplexVector
    let d: ComplexVector

    /// `modulus` is |d|².
    @inline(always)
    init(big: ComplexVector, w: ComplexVector, d: ComplexVector, modulus: Vector) {
        let (bigSquare, wSquare) = (big.absoluteSquare, w.absoluteSquare)
        let bigW = bigSquare * wSquare
        let scale = 1 / (bigW * modulus)
        let scaleD = scale * bigW
        let scaleModulus = scale * modulus
        let (scaleBig, scaleW) = (scaleModulus * wSquare, scaleModulus * bigSquare)
        self.d = .init(d.real * scaleD, -d.imaginary * scaleD)
        self.w = .init(w.real * scaleW, -w.imaginary * scaleW)
        self.big = .init(big.real * scaleBig, -big.imaginary * scaleBig)
    }
}

/// All that comes before the logarithm of 1 + z.
struct CharacteristicParts {
    /// s(1 − s).
    let w: ComplexVector
    let inverseW: ComplexVector
    let beta: ComplexVector
    let d: ComplexVector
    let inverseD: ComplexVector
    let ratio: ComplexVector
    let e: ComplexVector
    let oneMinusE: ComplexVector
    let r: ComplexVector
    let z: ComplexVector
    let onePlusZ: ComplexVector

    @inline(always)
    init(
        _ s: ComplexVector, _ c: CharacteristicConstants, _ root: CharacteristicRoot, decay e: ComplexVector
    ) {
        w = s - s * s
        beta = c.kappa - c.rho * c.sigma * s
        d = root.d
        self.e = e
        oneMinusE = 1 - e
        // Of β + d and d − β, whose product is σ²w, one cancels: it is taken from the other.
        let isForward = beta.real .>= .zero
        let big = d + ComplexVector.select(isForward, beta, else: -beta)
        let inverses = Reciprocals(big: big, w: w, d: d, modulus: root.modulus)
        (inverseD, inverseW) = (inverses.d, inverses.w)
        let wOverBig = w * inverses.big
        let small = c.sigma2 * wOverBig
        ratio = ComplexVector.select(isForward, wOverBig, else: (1 / c.sigma2) * big)
        r = 0.5 * (ComplexVector.select(isForward, small, else: big) * inverseD)
        z = -(r * oneMinusE)
        onePlusZ = ComplexVector.select(isForward, 1 + z, else: 0.5 * (small * inverseD) + r * e)
    }
}

/// ln E[(S_τ/F)^s] at four complex s in the strip where the moments exist, or continued analytically beyond it: all the
/// singularities lie on the real axis outside the strip (Lucic 2007, "On singularities in the Heston model").
struct CharacteristicKernel {
    /// ln M's factor of κθ.
    let level: ComplexVector
    /// ln M's factor of v₀.
    let slope: ComplexVector
    private let parts: CharacteristicParts
    private let inverse: ComplexVector
    private let logOnePlusZ: ComplexVector

    @inline(always)
    init(_ s: ComplexVector, _ c: CharacteristicConstants) {
        let root = CharacteristicRoot(s, c)
        parts = CharacteristicParts(s, c, root, decay: root.decay(c.tau))
        (logOnePlusZ, inverse) = ComplexVector.logarithmAndReciprocal(onePlus: parts.z, parts.onePlusZ)
        level = -c.tau * parts.ratio - (2 / c.sigma2) * logOnePlusZ
        slope = -0.5 * (parts.w * parts.oneMinusE * parts.inverseD * inverse)
    }

    @inline(always)
    var w: ComplexVector { parts.w }

    @inline(always)
    var inverseW: ComplexVector { parts.inverseW }

    /// ln M(s).
    @inline(always)
    func logarithm(_ c: CharacteristicConstants) -> ComplexVector { c.kappaTheta * level + c.v0 * slope }

    /// ∂ ln M/∂τ = κθ·D + v₀·D′. Riccati's equation for D, −w/2 − βD + σ²D²/2, is −½we/(1 + z)² when D's closed form is
    /// put in: nothing cancels as D′ → 0 at long τ.
    @inline(always)
    func logDecay(_ c: CharacteristicConstants) -> ComplexVector {
        c.kappaTheta * slope - (0.5 * c.v0) * (w * parts.e * inverse * inverse)
    }

    /// ∂ ln M by (kappa, theta, sigma, rho, v0).
    @inline(always)
    func logGradient(_ s: ComplexVector, _ c: CharacteristicConstants)
        -> (ComplexVector, ComplexVector, ComplexVector, ComplexVector, ComplexVector)
    {
        let (beta, d, inverseD, ratio) = (parts.beta, parts.d, parts.inverseD, parts.ratio)
        let (e, oneMinusE, r) = (parts.e, parts.oneMinusE, parts.r)
        let inverseSigma2 = 1 / c.sigma2
        let onePlusE = 1 + e
        let wOverD = w * inverseD
        let wOverD2 = wOverD * inverseD
        let tauE = c.tau * e
        let inverseQ = 0.5 * (inverseD * inverse)

        let rPrime = inverseSigma2 * r
        let dBeta = beta * inverseD
        let eBeta = -(tauE * dBeta)
        let zBeta = 0.5 * (wOverD2 * inverseD * oneMinusE) + rPrime * eBeta
        let levelBeta = 2 * (c.tau * rPrime - zBeta * inverse)
        let difference = 2 * (d * r)
        let qBeta = oneMinusE + dBeta * onePlusE + difference * eBeta
        let slopeBeta = (w * eBeta - slope * qBeta) * inverseQ

        let dSigma2 = 0.5 * wOverD
        let eSigma2 = -(tauE * dSigma2)
        let rSigma2 = 0.25 * (beta * wOverD2 * inverseD)
        let zSigma2 = r * eSigma2 - rSigma2 * oneMinusE
        let levelSigma2 =
            (0.5 * c.tau) * (ratio * ratio * inverseD)
            + (2 * inverseSigma2) * (inverseSigma2 * logOnePlusZ - zSigma2 * inverse)
        let qSigma2 = dSigma2 * onePlusE + difference * eSigma2
        let slopeSigma2 = (w * eSigma2 - slope * qSigma2) * inverseQ

        let byBeta = c.kappaTheta * levelBeta + c.v0 * slopeBeta
        let bySigma2 = c.kappaTheta * levelSigma2 + c.v0 * slopeSigma2
        let sByBeta = s * byBeta
        return (
            c.theta * level + byBeta,
            c.kappa * level,
            (2 * c.sigma) * bySigma2 - c.rho * sByBeta,
            -c.sigma * sByBeta,
            slope
        )
    }
}
