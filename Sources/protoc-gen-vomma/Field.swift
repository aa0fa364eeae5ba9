internal import SwiftProtobuf
internal import SwiftProtobufPluginLibrary

/// One field as the generator sees it: its Swift type, and the expressions that cross between Swift and C.
struct Field {
    enum Kind: Equatable {
        case double, float, bool, string, bytes
        /// An integer type, of this Swift name.
        case integer(String)
        /// An enum, and the name of its zero case.
        case enumeration(String, zero: String)
        /// A message; whether it holds its container by value, directly or not.
        case message(String, isRecursive: Bool)
    }

    let descriptor: FieldDescriptor
    let kind: Kind
    /// Escaped Swift name.
    let name: String
    /// The member of the C struct.
    let cName: String
    /// The map field of whose entries this is the key or the value.
    private let mapName: String?

    init(_ field: FieldDescriptor, _ naming: Naming, _ graph: ContainmentGraph, ofMap mapName: String? = nil) {
        self.mapName = mapName
        descriptor = field
        name = naming.member(field.name)
        cName = CNaming.field(field.name, field.number)
        kind =
            switch field.type {
            case .double: .double
            case .float: .float
            case .bool: .bool
            case .string: .string
            case .bytes: .bytes
            case .int32, .sint32, .sfixed32: .integer("Int32")
            case .int64, .sint64, .sfixed64: .integer("Int64")
            case .uint32, .fixed32: .integer("UInt32")
            case .uint64, .fixed64: .integer("UInt64")
            case .enum:
                .enumeration(
                    naming.reference(naming.scoped(field.enumType)), zero: naming.enumCase(field.enumType.values[0]))
            case .message, .group:
                .message(
                    naming.reference(naming.scoped(field.messageType)),
                    isRecursive: graph.contains(field.containingType, within: field.messageType))
            }
    }

    /// The type of one value.
    var elementType: String {
        switch kind {
        case .double: "Double"
        case .float: "Float"
        case .bool: "Bool"
        case .string: "String"
        case .bytes: "[UInt8]"
        case .integer(let type), .enumeration(let type, _), .message(let type, _): type
        }
    }

    /// The value that an absent field without presence has.
    var elementDefault: String {
        switch kind {
        case .double, .float, .integer: "0"
        case .bool: "false"
        case .string: "\"\""
        case .bytes: "[]"
        case .enumeration(_, let zero): ".\(zero)"
        case .message(let type, _): "\(type)()"
        }
    }

    var isMessage: Bool { if case .message = kind { true } else { false } }

    /// Whether the property is an Optional: messages, and fields with presence of their own.
    var isOptional: Bool { !descriptor.isRepeated && (isMessage || presence != nil) }

    /// The one-field oneof that gives this field presence.
    var presence: OneofDescriptor? {
        guard let oneof = descriptor.containingOneof, oneof.isPresence else { return nil }
        return oneof
    }

    /// Whether the property needs a box because its type contains this one.
    var isBoxed: Bool {
        if case .message(_, isRecursive: true) = kind { !descriptor.isRepeated } else { false }
    }

    /// The name that errors give it, within its message: `symbol`, or `labels.key` of a map.
    private var errorName: String { mapName.map { "\($0).\(descriptor.name)" } ?? descriptor.name }

    /// Swift from C, one value: `expression` is of the C type.
    func decoded(_ expression: String) -> String {
        switch kind {
        case .double, .float: "unsafe \(elementType)(bitPattern: \(expression))"
        case .bool: "unsafe \(expression) != 0"
        case .integer: "unsafe \(expression)"
        case .enumeration(let type, _): "unsafe \(type)(rawValue: \(expression))"
        case .string: "try unsafe Wire.string(\(expression), Self.protoName, \"\(errorName)\")"
        case .bytes: "unsafe Wire.bytes(\(expression))"
        case .message: "try unsafe Wire.message(\(expression))"
        }
    }

    /// Swift from C, a repeated field.
    func decodedArray(count: String, elements: String) -> String {
        switch kind {
        case .double, .float, .integer: "unsafe Wire.numbers(\(count), \(elements))"
        case .bool: "unsafe Wire.bools(\(count), \(elements))"
        case .enumeration: "unsafe Wire.enums(\(count), \(elements))"
        case .string: "try unsafe Wire.strings(\(count), \(elements), Self.protoName, \"\(errorName)\")"
        case .bytes: "unsafe Wire.byteArrays(\(count), \(elements))"
        case .message: "try unsafe Wire.messages(\(count), \(elements))"
        }
    }

    /// C from Swift, one value.
    func encoded(_ expression: String) -> String {
        switch kind {
        case .double, .float: "\(expression).bitPattern"
        case .bool: "\(expression) ? 1 : 0"
        case .integer: expression
        case .enumeration: "\(expression).rawValue"
        case .string: "arena.string(\(expression))"
        case .bytes: "arena.bytes(\(expression))"
        case .message: "arena.message(\(expression))"
        }
    }

    /// C from Swift, a repeated field.
    func encodedArray(_ expression: String) -> String {
        switch kind {
        case .double, .float, .integer: "arena.numbers(\(expression))"
        case .bool: "arena.bools(\(expression))"
        case .enumeration: "arena.enums(\(expression))"
        case .string: "arena.strings(\(expression))"
        case .bytes: "arena.byteArrays(\(expression))"
        case .message: "arena.messages(\(expression))"
        }
    }
}

/// Which messages hold which: by value (a struct can't hold itself) and at all (nesting without bound).
struct ContainmentGraph {
    private var byValue: [String: Set<String>] = [:]
    private var atAll: [String: Set<String>] = [:]

    init(_ files: [FileDescriptor]) {
        var direct: [String: Set<String>] = [:]
        var all: [String: Set<String>] = [:]
        func visit(_ message: Descriptor) {
            for field in message.fields {
                guard let type = field.messageType else { continue }
                all[message.fullName, default: []].insert(type.fullName)
                if !field.isRepeated { direct[message.fullName, default: []].insert(type.fullName) }
            }
            message.messages.forEach(visit)
        }
        for file in files { file.messages.forEach(visit) }
        byValue = Self.closure(direct)
        atAll = Self.closure(all)
    }

    /// Whether a value of `outer` holds one of `inner` inline: it is it, or some singular field leads to it.
    func contains(_ inner: Descriptor, within outer: Descriptor) -> Bool {
        inner.fullName == outer.fullName || byValue[outer.fullName]?.contains(inner.fullName) == true
    }

    /// Whether messages of this type can nest without bound: some message that they can hold can hold itself.
    func isUnbounded(_ message: Descriptor) -> Bool {
        let reachable = atAll[message.fullName, default: []].union([message.fullName])
        return reachable.contains { atAll[$0]?.contains($0) == true }
    }

    /// Whether this message, or one within it, holds a message otherwise than in a list.
    func holdsSingle(_ message: Descriptor) -> Bool {
        let reachable = atAll[message.fullName, default: []].union([message.fullName])
        return reachable.contains { byValue[$0] != nil }
    }

    private static func closure(_ edges: [String: Set<String>]) -> [String: Set<String>] {
        edges.mapValues { first in
            var reached: Set<String> = []
            var open = Array(first)
            while let next = open.popLast() {
                if reached.insert(next).inserted { open += edges[next, default: []] }
            }
            return reached
        }
    }
}
