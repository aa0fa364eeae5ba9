extension DescriptorPool {
    /// The JSON form of a message of this full name.
    ///
    /// Fields are in the order of their numbers, map entries in that of the wire. Fields that are absent or at a
    /// default without presence, and unknown fields, are left out; unknown enum numbers stay numbers.
    /// - Throws: `DynamicMessageError`: `malformedMessage`, with the path, and `unknownType`.
    public func decode(_ bytes: [UInt8], as messageName: String) throws(DynamicMessageError) -> JSONDocument {
        var decoder = MessageDecoder(pool: self)
        return try decoder.message(bytes[...], messageName)
    }
}

/// The wire to JSON. Holds the path to the value being read, for errors.
struct MessageDecoder {
    let pool: DescriptorPool
    private var path = FieldPath()
    private var depth = -1

    init(pool: DescriptorPool) { self.pool = pool }

    func fault(_ reason: String) -> DynamicMessageError { .malformedMessage(path: path.description, reason: reason) }

    /// The bytes of one message.
    mutating func message(_ bytes: ArraySlice<UInt8>, _ typeName: String) throws(DynamicMessageError) -> JSONDocument {
        depth += 1
        defer { depth -= 1 }
        guard depth <= MessageEncoder.depthLimit else {
            throw fault("messages nest more than \(MessageEncoder.depthLimit) deep")
        }
        if let known = WellKnownType(fullName: typeName) { return try wellKnown(bytes, known) }
        return .object(try members(bytes, of: try pool.requireMessage(typeName)))
    }

    /// Reads fields with `next`; whatever is wrong with the bytes becomes an error with the path.
    func next(_ reader: inout WireReader) throws(DynamicMessageError) -> (number: Int, value: WireValue)? {
        do throws(WireFault) {
            return try reader.next()
        } catch {
            throw fault(error.reason)
        }
    }

    func scalar(_ value: WireValue, _ kind: FieldSchema.Kind) throws(DynamicMessageError) -> JSONDocument? {
        do throws(ScalarMapping.Fault) {
            return try ScalarMapping.decode(value, kind, pool)
        } catch {
            throw fault(error.reason)
        }
    }

    /// What of one message has been read so far, by field number.
    private struct Content {
        var values: [Int: JSONDocument] = [:]
        var lists: [Int: [JSONDocument]] = [:]
        var maps: [Int: MapEntries] = [:]
        /// The occurrences of a message field: read together, as the standard has them merged.
        var messages: [Int: [ArraySlice<UInt8>]] = [:]

        mutating func clear(_ number: Int) {
            values[number] = nil
            messages[number] = nil
        }
    }

    mutating func members(
        _ bytes: ArraySlice<UInt8>, of schema: MessageSchema
    ) throws(DynamicMessageError) -> [JSONDocument.Member] {
        var content = Content()
        var chosen: [Int: Int] = [:]
        var reader = WireReader(bytes)
        while let (number, value) = try next(&reader) {
            guard let field = schema.field(number: number) else { continue }
            path.push(.field(field.jsonName))
            let isRead = try read(value, field, into: &content)
            path.pop()
            // Of a choice the last field counts.
            if isRead, let oneof = field.oneof, let other = chosen.updateValue(number, forKey: oneof), other != number {
                content.clear(other)
            }
        }
        var members: [JSONDocument.Member] = []
        for field in schema.fields {
            path.push(.field(field.jsonName))
            if let value = try value(of: field, content) { members.append(JSONDocument.Member(field.jsonName, value)) }
            path.pop()
        }
        return members
    }

    /// Takes one field of the wire; `false` if its form is not the field's, so that it counts as unknown.
    private mutating func read(
        _ value: WireValue, _ field: FieldSchema, into content: inout Content
    ) throws(DynamicMessageError) -> Bool {
        if let entry = try pool.mapEntry(of: field) {
            guard case .bytes(let bytes) = value else { return false }
            let (key, value) = try mapEntry(bytes, entry.key, entry.value)
            content.maps[field.number, default: MapEntries()].set(key, value)
        } else if let typeName = field.messageType {
            guard let bytes = Self.messageBytes(value, field) else { return false }
            if field.isRepeated {
                path.push(.index(content.lists[field.number]?.count ?? 0))
                content.lists[field.number, default: []].append(try message(bytes, typeName))
                path.pop()
            } else {
                content.messages[field.number, default: []].append(bytes)
            }
        } else if field.isRepeated {
            return try readElements(value, field, into: &content)
        } else {
            guard let json = try scalar(value, field.kind) else { return false }
            content.values[field.number] = field.hasPresence || !value.isDefault(field.kind) ? json : nil
        }
        return true
    }

