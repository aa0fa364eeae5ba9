private import Synchronization

/// What a handler knows about its call, and how it adds metadata to the answer. Free to copy and to pass on.
public struct CallContext: Sendable {
    /// `/package.Service/Method`.
    public let path: String
    /// The client's custom headers.
    public let metadata: Metadata
    /// When the call ends with DEADLINE_EXCEEDED; `nil`: never. Nested client calls made from the handler's task
    /// inherit it. After it the handler's task is cancelled.
    public let deadline: ContinuousClock.Instant?
    /// The client's address as text, such as `127.0.0.1:41234`.
    public let peer: String
    /// Who the client is, by its certificate; `nil` unless the server demands one (mutual TLS).
    public let identity: PeerIdentity?
    /// The call's place in a distributed trace; `nil` without `ServerTracing`.
    public var trace: TraceContext?
    private var values: [ObjectIdentifier: any Sendable] = [:]
    let response: ResponseMetadata

    /// A context outside any server, for calling a handler directly in a test.
    public init(
        path: String, metadata: Metadata = [:], deadline: ContinuousClock.Instant? = nil, peer: String = "in-process",
        identity: PeerIdentity? = nil
    ) {
        self.init(
            path: path, metadata: metadata, deadline: deadline, peer: peer, identity: identity,
            response: ResponseMetadata())
    }

    init(
        path: String, metadata: Metadata, deadline: ContinuousClock.Instant?, peer: String, identity: PeerIdentity?,
        response: ResponseMetadata
    ) {
        self.path = path
        self.metadata = metadata
        self.deadline = deadline
        self.peer = peer
        self.identity = identity
        self.response = response
    }

    /// Headers sent before the first response. Setting them later than that has no effect.
    public func setInitialMetadata(_ metadata: Metadata) { response.setInitial(metadata) }

    /// Trailers sent with the status, whether OK or not.
    public func setTrailingMetadata(_ metadata: Metadata) { response.setTrailing(metadata) }

    /// What an interceptor has put here for handlers.
    public subscript<Key: CallContextKey>(key: Key.Type) -> Key.Value? {
        get { values[ObjectIdentifier(key)] as? Key.Value }
        set { values[ObjectIdentifier(key)] = newValue }
    }

    /// What client calls made in this task inherit from the call being handled.
    struct Inheritance: Sendable {
        var deadline: ContinuousClock.Instant?
        var trace: TraceContext?
    }

    @TaskLocal static var inheritance: Inheritance?

    /// The deadline that client calls made in this task inherit: that of the call being handled, if any.
    public static var inheritedDeadline: ContinuousClock.Instant? { inheritance?.deadline }

    /// The trace of the call being handled in this task, if any.
    public static var inheritedTrace: TraceContext? { inheritance?.trace }
}

/// The answer's metadata, shared between the handler's tasks and the connection.
final class ResponseMetadata: Sendable {
    private let values = Mutex<(initial: Metadata, trailing: Metadata)>(([:], [:]))

    func setInitial(_ metadata: Metadata) { values.withLock { $0.initial = metadata } }
    func setTrailing(_ metadata: Metadata) { values.withLock { $0.trailing = metadata } }
    var initial: Metadata { values.withLock { $0.initial } }
    var trailing: Metadata { values.withLock { $0.trailing } }
}
