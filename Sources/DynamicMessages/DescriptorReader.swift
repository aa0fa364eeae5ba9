/// Reads google.protobuf.FileDescriptorProto from its wire form (descriptor.proto has the field numbers).
///
/// Knows the syntaxes proto2, proto3 and editions. Extensions, options other than those that change the wire or JSON
/// form, and comments are passed over.
enum DescriptorReader {
    struct File {
        var name = ""
        var dependencies: [String] = []
        var messages: [MessageSchema] = []
        var enums: [EnumSchema] = []
        var services: [ServiceSchema] = []
    }

    /// Messages within messages that a descriptor may have.
    private static let depthLimit = 64

    static func file(_ bytes: [UInt8]) throws(DynamicMessageError) -> File {
        do {
            return try readFile(bytes[...])
        } catch let fault as WireFault {
            throw .malformedDescriptor(reason: fault.reason)
        } catch let error as DynamicMessageError {
            throw error
        } catch {
            throw .malformedDescriptor(reason: "\(error)")
        }
    }

    /// What the syntax, or options of editions, say about the form of fields; inner scopes override outer ones.
    private struct Features {
        var implicitPresence = false
        var packed = false
        var delimited = false

        init(syntax: String) {
            implicitPresence = syntax == "proto3"
            packed = syntax == "proto3" || syntax == "editions"
        }

        /// Applies the FeatureSet in an options message, if it has one.
        mutating func apply(options: ArraySlice<UInt8>, featuresNumber: Int) throws(WireFault) {
            var options = WireReader(options)
            while let option = try options.next() {
                guard option.number == featuresNumber, case .bytes(let set) = option.value else { continue }
                var features = WireReader(set)
                while let feature = try features.next() {
                    switch (feature.number, feature.value) {
                    case (1, .varint(let presence)): implicitPresence = presence == 2
                    case (3, .varint(let encoding)): packed = encoding == 1
                    case (5, .varint(let encoding)): delimited = encoding == 2
                    default: break
                    }
                }
            }
        }
    }

    private static func readFile(_ bytes: ArraySlice<UInt8>) throws -> File {
        var file = File()
        var package = ""
        var syntax = "proto2"
        var options: [ArraySlice<UInt8>] = []
        var messages: [ArraySlice<UInt8>] = []
        var enums: [ArraySlice<UInt8>] = []
        var services: [ArraySlice<UInt8>] = []
        var reader = WireReader(bytes)
        while let field = try reader.next() {
            guard case .bytes(let content) = field.value else { continue }
            switch field.number {
            case 1: file.name = try text(content)
            case 2: package = try text(content)
            case 3: file.dependencies.append(try text(content))
            case 4: messages.append(content)
            case 5: enums.append(content)
            case 6: services.append(content)
            case 8: options.append(content)
            case 12: syntax = try text(content)
            default: break
            }
        }
        guard !file.name.isEmpty else { throw DynamicMessageError.malformedDescriptor(reason: "a file without a name") }
        var features = Features(syntax: syntax)
        for content in options { try features.apply(options: content, featuresNumber: 50) }
        for content in messages { try readMessage(content, scope: package, features, into: &file, depth: 0) }
        for content in enums { file.enums.append(try readEnum(content, scope: package)) }
        for content in services { file.services.append(try readService(content, scope: package)) }
        return file
    }

    private static func readMessage(
        _ bytes: ArraySlice<UInt8>, scope: String, _ outer: Features, into file: inout File, depth: Int
    ) throws {
        guard depth < depthLimit else {
            throw DynamicMessageError.malformedDescriptor(reason: "messages nest more than \(depthLimit) deep")
        }
        var name = ""
        var features = outer
        var isMapEntry = false
        var fields: [ArraySlice<UInt8>] = []
        var nested: [ArraySlice<UInt8>] = []
        var enums: [ArraySlice<UInt8>] = []
        var oneofs: [String] = []
        var reader = WireReader(bytes)
        while let field = try reader.next() {
            guard case .bytes(let content) = field.value else { continue }
            switch field.number {
            case 1: name = try text(content)
            case 2: fields.append(content)
            case 3: nested.append(content)
            case 4: enums.append(content)
            case 7:
                try features.apply(options: content, featuresNumber: 12)
                isMapEntry = try flag(7, in: content) ?? isMapEntry
            case 8: oneofs.append(try nameOnly(content))
            default: break
            }
        }
        let fullName = join(scope, name)
        file.messages.append(
            MessageSchema(
                fullName: fullName,
                fields: try fields.map { try readField($0, features, oneofCount: oneofs.count, isInEntry: isMapEntry) },
                oneofs: oneofs, isMapEntry: isMapEntry))
        for content in nested { try readMessage(content, scope: fullName, features, into: &file, depth: depth + 1) }
        for content in enums { file.enums.append(try readEnum(content, scope: fullName)) }
    }

