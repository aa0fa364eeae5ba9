// What descriptors say, as far as translating messages and calling methods needs it. Types refer to others by full
// name: `DescriptorPool` has them.

/// A message type.
public struct MessageSchema: Sendable {
    /// Package, enclosing messages and name: `vomma.v1.Surface`.
    public let fullName: String
    /// By number.
    public let fields: [FieldSchema]
    /// Names of the choices, which fields refer to by position.
    public let oneofs: [String]
    /// The type that protoc makes for the entries of a map: field 1 is the key, 2 the value.
    public let isMapEntry: Bool
    private let byNumber: [Int: FieldSchema]
    private let byName: [String: FieldSchema]

    init(fullName: String, fields: [FieldSchema], oneofs: [String], isMapEntry: Bool) {
        self.fullName = fullName
        self.fields = fields.sorted { $0.number < $1.number }
        self.oneofs = oneofs
        self.isMapEntry = isMapEntry
        byNumber = Dictionary(fields.map { ($0.number, $0) }, uniquingKeysWith: { first, _ in first })
        let names = fields.map { ($0.jsonName, $0) } + fields.map { ($0.name, $0) }
        byName = Dictionary(names, uniquingKeysWith: { first, _ in first })
    }

    /// The field of this JSON name or proto name; where both exist, the JSON name counts.
    public func field(named name: String) -> FieldSchema? { byName[name] }

    public func field(number: Int) -> FieldSchema? { byNumber[number] }

    /// The name without package and enclosing messages.
    public var shortName: String { fullName.lastComponent }
}

/// A field of a message.
public struct FieldSchema: Sendable {
    public enum Kind: Sendable, Equatable {
        case double, float, int32, int64, uint32, uint64, sint32, sint64, fixed32, fixed64, sfixed32, sfixed64
        case bool, string, bytes
        /// Full name of the type.
        case enumeration(String)
        case message(String)
        /// A message between marks on the wire: groups of proto2, `DELIMITED` of editions.
        case group(String)
    }
    /// As in the proto: `log_moneyness`.
    public let name: String
    /// As in JSON: `logMoneyness`.
    public let jsonName: String
    public let number: Int
    public let kind: Kind
    public let isRepeated: Bool
    /// Whether the elements of a repeated field are written as one value.
    public let isPacked: Bool
    /// Whether a set default differs from an absent field. Always so for messages and in choices.
    public let hasPresence: Bool
    /// The position of its choice in `MessageSchema.oneofs`.
    public let oneof: Int?

    /// The message type of the field, a group's too.
    var messageType: String? {
        switch kind {
        case .message(let name), .group(let name): name
        default: nil
        }
    }

    var isGroup: Bool {
        if case .group = kind { true } else { false }
    }
}

/// An enum.
public struct EnumSchema: Sendable {
    public let fullName: String
    /// In the proto's order, aliases included.
    public let values: [(name: String, number: Int32)]
    private let byName: [String: Int32]
    private let byNumber: [Int32: String]

    init(fullName: String, values: [(name: String, number: Int32)]) {
        self.fullName = fullName
        self.values = values
        byName = Dictionary(values, uniquingKeysWith: { first, _ in first })
        byNumber = Dictionary(values.map { ($0.number, $0.name) }, uniquingKeysWith: { first, _ in first })
    }

    public func number(named name: String) -> Int32? { byName[name] }
    /// The first name of the number; `nil` for one that this version doesn't know.
    public func name(of number: Int32) -> String? { byNumber[number] }

    public var shortName: String { fullName.lastComponent }
}

/// A service.
public struct ServiceSchema: Sendable {
    /// `vomma.v1.HestonInverter`.
    public let fullName: String
    public let methods: [MethodSchema]

    /// - Throws: `DynamicMessageError.unknownMethod`.
    public func method(named name: String) throws(DynamicMessageError) -> MethodSchema {
        guard let method = methods.first(where: { $0.name == name }) else {
            throw .unknownMethod(service: fullName, method: name, known: methods.map(\.name))
        }
        return method
    }
}

/// A method of a service.
public struct MethodSchema: Sendable {
    public let name: String
    /// `/package.Service/Method`.
    public let path: String
    /// Full names of the message types.
    public let requestType: String
    public let responseType: String
    public let requestIsStream: Bool
    public let responseIsStream: Bool
}

extension String {
    /// What follows the last dot.
    var lastComponent: String { split(separator: ".").last.map(String.init) ?? self }
}
