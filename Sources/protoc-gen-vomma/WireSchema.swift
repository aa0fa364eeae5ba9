internal import SwiftProtobuf

/// Rewrites proto schemas into wire-identical ones that protobuf-c 1.4 handles without loss.
///
/// protoc-c is given this schema instead of the real one; the bytes on the wire are the same, but
///  - `string` becomes `bytes`: a C string would end at its first NUL and need `strlen`; UTF-8 is checked in Swift;
///  - `double` and `float` become `fixed64` and `fixed32`: protobuf-c omits every field that compares equal to zero,
///    so −0.0 would lose its sign; as an integer it isn't zero;
///  - `bool` becomes `uint64`: protobuf-c reads a bool from a value of any wire type, and as 64 bits any but 0 is true;
///  - an enum becomes `int32`: unknown numbers pass, and C has no enum types to import;
///  - a map becomes its repeated entry, whose key and value have presence, so that both are always written, as the
///    other implementations do;
///  - proto3's `optional`, which protoc-c refuses, becomes the one-field oneof that it stands for;
///  - names carry the field's number, so that none clashes with a keyword of C or with protobuf-c's own members;
///  - services, enums, options and comments go: the C side needs none.
enum WireSchema {
    static func rewrite(_ set: Google_Protobuf_FileDescriptorSet) throws -> Google_Protobuf_FileDescriptorSet {
        var result = Google_Protobuf_FileDescriptorSet()
        for file in set.file {
            guard file.syntax == "proto3" else { throw GeneratorError.notProto3(file: file.name) }
            guard file.extension.isEmpty else { throw GeneratorError.extensions(file: file.name) }
            var copy = file
            copy.service = []
            copy.enumType = []
            copy.clearSourceCodeInfo()
            copy.messageType = try file.messageType.map(rewrite)
            // `(pb_c_file).gen_pack_helpers = false` (extension 1019, its field 2): we call the generic functions.
            copy.options = try Google_Protobuf_FileOptions(serializedBytes: [0xDA, 0x3F, 2, 0x10, 0] as [UInt8])
            result.file.append(copy)
        }
        return result
    }

    private static func rewrite(_ message: Google_Protobuf_DescriptorProto) throws -> Google_Protobuf_DescriptorProto {
        var copy = message
        let isEntry = message.options.mapEntry
        copy.clearOptions()
        copy.enumType = []
        copy.reservedName = []
        copy.nestedType = try message.nestedType.map(rewrite)
        for index in copy.oneofDecl.indices {
            copy.oneofDecl[index].name = CNaming.oneof(message.oneofDecl[index].name)
            copy.oneofDecl[index].clearOptions()
        }
        for index in copy.field.indices {
            let field = message.field[index]
            rewrite(&copy.field[index])
            if isEntry {
                copy.field[index].oneofIndex = Int32(copy.oneofDecl.count)
                var oneof = Google_Protobuf_OneofDescriptorProto()
                oneof.name = CNaming.oneof("_\(field.name)")
                copy.oneofDecl.append(oneof)
            }
        }
        return copy
    }

    private static func rewrite(_ field: inout Google_Protobuf_FieldDescriptorProto) {
        field.name = CNaming.field(field.name, field.number)
        field.clearJsonName()
        field.clearProto3Optional()
        let packed = field.options.hasPacked ? field.options.packed : true
        field.clearOptions()
        switch field.type {
        case .string: field.type = .bytes
        case .double: field.type = .fixed64
        case .float: field.type = .fixed32
        case .bool: field.type = .uint64
        case .enum:
            field.type = .int32
            field.clearTypeName()
        default: break
        }
        if field.label == .repeated, field.type != .bytes, field.type != .message { field.options.packed = packed }
    }
}

/// The names that protoc-c gives to what `WireSchema` leaves.
enum CNaming {
    static func field(_ name: String, _ number: Int32) -> String { "\(name.lowercased())_\(number)" }
    static func oneof(_ name: String) -> String { name.lowercased() }

    /// The C struct of a message: `vomma.v1.OptionQuote` → `Vomma__V1__OptionQuote`.
    static func type(_ fullName: String) -> String {
        fullName.split(separator: ".").map { part in
            part.split(separator: "_").map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
        }.joined(separator: "__")
    }

    /// The prefix of a message's C functions: `vomma.v1.OptionQuote` → `vomma__v1__option_quote`.
    static func function(_ fullName: String) -> String {
        fullName.split(separator: ".").map { part in
            var result = ""
            var afterUpper = true
            for character in part {
                if character.isUppercase && !afterUpper { result += "_" }
                result += character.lowercased()
                afterUpper = character.isUppercase
            }
            return result
        }.joined(separator: "__")
    }
}

/// Why nothing was generated.
enum GeneratorError: Error, CustomStringConvertible {
    /// Only proto3 has a mapping.
    case notProto3(file: String)
    /// Extensions have no mapping.
    case extensions(file: String)
    /// Two names of the schema are one in Swift.
    case clash(name: String, scope: String)

    var description: String {
        switch self {
        case .notProto3(let file): "\(file): only proto3 is supported"
        case .extensions(let file): "\(file): extensions are not supported"
        case .clash(let name, let scope): "\(scope): two declarations become \(name) in Swift"
        }
    }
}