    private static func readField(
        _ bytes: ArraySlice<UInt8>, _ outer: Features, oneofCount: Int, isInEntry: Bool
    ) throws -> FieldSchema {
        var name = ""
        var jsonName: String?
        var typeName = ""
        var number = 0
        var label: UInt64 = 1
        var type: UInt64 = 0
        var oneof: Int?
        var isOptional = false
        var features = outer
        var reader = WireReader(bytes)
        while let field = try reader.next() {
            switch (field.number, field.value) {
            case (1, .bytes(let content)): name = try text(content)
            case (3, .varint(let value)): number = Int(truncatingIfNeeded: value)
            case (4, .varint(let value)): label = value
            case (5, .varint(let value)): type = value
            case (6, .bytes(let content)): typeName = try text(content)
            case (8, .bytes(let content)):
                features.packed = try flag(2, in: content) ?? features.packed
                try features.apply(options: content, featuresNumber: 21)
            case (9, .varint(let value)): oneof = Int(truncatingIfNeeded: value)
            case (10, .bytes(let content)): jsonName = try text(content)
            case (17, .varint(let value)): isOptional = value != 0
            default: break
            }
        }
        guard (1..<1 << 29).contains(number), (1...3).contains(label),
            oneof.map({ (0..<oneofCount).contains($0) }) != false,
            let kind = kind(type, typeName, isDelimited: features.delimited && !isInEntry)
        else { throw DynamicMessageError.malformedDescriptor(reason: "the field “\(name)” is damaged") }
        let isRepeated = label == 3
        let isMessage = type == 10 || type == 11
        let isPackable = !isMessage && type != 9 && type != 12
        return FieldSchema(
            name: name, jsonName: jsonName ?? Self.jsonName(name), number: number, kind: kind, isRepeated: isRepeated,
            isPacked: isRepeated && isPackable && features.packed,
            hasPresence: !isRepeated && (isMessage || oneof != nil || isOptional || !features.implicitPresence),
            oneof: oneof)
    }

    private static func kind(_ type: UInt64, _ typeName: String, isDelimited: Bool) -> FieldSchema.Kind? {
        let typeName = typeName.hasPrefix(".") ? String(typeName.dropFirst()) : typeName
        return switch type {
        case 1: .double
        case 2: .float
        case 3: .int64
        case 4: .uint64
        case 5: .int32
        case 6: .fixed64
        case 7: .fixed32
        case 8: .bool
        case 9: .string
        case 10: .group(typeName)
        case 11: isDelimited ? .group(typeName) : .message(typeName)
        case 12: .bytes
        case 13: .uint32
        case 14: .enumeration(typeName)
        case 15: .sfixed32
        case 16: .sfixed64
        case 17: .sint32
        case 18: .sint64
        default: nil
        }
    }

    private static func readEnum(_ bytes: ArraySlice<UInt8>, scope: String) throws -> EnumSchema {
        var name = ""
        var values: [(name: String, number: Int32)] = []
        var reader = WireReader(bytes)
        while let field = try reader.next() {
            guard case .bytes(let content) = field.value else { continue }
            switch field.number {
            case 1: name = try text(content)
            case 2:
                var value = (name: "", number: Int32(0))
                var inner = WireReader(content)
                while let part = try inner.next() {
                    switch (part.number, part.value) {
                    case (1, .bytes(let content)): value.name = try text(content)
                    case (2, .varint(let number)): value.number = Int32(truncatingIfNeeded: number)
                    default: break
                    }
                }
                values.append(value)
            default: break
            }
        }
        return EnumSchema(fullName: join(scope, name), values: values)
    }

    private static func readService(_ bytes: ArraySlice<UInt8>, scope: String) throws -> ServiceSchema {
        let fullName = join(scope, try nameOnly(bytes))
        var methods: [MethodSchema] = []
        var reader = WireReader(bytes)
        while let field = try reader.next() {
            guard field.number == 2, case .bytes(let content) = field.value else { continue }
            let name = try nameOnly(content)
            var types = ["", ""]
            var inner = WireReader(content)
            while let part = try inner.next() {
                guard (2...3).contains(part.number), case .bytes(let content) = part.value else { continue }
                let type = try text(content)
                types[part.number - 2] = type.hasPrefix(".") ? String(type.dropFirst()) : type
            }
            methods.append(
                MethodSchema(
                    name: name, path: "/\(fullName)/\(name)", requestType: types[0], responseType: types[1],
                    requestIsStream: try flag(5, in: content) ?? false,
                    responseIsStream: try flag(6, in: content) ?? false))
        }
        return ServiceSchema(fullName: fullName, methods: methods)
    }

    // MARK: Parts that several have

    private static func text(_ bytes: ArraySlice<UInt8>) throws(DynamicMessageError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw .malformedDescriptor(reason: "a name that is not UTF-8")
        }
        return text
    }

    /// The value of the name, which is field 1 of every declaration.
    private static func nameOnly(_ bytes: ArraySlice<UInt8>) throws -> String {
        var name = ""
        var reader = WireReader(bytes)
        while let field = try reader.next() {
            if field.number == 1, case .bytes(let content) = field.value { name = try text(content) }
        }
        return name
    }

    private static func flag(_ number: Int, in bytes: ArraySlice<UInt8>) throws(WireFault) -> Bool? {
        var result: Bool?
        var reader = WireReader(bytes)
        while let field = try reader.next() {
            if field.number == number, case .varint(let value) = field.value { result = value != 0 }
        }
        return result
    }

    private static func join(_ scope: String, _ name: String) -> String { scope.isEmpty ? name : "\(scope).\(name)" }

    /// protoc's rule: underscores go, and raise the letter after them.
    private static func jsonName(_ name: String) -> String {
        var result = ""
        var raises = false
        for character in name {
            if character == "_" {
                raises = true
            } else {
                result += raises ? character.uppercased() : String(character)
                raises = false
            }
        }
        return result
    }
}
