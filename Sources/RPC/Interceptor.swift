/// Sees every call of a server: to refuse it, to add to what its handler knows, to count it.
///
/// Interceptors run in the configuration's order at the call's beginning, and in reverse at its end. They are plain
/// synchronous functions on the connection's event loop, so that a call pays for no task, hop or closure: they must
/// not block, and what they need per method they make once, in `hooks(for:)`.
public protocol ServerInterceptor: Sendable {
    /// What to do for the calls of one method. Asked once for each registered method when the server starts, and once
    /// for what is no call of any of them (`MethodDescription.unknown`).
    func hooks(for method: MethodDescription) -> any ServerCallHooks
}

/// A method as interceptors see it.
public struct MethodDescription: Sendable, Hashable {
    /// `/package.Service/Method`; empty for calls to no registered method, so that it can be a metric's label.
    public let path: String
    /// `nil` for calls to no registered method.
    public let kind: RPCMethod.Kind?

    public init(path: String, kind: RPCMethod.Kind?) {
        self.path = path
        self.kind = kind
    }

    public static let unknown = MethodDescription(path: "", kind: nil)

    /// `package.Service`; empty without a path.
    public var service: Substring { path.dropFirst().prefix { $0 != "/" } }
}

/// What an interceptor does for the calls of one method. On the connection's event loop, at any time; must not block.
public protocol ServerCallHooks: Sendable {
    /// The head of a call came. May add to the context. A status refuses the call: its handler does not run, and of
    /// the interceptors only those that have seen the beginning see the end.
    func begin(_ context: inout CallContext) -> RPCStatus?
    /// Messages since the last report, once a second while the call goes on.
    func progress(_ traffic: CallTraffic)
    /// The call's status is known: once for each `begin`. Requests that are no gRPC call at all end without a `begin`
    /// (`MethodDescription.unknown`, `summary.hasBegun` false).
    func end(_ context: CallContext, _ status: RPCStatus, _ summary: CallSummary)
}

extension ServerCallHooks {
    public func begin(_ context: inout CallContext) -> RPCStatus? { nil }
    public func progress(_ traffic: CallTraffic) {}
    public func end(_ context: CallContext, _ status: RPCStatus, _ summary: CallSummary) {}
}

/// Sees every call of a channel: to add metadata, to count it. Like `ServerInterceptor`; hooks are made once for each
/// path that the channel calls.
public protocol ClientInterceptor: Sendable {
    func hooks(for path: String) -> any ClientCallHooks
}

/// What an interceptor does for the calls of one path. On the channel's event loop; must not block.
public protocol ClientCallHooks: Sendable {
    /// A call is about to be sent. A status ends it here.
    func begin(_ call: inout OutgoingCall) -> RPCStatus?
    /// Messages since the last report; every second while a connection carries the call.
    func progress(_ traffic: CallTraffic)
    /// The call's status is known: once for each `begin`, however many attempts there were.
    func end(_ call: OutgoingCall, _ status: RPCStatus, _ summary: CallSummary)
}

extension ClientCallHooks {
    public func begin(_ call: inout OutgoingCall) -> RPCStatus? { nil }
    public func progress(_ traffic: CallTraffic) {}
    public func end(_ call: OutgoingCall, _ status: RPCStatus, _ summary: CallSummary) {}
}

/// A call on its way out, as client interceptors see it.
public struct OutgoingCall: Sendable {
    /// `/package.Service/Method`.
    public let path: String
    public let deadline: ContinuousClock.Instant?
    /// The trace of the call being handled by the calling task, if any.
    public let trace: TraceContext?
    /// Custom headers: those of the call's options, and what interceptors add.
    public var metadata: Metadata
}

/// Messages of one call. Bytes are the messages' as they travel: compressed if they are, without their prefixes.
public struct CallTraffic: Sendable, Hashable {
    public var requestCount = 0
    public var requestByteCount = 0
    public var responseCount = 0
    public var responseByteCount = 0

    public init() {}

    static func - (left: CallTraffic, right: CallTraffic) -> CallTraffic {
        var difference = left
        difference.requestCount -= right.requestCount
        difference.requestByteCount -= right.requestByteCount
        difference.responseCount -= right.responseCount
        difference.responseByteCount -= right.responseByteCount
        return difference
    }
}

/// What is known of a call at its end, beside its status.
public struct CallSummary: Sendable {
    /// From the head's arrival (client: the call's start) until the status was known, in nanoseconds.
    public var nanoseconds: Int64
    /// All messages of the call.
    public var traffic: CallTraffic
    /// Those that no `progress` has reported.
    public var unreported: CallTraffic
    /// Whether `begin` has run.
    public var hasBegun = true
}

/// A key of `CallContext`'s own values, for interceptors that pass something to handlers.
public protocol CallContextKey {
    associatedtype Value: Sendable
}
