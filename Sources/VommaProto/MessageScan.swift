internal import CProtobufC

/// Looks through a message's bytes for what protobuf-c must not see: it recurses without a limit, and merges wrongly.
enum MessageScan {
    enum Verdict {
        case plain
        /// Well-formed so far, but with groups, or with a message that occurs more than once where one is expected:
        /// `MessageRepair` is to be asked.
        case odd
        case tooDeep
        case malformed
    }

    @safe
    private struct Level {
        var fields: WireFields
        let descriptor: UnsafePointer<ProtobufCMessageDescriptor>
        /// Single message fields that have occurred, a bit each by their place among the fields. Two fields may share a
        /// bit: then a plain message is taken for an odd one, which is slower and right.
        var seen: UInt64 = 0
    }

    /// Walks into the fields that the descriptor says are messages; all others are skipped whole. Linear in the bytes.
    static func check(
        _ bytes: UnsafeRawBufferPointer, _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, limit: Int
    ) -> Verdict {
        do {
            return try unsafe walk(bytes, descriptor, limit)
        } catch {
            return error == .tooDeep ? .tooDeep : .malformed
        }
    }

    private static func walk(
        _ bytes: UnsafeRawBufferPointer, _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, _ limit: Int
    ) throws(WireFault) -> Verdict {
        var open = [unsafe Level(fields: WireFields(bytes, 0..<bytes.count), descriptor: descriptor)]
        while !open.isEmpty {
            let top = open.count - 1
            guard let field = try open[top].fields.next(groupDepth: limit - top) else {
                open.removeLast()
                continue
            }
            if field.type == 3 { return .odd }
            guard field.type == 2, let known = unsafe open[top].descriptor.field(field.number),
                let inner = unsafe known.pointee.message
            else { continue }
            if unsafe known.pointee.label != PROTOBUF_C_LABEL_REPEATED {
                let place = unsafe known - open[top].descriptor.pointee.fields
                let bit: UInt64 = 1 << UInt64(place & 63)
                if open[top].seen & bit != 0 { return .odd }
                open[top].seen |= bit
            }
            guard top < limit else { throw .tooDeep }
            unsafe open.append(Level(fields: WireFields(bytes, field.content), descriptor: inner))
        }
        return .plain
    }
}

extension UnsafePointer<ProtobufCMessageDescriptor> {
    /// The field of this number.
    func field(_ number: UInt32) -> UnsafePointer<ProtobufCFieldDescriptor>? {
        unsafe protobuf_c_message_descriptor_get_field(self, number)
    }
}

extension ProtobufCFieldDescriptor {
    /// The type of a message field.
    var message: UnsafePointer<ProtobufCMessageDescriptor>? {
        guard unsafe type == PROTOBUF_C_TYPE_MESSAGE else { return nil }
        return unsafe descriptor?.assumingMemoryBound(to: ProtobufCMessageDescriptor.self)
    }
}
