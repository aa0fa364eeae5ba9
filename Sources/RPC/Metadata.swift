/// The custom headers or trailers of a call, in order. Keys are lower case; a key that ends in `-bin` carries bytes.
///
/// Keys of gRPC and HTTP themselves (`:path`, `grpc-timeout`, `content-type`, `te`, …) are not part of it.
public struct Metadata: Sendable, Hashable {
    public enum Content: Sendable, Hashable {
        /// Printable ASCII.
        case text(String)
        /// The value of a `-bin` key; base64 on the wire.
        case binary([UInt8])
    }

    public struct Entry: Sendable, Hashable {
        public let key: String
        public let value: Content
    }

    /// Received headers stay as they came until somebody wants more than one of them: most calls' never are.
    private enum Storage: Sendable {
        case entries([Entry])
        case received(ReceivedFields)
    }

    private var storage = Storage.entries([])

    public private(set) var entries: [Entry] {
        get {
            switch storage {
            case .entries(let entries): entries
            case .received(let fields): fields.entries
            }
        }
        set { storage = .entries(newValue) }
    }

    public init() {}

    public var isEmpty: Bool {
        switch storage {
        case .entries(let entries): entries.isEmpty
        case .received(let fields): fields.isEmpty
        }
    }

    /// The first text value of the key; `nil` where there is none or where it is binary.
    public subscript(key: String) -> String? {
        if case .received(let fields) = storage { return fields.text(key) }
        for entry in entries where entry.key == key {
            if case .text(let text) = entry.value { return text }
        }
        return nil
    }

    /// The first binary value of the key, which ends in `-bin`.
    public subscript(binary key: String) -> [UInt8]? {
        for entry in entries where entry.key == key {
            if case .binary(let bytes) = entry.value { return bytes }
        }
        return nil
    }

    /// Adds a text value after those present. Upper-case letters of the key are lowered.
    /// - Throws: `RPCError.invalidMetadata` for a key or value that has no wire form, or a key of gRPC's own.
    public mutating func append(_ key: String, _ text: String) throws(RPCError) {
        let key = key.lowercased()
        guard Self.isUsable(key), !key.hasSuffix("-bin"), text.utf8.allSatisfy({ $0 >= 0x20 && $0 <= 0x7E }) else {
            throw .invalidMetadata(key: key)
        }
        entries.append(Entry(key: key, value: .text(text)))
    }

    /// Adds a binary value; the key must end in `-bin`.
    /// - Throws: `RPCError.invalidMetadata` for a key that has no wire form.
    public mutating func append(_ key: String, binary bytes: [UInt8]) throws(RPCError) {
        let key = key.lowercased()
        guard Self.isUsable(key), key.hasSuffix("-bin") else { throw .invalidMetadata(key: key) }
        entries.append(Entry(key: key, value: .binary(bytes)))
    }

    /// Adds every entry of another list after those present.
    public mutating func append(contentsOf other: Metadata) { entries += other.entries }

    private static func isUsable(_ key: String) -> Bool {
        !key.isEmpty && !key.hasPrefix("grpc-") && !isReserved(key)
            && key.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
                default: false
                }
            }
    }

    /// Headers that HTTP/2 or gRPC owns.
    static func isReserved(_ key: String) -> Bool {
        switch key {
        case "te", "content-type", "connection", "host", "transfer-encoding", "upgrade", "keep-alive",
            "proxy-connection", "content-length":
            true
        default: key.hasPrefix(":")
        }
    }
}

extension Metadata: ExpressibleByDictionaryLiteral {
    /// Text entries from literals, such as `["x-request-id": "17"]`.
    /// - Precondition: every key and value has a wire form; they are the programmer's own.
    public init(dictionaryLiteral elements: (String, String)...) {
        for (key, text) in elements {
            do throws(RPCError) {
                try append(key, text)
            } catch {
                preconditionFailure("\(error)")
            }
        }
    }
}

extension Metadata {
    /// Adds a text entry that has a wire form by construction.
    mutating func appendReceived(_ key: String, _ text: String) {
        entries.append(Entry(key: key, value: .text(text)))
    }

    init(received fields: ReceivedFields) { if !fields.isEmpty { storage = .received(fields) } }

    /// Takes one received header. A `-bin` value may be a comma-separated list; what is not base64 is left out.
    mutating func appendReceived(_ headers: HeaderFields, _ index: Int) {
        entries += ReceivedFields(ReceivedFields(), and: headers, index..<index + 1).entries
    }

    /// Lends the bytes of the first text value of a key, without making a string of them where they came in a request.
    func withText<Result>(_ key: StaticString, _ body: (Span<UInt8>) -> Result) -> Result? {
        if case .received(let fields) = storage { return fields.withValue(key, body) }
        return self["\(key)"].map { body($0.utf8.span) }
    }
}

extension Metadata {
    public static func == (left: Metadata, right: Metadata) -> Bool { left.entries == right.entries }
    public func hash(into hasher: inout Hasher) { hasher.combine(entries) }
}

/// A request's custom headers in their wire form, one behind the other in one buffer: two sizes, the name, the value.
struct ReceivedFields: Sendable {
    private static let sizeCount = 8
    private var bytes: [UInt8] = []

    init() {}

    var isEmpty: Bool { bytes.isEmpty }

