public import Logging
internal import NIOCore

/// A client's way to one server, or to several that are alike, whether or not they run at the moment.
///
/// Connects with the first call, and again after a loss, with exponential back-off for each address; names are looked
/// up anew then. Calls in flight on a connection that is lost end with UNAVAILABLE at once. While there is no
/// connection, calls wait for one with `waitForReady`, and otherwise fail with UNAVAILABLE once every address has
/// failed. Calls that the server certainly never processed are repeated unseen, others as `CallOptions.retry` says. All
/// calls of a channel share one connection, or one to each address (`Balancing`); any number of tasks may call.
///
/// Every failure is an `RPCStatus`. Cancelling the calling task cancels the call at both ends.
public final class RPCChannel: Sendable {
    let transport: ClientTransport

    public init(
        host: String, port: Int, configuration: RPCChannelConfiguration = RPCChannelConfiguration(), log: Logger
    ) {
        transport = ClientTransport([Address(host: host, port: port)], configuration, log: log)
    }

    /// - Precondition: there is at least one address.
    public init(
        _ addresses: [Address], configuration: RPCChannelConfiguration = RPCChannelConfiguration(), log: Logger
    ) {
        transport = ClientTransport(addresses, configuration, log: log)
    }

    /// With names looked up elsewhere.
    init(
        _ addresses: [Address], configuration: RPCChannelConfiguration, resolver: any NameResolver, log: Logger
    ) {
        transport = ClientTransport(addresses, configuration, resolver: resolver, log: log)
    }

    deinit {
        let transport = transport
        transport.loop.execute { _ = transport.close() }
    }

    /// One request, one response.
    public func unary<Request: RPCMessage, Response: RPCMessage>(
        _ path: String, _ request: Request, options: CallOptions = CallOptions()
    ) async throws -> Response {
        try await unaryWithMetadata(path, request, options: options).message
    }

    /// One request, one response, and the response's metadata.
    public func unaryWithMetadata<Request: RPCMessage, Response: RPCMessage>(
        _ path: String, _ request: Request, options: CallOptions = CallOptions()
    ) async throws -> RPCResponse<Response> {
        let call = ClientCall(path, request: try request.messageBytes(), options: options, transport: transport)
        return try RPCResponse(await call.collect())
    }

    /// One request, many responses. The call begins now; dropping the stream, or cancelling the task that reads it,
    /// cancels the call.
    public func serverStreaming<Request: RPCMessage, Response: RPCMessage>(
        _ path: String, _ request: Request, options: CallOptions = CallOptions()
    ) -> ResponseStream<Response> {
        do throws(RPCStatus) {
            let bytes = try request.messageBytes()
            let call = ClientCall(path, request: bytes, options: options, transport: transport)
            call.start()
            return ResponseStream(call, self)
        } catch {
            let call = ClientCall(path, request: [], options: options, transport: transport)
            call.loop.runHere { call.abort(error) }
            return ResponseStream(call, self)
        }
    }

    /// Many requests, one response. `body` writes the requests; the last one is sent when it returns. If it throws, the
    /// call is cancelled, unless it had ended already: then its status is thrown.
    public func clientStreaming<Request: RPCMessage, Response: RPCMessage>(
        _ path: String, options: CallOptions = CallOptions(), _ body: (RequestWriter<Request>) async throws -> Void
    ) async throws -> Response {
        let call = ClientCall(path, request: nil, options: options, transport: transport)
        call.start()
        // Dropping the handle cancels the call.
        let handle = ClientCallHandle(call, self)
        defer { withExtendedLifetime(handle) {} }
        do {
            try await body(RequestWriter(handle))
        } catch let error where !(error is RPCStatus) {
            call.cancel()
            throw error
        } catch {
            // The call has ended, or the task was cancelled; both show in the outcome.
            call.cancel()
        }
        call.finishRequests()
        return try RPCResponse(await call.collectStarted()).message
    }

