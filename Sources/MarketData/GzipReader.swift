internal import CZlib
internal import Kernels

/// The bytes of one file, decompressed where it is a gzip archive (of one or several members) and as they are where
/// not.
///
/// Owns zlib's handle, which never leaves this file. Reading blocks.
@safe
struct GzipReader: ~Copyable {
    private let handle: gzFile
    private let path: String

    init(path: String) throws(MarketDataError) {
        guard let opened = unsafe gzopen(path, "rb") else {
            let reason = errno == 0 ? "out of memory" : unsafe String(cString: strerror(errno))
            throw .cannotOpen(path: path, reason: reason)
        }
        unsafe handle = opened
        self.path = path
        _ = unsafe gzbuffer(handle, 1 << 17)
    }

    deinit { _ = unsafe gzclose(handle) }

    /// Puts up to `buffer.count − offset` bytes behind `offset` and returns how many; 0 only at the end of the file.
    mutating func read(into buffer: inout [UInt8], from offset: Int) throws(MarketDataError) -> Int {
        let room = buffer.count - offset
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe gzread(handle, bytes.baseAddress! + offset, UInt32(clamping: min(room, 1 << 30)))
        }
        if count < Int32(clamping: room) {
            var code: Int32 = 0
            let message = unsafe gzerror(handle, &code)
            if code != Z_OK && code != Z_STREAM_END {
                let reason = unsafe message.map { unsafe String(cString: $0) } ?? "code \(code)"
                throw .corruptFile(path: path, reason: reason)
            }
        }
        return Int(max(0, count))
    }
}