    /// The fields of others, and after them the custom ones of some headers.
    init(_ others: ReceivedFields, and headers: HeaderFields, _ range: Range<Int>) {
        var total = others.bytes.count
        for index in range where headers.fields[index].kind == .custom {
            total += Self.sizeCount + headers.fields[index].end - headers.fields[index].start
        }
        // On the stack, and then an array of it: to fill one that is there already costs more than this copy.
        bytes = unsafe withUnsafeTemporaryAllocation(byteCount: total, alignment: 8) { target in
            unsafe others.bytes.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
            var end = others.bytes.count
            unsafe headers.bytes.withUnsafeBytes { source in
                for index in range {
                    let field = headers.fields[index]
                    guard field.kind == .custom else { continue }
                    let sizes = UInt64(field.middle - field.start) << 32 | UInt64(field.end - field.middle)
                    unsafe target.storeBytes(of: sizes, toByteOffset: end, as: UInt64.self)
                    let start = end + Self.sizeCount
                    end = start + field.end - field.start
                    unsafe UnsafeMutableRawBufferPointer(rebasing: target[start..<end])
                        .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[field.start..<field.end]))
                }
            }
            return unsafe [UInt8](UnsafeRawBufferPointer(target))
        }
    }

    /// The field at an offset, and the offset of the next one.
    private func field(_ offset: Int) -> (field: HeaderFields.Field, next: Int) {
        let sizes = unsafe bytes.span.bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
        let start = offset + Self.sizeCount
        let middle = start + Int(sizes >> 32)
        let end = middle + Int(sizes & 0xFFFF_FFFF)
        return (HeaderFields.Field(start: start, middle: middle, end: end), end)
    }

    private static func isBinary(_ name: ArraySlice<UInt8>) -> Bool { name.suffix(4).elementsEqual("-bin".utf8) }

    /// Lends the bytes of the first value of a key, which is no binary one.
    @inline(__always)
    func withValue<Result>(_ key: StaticString, _ body: (Span<UInt8>) -> Result) -> Result? {
        var offset = 0
        while offset < bytes.count {
            let (field, next) = field(offset)
            if HeaderFields.equal(bytes.span, field.start, field.middle, key) {
                return body(bytes.span.extracting(field.value))
            }
            offset = next
        }
        return nil
    }

    /// The first text value of a key, without making strings of the others.
    func text(_ key: String) -> String? {
        var offset = 0
        while offset < bytes.count {
            let (field, next) = field(offset)
            let name = bytes[field.name]
            if name.count == key.utf8.count, name.elementsEqual(key.utf8), !Self.isBinary(name) {
                return String(decoding: bytes[field.value], as: UTF8.self)
            }
            offset = next
        }
        return nil
    }

    var entries: [Metadata.Entry] {
        var result: [Metadata.Entry] = []
        var offset = 0
        while offset < bytes.count {
            let (field, next) = field(offset)
            let name = bytes[field.name]
            let value = bytes[field.value]
            let key = String(decoding: name, as: UTF8.self)
            if Self.isBinary(name) {
                for part in value.split(separator: 0x2C, omittingEmptySubsequences: false) {
                    guard let bytes = Base64.decode(part) else { continue }
                    result.append(Metadata.Entry(key: key, value: .binary(bytes)))
                }
            } else {
                result.append(Metadata.Entry(key: key, value: .text(String(decoding: value, as: UTF8.self))))
            }
            offset = next
        }
        return result
    }
}

/// Base64 of RFC 4648 section 4 for `-bin` metadata: written without padding, read with or without.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ bytes: [UInt8]) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity((bytes.count * 4 + 2) / 3)
        var accumulator: UInt32 = 0
        var bitCount = 0
        for byte in bytes {
            accumulator = accumulator << 8 | UInt32(byte)
            bitCount += 8
            while bitCount >= 6 {
                bitCount -= 6
                output.append(alphabet[Int(accumulator >> UInt32(bitCount) & 63)])
            }
        }
        if bitCount > 0 { output.append(alphabet[Int(accumulator << UInt32(6 - bitCount) & 63)]) }
        return output
    }

    /// `nil` for a character outside the alphabet, or a length that no encoder makes.
    static func decode(_ text: some Sequence<UInt8>) -> [UInt8]? {
        var output: [UInt8] = []
        var accumulator: UInt32 = 0
        var bitCount = 0
        var characterCount = 0
        var paddingCount = 0
        for character in text {
            if character == 0x3D || character == 0x20 {
                paddingCount += character == 0x3D ? 1 : 0
                continue
            }
            guard paddingCount == 0 else { return nil }
            let value: UInt32
            switch character {
            case 0x41...0x5A: value = UInt32(character) - 0x41
            case 0x61...0x7A: value = UInt32(character) - 0x61 + 26
            case 0x30...0x39: value = UInt32(character) - 0x30 + 52
            case 0x2B: value = 62
            case 0x2F: value = 63
            default: return nil
            }
            characterCount += 1
            accumulator = accumulator << 6 | value
            bitCount += 6
            if bitCount >= 8 {
                bitCount -= 8
                output.append(UInt8(truncatingIfNeeded: accumulator >> UInt32(bitCount)))
            }
        }
        return characterCount % 4 == 1 || paddingCount > 2 ? nil : output
    }
}
