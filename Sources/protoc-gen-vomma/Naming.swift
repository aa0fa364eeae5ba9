internal import SwiftProtobuf
internal import SwiftProtobufPluginLibrary

/// The Swift names of what the protos declare.
final class Naming {
    /// Package → prefix of its top-level types. `swift_prefix` in the file wins; other packages use their own name.
    private static let prefixes = [
        "vomma.v1": "", "grpc.health.v1": "Health", "grpc.reflection.v1": "Reflection",
        "grpc.reflection.v1alpha": "ReflectionV1Alpha", "inference": "", "google.protobuf": "Google",
        "google.rpc": "Google",
    ]
    /// Names that the generated code uses itself: a message of that name gets the suffix `Message`.
    private static let reservedTypes: Set<String> = [
        "Arena", "Array", "BidirectionalCall", "Bool", "Box", "CVommaProto", "CallContext", "CallOptions",
        "Dictionary", "Double", "Equatable", "Error", "FileDescriptor", "FileDescriptors", "Float", "Hashable", "Int",
        "Int32", "Int64", "MessageError", "Never", "Optional", "ProtoEnum", "ProtoMessage", "Protocol", "RPC",
        "RPCChannel", "RPCMessage", "RPCMethod", "RPCService", "RPCStatus", "RawSpan", "RequestStream",
        "RequestWriter", "ResponseStream", "ResponseWriter", "Self", "Sendable", "StaticString", "String", "Swift",
        "Type", "UInt32", "UInt64", "UInt8", "UnknownFields", "UnsafeMutablePointer", "UnsafePointer", "VommaProto",
        "Wire", "WireMessage",
    ]
    private static let keywords: Set<String> = [
        "associatedtype", "as", "break", "case", "catch", "class", "continue", "default", "defer", "deinit", "do",
        "else", "enum", "extension", "fallthrough", "false", "fileprivate", "for", "func", "guard", "if", "import",
        "in", "inout", "internal", "is", "let", "nil", "operator", "precedencegroup", "private", "protocol", "public",
        "repeat", "rethrows", "return", "static", "struct", "subscript", "super", "switch", "throw", "throws", "true",
        "try", "typealias", "var", "where", "while", "Any",
    ]
    /// Members that every message has already, and names that no backticks save.
    private static let reservedMembers: Set<String> = [
        "init", "self", "Self", "Type", "Protocol", "unknownFields", "serializedBytes", "protoName", "write",
    ]
    private static let acronyms: Set<String> = [
        "id", "url", "uri", "http", "https", "rpc", "utc", "html", "json", "csv", "sql", "tls", "api",
    ]

    /// The names of all nested types: a reference to a top-level type of such a name must say its module.
    private var nestedNames: Set<String> = []

    init(_ files: [FileDescriptor]) {
        func visit(_ message: Descriptor) {
            for child in message.messages where !child.options.mapEntry {
                nestedNames.insert(ownName(child.name, isTopLevel: false, in: child.file))
                visit(child)
            }
            for child in message.enums { nestedNames.insert(ownName(child.name, isTopLevel: false, in: child.file)) }
            for oneof in message.oneofs where !oneof.isPresence { nestedNames.insert(self.oneof(oneof)) }
        }
        for file in files { file.messages.forEach(visit) }
    }

    /// The declared name: `Bar`, or within its package's prefix: `HealthCheckRequest`, `ReflectionErrorResponse`.
    func declared(_ message: Descriptor) -> String {
        ownName(message.name, isTopLevel: message.containingType == nil, in: message.file)
    }

    func declared(_ type: EnumDescriptor) -> String {
        ownName(type.name, isTopLevel: type.containingType == nil, in: type.file)
    }

    /// A service without a trailing `Service`; the protocol and the client add theirs: `PolicyService`, `PolicyClient`.
    func stem(_ service: ServiceDescriptor) -> String {
        let name = prefixed(service.name, in: service.file)
        return name.hasSuffix("Service") ? String(name.dropLast("Service".count)) : name
    }

