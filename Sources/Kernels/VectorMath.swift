public import CSIMD

// Elementary functions on four lanes at once: what the C library's do for one, at a sixth of the cost a number.
//
// Errors are those of the lanes' own arithmetic: 1 to 2 units in the last place (Tests/KernelsTests measures each
// against the C library). The coefficients are interpolations at Chebyshev points in 60 digits, with errors below
// 5e-17 (Tests/HestonTests/Golden/make-coefficients.py); they multiply what the classic reductions leave. Nothing here
// branches, so that lanes do not wait for each other. Inlined everywhere: a vector never crosses a call, whose
// convention depends on the machine's registers.

public typealias Vector = SIMD4<Double>

extension SIMD4<Double> {
    /// `self` + a·b, rounded once.
    @inlinable @inline(always)
    public func plus(_ a: Self, times b: Self) -> Self { self.addingProduct(a, b) }

    /// With 0's sign turned as well.
    @inlinable @inline(always)
    public static prefix func - (x: Self) -> Self { vomma_negate4(x) }

    /// Pairwise, so that lanes keep their symmetry.
    @inlinable @inline(always)
    public func total() -> Double { (self[0] + self[2]) + (self[1] + self[3]) }

    @inlinable @inline(always)
    public var magnitudes: Self { unsafe unsafeBitCast(bits & Int64.max, to: Self.self) }

    @inlinable @inline(always)
    public var bits: SIMD4<Int64> { unsafe unsafeBitCast(self, to: SIMD4<Int64>.self) }

    @inlinable @inline(always)
    public init(bits: SIMD4<Int64>) { self = unsafe unsafeBitCast(bits, to: Self.self) }

    /// The polynomial with these coefficients, constant first.
    @inlinable @inline(always)
    public static func polynomial(
        _ x: Self, _ c0: Double, _ c1: Double, _ c2: Double, _ c3: Double, _ c4: Double, _ c5: Double
    ) -> Self {
        // Estrin's order: three short chains in place of a long one.
        let x2 = x * x
        let low = Self(repeating: c0).plus(x, times: .init(repeating: c1))
        let middle = Self(repeating: c2).plus(x, times: .init(repeating: c3))
        let high = Self(repeating: c4).plus(x, times: .init(repeating: c5))
        return low.plus(x2, times: middle.plus(x2, times: high))
    }
}

extension SIMDMask<SIMD4<Int64>> {
    @inlinable @inline(always)
    public var isAnySet: Bool { unsafe vomma_any4(unsafeBitCast(self, to: SIMD4<Int64>.self)) != 0 }

    @inlinable @inline(always)
    public var isAllSet: Bool { !(.!self).isAnySet }
}

/// Functions of four lanes. Names as in the C library.
public enum VectorMath {
    @inlinable @inline(always)
    public static func select(_ mask: SIMDMask<SIMD4<Int64>>, _ a: Vector, else b: Vector) -> Vector {
        b.replacing(with: a, where: mask)
    }

    /// b where either is no number.
    @inlinable @inline(always)
    public static func smaller(_ a: Vector, _ b: Vector) -> Vector { select(a .< b, a, else: b) }

    /// b where either is no number.
    @inlinable @inline(always)
    public static func larger(_ a: Vector, _ b: Vector) -> Vector { select(a .> b, a, else: b) }

    @inlinable @inline(always)
    public static func sqrt(_ x: Vector) -> Vector { vomma_sqrt4(x) }

    /// 1.5·2⁵²: added to a small number it leaves the nearest integer in the low bits.
    @usableFromInline static var roundingShift: Double { 6_755_399_441_055_744 }

    /// e^x. Below −708, where e^x is no longer a normal number, 0; above 709 as at 709.
    @inlinable @inline(always)
    public static func exp(_ x: Vector) -> Vector {
        let bounded = select(x .> Vector(repeating: 709), .init(repeating: 709), else: x)
        let shift = Vector(repeating: roundingShift)
        let shifted = shift.plus(bounded, times: .init(repeating: 1.4426950408889634))
        let n = shifted - shift
        var r = bounded.plus(n, times: .init(repeating: -0.6931471805599453))
        r = r.plus(n, times: .init(repeating: -2.3190468138462996e-17))
        let r2 = r * r
        let low = Vector.polynomial(
            r, 0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326141, 0.0013888888888883752,
            0.00019841269874800493)
        let x2 = Vector(repeating: 2.4801587325533363e-05).plus(r, times: .init(repeating: 2.7557255425746435e-06))
        let x3 = Vector(repeating: 2.7557273661348637e-07).plus(r, times: .init(repeating: 2.510520637395701e-08))
        let high = x2.plus(r2, times: x3.plus(r2, times: .init(repeating: 2.0914679376583935e-09)))
        let polynomial = low.plus(r2 * r2 * r2, times: high)
        let value = 1 + r.plus(r2, times: polynomial)
        let scaled = Vector(bits: value.bits &+ (shifted.bits &<< 52))
        return select(x .< Vector(repeating: -708), .zero, else: scaled)
    }

