internal import Logging
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOSSL

/// One client's connection: gives each new stream to its method, and events to the calls.
final class ServerConnection: HTTP2Connection {
    /// What all connections of a server share.
    final class Environment: Sendable {
        let configuration: RPCServerConfiguration
        let methods: MethodTable
        let handlers = ActivityCounter()
        let memory: MemoryBudget
        let log: Logger
        private let handlerTasks = NIOLockedValueBox<[ObjectIdentifier: HandlerTasks]>([:])

        init(
            _ configuration: RPCServerConfiguration, _ methods: MethodTable, _ memory: MemoryBudget, log: Logger
        ) {
            self.configuration = configuration
            self.methods = methods
            self.memory = memory
            self.log = log
        }

        /// Those of one loop.
        func handlerTasks(on loop: any EventLoop) -> HandlerTasks {
            handlerTasks.withLockedValue { all in
                if let tasks = all[ObjectIdentifier(loop)] { return tasks }
                let tasks = HandlerTasks(loop: loop)
                all[ObjectIdentifier(loop)] = tasks
                return tasks
            }
        }
    }

    private enum DrainState: Equatable {
        case serving
        /// The notice is sent; the final GOAWAY follows when the client has surely seen it.
        case noticed(at: NIODeadline)
        /// No new streams; the connection closes with its last call.
        case leaving
    }

    /// What the first `count` fields of a head say, of those that the session knows as this generation.
    private final class ReadHead {
        let method: ServedMethod
        let refusal: (httpStatus: Int, status: RPCStatus)?
        let isForPeople: Bool
        let timeout: Duration?
        let isGzip: Bool
        /// The client takes compressed responses, and the server may send some.
        let compresses: Bool
        let custom: ReceivedFields
        let count: Int
        let generation: Int

        init(_ head: RequestHead, _ method: ServedMethod, mayCompress: Bool, count: Int, generation: Int) {
            self.method = method
            refusal = head.refusal
            isForPeople = head.isForPeople
            timeout = head.timeout
            isGzip = head.isGzip
            compresses = mayCompress && head.acceptsGzip
            custom = head.custom
            self.count = count
            self.generation = generation
        }
    }

    let environment: Environment
    let handlerTasks: HandlerTasks
    @safe @exclusivity(unchecked) private var hasJoinedTasks = false
    private let peer: String
    private var identity: PeerIdentity?
    /// Bytes that calls hold of requests.
    @safe @exclusivity(unchecked) private var requestByteCount = 0
    @safe @exclusivity(unchecked) private var memory: MemoryShare
    @safe @exclusivity(unchecked) private var calls: [ServerCall?] = []
    private var callCount = 0
    private var idleSince: NIODeadline
    private var reportedAt = NIODeadline.now()
    private var drain = DrainState.serving
    private var pings: PingWatch
    /// When the connection is too old, and when its calls have had their grace after that.
    private let maxAge: Duration?
    private var graceEnd: NIODeadline?
    private var isGraceOver = false
    /// That of the latest call whose first fields were known.
    @safe @exclusivity(unchecked) private var latestHead: ReadHead?
    /// The next look at the calls' deadlines: at the earliest of them, or earlier. With its timer.
    @safe @exclusivity(unchecked) private var alarmTime: CallDeadline?
    private var alarmTimer: Scheduled<Void>?
    @safe @exclusivity(unchecked) private var latestReadTime: (read: NIODeadline, time: CallDeadline)?

    init(_ environment: Environment, peer: String, loop: any EventLoop) throws {
        self.environment = environment
        handlerTasks = environment.handlerTasks(on: loop)
        self.peer = peer
        memory = MemoryShare(environment.memory)
        idleSince = .now()
        pings = PingWatch(environment.configuration.clientPings)
        maxAge = environment.configuration.maxConnectionAge.map { $0 * Double.random(in: 0.9...1.1) }
        try super.init(
            .server, environment.configuration.http2, keepAlive: environment.configuration.keepAlive,
            metrics: environment.configuration.metrics, loop: loop, log: environment.log)
    }

    override var isBusy: Bool { callCount > 0 }

    override var linger: TimeAmount { drain == .leaving ? .seconds(1) : .zero }

    override var tickGranularity: Duration {
        let configuration = environment.configuration
        let others = [configuration.maxConnectionIdle, maxAge, configuration.maxConnectionAgeGrace].compactMap(\.self)
        return others.reduce(min(super.tickGranularity, configuration.handshakeTimeout)) { min($0, $1) }
    }

