/// A decimal number with eight places in an `Int64`: what goes to an exchange and into the ledger.
///
/// Three types, so that they cannot be mixed: `Price` (quote per base), `Quantity` (base) and `Amount` (quote).
/// Range ±92,233,720,368. Sums are exact; `+` and `-` trap on overflow, like integers. Statistics use `Double`.
public protocol FixedPoint: Sendable, Hashable, Comparable, LosslessStringConvertible {
    /// The value in units of 1e-8.
    var units: Int64 { get }
    init(units: Int64)
}

/// Quote currency for one unit of the base currency, in 1e-8.
public struct Price: FixedPoint {
    public let units: Int64
    @inlinable public init(units: Int64) { self.units = units }
}

/// An amount of the base currency, in 1e-8. Signed where it is a position: negative is short.
public struct Quantity: FixedPoint {
    public let units: Int64
    @inlinable public init(units: Int64) { self.units = units }
}

/// An amount of the quote currency (cash, notional, fee, profit), in 1e-8.
public struct Amount: FixedPoint {
    public let units: Int64
    @inlinable public init(units: Int64) { self.units = units }
}

extension FixedPoint {
    @inlinable public static var zero: Self { Self(units: 0) }
    @inlinable public static func < (a: Self, b: Self) -> Bool { a.units < b.units }
    @inlinable public static func + (a: Self, b: Self) -> Self { Self(units: a.units + b.units) }
    @inlinable public static func - (a: Self, b: Self) -> Self { Self(units: a.units - b.units) }
    @inlinable public static prefix func - (a: Self) -> Self { Self(units: -a.units) }
    @inlinable public static func += (a: inout Self, b: Self) { a = a + b }
    @inlinable public static func -= (a: inout Self, b: Self) { a = a - b }

    /// The nearest `Double`.
    @inlinable public var double: Double { Double(units) / 1e8 }
    @inlinable public var magnitude: Self { Self(units: abs(units)) }

    /// The nearest multiple of 1e-8; `nil` for NaN, infinities and what is out of range.
    @inlinable public init?(_ value: Double) {
        let scaled = (value * 1e8).rounded(.toNearestOrAwayFromZero)
        guard abs(scaled) < 0x1p63 else { return nil }
        self.init(units: Int64(scaled))
    }

    /// Plain decimal, without exponent and without trailing zeros: what exchanges accept.
    public var description: String {
        let magnitude = units.magnitude
        let fraction = String(magnitude % 100_000_000)
        var text = (units < 0 ? "-" : "") + String(magnitude / 100_000_000)
        guard fraction != "0" else { return text }
        text += "." + String(repeating: "0", count: 8 - fraction.count) + fraction
        while text.last == "0" { text.removeLast() }
        return text
    }

    /// Reads `12`, `-0.5`, `0.00010000`; `nil` for anything else, more than eight places that are not 0 included.
    public init?(_ text: String) {
        var digits = text.utf8[...]
        let isNegative = digits.first == UInt8(ascii: "-")
        if isNegative { digits = digits.dropFirst() }
        var value: Int64 = 0
        var places = -1
        var count = 0
        for byte in digits {
            if byte == UInt8(ascii: "."), places < 0, count > 0 {
                places = 0
                continue
            }
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            count += 1
            if places >= 8 {
                guard byte == 0x30 else { return nil }
                continue
            }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(Int64(byte - 0x30))
            guard !overflow, !carry else { return nil }
            value = sum
            if places >= 0 { places += 1 }
        }
        guard count > 0, places != 0 else { return nil }
        for _ in max(places, 0)..<8 {
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            guard !overflow else { return nil }
            value = product
        }
        self.init(units: isNegative ? -value : value)
    }
}

extension Price {
    /// The multiple of `tick` next to `value`, above it (`up`) or below, never less than one tick; `nil` out of range.
    /// A value within 1e-6 of a tick counts as on it, because 0.1 + 0.2 is not 0.3.
    @inlinable public static func rounding(_ value: Double, toTick tick: Price, up: Bool) -> Price? {
        let ratio = value / tick.double
        let ticks = up ? (ratio - 1e-6).rounded(.up) : (ratio + 1e-6).rounded(.down)
        guard abs(ticks) * Double(tick.units) < 0x1p62 else { return nil }
        return Price(units: max(1, Int64(ticks)) * tick.units)
    }

    /// |price| × |quantity|, exact or rounded to the neighbouring 1e-8; `nil` when it does not fit.
    @inlinable public func notional(of quantity: Quantity, roundingUp: Bool) -> Amount? {
        let units = multiplyDivide(units.magnitude, quantity.units.magnitude, by: 100_000_000, up: roundingUp)
        return units.map(Amount.init(units:))
    }
}

extension Quantity {
    /// The greatest multiple of `lot` that is not above `value`, which must not be negative. Strict: 0.3 in lots of
    /// 0.1 may be 0.2, because rounding up could pass the margin. 0 for NaN; the result saturates at 2⁶² units.
    @inlinable public static func roundingDown(_ value: Double, toLot lot: Quantity) -> Quantity {
        let ratio = value / lot.double
        guard ratio >= 1 else { return .zero }
        guard ratio < 0x1p62 else { return Quantity(units: (1 << 62) / lot.units * lot.units) }
        // The conversion cuts: without a call to the C library's floor.
        let lots = Int64(ratio)
        guard Double(lots) * Double(lot.units) < 0x1p62 else {
            return Quantity(units: (1 << 62) / lot.units * lot.units)
        }
        return Quantity(units: lots * lot.units)
    }

    /// |self| cut to a multiple of `lot`.
    @inlinable public func magnitudeRoundedDown(toLot lot: Quantity) -> Quantity {
        let magnitude = abs(units)
        return magnitude < lot.units ? .zero : Quantity(units: magnitude / lot.units * lot.units)
    }
}

extension Amount {
    /// `self` × rate, rounded up: fees are charged, never forgiven. `rateUnits` is the rate in 1e-8.
    @inlinable public func fee(rateUnits: Int64) -> Amount? {
        guard rateUnits > 0 else { return .zero }
        return multiplyDivide(units.magnitude, UInt64(rateUnits), by: 100_000_000, up: true).map(Amount.init(units:))
    }
}

/// a·b/c in 128 bits, cut or rounded up; `nil` when the quotient does not fit an `Int64`.
@inlinable
func multiplyDivide(_ a: UInt64, _ b: UInt64, by c: UInt64, up: Bool) -> Int64? {
    let product = a.multipliedFullWidth(by: b)
    guard product.high < c else { return nil }
    let (quotient, remainder) = c.dividingFullWidth(product)
    guard quotient < UInt64(Int64.max) else { return nil }
    return Int64(quotient) + (up && remainder > 0 ? 1 : 0)
}