    /// sin x and cos x for |x| up to 1e6; beyond, the reduction loses digits one by one.
    @inlinable @inline(always)
    public static func sincos(_ x: Vector) -> (sine: Vector, cosine: Vector) {
        let shift = Vector(repeating: roundingShift)
        let shifted = shift.plus(x, times: .init(repeating: 0.6366197723675814))
        let n = shifted - shift
        let quadrant = shifted.bits
        var r = x.plus(n, times: .init(repeating: -1.5707963267948966))
        r = r.plus(n, times: .init(repeating: -6.123233995736766e-17))
        let z = r * r
        let sinePolynomial = Vector.polynomial(
            z, -0.16666666666666666, 0.008333333333330948, -0.00019841269836758574, 2.755731610255244e-06,
            -2.5051131845003624e-08, 1.5918129294866608e-10)
        let cosinePolynomial = Vector.polynomial(
            z, 0.041666666666666664, -0.0013888888888887398, 2.480158729876569e-05, -2.7557317271729793e-07,
            2.08761462684032e-09, -1.1382632425521717e-11)
        let sine = r.plus(r * z, times: sinePolynomial)
        let cosine = Vector(repeating: 1).plus(z, times: .init(repeating: -0.5)).plus(z * z, times: cosinePolynomial)
        let isOdd = (quadrant & 1) .!= SIMD4<Int64>.zero
        let sineSign = (quadrant & 2) &<< 62
        let cosineSign = ((quadrant &+ 1) & 2) &<< 62
        return (
            Vector(bits: select(isOdd, cosine, else: sine).bits ^ sineSign),
            Vector(bits: select(isOdd, sine, else: cosine).bits ^ cosineSign)
        )
    }

    /// ln(1 + u) where `isSmall` (|u| ≤ 1.5), to full relative accuracy as u → 0; elsewhere ln x. For arguments that
    /// are positive normal numbers.
    @inlinable @inline(always)
    public static func log(onePlus u: Vector, where isSmall: SIMDMask<SIMD4<Int64>>, else x: Vector) -> Vector {
        let reduced = LogarithmReduction(onePlus: u, where: isSmall, else: x)
        return reduced.logarithm(reduced.numerator / reduced.denominator)
    }

    /// ln x of positive normal numbers.
    @inlinable @inline(always)
    public static func log(_ x: Vector) -> Vector {
        log(onePlus: .zero, where: SIMDMask<SIMD4<Int64>>(repeating: false), else: x)
    }

    /// The angle of the point (x, y), in [−π, π].
    @inlinable @inline(always)
    public static func atan2(_ y: Vector, _ x: Vector) -> Vector {
        let reduced = AngleReduction(y, x)
        return reduced.angle(reduced.numerator / reduced.denominator)
    }
}

/// A logarithm before its one division, which the caller makes, perhaps together with others.
@frozen @usableFromInline
struct LogarithmReduction {
    @usableFromInline let exponent: Vector
    @usableFromInline let numerator: Vector
    @usableFromInline let denominator: Vector

    @inlinable @inline(always)
    init(onePlus u: Vector, where isSmall: SIMDMask<SIMD4<Int64>>, else x: Vector) {
        let one = Vector(repeating: 1)
        let sum = one + u
        let argument = VectorMath.select(isSmall, sum, else: x)
        // What rounding took from 1 + u.
        let lost = VectorMath.select(isSmall, u - (sum - one), else: .zero)
        // argument = m·2ⁿ with m in [√½, √2). Before AVX-512 there is no arithmetic shift of 64 bits and no conversion:
        // n's sign is extended by hand, and n is a number once it stands in the low bits of 1.5·2⁵².
        let rootHalf = Int64(0x3FE6_A09E_667F_3BCD)
        let offset = argument.bits &- rootHalf
        let field = unsafe unsafeBitCast(
            unsafeBitCast(offset, to: SIMD4<UInt64>.self) &>> 52, to: SIMD4<Int64>.self)
        let shift = Vector(repeating: VectorMath.roundingShift)
        exponent = Vector(bits: ((field ^ 0x800) &- 0x800) &+ shift.bits) - shift
        let m = Vector(bits: (offset & 0x000F_FFFF_FFFF_FFFF) &+ rootHalf)
        numerator = (m - one) + lost
        denominator = 2 + numerator
    }

