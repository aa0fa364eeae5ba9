// Protobuf's wire format (https://protobuf.dev/programming-guides/encoding): fields of a number and a value.

/// A field's value as it is on the wire.
enum WireValue {
    case varint(UInt64)
    case fixed64(UInt64)
    case bytes(ArraySlice<UInt8>)
    /// What is between the marks of a group.
    case group(ArraySlice<UInt8>)
    case fixed32(UInt32)
}

/// Why bytes are no fields.
enum WireFault: Error {
    case truncated
    case longVarint
    case badTag(UInt64)
    case unmatchedGroup

    var reason: String {
        switch self {
        case .truncated: "the bytes end within a field"
        case .longVarint: "a number of more than 64 bits"
        case .badTag(let tag): "\(tag) is no field tag"
        case .unmatchedGroup: "a group that does not end, or ends without having begun"
        }
    }
}

/// Reads the fields of a message, one after another. Never reads beyond the bytes, whatever they are.
struct WireReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }
    init(_ bytes: [UInt8]) { rest = bytes[...] }

    var isAtEnd: Bool { rest.isEmpty }

    /// The next field; `nil` at the end of the bytes.
    mutating func next() throws(WireFault) -> (number: Int, value: WireValue)? {
        guard !rest.isEmpty else { return nil }
        let (number, type) = try tag()
        switch type {
        case 0: return (number, .varint(try varint()))
        case 1: return (number, .fixed64(try fixed64()))
        case 2: return (number, .bytes(try lengthDelimited()))
        case 3: return (number, .group(try group(number)))
        case 5: return (number, .fixed32(try fixed32()))
        default: throw .unmatchedGroup
        }
    }

    mutating func varint() throws(WireFault) -> UInt64 {
        var result: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            guard let byte = rest.popFirst() else { throw .truncated }
            // The tenth byte has room for one bit.
            if shift == 63, byte > 1 { throw .longVarint }
            result |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return result }
        }
        throw .longVarint
    }

    mutating func fixed32() throws(WireFault) -> UInt32 {
        var result: UInt32 = 0
        for byte in try take(4).reversed() { result = result << 8 | UInt32(byte) }
        return result
    }

    mutating func fixed64() throws(WireFault) -> UInt64 {
        var result: UInt64 = 0
        for byte in try take(8).reversed() { result = result << 8 | UInt64(byte) }
        return result
    }

    private mutating func lengthDelimited() throws(WireFault) -> ArraySlice<UInt8> {
        let length = try varint()
        guard length <= UInt64(rest.count) else { throw .truncated }
        return try take(Int(length))
    }

    private mutating func take(_ count: Int) throws(WireFault) -> ArraySlice<UInt8> {
        guard rest.count >= count else { throw .truncated }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    private mutating func tag() throws(WireFault) -> (number: Int, type: UInt64) {
        let tag = try varint()
        guard tag >> 3 > 0, tag <= UInt64(UInt32.max), tag & 7 <= 5 else { throw .badTag(tag) }
        return (Int(tag >> 3), tag & 7)
    }

    /// Skips to the mark that ends the group, over groups within it, without recursion.
    private mutating func group(_ number: Int) throws(WireFault) -> ArraySlice<UInt8> {
        let content = rest
        var open = [number]
        while let innermost = open.last {
            guard !rest.isEmpty else { throw .unmatchedGroup }
            let end = rest.startIndex
            let (number, type) = try tag()
            switch type {
            case 0: _ = try varint()
            case 1: _ = try take(8)
            case 2: _ = try lengthDelimited()
            case 3: open.append(number)
            case 4:
                guard number == innermost else { throw .unmatchedGroup }
                open.removeLast()
                if open.isEmpty { return content[..<end] }
            default: _ = try take(4)
            }
        }
        throw .unmatchedGroup
    }
}

/// Writes fields, one after another.
struct WireWriter {
    private(set) var bytes: [UInt8] = []

    mutating func varint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(value))
    }

    mutating func fixed32(_ value: UInt32) {
        for shift in stride(from: UInt32(0), to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    mutating func fixed64(_ value: UInt64) {
        for shift in stride(from: UInt64(0), to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    /// A field with its tag.
    mutating func field(_ number: Int, _ scalar: WireScalar) {
        tag(number, scalar.wireType)
        payload(scalar)
    }

    /// The value of a field without its tag, as in a packed list.
    mutating func payload(_ scalar: WireScalar) {
        switch scalar {
        case .varint(let value): varint(value)
        case .fixed32(let value): fixed32(value)
        case .fixed64(let value): fixed64(value)
        case .bytes(let value):
            varint(UInt64(value.count))
            bytes += value
        }
    }

    /// A message as a field; delimited by marks if it is a group.
    mutating func message(_ number: Int, _ content: [UInt8], asGroup: Bool = false) {
        guard asGroup else { return field(number, .bytes(content)) }
        tag(number, 3)
        bytes += content
        tag(number, 4)
    }

    private mutating func tag(_ number: Int, _ type: UInt64) { varint(UInt64(number) << 3 | type) }
}

/// A value that is not a message, ready for the wire.
enum WireScalar {
    case varint(UInt64)
    case fixed32(UInt32)
    case fixed64(UInt64)
    case bytes([UInt8])

    fileprivate var wireType: UInt64 {
        switch self {
        case .varint: 0
        case .fixed64: 1
        case .bytes: 2
        case .fixed32: 5
        }
    }

    /// Whether a field without presence leaves it out. A negative zero stays.
    var isDefault: Bool {
        switch self {
        case .varint(let value): value == 0
        case .fixed32(let value): value == 0
        case .fixed64(let value): value == 0
        case .bytes(let value): value.isEmpty
        }
    }
}
