public import RPC

/// A message that is its wire form, whatever its type.
public struct RawMessage: RPCMessage, Equatable {
    public var bytes: [UInt8]

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    public init(serializedBytes bytes: RawSpan) {
        self.bytes = unsafe bytes.withUnsafeBytes { unsafe Array($0) }
    }

    public func serializedBytes() -> [UInt8] { bytes }
}