    override func handle(_ event: HTTP2Session.Event, input: UnsafeRawBufferPointer) {
        switch event {
        case .headers(let stream, let block):
            if block.isFirst { begin(stream, block) }
            // Trailers of a request mean nothing to gRPC, but they may end it.
            if block.endStream { call(stream)?.receiveEnd(self) }
        case .data(let stream, let range):
            guard let call = call(stream) else { return }
            unsafe call.receive(UnsafeRawBufferPointer(rebasing: input[range]), self)
        case .endStream(let stream): call(stream)?.receiveEnd(self)
        case .writable(let stream): call(stream)?.releaseWriters(nil)
        case .closed(let stream, let code):
            if let call = call(stream) {
                calls[stream.slot] = nil
                callCount -= 1
                if callCount == 0 { idleSince = lastRead }
                call.streamClosed(
                    RPCStatus(
                        code == .noError ? .cancelled : StatusCode(resetCode: code), "the client reset the stream"))
            }
            session.release(stream)
            closeIfLeft()
        case .pingAnswered:
            // Not yet: gRPC's clients put the answer before requests that they had begun when the notice came.
            guard case .noticed = drain else { return }
            let bound = NIOLoopBound(self, eventLoop: loop)
            loop.execute { bound.value.leave() }
        case .goAway: ends(as: .peer)
        case .settings: break
        }
    }

    /// Nobody comes this far with a certificate that was not verified: without an authority none is asked for.
    override func secured() {
        guard let context else { return }
        let certificate = try? context.channel.pipeline.syncOperations.nioSSL_peerCertificate()
        identity = certificate.map { PeerIdentity($0) }
    }

    override func connectionLost(_ reason: String) {
        alarmTimer?.cancel()
        alarmTimer = nil
        alarmTime = nil
        let lost = calls
        calls = []
        callCount = 0
        for call in lost { call?.streamClosed(RPCStatus(.cancelled, reason)) }
        if hasJoinedTasks { handlerTasks.leave() }
        hasJoinedTasks = false
        memory.update(0)
    }

    override func tick(now: NIODeadline) {
        memory.update(requestByteCount + session.queuedByteTotal)
        let configuration = environment.configuration
        if now - reportedAt >= .seconds(1) {
            reportedAt = now
            for call in calls { call?.reportProgress() }
        }
        if !isEstablished, now - openedAt > TimeAmount(configuration.handshakeTimeout) {
            ends(as: .handshakeTimeout)
            close("no HTTP/2 handshake")
        } else if drain == .serving, callCount == 0, let idle = configuration.maxConnectionIdle,
            now - max(idleSince, openedAt) > TimeAmount(idle)
        {
            ends(as: .idle)
            beginDrain()
        } else if drain == .serving, let maxAge, now - openedAt > TimeAmount(maxAge) {
            ends(as: .age)
            graceEnd = configuration.maxConnectionAgeGrace.map { now + TimeAmount($0) }
            beginDrain()
        } else if let graceEnd, now > graceEnd {
            endAfterGrace()
        } else if case .noticed(let start) = drain, now - start > TimeAmount(configuration.drainTimeout / 2) {
            // A busy client needs time to see the notice: what it sends beyond the final word would be lost. One that
            // does not even answer a PING gets no more of it.
            leave()
        }
    }

    override func pinged(count: Int) {
        let isFine = pings.take(count, now: lastRead, afterData: session.hasSentStreamFrame, hasCalls: callCount > 0)
        guard !isFine else { return }
        log.debug("too many pings", metadata: ["peer": "\(peer)"])
        ends(as: .flood)
        session.goAway(.enhanceYourCalm, reason: "too_many_pings")
        session.terminate(.enhanceYourCalm)
    }

    // MARK: - Deadlines

    /// Has the calls' deadlines looked at then. One timer serves them all, and most calls never touch it: they come
    /// while it is set to the deadline of an earlier one, and end before theirs.
    func setAlarm(_ time: CallDeadline) {
        if let alarmTime, alarmTime <= time { return }
        alarmTimer?.cancel()
        let bound = NIOLoopBound(self, eventLoop: loop)
        alarmTimer = loop.scheduleTask(in: TimeAmount(time - .now)) {
            bound.value.checkDeadlines()
        }
        alarmTime = time
    }

    /// `lastRead`, by the clock of deadlines: asked for once a read.
    private func readTime() -> CallDeadline {
        if let latestReadTime, latestReadTime.read == lastRead { return latestReadTime.time }
        let time = CallDeadline.now
        latestReadTime = (lastRead, time)
        return time
    }

    private func checkDeadlines() {
        alarmTimer = nil
        alarmTime = nil
        let now = CallDeadline.now
        if let next = calls.compactMap({ $0?.checkDeadline(now: now) }).min() { setAlarm(next) }
    }

    // MARK: - Drain

    /// Refuses new streams in the way that loses none: notice, round trip, final GOAWAY. Calls in flight go on.
    func beginDrain() {
        guard drain == .serving else { return }
        ends(as: .shutdown)
        drain = .noticed(at: .now())
        session.submitShutdownNotice()
        session.ping()
        flush()
    }

    /// Ends every call now, and the connection.
    func stop(_ status: RPCStatus) {
        for call in calls { call?.end(status) }
        ends(as: .shutdown)
        session.terminate(.noError)
        flush()
        close(status.message)
    }

