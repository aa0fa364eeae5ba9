/// Headers as flat bytes: one buffer, and for each field where its name and value are. No allocation a field.
struct HeaderFields {
    struct Field {
        var name: Range<Int>
        var value: Range<Int>
        var isSensitive = false
    }

    private(set) var bytes: [UInt8] = []
    private(set) var fields: [Field] = []

    init() {}

    init(_ pairs: KeyValuePairs<String, String>) {
        for (name, value) in pairs { append(name, value.utf8) }
    }

    var count: Int { fields.count }

    mutating func append(_ name: String, _ value: some Sequence<UInt8>) {
        let start = bytes.count
        bytes.append(contentsOf: name.utf8)
        let middle = bytes.count
        bytes.append(contentsOf: value)
        fields.append(Field(name: start..<middle, value: middle..<bytes.count))
    }

    mutating func append(name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {
        let start = bytes.count
        unsafe bytes.append(contentsOf: name)
        let middle = bytes.count
        unsafe bytes.append(contentsOf: value)
        fields.append(Field(name: start..<middle, value: middle..<bytes.count))
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

    func nameIs(_ index: Int, _ name: StaticString) -> Bool { equals(fields[index].name, name) }
    func valueIs(_ index: Int, _ value: StaticString) -> Bool { equals(fields[index].value, value) }
    func value(_ index: Int) -> ArraySlice<UInt8> { bytes[fields[index].value] }
    func name(_ index: Int) -> String { String(decoding: bytes[fields[index].name], as: UTF8.self) }

    private func equals(_ range: Range<Int>, _ text: StaticString) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        return unsafe bytes.withUnsafeBufferPointer { bytes in
            let literal = unsafe text.utf8Start
            for index in 0..<range.count {
                guard unsafe bytes[range.lowerBound + index] == literal[index] else { return false }
            }
            return true
        }
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
