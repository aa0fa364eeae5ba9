internal import Logging
internal import NIOCore
internal import NIOTLS

/// The NIO shell around one `HTTP2Session`: reads, writes, keep-alive, flood limit. The two roles subclass it.
///
/// Everything runs on `loop`. Bytes are handed to the session as they come; output is produced once per wake-up, after
/// all reads (this batching is worth a factor on many small calls), and only while the socket takes it.
class HTTP2Connection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Bytes produced at once before they are given to the socket.
    private static let outputByteCount = 256 << 10
    /// Reads grow with what comes: large messages take a quarter of the system calls that NIO's own limit makes them.
    static let readBuffers = AdaptiveRecvByteBufferAllocator(minimum: 64, initial: 2048, maximum: 256 << 10)

    let session: HTTP2Session
    let loop: any EventLoop
    let log: Logger
    private let keepAlive: KeepAliveConfiguration
    let metrics: ConnectionMetrics?
    @safe @exclusivity(unchecked) private(set) var context: ChannelHandlerContext?
    /// The peer's SETTINGS came.
    private(set) var isEstablished = false
    @safe @exclusivity(unchecked) private(set) var lastRead: NIODeadline
    private(set) var openedAt: NIODeadline
    /// Bytes come through TLS; set before the handler is added.
    var isSecure = false
    /// The first byte that came: 21 is a TLS alert, which HTTP/2 never begins with.
    @safe @exclusivity(unchecked) private(set) var firstByte: UInt8?
    @safe @exclusivity(unchecked) private var pingedAt: NIODeadline?
    private var flood: TokenBucket
    @safe @exclusivity(unchecked) private var ticker: RepeatedTask?
    @safe @exclusivity(unchecked) private var output = ByteBuffer()
    /// Where output goes first; `nil` with TLS, and once the channel is closed.
    @safe @exclusivity(unchecked) private var socket: SocketOutput?
    /// What NIO was given and has not written: until then, all that follows has to go the same way.
    @safe @exclusivity(unchecked) private var pendingWriteCount = 0
    @safe @exclusivity(unchecked) private var isReading = false
    @safe @exclusivity(unchecked) private var isFlushing = false
    private var isFlushScheduled = false
    private var isEnding = false
    /// For the metrics; `nil` while nothing here speaks for an end.
    private var end: ConnectionEnd?

    init(
        _ role: HTTP2Session.Role, _ http2: HTTP2Configuration, keepAlive: KeepAliveConfiguration,
        metrics: ConnectionMetrics? = nil, loop: any EventLoop, log: Logger
    ) throws {
        session = try HTTP2Session(role, http2)
        self.loop = loop
        self.log = log
        self.keepAlive = keepAlive
        self.metrics = metrics
        lastRead = .now()
        openedAt = lastRead
        flood = TokenBucket(capacity: http2.maxControlFrameBurst, perSecond: http2.maxControlFramesPerSecond)
    }

    // MARK: - For the roles

    /// Handles one event; `input` are the bytes that `.data` ranges refer to.
    func handle(_ event: HTTP2Session.Event, input: UnsafeRawBufferPointer) {}
    /// The transport is gone: every call on it has to end. Called once.
    func connectionLost(_ reason: String) {}
    /// PINGs of the peer's came.
    func pinged(count: Int) {}
    /// Called about once a second, or sooner if a configured time is shorter.
    func tick(now: NIODeadline) {}
    /// The TLS handshake is done and HTTP/2 agreed on.
    func secured() {}
    /// Whether calls are in flight.
    var isBusy: Bool { false }
    /// How long the peer may take to close a connection that is over, before we do. A socket that is closed over bytes
    /// which were not read is reset by the system: the peer may then lose answers that it has not read yet.
    var linger: TimeAmount { .zero }
    /// The shortest of the times that `tick` has to observe.
    var tickGranularity: Duration { min(keepAlive.interval, keepAlive.timeout) }

    // MARK: - Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { start() }
    }

    func channelActive(context: ChannelHandlerContext) { start() }

    private func start() {
        guard ticker == nil, let context else { return }
        if !isSecure { socket = SocketOutput(context.channel) }
        metrics?.opened()
        lastRead = .now()
        openedAt = lastRead
        let interval = TimeAmount(min(max(tickGranularity / 2, .milliseconds(10)), .seconds(1)))
        let bound = NIOLoopBound(self, eventLoop: loop)
        ticker = loop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in bound.value.ticked() }
        flush()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        isReading = true
        lastRead = .now()
        pingedAt = nil
        if firstByte == nil { firstByte = buffer.getInteger(at: buffer.readerIndex) }
        unsafe buffer.withUnsafeReadableBytes { bytes in
            do throws(HTTP2Session.Failure) {
                unsafe try session.receive(bytes)
                unsafe dispatchEvents(input: bytes)
            } catch {
                unsafe dispatchEvents(input: bytes)
                ends(as: error.code == .enhanceYourCalm ? .flood : .protocolError)
                session.terminate(error.code)
                log.debug("HTTP/2 input refused", metadata: ["reason": "\(error.reason)"])
                flush()
                close("HTTP/2 input refused: \(error.reason)")
            }
        }
        if session.controlFrameCount > 0 {
            let count = session.controlFrameCount
            session.controlFrameCount = 0
            if !flood.take(count, now: lastRead) {
                ends(as: .flood)
                session.terminate(.enhanceYourCalm)
                log.debug("control frame flood")
            }
            if session.pingCount > 0 {
                pinged(count: session.pingCount)
                session.pingCount = 0
                session.hasSentStreamFrame = false
            }
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        // Nothing comes after this handler that would want to know.
        flush()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { flush() }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        ends(as: .failed)
        log.debug("connection failed", metadata: ["error": "\(error)"])
        close(TLSFailure.describe(error) ?? "connection failed: \(error)")
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let negotiated)? = event as? TLSUserEvent {
            if negotiated == "h2" {
                secured()
            } else {
                ends(as: .failed)
                log.debug("peer without HTTP/2", metadata: ["alpn": "\(negotiated ?? "none")"])
                close("TLS: the peer does not offer HTTP/2 (ALPN h2)")
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) { lose("connection closed") }

    func handlerRemoved(context: ChannelHandlerContext) { lose("connection closed") }

    // MARK: - Output

    /// Has output produced at the end of this wake-up. Call after any action on the session.
    func scheduleFlush() {
        guard !isReading, !isFlushing, !isFlushScheduled, context != nil else { return }
        isFlushScheduled = true
        let bound = NIOLoopBound(self, eventLoop: loop)
        loop.execute {
            bound.value.isFlushScheduled = false
            bound.value.flush()
        }
    }

    func flush() {
        // Active since `start`, and until `lose`: to ask the channel itself costs hundreds of instructions.
        guard !isFlushing, let context, ticker != nil else { return }
        isFlushing = true
        defer { isFlushing = false }
        var again = true
        while again {
            output.clear(minimumCapacity: 4096)
            let hasMore: Bool
            do throws(HTTP2Session.Failure) {
                hasMore = try session.produce(into: &output, limit: Self.outputByteCount)
            } catch {
                ends(as: .failed)
                close("HTTP/2 output failed: \(error.reason)")
                return
            }
            if output.readableBytes > 0 { write(to: context) }
            unsafe dispatchEvents(input: UnsafeRawBufferPointer(start: nil, count: 0))
            again = self.context != nil && (hasMore || session.wantsWrite) && context.channel.isWritable
        }
        if session.isOver, !isEnding {
            isEnding = true
            // Where nothing else is the reason, libnghttp2 has found that the peer breaks the rules.
            ends(as: .protocolError)
            // Behind everything that the socket has not taken yet.
            let bound = NIOLoopBound(self, eventLoop: loop)
            context.writeAndFlush(wrapOutboundOut(ByteBuffer())).whenComplete { _ in
                bound.value.loop.scheduleTask(in: bound.value.linger) { bound.value.close("the connection was ended") }
            }
        }
    }

    /// Writes `output`: to the socket what fits, and the rest by NIO, which waits until there is room again.
    private func write(to context: ChannelHandlerContext) {
        guard let socket else {
            // The buffer is unique again once it is written, so its storage is used over and over.
            context.writeAndFlush(wrapOutboundOut(output), promise: nil)
            return
        }
        if pendingWriteCount == 0 {
            let count = unsafe output.withUnsafeReadableBytes { unsafe socket.write($0) }
            if count == output.readableBytes { return }
            output.moveReaderIndex(forwardBy: count)
        }
        pendingWriteCount += 1
        let bound = NIOLoopBound(self, eventLoop: loop)
        // One that fails is the last: NIO closes the channel.
        context.writeAndFlush(wrapOutboundOut(output)).whenSuccess { bound.value.pendingWriteCount -= 1 }
    }

    private func dispatchEvents(input: UnsafeRawBufferPointer) {
        var index = 0
        while index < session.events.count {
            let event = session.events[index]
            if event == .settings { isEstablished = true }
            unsafe handle(event, input: input)
            index += 1
        }
        session.clearEvents()
    }

    // MARK: - End

    /// Why the connection is about to end, for the metrics: the first reason that is given counts.
    func ends(as end: ConnectionEnd) { if self.end == nil { self.end = end } }

    /// Closes the socket; calls in flight end with UNAVAILABLE.
    func close(_ reason: String) {
        guard let context else { return }
        lose(reason)
        context.close(promise: nil)
    }

    private func lose(_ reason: String) {
        guard context != nil else { return }
        context = nil
        socket = nil
        if ticker != nil { metrics?.closed(end ?? .peer) }
        ticker?.cancel()
        ticker = nil
        connectionLost(reason)
    }

    private func ticked() {
        guard context != nil else { return }
        let now = NIODeadline.now()
        if let pingedAt {
            if now - pingedAt > TimeAmount(keepAlive.timeout) {
                ends(as: .keepAlive)
                close("no answer to keep-alive")
                return
            }
        } else if isBusy, now - lastRead > TimeAmount(keepAlive.interval) {
            pingedAt = now
            session.ping()
        }
        tick(now: now)
        flush()
    }
}

/// A token bucket over a monotonic clock that is passed in.
struct TokenBucket {
    private let capacity: Double
    private let perNanosecond: Double
    private var tokens: Double
    private var last: NIODeadline?

    init(capacity: Int, perSecond: Int) {
        self.capacity = Double(capacity)
        perNanosecond = Double(perSecond) / 1e9
        tokens = Double(capacity)
    }

    /// Whether so many tokens were there. When not, the bucket is empty afterwards.
    mutating func take(_ count: Int, now: NIODeadline) -> Bool {
        if let last { tokens = min(capacity, tokens + Double((now - last).nanoseconds) * perNanosecond) }
        last = now
        tokens -= Double(count)
        defer { tokens = max(0, tokens) }
        return tokens >= 0
    }
}
