internal import Compression
internal import InteropService

/// A compressed message that is short on the wire and long once unpacked.
struct Bomb {
    private let bytes: [UInt8]

    /// Unpacks to so many zeros. Beyond 5 MiB it only says so, for nobody should unpack it.
    init(_ byteCount: Int) {
        var body = Gzip.compressed([UInt8](repeating: 0, count: min(byteCount, 5 << 20))) ?? []
        let length = (0..<4).map { UInt8(truncatingIfNeeded: byteCount >> (8 * $0)) }
        body.replaceSubrange((body.count - 4)..., with: length)
        bytes = [1] + Wire.number(UInt32(body.count)) + body
    }

    /// In DATA frames of the size that every peer takes, `flags` on the last.
    func frames(_ stream: UInt32, flags: UInt8 = 0) -> [UInt8] {
        let size = 16_384
        return stride(from: 0, to: bytes.count, by: size).flatMap { start in
            let end = min(start + size, bytes.count)
            return Wire.frame(.data, flags: end == bytes.count ? flags : 0, stream: stream, Array(bytes[start..<end]))
        }
    }

    static func head(_ method: String) -> [UInt8] { Wire.head(method) + Wire.field("grpc-encoding", "gzip") }
}