    /// Ends every call: with a status, and at the next look, if the client has not read it by then, without.
    private func endAfterGrace() {
        let status = RPCStatus(.unavailable, "the connection has reached its age")
        if isGraceOver { return stop(status) }
        isGraceOver = true
        for call in calls { call?.end(status) }
    }

    private func leave() {
        guard case .noticed = drain else { return }
        drain = .leaving
        session.goAway(.noError)
        scheduleFlush()
        closeIfLeft()
    }

    private func closeIfLeft() {
        guard drain == .leaving, callCount == 0 else { return }
        session.terminate(.noError)
        scheduleFlush()
    }

    // MARK: - Calls

    /// A call holds so many bytes more of its requests, and is about to queue a response. Is there room?
    func hold(_ byteCount: Int, response: Int = 0) -> Bool {
        requestByteCount += byteCount
        memory.update(requestByteCount + session.queuedByteTotal)
        return !memory.refuses(max(byteCount, response))
    }

    private func call(_ stream: HTTP2Session.StreamReference) -> ServerCall? {
        stream.slot < calls.count ? calls[stream.slot] : nil
    }

    /// Reads a head, or finds that it has been read: a client's calls mostly begin with the same fields, after which
    /// come custom ones only.
    private func read(_ block: HTTP2Session.HeaderBlock) -> ReadHead {
        let fields = block.fields
        let middle = fields.lowerBound + block.knownCount
        let isKnown = block.knownCount > 0 && session.headers.areCustom(middle..<fields.upperBound)
        if isKnown, let latestHead, latestHead.count == block.knownCount,
            latestHead.generation == block.knownGeneration
        {
            return latestHead
        }
        let head = RequestHead(session.headers, isKnown ? fields.lowerBound..<middle : fields)
        // An unknown method is a call all the same: who may not call anything need not learn what there is.
        let method = environment.methods[head.path] ?? environment.methods.unknown
        let count = isKnown ? block.knownCount : fields.count
        let read = ReadHead(
            head, method, mayCompress: environment.configuration.compression != .identity, count: count,
            generation: block.knownGeneration)
        if isKnown { latestHead = read }
        return read
    }

    private func begin(_ stream: HTTP2Session.StreamReference, _ block: HTTP2Session.HeaderBlock) {
        // A reset that came in the same read: nothing to start.
        guard session.isOpen(stream) else { return }
        if block.isOversized {
            let limit = environment.configuration.http2.maxHeaderListByteCount
            refuse(stream, 431, RPCStatus(.resourceExhausted, "headers of more than \(limit) bytes"))
            return
        }
        if !hasJoinedTasks, context != nil {
            hasJoinedTasks = true
            handlerTasks.join()
        }
        let read = self.read(block)
        if let (httpStatus, status) = read.refusal {
            refuse(stream, httpStatus, status, asText: read.isForPeople)
            return
        }
        let method = read.method
        let rest = block.fields.dropFirst(read.count)
        let custom = rest.isEmpty ? read.custom : ReceivedFields(read.custom, and: session.headers, rest)
        var context = CallContext(
            method.path, Metadata(received: custom), deadline: read.timeout.map { readTime() + $0 }, peer: peer,
            identity)
        var begun = 0
        var refusal: RPCStatus?
        while begun < method.begin.count, refusal == nil {
            refusal = method.begin[begun](&context)
            begun += 1
        }
        var encoding = CallEncoding(requestIsGzip: read.isGzip)
        if read.compresses {
            encoding.compressesFrom = environment.configuration.compression.fromByteCount
        }
        let call = ServerCall(
            method, context, hookCount: begun, encoding: encoding, stream: stream, connection: self,
            maxMessageByteCount: environment.configuration.maxMessageByteCount)
        if refusal == nil, method.path.isEmpty { refusal = RPCStatus(.unimplemented, "unknown method") }
        if let refusal {
            call.end(refusal)
            return
        }
        while calls.count <= stream.slot { calls.append(nil) }
        calls[stream.slot] = call
        callCount += 1
        call.accept(self)
    }

    /// Answers without a call. `asText`: to a browser or the like, which gets a body to show; gRPC's status follows.
    private func refuse(
        _ stream: HTTP2Session.StreamReference, _ httpStatus: Int, _ status: RPCStatus, asText: Bool = false
    ) {
        if asText {
            session.respond(stream, GRPCHeaders.text(httpStatus: httpStatus), hasBody: true)
            session.enqueue(stream, HTTP2Session.Chunk(Array((status.message + "\n").utf8)))
            session.finish(stream, trailers: GRPCHeaders.trailers(status, nil))
        } else {
            session.respond(stream, GRPCHeaders.trailersOnly(status, httpStatus: httpStatus), hasBody: false)
        }
        guard let end = environment.methods.unknown.end.last else { return }
        let context = CallContext(path: "", peer: peer)
        let summary = CallSummary(
            nanoseconds: 0, traffic: CallTraffic(), unreported: CallTraffic(), hasBegun: false)
        end(context, status, summary)
    }
}
