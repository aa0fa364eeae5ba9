internal import Kernels

/// One strike's answer in forward units: everything relative to the discounted forward, at k = ln(K/F).
struct NormalisedValue {
    /// The out-of-the-money price: a put for k < 0, a call for k ≥ 0. Never negative.
    var outOfTheMoney: Double
    /// By the five parameters: the same for calls and puts.
    var gradient: (Double, Double, Double, Double, Double)
    /// e^(k/2)·(g′ − g/2): the call's delta is 1 plus this, undiscounted.
    var deltaMinusOne: Double
    /// e^(k/2)·(g/4 − g″): gamma times spot, undiscounted. Never negative.
    var spotGamma: Double
}

/// Evaluates all strikes of one maturity from one set of characteristic-function values. Keeps its buffers: after the
/// first call with as many nodes, nothing is allocated. One engine serves one thread.
struct SliceEngine {
    /// What is computed beside the price.
    enum Order: Equatable { case price, gradient, greeks }

    /// Planes of `stride` numbers: φ's real and imaginary part times the weights, then the same of its five
    /// derivatives.
    private var planes: [Double] = []
    private var stride = 0
    /// The rule of the last slice, for reports and tests.
    private(set) var rule: QuadratureRule?

    init() {}

    /// Answers for each of `logMoneyness`, in order, through `receive(index, value)`.
    mutating func evaluate(
        _ heston: HestonParameters, tau: Double, logMoneyness: [Double], accuracy: HestonPricer.Accuracy, order: Order,
        receive: (Int, NormalisedValue) -> Void
    ) throws(HestonError) {
        var widest = 0.0
        for k in logMoneyness { widest = max(widest, abs(k)) }
        let rule = try QuadratureRule(
            heston, tau: tau, maximumAbsoluteK: widest, tolerance: accuracy.tolerance,
            maximumNodes: accuracy.maximumNodes, derivatives: order != .price)
        self.rule = rule
        fill(heston, tau: tau, rule: rule, derivatives: order != .price)
        let groups = (rule.count + 3) / 4
        let stride = self.stride
        unsafe planes.withUnsafeBufferPointer { buffer in
            let base = unsafe UnsafeRawPointer(buffer.baseAddress!)
            for (index, k) in logMoneyness.enumerated() {
                let sums =
                    switch order {
                    case .price: unsafe Self.sumPrice(base, stride, groups, rule.step, k)
                    case .gradient, .greeks: unsafe Self.sumAll(base, stride, groups, rule.step, k)
                    }
                receive(index, Self.assemble(sums, k: k, step: rule.step))
            }
        }
    }

    private mutating func fill(_ heston: HestonParameters, tau: Double, rule: QuadratureRule, derivatives: Bool) {
        let padded = (rule.count + 3) / 4 * 4
        if padded > stride {
            stride = max(256, padded + padded / 2) / 4 * 4
            planes = [Double](repeating: 0, count: 12 * stride)
        }
        let stride = self.stride
        let kappaTheta = heston.kappa * heston.theta
        unsafe planes.withUnsafeMutableBufferPointer { out in
            for j in 0..<padded {
                guard j < rule.count else {
                    for plane in 0..<12 { unsafe out[plane * stride + j] = 0 }
                    continue
                }
                let x = Double(j) * rule.step
                let iu = Complex(0.5, x)
                let terms = CharacteristicTerms(iu: iu, heston, tau: tau)
                let phi = Complex.exp(kappaTheta * terms.level + heston.v0 * terms.slope)
                let weight = rule.step / .pi / (x * x + 0.25) * (j == 0 ? 0.5 : 1)
                let value = weight * phi
                unsafe out[j] = value.real
                unsafe out[stride + j] = value.imaginary
                guard derivatives else { continue }
                let g = terms.logGradient(iu: iu, heston, tau: tau)
                let products = (value * g.0, value * g.1, value * g.2, value * g.3, value * g.4)
                unsafe out[2 * stride + j] = products.0.real
                unsafe out[3 * stride + j] = products.0.imaginary
                unsafe out[4 * stride + j] = products.1.real
                unsafe out[5 * stride + j] = products.1.imaginary
                unsafe out[6 * stride + j] = products.2.real
                unsafe out[7 * stride + j] = products.2.imaginary
                unsafe out[8 * stride + j] = products.3.real
                unsafe out[9 * stride + j] = products.3.imaginary
                unsafe out[10 * stride + j] = products.4.real
                unsafe out[11 * stride + j] = products.4.imaginary
            }
        }
    }

    /// Σ over the nodes of Re[e^(−ixk)·plane]: the function, its first derivative's and its second's, the five
    /// gradients.
    private struct Sums {
        var g = 0.0
        var slope = 0.0
        var density = 0.0
        var gradient = (0.0, 0.0, 0.0, 0.0, 0.0)
    }

