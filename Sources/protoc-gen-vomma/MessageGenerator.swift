internal import SwiftProtobuf
internal import SwiftProtobufPluginLibrary

/// Writes one message: the struct, its nested types, and its way to C and back.
struct MessageGenerator {
    private let message: Descriptor
    private let naming: Naming
    private let graph: ContainmentGraph
    private let fields: [Field]
    private let oneofs: [OneofDescriptor]

    /// One stored property: a field of its own, or a oneof.
    private enum Member {
        case field(Field)
        case oneof(OneofDescriptor, [Field])
    }

    init(_ message: Descriptor, _ naming: Naming, _ graph: ContainmentGraph) {
        self.message = message
        self.naming = naming
        self.graph = graph
        fields = message.fields.map { Field($0, naming, graph) }
        oneofs = message.oneofs.filter { !$0.isPresence }
    }

    /// Fields and oneofs in the order of the proto; a oneof stands where its first field does.
    private var members: [Member] {
        var seen: Set<String> = []
        return fields.compactMap { field in
            guard let oneof = field.descriptor.containingOneof, !oneof.isPresence else { return .field(field) }
            guard seen.insert(oneof.name).inserted else { return nil }
            return .oneof(oneof, fields(of: oneof))
        }
    }

    private func fields(of oneof: OneofDescriptor) -> [Field] {
        fields.filter { $0.descriptor.containingOneof === oneof }
    }

    // MARK: The type

    func declare(_ out: inout Source) throws {
        var names: Set<String> = []
        for name in members.map(name) where !names.insert(name).inserted {
            throw GeneratorError.clash(name: name, scope: message.fullName)
        }
        out.doc(message, fallback: "`\(message.fullName)`.")
        try out.block("public struct \(naming.declared(message)): ProtoMessage") { out in
            out.line("public static let protoName = \"\(message.fullName)\"")
            for member in members { declare(member, &out) }
            out.line("/// Fields that this version doesn't know; they survive a round trip.")
            out.line("public var unknownFields = UnknownFields()")
            out.line()
            out.line("public init() {}")
            memberwise(&out)
            for oneof in oneofs { declareChoice(oneof, &out) }
            for type in message.enums {
                out.line()
                try EnumGenerator(type, naming).declare(&out)
            }
            for child in message.messages where !child.options.mapEntry {
                out.line()
                try MessageGenerator(child, naming, graph).declare(&out)
            }
        }
    }

    private func name(_ member: Member) -> String {
        switch member {
        case .field(let field): field.name
        case .oneof(let oneof, _): naming.member(oneof.name)
        }
    }

    private func type(_ member: Member) -> String {
        switch member {
        case .oneof(let oneof, _): "\(naming.oneof(oneof))?"
        case .field(let field):
            if let (key, value) = mapParts(field) {
                "[\(key.elementType): \(value.elementType)]"
            } else if field.descriptor.isRepeated {
                "[\(field.elementType)]"
            } else {
                field.isOptional ? "\(field.elementType)?" : field.elementType
            }
        }
    }

    private func initial(_ member: Member) -> String {
        guard case .field(let field) = member, !field.isOptional else { return "nil" }
        if mapParts(field) != nil { return "[:]" }
        return field.descriptor.isRepeated ? "[]" : field.elementDefault
    }

    private func declare(_ member: Member, _ out: inout Source) {
        switch member {
        case .oneof(let oneof, _):
            out.doc(oneof, fallback: "At most one of these.")
            out.line("public var \(name(member)): \(type(member))")
        case .field(let field):
            out.doc(field.descriptor, fallback: "Field `\(field.descriptor.name)`.")
            guard field.isBoxed else {
                let initial = field.isOptional ? "" : " = \(initial(member))"
                return out.line("public var \(field.name): \(type(member))\(initial)")
            }
            out.block("public var \(field.name): \(type(member))") { out in
                out.line("get { \(field.boxName).value }")
                out.line("set { \(field.boxName).value = newValue }")
            }
            out.line("private var \(field.boxName) = Box<\(field.elementType)>()")
        }
    }

