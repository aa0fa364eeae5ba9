internal import Compression
internal import Logging
internal import NIOCore

/// One call on the server: the stream's state, the handler's task, and what they wait for from each other.
///
/// `@unchecked Sendable` as `StreamEndpoint` says; `onlyRequest` is set before the
/// handler's task is made, and from then on the handler's alone.
final class ServerCall: StreamEndpoint, @unchecked Sendable {
    private enum Phase {
        /// No header sent. → answering, finished
        case idle
        /// Head sent, messages may follow. → finished
        case answering
        /// The status is queued, or the stream is gone: nothing more goes out. Final.
        case finished
    }

    /// A compressed message on its way to the handler.
    private enum Unpacking {
        /// None, or one so small that it is unpacked when it is taken. → running
        case idle
        /// Beside the event loop; it will have so many bytes. → done, idle
        case running(UnpackJob, byteCount: Int)
        /// Nobody has taken it yet; with the bytes to credit for it. → idle
        case done([UInt8], credit: Int)

        var heldByteCount: Int {
            switch self {
            case .idle: 0
            case .running(_, let byteCount): byteCount
            case .done(let message, _): message.count
            }
        }
    }

    let method: ServedMethod
    let context: CallContext
    /// How many of the method's hooks have seen the beginning.
    private let hookCount: Int
    @safe @exclusivity(unchecked) private var traffic = CallTraffic()
    @safe @exclusivity(unchecked) private var reported = CallTraffic()
    /// The request of a call with exactly one, until its handler takes it, and its size.
    @safe @exclusivity(unchecked) private var onlyRequest: [UInt8] = []
    @safe @exclusivity(unchecked) private var onlyRequestByteCount = 0
    private let encoding: CallEncoding
    private let server: ServerConnection.Environment
    private let stream: HTTP2Session.StreamReference
    private let startedAt: NIODeadline
    /// `nil` once the stream is closed; breaks the cycle with the connection's table.
    @safe @exclusivity(unchecked) private var connection: ServerConnection?
    @safe @exclusivity(unchecked) private var phase = Phase.idle
    @safe @exclusivity(unchecked) private var inbound: InboundMessages
    @safe @exclusivity(unchecked) private var unpacking = Unpacking.idle
    /// What the connection was told that `inbound`, `unpacking` and `onlyRequest` hold.
    @safe @exclusivity(unchecked) private var heldByteCount = 0
    @safe @exclusivity(unchecked) private var hasStarted = false
    @safe @exclusivity(unchecked) private var hasReturned = false
    @safe @exclusivity(unchecked) private var task: Task<Void, Never>?
    /// Why the call ended early; what readers and writers throw from then on.
    @safe @exclusivity(unchecked) private var failure: RPCStatus?

    init(
        _ method: ServedMethod, _ context: CallContext, hookCount: Int, encoding: CallEncoding,
        stream: HTTP2Session.StreamReference, connection: ServerConnection, maxMessageByteCount: Int
    ) {
        self.method = method
        self.context = context
        self.hookCount = hookCount
        self.encoding = encoding
        server = connection.environment
        self.stream = stream
        self.connection = connection
        startedAt = connection.lastRead
        inbound = InboundMessages(maxMessageByteCount: maxMessageByteCount)
        inbound.acceptsGzip = encoding.requestIsGzip
        super.init(loop: connection.loop)
    }

    // MARK: - From the connection, on the loop

    /// The head was accepted: watches the deadline, and starts a handler that reads a stream.
    func accept(_ connection: ServerConnection) {
        if let deadline = context.callDeadline { connection.setAlarm(deadline) }
        if method.kind.requestIsStream { startHandler(connection) }
    }

    func receive(_ bytes: UnsafeRawBufferPointer, _ connection: ServerConnection) {
        guard phase != .finished else { return }
        do throws(RPCStatus) {
            let credit = unsafe try inbound.receive(bytes)
            traffic.requestCount = inbound.receivedCount
            traffic.requestByteCount = inbound.receivedByteCount
            connection.session.consume(stream, credit)
            guard countHeld(connection) else { throw Self.noMemory }
        } catch {
            end(error)
            return
        }
        serveReader()
    }

    func receiveEnd(_ connection: ServerConnection) {
        guard phase != .finished else { return }
        do throws(RPCStatus) {
            try inbound.end()
            if method.kind.requestIsStream {
                serveReader()
            } else if inbound.count == 1, let (message, _) = inbound.takePacked() {
                if UnpackJob.isWorthIt(message, maxByteCount: inbound.maxMessageByteCount) {
                    try unpack(message, credit: 0)
                } else {
                    try begin(with: message.unpacked(maxByteCount: inbound.maxMessageByteCount), connection)
                }
            } else {
                throw RPCStatus(.unimplemented, "\(inbound.count) requests, exactly 1 is expected")
            }
        } catch {
            end(error)
        }
    }

