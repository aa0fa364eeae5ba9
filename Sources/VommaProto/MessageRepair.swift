internal import CProtobufC

/// Rewrites a message that protobuf-c would refuse, or read otherwise than the standard, into one of the same meaning.
///
///  - The occurrences of a message where one is expected become one: the standard merges them, which is to read them as
///    if they were one after the other. Of a oneof, only those with no other choice between them.
///  - A known field of another wire type, and a group, are unknown fields. Each travels through protobuf-c within one
///    that has a number of our own, `carrier`; `unwrap` takes them out again.
///
/// Few messages come here: those that protobuf-c has refused, and those that `MessageScan` calls odd.
@safe
struct MessageRepair {
    /// A field number that no message can have: `WireFields` refuses it from outside.
    private static let carrier = UInt32.max

    private let bytes: UnsafeRawBufferPointer
    private let limit: Int
    private var output: [UInt8] = []

    /// The rewritten message: at most seven more bytes a field, in time linear in the bytes.
    static func rewrite(
        _ bytes: UnsafeRawBufferPointer, _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, limit: Int
    ) throws(WireFault) -> [UInt8] {
        var repair = unsafe MessageRepair(bytes: bytes, limit: limit)
        repair.output.reserveCapacity(bytes.count + bytes.count / 4)
        try unsafe repair.message([0..<bytes.count], descriptor, depth: 0)
        return repair.output
    }

    private init(bytes: UnsafeRawBufferPointer, limit: Int) {
        unsafe self.bytes = unsafe bytes
        self.limit = limit
    }

    /// Occurrences of a message that are to be one.
    private struct Run {
        var parts: [Range<Int>] = []
        /// How many of them have not been met on the way to writing: it is written where the last one stands.
        var left = 0
    }

    /// Writes the message whose bytes are these parts, one after the other.
    private mutating func message(
        _ parts: [Range<Int>], _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, depth: Int
    ) throws(WireFault) {
        guard depth <= limit else { throw .tooDeep }
        var (runs, order) = try unsafe runs(parts, descriptor, depth)
        var met = 0
        for part in parts {
            var fields = unsafe WireFields(bytes, part)
            while let field = try fields.next(groupDepth: limit - depth) {
                guard let known = unsafe descriptor.field(field.number) else {
                    field.type == 3 ? carry(field) : copy(field.range)
                    continue
                }
                guard unsafe known.pointee.accepts(field.type) else {
                    carry(field)
                    continue
                }
                guard let inner = unsafe known.pointee.message else {
                    copy(field.range)
                    continue
                }
                var parts = [field.content]
                if unsafe known.pointee.label != PROTOBUF_C_LABEL_REPEATED {
                    let run = order[met]
                    met += 1
                    runs[run].left -= 1
                    guard runs[run].left == 0 else { continue }
                    parts = runs[run].parts
                }
                varint(UInt64(field.number) << 3 | 2)
                let start = output.count
                output += [0x80, 0x80, 0x80, 0x80, 0]
                try unsafe message(parts, inner, depth: depth + 1)
                setLength(output.count - start - 5, at: start)
            }
        }
    }

    /// The runs of the single message fields, and for each occurrence, in order, the one that it belongs to.
    private func runs(
        _ parts: [Range<Int>], _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, _ depth: Int
    ) throws(WireFault) -> (runs: [Run], order: [Int]) {
        var runs: [Run] = []
        var order: [Int] = []
        /// By field number, the run that may still grow.
        var growing: [UInt32: Int] = [:]
        /// By oneof, its choice so far.
        var chosen: [UInt32: UInt32] = [:]
        for part in parts {
            var fields = unsafe WireFields(bytes, part)
            while let field = try fields.next(groupDepth: limit - depth) {
                guard let known = unsafe descriptor.field(field.number), unsafe known.pointee.accepts(field.type) else {
                    continue
                }
                if unsafe known.pointee.isChoice {
                    let before = unsafe chosen.updateValue(field.number, forKey: known.pointee.quantifier_offset)
                    if before != field.number { growing[field.number] = nil }
                }
                guard unsafe known.pointee.message != nil, unsafe known.pointee.label != PROTOBUF_C_LABEL_REPEATED
                else { continue }
                let run = growing[field.number] ?? runs.count
                if run == runs.count { runs.append(Run()) }
                growing[field.number] = run
                runs[run].parts.append(field.content)
                runs[run].left += 1
                order.append(run)
            }
        }
        return (runs, order)
    }

