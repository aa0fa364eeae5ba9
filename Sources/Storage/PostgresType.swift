public import MarketData

/// A PostgreSQL type by its object identifier; the fixed ones of `pg_type.dat`.
public struct PostgresType: Sendable, Hashable {
    public let oid: UInt32
    @inlinable
    public init(oid: UInt32) { self.oid = oid }

    @inlinable public static var bool: PostgresType { PostgresType(oid: 16) }
    @inlinable public static var bytea: PostgresType { PostgresType(oid: 17) }
    @inlinable public static var name: PostgresType { PostgresType(oid: 19) }
    @inlinable public static var int8: PostgresType { PostgresType(oid: 20) }
    @inlinable public static var int2: PostgresType { PostgresType(oid: 21) }
    @inlinable public static var int4: PostgresType { PostgresType(oid: 23) }
    @inlinable public static var text: PostgresType { PostgresType(oid: 25) }
    @inlinable public static var json: PostgresType { PostgresType(oid: 114) }
    @inlinable public static var float4: PostgresType { PostgresType(oid: 700) }
    @inlinable public static var float8: PostgresType { PostgresType(oid: 701) }
    @inlinable public static var bpchar: PostgresType { PostgresType(oid: 1042) }
    @inlinable public static var varchar: PostgresType { PostgresType(oid: 1043) }
    @inlinable public static var timestamptz: PostgresType { PostgresType(oid: 1184) }
    @inlinable public static var numeric: PostgresType { PostgresType(oid: 1700) }
    @inlinable public static var jsonb: PostgresType { PostgresType(oid: 3802) }

    @inlinable public static var boolArray: PostgresType { PostgresType(oid: 1000) }
    @inlinable public static var byteaArray: PostgresType { PostgresType(oid: 1001) }
    @inlinable public static var int2Array: PostgresType { PostgresType(oid: 1005) }
    @inlinable public static var int4Array: PostgresType { PostgresType(oid: 1007) }
    @inlinable public static var textArray: PostgresType { PostgresType(oid: 1009) }
    @inlinable public static var int8Array: PostgresType { PostgresType(oid: 1016) }
    @inlinable public static var float4Array: PostgresType { PostgresType(oid: 1021) }
    @inlinable public static var float8Array: PostgresType { PostgresType(oid: 1022) }
    @inlinable public static var timestamptzArray: PostgresType { PostgresType(oid: 1185) }
    @inlinable public static var numericArray: PostgresType { PostgresType(oid: 1231) }
    @inlinable public static var jsonbArray: PostgresType { PostgresType(oid: 3807) }
}

/// A value that can be a parameter or a cell of a COPY, in PostgreSQL's binary format.
public protocol PostgresEncodable: Sendable {
    static var postgresType: PostgresType { get }
    var isNull: Bool { get }
    /// Appends the value's bytes, without a length.
    func write(to writer: inout BinaryWriter)
}

extension PostgresEncodable {
    @inlinable public var isNull: Bool { false }
}

/// A value that can be read from a column.
public protocol PostgresDecodable: Sendable {
    /// Whether a column of this type can be read as this Swift type without loss.
    static func canDecode(_ type: PostgresType) -> Bool
    /// What SQL NULL reads as; `nil` where NULL is an error.
    static var valueOfNull: Self? { get }
    /// `nil` for bytes that are not a value of `type`.
    init?(binary: RawSpan, type: PostgresType)
}

extension PostgresDecodable {
    public static var valueOfNull: Self? { nil }
}

/// A value that arrays can be made of. `UInt8` is one whose "array" is a bytea.
public protocol PostgresElement: Sendable {
    static var arrayType: PostgresType { get }
    static func writeArray(_ values: [Self], to writer: inout BinaryWriter)
    static func canDecodeArray(_ type: PostgresType) -> Bool
    static func readArray(_ binary: RawSpan, type: PostgresType) -> [Self]?
}

/// A JSON document, stored as jsonb. The text must be JSON: the server refuses anything else.
public struct JSON: Sendable, Hashable, ExpressibleByStringLiteral {
    public var text: String
    public init(_ text: String) { self.text = text }
    public init(stringLiteral text: String) { self.text = text }
}

/// An exact decimal number: coefficient · 10^−scale. For prices, quantities and money in `numeric` columns.
///
/// Equality is of values: 1.50 equals 1.5. At most 38 digits; NaN and infinities of the server do not decode.
public struct DecimalNumber: Sendable, Hashable, CustomStringConvertible, LosslessStringConvertible {
    /// Without trailing zeros behind the point, so that equal numbers have equal fields.
    public private(set) var coefficient: Int128
    /// Digits behind the point, 0 … 38.
    public private(set) var scale: Int

    /// `scale` traps outside 0 … 38.
    public init(_ coefficient: Int128, scale: Int = 0) {
        precondition((0...38).contains(scale), "a decimal has 0 to 38 digits behind the point")
        self.coefficient = coefficient
        self.scale = scale
        while self.scale > 0, self.coefficient % 10 == 0 {
            self.coefficient /= 10
            self.scale -= 1
        }
    }

    /// Reads `-12.50`; `nil` for anything else (exponents too) and above 38 digits.
    public init?(_ text: String) {
        var digits = Substring(text)
        let isNegative = digits.first == "-"
        if isNegative { digits = digits.dropFirst() }
        var coefficient: Int128 = 0
        var scale = 0
        var count = 0
        var hasPoint = false
        for byte in digits.utf8 {
            if byte == 0x2E, !hasPoint, count > 0 {
                hasPoint = true
                continue
            }
            guard byte >= 0x30, byte <= 0x39, count < 38 else { return nil }
            coefficient = coefficient * 10 + Int128(byte - 0x30)
            count += 1
            if hasPoint { scale += 1 }
        }
        guard count > 0, !hasPoint || scale > 0 else { return nil }
        self.init(isNegative ? -coefficient : coefficient, scale: scale)
    }

    /// The nearest double.
    public var double: Double { Double(description) ?? .nan }

    public var description: String {
        let digits = String(coefficient.magnitude)
        let sign = coefficient < 0 ? "-" : ""
        guard scale > 0 else { return sign + digits }
        let padded = String(repeating: "0", count: max(0, scale + 1 - digits.count)) + digits
        return sign + padded.dropLast(scale) + "." + padded.suffix(scale)
    }
}

extension Timestamp {
    /// PostgreSQL counts microseconds from 2000-01-01; `Timestamp` from 1970-01-01.
    @inlinable static var postgresEpoch: Int64 { 946_684_800_000_000 }
}
