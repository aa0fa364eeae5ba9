/// A parsed JSON document (RFC 8259): what news archives and exchanges answer with.
public enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    /// Of two members with one name the later counts.
    case object([String: JSONValue])

    /// Deeper nesting is refused, so that no document can exhaust the stack.
    public static let maximumDepth = 64

    /// `nil` for anything that is not one complete JSON document in UTF-8.
    public init?(_ bytes: Span<UInt8>) {
        var parser = JSONParser()
        guard let value = parser.document(bytes) else { return nil }
        self = value
    }

    /// A member of an object; `nil` for anything else.
    public subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members[name]
    }

    public var string: String? {
        guard case .string(let value) = self else { return nil }
        return value
    }

    public var number: Double? {
        guard case .number(let value) = self else { return nil }
        return value
    }

    public var array: [JSONValue]? {
        guard case .array(let value) = self else { return nil }
        return value
    }
}

/// Recursive descent over bytes; every function returns nil on the first fault.
private struct JSONParser {
    private var i = 0

    mutating func document(_ text: Span<UInt8>) -> JSONValue? {
        skipSpace(text)
        guard let value = value(text, depth: 0) else { return nil }
        skipSpace(text)
        return i == text.count ? value : nil
    }

    private mutating func skipSpace(_ text: Span<UInt8>) {
        while i < text.count, text[i] == 0x20 || text[i] == 0x09 || text[i] == 0x0A || text[i] == 0x0D { i += 1 }
    }

    private mutating func take(_ byte: UInt8, _ text: Span<UInt8>) -> Bool {
        guard i < text.count, text[i] == byte else { return false }
        i += 1
        return true
    }

    private mutating func take(word: StaticString, _ text: Span<UInt8>, as value: JSONValue) -> JSONValue? {
        for byte in word.description.utf8 where !take(byte, text) { return nil }
        return value
    }

    private mutating func value(_ text: Span<UInt8>, depth: Int) -> JSONValue? {
        guard i < text.count, depth < JSONValue.maximumDepth else { return nil }
        switch text[i] {
        case UInt8(ascii: "{"): return object(text, depth: depth)
        case UInt8(ascii: "["): return array(text, depth: depth)
        case UInt8(ascii: "\""): return string(text).map { .string($0) }
        case UInt8(ascii: "t"): return take(word: "true", text, as: .bool(true))
        case UInt8(ascii: "f"): return take(word: "false", text, as: .bool(false))
        case UInt8(ascii: "n"): return take(word: "null", text, as: .null)
        default: return number(text)
        }
    }

    private mutating func object(_ text: Span<UInt8>, depth: Int) -> JSONValue? {
        i += 1
        var members: [String: JSONValue] = [:]
        skipSpace(text)
        if take(UInt8(ascii: "}"), text) { return .object(members) }
        while true {
            skipSpace(text)
            guard let name = string(text) else { return nil }
            skipSpace(text)
            guard take(UInt8(ascii: ":"), text) else { return nil }
            skipSpace(text)
            guard let member = value(text, depth: depth + 1) else { return nil }
            members[name] = member
            skipSpace(text)
            if take(UInt8(ascii: "}"), text) { return .object(members) }
            guard take(UInt8(ascii: ","), text) else { return nil }
        }
    }

    private mutating func array(_ text: Span<UInt8>, depth: Int) -> JSONValue? {
        i += 1
        var elements: [JSONValue] = []
        skipSpace(text)
        if take(UInt8(ascii: "]"), text) { return .array(elements) }
        while true {
            skipSpace(text)
            guard let element = value(text, depth: depth + 1) else { return nil }
            elements.append(element)
            skipSpace(text)
            if take(UInt8(ascii: "]"), text) { return .array(elements) }
            guard take(UInt8(ascii: ","), text) else { return nil }
        }
    }

    private mutating func number(_ text: Span<UInt8>) -> JSONValue? {
        let start = i
        _ = take(UInt8(ascii: "-"), text)
        let zero = UInt8(ascii: "0")
        guard i < text.count, text[i] &- zero <= 9 else { return nil }
        if text[i] == zero, i + 1 < text.count, text[i + 1] &- zero <= 9 { return nil }  // no leading zeros
        while i < text.count, text[i] &- zero <= 9 { i += 1 }
        if take(UInt8(ascii: "."), text) {
            let first = i
            while i < text.count, text[i] &- zero <= 9 { i += 1 }
            guard i > first else { return nil }
        }
        if i < text.count, text[i] | 0x20 == UInt8(ascii: "e") {
            i += 1
            if !take(UInt8(ascii: "-"), text) { _ = take(UInt8(ascii: "+"), text) }
            let first = i
            while i < text.count, text[i] &- zero <= 9 { i += 1 }
            guard i > first else { return nil }
        }
        return (try? decimal(text, start..<i)).map { .number($0) }
    }

    private mutating func string(_ text: Span<UInt8>) -> String? {
        guard take(UInt8(ascii: "\""), text) else { return nil }
        var bytes: [UInt8] = []
        while i < text.count {
            let byte = text[i]
            i += 1
            switch byte {
            case UInt8(ascii: "\""): return String(validating: bytes, as: UTF8.self)
            case 0..<0x20: return nil
            case UInt8(ascii: "\\"):
                guard i < text.count else { return nil }
                let escaped = text[i]
                i += 1
                switch escaped {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): bytes.append(escaped)
                case UInt8(ascii: "b"): bytes.append(0x08)
                case UInt8(ascii: "f"): bytes.append(0x0C)
                case UInt8(ascii: "n"): bytes.append(0x0A)
                case UInt8(ascii: "r"): bytes.append(0x0D)
                case UInt8(ascii: "t"): bytes.append(0x09)
                case UInt8(ascii: "u"):
                    guard let scalar = unicodeScalar(text) else { return nil }
                    bytes.append(contentsOf: Array(String(Character(scalar)).utf8))
                default: return nil
                }
            default: bytes.append(byte)
            }
        }
        return nil
    }

    /// The scalar of `\uXXXX`, or of two of them that form a surrogate pair.
    private mutating func unicodeScalar(_ text: Span<UInt8>) -> Unicode.Scalar? {
        guard let high = hexadecimal(text) else { return nil }
        guard (0xD800..<0xDC00).contains(high) else { return Unicode.Scalar(high) }
        guard take(UInt8(ascii: "\\"), text), take(UInt8(ascii: "u"), text), let low = hexadecimal(text),
            (0xDC00..<0xE000).contains(low)
        else { return nil }
        return Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))
    }

    private mutating func hexadecimal(_ text: Span<UInt8>) -> UInt32? {
        guard i + 4 <= text.count else { return nil }
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = Character(Unicode.Scalar(text[i])).hexDigitValue else { return nil }
            value = value << 4 | UInt32(digit)
            i += 1
        }
        return value
    }
}
