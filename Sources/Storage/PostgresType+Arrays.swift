public import MarketData

extension Array: PostgresEncodable where Element: PostgresElement {
    public static var postgresType: PostgresType { Element.arrayType }
    public func write(to writer: inout BinaryWriter) { Element.writeArray(self, to: &writer) }
}

extension Array: PostgresDecodable where Element: PostgresElement {
    public static func canDecode(_ type: PostgresType) -> Bool { Element.canDecodeArray(type) }
    public init?(binary: RawSpan, type: PostgresType) {
        guard let values = Element.readArray(binary, type: type) else { return nil }
        self = values
    }
}

/// Arrays of one dimension; those with more do not decode.
extension PostgresElement {
    public static func canDecodeArray(_ type: PostgresType) -> Bool { type == arrayType }
}

/// Reads an array of values that all have the size of `Bits`. A NULL inside makes the whole unreadable.
private func fixed<Element, Bits: FixedWidthInteger & BitwiseCopyable>(
    _ binary: RawSpan, of type: PostgresType, _ make: (Bits) -> Element
) -> [Element]? {
    var values: [Element] = []
    return append(binary, of: type, to: &values, make) == nil ? nil : values
}

/// The same, behind what `values` has; returns how many there were. What is unreadable leaves `values` as it was.
private func append<Element, Bits: FixedWidthInteger & BitwiseCopyable>(
    _ binary: RawSpan, of type: PostgresType, to values: inout [Element], _ make: (Bits) -> Element
) -> Int? {
    var reader = BinaryCursor()
    guard let header = reader.arrayHeader(binary), header.count == 0 || header.type == type else { return nil }
    let width = MemoryLayout<Bits>.size
    let stride = 4 + width
    guard reader.remainingCount(of: binary) == header.count * stride else { return nil }
    let start = reader.offset
    for index in 0..<header.count {
        // In range: the product above is the whole rest.
        let offset = start + index * stride
        guard unsafe Int32(bigEndian: binary.unsafeLoadUnaligned(fromByteOffset: offset, as: Int32.self)) == width
        else { return nil }
    }
    // A capacity for these alone would make every append to a long list a copy of it.
    if values.isEmpty { values.reserveCapacity(header.count) }
    for index in 0..<header.count {
        let bits = unsafe binary.unsafeLoadUnaligned(fromByteOffset: start + index * stride + 4, as: Bits.self)
        values.append(make(Bits(bigEndian: bits)))
    }
    return header.count
}

extension Row {
    /// Adds a column's numbers to `values`, and returns how many there were. Throws `decoding` for a column that is
    /// no array of float8 without NULLs; `values` is as it was then.
    func append(_ column: Int, to values: inout [Double]) throws(StorageError) -> Int {
        try withBytes(column) { bytes throws(StorageError) in
            guard let bytes,
                let count = Storage.append(
                    bytes, of: .float8, to: &values, { (bits: UInt64) in Double(bitPattern: bits) })
            else { throw .decoding(column: "#\(column)", reason: "no array of float8 without NULLs") }
            return count
        }
    }
}

/// Reads an array of values of any size; NULLs go where `Element` has a value for them.
private func general<Element: PostgresDecodable>(_ binary: RawSpan, of type: PostgresType) -> [Element]? {
    var reader = BinaryCursor()
    guard let header = reader.arrayHeader(binary), header.count == 0 || header.type == type else { return nil }
    var values: [Element] = []
    values.reserveCapacity(header.count)
    for _ in 0..<header.count {
        guard let length = reader.next(binary, Int32.self) else { return nil }
        if length == -1 {
            guard let null = Element.valueOfNull else { return nil }
            values.append(null)
        } else {
            guard let range = reader.skip(binary, Int(length)),
                let value = Element(binary: binary.extracting(range), type: type)
            else { return nil }
            values.append(value)
        }
    }
    return reader.remainingCount(of: binary) == 0 ? values : nil
}

extension Double: PostgresElement {
    public static var arrayType: PostgresType { .float8Array }
    public static func writeArray(_ values: [Double], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: .float8) { $0.bitPattern }
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [Double]? {
        fixed(binary, of: .float8) { (bits: UInt64) in Double(bitPattern: bits) }
    }
}

extension Float: PostgresElement {
    public static var arrayType: PostgresType { .float4Array }
    public static func writeArray(_ values: [Float], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: .float4) { $0.bitPattern }
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [Float]? {
        fixed(binary, of: .float4) { (bits: UInt32) in Float(bitPattern: bits) }
    }
}

extension Int64: PostgresElement {
    public static var arrayType: PostgresType { .int8Array }
    public static func writeArray(_ values: [Int64], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: .int8) { $0 }
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [Int64]? {
        fixed(binary, of: .int8) { (bits: Int64) in bits }
    }
}

extension Int32: PostgresElement {
    public static var arrayType: PostgresType { .int4Array }
    public static func writeArray(_ values: [Int32], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: .int4) { $0 }
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [Int32]? {
        fixed(binary, of: .int4) { (bits: Int32) in bits }
    }
}

extension Timestamp: PostgresElement {
    public static var arrayType: PostgresType { .timestamptzArray }
    public static func writeArray(_ values: [Timestamp], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: .timestamptz) { $0.postgresMicroseconds }
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [Timestamp]? {
        general(binary, of: .timestamptz)
    }
}

extension Bool: PostgresElement {
    public static var arrayType: PostgresType { .boolArray }
    public static func writeArray(_ values: [Bool], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: .bool) { UInt8($0 ? 1 : 0) }
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [Bool]? {
        fixed(binary, of: .bool) { (bits: UInt8) in bits != 0 }
    }
}

extension String: PostgresElement {
    public static var arrayType: PostgresType { .textArray }
    public static func writeArray(_ values: [String], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: .text)
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [String]? { general(binary, of: .text) }
}

extension JSON: PostgresElement {
    public static var arrayType: PostgresType { .jsonbArray }
    public static func writeArray(_ values: [JSON], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: .jsonb)
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [JSON]? { general(binary, of: .jsonb) }
}

extension DecimalNumber: PostgresElement {
    public static var arrayType: PostgresType { .numericArray }
    public static func writeArray(_ values: [DecimalNumber], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: .numeric)
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [DecimalNumber]? {
        general(binary, of: .numeric)
    }
}

/// Bytes: `[UInt8]` is one bytea, not an array of numbers.
extension UInt8: PostgresElement {
    public static var arrayType: PostgresType { .bytea }
    public static func writeArray(_ values: [UInt8], to writer: inout BinaryWriter) {
        writer.append(contentsOf: values)
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [UInt8]? {
        unsafe binary.withUnsafeBytes { unsafe [UInt8]($0) }
    }
}

/// `[[UInt8]]` is bytea[].
extension Array: PostgresElement where Element == UInt8 {
    public static var arrayType: PostgresType { .byteaArray }
    public static func writeArray(_ values: [[UInt8]], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: .bytea)
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [[UInt8]]? { general(binary, of: .bytea) }
}

/// `[Double?]` and its like: arrays with NULLs. Not for `UInt8?`, which no column has.
extension Optional: PostgresElement where Wrapped: PostgresElement & PostgresEncodable & PostgresDecodable {
    public static var arrayType: PostgresType { Wrapped.arrayType }
    public static func writeArray(_ values: [Wrapped?], to writer: inout BinaryWriter) {
        writer.appendArray(values, of: Wrapped.postgresType)
    }
    public static func readArray(_ binary: RawSpan, type: PostgresType) -> [Wrapped?]? {
        general(binary, of: Wrapped.postgresType)
    }
}
