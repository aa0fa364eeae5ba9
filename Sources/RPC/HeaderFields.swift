/// Headers as flat bytes: one buffer, and for each field where its name and value are. No allocation a field.
///
/// `@unchecked Sendable`: a value, but for the pointer, whose bytes never change.
@safe struct HeaderFields: @unchecked Sendable {
    /// Where a field is: its value follows its name.
    struct Field {
        var start: Int
        var middle: Int
        var end: Int

        var name: Range<Int> { start..<middle }
        var value: Range<Int> { middle..<end }
    }

    private(set) var bytes: [UInt8] = []
    private(set) var fields: [Field] = []
    /// The same bytes at a place that they never leave, if `keptForever`: nghttp2 then refers to them.
    private(set) var permanentBytes: UnsafePointer<UInt8>?

    init() {}

    init(_ pairs: KeyValuePairs<String, String>) {
        for (name, value) in pairs { append(name, value.utf8) }
    }

    var count: Int { fields.count }

    /// These headers for sending over and over, without a copy each time. For constants: the memory is never freed.
    var keptForever: HeaderFields {
        let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: bytes.count)
        _ = unsafe copy.initialize(from: bytes)
        var result = self
        unsafe result.permanentBytes = UnsafePointer(copy.baseAddress)
        return result
    }

    mutating func append(_ name: String, _ value: some Sequence<UInt8>) {
        unsafe permanentBytes = nil
        let start = bytes.count
        bytes.append(contentsOf: name.utf8)
        let middle = bytes.count
        bytes.append(contentsOf: value)
        fields.append(Field(start: start, middle: middle, end: bytes.count))
    }

    mutating func append(name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {
        let start = bytes.count
        unsafe bytes.append(contentsOf: name)
        unsafe bytes.append(contentsOf: value)
        fields.append(Field(start: start, middle: start + name.count, end: start + name.count + value.count))
    }

    mutating func append(_ metadata: Metadata) {
        for entry in metadata.entries {
            switch entry.value {
            case .text(let text): append(entry.key, text.utf8)
            case .binary(let bytes): append(entry.key, Base64.encode(bytes))
            }
        }
    }

    /// Removes the first `count` fields and moves the rest to the front.
    mutating func removeFirst(_ count: Int) {
        guard count < fields.count else {
            fields.removeAll(keepingCapacity: true)
            bytes.removeAll(keepingCapacity: true)
            return
        }
        var rest = HeaderFields()
        for field in fields[count...] {
            rest.append(String(decoding: bytes[field.name], as: UTF8.self), bytes[field.value])
        }
        self = rest
    }

    func nameIs(_ index: Int, _ name: StaticString) -> Bool {
        Self.equal(bytes.span, fields[index].start, fields[index].middle, name)
    }
    func valueIs(_ index: Int, _ value: StaticString) -> Bool {
        Self.equal(bytes.span, fields[index].middle, fields[index].end, value)
    }
    func value(_ index: Int) -> ArraySlice<UInt8> { bytes[fields[index].value] }
    func name(_ index: Int) -> String { String(decoding: bytes[fields[index].name], as: UTF8.self) }

    /// Whether a part of the bytes is this text. On a span: comparing counts no reference.
    static func equal(_ bytes: Span<UInt8>, _ start: Int, _ end: Int, _ text: StaticString) -> Bool {
        guard end - start == text.utf8CodeUnitCount else { return false }
        let literal = unsafe text.utf8Start
        for offset in 0..<end - start {
            guard unsafe bytes[start + offset] == literal[offset] else { return false }
        }
        return true
    }

    /// A decimal number of at most nine digits.
    static func number(_ text: ArraySlice<UInt8>) -> Int? {
        guard !text.isEmpty, text.count <= 9 else { return nil }
        var value = 0
        for byte in text {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            value = value * 10 + Int(byte - 0x30)
        }
        return value
    }
}
