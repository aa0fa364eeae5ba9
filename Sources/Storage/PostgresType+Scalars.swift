public import MarketData

/// Reads one big-endian integer that fills the whole cell.
private func whole<I: FixedWidthInteger & BitwiseCopyable>(_ binary: RawSpan, _ type: I.Type = I.self) -> I? {
    guard binary.byteCount == MemoryLayout<I>.size else { return nil }
    return unsafe I(bigEndian: binary.unsafeLoadUnaligned(as: I.self))
}

extension Bool: PostgresEncodable, PostgresDecodable {
    @inlinable
    public static var postgresType: PostgresType { .bool }
    @inlinable
    public func write(to writer: inout BinaryWriter) { writer.append(UInt8(self ? 1 : 0)) }
    public static func canDecode(_ type: PostgresType) -> Bool { type == .bool }
    public init?(binary: RawSpan, type: PostgresType) {
        guard let byte = whole(binary, UInt8.self) else { return nil }
        self = byte != 0
    }
}

extension Int16: PostgresEncodable, PostgresDecodable {
    @inlinable
    public static var postgresType: PostgresType { .int2 }
    @inlinable
    public func write(to writer: inout BinaryWriter) { writer.append(self) }
    public static func canDecode(_ type: PostgresType) -> Bool { type == .int2 }
    public init?(binary: RawSpan, type: PostgresType) {
        guard let value = whole(binary, Int16.self) else { return nil }
        self = value
    }
}

extension Int32: PostgresEncodable, PostgresDecodable {
    @inlinable
    public static var postgresType: PostgresType { .int4 }
    @inlinable
    public func write(to writer: inout BinaryWriter) { writer.append(self) }
    public static func canDecode(_ type: PostgresType) -> Bool { type == .int4 || type == .int2 }
    public init?(binary: RawSpan, type: PostgresType) {
        guard let value = Int64(binary: binary, type: type) else { return nil }
        self.init(exactly: value)
    }
}

extension Int64: PostgresEncodable, PostgresDecodable {
    @inlinable
    public static var postgresType: PostgresType { .int8 }
    @inlinable
    public func write(to writer: inout BinaryWriter) { writer.append(self) }
    public static func canDecode(_ type: PostgresType) -> Bool { type == .int8 || type == .int4 || type == .int2 }
    public init?(binary: RawSpan, type: PostgresType) {
        switch type {
        case .int8:
            guard let value = whole(binary, Int64.self) else { return nil }
            self = value
        case .int4:
            guard let value = whole(binary, Int32.self) else { return nil }
            self = Int64(value)
        case .int2:
            guard let value = whole(binary, Int16.self) else { return nil }
            self = Int64(value)
        default: return nil
        }
    }
}

extension Int: PostgresEncodable, PostgresDecodable {
    @inlinable
    public static var postgresType: PostgresType { .int8 }
    @inlinable
    public func write(to writer: inout BinaryWriter) { writer.append(Int64(self)) }
    public static func canDecode(_ type: PostgresType) -> Bool { Int64.canDecode(type) }
    public init?(binary: RawSpan, type: PostgresType) {
        guard let value = Int64(binary: binary, type: type) else { return nil }
        self = Int(value)
    }
}

extension Float: PostgresEncodable, PostgresDecodable {
    @inlinable
    public static var postgresType: PostgresType { .float4 }
    @inlinable
    public func write(to writer: inout BinaryWriter) { writer.append(bitPattern) }
    public static func canDecode(_ type: PostgresType) -> Bool { type == .float4 }
    public init?(binary: RawSpan, type: PostgresType) {
        guard let bits = whole(binary, UInt32.self) else { return nil }
        self.init(bitPattern: bits)
    }
}

extension Double: PostgresEncodable, PostgresDecodable {
    @inlinable
    public static var postgresType: PostgresType { .float8 }
    @inlinable
    public func write(to writer: inout BinaryWriter) { writer.append(bitPattern) }
    public static func canDecode(_ type: PostgresType) -> Bool { type == .float8 || type == .float4 }
    public init?(binary: RawSpan, type: PostgresType) {
        if type == .float4 {
            guard let value = Float(binary: binary, type: type) else { return nil }
            self = Double(value)
        } else {
            guard let bits = whole(binary, UInt64.self) else { return nil }
            self.init(bitPattern: bits)
        }
    }
}

extension String: PostgresEncodable, PostgresDecodable {
    @inlinable
    public static var postgresType: PostgresType { .text }
    @inlinable
    public func write(to writer: inout BinaryWriter) { writer.append(self) }
    public static func canDecode(_ type: PostgresType) -> Bool {
        [.text, .varchar, .bpchar, .name, .json].contains(type)
    }
    public init?(binary: RawSpan, type: PostgresType) {
        guard let text = unsafe binary.withUnsafeBytes({ unsafe String(validating: $0, as: UTF8.self) }) else {
            return nil
        }
        self = text
    }
}

