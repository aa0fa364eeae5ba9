public import MarketData

/// Scalars over steps as TensorBoard's event file: records of TensorFlow's TFRecord format, each an `Event` message
/// (github.com/tensorflow/tensorflow: core/lib/io/record_writer.h, core/util/event.proto).
///
///     record = length: UInt64, masked CRC of the length, data, masked CRC of the data; all little-endian
public struct EventFile: Sendable {
    public private(set) var bytes: [UInt8] = []
    private let seconds: Double

    /// `wallTime` stands in every event: what matters is the step.
    public init(wallTime: Timestamp) {
        seconds = wallTime.seconds
        var event = Message()
        event.put(1, seconds)
        event.put(3, Array("brain.Event:2".utf8))
        append(event.bytes)
    }

    /// One point of the curve `tag`. TensorBoard keeps single precision.
    public mutating func append(_ tag: String, step: Int64, value: Double) {
        var scalar = Message()
        scalar.put(1, Array(tag.utf8))
        scalar.put(2, Float(value))
        var summary = Message()
        summary.put(1, scalar.bytes)
        var event = Message()
        event.put(1, seconds)
        event.put(2, step)
        event.put(5, summary.bytes)
        append(event.bytes)
    }

    private mutating func append(_ data: [UInt8]) {
        let length = littleEndian(UInt64(data.count), 8)
        bytes += length + littleEndian(UInt64(Self.maskedCRC(length)), 4)
        bytes += data + littleEndian(UInt64(Self.maskedCRC(data)), 4)
    }

    static func maskedCRC(_ bytes: [UInt8]) -> UInt32 {
        let crc = crc32c(bytes)
        return (crc >> 15 | crc << 17) &+ 0xA282_EAD8
    }

    /// CRC-32C (Castagnoli), reflected: RFC 3720, appendix B.4.
    static func crc32c(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~0) { crc, byte in table[Int(UInt8(truncatingIfNeeded: crc) ^ byte)] ^ (crc >> 8) }
    }

    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { crc, _ in crc & 1 == 0 ? crc >> 1 : crc >> 1 ^ 0x82F6_3B78 }
    }

    /// The few wire types of protobuf that an event needs.
    private struct Message {
        var bytes: [UInt8] = []

        private mutating func put(varint value: UInt64) {
            var rest = value
            while rest >= 0x80 {
                bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }

        private mutating func put(_ field: Int, wireType: UInt64) { put(varint: UInt64(field) << 3 | wireType) }

        mutating func put(_ field: Int, _ value: Int64) {
            put(field, wireType: 0)
            put(varint: UInt64(bitPattern: value))
        }

        mutating func put(_ field: Int, _ value: Double) {
            put(field, wireType: 1)
            bytes += littleEndian(value.bitPattern, 8)
        }

        mutating func put(_ field: Int, _ value: Float) {
            put(field, wireType: 5)
            bytes += littleEndian(UInt64(value.bitPattern), 4)
        }

        mutating func put(_ field: Int, _ value: [UInt8]) {
            put(field, wireType: 2)
            put(varint: UInt64(value.count))
            bytes += value
        }
    }
}

private func littleEndian(_ value: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}