    private static func messageBytes(_ value: WireValue, _ field: FieldSchema) -> ArraySlice<UInt8>? {
        switch value {
        case .bytes(let bytes) where !field.isGroup: bytes
        case .group(let bytes) where field.isGroup: bytes
        default: nil
        }
    }

    /// One element, or a packed list of them: both are read, however the field is declared.
    private func readElements(
        _ value: WireValue, _ field: FieldSchema, into content: inout Content
    ) throws(DynamicMessageError) -> Bool {
        if let element = try scalar(value, field.kind) {
            content.lists[field.number, default: []].append(element)
            return true
        }
        guard case .bytes(let bytes) = value else { return false }
        var reader = WireReader(bytes)
        while !reader.isAtEnd {
            let element: WireValue?
            do throws(WireFault) {
                element = try ScalarMapping.packedElement(&reader, field.kind)
            } catch {
                throw fault(error.reason)
            }
            guard let element, let json = try scalar(element, field.kind) else { return false }
            content.lists[field.number, default: []].append(json)
        }
        return true
    }

    private mutating func mapEntry(
        _ bytes: ArraySlice<UInt8>, _ key: FieldSchema, _ value: FieldSchema
    ) throws(DynamicMessageError) -> (String, JSONDocument) {
        var keyValue = ScalarMapping.defaultValue(key.kind)
        var content = ScalarMapping.defaultValue(value.kind)
        var reader = WireReader(bytes)
        while let part = try next(&reader) {
            switch part.number {
            case 1: keyValue = part.value
            case 2: content = part.value
            default: break
            }
        }
        let name: String
        switch try scalar(keyValue, key.kind) {
        case .string(let text), .number(let text): name = text
        case .bool(let value): name = value ? "true" : "false"
        default: throw fault("a map entry whose key has the wrong type")
        }
        path.push(.key(name))
        defer { path.pop() }
        if let typeName = value.messageType {
            guard case .bytes(let bytes) = content else { throw fault("a map entry whose value has the wrong type") }
            return (name, try message(bytes, typeName))
        }
        guard let json = try scalar(content, value.kind) else {
            throw fault("a map entry whose value has the wrong type")
        }
        return (name, json)
    }

    private mutating func value(
        of field: FieldSchema, _ content: Content
    ) throws(DynamicMessageError) -> JSONDocument? {
        if let occurrences = content.messages[field.number], let typeName = field.messageType {
            let bytes = occurrences.count == 1 ? occurrences[0] : ArraySlice(occurrences.joined())
            return try message(bytes, typeName)
        }
        if let list = content.lists[field.number] { return list.isEmpty ? nil : .array(list) }
        if let map = content.maps[field.number] { return .object(map.members) }
        return content.values[field.number]
    }
}

/// A map's entries in their order, of which a later one replaces an earlier one of its key.
struct MapEntries {
    private(set) var members: [JSONDocument.Member] = []
    /// By the key's bytes, as canonically equivalent strings are two keys.
    private var positions: [[UInt8]: Int] = [:]

    mutating func set(_ key: String, _ value: JSONDocument) {
        let member = JSONDocument.Member(key, value)
        if let position = positions[Array(key.utf8)] {
            members[position] = member
        } else {
            positions[Array(key.utf8)] = members.count
            members.append(member)
        }
    }
}

extension WireValue {
    /// Whether it is the value of a field that is absent. Of a number's varint the field's 32 bits count.
    fileprivate func isDefault(_ kind: FieldSchema.Kind) -> Bool {
        switch self {
        case .varint(let value):
            switch kind {
            case .int32, .uint32, .sint32, .enumeration: UInt32(truncatingIfNeeded: value) == 0
            default: value == 0
            }
        case .fixed64(let value): value == 0
        case .fixed32(let value): value == 0
        case .bytes(let bytes), .group(let bytes): bytes.isEmpty
        }
    }
}