extension JSON: PostgresEncodable, PostgresDecodable {
    public static var postgresType: PostgresType { .jsonb }
    /// jsonb's binary form is a version number, 1, and the text.
    public func write(to writer: inout BinaryWriter) {
        writer.append(UInt8(1))
        writer.append(text)
    }
    public static func canDecode(_ type: PostgresType) -> Bool { type == .jsonb || type == .json }
    public init?(binary: RawSpan, type: PostgresType) {
        let isVersioned = type == .jsonb
        if isVersioned {
            guard binary.byteCount > 0, unsafe binary.unsafeLoad(as: UInt8.self) == 1 else { return nil }
        }
        guard let text = String(binary: binary.extracting(droppingFirst: isVersioned ? 1 : 0), type: .text) else {
            return nil
        }
        self.init(text)
    }
}

extension Timestamp: PostgresEncodable, PostgresDecodable {
    @inlinable
    public static var postgresType: PostgresType { .timestamptz }
    @inlinable
    public func write(to writer: inout BinaryWriter) { writer.append(postgresMicroseconds) }
    public static func canDecode(_ type: PostgresType) -> Bool { type == .timestamptz }
    /// `infinity` and `-infinity` are no instants.
    public init?(binary: RawSpan, type: PostgresType) {
        guard let value = whole(binary, Int64.self), let timestamp = Timestamp(postgresMicroseconds: value) else {
            return nil
        }
        self = timestamp
    }

    /// Instants before PostgreSQL can count become its earliest representable number, which the server refuses.
    @usableFromInline
    var postgresMicroseconds: Int64 {
        let (difference, overflow) = microseconds.subtractingReportingOverflow(Self.postgresEpoch)
        return overflow ? .min + 1 : difference
    }

    init?(postgresMicroseconds value: Int64) {
        guard value != .max, value != .min else { return nil }
        let (sum, overflow) = value.addingReportingOverflow(Self.postgresEpoch)
        guard !overflow else { return nil }
        self.init(microseconds: sum)
    }
}

extension DecimalNumber: PostgresEncodable, PostgresDecodable {
    public static var postgresType: PostgresType { .numeric }

    /// Digits in base 10,000, the first worth 10000^weight; then sign and the digits to show behind the point.
    public func write(to writer: inout BinaryWriter) {
        // Padded so that the point falls between two base-10,000 digits.
        let padding = (4 - scale % 4) % 4
        var digits: [Int16] = []
        var rest = coefficient.magnitude
        if padding > 0, rest > 0 {
            // The lowest digit first, so that multiplying a 38-digit number can't overflow.
            let unit: UInt128 = [1, 10, 100, 1000][4 - padding]
            digits.append(Int16(rest % unit) * [1, 10, 100, 1000][padding])
            rest /= unit
        }
        while rest > 0 {
            digits.append(Int16(rest % 10_000))
            rest /= 10_000
        }
        let weight = digits.count - (scale + padding) / 4 - 1
        while digits.first == 0 { digits.removeFirst() }
        writer.append(Int16(digits.count))
        writer.append(Int16(digits.isEmpty ? 0 : weight))
        writer.append(UInt16(coefficient < 0 ? 0x4000 : 0))
        writer.append(Int16(scale))
        for digit in digits.reversed() { writer.append(digit) }
    }

    public static func canDecode(_ type: PostgresType) -> Bool { type == .numeric }

    public init?(binary: RawSpan, type: PostgresType) {
        var reader = BinaryCursor()
        guard let count = reader.next(binary, Int16.self), let weight = reader.next(binary, Int16.self),
            let sign = reader.next(binary, UInt16.self), reader.next(binary, Int16.self) != nil,
            sign == 0 || sign == 0x4000,
            (0...12).contains(count), (-10...10).contains(weight)
        else { return nil }
        var coefficient: Int128 = 0
        for _ in 0..<count {
            guard let digit = reader.next(binary, Int16.self), (0..<10_000).contains(digit) else { return nil }
            let (product, overflow) = coefficient.multipliedReportingOverflow(by: 10_000)
            guard !overflow else { return nil }
            coefficient = product + Int128(digit)
        }
        // value = coefficient · 10000^(weight + 1 − count)
        var exponent = 4 * (Int(weight) + 1 - Int(count))
        while exponent > 0 {
            let (product, overflow) = coefficient.multipliedReportingOverflow(by: 10)
            guard !overflow else { return nil }
            coefficient = product
            exponent -= 1
        }
        while exponent < 0, coefficient % 10 == 0, coefficient != 0 {
            coefficient /= 10
            exponent += 1
        }
        guard coefficient != 0 else {
            self.init(0)
            return
        }
        guard exponent >= -38 else { return nil }
        self.init(sign == 0 ? coefficient : -coefficient, scale: -exponent)
    }
}

extension Optional: PostgresEncodable where Wrapped: PostgresEncodable {
    public static var postgresType: PostgresType { Wrapped.postgresType }
    @inlinable public var isNull: Bool { self == nil }
    public func write(to writer: inout BinaryWriter) { self?.write(to: &writer) }
}

extension Optional: PostgresDecodable where Wrapped: PostgresDecodable {
    public static func canDecode(_ type: PostgresType) -> Bool { Wrapped.canDecode(type) }
    public static var valueOfNull: Wrapped?? { .some(.none) }
    public init?(binary: RawSpan, type: PostgresType) {
        guard let value = Wrapped(binary: binary, type: type) else { return nil }
        self = .some(value)
    }
}
