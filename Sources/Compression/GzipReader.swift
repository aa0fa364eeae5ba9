internal import CZlib
internal import Glibc

/// The bytes of one file, decompressed where it is a gzip archive (of one or several members) and as they are where
/// not.
///
/// Owns zlib's handle, which never leaves this file. Reading blocks.
@safe
public struct GzipReader: ~Copyable {
    private let handle: gzFile

    /// - Throws: `cannotOpen`.
    public init(path: String) throws(GzipFileError) {
        guard let opened = unsafe gzopen(path, "rb") else {
            throw .cannotOpen(reason: errno == 0 ? "out of memory" : unsafe String(cString: strerror(errno)))
        }
        unsafe handle = opened
        _ = unsafe gzbuffer(handle, 1 << 17)
    }

    deinit { _ = unsafe gzclose(handle) }

    /// Puts up to `buffer.count − offset` bytes behind `offset` and returns how many; 0 only at the end of the file.
    /// - Throws: `damaged`.
    public mutating func read(into buffer: inout [UInt8], from offset: Int) throws(GzipFileError) -> Int {
        let room = buffer.count - offset
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe gzread(handle, bytes.baseAddress! + offset, UInt32(clamping: min(room, 1 << 30)))
        }
        if count < Int32(clamping: room) {
            var code: Int32 = 0
            let message = unsafe gzerror(handle, &code)
            if code != Z_OK && code != Z_STREAM_END {
                throw .damaged(reason: unsafe message.map { unsafe String(cString: $0) } ?? "code \(code)")
            }
        }
        return Int(max(0, count))
    }
}

/// Why a file was not read.
public enum GzipFileError: Error, Sendable, Equatable {
    /// It does not exist or may not be read.
    case cannotOpen(reason: String)
    /// Its compression is damaged, or it ends early: fetch it again.
    case damaged(reason: String)
}