    private func memberwise(_ out: inout Source) {
        guard !fields.isEmpty else { return }
        out.line()
        out.line("/// The fields given; the others have their defaults.")
        let list = members
        out.nested("public init(", ") {") { out in
            for (index, member) in list.enumerated() {
                let comma = index + 1 < list.count ? "," : ""
                out.line("\(name(member)): \(type(member)) = \(initial(member))\(comma)")
            }
        }
        out.indented { out in
            for member in list { out.line("self.\(name(member)) = \(name(member))") }
        }
        out.line("}")
    }

    private func declareChoice(_ oneof: OneofDescriptor, _ out: inout Source) {
        let members = fields(of: oneof)
        let isRecursive = members.contains { if case .message(_, true) = $0.kind { true } else { false } }
        out.line()
        out.doc(oneof, fallback: "The choices of `\(oneof.name)`.")
        out.block("public \(isRecursive ? "indirect " : "")enum \(naming.oneof(oneof)): Sendable, Equatable") { out in
            for field in members {
                out.doc(field.descriptor, fallback: "Field `\(field.descriptor.name)`.")
                out.line("case \(field.name)(\(field.elementType))")
            }
        }
    }

    private func mapParts(_ field: Field) -> (key: Field, value: Field)? {
        guard field.descriptor.isMap, let (key, value) = field.descriptor.messageType.mapKeyAndValue else { return nil }
        let name = field.descriptor.name
        return (Field(key, naming, graph, ofMap: name), Field(value, naming, graph, ofMap: name))
    }

    // MARK: C and back

    private var cType: String { CNaming.type(message.fullName) }

    func implement(_ out: inout Source) {
        out.block("extension \(naming.reference(naming.scoped(message))): @unsafe WireMessage") { out in
            out.line("static var canNestWithoutBound: Bool { \(graph.isUnbounded(message)) }")
            out.line("static var holdsSingleMessages: Bool { \(graph.holdsSingle(message)) }")
            out.block("static func initialise(_ wire: UnsafeMutablePointer<\(cType)>)") { out in
                out.line("unsafe \(CNaming.function(message.fullName))__init(wire)")
            }
            out.block("public init(serializedBytes bytes: RawSpan) throws(MessageError)") { out in
                out.line("self = try unsafe Wire.decode(bytes)")
            }
            out.block("public func serializedBytes() throws(MessageError) -> [UInt8]") { out in
                out.line("try unsafe Wire.encode(self)")
            }
            out.block("init(wire: UnsafePointer<\(cType)>) throws(MessageError)") { out in
                for member in members { decode(member, &out) }
                out.line("self.unknownFields = try unsafe Wire.unknown(wire.pointee.base, Self.protoName)")
            }
            out.block("func write(_ wire: UnsafeMutablePointer<\(cType)>, _ arena: inout Arena)") { out in
                for member in members { encode(member, &out) }
                out.line("unsafe arena.unknown(self.unknownFields, &wire.pointee.base)")
            }
        }
        for child in message.messages where !child.options.mapEntry {
            out.line()
            MessageGenerator(child, naming, graph).implement(&out)
        }
    }

    private func decode(_ member: Member, _ out: inout Source) {
        switch member {
        case .oneof(let oneof, let fields):
            out.line("switch unsafe wire.pointee.\(CNaming.oneof(oneof.name))_case.rawValue {")
            for field in fields {
                let value = field.decoded("wire.pointee.\(field.cName)")
                let effects = Self.effects(value)
                out.line(
                    "case \(field.descriptor.number): self.\(naming.member(oneof.name)) = "
                        + "\(effects.marks).\(field.name)(\(effects.rest))")
            }
            out.line("default: break")
            out.line("}")
        case .field(let field):
            let path = "wire.pointee.\(field.cName)"
            let count = "wire.pointee.n_\(field.cName)"
            if let (key, value) = mapParts(field) {
                out.block("for index in 0..<(unsafe \(count))") { out in
                    out.line("guard let entry = unsafe \(path)[index] else { continue }")
                    out.line("_ = try unsafe Wire.unknown(entry.pointee.base, Self.protoName)")
                    out.line("let key = \(entryPart(key))")
                    out.line("self.\(field.name)[key] = \(entryPart(value))")
                }
            } else if field.descriptor.isRepeated {
                out.line("self.\(field.name) = \(field.decodedArray(count: count, elements: path))")
            } else if let presence = field.presence {
                out.block("if unsafe wire.pointee.\(CNaming.oneof(presence.name))_case.rawValue != 0") { out in
                    out.line("self.\(field.name) = \(field.decoded(path))")
                }
            } else if field.isOptional {
                out.line("self.\(field.name) = try unsafe Wire.optional(\(path))")
            } else {
                out.line("self.\(field.name) = \(field.decoded(path))")
            }
        }
    }

