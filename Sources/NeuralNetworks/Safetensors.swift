/// A dense array with its name and shape, row-major. A scalar has the empty shape and one element.
public struct Tensor: Sendable, Equatable {
    public enum Elements: Sendable, Equatable {
        case float32([Float])
        case float64([Double])
        case int64([Int64])
        case uint64([UInt64])
        case uint8([UInt8])
    }

    public let name: String
    public let shape: [Int]
    public let elements: Elements

    /// Traps when the shape does not hold the elements, or the name is the reserved `__metadata__`.
    public init(_ name: String, shape: [Int], _ elements: Elements) {
        precondition(name != Safetensors.metadataKey, "a tensor is not called __metadata__")
        precondition(shape.allSatisfy { $0 >= 0 }, "dimensions are not negative")
        precondition(shape.reduce(1, *) == elements.count, "the shape holds the elements")
        (self.name, self.shape, self.elements) = (name, shape, elements)
    }

    /// A vector of single-precision numbers.
    public init(_ name: String, _ values: [Float]) { self.init(name, shape: [values.count], .float32(values)) }
}

/// A safetensors file: named tensors and a dictionary of strings (github.com/huggingface/safetensors, format of 2023).
///
/// 8 bytes, little-endian: the header's byte count; the header, JSON: name → dtype, shape, data_offsets; the tensors'
/// bytes, little-endian, without gaps. Reading trusts nothing, and returns every bit as it was written.
public struct Safetensors: Sendable, Equatable {
    static let metadataKey = "__metadata__"
    /// A longer header is refused, as by the reference implementation. In bytes.
    static let headerLimit = 100_000_000

    public var metadata: [String: String]
    /// In the order of the file's bytes.
    public var tensors: [Tensor]

    public init(metadata: [String: String] = [:], tensors: [Tensor]) {
        self.metadata = metadata
        self.tensors = tensors
    }

