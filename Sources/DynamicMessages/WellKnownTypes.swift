/// Google's types that have a JSON form of their own, https://protobuf.dev/programming-guides/json.
enum WellKnownType {
    case any, timestamp, duration, fieldMask, structure, value, listValue
    /// A message around one value, which JSON shows bare.
    case wrapper(FieldSchema.Kind)

    init?(fullName: String) {
        guard fullName.hasPrefix("google.protobuf.") else { return nil }
        switch fullName.dropFirst("google.protobuf.".count) {
        case "Any": self = .any
        case "Timestamp": self = .timestamp
        case "Duration": self = .duration
        case "FieldMask": self = .fieldMask
        case "Struct": self = .structure
        case "Value": self = .value
        case "ListValue": self = .listValue
        case "DoubleValue": self = .wrapper(.double)
        case "FloatValue": self = .wrapper(.float)
        case "Int32Value": self = .wrapper(.int32)
        case "Int64Value": self = .wrapper(.int64)
        case "UInt32Value": self = .wrapper(.uint32)
        case "UInt64Value": self = .wrapper(.uint64)
        case "BoolValue": self = .wrapper(.bool)
        case "StringValue": self = .wrapper(.string)
        case "BytesValue": self = .wrapper(.bytes)
        default: return nil
        }
    }
}

// MARK: - JSON to the wire

extension MessageEncoder {
    mutating func wellKnown(_ json: JSONDocument, _ type: WellKnownType) throws(DynamicMessageError) -> [UInt8] {
        switch type {
        case .any: return try any(json)
        case .timestamp: return try time(json, "a time such as 2026-03-01T00:00:00Z", TimeText.timestamp)
        case .duration: return try time(json, "a duration such as 1.5s", TimeText.duration)
        case .fieldMask: return try fieldMask(json)
        case .structure: return try structure(json)
        case .value: return try value(json)
        case .listValue: return try listValue(json)
        case .wrapper(let kind):
            var writer = WireWriter()
            let value = try scalar(json, kind)
            if !value.isDefault { writer.field(1, value) }
            return writer.bytes
        }
    }

    private func time(
        _ json: JSONDocument, _ expected: String, _ read: (String) -> (seconds: Int64, nanos: Int32)?
    ) throws(DynamicMessageError) -> [UInt8] {
        guard case .string(let text) = json, let time = read(text) else {
            throw fault("\(json.text()) where \(expected) is expected")
        }
        var writer = WireWriter()
        if time.seconds != 0 { writer.field(1, .varint(UInt64(bitPattern: time.seconds))) }
        if time.nanos != 0 { writer.field(2, .varint(UInt64(bitPattern: Int64(time.nanos)))) }
        return writer.bytes
    }

    /// `"a.bC,d"` is the paths `a.b_c` and `d`.
    private func fieldMask(_ json: JSONDocument) throws(DynamicMessageError) -> [UInt8] {
        guard case .string(let text) = json, !text.contains("_") else {
            throw fault("\(json.text()) where paths in camelCase, separated by commas, are expected")
        }
        var writer = WireWriter()
        for path in text.split(separator: ",") { writer.field(1, .bytes(Array(Self.snakeCase(path).utf8))) }
        return writer.bytes
    }

    static func snakeCase(_ path: some StringProtocol) -> String {
        path.map { $0.isASCII && $0.isUppercase ? "_" + $0.lowercased() : String($0) }.joined()
    }

    private mutating func structure(_ json: JSONDocument) throws(DynamicMessageError) -> [UInt8] {
        guard case .object(let members) = json else { throw fault("\(json.kind) where an object is expected") }
        var writer = WireWriter()
        for member in members {
            path.push(.key(member.name))
            var entry = WireWriter()
            entry.field(1, .bytes(Array(member.name.utf8)))
            entry.message(2, try message(member.value, "google.protobuf.Value"))
            writer.message(1, entry.bytes)
            path.pop()
        }
        return writer.bytes
    }

    private mutating func listValue(_ json: JSONDocument) throws(DynamicMessageError) -> [UInt8] {
        guard case .array(let elements) = json else { throw fault("\(json.kind) where an array is expected") }
        var writer = WireWriter()
        for (index, element) in elements.enumerated() {
            path.push(.index(index))
            writer.message(1, try message(element, "google.protobuf.Value"))
            path.pop()
        }
        return writer.bytes
    }

    /// What follows the last slash of a type's URL.
    static func typeName(_ url: String) -> String { url.split(separator: "/").last.map(String.init) ?? "" }

    private mutating func value(_ json: JSONDocument) throws(DynamicMessageError) -> [UInt8] {
        var writer = WireWriter()
        switch json {
        case .null: writer.field(1, .varint(0))
        case .number: writer.field(2, try scalar(json, .double))
        case .string(let text): writer.field(3, .bytes(Array(text.utf8)))
        case .bool(let value): writer.field(4, .varint(value ? 1 : 0))
        case .object: writer.message(5, try message(json, "google.protobuf.Struct"))
        case .array: writer.message(6, try message(json, "google.protobuf.ListValue"))
        }
        return writer.bytes
    }

    /// `{"@type": "host/full.Name", …}` with the fields of the message, or in `value` what has a JSON form of its own.
    private mutating func any(_ json: JSONDocument) throws(DynamicMessageError) -> [UInt8] {
        guard case .object(let members) = json else { throw fault("\(json.kind) where an object is expected") }
        guard !members.isEmpty else { return [] }
        guard case .string(let url)? = json["@type"] else { throw fault("an Any without “@type”") }
        let name = Self.typeName(url)
        let content: [UInt8]
        let rest = members.filter { $0.name != "@type" }
        if WellKnownType(fullName: name) != nil {
            guard let value = json["value"], rest.count == 1 else {
                throw fault("“value”, and nothing else, is expected")
            }
            content = try message(value, name)
        } else if let raw = json["@value"], pool.message(named: name) == nil {
            guard case .bytes(let bytes) = try scalar(raw, .bytes) else { throw fault("base64 is expected") }
            content = bytes
        } else {
            guard pool.message(named: name) != nil else { throw fault("the server does not describe the type \(name)") }
            content = try message(.object(rest), name)
        }
        var writer = WireWriter()
        writer.field(1, .bytes(Array(url.utf8)))
        if !content.isEmpty { writer.field(2, .bytes(content)) }
        return writer.bytes
    }
}

