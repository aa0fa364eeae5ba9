/// The JSON that file headers need: a strict reader (RFC 8259) with limits and a writer of strings. Internal: it is not
/// a general library.
enum JSON {
    case object([String: JSON])
    case array([JSON])
    case string(String)
    case integer(Int)
    /// A number that is not a plain integer of 64 bits: headers have no use for its value.
    case otherNumber
    case bool(Bool)
    case null

    /// Why a text is not JSON, with the byte where it ceased to be.
    struct Fault: Error { let reason: String }

    /// Nesting deeper than this is refused, so that hostile input cannot exhaust the stack.
    static let depthLimit = 16

    init(parsing bytes: ArraySlice<UInt8>) throws(Fault) {
        var reader = Reader(bytes: bytes, position: bytes.startIndex)
        self = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.position == bytes.endIndex else { throw reader.fault("text after the value") }
    }

    /// `text` as a JSON string with its quotes.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20:
                let hex = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

private struct Reader {
    let bytes: ArraySlice<UInt8>
    var position: Int

    func fault(_ reason: String) -> JSON.Fault {
        JSON.Fault(reason: "\(reason) at byte \(position - bytes.startIndex) of the header")
    }

    var next: UInt8? { position < bytes.endIndex ? bytes[position] : nil }

    mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
    }

    mutating func take(_ byte: Character) -> Bool {
        guard let value = byte.asciiValue, next == value else { return false }
        position += 1
        return true
    }

    mutating func expect(_ byte: Character) throws(JSON.Fault) {
        guard take(byte) else { throw fault("no \(byte)") }
    }

    mutating func word(_ text: String, _ value: JSON) throws(JSON.Fault) -> JSON {
        for character in text { try expect(character) }
        return value
    }

    mutating func value(depth: Int) throws(JSON.Fault) -> JSON {
        guard depth < JSON.depthLimit else { throw fault("nesting too deep") }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    mutating func object(depth: Int) throws(JSON.Fault) -> JSON {
        try expect("{")
        var members: [String: JSON] = [:]
        skipSpace()
        if take("}") { return .object([:]) }
        repeat {
            skipSpace()
            let key = try string()
            guard members[key] == nil else { throw fault("a key twice") }
            skipSpace()
            try expect(":")
            members[key] = try value(depth: depth + 1)
            skipSpace()
        } while take(",")
        try expect("}")
        return .object(members)
    }

    mutating func array(depth: Int) throws(JSON.Fault) -> JSON {
        try expect("[")
        var elements: [JSON] = []
        skipSpace()
        if take("]") { return .array([]) }
        repeat {
            elements.append(try value(depth: depth + 1))
            skipSpace()
        } while take(",")
        try expect("]")
        return .array(elements)
    }

    mutating func number() throws(JSON.Fault) -> JSON {
        let start = position
        _ = take("-")
        let digits = position
        skipDigits()
        guard position > digits else { throw fault("no value") }
        guard position == digits + 1 || bytes[digits] != UInt8(ascii: "0") else { throw fault("a leading zero") }
        var isInteger = true
        if take(".") {
            isInteger = false
            let fraction = position
            skipDigits()
            guard position > fraction else { throw fault("no digit") }
        }
        if take("e") || take("E") {
            isInteger = false
            if !take("+") { _ = take("-") }
            let exponent = position
            skipDigits()
            guard position > exponent else { throw fault("no digit") }
        }
        guard isInteger, let value = Int(String(decoding: bytes[start..<position], as: UTF8.self)) else {
            return .otherNumber
        }
        return .integer(value)
    }

    mutating func skipDigits() {
        while let byte = next, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { position += 1 }
    }

    mutating func string() throws(JSON.Fault) -> String {
        try expect("\"")
        var text: [UInt8] = []
        while let byte = next {
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else { throw fault("invalid UTF-8") }
                return string
            case UInt8(ascii: "\\"): text.append(contentsOf: try escape().utf8)
            case 0..<0x20: throw fault("a control character in a string")
            default: text.append(byte)
            }
        }
        throw fault("an unfinished string")
    }

    mutating func escape() throws(JSON.Fault) -> String {
        guard let byte = next else { throw fault("an unfinished string") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return String(Unicode.Scalar(byte))
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): break
        default: throw fault("an unknown escape")
        }
        let first = try hexadecimal()
        if first & 0xFC00 == 0xD800 {
            try expect("\\")
            try expect("u")
            let second = try hexadecimal()
            guard second & 0xFC00 == 0xDC00 else { throw fault("half a surrogate pair") }
            guard let scalar = Unicode.Scalar(0x10000 + ((first & 0x3FF) << 10 | second & 0x3FF)) else {
                throw fault("half a surrogate pair")
            }
            return String(scalar)
        }
        guard let scalar = Unicode.Scalar(first) else { throw fault("half a surrogate pair") }
        return String(scalar)
    }

    mutating func hexadecimal() throws(JSON.Fault) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                throw fault("a bad \\u escape")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }
}
