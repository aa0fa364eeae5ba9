internal import Compression
internal import NIOCore

/// One call on the client: from waiting for a connection to its status.
///
/// `@unchecked Sendable` as `StreamEndpoint` says.
final class ClientCall: StreamEndpoint, @unchecked Sendable {
    /// What a call with one response ends with.
    struct Outcome: Sendable {
        var status: RPCStatus
        var messages: [[UInt8]] = []
        var initialMetadata = Metadata()
    }

    /// How far an attempt came that has ended without an answer; what gRPC's proposal A6 lets be made again unseen.
    enum Reach {
        /// Nothing of it was sent: made again as often as need be, until the deadline.
        case unsent
        /// It was sent, and the server certainly did not process it: made again once.
        case unprocessed
        /// The server may have processed it: only `CallOptions.retry` makes it again.
        case unknown
    }

    /// Attempts that were never sent, after which there are pauses: a server that hangs up at once, each time, is not
    /// to be asked in circles.
    private static let promptRetryCount = 4

    let path: String
    let options: CallOptions
    let deadline: ContinuousClock.Instant?
    private let transport: ClientTransport
    /// The one request, kept until the server has begun to answer; `nil` for a stream of requests.
    private var request: [UInt8]?
    /// The requests of a stream so far, kept likewise.
    private var requests: [[UInt8]] = []
    private var requestByteCount = 0
    /// The server has begun to answer, or too much was sent to keep it: there is no other attempt.
    private var isCommitted = false
    private var requestsEnded = false
    private let streamsRequests: Bool
    private let compression: MessageCompression
    /// Place among the calls that wait for a connection.
    var waitingKey: Int?
    /// The transport's count of failures when the wait began.
    var waitingSince = 0
    private var connection: ClientConnection?
    private var stream: HTTP2Session.StreamReference?
    /// Attempts that were never sent, and the pauses after the first of them.
    private var unsentCount = 0
    private var unsentBackoff: Backoff
    /// An attempt was refused unprocessed: there is no second unseen repetition.
    private var wasRefused = false
    private var retries: RetryState?
    private var heads = ResponseHeads()
    private var inbound: InboundMessages
    private var initialMetadata = Metadata()
    private var timer: Scheduled<Void>?
    private var retryTimer: Scheduled<Void>?
    /// The status, once known. Messages that came before it are still read first, unless `isAborted`.
    private(set) var status: RPCStatus?
    /// Ended by us: what waits is not of interest any more.
    private var isAborted = false
    private var collector: Waiter<Outcome>?
    /// What interceptors see, and the metadata that is sent.
    private var outgoing: OutgoingCall
    private var hooks: [any ClientCallHooks] = []
    /// How many of the hooks have seen the beginning.
    private var hookCount = 0
    private var startedAt = NIODeadline.now()
    private var traffic = CallTraffic()
    private var reported = CallTraffic()

    /// `request` is `nil` for a stream of requests.
    init(_ path: String, request: [UInt8]?, options: CallOptions, transport: ClientTransport) {
        self.path = path
        self.request = request
        self.options = options
        compression = options.compression ?? transport.configuration.compression
        self.transport = transport
        streamsRequests = request == nil
        retries = options.retry.map { RetryState($0) }
        let own = options.timeout.map { ContinuousClock.now + min($0, GRPCTimeout.longest) }
        let parent = CallContext.current
        let inherited = parent?.deadline
        deadline = own.map { own in inherited.map { min(own, $0) } ?? own } ?? inherited
        outgoing = OutgoingCall(path: path, deadline: deadline, trace: parent?.trace, metadata: options.metadata)
        inbound = InboundMessages(maxMessageByteCount: transport.configuration.maxMessageByteCount)
        unsentBackoff = Backoff(
            initial: transport.configuration.initialBackoff, longest: transport.configuration.maxBackoff)
        super.init(loop: transport.loop)
    }

    // MARK: - From the caller, any thread

    func start() { loop.runHere { self.startHere() } }

    /// Starts a call with one response and waits for its end. Cancelling the task ends the call.
    func collect() async -> Outcome {
        await withTaskCancellationHandler {
            await Waiter<Outcome>.suspend { waiter in
                loop.runHere {
                    self.collector = waiter
                    self.startHere()
                    self.serveCollector()
                }
            }
        } onCancel: {
            cancel()
        }
    }

    /// Waits for the end of a call that was started already.
    func collectStarted() async -> Outcome {
        await withTaskCancellationHandler {
            await Waiter<Outcome>.suspend { waiter in
                loop.runHere {
                    self.collector = waiter
                    self.serveCollector()
                }
            }
        } onCancel: {
            cancel()
        }
    }

    func cancel() { loop.execute { self.abort(RPCStatus(.cancelled, "the caller cancelled the call")) } }

    /// No request will follow.
    func finishRequests() {
        loop.runHere {
            self.requestsEnded = true
            guard let connection = self.connection, let stream = self.stream else { return }
            connection.session.finish(stream, trailers: nil)
            connection.scheduleFlush()
        }
    }

