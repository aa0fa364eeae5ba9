import Compression
import Testing

@Suite struct ZipArchiveTests {
    private let archive = ZipArchive(files: [
        (name: "a.npy", bytes: Array("hello".utf8)), (name: "empty", bytes: []), (name: "ü", bytes: [0, 255, 7]),
    ])

    @Test func filesComeBackAsTheyWere() throws {
        let bytes = archive.bytes()
        #expect(try ZipArchive(bytes: bytes, maxByteCount: 8) == archive)
        #expect(archive.bytes() == bytes)
        #expect(archive["ü"] == [0, 255, 7] && archive["b"] == nil)
        #expect(try ZipArchive(bytes: ZipArchive().bytes(), maxByteCount: 0).files.isEmpty)
    }

    @Test func whatIsTooLongIsRefusedBeforeItIsUnpacked() {
        #expect(throws: GzipError.tooLong(byteCount: 8)) { try ZipArchive(bytes: archive.bytes(), maxByteCount: 7) }
    }

    @Test func damageIsSeenAndNeverTraps() {
        let bytes = archive.bytes()
        for end in 0..<bytes.count {
            #expect(throws: GzipError.self) { try ZipArchive(bytes: Array(bytes[..<end]), maxByteCount: 100) }
        }
        // A changed byte is an error, or a name, a date or a note that says nothing of the contents.
        for place in bytes.indices {
            for change: UInt8 in [1, 0x80, 0xFF] {
                var damaged = bytes
                damaged[place] ^= change
                guard let read = try? ZipArchive(bytes: damaged, maxByteCount: 100) else { continue }
                #expect(read.files.map(\.bytes) == archive.files.map(\.bytes) || read.files.count < 3)
            }
        }
    }
}