    /// Many requests, many responses, independently. The call begins now; dropping both ends cancels it.
    public func bidirectional<Request: RPCMessage, Response: RPCMessage>(
        _ path: String, options: CallOptions = CallOptions(), request: Request.Type = Request.self,
        response: Response.Type = Response.self
    ) -> BidirectionalCall<Request, Response> {
        let call = ClientCall(path, request: nil, options: options, transport: transport)
        call.start()
        let handle = ClientCallHandle(call, self)
        return BidirectionalCall(requests: RequestWriter(handle), responses: ResponseStream(handle))
    }

    /// Ends every call with UNAVAILABLE and closes the connection. Later calls fail. Returns when all is closed.
    public func close() async {
        let transport = transport
        await Waiter<Void>.suspend { waiter in
            transport.loop.runHere { transport.close().whenComplete { _ in waiter.resume(()) } }
        }
    }
}

/// What a unary call brings.
public struct RPCResponse<Message: RPCMessage>: Sendable {
    public let message: Message
    /// Custom headers that came before the message.
    public let initialMetadata: Metadata
    /// Custom trailers that came with the status.
    public let trailingMetadata: Metadata

    init(_ outcome: ClientCall.Outcome) throws(RPCStatus) {
        guard outcome.status.code == .ok else { throw outcome.status }
        guard outcome.messages.count == 1 else {
            throw RPCStatus(.unimplemented, "\(outcome.messages.count) responses, exactly 1 is expected")
        }
        message = try Message(message: outcome.messages[0])
        initialMetadata = outcome.initialMetadata
        trailingMetadata = outcome.status.metadata
    }
}

/// The responses of a streaming call, in order; throws the call's `RPCStatus` unless that is OK.
///
/// Reading is what opens the flow-control window: a slow reader stops the server's writer. One reader at a time.
public struct ResponseStream<Response: RPCMessage>: AsyncSequence, Sendable {
    public typealias Element = Response
    private let handle: ClientCallHandle

    init(_ call: ClientCall, _ channel: RPCChannel) { handle = ClientCallHandle(call, channel) }
    init(_ handle: ClientCallHandle) { self.handle = handle }

    /// Custom headers of the response; empty before the first response was read.
    public var initialMetadata: Metadata { get async { await handle.call.metadata().initial } }
    /// Custom trailers; empty before the stream has ended.
    public var trailingMetadata: Metadata { get async { await handle.call.metadata().trailing } }

    /// Ends the call now.
    public func cancel() { handle.call.cancel() }

    public func makeAsyncIterator() -> Iterator { Iterator(handle: handle) }

    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let handle: ClientCallHandle

        public mutating func next() async throws(RPCStatus) -> Response? {
            do throws(RPCStatus) {
                guard let bytes = try await handle.call.nextMessage() else { return nil }
                return try Response(message: bytes)
            } catch {
                // A reader that gave up, or a message that cannot be read: the call has no further use.
                handle.call.cancel()
                throw error
            }
        }

        public mutating func next(isolation actor: isolated (any Actor)?) async throws(RPCStatus) -> Response? {
            try await next()
        }
    }
}

/// Sends the requests of a streaming call. `write` waits while too much is unsent, so that a slow server stops it.
public struct RequestWriter<Request: RPCMessage>: Sendable {
    private let handle: ClientCallHandle

    init(_ handle: ClientCallHandle) { self.handle = handle }

    /// - Throws: `RPCStatus` when the call has ended.
    public func write(_ request: Request) async throws {
        try await handle.call.write(request.messageBytes())
    }

    /// No request follows. Dropping the writer does not do it: the server would wait.
    public func finish() { handle.call.finishRequests() }
}

/// Both ends of a bidirectional call.
public struct BidirectionalCall<Request: RPCMessage, Response: RPCMessage>: Sendable {
    public let requests: RequestWriter<Request>
    public let responses: ResponseStream<Response>
}

/// Keeps a call's channel alive, and cancels the call when its user has dropped it.
final class ClientCallHandle: Sendable {
    let call: ClientCall
    private let channel: RPCChannel

    init(_ call: ClientCall, _ channel: RPCChannel) {
        self.call = call
        self.channel = channel
    }

    deinit { call.cancel() }
}
