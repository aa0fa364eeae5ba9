/// A message that can be sent: the generated types conform, and so may anything that is bytes.
public protocol RPCMessage: Sendable {
    /// Reads the wire form. Throws for bytes that are no such message: the call then ends with INTERNAL, or with the
    /// thrown `RPCStatus`.
    init(serializedBytes bytes: RawSpan) throws
    /// The wire form. Throws where a field has none.
    func serializedBytes() throws -> [UInt8]
}

/// What a server offers under one name, such as `vomma.v1.PolicyService`.
public protocol RPCService: Sendable {
    /// Package and service, without slashes.
    var serviceName: String { get }
    var methods: [RPCMethod] { get }
}

/// Where a handler runs.
public enum HandlerExecution: Sendable, Hashable {
    /// On the connection's event loop, at once: fastest, for handlers that mostly await. One that computes for more
    /// than about a millisecond between two awaits delays every other call, deadline and connection of that loop.
    case eventLoop
    /// On Swift's shared pool: for handlers that compute. Costs two thread hops a call.
    case sharedPool
}

/// One method of a service: its path, its kind, and the handler with its message types erased.
public struct RPCMethod: Sendable {
    public enum Kind: Sendable, Hashable {
        case unary, serverStreaming, clientStreaming, bidirectional

        var requestIsStream: Bool { self == .clientStreaming || self == .bidirectional }
    }

    /// `/package.Service/Method`.
    public let path: String
    public let kind: Kind
    /// Where the handler runs; `nil` leaves it to the server's configuration.
    public var execution: HandlerExecution?
    let handler: Handler

    /// Runs a handler. Returning means OK.
    enum Handler: Sendable {
        /// From the request's bytes to the response's.
        case unary(@Sendable ([UInt8], CallContext) async throws -> [UInt8])
        /// On a call whose head was accepted; with the response of a call with exactly one.
        case call(@Sendable (ServerCall) async throws -> [UInt8]?)
    }

    init(path: String, kind: Kind, execution: HandlerExecution? = nil, handler: Handler) {
        self.path = path
        self.kind = kind
        self.execution = execution
        self.handler = handler
    }

    @usableFromInline
    init(
        unary path: String, execution: HandlerExecution?,
        _ handler: @escaping @Sendable ([UInt8], CallContext) async throws -> [UInt8]
    ) {
        self.init(path: path, kind: .unary, execution: execution, handler: .unary(handler))
    }

    /// This method, with its handler run there.
    public func running(on execution: HandlerExecution) -> RPCMethod {
        var copy = self
        copy.execution = execution
        return copy
    }

    /// One request, one response.
    ///
    /// Inlinable, so that it is made for its types: that saves a twentieth of what a call costs.
    @inlinable
    public static func unary<Request: RPCMessage, Response: RPCMessage>(
        _ path: String, execution: HandlerExecution? = nil,
        handler: @escaping @Sendable (Request, CallContext) async throws -> Response
    ) -> RPCMethod {
        RPCMethod(unary: path, execution: execution) { bytes, context in
            let request = try Request(message: bytes)
            return try await handler(request, context).messageBytes()
        }
    }

    /// One request, many responses.
    public static func serverStreaming<Request: RPCMessage, Response: RPCMessage>(
        _ path: String, execution: HandlerExecution? = nil,
        handler: @escaping @Sendable (Request, ResponseWriter<Response>, CallContext) async throws -> Void
    ) -> RPCMethod {
        RPCMethod(path: path, kind: .serverStreaming, execution: execution, handler: .call { call in
            let request = try Request(message: call.takeOnlyRequest())
            try await handler(request, ResponseWriter(call: call), call.context)
            return nil
        })
    }

    /// Many requests, one response.
    public static func clientStreaming<Request: RPCMessage, Response: RPCMessage>(
        _ path: String, execution: HandlerExecution? = nil,
        handler: @escaping @Sendable (RequestStream<Request>, CallContext) async throws -> Response
    ) -> RPCMethod {
        RPCMethod(path: path, kind: .clientStreaming, execution: execution, handler: .call { call in
            try await handler(RequestStream(call: call), call.context).messageBytes()
        })
    }

    /// Many requests, many responses, in any order.
    public static func bidirectional<Request: RPCMessage, Response: RPCMessage>(
        _ path: String, execution: HandlerExecution? = nil,
        handler:
            @escaping @Sendable (RequestStream<Request>, ResponseWriter<Response>, CallContext) async throws -> Void
    ) -> RPCMethod {
        RPCMethod(path: path, kind: .bidirectional, execution: execution, handler: .call { call in
            try await handler(RequestStream(call: call), ResponseWriter(call: call), call.context)
            return nil
        })
    }
}

/// Sends the responses of a streaming call.
///
/// `write` returns when the message is queued and the queue is below its high-water mark: a slow reader at the other
/// end therefore stops the writer. Any number of tasks may write; each message stays whole.
public struct ResponseWriter<Response: RPCMessage>: Sendable {
    private let send: @Sendable ([UInt8]) async throws -> Void

    init(call: ServerCall) {
        send = { bytes in try await call.write(bytes) }
    }

    /// A writer outside any server, for calling a handler directly in a test.
    public init(_ body: @escaping @Sendable (Response) async throws -> Void) {
        send = { bytes in try await body(Response(message: bytes)) }
    }

    /// Queues one response, waiting while too much is unsent.
    /// - Throws: `RPCStatus` when the call has ended: cancelled, past its deadline, or the connection is gone.
    public func write(_ response: Response) async throws {
        try await send(response.messageBytes())
    }
}

/// The requests of a streaming call, in order. Ends when the client has sent its last; throws `RPCStatus` when the call
/// is cancelled or a message is malformed. One reader at a time.
public struct RequestStream<Request: RPCMessage>: AsyncSequence, Sendable {
    public typealias Element = Request
    private let receive: @Sendable () async throws -> Request?

    init(call: ServerCall) {
        receive = { try await call.nextMessage().map { try Request(message: $0) } }
    }

    /// A stream outside any server, for calling a handler directly in a test: `next` is asked until it returns `nil`.
    public init(_ next: @escaping @Sendable () async throws -> Request?) { receive = next }

    public func makeAsyncIterator() -> Iterator { Iterator(receive: receive) }

    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let receive: @Sendable () async throws -> Request?

        public mutating func next() async throws -> Request? { try await receive() }
        public mutating func next(isolation actor: isolated (any Actor)?) async throws -> Request? {
            try await receive()
        }
    }
}

extension RPCMessage {
    /// The message in these bytes; whatever its reader throws becomes a status.
    @inlinable
    init(message bytes: [UInt8]) throws(RPCStatus) {
        do {
            unsafe try self.init(serializedBytes: bytes.span.bytes)
        } catch let status as RPCStatus {
            throw status
        } catch {
            throw RPCStatus(.internal, "malformed message")
        }
    }

    @inlinable
    func messageBytes() throws(RPCStatus) -> [UInt8] {
        do {
            return try serializedBytes()
        } catch let status as RPCStatus {
            throw status
        } catch {
            throw RPCStatus(.internal, "a message has no wire form")
        }
    }
}