    /// The request of a call with one is there.
    private func begin(with request: [UInt8], _ connection: ServerConnection) throws(RPCStatus) {
        onlyRequest = request
        onlyRequestByteCount = request.count
        // Longer than it came, if it was compressed.
        if request.count > inbound.receivedByteCount, !countHeld(connection) { throw Self.noMemory }
        startHandler(connection)
    }

    private func unpack(_ message: InboundMessages.Message, credit: Int) throws(RPCStatus) {
        let job = UnpackJob(message, maxByteCount: inbound.maxMessageByteCount)
        unpacking = .running(job, byteCount: message.unpackedByteCount)
        if let connection, !countHeld(connection) { throw Self.noMemory }
        job.start(on: loop) { self.unpacked($0, credit: credit) }
    }

    private func unpacked(_ outcome: Result<[UInt8], RPCStatus>, credit: Int) {
        guard phase != .finished, let connection else { return }
        unpacking = .idle
        do throws(RPCStatus) {
            let message = try outcome.get()
            if method.kind.requestIsStream {
                unpacking = .done(message, credit: credit)
                serveReader()
            } else {
                try begin(with: message, connection)
            }
        } catch {
            end(error)
        }
    }

    private static let noMemory = RPCStatus(.resourceExhausted, "the server holds too much for its clients already")

    /// Tells the connection what this call holds of requests. `false`: there is no room for it.
    private func countHeld(_ connection: ServerConnection) -> Bool {
        let held = phase == .finished ? 0 : inbound.heldByteCount + unpacking.heldByteCount + onlyRequestByteCount
        defer { heldByteCount = held }
        return connection.hold(held - heldByteCount)
    }

    /// The stream is closed: by a reset, by its regular end, or with the connection.
    func streamClosed(_ status: @autoclosure () -> RPCStatus) {
        if phase != .finished { end(status()) }
        _ = connection?.hold(-heldByteCount)
        heldByteCount = 0
        connection = nil
    }

    /// Ends the call if its deadline has passed; returns that of a call that goes on.
    func checkDeadline(now: CallDeadline) -> CallDeadline? {
        guard phase != .finished, let deadline = context.callDeadline else { return nil }
        guard deadline <= now else { return deadline }
        end(RPCStatus(.deadlineExceeded, "the deadline passed"))
        return nil
    }

    /// Ends the call with a status, whatever the handler is doing: it is sent if it still can be, the handler's task is
    /// cancelled, and readers and writers throw it.
    func end(_ status: RPCStatus) {
        guard phase != .finished else { return }
        failure = status
        // What a slow client has not read must not stand before the status.
        if let connection, phase == .answering, !connection.session.discardUnsent(stream) {
            connection.session.reset(stream, .cancel)
        }
        send(status)
        task?.cancel()
        serveReader()
        releaseWriters(status)
    }

    // MARK: - Handler

    private func startHandler(_ connection: ServerConnection) {
        guard !hasStarted, phase != .finished else { return }
        hasStarted = true
        server.handlers.started()
        let started =
            switch method.execution ?? server.configuration.execution {
            case .eventLoop: connection.handlerTasks.run(self)
            case .sharedPool: Task { _ = await runHandler() }
            }
        // A handler that never suspended is done already; one that was ended meanwhile has missed its cancellation.
        guard !hasReturned else { return }
        task = started
        if phase == .finished { started?.cancel() }
    }

    /// The request of a call with exactly one. Once: what is decoded need not be kept in its bytes too.
    func takeOnlyRequest() -> [UInt8] {
        defer { onlyRequest = [] }
        return onlyRequest
    }

    /// Runs the handler, and answers with what comes of it. Returns whether that was on the loop, where every handler
    /// ends that began there.
    ///
    /// Concurrent and inlined, so that the compiler sees that nobody's isolation is to be returned to: each such return
    /// would cost a look for the task's executor, under a lock.
    @inline(__always)
    @concurrent func runHandler() async -> Bool {
        let status: RPCStatus
        var response: [UInt8]?
        do {
            response = try await CallContext.$current.withValue(context) {
                switch method.handler {
                case .unary(let handle): try await handle(takeOnlyRequest(), context)
                case .call(let handle): try await handle(self)
                }
            }
            status = .ok
        } catch {
            status = Self.status(of: error, path: method.path, server.log)
        }
        let isOnLoop = loop.inEventLoop
        if isOnLoop {
            handlerReturned(status, response)
        } else {
            loop.execute { [response] in self.handlerReturned(status, response) }
        }
        server.handlers.finished()
        return isOnLoop
    }

    /// `response` is the one message of a call that has one.
    private func handlerReturned(_ status: RPCStatus, _ response: [UInt8]?) {
        hasReturned = true
        task = nil
        guard phase != .finished else { return }
        if let response {
            _ = enqueue(response)
            // There may have been no room for it.
            guard phase != .finished else { return }
        }
        send(status)
    }