    /// The file's bytes: the same for the same content. Tensors of eight-byte elements come first, so that all are
    /// aligned to their elements, else in the given order. Traps when two have one name.
    public func bytes() -> [UInt8] {
        precondition(Set(tensors.map(\.name)).count == tensors.count, "every tensor has its own name")
        let ordered = [8, 4, 1].flatMap { width in tensors.filter { $0.elements.width == width } }
        var members: [String] = []
        if !metadata.isEmpty {
            let pairs = metadata.sorted { $0.key < $1.key }.map { "\(JSON.quoted($0.key)):\(JSON.quoted($0.value))" }
            members.append("\(JSON.quoted(Self.metadataKey)):{\(pairs.joined(separator: ","))}")
        }
        var end = 0
        for tensor in ordered {
            let start = end
            end += tensor.elements.byteCount
            members.append(
                """
                \(JSON.quoted(tensor.name)):{"dtype":"\(tensor.elements.type)",\
                "shape":[\(tensor.shape.map(String.init).joined(separator: ","))],\
                "data_offsets":[\(start),\(end)]}
                """)
        }
        var header = Array("{\(members.joined(separator: ","))}".utf8)
        header.append(contentsOf: repeatElement(0x20, count: (8 - header.count % 8) % 8))
        var result: [UInt8] = []
        result.reserveCapacity(8 + header.count + end)
        result.append(contentsOf: (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) })
        result.append(contentsOf: header)
        for tensor in ordered { tensor.elements.append(to: &result) }
        return result
    }

    /// Reads a whole file.
    ///
    /// Throws `malformedSafetensors` for bytes that break the format (truncated, overlapping, with gaps, a size that
    /// is not its shape's, not JSON, a name twice), `unsupportedElementType` for a valid file with, say, BF16.
    public init(bytes: [UInt8]) throws(NeuralNetworkError) {
        func malformed(_ reason: String) -> NeuralNetworkError { .malformedSafetensors(reason: reason) }
        guard bytes.count >= 8 else { throw malformed("shorter than its length field") }
        let length = bytes[..<8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= Self.headerLimit, length <= bytes.count - 8 else {
            throw malformed("header longer than the file or the limit")
        }
        let header = bytes[8..<8 + Int(length)]
        guard header.first == UInt8(ascii: "{") else { throw malformed("header does not start with {") }
        let json: JSON
        do { json = try JSON(parsing: header) } catch { throw malformed(error.reason) }
        guard case .object(let members) = json else { throw malformed("header is no object") }
        metadata = [:]
        var entries: [Entry] = []
        for (key, value) in members {
            if key == Self.metadataKey {
                metadata = try Self.strings(value)
            } else {
                entries.append(try Entry(key, value))
            }
        }
        entries.sort { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
        let data = 8 + Int(length)
        var end = 0
        tensors = []
        for entry in entries {
            guard entry.range.lowerBound == end, entry.range.upperBound <= bytes.count - data else {
                throw malformed("tensor \(entry.name) overlaps, leaves a gap or ends after the file")
            }
            end = entry.range.upperBound
            let place = data + entry.range.lowerBound..<data + end
            guard let elements = Tensor.Elements(type: entry.type, bytes: bytes[place], count: entry.count) else {
                throw malformed("tensor \(entry.name) has not its shape's size")
            }
            tensors.append(Tensor(entry.name, shape: entry.shape, elements))
        }
        guard data + end == bytes.count else { throw malformed("bytes after the last tensor") }
    }

    /// The named tensor. Throws `missingTensor`.
    public func tensor(_ name: String) throws(NeuralNetworkError) -> Tensor {
        guard let tensor = tensors.first(where: { $0.name == name }) else { throw .missingTensor(name: name) }
        return tensor
    }

    /// The named tensor's single-precision elements, of just this shape. Throws `missingTensor`, `tensorMismatch`.
    public func floats(_ name: String, shape: [Int]) throws(NeuralNetworkError) -> [Float] {
        let tensor = try tensor(name)
        guard case .float32(let values) = tensor.elements, tensor.shape == shape else {
            throw .tensorMismatch(
                name: name, expected: "F32\(shape)", found: "\(tensor.elements.type)\(tensor.shape)")
        }
        return values
    }

    private static func strings(_ json: JSON) throws(NeuralNetworkError) -> [String: String] {
        guard case .object(let members) = json else { throw .malformedSafetensors(reason: "metadata is no object") }
        var result: [String: String] = [:]
        for (key, value) in members {
            guard case .string(let text) = value else { throw .malformedSafetensors(reason: "metadata is no string") }
            result[key] = text
        }
        return result
    }

    /// One tensor's line of the header, checked as far as it can be without the data.
    private struct Entry {
        let name: String
        let type: String
        let shape: [Int]
        let count: Int
        let range: Range<Int>

        init(_ name: String, _ json: JSON) throws(NeuralNetworkError) {
            func malformed(_ reason: String) -> NeuralNetworkError {
                .malformedSafetensors(reason: "tensor \(name): \(reason)")
            }
            guard case .object(let members) = json, members.count == 3 else { throw malformed("not three members") }
            var (type, shape, offsets): (String?, [Int]?, [Int]?)
            for (key, value) in members {
                switch (key, value) {
                case ("dtype", .string(let text)): type = text
                case ("shape", .array(let values)): shape = Self.naturals(values)
                case ("data_offsets", .array(let values)): offsets = Self.naturals(values)
                default: throw malformed("unknown member \(key)")
                }
            }
            guard let type, let shape, let offsets else { throw malformed("a member is missing or wrong") }
            guard offsets.count == 2, offsets[0] <= offsets[1] else { throw malformed("offsets are no range") }
            guard Tensor.Elements.types.contains(type) else {
                throw .unsupportedElementType(tensor: name, type: type)
            }
            var count = 1
            for dimension in shape {
                let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
                guard !overflow else { throw malformed("its size overflows") }
                count = product
            }
            (self.name, self.type, self.shape, self.count) = (name, type, shape, count)
            range = offsets[0]..<offsets[1]
        }

        static func naturals(_ values: [JSON]) -> [Int]? {
            var result: [Int] = []
            for value in values {
                guard case .integer(let n) = value, n >= 0 else { return nil }
                result.append(n)
            }
            return result
        }
    }
}

extension Tensor.Elements {
    static let types = ["F32", "F64", "I64", "U64", "U8"]

    var type: String {
        switch self {
        case .float32: "F32"
        case .float64: "F64"
        case .int64: "I64"
        case .uint64: "U64"
        case .uint8: "U8"
        }
    }

    public var count: Int {
        switch self {
        case .float32(let values): values.count
        case .float64(let values): values.count
        case .int64(let values): values.count
        case .uint64(let values): values.count
        case .uint8(let values): values.count
        }
    }

    /// Bytes of one element.
    var width: Int {
        switch self {
        case .float32: 4
        case .float64, .int64, .uint64: 8
        case .uint8: 1
        }
    }

    var byteCount: Int { count * width }

    func append(to bytes: inout [UInt8]) {
        switch self {
        case .float32(let values): unsafe values.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
        case .float64(let values): unsafe values.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
        case .int64(let values): unsafe values.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
        case .uint64(let values): unsafe values.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
        case .uint8(let values): bytes.append(contentsOf: values)
        }
    }

    /// `nil` when the bytes are not `count` elements of a known type.
    init?(type: String, bytes: ArraySlice<UInt8>, count: Int) {
        switch type {
        case "F32":
            guard let values = Self.array(bytes, count, Float(0)) else { return nil }
            self = .float32(values)
        case "F64":
            guard let values = Self.array(bytes, count, Double(0)) else { return nil }
            self = .float64(values)
        case "I64":
            guard let values = Self.array(bytes, count, Int64(0)) else { return nil }
            self = .int64(values)
        case "U64":
            guard let values = Self.array(bytes, count, UInt64(0)) else { return nil }
            self = .uint64(values)
        case "U8":
            guard bytes.count == count else { return nil }
            self = .uint8(Array(bytes))
        default: return nil
        }
    }

    /// The host is little-endian, as every platform of the project.
    private static func array<T: BitwiseCopyable>(_ bytes: ArraySlice<UInt8>, _ count: Int, _ zero: T) -> [T]? {
        guard bytes.count % MemoryLayout<T>.size == 0, bytes.count / MemoryLayout<T>.size == count else { return nil }
        var result = [T](repeating: zero, count: count)
        unsafe result.withUnsafeMutableBytes { target in
            unsafe bytes.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
        }
        return result
    }
}
