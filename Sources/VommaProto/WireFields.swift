/// Why bytes are no fields.
enum WireFault: Error {
    case malformed
    /// Groups within groups, or messages within messages, beyond the limit.
    case tooDeep
}

/// One field as it is on the wire: where its bytes are.
struct WireField {
    let number: UInt32
    /// 0 a varint, 1 eight bytes, 2 length-delimited, 3 a group, 5 four bytes.
    let type: UInt8
    /// From the tag to the end; of a group, to the end of the mark that ends it.
    let range: Range<Int>
    /// What follows the tag, and the length where there is one.
    let content: Range<Int>
}

/// The fields of a stretch of bytes, one after the other. Never reads beyond them, whatever they are.
///
/// What it refuses: field numbers that don't exist (0, 2²⁹ and above), tags and lengths of more than five bytes,
/// numbers of more than ten, lengths beyond the end, wire types 6 and 7, groups that don't end, or end without having
/// begun.
@safe
struct WireFields {
    private let bytes: UnsafeRawBufferPointer
    private var position: Int
    private let end: Int

    init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
        unsafe self.bytes = unsafe bytes
        position = range.lowerBound
        end = range.upperBound
    }

    /// Field numbers below this.
    static let numberLimit: UInt32 = 1 << 29

    /// The next field; `nil` at the end. Of groups, at most `groupDepth` may be one within the other.
    mutating func next(groupDepth: Int) throws(WireFault) -> WireField? {
        guard position < end else { return nil }
        let start = position
        let (number, type) = try tag()
        if type == 3 {
            let content = try group(number, groupDepth)
            return WireField(number: number, type: type, range: start..<position, content: content)
        }
        let content = try value(type)
        return WireField(number: number, type: type, range: start..<position, content: content)
    }

    private mutating func tag() throws(WireFault) -> (number: UInt32, type: UInt8) {
        let tag = try varint(byteLimit: 5)
        guard tag >> 3 > 0, tag >> 3 < UInt64(Self.numberLimit) else { throw .malformed }
        return (UInt32(tag >> 3), UInt8(tag & 7))
    }

    private mutating func value(_ type: UInt8) throws(WireFault) -> Range<Int> {
        var start = position
        switch type {
        case 0: _ = try varint(byteLimit: 10)
        case 1: try skip(8)
        case 2:
            let length = try varint(byteLimit: 5)
            start = position
            try skip(length)
        case 5: try skip(4)
        default: throw .malformed
        }
        return start..<position
    }

    private mutating func skip(_ count: UInt64) throws(WireFault) {
        guard count <= UInt64(end - position) else { throw .malformed }
        position += Int(count)
    }

    /// Goes on to behind the group's end, over groups within it, without recursion; returns what is between its marks.
    private mutating func group(_ number: UInt32, _ depth: Int) throws(WireFault) -> Range<Int> {
        let start = position
        var open = [number]
        while true {
            guard open.count <= depth else { throw .tooDeep }
            let mark = position
            let (number, type) = try tag()
            switch type {
            case 3: open.append(number)
            case 4:
                guard open.popLast() == number else { throw .malformed }
                if open.isEmpty { return start..<mark }
            default: _ = try value(type)
            }
        }
    }

    /// A number, least significant bits first; what a tenth byte has beyond 64 bits is dropped.
    private mutating func varint(byteLimit: Int) throws(WireFault) -> UInt64 {
        var result: UInt64 = 0
        for index in 0..<byteLimit {
            guard position < end else { throw .malformed }
            let byte = unsafe bytes[position]
            position += 1
            result |= UInt64(byte & 0x7F) << UInt64(7 * index)
            if byte < 0x80 { return result }
        }
        throw .malformed
    }
}
