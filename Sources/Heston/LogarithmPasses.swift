internal import Kernels

// CharacteristicKernel.swift's formulas for all nodes of a maturity, in passes. One node's are a chain of some 300
// cycles, root upon quotient upon polynomial, in 500 instructions; a processor looks ahead less than that, so that it
// mostly waits for the chain of one group. Each pass is a link of the chain, of at most a hundred: several groups fit
// into its view, and what one pass hands to the next costs less than the wait.

extension NodeRecords {
    /// What the passes read and leave behind, by place in a group's record.
    enum Pass {
        /// In: s.
        static let point = 0
        /// Out: ln M(s).
        static let logarithm = 1
        /// Out: 1/(s(1 − s)).
        static let inverseW = 2
        /// Out: d.
        static let root = 3
        /// The modulus of d², then the part of ln M that needs no logarithm.
        fileprivate static let fixed = 4
        /// v₀'s factor of 1/(1 + z).
        fileprivate static let numerator = 5
        fileprivate static let z = 6
        /// Out: 1 + z; M is singular where it is 0.
        static let onePlusZ = 7
        /// e^(−dτ), then the half-done logarithm of the modulus.
        fileprivate static let decay = 8
        fileprivate static let modulus = 8
        fileprivate static let angle = 9
    }

    /// ln M at the points in `Pass.point`, without jumps.
    @inline(never)
    func logarithms(_ groups: Range<Int>, _ c: CharacteristicConstants) {
        for group in groups {
            let root = unsafe CharacteristicRoot(self[Pass.point, group], c)
            unsafe self[Pass.root, group] = root.d
            unsafe self[Pass.fixed, group] = .init(root.modulus, root.modulus)
        }
        unsafe takeDecays(groups, c)
        for group in groups {
            let (s, d) = unsafe (self[Pass.point, group], self[Pass.root, group])
            let (modulus, e) = unsafe (self[Pass.fixed, group].real, self[Pass.decay, group])
            let w = s - s * s
            let beta = c.kappa - c.rho * c.sigma * s
            // Re s rises or falls along a contour: the ends speak for all four.
            let allForward = beta.real[0] >= 0 && beta.real[3] >= 0
            let isForward = beta.real .>= .zero
            let big = allForward ? d + beta : d + ComplexVector.select(isForward, beta, else: -beta)
            let inverses = Reciprocals(big: big, w: w, d: d, modulus: modulus)
            let wOverBig = w * inverses.big
            // (1 − e)/d.
            let decrease = (1 - e) * inverses.d
            let small = c.sigma2 * wOverBig
            let z: ComplexVector
            if allForward {
                z = -0.5 * (small * decrease)
                unsafe self[Pass.fixed, group] = (-c.tau * c.kappaTheta) * wOverBig
                unsafe self[Pass.onePlusZ, group] = 1 + z
            } else {
                let large = ComplexVector.select(isForward, small, else: big)
                let ratio = ComplexVector.select(isForward, wOverBig, else: (1 / c.sigma2) * big)
                z = -0.5 * (large * decrease)
                unsafe self[Pass.fixed, group] = (-c.tau * c.kappaTheta) * ratio
                unsafe self[Pass.onePlusZ, group] = ComplexVector.select(
                    isForward, 1 + z, else: 0.5 * ((small + big * e) * inverses.d))
            }
            unsafe self[Pass.inverseW, group] = inverses.w
            unsafe self[Pass.numerator, group] = (-0.5 * c.v0) * (w * decrease)
            unsafe self[Pass.z, group] = z
        }
        unsafe takeLogarithms(groups, c)
    }

    /// ln M at the nodes (j + ½)·step of the line s = ½ + ix, without jumps; `Pass.point` and `Pass.root` stay as they
    /// are. Only where `CharacteristicLine.serves`.
    @inline(never)
    func lineLogarithms(_ groups: Int, step: Double, _ c: CharacteristicConstants) {
        let line = CharacteristicLine(c)
        for group in 0..<groups {
            let root = line.root(step * CharacteristicLine.nodes(group))
            unsafe self[Pass.root, group] = root.d
            unsafe self[Pass.fixed, group] = .init(root.modulus, root.modulus)
        }
        unsafe takeDecays(0..<groups, c)
        for group in 0..<groups {
            let root = unsafe CharacteristicRoot(d: self[Pass.root, group], modulus: self[Pass.fixed, group].real)
            let parts = unsafe line.parts(
                step * CharacteristicLine.nodes(group), root, decay: self[Pass.decay, group])
            unsafe self[Pass.inverseW, group] = .init(parts.inverseW, parts.inverseW)
            unsafe self[Pass.fixed, group] = parts.fixed
            unsafe self[Pass.numerator, group] = parts.numerator
            unsafe self[Pass.z, group] = parts.z
            unsafe self[Pass.onePlusZ, group] = 1 + parts.z
        }
        unsafe takeLogarithms(0..<groups, c)
    }

