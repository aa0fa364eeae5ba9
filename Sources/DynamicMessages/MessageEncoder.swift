extension DescriptorPool {
    /// The wire form of a JSON document as a message of this full name.
    ///
    /// Fields go by JSON or proto name; `null` is an absent field. Fields are written in the document's order. Required
    /// fields of proto2 are not asked for.
    /// - Throws: `DynamicMessageError`: `unfitJSON`, with the path, and `unknownType`.
    public func encode(_ json: JSONDocument, as messageName: String) throws(DynamicMessageError) -> [UInt8] {
        var encoder = MessageEncoder(pool: self)
        return try encoder.message(json, messageName)
    }
}

/// JSON to the wire. Holds the path to the value being written, for errors.
struct MessageEncoder {
    /// Messages within messages: 100 levels below the outermost, as other implementations have it.
    static let depthLimit = 100

    let pool: DescriptorPool
    var path = FieldPath()
    private var depth = -1

    init(pool: DescriptorPool) { self.pool = pool }

    func fault(_ reason: String) -> DynamicMessageError { .unfitJSON(path: path.description, reason: reason) }

    /// The bytes of one message.
    mutating func message(_ json: JSONDocument, _ typeName: String) throws(DynamicMessageError) -> [UInt8] {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthLimit else { throw fault("messages nest more than \(Self.depthLimit) deep") }
        if let known = WellKnownType(fullName: typeName) { return try wellKnown(json, known) }
        let schema = try pool.requireMessage(typeName)
        guard case .object(let members) = json else {
            throw fault("\(json.kind) where an object (\(schema.shortName)) is expected")
        }
        return try self.members(members, of: schema)
    }

    mutating func members(
        _ members: [JSONDocument.Member], of schema: MessageSchema
    ) throws(DynamicMessageError) -> [UInt8] {
        var writer = WireWriter()
        var numbers: Set<Int> = []
        var choices: [Int: String] = [:]
        for member in members {
            guard let field = schema.field(named: member.name) else {
                throw fault("no field named \(member.name) in \(schema.shortName)")
            }
            guard numbers.insert(field.number).inserted else {
                throw fault("\(field.jsonName) is there twice, under two names")
            }
            if member.value == .null && !Self.hasNull(field) { continue }
            if let oneof = field.oneof, let other = choices.updateValue(member.name, forKey: oneof) {
                throw fault("\(other) and \(member.name) exclude each other: set one of \(schema.oneofs[oneof])")
            }
            path.push(.field(member.name))
            try write(member.value, field, to: &writer)
            path.pop()
        }
        return writer.bytes
    }

    /// Whether null is a value of the field, rather than its absence.
    private static func hasNull(_ field: FieldSchema) -> Bool {
        guard !field.isRepeated else { return false }
        return field.kind == .message("google.protobuf.Value")
            || field.kind == .enumeration("google.protobuf.NullValue")
    }

    private mutating func write(
        _ json: JSONDocument, _ field: FieldSchema, to writer: inout WireWriter
    ) throws(DynamicMessageError) {
        if let entry = try pool.mapEntry(of: field) {
            try writeMap(json, field, entry.key, entry.value, to: &writer)
        } else if field.isRepeated {
            try writeList(json, field, to: &writer)
        } else if let typeName = field.messageType {
            writer.message(field.number, try message(json, typeName), asGroup: field.isGroup)
        } else {
            let value = try scalar(json, field.kind)
            if field.hasPresence || !value.isDefault { writer.field(field.number, value) }
        }
    }

    func scalar(_ json: JSONDocument, _ kind: FieldSchema.Kind) throws(DynamicMessageError) -> WireScalar {
        do throws(ScalarMapping.ScalarError) {
            return try ScalarMapping.encode(json, kind, pool)
        } catch {
            throw explain(error)
        }
    }

    private func explain(_ error: ScalarMapping.ScalarError) -> DynamicMessageError {
        switch error {
        case .unfit(let fault): self.fault(fault.reason)
        case .schema(let error): error
        }
    }

    private mutating func writeList(
        _ json: JSONDocument, _ field: FieldSchema, to writer: inout WireWriter
    ) throws(DynamicMessageError) {
        guard case .array(let elements) = json else { throw fault("\(json.kind) where an array is expected") }
        var packed = WireWriter()
        for (index, element) in elements.enumerated() {
            path.push(.index(index))
            if let typeName = field.messageType {
                writer.message(field.number, try message(element, typeName), asGroup: field.isGroup)
            } else if field.isPacked {
                packed.payload(try scalar(element, field.kind))
            } else {
                writer.field(field.number, try scalar(element, field.kind))
            }
            path.pop()
        }
        if !packed.bytes.isEmpty { writer.field(field.number, .bytes(packed.bytes)) }
    }

    private mutating func writeMap(
        _ json: JSONDocument, _ field: FieldSchema, _ key: FieldSchema, _ value: FieldSchema,
        to writer: inout WireWriter
    ) throws(DynamicMessageError) {
        guard case .object(let members) = json else { throw fault("\(json.kind) where an object (a map) is expected") }
        for member in members {
            path.push(.key(member.name))
            var entry = WireWriter()
            do throws(ScalarMapping.ScalarError) {
                entry.field(1, try ScalarMapping.encodeKey(member.name, key.kind, pool))
            } catch {
                throw explain(error)
            }
            if let typeName = value.messageType {
                entry.message(2, try message(member.value, typeName))
            } else {
                entry.field(2, try scalar(member.value, value.kind))
            }
            writer.message(field.number, entry.bytes)
            path.pop()
        }
    }
}
