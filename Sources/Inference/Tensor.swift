/// The type of a tensor's elements, by the protocol's name.
public enum TensorDatatype: String, Sendable, CaseIterable {
    case bool = "BOOL"
    case uint8 = "UINT8", uint16 = "UINT16", uint32 = "UINT32", uint64 = "UINT64"
    case int8 = "INT8", int16 = "INT16", int32 = "INT32", int64 = "INT64"
    case float16 = "FP16", bfloat16 = "BF16", float32 = "FP32", float64 = "FP64"
    /// Byte strings of any length each.
    case bytes = "BYTES"

    /// Bytes of one element; `nil` where they vary.
    public var byteCount: Int? {
        switch self {
        case .bool, .uint8, .int8: 1
        case .uint16, .int16, .float16, .bfloat16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64: 8
        case .bytes: nil
        }
    }
}

/// A Swift number that is an element as it is.
public protocol TensorElement: BitwiseCopyable, Sendable {
    static var datatype: TensorDatatype { get }
}

extension UInt8: TensorElement { public static var datatype: TensorDatatype { .uint8 } }
extension UInt16: TensorElement { public static var datatype: TensorDatatype { .uint16 } }
extension UInt32: TensorElement { public static var datatype: TensorDatatype { .uint32 } }
extension UInt64: TensorElement { public static var datatype: TensorDatatype { .uint64 } }
extension Int8: TensorElement { public static var datatype: TensorDatatype { .int8 } }
extension Int16: TensorElement { public static var datatype: TensorDatatype { .int16 } }
extension Int32: TensorElement { public static var datatype: TensorDatatype { .int32 } }
extension Int64: TensorElement { public static var datatype: TensorDatatype { .int64 } }
extension Float: TensorElement { public static var datatype: TensorDatatype { .float32 } }
extension Double: TensorElement { public static var datatype: TensorDatatype { .float64 } }

/// Elements of one type in row-major order, with their shape.
///
/// Fixed-size elements are held as the bytes that the wire's raw form has: such a tensor goes from a request to a model
/// and from a model to a response without a step an element.
public struct Tensor: Sendable, Equatable {
    public let datatype: TensorDatatype
    /// Every dimension ≥ 0; empty is a scalar.
    public let shape: [Int]
    let storage: Storage

    enum Storage: Sendable, Equatable {
        /// Of all datatypes but `BYTES`: elements in native (little-endian) order.
        case raw([UInt8])
        case strings([[UInt8]])
    }

    /// Unchecked: the storage has what datatype and shape say.
    init(_ datatype: TensorDatatype, shape: [Int], storage: Storage) {
        self.datatype = datatype
        self.shape = shape
        self.storage = storage
    }

    /// Traps unless there is one value an element of the shape. One copy.
    public init<T: TensorElement>(_ values: [T], shape: [Int]) {
        precondition(shape.reduce(1, *) == values.count, "a tensor has one value an element of its shape")
        self.init(T.datatype, shape: shape, storage: .raw(Self.bytes(of: values)))
    }

    /// Traps unless there is one value an element of the shape.
    public init(bools: [Bool], shape: [Int]) {
        precondition(shape.reduce(1, *) == bools.count, "a tensor has one value an element of its shape")
        self.init(.bool, shape: shape, storage: .raw(bools.map { $0 ? 1 : 0 }))
    }

    /// Of datatype `BYTES`. Traps unless there is one value an element of the shape.
    public init(byteStrings: [[UInt8]], shape: [Int]) {
        precondition(shape.reduce(1, *) == byteStrings.count, "a tensor has one value an element of its shape")
        self.init(.bytes, shape: shape, storage: .strings(byteStrings))
    }

    /// How many elements.
    public var count: Int { shape.reduce(1, *) }

    /// The elements, in one copy. Traps for another datatype than `T`'s.
    public func values<T: TensorElement>(_ type: T.Type = T.self) -> [T] {
        let bytes = raw(of: type)
        return unsafe [T](unsafeUninitializedCapacity: bytes.count / MemoryLayout<T>.stride) { target, count in
            count = bytes.count / MemoryLayout<T>.stride
            guard let start = target.baseAddress, count > 0 else { return }
            unsafe bytes.withUnsafeBytes { source in
                guard let first = source.baseAddress else { return }
                unsafe UnsafeMutableRawPointer(start).copyMemory(from: first, byteCount: source.count)
            }
        }
    }

    /// Lends the elements without a copy. Traps for another datatype than `T`'s.
    public func withSpan<T: TensorElement, R>(of type: T.Type, _ body: (Span<T>) throws -> R) rethrows -> R {
        // An array's elements start at a multiple of 16: as aligned as any element needs.
        try unsafe raw(of: type).withUnsafeBytes { bytes in
            try unsafe bytes.withMemoryRebound(to: T.self) { try unsafe body($0.span) }
        }
    }

    /// The elements of a tensor of booleans. Traps for another datatype.
    public var bools: [Bool] {
        guard datatype == .bool, case .raw(let bytes) = storage else {
            preconditionFailure("the tensor has datatype \(datatype.rawValue)")
        }
        return bytes.map { $0 != 0 }
    }

    /// The elements of a tensor of byte strings. Traps for another datatype.
    public var byteStrings: [[UInt8]] {
        guard case .strings(let strings) = storage else {
            preconditionFailure("the tensor has datatype \(datatype.rawValue)")
        }
        return strings
    }

    private func raw<T: TensorElement>(of type: T.Type) -> [UInt8] {
        guard datatype == T.datatype, case .raw(let bytes) = storage else {
            preconditionFailure("the tensor has datatype \(datatype.rawValue), not \(T.datatype.rawValue)")
        }
        return bytes
    }

    private static func bytes<T: TensorElement>(of values: [T]) -> [UInt8] {
        let byteCount = values.count * MemoryLayout<T>.stride
        return unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { target, count in
            count = byteCount
            guard let start = target.baseAddress, byteCount > 0 else { return }
            unsafe values.withUnsafeBytes { source in
                guard let first = source.baseAddress else { return }
                unsafe UnsafeMutableRawPointer(start).copyMemory(from: first, byteCount: byteCount)
            }
        }
    }
}
