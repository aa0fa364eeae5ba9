internal import CZlib

/// A zip archive of small files that is wholly in memory (PKWARE's APPNOTE 6.3, without encryption and Zip64).
public struct ZipArchive: Sendable, Equatable {
    /// In the order of the archive's directory.
    public var files: [(name: String, bytes: [UInt8])]

    public init(files: [(name: String, bytes: [UInt8])] = []) { self.files = files }

    public static func == (a: ZipArchive, b: ZipArchive) -> Bool {
        a.files.elementsEqual(b.files) { $0.name == $1.name && $0.bytes == $1.bytes }
    }

    public subscript(name: String) -> [UInt8]? { files.first { $0.name == name }?.bytes }

    // MARK: Writing

    /// The archive's bytes, the files stored as they are: the same for the same files, with the date 1980-01-01.
    /// Traps on more than 65,534 files, or 4 GiB.
    public func bytes() -> [UInt8] {
        precondition(files.count < 65_535, "a zip's directory counts to 65,534")
        var archive: [UInt8] = []
        var directory: [UInt8] = []
        for file in files {
            let name = Array(file.name.utf8)
            precondition(name.count < 65_536 && archive.count + file.bytes.count < Int(UInt32.max), "a zip has 4 GiB")
            // Version 2.0, names in UTF-8, stored, 1980-01-01.
            let common =
                Self.little(20, 2) + Self.little(0x800, 2) + Self.little(0, 2) + Self.little(0, 2)
                + Self.little(0x21, 2) + Self.little(Int(Self.checksum(file.bytes)), 4)
                + Self.little(file.bytes.count, 4) + Self.little(file.bytes.count, 4) + Self.little(name.count, 2)
            directory += Self.little(0x0201_4B50, 4) + Self.little(20, 2) + common
            directory += Self.little(0, 12) + Self.little(archive.count, 4) + name
            archive += Self.little(0x0403_4B50, 4) + common + Self.little(0, 2) + name + file.bytes
        }
        let start = archive.count
        archive += directory + Self.little(0x0605_4B50, 4) + Self.little(0, 4)
        archive += Self.little(files.count, 2) + Self.little(files.count, 2)
        return archive + Self.little(directory.count, 4) + Self.little(start, 4) + Self.little(0, 2)
    }

    private static func little(_ value: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { $0 < 8 ? UInt8(truncatingIfNeeded: value >> (8 * $0)) : 0 }
    }

    private static func checksum(_ bytes: [UInt8]) -> UInt32 {
        unsafe bytes.withUnsafeBufferPointer { unsafe UInt32(crc32_z(0, $0.baseAddress, $0.count)) }
    }

    // MARK: Reading

    /// Reads an archive whose files are stored or deflated. Contents of all files together may have `maxByteCount`
    /// bytes: what says it has more is refused before any of it is unpacked.
    /// - Throws: `damaged`, `tooLong`.
    public init(bytes: [UInt8], maxByteCount: Int) throws(GzipError) {
        func number(_ place: Int, _ count: Int) throws(GzipError) -> Int {
            guard place >= 0, place + count <= bytes.count else { throw .damaged(reason: "it ends early") }
            return (0..<count).reduce(0) { $0 | Int(bytes[place + $1]) << (8 * $1) }
        }
        // The directory's end is within the last 64 KiB: a comment may follow it.
        let last = stride(from: bytes.count - 22, through: max(0, bytes.count - 22 - 65_535), by: -1).first { place in
            place >= 0 && bytes[place] == 0x50 && bytes[place + 1] == 0x4B && bytes[place + 2] == 5
                && bytes[place + 3] == 6
        }
        guard let end = last else { throw .damaged(reason: "no zip archive") }
        let count = try number(end + 10, 2)
        var entry = try number(end + 16, 4)
        var left = maxByteCount
        files = []
        for _ in 0..<count {
            guard try number(entry, 4) == 0x0201_4B50 else { throw .damaged(reason: "its directory is broken") }
            let (method, told) = (try number(entry + 10, 2), try number(entry + 16, 4))
            let (packed, length) = (try number(entry + 20, 4), try number(entry + 24, 4))
            let nameLength = try number(entry + 28, 2)
            let header = try number(entry + 42, 4)
            guard try number(header, 4) == 0x0403_4B50 else {
                throw .damaged(reason: "a file is not where it should be")
            }
            let start = header + 30 + (try number(header + 26, 2)) + (try number(header + 28, 2))
            guard start + packed <= bytes.count, entry + 46 + nameLength <= bytes.count else {
                throw .damaged(reason: "it ends early")
            }
            guard length <= left else { throw .tooLong(byteCount: maxByteCount - left + length) }
            left -= length
            let contents = Array(bytes[start..<(start + packed)])
            let file: [UInt8]
            switch method {
            case 0: file = contents
            case 8: file = try Self.inflated(contents, count: length)
            default: throw .damaged(reason: "a file is packed by method \(method)")
            }
            guard file.count == length, Int(Self.checksum(file)) == told else {
                throw .damaged(reason: "a file's checksum is wrong")
            }
            let name = String(decoding: bytes[(entry + 46)..<(entry + 46 + nameLength)], as: UTF8.self)
            files.append((name, file))
            entry += 46 + nameLength + (try number(entry + 30, 2)) + (try number(entry + 32, 2))
        }
    }

    /// A bare stream of deflate that has `count` bytes.
    private static func inflated(_ bytes: [UInt8], count: Int) throws(GzipError) -> [UInt8] {
        var isWhole = false
        let result = unsafe [UInt8](unsafeUninitializedCapacity: count + 1) { output, written in
            var stream = unsafe z_stream()
            unsafe withUnsafeMutablePointer(to: &stream) { stream in
                guard unsafe inflateInit2_(stream, -15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
                else { return }
                defer { unsafe inflateEnd(stream) }
                let end = unsafe Gzip.run(stream, from: bytes, to: output) { unsafe inflate($0, Z_FINISH) }
                isWhole = end == Z_STREAM_END
                written = unsafe isWhole ? output.count - Int(stream.pointee.avail_out) : 0
            }
        }
        guard isWhole else { throw .damaged(reason: "a file does not end where it should") }
        return result
    }
}
