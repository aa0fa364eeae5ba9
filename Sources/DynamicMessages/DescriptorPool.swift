/// All types and services that a set of FileDescriptorProtos declares.
public struct DescriptorPool: Sendable {
    private var messages: [String: MessageSchema] = [:]
    private var enums: [String: EnumSchema] = [:]
    private var services: [String: ServiceSchema] = [:]
    private var dependencies: [String: [String]] = [:]

    public init() {}

    /// Adds one file. What has the full name of something known replaces that.
    /// - Throws: `DynamicMessageError.malformedDescriptor`; nothing is added then.
    public mutating func add(fileDescriptor bytes: [UInt8]) throws(DynamicMessageError) {
        let file = try DescriptorReader.file(bytes)
        dependencies[file.name] = file.dependencies
        for message in file.messages { messages[message.fullName] = message }
        for `enum` in file.enums { enums[`enum`.fullName] = `enum` }
        for service in file.services { services[service.fullName] = service }
    }

    /// The message type of this full name.
    public func message(named name: String) -> MessageSchema? { messages[name] }
    public func enumeration(named name: String) -> EnumSchema? { enums[name] }
    public func service(named name: String) -> ServiceSchema? { services[name] }

    /// How many files were added.
    public var fileCount: Int { dependencies.count }

    /// The names of files that are imported but were not added.
    public var missingFiles: [String] {
        Set(dependencies.values.joined()).filter { dependencies[$0] == nil }.sorted()
    }

    func requireMessage(_ name: String) throws(DynamicMessageError) -> MessageSchema {
        guard let schema = messages[name] else { throw .unknownType(name: name) }
        return schema
    }

    func requireEnum(_ name: String) throws(DynamicMessageError) -> EnumSchema {
        guard let schema = enums[name] else { throw .unknownType(name: name) }
        return schema
    }

    /// The entry type of a map field; `nil` for any other field.
    func mapEntry(of field: FieldSchema) throws(DynamicMessageError) -> (key: FieldSchema, value: FieldSchema)? {
        guard field.isRepeated, let name = field.messageType else { return nil }
        let entry = try requireMessage(name)
        guard entry.isMapEntry else { return nil }
        guard let key = entry.field(number: 1), let value = entry.field(number: 2), key.messageType == nil else {
            throw .malformedDescriptor(reason: "\(name) is no map entry")
        }
        return (key, value)
    }
}