    /// `s` is the quotient.
    @inlinable @inline(always)
    func logarithm(_ s: Vector) -> Vector { Self.logarithm(s, exponent) }

    @inlinable @inline(always)
    static func logarithm(_ s: Vector, _ exponent: Vector) -> Vector {
        let z = s * s
        let low = Vector.polynomial(
            z, 0.3333333333333333, 0.2000000000000044, 0.14285714285401807, 0.11111111195856958, 0.09090897820066453,
            0.07693119851407329)
        let high = Vector(repeating: 0.06634386569328443).plus(z, times: .init(repeating: 0.06543313073920051))
        let cube = z * z * z
        let polynomial = low.plus(cube * cube, times: high)
        // ln m = 2·artanh s. The high part of ln 2 ends in zeros: n times it is exact.
        let double = s + s
        let rest = double.plus(double * z, times: polynomial)
            .plus(exponent, times: .init(repeating: 5.497923018708371e-14))
        return rest.plus(exponent, times: .init(repeating: 0.6931471805598903))
    }
}

/// An angle before its one division.
@frozen @usableFromInline
struct AngleReduction {
    @usableFromInline let numerator: Vector
    @usableFromInline let denominator: Vector
    @usableFromInline let offset: Vector
    @usableFromInline let x: Vector
    @usableFromInline let y: Vector

    @inlinable @inline(always)
    init(_ y: Vector, _ x: Vector) {
        self.x = x
        self.y = y
        let (a, b) = (y.magnitudes, x.magnitudes)
        // The angle in the first quadrant is offset + atan t with |t| ≤ tan(π/8).
        let isLow = a .<= 0.41421356237309503 * b
        let isHigh = a .> 2.414213562373095 * b
        numerator = VectorMath.select(isLow, a, else: VectorMath.select(isHigh, -b, else: a - b))
        let divisor = VectorMath.select(isLow, b, else: VectorMath.select(isHigh, a, else: a + b))
        // 0/0 at the origin: an angle of 0.
        denominator = VectorMath.select(divisor .> .zero, divisor, else: .init(repeating: 1))
        offset = VectorMath.select(
            isLow, .zero, else: VectorMath.select(isHigh, .init(repeating: .pi / 2), else: .init(repeating: .pi / 4)))
    }

    /// `t` is the quotient.
    @inlinable @inline(always)
    func angle(_ t: Vector) -> Vector { Self.angle(t, offset, x, y) }

    @inlinable @inline(always)
    static func angle(_ t: Vector, _ offset: Vector, _ x: Vector, _ y: Vector) -> Vector {
        let z = t * t
        let low = Vector.polynomial(
            z, -0.3333333333333333, 0.1999999999999552, -0.14285714284666542, 0.11111111015256361,
            -0.09090904578123903, 0.07692183190826087)
        let z2 = z * z
        let h0 = Vector(repeating: -0.06664511447381948).plus(z, times: .init(repeating: 0.0585814891280221))
        let h1 = Vector(repeating: -0.0508544973794026).plus(z, times: .init(repeating: 0.03923165829558719))
        let high = h0.plus(z2, times: h1.plus(z2, times: .init(repeating: -0.01917688711906226)))
        let polynomial = low.plus(z2 * z2 * z2, times: high)
        let first = offset + t.plus(t * z, times: polynomial)
        let upper = VectorMath.select(x .< .zero, Vector(repeating: .pi) - first, else: first)
        return Vector(bits: upper.bits ^ (y.bits & Int64.min))
    }
}

/// Four complex numbers.
@frozen
public struct ComplexVector: Sendable {
    public var real: Vector
    public var imaginary: Vector

    @inlinable @inline(always)
    public init(_ real: Vector, _ imaginary: Vector) {
        self.real = real
        self.imaginary = imaginary
    }

    @inlinable @inline(always)
    public var absoluteSquare: Vector { (real * real).plus(imaginary, times: imaginary) }

