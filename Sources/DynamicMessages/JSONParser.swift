extension JSONDocument {
    /// Reads one document (RFC 8259, UTF-8).
    /// - Throws: `DynamicMessageError.malformedJSON`, also for a name that occurs twice in an object, and for nesting
    ///   beyond `depthLimit`.
    public init(parsing text: String) throws(DynamicMessageError) {
        var parser = JSONParser(Array(text.utf8))
        guard let document = try parser.nextDocument() else { throw parser.fault("no JSON value") }
        self = document
        guard try parser.nextDocument() == nil else { throw parser.fault("text after the JSON value") }
    }

    /// Reads any number of documents, one after another; white space between them is optional.
    public static func sequence(parsing text: some Sequence<UInt8>) throws(DynamicMessageError) -> [JSONDocument] {
        var parser = JSONParser(Array(text))
        var result: [JSONDocument] = []
        while let document = try parser.nextDocument() { result.append(document) }
        return result
    }
}

/// Recursive descent over bytes.
struct JSONParser {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// `nil` at the end of the text.
    mutating func nextDocument() throws(DynamicMessageError) -> JSONDocument? {
        skipSpace()
        return position == bytes.count ? nil : try value(depth: 0)
    }

    /// An error at the current position.
    func fault(_ reason: String) -> DynamicMessageError {
        let before = bytes[..<position]
        let lineStart = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        let line = before.count { $0 == UInt8(ascii: "\n") } + 1
        return .malformedJSON(line: line, column: position - lineStart + 1, reason: reason)
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        position += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
    }

    private mutating func value(depth: Int) throws(DynamicMessageError) -> JSONDocument {
        guard depth < JSONDocument.depthLimit else { throw fault("nested more than \(JSONDocument.depthLimit) deep") }
        guard let next else { throw fault("the text ends where a value is expected") }
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
        default: throw fault("a value is expected")
        }
    }

    private mutating func word(_ word: String, _ value: JSONDocument) throws(DynamicMessageError) -> JSONDocument {
        guard bytes[position...].starts(with: word.utf8) else { throw fault("a value is expected") }
        position += word.utf8.count
        return value
    }

    private mutating func object(depth: Int) throws(DynamicMessageError) -> JSONDocument {
        position += 1
        var members: [JSONDocument.Member] = []
        // By bytes: Swift's strings are equal when they are canonically equivalent, JSON's are not.
        var names: Set<[UInt8]> = []
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object([]) }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw fault("a name in quotes is expected") }
            let start = position
            let name = try string()
            guard names.insert(Array(name.utf8)).inserted else {
                position = start
                throw fault("the name \(JSONDocument.string(name).text()) occurs twice")
            }
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw fault("“:” is expected") }
            skipSpace()
            members.append(JSONDocument.Member(name, try value(depth: depth + 1)))
            skipSpace()
            if take(UInt8(ascii: "}")) { return .object(members) }
            guard take(UInt8(ascii: ",")) else { throw fault("“,” or “}” is expected") }
        }
    }

    private mutating func array(depth: Int) throws(DynamicMessageError) -> JSONDocument {
        position += 1
        var elements: [JSONDocument] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return .array([]) }
        while true {
            skipSpace()
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if take(UInt8(ascii: "]")) { return .array(elements) }
            guard take(UInt8(ascii: ",")) else { throw fault("“,” or “]” is expected") }
        }
    }

    private mutating func number() throws(DynamicMessageError) -> String {
        let start = position
        _ = take(UInt8(ascii: "-"))
        let integerStart = position
        try digits()
        if position - integerStart > 1, bytes[integerStart] == UInt8(ascii: "0") {
            position = start
            throw fault("a number has no leading zeros")
        }
        if take(UInt8(ascii: ".")) { try digits() }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            if !take(UInt8(ascii: "-")) { _ = take(UInt8(ascii: "+")) }
            try digits()
        }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    private mutating func digits() throws(DynamicMessageError) {
        let start = position
        while let byte = next, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { position += 1 }
        guard position > start else { throw fault("a digit is expected") }
    }

    private mutating func string() throws(DynamicMessageError) -> String {
        let start = position
        position += 1
        var content: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                guard let text = String(validating: content, as: UTF8.self) else {
                    position = start
                    throw fault("a string that is not UTF-8")
                }
                return text
            case UInt8(ascii: "\\"): try content.append(contentsOf: escape())
            case 0..<0x20: throw fault("a control character in a string; write \\n, \\t or \\u00XX")
            default:
                content.append(byte)
                position += 1
            }
        }
        position = start
        throw fault("a string that does not end")
    }

    /// The UTF-8 bytes of an escape, the position being at its backslash.
    private mutating func escape() throws(DynamicMessageError) -> [UInt8] {
        let start = position
        position += 1
        let letter = next
        position += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return letter.map { [$0] } ?? []
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"):
            if let scalar = scalar() { return Array(String(Character(scalar)).utf8) }
        default: break
        }
        position = start
        throw fault("an escape that JSON does not have, or half a surrogate pair")
    }

    /// The scalar of `XXXX` after `\u`, or of two such that form a surrogate pair.
    private mutating func scalar() -> Unicode.Scalar? {
        guard let high = hexadecimal() else { return nil }
        guard (0xD800..<0xDC00).contains(high) else { return Unicode.Scalar(high) }
        guard take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")), let low = hexadecimal(),
            (0xDC00..<0xE000).contains(low)
        else { return nil }
        return Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))
    }

    private mutating func hexadecimal() -> UInt32? {
        guard position + 4 <= bytes.count else { return nil }
        var value: UInt32 = 0
        for byte in bytes[position..<(position + 4)] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { return nil }
            value = value << 4 | UInt32(digit)
        }
        position += 4
        return value
    }
}
