extension DescriptorPool {
    /// A service, message or enum in the proto language, then all the types that it leads to, each once; `nil` for a
    /// name that is not known. Comments, options and reserved numbers are not shown.
    public func text(describing name: String) -> String? {
        var blocks: [String] = []
        var waiting: [String] = []
        if let service = service(named: name) {
            blocks.append(Self.text(service))
            waiting = service.methods.flatMap { [$0.requestType, $0.responseType] }
        } else if message(named: name) != nil || enumeration(named: name) != nil {
            waiting = [name]
        } else {
            return nil
        }
        var seen: Set<String> = []
        var index = 0
        while index < waiting.count {
            let name = waiting[index]
            index += 1
            guard seen.insert(name).inserted else { continue }
            if let schema = enumeration(named: name) {
                blocks.append(Self.text(schema))
            } else if let schema = message(named: name) {
                blocks.append(text(schema))
                waiting += schema.fields.flatMap(typeNames)
            }
        }
        return blocks.joined(separator: "\n\n")
    }

    /// The types that a field leads to: its own, or a map's value type.
    private func typeNames(_ field: FieldSchema) -> [String] {
        if let entry = try? mapEntry(of: field) { return typeNames(entry.value) }
        return switch field.kind {
        case .message(let name), .group(let name), .enumeration(let name): [name]
        default: []
        }
    }

    private static func text(_ service: ServiceSchema) -> String {
        let methods = service.methods.map { method in
            let request = (method.requestIsStream ? "stream " : "") + method.requestType
            let response = (method.responseIsStream ? "stream " : "") + method.responseType
            return "  rpc \(method.name)(\(request)) returns (\(response));\n"
        }
        return "service \(service.fullName) {\n\(methods.joined())}"
    }

    private static func text(_ schema: EnumSchema) -> String {
        "enum \(schema.fullName) {\n\(schema.values.map { "  \($0.name) = \($0.number);\n" }.joined())}"
    }

    private func text(_ schema: MessageSchema) -> String {
        guard !schema.fields.isEmpty else { return "message \(schema.fullName) {}" }
        var lines: [String] = []
        // A choice is shown where its first field is. One that holds a single field says no more than `optional`.
        var shown: Set<Int> = []
        for field in schema.fields {
            guard let oneof = field.oneof, schema.fields.count(where: { $0.oneof == oneof }) > 1 else {
                lines.append("  \(text(field))")
                continue
            }
            guard shown.insert(oneof).inserted else { continue }
            lines.append("  oneof \(schema.oneofs[oneof]) {")
            for choice in schema.fields where choice.oneof == oneof {
                lines.append("    \(Self.typeText(choice)) \(choice.name) = \(choice.number);")
            }
            lines.append("  }")
        }
        return "message \(schema.fullName) {\n\(lines.joined(separator: "\n"))\n}"
    }

    private func text(_ field: FieldSchema) -> String {
        let type =
            if let entry = try? mapEntry(of: field) {
                "map<\(Self.typeText(entry.key)), \(Self.typeText(entry.value))>"
            } else if field.isRepeated {
                "repeated \(Self.typeText(field))"
            } else {
                (field.hasPresence && field.messageType == nil ? "optional " : "") + Self.typeText(field)
            }
        return "\(type) \(field.name) = \(field.number);"
    }

    private static func typeText(_ field: FieldSchema) -> String {
        switch field.kind {
        case .message(let name), .group(let name), .enumeration(let name): name
        default: "\(field.kind)"
        }
    }
}
