// The small text formats of gRPC's headers: grpc-timeout and grpc-message. Pure functions over bytes.

/// `grpc-timeout`: one to eight digits and a unit.
enum GRPCTimeout {
    /// Longest timeout kept; longer ones are cut to it, so that no clock arithmetic can overflow. 10 years.
    static let longest = Duration.seconds(10 * 365 * 86_400)

    /// `nil` for anything but 1–8 digits and one of `HMSmun`.
    static func parse(_ text: some Collection<UInt8>) -> Duration? {
        guard text.count >= 2, text.count <= 9 else { return nil }
        var value: Int64 = 0
        var unit: UInt8 = 0
        for (index, byte) in text.enumerated() {
            if index == text.count - 1 {
                unit = byte
            } else {
                guard byte >= 0x30, byte <= 0x39 else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
        }
        let timeout: Duration
        switch unit {
        case UInt8(ascii: "H"): timeout = .seconds(value * 3600)
        case UInt8(ascii: "M"): timeout = .seconds(value * 60)
        case UInt8(ascii: "S"): timeout = .seconds(value)
        case UInt8(ascii: "m"): timeout = .milliseconds(value)
        case UInt8(ascii: "u"): timeout = .microseconds(value)
        case UInt8(ascii: "n"): timeout = .nanoseconds(value)
        default: return nil
        }
        return min(timeout, longest)
    }

    /// The finest unit that fits in eight digits, rounded up, so that the peer never gives up before we do.
    /// Zero and less is `1n`: the format has no "already over".
    static func format(_ timeout: Duration) -> [UInt8] {
        let (seconds, attoseconds) = min(max(timeout, .nanoseconds(1)), longest).components
        let nanoseconds = seconds * 1_000_000_000 + (attoseconds + 999_999_999) / 1_000_000_000
        var unit = UInt8(ascii: "n")
        var value = nanoseconds
        for (divisor, letter) in units {
            value = (nanoseconds + divisor - 1) / divisor
            unit = letter
            if value < 100_000_000 { break }
        }
        return Array(String(value).utf8) + [unit]
    }

    private static let units: [(Int64, UInt8)] = [
        (1, UInt8(ascii: "n")), (1000, UInt8(ascii: "u")), (1_000_000, UInt8(ascii: "m")),
        (1_000_000_000, UInt8(ascii: "S")), (60_000_000_000, UInt8(ascii: "M")),
    ]
}

/// `grpc-message`: UTF-8 with everything outside printable ASCII, and `%`, as `%XX`.
enum PercentEncoding {
    /// At most this many bytes of a message are sent: a peer's header limit must not turn a status into another one.
    static let longestMessage = 2048

    static func encode(_ message: String) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(message.utf8.count)
        for scalar in message.unicodeScalars {
            if output.count + 12 > longestMessage { break }
            for byte in UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter {
                if byte >= 0x20, byte <= 0x7E, byte != 0x25 {
                    output.append(byte)
                } else {
                    output.append(0x25)
                    output.append(hexDigit(byte >> 4))
                    output.append(hexDigit(byte & 15))
                }
            }
        }
        return output
    }

    /// Never fails: a `%` that no two hex digits follow stays as it is, and invalid UTF-8 is repaired.
    static func decode(_ text: some Sequence<UInt8>) -> String {
        let bytes = Array(text)
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count)
        var index = 0
        while index < bytes.count {
            if bytes[index] == 0x25, index + 2 < bytes.count, let high = hexValue(bytes[index + 1]),
                let low = hexValue(bytes[index + 2])
            {
                output.append(high << 4 | low)
                index += 3
            } else {
                output.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x41 + value - 10 }

    private static func hexValue(_ character: UInt8) -> UInt8? {
        switch character {
        case 0x30...0x39: character - 0x30
        case 0x41...0x46: character - 0x41 + 10
        case 0x61...0x66: character - 0x61 + 10
        default: nil
        }
    }
}
