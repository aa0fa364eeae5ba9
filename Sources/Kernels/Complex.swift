public import Glibc

/// A complex number in double precision, with the operations that characteristic functions need.
///
/// Principal branches throughout: `sqrt` has a non-negative real part, `log` an imaginary part in (−π, π]. Division is
/// the plain formula: it overflows where |divisor|² does, which no caller here comes near.
@frozen
public struct Complex: Sendable, Equatable {
    public var real: Double
    public var imaginary: Double

    @inlinable @inline(__always)
    public init(_ real: Double, _ imaginary: Double = 0) {
        self.real = real
        self.imaginary = imaginary
    }

    /// The imaginary unit.
    @inlinable public static var i: Complex { .init(0, 1) }
    @inlinable public static var zero: Complex { .init(0, 0) }

    @inlinable public var absoluteSquare: Double { real * real + imaginary * imaginary }
    @inlinable public var magnitude: Double { hypot(real, imaginary) }
    @inlinable public var isFinite: Bool { real.isFinite && imaginary.isFinite }
}

extension Complex {
    @inlinable @inline(__always)
    public static prefix func - (a: Complex) -> Complex { .init(-a.real, -a.imaginary) }
    @inlinable @inline(__always)
    public static func + (a: Complex, b: Complex) -> Complex { .init(a.real + b.real, a.imaginary + b.imaginary) }
    @inlinable @inline(__always)
    public static func - (a: Complex, b: Complex) -> Complex { .init(a.real - b.real, a.imaginary - b.imaginary) }
    @inlinable @inline(__always)
    public static func * (a: Complex, b: Complex) -> Complex {
        .init(a.real * b.real - a.imaginary * b.imaginary, a.real * b.imaginary + a.imaginary * b.real)
    }
    @inlinable @inline(__always)
    public static func / (a: Complex, b: Complex) -> Complex {
        let scale = 1 / b.absoluteSquare
        return .init(
            (a.real * b.real + a.imaginary * b.imaginary) * scale,
            (a.imaginary * b.real - a.real * b.imaginary) * scale)
    }
    @inlinable @inline(__always)
    public static func + (a: Double, b: Complex) -> Complex { .init(a + b.real, b.imaginary) }
    @inlinable @inline(__always)
    public static func - (a: Double, b: Complex) -> Complex { .init(a - b.real, -b.imaginary) }
    @inlinable @inline(__always)
    public static func * (a: Double, b: Complex) -> Complex { .init(a * b.real, a * b.imaginary) }
    @inlinable @inline(__always)
    public static func / (a: Complex, b: Double) -> Complex { .init(a.real / b, a.imaginary / b) }
}

extension Complex {
    /// √z with a non-negative real part; nothing cancels on either side of the cut.
    @inlinable @inline(__always)
    public static func sqrt(_ z: Complex) -> Complex {
        let modulus = z.absoluteSquare.squareRoot()
        guard modulus > 0 else { return .zero }
        if z.real >= 0 {
            let real = (0.5 * (modulus + z.real)).squareRoot()
            return .init(real, 0.5 * z.imaginary / real)
        }
        let imaginary = (0.5 * (modulus - z.real)).squareRoot()
        let real = 0.5 * abs(z.imaginary) / imaginary
        return .init(real, z.imaginary < 0 ? -imaginary : imaginary)
    }

    @inlinable @inline(__always)
    public static func exp(_ z: Complex) -> Complex {
        let modulus = Glibc.exp(z.real)
        return .init(modulus * cos(z.imaginary), modulus * sin(z.imaginary))
    }

    @inlinable @inline(__always)
    public static func log(_ z: Complex) -> Complex {
        .init(0.5 * Glibc.log(z.absoluteSquare), atan2(z.imaginary, z.real))
    }

    /// ln(1 + z), to full relative accuracy for small z.
    @inlinable @inline(__always)
    public static func log(onePlus z: Complex) -> Complex {
        .init(0.5 * log1p(2 * z.real + z.absoluteSquare), atan2(z.imaginary, 1 + z.real))
    }
}