    /// Metadata so far: of the head, and of the trailers once the status is known.
    func metadata() async -> (initial: Metadata, trailing: Metadata) {
        await Waiter<(initial: Metadata, trailing: Metadata)>.suspend { waiter in
            loop.runHere { waiter.resume((self.initialMetadata, self.status?.metadata ?? [:])) }
        }
    }

    // MARK: - From the transport and the connection, on the loop

    private func startHere() {
        guard status == nil else { return }
        startedAt = .now()
        hooks = transport.hooks(for: path)
        while hookCount < hooks.count {
            hookCount += 1
            if let refusal = hooks[hookCount - 1].begin(&outgoing) {
                abort(refusal)
                return
            }
        }
        if let deadline {
            let remaining = ContinuousClock.now.duration(to: deadline)
            guard remaining > .zero else {
                abort(RPCStatus(.deadlineExceeded, "the deadline passed before the call began"))
                return
            }
            timer = loop.scheduleTask(in: TimeAmount(remaining)) {
                self.abort(RPCStatus(.deadlineExceeded, "the deadline passed"))
            }
        }
        transport.place(self)
    }

    /// Opens the stream on a connection.
    func begin(on connection: ClientConnection) {
        let timeout = deadline.map { ContinuousClock.now.duration(to: $0) }
        let headers = GRPCHeaders.request(
            path: path, scheme: connection.isSecure ? "https" : "http", authority: connection.authority,
            timeout: timeout, previousAttempts: retries?.retryCount ?? 0, isGzip: compression != .identity,
            outgoing.metadata)
        guard let stream = connection.open(headers, self) else { return }
        self.connection = connection
        self.stream = stream
        if let request { send(request, connection, stream) }
        for message in requests { send(message, connection, stream) }
        if requestByteCount > transport.configuration.retryBufferByteCount { commit() }
        if !streamsRequests || requestsEnded { connection.session.finish(stream, trailers: nil) }
        connection.scheduleFlush()
        if case .proceed = writability() { releaseWriters(nil) } else { writerParked() }
    }

    private func send(
        _ message: [UInt8], _ connection: ClientConnection, _ stream: HTTP2Session.StreamReference
    ) {
        let compressed = message.count >= compression.fromByteCount ? Gzip.compressed(message) : nil
        let sent = compressed ?? message
        traffic.requestCount += 1
        traffic.requestByteCount += sent.count
        connection.session.enqueue(stream, HTTP2Session.Chunk(message: sent, isCompressed: compressed != nil))
    }

    func receiveHeaders(_ headers: HeaderFields, _ block: HTTP2Session.HeaderBlock) {
        guard status == nil else { return }
        guard !block.isOversized else {
            abort(RPCStatus(.resourceExhausted, "response headers are too large"))
            return
        }
        switch heads.receive(headers, block.fields, endStream: block.endStream) {
        case .nothing: break
        case .initialMetadata(let metadata):
            initialMetadata = metadata
            inbound.acceptsGzip = heads.isGzip
            commit()
        case .finish(let status) where !isCommitted && status.code != .ok:
            let pushback = heads.pushback
            resetStream()
            attemptFailed(status, .unknown, pushback)
        case .finish(let status):
            do throws(RPCStatus) {
                try inbound.end()
                finish(status)
            } catch {
                finish(status.code == .ok ? error : status)
            }
            if !block.endStream { resetStream() }
        }
    }

    func receive(_ bytes: UnsafeRawBufferPointer) {
        guard status == nil else { return }
        guard heads.isOpen else {
            abort(RPCStatus(.internal, "data before headers"))
            return
        }
        do throws(RPCStatus) {
            let credit = unsafe try inbound.receive(bytes)
            traffic.responseCount = inbound.receivedCount
            traffic.responseByteCount = inbound.receivedByteCount
            if let stream { connection?.session.consume(stream, credit) }
        } catch {
            abort(error)
            return
        }
        if collector != nil, inbound.count > 1 {
            abort(RPCStatus(.unimplemented, "more than 1 response, exactly 1 is expected"))
        }
        serveReader()
    }

    func receiveEnd() {
        guard status == nil else { return }
        finish(RPCStatus(.internal, "the stream ended without a status"))
    }

    func streamClosed(_ code: HTTP2ErrorCode, wasSent: Bool) {
        stream = nil
        connection = nil
        // By REFUSED_STREAM the server tells that it did not touch the call, and so does a GOAWAY that leaves it out.
        attemptFailed(
            RPCStatus(StatusCode(resetCode: code), "the server reset the stream (HTTP/2 code \(code.rawValue))"),
            !wasSent ? .unsent : code == .refusedStream ? .unprocessed : .unknown)
    }

    func connectionLost(_ reason: String, wasSent: Bool) {
        stream = nil
        connection = nil
        attemptFailed(RPCStatus(.unavailable, reason), wasSent ? .unknown : .unsent)
    }

