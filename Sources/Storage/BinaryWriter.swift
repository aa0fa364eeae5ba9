/// Collects values in PostgreSQL's binary format: the parameters of a statement, or the rows of a COPY.
public struct BinaryWriter {
    @usableFromInline
    var bytes: [UInt8] = []
    /// Where each parameter's bytes lie; `nil` is NULL. Used for parameters only.
    private(set) var fields: [Range<Int>?] = []
    private(set) var types: [UInt32] = []

    init() {}

    /// Forgets everything but the memory.
    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        fields.removeAll(keepingCapacity: true)
        types.removeAll(keepingCapacity: true)
    }

    /// Adds one parameter of a statement.
    mutating func addParameter(_ value: some PostgresEncodable) {
        types.append(type(of: value).postgresType.oid)
        guard !value.isNull else { return fields.append(nil) }
        let start = bytes.count
        value.write(to: &self)
        fields.append(start..<bytes.count)
    }

    /// Adds one value with its length before it, as COPY and arrays have it; NULL has length −1.
    @inlinable
    public mutating func appendField(_ value: some PostgresEncodable) {
        guard !value.isNull else { return append(Int32(-1)) }
        let start = bytes.count
        append(Int32(0))
        value.write(to: &self)
        patchLength(at: start)
    }

    /// Adds an integer in network order.
    @inlinable
    public mutating func append<I: FixedWidthInteger>(_ value: I) {
        let bigEndian = value.bigEndian
        unsafe withUnsafeBytes(of: bigEndian) { unsafe bytes.append(contentsOf: $0) }
    }

    @inlinable
    public mutating func append(contentsOf other: [UInt8]) { bytes.append(contentsOf: other) }
    @inlinable
    public mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

    /// Writes the count of the bytes after it into the four bytes at `start`.
    @usableFromInline
    mutating func patchLength(at start: Int) {
        let length = Int32(clamping: bytes.count - start - 4).bigEndian
        unsafe bytes.withUnsafeMutableBytes { unsafe $0.storeBytes(of: length, toByteOffset: start, as: Int32.self) }
    }

    mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }
    mutating func removeAllBytes() { bytes.removeAll(keepingCapacity: true) }

    /// A one-dimensional array of values of one size, converted in bulk.
    mutating func appendArray<Element, Bits: FixedWidthInteger>(
        _ values: [Element], of type: PostgresType, _ bits: (Element) -> Bits
    ) {
        appendArrayHeader(count: values.count, hasNull: false, of: type)
        let width = MemoryLayout<Bits>.size
        let start = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: values.count * (4 + width)))
        let length = Int32(width).bigEndian
        unsafe bytes.withUnsafeMutableBytes { target in
            var offset = start
            for value in values {
                unsafe target.storeBytes(of: length, toByteOffset: offset, as: Int32.self)
                unsafe target.storeBytes(of: bits(value).bigEndian, toByteOffset: offset + 4, as: Bits.self)
                offset += 4 + width
            }
        }
    }

    /// A one-dimensional array of values of any size, NULLs included.
    mutating func appendArray<Element: PostgresEncodable>(_ values: [Element], of type: PostgresType) {
        appendArrayHeader(count: values.count, hasNull: values.contains { $0.isNull }, of: type)
        for value in values { appendField(value) }
    }

    /// Dimensions (0 for an empty array), NULL flag, element type; then each dimension's length and lower bound.
    private mutating func appendArrayHeader(count: Int, hasNull: Bool, of type: PostgresType) {
        append(Int32(count == 0 ? 0 : 1))
        append(Int32(hasNull ? 1 : 0))
        append(type.oid)
        guard count > 0 else { return }
        append(Int32(clamping: count))
        append(Int32(1))
    }
}

/// A place in a cell's bytes from which big-endian values are read; every read is checked against the end.
struct BinaryCursor {
    private(set) var offset = 0

    func remainingCount(of bytes: RawSpan) -> Int { bytes.byteCount - offset }

    mutating func next<I: FixedWidthInteger & BitwiseCopyable>(_ bytes: RawSpan, _ type: I.Type = I.self) -> I? {
        let width = MemoryLayout<I>.size
        guard remainingCount(of: bytes) >= width else { return nil }
        defer { offset += width }
        return unsafe I(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: I.self))
    }

    /// The range of the next `count` bytes.
    mutating func skip(_ bytes: RawSpan, _ count: Int) -> Range<Int>? {
        guard count >= 0, remainingCount(of: bytes) >= count else { return nil }
        defer { offset += count }
        return offset..<(offset + count)
    }

    /// Header of an array of at most one dimension: its length and element type.
    mutating func arrayHeader(_ bytes: RawSpan) -> (count: Int, type: PostgresType)? {
        guard let dimensions = next(bytes, Int32.self), next(bytes, Int32.self) != nil,
            let oid = next(bytes, UInt32.self)
        else { return nil }
        if dimensions == 0 { return (0, PostgresType(oid: oid)) }
        guard dimensions == 1, let count = next(bytes, Int32.self), next(bytes, Int32.self) != nil, count >= 0 else {
            return nil
        }
        // Each element takes at least its length: a count that can't be true is refused before anything is allocated.
        guard Int(count) <= remainingCount(of: bytes) / 4 else { return nil }
        return (Int(count), PostgresType(oid: oid))
    }
}
