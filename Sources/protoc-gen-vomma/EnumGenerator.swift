internal import SwiftProtobufPluginLibrary

/// Writes one enum: its cases without their common prefix, and `unrecognized` for the numbers of later versions.
struct EnumGenerator {
    private let type: EnumDescriptor
    private let naming: Naming

    init(_ type: EnumDescriptor, _ naming: Naming) {
        self.type = type
        self.naming = naming
    }

    /// The earlier value of the same number, if this one is another name for it.
    private func original(of value: EnumValueDescriptor) -> EnumValueDescriptor? {
        type.values.first { $0.number == value.number && $0.index < value.index }
    }

    func declare(_ out: inout Source) throws {
        let values = type.values.filter { original(of: $0) == nil }
        var names: Set<String> = ["unrecognized"]
        for name in type.values.map(naming.enumCase) where !names.insert(name).inserted {
            throw GeneratorError.clash(name: name, scope: type.fullName)
        }
        let name = naming.declared(type)
        out.doc(type, fallback: "`\(type.fullName)`.")
        out.block("public enum \(name): ProtoEnum") { out in
            for value in values {
                out.doc(value, fallback: "`\(value.name)`.")
                out.line("case \(naming.enumCase(value))")
            }
            out.line("/// A number that this version doesn't know; it survives a round trip.")
            out.line("case unrecognized(Int32)")
            for value in type.values {
                guard let original = original(of: value) else { continue }
                out.doc(value, fallback: "`\(value.name)`.")
                out.line("public static let \(naming.enumCase(value)) = \(name).\(naming.enumCase(original))")
            }
            out.line()
            out.line("/// The known cases.")
            let cases = values.map { ".\(naming.enumCase($0))" }
            out.nested("public static let allCases: [\(name)] = [", "]") { out in
                for item in cases { out.line(item + ",") }
            }
            out.line()
            out.block("public init(rawValue: Int32)") { out in
                out.block("self = switch rawValue") { out in
                    for value in values { out.line("case \(value.number): .\(naming.enumCase(value))") }
                    out.line("default: .unrecognized(rawValue)")
                }
            }
            out.line()
            out.block("public var rawValue: Int32") { out in
                out.block("switch self") { out in
                    for value in values { out.line("case .\(naming.enumCase(value)): \(value.number)") }
                    out.line("case .unrecognized(let number): number")
                }
            }
        }
    }
}