    /// The key or value of a map's entry, or its default: an entry may lack either.
    private func entryPart(_ field: Field) -> String {
        let value = Self.effects(field.decoded("entry.pointee.\(field.cName)"))
        let indent = String(repeating: " ", count: 16)
        let isAbsent = "entry.pointee._\(field.descriptor.name)_case.rawValue == 0"
        return "\(value.marks)(\n\(indent)\(isAbsent)\n\(indent)    ? \(field.elementDefault) : \(value.rest))"
    }

    private func encode(_ member: Member, _ out: inout Source) {
        switch member {
        case .oneof(let oneof, let fields):
            let name = "self.\(naming.member(oneof.name))"
            out.line("switch \(name) {")
            for field in fields {
                out.line("case .\(field.name)(let value):")
                out.indented { out in
                    out.line(
                        "unsafe wire.pointee.\(CNaming.oneof(oneof.name))_case = .init(\(field.descriptor.number))")
                    out.line("unsafe wire.pointee.\(field.cName) = \(field.encoded("value"))")
                }
            }
            out.line("case nil: break")
            out.line("}")
        case .field(let field):
            let path = "wire.pointee.\(field.cName)"
            if let (key, value) = mapParts(field) {
                encodeMap(field, key, value, &out)
            } else if field.descriptor.isRepeated {
                out.line("unsafe wire.pointee.n_\(field.cName) = self.\(field.name).count")
                out.line("unsafe \(path) = \(field.encodedArray("self.\(field.name)"))")
            } else if let presence = field.presence {
                out.block("if let value = self.\(field.name)") { out in
                    out.line(
                        "unsafe wire.pointee.\(CNaming.oneof(presence.name))_case = .init(\(field.descriptor.number))")
                    out.line("unsafe \(path) = \(field.encoded("value"))")
                }
            } else if field.isOptional {
                out.line("if let value = self.\(field.name) { unsafe \(path) = \(field.encoded("value")) }")
            } else {
                out.line("unsafe \(path) = \(field.encoded("self.\(field.name)"))")
            }
        }
    }

    /// Entries in the order of their keys, so that equal maps make equal bytes.
    private func encodeMap(_ field: Field, _ key: Field, _ value: Field, _ out: inout Source) {
        let type = field.descriptor.messageType!.fullName
        let keys =
            switch key.kind {
            case .string: "Wire.sorted(self.\(field.name).keys)"
            case .bool: "self.\(field.name).keys.sorted(by: { !$0 && $1 })"
            default: "self.\(field.name).keys.sorted()"
            }
        out.line("unsafe wire.pointee.n_\(field.cName) = self.\(field.name).count")
        out.line("unsafe wire.pointee.\(field.cName) = arena.pointers(self.\(field.name).count)")
        out.block("for (index, key) in \(keys).enumerated()") { out in
            out.line("guard let value = self.\(field.name)[key] else { continue }")
            out.line("let entry = unsafe arena.struct(\(CNaming.type(type)).self)")
            out.line("unsafe \(CNaming.function(type))__init(entry)")
            for (part, name) in [(key, "key"), (value, "value")] {
                out.line("unsafe entry.pointee._\(name)_case = .init(\(part.descriptor.number))")
                out.line("unsafe entry.pointee.\(part.cName) = \(part.encoded(name))")
            }
            out.line("unsafe wire.pointee.\(field.cName)[index] = entry")
        }
    }

    /// An expression without its leading `try` and `unsafe`, which go before the whole statement.
    private static func effects(_ expression: String) -> (marks: String, rest: String) {
        var marks = ""
        var rest = expression[...]
        for mark in ["try ", "unsafe "] where rest.hasPrefix(mark) {
            marks += mark
            rest = rest.dropFirst(mark.count)
        }
        return (marks, String(rest))
    }
}

extension Field {
    fileprivate var boxName: String { "\(name.filter { $0 != "`" })Box" }
}