    /// The name with its scopes: `HealthCheckResponse.ServingStatus`.
    func scoped(_ message: Descriptor) -> String {
        guard let outer = message.containingType else { return declared(message) }
        return "\(scoped(outer)).\(declared(message))"
    }

    func scoped(_ type: EnumDescriptor) -> String {
        guard let outer = type.containingType else { return declared(type) }
        return "\(scoped(outer)).\(declared(type))"
    }

    /// A reference that means the same in every scope of the module.
    func reference(_ scopedName: String) -> String {
        let first = scopedName.prefix { $0 != "." }
        return nestedNames.contains(String(first)) ? "VommaProto.\(scopedName)" : scopedName
    }

    /// The enum of a oneof: `message_request` → `MessageRequest`, or `MessageRequestChoice` if the name is taken.
    func oneof(_ oneof: OneofDescriptor) -> String {
        let name = Self.camel(oneof.name, upperFirst: true)
        let message = oneof.containingType!
        let taken = message.messages.map(\.name) + message.enums.map(\.name) + Self.reservedTypes + [message.name]
        return taken.contains(name) ? name + "Choice" : name
    }

    /// A property or a oneof's case: `log_moneyness` → `logMoneyness`.
    func member(_ name: String) -> String {
        let result = Self.camel(name, upperFirst: false)
        return Self.reservedMembers.contains(result) ? result + "_" : Self.escaped(result)
    }

    /// A method: `ServerReflectionInfo` → `serverReflectionInfo`.
    func method(_ name: String) -> String {
        let upper = name.prefix { $0.isUppercase }.count
        let head = upper > 1 && upper < name.count ? upper - 1 : upper
        return Self.escaped(name.prefix(head).lowercased() + name.dropFirst(head))
    }

    /// An enum's case without the enum's own name: `ORDER_SIDE_BUY` of `OrderSide` → `buy`.
    func enumCase(_ value: EnumValueDescriptor) -> String {
        let snake = CNaming.function(value.enumType.name).uppercased()
        var name = value.name
        if name.hasPrefix(snake + "_") { name = String(name.dropFirst(snake.count + 1)) }
        let result = Self.camel(name.lowercased(), upperFirst: false)
        if result.first?.isNumber == true { return "_" + result }
        return Self.reservedMembers.contains(result) ? result + "_" : Self.escaped(result)
    }

    static func escaped(_ name: String) -> String { keywords.contains(name) ? "`\(name)`" : name }

    private func ownName(_ name: String, isTopLevel: Bool, in file: FileDescriptor) -> String {
        let result = isTopLevel ? prefixed(name, in: file) : name
        return Self.reservedTypes.contains(result) ? result + "Message" : result
    }

    private func prefixed(_ name: String, in file: FileDescriptor) -> String {
        let package = file.package.split(separator: ".").map { Self.camel(String($0), upperFirst: true) }.joined()
        let prefix = file.options.hasSwiftPrefix ? file.options.swiftPrefix : Self.prefixes[file.package] ?? package
        return name.hasPrefix(prefix) ? name : prefix + name
    }

    private static func camel(_ name: String, upperFirst: Bool) -> String {
        var result = ""
        for part in name.split(separator: "_") {
            if result.isEmpty && !upperFirst {
                // `foo_bar` is usual; a name like `fooBar` keeps its inner capitals, one like `URL` none.
                let isAcronym = part.allSatisfy { !$0.isLowercase }
                result += isAcronym ? part.lowercased() : part.prefix(1).lowercased() + part.dropFirst()
            } else if acronyms.contains(String(part)) {
                result += part.uppercased()
            } else if part.last == "s", acronyms.contains(String(part.dropLast())) {
                result += part.dropLast().uppercased() + "s"
            } else {
                result += part.prefix(1).uppercased() + part.dropFirst()
            }
        }
        return result
    }
}

extension OneofDescriptor {
    /// Whether it only gives its one field presence: proto3's `optional`, or the `oneof _x { T x = n; }` it stands for.
    var isPresence: Bool { fields.count == 1 && name.hasPrefix("_") }
}
