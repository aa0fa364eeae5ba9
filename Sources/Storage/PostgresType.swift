internal import MarketData

/// A PostgreSQL type by its object identifier; the fixed ones of `pg_type.dat`.
public struct PostgresType: Sendable, Hashable {
    public let oid: UInt32
    public init(oid: UInt32) { self.oid = oid }

    public static let bool = PostgresType(oid: 16)
    public static let bytea = PostgresType(oid: 17)
    public static let name = PostgresType(oid: 19)
    public static let int8 = PostgresType(oid: 20)
    public static let int2 = PostgresType(oid: 21)
    public static let int4 = PostgresType(oid: 23)
    public static let text = PostgresType(oid: 25)
    public static let json = PostgresType(oid: 114)
    public static let float4 = PostgresType(oid: 700)
    public static let float8 = PostgresType(oid: 701)
    public static let bpchar = PostgresType(oid: 1042)
    public static let varchar = PostgresType(oid: 1043)
    public static let timestamptz = PostgresType(oid: 1184)
    public static let numeric = PostgresType(oid: 1700)
    public static let jsonb = PostgresType(oid: 3802)

    public static let boolArray = PostgresType(oid: 1000)
    public static let byteaArray = PostgresType(oid: 1001)
    public static let int2Array = PostgresType(oid: 1005)
    public static let int4Array = PostgresType(oid: 1007)
    public static let textArray = PostgresType(oid: 1009)
    public static let int8Array = PostgresType(oid: 1016)
    public static let float4Array = PostgresType(oid: 1021)
    public static let float8Array = PostgresType(oid: 1022)
    public static let timestamptzArray = PostgresType(oid: 1185)
    public static let numericArray = PostgresType(oid: 1231)
    public static let jsonbArray = PostgresType(oid: 3807)
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
    static let postgresEpoch: Int64 = 946_684_800_000_000
}
