/// Bytes of HTTP/2 written by hand, for what no library of good manners would send.
public enum Wire {
    public static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(.settings)

    public enum Kind: UInt8 {
        case data, headers, priority, rstStream, settings, pushPromise, ping, goAway, windowUpdate, continuation
    }

    public static func frame(_ kind: Kind, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []) -> [UInt8] {
        var bytes: [UInt8] = [
            UInt8(truncatingIfNeeded: payload.count >> 16), UInt8(truncatingIfNeeded: payload.count >> 8),
            UInt8(truncatingIfNeeded: payload.count), kind.rawValue, flags,
        ]
        bytes += number(stream)
        return bytes + payload
    }

    public static func number(_ value: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) }
    }

    public static func setting(_ id: UInt16, _ value: UInt32) -> [UInt8] {
        [UInt8(id >> 8), UInt8(id & 255)] + number(value)
    }

    /// A literal field, neither indexed nor Huffman-coded.
    public static func field(_ name: String, _ value: [UInt8]) -> [UInt8] {
        [0] + length(name.utf8.count) + Array(name.utf8) + length(value.count) + value
    }

    public static func field(_ name: String, _ value: String) -> [UInt8] { field(name, Array(value.utf8)) }

    /// An HPACK integer with a prefix of 7 bits.
    static func length(_ value: Int) -> [UInt8] {
        guard value >= 127 else { return [UInt8(value)] }
        var rest = value - 127
        var bytes: [UInt8] = [127]
        while rest >= 128 {
            bytes.append(UInt8(rest & 127) | 128)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    /// A gRPC request's head as a header block.
    public static func head(_ method: String) -> [UInt8] {
        field(":method", "POST") + field(":scheme", "http") + field(":path", "/vomma.testing.v1.Interop/" + method)
            + field(":authority", "a") + field("te", "trailers") + field("content-type", "application/grpc")
    }

    public static let endStream: UInt8 = 1
    public static let endHeaders: UInt8 = 4

    public static func message(_ body: [UInt8]) -> [UInt8] { [0] + number(UInt32(body.count)) + body }
}
