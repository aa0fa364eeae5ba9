/// Why a message was not translated, or a method not found. What goes wrong with a call itself is an `RPCStatus`.
public enum DynamicMessageError: Error, Sendable, Equatable {
    /// The text is no JSON. Line and column count from 1, the column in bytes.
    case malformedJSON(line: Int, column: Int, reason: String)
    /// A well-formed JSON value that has no place in the message. `path` leads there: `surface.cells[3].quotes["a"]`;
    /// empty for the document itself.
    case unfitJSON(path: String, reason: String)
    /// Bytes that are not the message's wire form. `path` as above.
    case malformedMessage(path: String, reason: String)
    /// The bytes of a FileDescriptorProto are damaged, or describe something that protobuf does not have.
    case malformedDescriptor(reason: String)
    /// A type that no known file declares: the server's reflection leaves a file out.
    case unknownType(name: String)
    /// No service of this full name.
    case unknownService(name: String, known: [String])
    case unknownMethod(service: String, method: String, known: [String])
    /// The method takes exactly one request.
    case wrongRequestCount(method: String, count: Int)
    /// More files of descriptors than any server has (`ServerReflection.maxFileCount`).
    case tooManyFiles(limit: Int)
}

extension DynamicMessageError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .malformedJSON(let line, let column, let reason): "JSON, line \(line), column \(column): \(reason)"
        case .unfitJSON(let path, let reason): path.isEmpty ? reason : "\(path): \(reason)"
        case .malformedMessage(let path, let reason):
            "malformed message\(path.isEmpty ? "" : " at \(path)"): \(reason)"
        case .malformedDescriptor(let reason): "malformed descriptor: \(reason)"
        case .unknownType(let name): "the server does not describe the type \(name)"
        case .unknownService(let name, let known):
            "no service named \(name); there are \(known.joined(separator: ", "))"
        case .unknownMethod(let service, let method, let known):
            "no method named \(method) in \(service); there are \(known.joined(separator: ", "))"
        case .wrongRequestCount(let method, let count): "\(count) JSON documents, but \(method) takes one request"
        case .tooManyFiles(let limit): "the server describes more than \(limit) files"
        }
    }
}

/// The way from the message to a value within it.
struct FieldPath {
    enum Step {
        case field(String)
        case index(Int)
        case key(String)
    }
    private(set) var steps: [Step] = []

    mutating func push(_ step: Step) { steps.append(step) }
    mutating func pop() { steps.removeLast() }
}

extension FieldPath: CustomStringConvertible {
    var description: String {
        var result = ""
        for step in steps {
            switch step {
            case .field(let name): result += result.isEmpty ? name : ".\(name)"
            case .index(let index): result += "[\(index)]"
            case .key(let key): result += "[\(JSONDocument.string(key).text())]"
            }
        }
        return result
    }
}
