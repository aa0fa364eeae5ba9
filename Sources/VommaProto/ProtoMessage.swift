// The messages, services and clients of proto/, as Swift values. Generated/ is made by proto/generate.sh; this folder's
// other files are what it stands on: read ProtoMessage, Wire (decoding), Arena (encoding).
//
// The wire work is libprotobuf-c's. What it does not do is added here: a limit of depth and of memory, and the check of
// UTF-8. What it does otherwise than the standard is put right for the few messages that have it (MessageScan,
// MessageRepair): known fields of another wire type, groups, and messages that occur twice and are to be merged.
// Known and left so: unknown fields within a map's entry are dropped, and a text that a later one replaces need not be
// UTF-8.
// Strings compare as Swift's do, by canonical equivalence: map keys that differ only in their normalisation are one.

public import RPC

/// A message of a proto: a value with a wire form.
///
/// Reading and writing throw `MessageError`. Fields are written by number and map entries by key, so that equal
/// messages have equal bytes. Equality is that of the fields, unknown ones included; as in Swift, a NaN is not equal to
/// itself.
public protocol ProtoMessage: RPCMessage, Equatable {
    /// All fields at their defaults.
    init()
    /// The full name, such as `vomma.v1.Bar`.
    static var protoName: String { get }
    /// Fields that this version doesn't know; they survive a round trip.
    var unknownFields: UnknownFields { get set }
}

extension ProtoMessage {
    /// Reads the wire form. Throws `MessageError`.
    public init(serializedBytes bytes: [UInt8]) throws {
        try unsafe self.init(serializedBytes: bytes.span.bytes)
    }
}

/// An enum of a proto. Open: a number without a case is kept in `unrecognized`.
public protocol ProtoEnum: RawRepresentable<Int32>, CaseIterable, Hashable, Sendable {
    init(rawValue: Int32)
}

/// Why bytes are no message, or a message has no bytes.
public enum MessageError: Error, Sendable, Equatable {
    /// The bytes end early, or are not the wire form of this message.
    case malformed(message: String)
    /// Messages within messages, more than `limit` deep.
    case tooDeep(message: String, limit: Int)
    /// A string field (its full name) holds bytes that are not UTF-8.
    case invalidUTF8(field: String)
    /// More than 2 GiB, or small but made to take much memory when unpacked.
    case tooLarge(message: String, byteCount: Int)
}

extension MessageError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .malformed(let message): "malformed \(message)"
        case .tooDeep(let message, let limit): "\(message) is nested more than \(limit) deep"
        case .invalidUTF8(let field): "\(field) is not UTF-8"
        case .tooLarge(let message, let byteCount): "\(message) of \(byteCount) bytes is too large"
        }
    }
}

/// The fields of a message that its proto, in this version, doesn't declare: kept as they came, written last.
public struct UnknownFields: Sendable, Equatable {
    /// Tags and values as on the wire.
    public internal(set) var bytes: [UInt8] = []

    public init() {}

    public var isEmpty: Bool { bytes.isEmpty }
}

/// A value's place within itself: a field whose type contains, somewhere, the message it is a field of.
struct Box<Value: Sendable & Equatable>: Sendable, Equatable {
    /// None or one. An array, because that is copied when it is written to, as a value must be.
    private var storage: [Value] = []

    var value: Value? {
        get { storage.first }
        set { storage = newValue.map { [$0] } ?? [] }
    }
}
