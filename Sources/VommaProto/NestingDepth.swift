internal import CProtobufC

/// Measures how deep a message's bytes nest before protobuf-c, which has no limit, recurses into them.
enum NestingDepth {
    enum Result { case withinLimit, beyondLimit, malformed }

    /// Walks the fields that `descriptor` says are messages; all others are skipped whole. Linear in the bytes.
    static func check(
        _ bytes: UnsafeRawBufferPointer, _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, limit: Int
    ) -> Result {
        var open: [(end: Int, descriptor: UnsafePointer<ProtobufCMessageDescriptor>)] =
            unsafe [(bytes.count, descriptor)]
        var position = 0
        while let innermost = unsafe open.last {
            let end = unsafe innermost.end
            if position == end {
                unsafe open.removeLast()
                continue
            }
            guard let tag = unsafe varint(bytes, &position, end) else { return .malformed }
            switch tag & 7 {
            case 0:
                guard unsafe varint(bytes, &position, end) != nil else { return .malformed }
            case 1, 5:
                let size = tag & 7 == 1 ? 8 : 4
                guard end - position >= size else { return .malformed }
                position += size
            case 2:
                guard let length = unsafe varint(bytes, &position, end), length <= UInt64(end - position) else {
                    return .malformed
                }
                let number = UInt32(truncatingIfNeeded: tag >> 3)
                let field = unsafe protobuf_c_message_descriptor_get_field(innermost.descriptor, number)
                if let field = unsafe field, unsafe field.pointee.type == PROTOBUF_C_TYPE_MESSAGE,
                    let inner = unsafe field.pointee.descriptor
                {
                    guard unsafe open.count <= limit else { return .beyondLimit }
                    unsafe open.append(
                        (position + Int(length), inner.assumingMemoryBound(to: ProtobufCMessageDescriptor.self)))
                } else {
                    position += Int(length)
                }
            default: return .malformed
            }
        }
        return .withinLimit
    }

    /// A number of up to ten bytes, least significant first; `nil` if it doesn't end before `end`.
    private static func varint(_ bytes: UnsafeRawBufferPointer, _ position: inout Int, _ end: Int) -> UInt64? {
        var result: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            guard position < end else { return nil }
            let byte = unsafe bytes[position]
            position += 1
            result |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return result }
        }
        return nil
    }
}