    /// cos and sin of x_j·k for four nodes at a time, turned by a fixed angle; set anew every 64 groups against drift.
    private struct Rotation {
        var cosine: SIMD4<Double>
        var sine: SIMD4<Double>
        private let turnCosine: Double
        private let turnSine: Double
        private let angle: Double

        @inline(__always)
        init(angle: Double) {
            self.angle = angle
            turnCosine = cos(4 * angle)
            turnSine = sin(4 * angle)
            cosine = .zero
            sine = .zero
            reset(group: 0)
        }

        @inline(__always)
        mutating func reset(group: Int) {
            let first = Double(4 * group) * angle
            cosine = .init(cos(first), cos(first + angle), cos(first + 2 * angle), cos(first + 3 * angle))
            sine = .init(sin(first), sin(first + angle), sin(first + 2 * angle), sin(first + 3 * angle))
        }

        @inline(__always)
        mutating func turn() {
            let next = cosine * turnCosine - sine * turnSine
            sine = sine * turnCosine + cosine * turnSine
            cosine = next
        }
    }

    @inline(__always)
    private static func load(_ base: UnsafeRawPointer, _ index: Int) -> SIMD4<Double> {
        unsafe base.loadUnaligned(fromByteOffset: index * 8, as: SIMD4<Double>.self)
    }

    private static func sumPrice(
        _ base: UnsafeRawPointer, _ stride: Int, _ groups: Int, _ step: Double, _ k: Double
    ) -> Sums {
        var rotation = Rotation(angle: step * k)
        var g = SIMD4<Double>.zero
        for group in 0..<groups {
            if group & 63 == 0, group > 0 { rotation.reset(group: group) }
            let j = 4 * group
            g += unsafe load(base, j) * rotation.cosine + load(base, stride + j) * rotation.sine
            rotation.turn()
        }
        return Sums(g: g.sum())
    }

    private static func sumAll(
        _ base: UnsafeRawPointer, _ stride: Int, _ groups: Int, _ step: Double, _ k: Double
    ) -> Sums {
        var rotation = Rotation(angle: step * k)
        var x = SIMD4<Double>(0, step, 2 * step, 3 * step)
        var (g, slope, density) = (SIMD4<Double>.zero, SIMD4<Double>.zero, SIMD4<Double>.zero)
        var (g0, g1, g2) = (SIMD4<Double>.zero, SIMD4<Double>.zero, SIMD4<Double>.zero)
        var (g3, g4) = (SIMD4<Double>.zero, SIMD4<Double>.zero)
        for group in 0..<groups {
            if group & 63 == 0, group > 0 { rotation.reset(group: group) }
            let j = 4 * group
            let (c, s) = (rotation.cosine, rotation.sine)
            let (re, im) = unsafe (load(base, j), load(base, stride + j))
            let value = re * c + im * s
            g += value
            // d/dk of Re[e^(−ixk)φ] is x·Re[−i e^(−ixk)φ].
            slope += x * (im * c - re * s)
            density += (x * x + 0.25) * value
            g0 += unsafe load(base, 2 * stride + j) * c + load(base, 3 * stride + j) * s
            g1 += unsafe load(base, 4 * stride + j) * c + load(base, 5 * stride + j) * s
            g2 += unsafe load(base, 6 * stride + j) * c + load(base, 7 * stride + j) * s
            g3 += unsafe load(base, 8 * stride + j) * c + load(base, 9 * stride + j) * s
            g4 += unsafe load(base, 10 * stride + j) * c + load(base, 11 * stride + j) * s
            x += 4 * step
            rotation.turn()
        }
        return Sums(
            g: g.sum(), slope: slope.sum(), density: density.sum(),
            gradient: (g0.sum(), g1.sum(), g2.sum(), g3.sum(), g4.sum()))
    }

    private static func assemble(_ sums: Sums, k: Double, step: Double) -> NormalisedValue {
        // The aliases of e^(−|y|/2): Σ_{n≠0} e^(−|k + nL|/2) = 2cosh(k/2)/(e^(L/2) − 1), and its derivative.
        let period = 2 * .pi / step
        let tail = 1 / expm1(0.5 * period)
        let g = sums.g - 2 * cosh(0.5 * k) * tail
        let slope = sums.slope - sinh(0.5 * k) * tail
        let scale = exp(0.5 * k)
        let outOfTheMoney = scale * (exp(-0.5 * abs(k)) - g)
        let d = sums.gradient
        return NormalisedValue(
            outOfTheMoney: max(0, outOfTheMoney),
            gradient: (-scale * d.0, -scale * d.1, -scale * d.2, -scale * d.3, -scale * d.4),
            deltaMinusOne: scale * (slope - 0.5 * g), spotGamma: max(0, scale * sums.density))
    }
}
extension SIMD4<Double> {
    /// Pairwise, so that lanes keep their symmetry.
    @inline(__always)
    fileprivate func sum() -> Double { (self[0] + self[2]) + (self[1] + self[3]) }
}
