private import Synchronization

/// What a handler knows about its call, and how it adds metadata to the answer. Free to copy and to pass on: a copy is
/// one reference.
public struct CallContext: Sendable {
    private var storage: Storage

    /// A context outside any server, for calling a handler directly in a test.
    public init(
        path: String, metadata: Metadata = [:], deadline: ContinuousClock.Instant? = nil, peer: String = "in-process",
        identity: PeerIdentity? = nil
    ) {
        self.init(path, metadata, deadline: deadline.map { CallDeadline($0) }, peer: peer, identity)
    }

    init(
        _ path: String, _ metadata: Metadata, deadline: CallDeadline?, peer: String, _ identity: PeerIdentity?
    ) {
        storage = Storage(path: path, metadata: metadata, deadline: deadline, peer: peer, identity: identity)
    }

    /// `/package.Service/Method`.
    public var path: String { storage.path }
    /// The client's custom headers.
    public var metadata: Metadata { storage.metadata }
    /// When the call ends with DEADLINE_EXCEEDED; `nil`: never. Nested client calls made from the handler's task
    /// inherit it. After it the handler's task is cancelled.
    public var deadline: ContinuousClock.Instant? { storage.deadline?.instant }
    var callDeadline: CallDeadline? { storage.deadline }
    /// The client's address as text, such as `127.0.0.1:41234`.
    public var peer: String { storage.peer }
    /// Who the client is, by its certificate; `nil` unless the server demands one (mutual TLS).
    public var identity: PeerIdentity? { storage.identity }

    /// The call's place in a distributed trace; `nil` without `ServerTracing`.
    public var trace: TraceContext? {
        get { storage.trace }
        set {
            makeUnique()
            storage.trace = newValue
        }
    }

    /// What an interceptor has put here for handlers.
    public subscript<Key: CallContextKey>(key: Key.Type) -> Key.Value? {
        get { storage.values[ObjectIdentifier(key)] as? Key.Value }
        set {
            makeUnique()
            storage.values[ObjectIdentifier(key)] = newValue
        }
    }

    /// Headers sent before the first response. Setting them later than that has no effect.
    public func setInitialMetadata(_ metadata: Metadata) { storage.setResponse { $0.initial = metadata } }

    /// Trailers sent with the status, whether OK or not.
    public func setTrailingMetadata(_ metadata: Metadata) { storage.setResponse { $0.trailing = metadata } }

    /// The answer's metadata, if handlers have set any.
    var response: (initial: Metadata, trailing: Metadata)? { storage.response }

    private mutating func makeUnique() {
        if !isKnownUniquelyReferenced(&storage) { storage = Storage(copying: storage) }
    }

    /// The call that is being handled in this task: client calls made here inherit from it.
    @TaskLocal static var current: CallContext?

    /// The deadline that client calls made in this task inherit: that of the call being handled, if any.
    public static var inheritedDeadline: ContinuousClock.Instant? { current?.deadline }

    /// The trace of the call being handled in this task, if any.
    public static var inheritedTrace: TraceContext? { current?.trace }

    /// `@unchecked Sendable`: `trace` and `values` change only while one context refers to it.
    private final class Storage: @unchecked Sendable {
        let path: String
        let metadata: Metadata
        let deadline: CallDeadline?
        let peer: String
        let identity: PeerIdentity?
        @safe @exclusivity(unchecked) var trace: TraceContext?
        @safe @exclusivity(unchecked) var values: [ObjectIdentifier: any Sendable] = [:]
        /// The first of the contexts that were copied into each other: whichever sets the answer's metadata, it is one
        /// answer. `nil`: itself.
        private let origin: Storage?
        /// Few handlers set any: then this alone is looked at, once a call.
        private let isResponseSet = Atomic(false)
        private let responseValues = Mutex<(initial: Metadata, trailing: Metadata)?>(nil)

        init(
            path: String, metadata: Metadata, deadline: CallDeadline?, peer: String, identity: PeerIdentity?
        ) {
            self.path = path
            self.metadata = metadata
            self.deadline = deadline
            self.peer = peer
            self.identity = identity
            origin = nil
        }

        init(copying other: Storage) {
            path = other.path
            metadata = other.metadata
            deadline = other.deadline
            peer = other.peer
            identity = other.identity
            origin = other.origin ?? other
            trace = other.trace
            values = other.values
        }

        func setResponse(_ body: (inout (initial: Metadata, trailing: Metadata)) -> Void) {
            let owner = origin ?? self
            owner.responseValues.withLock { values in
                var response = values ?? (Metadata(), Metadata())
                body(&response)
                values = response
            }
            owner.isResponseSet.store(true, ordering: .releasing)
        }

        var response: (initial: Metadata, trailing: Metadata)? {
            if let origin { return origin.response }
            guard isResponseSet.load(ordering: .acquiring) else { return nil }
            return responseValues.withLock { $0 }
        }
    }
}
