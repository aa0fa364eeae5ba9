import MarketData
import Testing

@testable import Reports

@Suite struct EventFileTests {
    @Test("the checksum is RFC 3720's") func checksum() {
        #expect(EventFile.crc32c(Array("123456789".utf8)) == 0xE306_9283)
        #expect(EventFile.crc32c([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(EventFile.crc32c([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    }

    /// By hand, from the protobuf of an event: tag and value of fields 1, 2 and 5.
    @Test("an event's bytes are those of TensorFlow's record") func record() {
        var file = EventFile(wallTime: Timestamp(seconds: 1))
        let head = file.bytes.count
        file.append("loss", step: 300, value: 0.5)
        let record = Array(file.bytes[head...])
        let data: [UInt8] = [
            0x09, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0x10, 0xAC, 0x02, 0x2A, 13, 0x0A, 11, 0x0A, 4, 0x6C, 0x6F, 0x73, 0x73,
            0x15, 0, 0, 0, 0x3F,
        ]
        let length: [UInt8] = [UInt8(data.count), 0, 0, 0, 0, 0, 0, 0]
        func crc(_ bytes: [UInt8]) -> [UInt8] {
            let value = EventFile.maskedCRC(bytes)
            return (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        #expect(record == length + crc(length) + data + crc(data))
    }
}
