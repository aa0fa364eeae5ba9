/// A proto file as server reflection shows it.
public struct FileDescriptor: Sendable {
    /// The path as protos import it, such as `vomma/v1/market.proto`.
    public let name: String
    /// The names of the files that it imports.
    public let dependencies: [String]
    /// The full names of its services.
    public let services: [String]
    private let symbolLines: String
    private let base64: String

    init(name: String, dependencies: [String], services: [String], symbols: String, base64: String) {
        self.name = name
        self.dependencies = dependencies
        self.services = services
        symbolLines = symbols
        self.base64 = base64
    }

    /// The full names of all it declares: messages, enums, services and methods. Made anew at each call.
    public var symbols: [String] { symbolLines.split(separator: "\n").map(String.init) }

    /// The full names of its messages, those inside others too. Made anew at each call.
    public var messages: [String] {
        let bytes = serializedBytes
        var found: [String] = []
        unsafe bytes.withUnsafeBytes { unsafe Self.collect(from: $0, 0..<$0.count, isFile: true, within: "", &found) }
        return found
    }

    /// Adds the names of a DescriptorProto (name 1, nested_type 3) and of those inside it, or of a FileDescriptorProto
    /// (package 2, message_type 4).
    private static func collect(
        from bytes: UnsafeRawBufferPointer, _ range: Range<Int>, isFile: Bool, within scope: String,
        _ found: inout [String]
    ) {
        var name = ""
        var inner: [Range<Int>] = []
        var fields = unsafe WireFields(bytes, range)
        while let field = try? fields.next(groupDepth: 0) {
            switch field.number {
            case isFile ? 2 : 1: name = unsafe String(decoding: bytes[field.content], as: UTF8.self)
            case isFile ? 4 : 3: inner.append(field.content)
            default: break
            }
        }
        let full = scope.isEmpty ? name : scope + "." + name
        if !isFile { found.append(full) }
        for range in inner { unsafe collect(from: bytes, range, isFile: false, within: full, &found) }
    }

    /// The serialized google.protobuf.FileDescriptorProto, without comments. Made anew at each call.
    public var serializedBytes: [UInt8] {
        var result: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for character in base64.utf8 {
            let value: UInt8
            switch character {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = character - UInt8(ascii: "A")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = character - UInt8(ascii: "a") + 26
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = character - UInt8(ascii: "0") + 52
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            default: continue
            }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                result.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return result
    }
}

/// The protos of this package, by themselves (`FileDescriptors.vommaV1Market`) and together.
public enum FileDescriptors {
    /// The file of this name.
    public static func file(named name: String) -> FileDescriptor? { all.first { $0.name == name } }

    /// The file that declares a message, enum, service or method of this full name. Linear in all names.
    public static func file(containing symbol: String) -> FileDescriptor? {
        all.first { $0.symbols.contains(symbol) }
    }

    /// The file and all that it imports, directly or not; imports come first.
    public static func withDependencies(_ file: FileDescriptor) -> [FileDescriptor] {
        var result: [FileDescriptor] = []
        func add(_ file: FileDescriptor) {
            guard !result.contains(where: { $0.name == file.name }) else { return }
            for name in file.dependencies { Self.file(named: name).map(add) }
            result.append(file)
        }
        add(file)
        return result
    }
}
