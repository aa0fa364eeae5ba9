import Glibc
import Kernels
import Testing

/// Against the C library, whose functions are right to less than a unit in the last place.
@Suite struct VectorMathTests {
    /// The largest error over random arguments, in units of the last place of the result, or of 1 where `absolute`.
    private func worst(
        _ range: ClosedRange<Double>, absolute: Bool = false, _ ours: (Vector) -> Vector, _ exact: (Double) -> Double
    ) -> Double {
        var random = RandomGenerator(seed: 3)
        var worst = 0.0
        for _ in 0..<20_000 {
            var x = Vector.zero
            for lane in 0..<4 { x[lane] = random.uniform(range.lowerBound, range.upperBound) }
            let y = ours(x)
            for lane in 0..<4 {
                let value = exact(x[lane])
                let error = abs(y[lane] - value) / (absolute ? 1.0.ulp : value.ulp)
                worst = error.isNaN ? .infinity : max(worst, error)
            }
        }
        return worst
    }

    private static let every = SIMDMask<SIMD4<Int64>>(repeating: true)

    @Test("exp", arguments: [-700.0...700, -1...1, -1e-9...1e-9])
    func exponential(range: ClosedRange<Double>) {
        #expect(worst(range, VectorMath.exp) { Glibc.exp($0) } <= 2)
    }

    @Test("exp at its edges: 0 where the result is no normal number")
    func exponentialEdges() {
        let y = VectorMath.exp(Vector(-709, -708, 0, 709))
        #expect(y[0] == 0 && y[1] > 0 && y[2] == 1 && y[3].isFinite)
        #expect(VectorMath.exp(Vector(repeating: -1e300)) == .zero)
    }

    @Test("sin and cos: relative around 0, absolute up to a million")
    func circular() {
        #expect(worst(-0.7...0.7, { VectorMath.sincos($0).sine }, { sin($0) }) <= 2)
        #expect(worst(-0.7...0.7, { VectorMath.sincos($0).cosine }, { cos($0) }) <= 2)
        #expect(worst(-1e6...1e6, absolute: true, { VectorMath.sincos($0).sine }, { sin($0) }) <= 2)
        #expect(worst(-1e6...1e6, absolute: true, { VectorMath.sincos($0).cosine }, { cos($0) }) <= 2)
    }

    @Test("log, and log of 1 + u near 0", arguments: [1e-3...10.0, 1e-300...1e-290, 1e290...1e300])
    func logarithm(range: ClosedRange<Double>) {
        #expect(worst(range, VectorMath.log) { Glibc.log($0) } <= 2)
        func onePlus(_ u: Vector) -> Vector { VectorMath.log(onePlus: u, where: Self.every, else: u) }
        #expect(worst(-0.7...1.4, onePlus) { log1p($0) } <= 4)
        #expect(worst(-1e-9...1e-9, onePlus) { log1p($0) } <= 2)
    }

    @Test("atan2 in each quadrant", arguments: [-5.0, -0.01, 0.01, 5])
    func angle(other: Double) {
        #expect(worst(-9...9, { VectorMath.atan2($0, .init(repeating: other)) }, { atan2($0, other) }) <= 3)
        #expect(worst(-9...9, { VectorMath.atan2(.init(repeating: other), $0) }, { atan2(other, $0) }) <= 3)
        #expect(VectorMath.atan2(.zero, .zero) == .zero)
    }

    @Test("complex root, exponential and logarithm against the scalar ones")
    func complex() {
        var random = RandomGenerator(seed: 4)
        for _ in 0..<2_000 {
            let z = Complex(random.uniform(-3, 3), random.uniform(-3, 3))
            let four = ComplexVector(.init(repeating: z.real), .init(repeating: z.imaginary))
            func close(_ a: ComplexVector, _ b: Complex, _ tolerance: Double) -> Bool {
                (Complex(a.real[2], a.imaginary[2]) - b).magnitude <= tolerance * max(1, b.magnitude)
            }
            let (root, modulus) = ComplexVector.sqrt(four)
            #expect(close(root, Complex.sqrt(z), 1e-15) && abs(modulus[1] - z.magnitude) < 1e-15 * 5)
            #expect(close(ComplexVector.exp(four), Complex.exp(z), 1e-15))
            let (logarithm, reciprocal) = ComplexVector.logarithmAndReciprocal(onePlus: four, 1 + four)
            #expect(close(logarithm, Complex.log(1 + z), 2e-15) && close(reciprocal, Complex(1) / (1 + z), 2e-15))
        }
    }
}
