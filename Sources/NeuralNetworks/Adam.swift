/// Adam (Kingma, Ba 2015, algorithm 1) with decoupled weight decay (AdamW: Loshchilov, Hutter 2019, algorithm 2).
///
/// As PyTorch's: ε is added to √v̂, and the decay is scaled by the learning rate.
public struct Adam: Sendable, Equatable {
    public struct Configuration: Sendable, Equatable {
        /// Decay rates of the first and second moment, in [0, 1).
        public var beta1: Float = 0.9
        public var beta2: Float = 0.999
        /// Added to the root of the second moment, > 0. 1e-5 is usual with PPO; Adam's paper has 1e-8.
        public var epsilon: Float = 1e-8
        /// The share of each parameter taken off a step, before the learning rate's factor; 0 is plain Adam.
        public var weightDecay: Float = 0
        public init() {}
    }

    public let configuration: Configuration
    /// Steps taken so far.
    public private(set) var stepCount: Int
    /// Moving averages of the gradient and of its square, one a parameter.
    public private(set) var firstMoment: [Float]
    public private(set) var secondMoment: [Float]

    public init(parameterCount: Int, configuration: Configuration = .init()) {
        self.configuration = configuration
        stepCount = 0
        firstMoment = [Float](repeating: 0, count: parameterCount)
        secondMoment = firstMoment
    }

    /// Continues from a checkpoint. Traps when the moments' counts differ.
    public init(configuration: Configuration, stepCount: Int, firstMoment: [Float], secondMoment: [Float]) {
        precondition(firstMoment.count == secondMoment.count && stepCount >= 0, "two moments a parameter")
        self.configuration = configuration
        self.stepCount = stepCount
        self.firstMoment = firstMoment
        self.secondMoment = secondMoment
    }

    /// One descent step of `parameters` along `gradients`, both of the count given at the start.
    public mutating func step(_ parameters: inout [Float], gradients: [Float], learningRate: Float) {
        precondition(parameters.count == firstMoment.count && gradients.count == firstMoment.count, "counts fit")
        stepCount += 1
        let correction1 = 1 - Float(powInteger(Double(configuration.beta1), stepCount))
        let correction2 = 1 - Float(powInteger(Double(configuration.beta2), stepCount))
        unsafe parameters.withUnsafeMutableBufferPointer { p in
            unsafe gradients.withUnsafeBufferPointer { g in
                unsafe firstMoment.withUnsafeMutableBufferPointer { m in
                    unsafe secondMoment.withUnsafeMutableBufferPointer { v in
                        guard let p = p.baseAddress, let g = g.baseAddress, let m = m.baseAddress,
                            let v = v.baseAddress
                        else { return }
                        unsafe adamStep(
                            p, g, m, v, count: gradients.count, beta1: configuration.beta1,
                            beta2: configuration.beta2, keep: 1 - learningRate * configuration.weightDecay,
                            scale: learningRate / correction1, rootCorrection: 1 / correction2.squareRoot(),
                            epsilon: configuration.epsilon)
                    }
                }
            }
        }
    }
}

/// The update's loop, vectorised by the compiler: no branch, no call, contiguous.
@unsafe
private func adamStep(
    _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>,
    _ v: UnsafeMutablePointer<Float>, count: Int, beta1: Float, beta2: Float, keep: Float, scale: Float,
    rootCorrection: Float, epsilon: Float
) {
    for i in 0..<count {
        let gradient = unsafe g[i]
        let first = unsafe beta1 * m[i] + (1 - beta1) * gradient
        let second = unsafe beta2 * v[i] + (1 - beta2) * gradient * gradient
        unsafe m[i] = first
        unsafe v[i] = second
        unsafe p[i] = p[i] * keep - scale * first / (squareRoot(second) * rootCorrection + epsilon)
    }
}

/// √x for x ≥ 0, to 3 units in the last place, as x·x^{−½} with x^{−½} by Newton's method from a guess in the exponent
/// (0x5f3759df: 3.4 % off; three steps square that to below rounding). `Float.squareRoot()` calls the C library for
/// errno's sake, which keeps the loop from being vectorised: five times slower. √0 = 0.
@inline(__always)
func squareRoot(_ x: Float) -> Float {
    var y = Float(bitPattern: 0x5f37_59df &- (x.bitPattern &>> 1))
    let half = 0.5 * x
    y *= 1.5 - half * y * y
    y *= 1.5 - half * y * y
    y *= 1.5 - half * y * y
    return x * y
}

/// x^n by squaring: exact in its order of products on every machine, which the C library's pow need not be.
private func powInteger(_ x: Double, _ n: Int) -> Double {
    var (result, base, exponent) = (1.0, x, n)
    while exponent > 0 {
        if exponent & 1 == 1 { result *= base }
        base *= base
        exponent >>= 1
    }
    return result
}

/// Scales `gradients` down to the Euclidean norm `limit` where theirs is larger (Pascanu et al. 2013, algorithm 1).
/// Returns the norm before, which is not finite when a gradient is not: then nothing is scaled.
@discardableResult
public func clipGlobalNorm(_ gradients: inout [Float], limit: Float) -> Float {
    unsafe gradients.withUnsafeMutableBufferPointer { g in
        guard let start = g.baseAddress else { return 0 }
        let norm = unsafe Float(sumOfSquares(start, count: g.count).squareRoot())
        if norm > limit, norm.isFinite {
            let factor = limit / norm
            for i in 0..<g.count { unsafe start[i] *= factor }
        }
        return norm
    }
}

/// Σx² in eight interleaved double-precision sums, combined in a fixed order.
@unsafe
private func sumOfSquares(_ x: UnsafePointer<Float>, count: Int) -> Double {
    var (a, b, c, d) = (SIMD2<Double>(), SIMD2<Double>(), SIMD2<Double>(), SIMD2<Double>())
    var i = 0
    while i + 8 <= count {
        let p = unsafe SIMD2(Double(x[i]), Double(x[i + 1]))
        let q = unsafe SIMD2(Double(x[i + 2]), Double(x[i + 3]))
        let r = unsafe SIMD2(Double(x[i + 4]), Double(x[i + 5]))
        let s = unsafe SIMD2(Double(x[i + 6]), Double(x[i + 7]))
        a += p * p
        b += q * q
        c += r * r
        d += s * s
        i += 8
    }
    var sum = ((a + b) + (c + d)).sum()
    while i < count {
        sum += unsafe Double(x[i]) * Double(x[i])
        i += 1
    }
    return sum
}
