/// A JSON value as the proto mapping needs it: numbers stay as written, since no Double holds every int64, and members
/// keep their order.
public enum JSONDocument: Sendable, Equatable {
    case null
    case bool(Bool)
    /// The number's text, such as `-1.5e3`.
    case number(String)
    case string(String)
    case array([JSONDocument])
    case object([Member])

    /// One name and value of an object.
    public struct Member: Sendable, Equatable {
        public let name: String
        public let value: JSONDocument

        public init(_ name: String, _ value: JSONDocument) {
            self.name = name
            self.value = value
        }
    }

    /// Deeper nesting is refused, so that no text can exhaust the stack. Twice what messages may nest, as a list of
    /// messages takes two levels, and some more.
    public static let depthLimit = 256

    /// The value of the first member of this name; `nil` for anything but an object.
    public subscript(name: String) -> JSONDocument? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }

    /// What it is, for messages: `a string`.
    var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

// MARK: - Text

extension JSONDocument {
    /// The JSON text, on one line; or `pretty`: a line a member, indented, with arrays of plain values on one line.
    public func text(pretty: Bool = false) -> String {
        var output: [UInt8] = []
        write(to: &output, pretty: pretty, indentation: 0)
        return String(decoding: output, as: UTF8.self)
    }

    private func write(to output: inout [UInt8], pretty: Bool, indentation: Int) {
        func separate(_ isFirst: Bool, breakLine: Bool) {
            if !isFirst { output.append(UInt8(ascii: ",")) }
            if breakLine {
                output.append(UInt8(ascii: "\n"))
                output.append(contentsOf: repeatElement(UInt8(ascii: " "), count: indentation + 2))
            } else if pretty && !isFirst {
                output.append(UInt8(ascii: " "))
            }
        }
        func close(_ bracket: UInt8, breakLine: Bool) {
            if breakLine {
                output.append(UInt8(ascii: "\n"))
                output.append(contentsOf: repeatElement(UInt8(ascii: " "), count: indentation))
            }
            output.append(bracket)
        }
        switch self {
        case .null: output.append(contentsOf: "null".utf8)
        case .bool(let value): output.append(contentsOf: (value ? "true" : "false").utf8)
        case .number(let text): output.append(contentsOf: text.utf8)
        case .string(let text): Self.quote(text, to: &output)
        case .array(let elements):
            let breaksLines = pretty && elements.contains { $0.isContainer }
            output.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                separate(index == 0, breakLine: breaksLines)
                element.write(to: &output, pretty: pretty, indentation: indentation + 2)
            }
            close(UInt8(ascii: "]"), breakLine: breaksLines)
        case .object(let members):
            let breaksLines = pretty && !members.isEmpty
            output.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                separate(index == 0, breakLine: breaksLines)
                Self.quote(member.name, to: &output)
                output.append(UInt8(ascii: ":"))
                if pretty { output.append(UInt8(ascii: " ")) }
                member.value.write(to: &output, pretty: pretty, indentation: indentation + 2)
            }
            close(UInt8(ascii: "}"), breakLine: breaksLines)
        }
    }

    private var isContainer: Bool {
        switch self {
        case .array, .object: true
        default: false
        }
    }

    private static func quote(_ text: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): output += [UInt8(ascii: "\\"), byte]
            case 0x08: output.append(contentsOf: "\\b".utf8)
            case 0x09: output.append(contentsOf: "\\t".utf8)
            case 0x0A: output.append(contentsOf: "\\n".utf8)
            case 0x0C: output.append(contentsOf: "\\f".utf8)
            case 0x0D: output.append(contentsOf: "\\r".utf8)
            // Terminals obey some of these characters: none goes out as it is.
            case 0..<0x20, 0x7F:
                let digits = String(byte, radix: 16)
                output.append(contentsOf: "\\u00\(digits.utf8.count == 1 ? "0" : "")\(digits)".utf8)
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}