    @inline(always)
    private func takeDecays(_ groups: Range<Int>, _ c: CharacteristicConstants) {
        for group in groups {
            let root = unsafe CharacteristicRoot(d: self[Pass.root, group], modulus: .zero)
            unsafe self[Pass.decay, group] = root.decay(c.tau)
        }
    }

    /// The last passes.
    @inline(always)
    private func takeLogarithms(_ groups: Range<Int>, _ c: CharacteristicConstants) {
        for group in groups {
            let reduced = unsafe ReducedLogarithm(onePlus: self[Pass.z, group], self[Pass.onePlusZ, group])
            unsafe self[Pass.modulus, group] = reduced.modulus
            unsafe self[Pass.angle, group] = reduced.angle
            unsafe self[Pass.fixed, group] =
                self[Pass.fixed, group] + self[Pass.numerator, group] * reduced.reciprocal
        }
        let factor = -2 * c.kappaTheta / c.sigma2
        for group in groups {
            let logarithm = unsafe ReducedLogarithm.logarithm(
                modulus: self[Pass.modulus, group], angle: self[Pass.angle, group], self[Pass.onePlusZ, group])
            unsafe self[Pass.logarithm, group] = self[Pass.fixed, group] + factor * logarithm
        }
    }
}

/// CharacteristicParts' formulas on the line s = ½ + ix, x > 0, where Re β ≥ 0: w = x² + ¼ is real, and so is the sign
/// of what stands under d's root.
struct CharacteristicLine {
    private let betaReal: Double
    /// −Im β/x.
    private let betaSlope: Double
    /// d²'s real part is the first plus x² times the second, its imaginary part x times the third.
    private let constant: Double
    private let square: Double
    private let linear: Double
    private let fixedFactor: Double
    private let zFactor: Double
    private let numeratorFactor: Double

    /// x of a group's nodes, in steps.
    @inline(always)
    static func nodes(_ group: Int) -> Vector { Vector(0.5, 1.5, 2.5, 3.5) + Double(4 &* group) }

    static func serves(_ c: CharacteristicConstants) -> Bool { c.kappa >= 0.5 * c.rho * c.sigma }

    init(_ c: CharacteristicConstants) {
        betaSlope = c.rho * c.sigma
        betaReal = c.kappa - 0.5 * betaSlope
        constant = betaReal * betaReal + 0.25 * c.sigma2
        square = c.sigma2 * (1 - c.rho * c.rho)
        linear = -2 * betaReal * betaSlope
        fixedFactor = -c.tau * c.kappaTheta
        zFactor = -0.5 * c.sigma2
        numeratorFactor = -0.5 * c.v0
    }

    @inline(always)
    func root(_ x: Vector) -> CharacteristicRoot {
        let real = Vector(repeating: constant).plus(x * x, times: .init(repeating: square))
        let imaginary = linear * x
        let modulus = VectorMath.sqrt((real * real).plus(imaginary, times: imaginary))
        let large = VectorMath.sqrt(0.5 * (modulus + real))
        return CharacteristicRoot(d: .init(large, 0.5 * imaginary / large), modulus: modulus)
    }

    @inline(always)
    func parts(_ x: Vector, _ root: CharacteristicRoot, decay: ComplexVector)
        -> (fixed: ComplexVector, numerator: ComplexVector, z: ComplexVector, inverseW: Vector)
    {
        let d = root.d
        let w = Vector(repeating: 0.25).plus(x, times: x)
        let big = ComplexVector(d.real + betaReal, d.imaginary - betaSlope * x)
        // Three reciprocals from one division.
        let square = big.absoluteSquare
        let wModulus = w * root.modulus
        let scale = 1 / (square * wModulus)
        let (scaleBig, scaleRest) = (scale * wModulus, scale * square)
        let inverseBig = ComplexVector(big.real * scaleBig, -big.imaginary * scaleBig)
        // w(1 − e)/d.
        let wOverSquare = w * w * scaleRest
        let slope = (1 - decay) * ComplexVector(d.real * wOverSquare, -d.imaginary * wOverSquare)
        let fixed = fixedFactor * w
        return (
            .init(fixed * inverseBig.real, fixed * inverseBig.imaginary), numeratorFactor * slope,
            zFactor * (slope * inverseBig), scaleRest * root.modulus
        )
    }
}
