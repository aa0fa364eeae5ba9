import Compression
import Testing

/// Messages against zlib's own format; the files of Python's gzip module are read byte for byte.
@Suite struct GzipTests {
    /// `gzip.compress(b"hello", mtime=0)`, Python 3.13.
    private static let hello: [UInt8] = [
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x86,
        0xa6, 0x10, 0x36, 0x05, 0x00, 0x00, 0x00,
    ]
    /// `gzip.compress(b"", mtime=0)`.
    private static let nothing: [UInt8] = [
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x03, 0x00, 0, 0, 0, 0, 0, 0, 0, 0,
    ]

    @Test("What others compressed is read")
    func foreign() throws {
        #expect(try Gzip.decompressed(Self.hello, maxByteCount: 5) == Array("hello".utf8))
        #expect(try Gzip.decompressed(Self.nothing, maxByteCount: 0) == [])
    }

    @Test("What was compressed comes back; what gets no shorter stays as it is", arguments: [
        0, 1, 2, 20, 100, 255, 256, 257, 511, 512, 1023, 4096, 32_767, 32_768, 32_769, 100_000, 1 << 20,
    ])
    func roundTrip(byteCount: Int) throws {
        var random = UInt32(byteCount)
        let noise = (0..<byteCount).map { _ in
            random = random &* 1_664_525 &+ 1_013_904_223
            return UInt8(random >> 24)
        }
        let text = Array("the price of an option ".utf8)
        for bytes in [[UInt8](repeating: 7, count: byteCount), noise, (0..<byteCount).map { text[$0 % text.count] }] {
            guard let compressed = Gzip.compressed(bytes) else {
                #expect(bytes == noise || byteCount <= 100, "\(byteCount) bytes are not compressed")
                continue
            }
            #expect(compressed.count < byteCount)
            #expect(try Gzip.decompressed(compressed, maxByteCount: byteCount) == bytes)
            #expect(throws: GzipError.tooLong(byteCount: byteCount)) {
                try Gzip.decompressed(compressed, maxByteCount: byteCount - 1)
            }
        }
        #expect(Gzip.compressed(noise) == nil, "noise cannot get shorter")
    }

    @Test("Damage anywhere is found: each byte changed, each end cut off, more behind it")
    func damage() {
        for index in Self.hello.indices {
            // The method's neighbours in the head are of no account: time, hints, system.
            guard !(4..<10).contains(index) else { continue }
            var bytes = Self.hello
            bytes[index] ^= 0x55
            #expect(throws: GzipError.self, "byte \(index)") { try Gzip.decompressed(bytes, maxByteCount: 1 << 20) }
        }
        for count in Self.hello.indices {
            #expect(throws: GzipError.self, "\(count) bytes") {
                try Gzip.decompressed(Array(Self.hello.prefix(count)), maxByteCount: 1 << 20)
            }
        }
        for more in [[0], Self.nothing, Self.hello] {
            #expect(throws: GzipError.self) { try Gzip.decompressed(Self.hello + more, maxByteCount: 1 << 20) }
        }
    }

    @Test("A length that is told wrong is damage, whether more or less")
    func wrongLength() throws {
        let bomb = try #require(Gzip.compressed([UInt8](repeating: 0, count: 10 << 20)))
        for told in [0, 1, 1000, (10 << 20) - 1, (10 << 20) + 1, 16 << 20] {
            let bytes = bomb.dropLast(4) + (0..<4).map { UInt8(truncatingIfNeeded: told >> (8 * $0)) }
            #expect { try Gzip.decompressed(Array(bytes), maxByteCount: 16 << 20) } throws: {
                if case .damaged = $0 as? GzipError { true } else { false }
            }
        }
    }

    @Test("A file that is not there; MarketData's readers try the others")
    func missingFile() {
        #expect(throws: GzipFileError.self) { _ = try GzipReader(path: "/nonexistent/x.gz") }
    }
}
