/// How a call ended: gRPC's code, a message for people, and optionally machine-readable details.
///
/// The one error type of this module that crosses the wire. A handler throws it to answer something else than OK; a
/// client call throws it for every failure, local ones (deadline, connection lost) included.
public struct RPCStatus: Error, Sendable, Hashable {
    public var code: StatusCode
    /// Any Unicode text; the wire form is percent-encoded. Shown to the caller: never put secrets or payloads in it.
    public var message: String
    /// A serialized `google.rpc.Status` (`grpc-status-details-bin`), opaque here; VommaProto's `details` reads it. More
    /// than 4 KiB are not sent.
    public var detailsBytes: [UInt8]?
    /// Trailing metadata. On the server it is added to what the call's context holds; on the client it is what came.
    public var metadata: Metadata

    public init(_ code: StatusCode, _ message: String = "", detailsBytes: [UInt8]? = nil, metadata: Metadata = [:]) {
        self.code = code
        self.message = message
        self.detailsBytes = detailsBytes
        self.metadata = metadata
    }

    public static let ok = RPCStatus(.ok)

    /// OK and nothing else to tell.
    var isPlainOK: Bool { code == .ok && message.isEmpty && detailsBytes == nil && metadata.isEmpty }

    /// Details are sent up to this many bytes: with base64, and the longest message beside them, they stay below the
    /// 8 KiB of headers that gRPC's clients take. Details that are lost are better than a status that is.
    static let longestDetails = 4 << 10
}

extension RPCStatus: CustomStringConvertible {
    public var description: String { message.isEmpty ? "\(code)" : "\(code): \(message)" }
}

/// gRPC's status codes, https://github.com/grpc/grpc/blob/master/doc/statuscodes.md.
public enum StatusCode: Int, Sendable, Hashable, CaseIterable {
    case ok = 0
    /// The caller (or its own caller) gave up.
    case cancelled = 1
    case unknown = 2
    /// Wrong whatever the state of the system.
    case invalidArgument = 3
    case deadlineExceeded = 4
    case notFound = 5
    case alreadyExists = 6
    case permissionDenied = 7
    /// A limit or quota, of ours or the peer's.
    case resourceExhausted = 8
    /// Fix the state first, then call again.
    case failedPrecondition = 9
    /// Redo the whole exchange.
    case aborted = 10
    case outOfRange = 11
    case unimplemented = 12
    /// A bug of the answering side, or a broken wire.
    case `internal` = 13
    /// Call again after a pause.
    case unavailable = 14
    case dataLoss = 15
    case unauthenticated = 16
}

/// An error that knows how it looks to a caller. A handler that throws one answers with `rpcStatus`; any other error
/// answers UNKNOWN without its text, which may hold what callers must not see.
public protocol RPCStatusConvertible: Error {
    var rpcStatus: RPCStatus { get }
}

/// What can go wrong outside of calls: binding, and metadata that has no wire form.
public enum RPCError: Error, Sendable, Equatable {
    /// Another process listens on the address. Stop it, or choose another port.
    case addressInUse(host: String, port: Int)
    /// Binding failed for another reason: no such host, no permission, …
    case cannotBind(host: String, port: Int, reason: String)
    /// `run()` was called a second time. A server runs once; make a new one.
    case alreadyRan
    /// The server ended before it was bound.
    case notRunning
    /// A key outside `[0-9a-z_.-]`, a reserved key, or a text value that is not printable ASCII.
    case invalidMetadata(key: String)
    /// libnghttp2 could not make a session: out of memory.
    case sessionUnavailable
    /// The same method path was registered twice.
    case duplicateMethod(path: String)
}

// MARK: - Codes of other layers

extension StatusCode {
    /// The code of an answer that carries only an HTTP status,
    /// https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md.
    init(httpStatus: Int) {
        switch httpStatus {
        case 400: self = .internal
        case 401: self = .unauthenticated
        case 403: self = .permissionDenied
        case 404: self = .unimplemented
        case 429, 502, 503, 504: self = .unavailable
        default: self = .unknown
        }
    }

    /// The code of a stream that ended by RST_STREAM,
    /// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors.
    init(resetCode: HTTP2ErrorCode) {
        switch resetCode {
        case .refusedStream: self = .unavailable
        case .cancel: self = .cancelled
        case .enhanceYourCalm: self = .resourceExhausted
        case .inadequateSecurity: self = .permissionDenied
        case .streamClosed: self = .unknown
        default: self = .internal
        }
    }
}

/// HTTP/2 error codes, RFC 9113 section 7. Unknown ones are kept.
struct HTTP2ErrorCode: RawRepresentable, Hashable, Sendable {
    var rawValue: UInt32

    static let noError = HTTP2ErrorCode(rawValue: 0)
    static let protocolError = HTTP2ErrorCode(rawValue: 1)
    static let internalError = HTTP2ErrorCode(rawValue: 2)
    static let streamClosed = HTTP2ErrorCode(rawValue: 5)
    static let refusedStream = HTTP2ErrorCode(rawValue: 7)
    static let cancel = HTTP2ErrorCode(rawValue: 8)
    static let enhanceYourCalm = HTTP2ErrorCode(rawValue: 11)
    static let inadequateSecurity = HTTP2ErrorCode(rawValue: 12)
}