    @inlinable @inline(always)
    public static prefix func - (a: Self) -> Self { .init(-a.real, -a.imaginary) }
    @inlinable @inline(always)
    public static func + (a: Self, b: Self) -> Self { .init(a.real + b.real, a.imaginary + b.imaginary) }
    @inlinable @inline(always)
    public static func - (a: Self, b: Self) -> Self { .init(a.real - b.real, a.imaginary - b.imaginary) }
    @inlinable @inline(always)
    public static func * (a: Self, b: Self) -> Self {
        .init(
            (a.real * b.real).plus(-a.imaginary, times: b.imaginary),
            (a.real * b.imaginary).plus(a.imaginary, times: b.real))
    }
    @inlinable @inline(always)
    public static func * (a: Double, b: Self) -> Self { .init(a * b.real, a * b.imaginary) }
    @inlinable @inline(always)
    public static func + (a: Double, b: Self) -> Self { .init(a + b.real, b.imaginary) }
    @inlinable @inline(always)
    public static func - (a: Double, b: Self) -> Self { .init(a - b.real, -b.imaginary) }

    @inlinable @inline(always)
    public static func select(_ mask: SIMDMask<SIMD4<Int64>>, _ a: Self, else b: Self) -> Self {
        .init(
            VectorMath.select(mask, a.real, else: b.real), VectorMath.select(mask, a.imaginary, else: b.imaginary))
    }

    @inlinable @inline(always)
    public static func exp(_ z: Self) -> Self {
        let modulus = VectorMath.exp(z.real)
        let (sine, cosine) = VectorMath.sincos(z.imaginary)
        return .init(modulus * cosine, modulus * sine)
    }

    /// ln(1 + z) and 1/(1 + z), given `sum` = 1 + z. Full relative accuracy as z → 0.
    @inlinable @inline(always)
    public static func logarithmAndReciprocal(onePlus z: Self, _ sum: Self) -> (logarithm: Self, reciprocal: Self) {
        let reduced = ReducedLogarithm(onePlus: z, sum)
        return (reduced.logarithm(sum), reduced.reciprocal)
    }

    /// √z with a non-negative real part, and |z|; nothing cancels on either side of the cut. 0 gives 0.
    @inlinable @inline(always)
    public static func sqrt(_ z: Self) -> (root: Self, modulus: Vector) {
        let modulus = VectorMath.sqrt(z.absoluteSquare)
        // The larger part from a sum, the smaller from the larger.
        let large = VectorMath.sqrt(0.5 * (modulus + z.real.magnitudes))
        let small = 0.5 * z.imaginary.magnitudes / VectorMath.select(large .> .zero, large, else: .init(repeating: 1))
        let isRight = z.real .>= .zero
        let real = VectorMath.select(isRight, large, else: small)
        let imaginary = VectorMath.select(isRight, small, else: large)
        return (.init(real, Vector(bits: imaginary.bits ^ (z.imaginary.bits & Int64.min))), modulus)
    }
}

/// ln(1 + z) half done: what is left are two polynomials, which another loop can take.
@frozen
public struct ReducedLogarithm: Sendable {
    /// Of the modulus: its exponent and the polynomial's argument.
    public var modulus: ComplexVector
    /// Of the angle: what it starts from and the polynomial's argument.
    public var angle: ComplexVector
    /// 1/(1 + z).
    public var reciprocal: ComplexVector

    /// From z and `sum` = 1 + z.
    @inlinable @inline(always)
    public init(onePlus z: ComplexVector, _ sum: ComplexVector) {
        let square = z.absoluteSquare
        let sumSquare = sum.absoluteSquare
        let modulus = LogarithmReduction(
            onePlus: (2 * z.real) + square, where: square .< Vector(repeating: 0.25), else: sumSquare)
        let angle = AngleReduction(sum.imaginary, sum.real)
        // Three quotients from one division.
        let (a, b) = (modulus.denominator, angle.denominator)
        let ab = a * b
        let inverse = 1 / (ab * sumSquare)
        let inverseAB = inverse * sumSquare
        let scale = inverse * ab
        self.modulus = .init(modulus.exponent, modulus.numerator * (inverseAB * b))
        self.angle = .init(angle.offset, angle.numerator * (inverseAB * a))
        reciprocal = .init(sum.real * scale, -sum.imaginary * scale)
    }

    /// `sum` is 1 + z again.
    @inlinable @inline(always)
    public func logarithm(_ sum: ComplexVector) -> ComplexVector {
        Self.logarithm(modulus: modulus, angle: angle, sum)
    }

    @inlinable @inline(always)
    public static func logarithm(modulus: ComplexVector, angle: ComplexVector, _ sum: ComplexVector) -> ComplexVector {
        .init(
            0.5 * LogarithmReduction.logarithm(modulus.imaginary, modulus.real),
            AngleReduction.angle(angle.imaginary, angle.real, sum.real, sum.imaginary))
    }
}