    /// An attempt has ended without an answer: makes another one if that is allowed, else ends the call.
    func attemptFailed(_ status: RPCStatus, _ reach: Reach, _ pushback: RetryPushback? = nil) {
        guard self.status == nil else { return }
        detach()
        guard !isCommitted else { return finish(status) }
        if reach == .unsent {
            unsentCount += 1
            let pause = unsentCount > Self.promptRetryCount ? unsentBackoff.next(random: Double.random(in: 0..<1)) : nil
            tryAgain(after: pause)
        } else if reach == .unprocessed, !wasRefused {
            wasRefused = true
            tryAgain(after: nil)
        } else if let pause = retries?.retry(
            after: status, pushback, &transport.throttle, random: Double.random(in: 0..<1))
        {
            tryAgain(after: pause)
        } else {
            finish(status)
        }
    }

    private func tryAgain(after pause: Duration?) {
        heads = ResponseHeads()
        inbound = InboundMessages(maxMessageByteCount: transport.configuration.maxMessageByteCount)
        guard let pause else { return transport.place(self) }
        retryTimer = loop.scheduleTask(in: TimeAmount(pause)) {
            self.retryTimer = nil
            self.transport.place(self)
        }
    }

    private func commit() {
        isCommitted = true
        request = nil
        requests = []
    }

    /// Ends the call from this side: the stream is reset, and what waits to be read is dropped.
    func abort(_ status: RPCStatus) {
        guard self.status == nil else { return }
        isAborted = true
        transport.forget(self)
        resetStream()
        finish(status)
    }

    private func finish(_ status: RPCStatus) {
        self.status = status
        timer?.cancel()
        timer = nil
        retryTimer?.cancel()
        retryTimer = nil
        if status.code == .ok, retries != nil { transport.throttle.succeeded() }
        commit()
        reportEnd(status)
        serveReader()
        releaseWriters(status.code == .ok ? RPCStatus(.cancelled, "the server has ended the call") : status)
        serveCollector()
    }

    // MARK: - Interceptors

    /// Tells what was sent and received since the last time.
    func reportProgress() {
        guard status == nil, traffic != reported else { return }
        let delta = traffic - reported
        reported = traffic
        for index in 0..<hookCount { hooks[index].progress(delta) }
    }

    private func reportEnd(_ status: RPCStatus) {
        guard hookCount > 0 else { return }
        let summary = CallSummary(
            nanoseconds: (NIODeadline.now() - startedAt).nanoseconds, traffic: traffic, unreported: traffic - reported)
        for index in (0..<hookCount).reversed() { hooks[index].end(outgoing, status, summary) }
    }

    /// Leaves a stream whose end does not matter any more.
    private func detach() {
        if let connection, let stream { connection.forget(stream) }
        connection = nil
        stream = nil
    }

    private func resetStream() {
        guard let connection, let stream else { return }
        connection.session.reset(stream, .cancel)
        connection.scheduleFlush()
    }

    private func serveCollector() {
        guard let collector, let status else { return }
        self.collector = nil
        var outcome = Outcome(status: status, initialMetadata: initialMetadata)
        do throws(RPCStatus) {
            while let (message, _) = try inbound.take() { outcome.messages.append(message) }
        } catch {
            outcome.status = error
        }
        collector.resume(outcome)
    }

    // MARK: - StreamEndpoint

    override func takeMessage() -> Result<[UInt8]?, RPCStatus>? {
        if isAborted, let status { return .failure(status) }
        do throws(RPCStatus) {
            if let (message, credit) = try inbound.take() {
                if let stream { connection?.session.consume(stream, credit) }
                connection?.scheduleFlush()
                return .success(message)
            }
        } catch {
            // Not from here: the reader that is being served is still waiting.
            loop.execute { self.abort(error) }
            return .failure(error)
        }
        return status.map { $0.code == .ok ? .success(nil) : .failure($0) }
    }

    override func enqueue(_ message: [UInt8]) -> WriteOutcome {
        if case .failed(let status) = writability() { return .failed(status) }
        if !isCommitted {
            requests.append(message)
            requestByteCount += message.count
        }
        guard let connection, let stream else { return .full }
        if requestByteCount > transport.configuration.retryBufferByteCount { commit() }
        send(message, connection, stream)
        connection.scheduleFlush()
        return writability()
    }

    override func writability() -> WriteOutcome {
        if let status {
            return .failed(status.code == .ok ? RPCStatus(.cancelled, "the server has ended the call") : status)
        }
        if requestsEnded { return .failed(RPCStatus(.internal, "a request after the last one")) }
        guard let connection, let stream else { return .full }
        let highWaterMark = connection.session.configuration.writeHighWaterMark
        return connection.session.queuedByteCount(stream) > highWaterMark ? .full : .proceed
    }

    override var metrics: ConnectionMetrics? { connection?.metrics }

    override func writerParked() {
        if let stream { connection?.session.notifyWhenWritable(stream) }
    }
}