    private mutating func copy(_ range: Range<Int>) {
        unsafe output.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[range]))
    }

    private mutating func carry(_ field: WireField) {
        varint(UInt64(Self.carrier) << 3 | 2)
        varint(UInt64(field.range.count))
        copy(field.range)
    }

    private mutating func varint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            output.append(UInt8(value & 0x7F) | 0x80)
            value >>= 7
        }
        output.append(UInt8(value))
    }

    /// Fills in a length in five bytes, known only once what it measures is written.
    private mutating func setLength(_ length: Int, at start: Int) {
        for index in 0..<5 {
            output[start + index] = UInt8(length >> (7 * index) & 0x7F) | (index < 4 ? 0x80 : 0)
        }
    }
}

// MARK: After unpacking

extension MessageRepair {
    /// Puts the fields that were carried through protobuf-c in the place of their carriers, in all messages within.
    static func unwrap(_ message: UnsafeMutablePointer<ProtobufCMessage>) {
        for index in 0..<Int(unsafe message.pointee.n_unknown_fields) {
            unsafe unwrap(&message.pointee.unknown_fields[index])
        }
        guard let descriptor = unsafe message.pointee.descriptor else { return }
        let base = UnsafeRawPointer(message)
        for index in 0..<Int(unsafe descriptor.pointee.n_fields) {
            let field = unsafe descriptor.pointee.fields[index]
            guard unsafe field.message != nil else { continue }
            let member = unsafe base + Int(field.offset)
            let quantifier = unsafe base + Int(field.quantifier_offset)
            if unsafe field.label == PROTOBUF_C_LABEL_REPEATED {
                let list = unsafe member.load(as: UnsafeMutablePointer<UnsafeMutablePointer<ProtobufCMessage>?>?.self)
                for index in 0..<(unsafe quantifier.load(as: Int.self)) {
                    if let element = unsafe list?[index] { unsafe unwrap(element) }
                }
            } else if unsafe !field.isChoice || quantifier.load(as: UInt32.self) == field.id {
                let single = unsafe member.load(as: UnsafeMutablePointer<ProtobufCMessage>?.self)
                if let single = unsafe single { unsafe unwrap(single) }
            }
        }
    }

    /// `rewrite` wrote what is read here: a length, then a field that is whole.
    private static func unwrap(_ field: inout ProtobufCMessageUnknownField) {
        guard unsafe field.tag == carrier, var data = unsafe field.data else { return }
        var left = unsafe field.len
        func varint() -> UInt64 {
            var result: UInt64 = 0
            var shift: UInt64 = 0
            while left > 0 {
                let byte = unsafe data.pointee
                unsafe data += 1
                left -= 1
                result |= UInt64(byte & 0x7F) << shift
                shift += 7
                if byte < 0x80 { break }
            }
            return result
        }
        _ = varint()
        let tag = varint()
        unsafe field = unsafe ProtobufCMessageUnknownField(
            tag: UInt32(truncatingIfNeeded: tag >> 3), wire_type: ProtobufCWireType(UInt32(tag & 7)),
            len: left, data: data)
    }
}

extension ProtobufCFieldDescriptor {
    /// Whether it is one of a oneof.
    fileprivate var isChoice: Bool {
        unsafe flags & UInt32(PROTOBUF_C_FIELD_FLAG_ONEOF.rawValue) != 0
    }

    /// Whether a value of this wire type is one of this field: a list of numbers may come packed or not.
    fileprivate func accepts(_ wireType: UInt8) -> Bool {
        let own: UInt8 =
            switch unsafe type {
            case PROTOBUF_C_TYPE_FIXED64, PROTOBUF_C_TYPE_SFIXED64, PROTOBUF_C_TYPE_DOUBLE: 1
            case PROTOBUF_C_TYPE_FIXED32, PROTOBUF_C_TYPE_SFIXED32, PROTOBUF_C_TYPE_FLOAT: 5
            case PROTOBUF_C_TYPE_STRING, PROTOBUF_C_TYPE_BYTES, PROTOBUF_C_TYPE_MESSAGE: 2
            default: 0
            }
        return unsafe wireType == own || wireType == 2 && label == PROTOBUF_C_LABEL_REPEATED
    }
}