// MARK: - The wire to JSON

extension MessageDecoder {
    mutating func wellKnown(
        _ bytes: ArraySlice<UInt8>, _ type: WellKnownType
    ) throws(DynamicMessageError) -> JSONDocument {
        switch type {
        case .any: return try any(bytes)
        case .timestamp: return try time(bytes, TimeText.text(timestamp:nanos:))
        case .duration: return try time(bytes, TimeText.text(duration:nanos:))
        case .fieldMask:
            var paths: [String] = []
            for field in try fields(bytes) where field.number == 1 {
                guard let path = try text(field.value) else { continue }
                let camel = Self.camelCase(path)
                guard !path.isEmpty, !path.contains(","), MessageEncoder.snakeCase(camel) == path else {
                    throw fault("the path “\(path)” has no form in camelCase")
                }
                paths.append(camel)
            }
            return .string(paths.joined(separator: ","))
        case .structure: return try structure(bytes)
        case .value: return try value(bytes)
        case .listValue:
            var elements: [JSONDocument] = []
            for case (1, .bytes(let content)) in try fields(bytes) {
                elements.append(try message(content, "google.protobuf.Value"))
            }
            return .array(elements)
        case .wrapper(let kind):
            var value = try scalar(ScalarMapping.defaultValue(kind), kind) ?? .null
            for field in try fields(bytes) where field.number == 1 { value = try scalar(field.value, kind) ?? value }
            return value
        }
    }

    private func fields(_ bytes: ArraySlice<UInt8>) throws(DynamicMessageError) -> [(number: Int, value: WireValue)] {
        var reader = WireReader(bytes)
        var result: [(number: Int, value: WireValue)] = []
        while let field = try next(&reader) { result.append(field) }
        return result
    }

    /// `nil` for what is no string field.
    private func text(_ value: WireValue) throws(DynamicMessageError) -> String? {
        guard case .string(let text)? = try scalar(value, .string) else { return nil }
        return text
    }

    private func time(
        _ bytes: ArraySlice<UInt8>, _ write: (Int64, Int32) -> String?
    ) throws(DynamicMessageError) -> JSONDocument {
        var (seconds, nanos) = (Int64(0), Int32(0))
        for field in try fields(bytes) {
            switch (field.number, field.value) {
            case (1, .varint(let bits)): seconds = Int64(bitPattern: bits)
            case (2, .varint(let bits)): nanos = Int32(truncatingIfNeeded: bits)
            default: break
            }
        }
        guard let text = write(seconds, nanos) else { throw fault("\(seconds) s and \(nanos) ns are no time") }
        return .string(text)
    }

    private static func camelCase(_ path: String) -> String {
        var result = ""
        var raises = false
        for character in path {
            if character == "_" {
                raises = true
            } else {
                result += raises ? character.uppercased() : String(character)
                raises = false
            }
        }
        return result
    }

    private mutating func structure(_ bytes: ArraySlice<UInt8>) throws(DynamicMessageError) -> JSONDocument {
        var entries = MapEntries()
        for case (1, .bytes(let entry)) in try fields(bytes) {
            var key = ""
            var content: ArraySlice<UInt8> = []
            for field in try fields(entry) {
                if field.number == 1 { key = try text(field.value) ?? key }
                if case (2, .bytes(let bytes)) = field { content = bytes }
            }
            entries.set(key, try message(content, "google.protobuf.Value"))
        }
        return .object(entries.members)
    }

    private mutating func value(_ bytes: ArraySlice<UInt8>) throws(DynamicMessageError) -> JSONDocument {
        var value = JSONDocument.null
        for field in try fields(bytes) {
            switch (field.number, field.value) {
            case (1, .varint): value = .null
            case (2, _): value = try scalar(field.value, .double) ?? value
            case (3, _): value = try scalar(field.value, .string) ?? value
            case (4, _): value = try scalar(field.value, .bool) ?? value
            case (5, .bytes(let content)): value = try message(content, "google.protobuf.Struct")
            case (6, .bytes(let content)): value = try message(content, "google.protobuf.ListValue")
            default: break
            }
        }
        return value
    }

    /// A type that the server does not describe keeps its bytes, as base64 in `@value`: JSON has no form for it.
    private mutating func any(_ bytes: ArraySlice<UInt8>) throws(DynamicMessageError) -> JSONDocument {
        var url = ""
        var content: ArraySlice<UInt8> = []
        for field in try fields(bytes) {
            if field.number == 1 { url = try text(field.value) ?? url }
            if case (2, .bytes(let bytes)) = field { content = bytes }
        }
        guard !url.isEmpty || !content.isEmpty else { return .object([]) }
        let type = JSONDocument.Member("@type", .string(url))
        let name = MessageEncoder.typeName(url)
        if WellKnownType(fullName: name) != nil {
            return .object([type, JSONDocument.Member("value", try message(content, name))])
        }
        guard pool.message(named: name) != nil else {
            return .object([type, JSONDocument.Member("@value", ScalarMapping.base64(content))])
        }
        guard case .object(let members) = try message(content, name) else { return .object([type]) }
        return .object([type] + members)
    }
}
