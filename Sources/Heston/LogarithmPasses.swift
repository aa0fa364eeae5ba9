internal import Kernels

// CharacteristicKernel.swift's formulas for all nodes of a maturity, in passes. One node's are a chain of some 300
// cycles, root upon quotient upon polynomial, in 500 instructions; a processor looks ahead about as many, so that it
// mostly waits for the chain of one group. Each pass is a link of the chain: several groups fit into its view, and what
// one pass hands to the next costs less than the wait.

extension Planes {
    /// What the passes read and leave behind, by plane.
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
        fileprivate static let onePlusZ = 7
    }

    /// ln M at the points in `Pass.point`, without jumps.
    @inline(never)
    func logarithms(_ groups: Range<Int>, _ c: CharacteristicConstants) {
        for group in groups {
            let root = unsafe CharacteristicRoot(self[Pass.point, group], c)
            unsafe self[Pass.root, group] = root.d
            unsafe self[Pass.fixed, group] = .init(root.modulus, root.modulus)
        }
        for group in groups {
            let root = unsafe CharacteristicRoot(d: self[Pass.root, group], modulus: self[Pass.fixed, group].real)
            let parts = unsafe CharacteristicParts(self[Pass.point, group], c, root)
            unsafe self[Pass.inverseW, group] = parts.inverseW
            unsafe self[Pass.fixed, group] = (-c.tau * c.kappaTheta) * parts.ratio
            unsafe self[Pass.numerator, group] = (-0.5 * c.v0) * (parts.w * parts.oneMinusE * parts.inverseD)
            unsafe self[Pass.z, group] = parts.z
            unsafe self[Pass.onePlusZ, group] = parts.onePlusZ
        }
        let factor = -2 * c.kappaTheta / c.sigma2
        for group in groups {
            let (logarithm, inverse) = unsafe ComplexVector.logarithmAndReciprocal(
                onePlus: self[Pass.z, group], self[Pass.onePlusZ, group])
            unsafe self[Pass.logarithm, group] =
                self[Pass.fixed, group] + factor * logarithm + self[Pass.numerator, group] * inverse
        }
    }
}
