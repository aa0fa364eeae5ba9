internal import SwiftProtobuf
internal import SwiftProtobufPluginLibrary

/// Swift source under construction: lines, and how deep they are indented.
struct Source {
    private(set) var text = ""
    private var depth = 0

    mutating func line(_ line: String = "") {
        if line.isEmpty { text += "\n" } else { text += String(repeating: "    ", count: depth) + line + "\n" }
    }

    /// `head {`, the body one step deeper, `}`.
    mutating func block(_ head: String, _ body: (inout Source) throws -> Void) rethrows {
        line(head + " {")
        try indented(body)
        line("}")
    }

    mutating func indented(_ body: (inout Source) throws -> Void) rethrows {
        depth += 1
        try body(&self)
        depth -= 1
    }

    /// Some lines one step deeper, between `open` and `close`.
    mutating func nested(_ open: String, _ close: String, _ body: (inout Source) throws -> Void) rethrows {
        line(open)
        try indented(body)
        line(close)
    }

    /// The proto's comment as a doc comment; `fallback` where the proto has none.
    mutating func doc(_ element: any ProvidesSourceCodeLocation, fallback: String) {
        let location = element.sourceCodeInfoLocation
        let leading = location?.leadingComments ?? ""
        let comment = leading.isEmpty ? location?.trailingComments ?? "" : leading
        var lines = comment.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            var text: Substring = line
            while text.last?.isWhitespace == true { text = text.dropLast() }
            return text.first == " " ? text.dropFirst() : text
        }
        while lines.first?.isEmpty == true { lines.removeFirst() }
        while lines.last?.isEmpty == true { lines.removeLast() }
        if lines.isEmpty { lines = [fallback[...]] }
        for text in lines { line(text.isEmpty ? "///" : "/// \(text)") }
    }
}