    /// What a thrown error tells the caller. Unknown ones keep their text to themselves; it is logged, at a level above
    /// what libraries use elsewhere, for otherwise nobody would ever see it.
    private static func status(of error: any Error, path: String, _ log: Logger) -> RPCStatus {
        switch error {
        case let status as RPCStatus:
            return status.code == .ok ? RPCStatus(.internal, "the handler threw OK") : status
        case let convertible as any RPCStatusConvertible: return convertible.rpcStatus
        case is CancellationError: return RPCStatus(.cancelled, "the handler was cancelled")
        default:
            log.warning("handler failed", metadata: ["path": "\(path)", "error": "\(error)"])
            return RPCStatus(.unknown, "the handler failed")
        }
    }

    /// Sends the status and finishes. Once.
    private func send(_ status: RPCStatus) {
        let wasIdle = phase == .idle
        phase = .finished
        inbound.removeAll()
        if case .running(let job, _) = unpacking { job.cancel() }
        unpacking = .idle
        guard let connection else { return }
        _ = countHeld(connection)
        let response = context.response
        if wasIdle {
            var metadata = response?.initial ?? Metadata()
            if let response { metadata.append(contentsOf: response.trailing) }
            connection.session.respond(stream, GRPCHeaders.trailersOnly(status, metadata), hasBody: false)
        } else {
            if response == nil, status.isPlainOK {
                connection.session.finish(stream, GRPCHeaders.okTrailers)
            } else {
                connection.session.finish(stream, trailers: GRPCHeaders.trailers(status, response?.trailing))
            }
        }
        connection.scheduleFlush()
        reportEnd(status)
    }

    // MARK: - Interceptors

    /// Tells what was sent and received since the last time.
    func reportProgress() {
        guard phase != .finished, traffic != reported else { return }
        let delta = traffic - reported
        reported = traffic
        for index in 0..<hookCount { method.progress[index](delta) }
    }

    private func reportEnd(_ status: RPCStatus) {
        guard hookCount > 0 else { return }
        let summary = CallSummary(
            nanoseconds: (NIODeadline.now() - startedAt).nanoseconds, traffic: traffic, unreported: traffic - reported)
        method.end[hookCount - 1](context, status, summary)
    }

    // MARK: - StreamEndpoint

    override func takeMessage() -> Result<[UInt8]?, RPCStatus>? {
        if let failure { return .failure(failure) }
        switch unpacking {
        case .running: return nil
        case .done(let message, let credit):
            unpacking = .idle
            taken(credit: credit)
            return .success(message)
        case .idle: break
        }
        do throws(RPCStatus) {
            if let (message, credit) = inbound.takePacked() {
                if UnpackJob.isWorthIt(message, maxByteCount: inbound.maxMessageByteCount) {
                    try unpack(message, credit: credit)
                    return nil
                }
                let unpacked = try message.unpacked(maxByteCount: inbound.maxMessageByteCount)
                taken(credit: credit)
                return .success(unpacked)
            }
        } catch {
            failure = error
            // Not from here: the reader that is being served is still waiting.
            loop.execute { self.end(error) }
            return .failure(error)
        }
        if inbound.isExhausted { return .success(nil) }
        return phase == .finished ? .failure(RPCStatus(.cancelled, "the call is over")) : nil
    }

    /// The handler has a message more: its sender may send as much again.
    private func taken(credit: Int) {
        guard let connection else { return }
        connection.session.consume(stream, credit)
        connection.scheduleFlush()
        _ = countHeld(connection)
    }

    override func enqueue(_ message: [UInt8]) -> WriteOutcome {
        guard phase != .finished, let connection else { return writability() }
        guard connection.hold(0, response: message.count) else {
            end(Self.noMemory)
            return writability()
        }
        if phase == .idle {
            phase = .answering
            let response = context.response
            if response == nil, encoding.isIdentity {
                connection.session.respond(stream, GRPCHeaders.plainResponse)
            } else {
                let head = GRPCHeaders.response(response?.initial, encoding)
                connection.session.respond(stream, head, hasBody: true)
            }
        }
        let compressed = message.count >= encoding.compressesFrom ? Gzip.compressed(message) : nil
        let sent = compressed ?? message
        traffic.responseCount += 1
        traffic.responseByteCount += sent.count
        connection.session.enqueue(stream, HTTP2Session.Chunk(message: sent, isCompressed: compressed != nil))
        _ = connection.hold(0)
        connection.scheduleFlush()
        return writability()
    }

    override func writability() -> WriteOutcome {
        guard phase != .finished, let connection else {
            return .failed(failure ?? RPCStatus(.cancelled, "the call is over"))
        }
        let highWaterMark = connection.session.configuration.writeHighWaterMark
        return connection.session.queuedByteCount(stream) > highWaterMark ? .full : .proceed
    }

    override var metrics: ConnectionMetrics? { connection?.metrics }

    override func writerParked() { connection?.session.notifyWhenWritable(stream) }
}
