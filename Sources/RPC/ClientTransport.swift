internal import Logging
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// The connections of a channel, and the calls that wait for one. The decisions are `EndpointSelector`'s.
///
/// `@unchecked Sendable`: every mutable property is read and written on `loop` only.
final class ClientTransport: @unchecked Sendable {
    /// What the selector knows by a number: at most one attempt or connection. Unchecked as the transport is.
    private final class Link: @unchecked Sendable {
        let endpoint: Endpoint
        /// As soon as there is a socket.
        var channel: (any Channel)?
        var connection: ClientConnection?
        /// The socket is open: what the connection tells is of this attempt.
        var isOpen = false
        /// Calls may go out.
        var isReady = false
        var readyAt = NIODeadline.distantPast
        /// Ends the attempt, or the pause after it.
        var timer: Scheduled<Void>?

        init(_ endpoint: Endpoint) { self.endpoint = endpoint }
    }

    /// How long one address may keep the others waiting (pick-first), RFC 8305 section 5.
    private static let staggerDelay = TimeAmount.milliseconds(250)
    /// A connection that lasted less is no sign of health (round-robin).
    private static let shortLife = TimeAmount.seconds(1)
    private static let closed = RPCStatus(.unavailable, "the channel is closed")

    let configuration: RPCChannelConfiguration
    /// What new connections keep alive by: slower than configured once a server has found it too much.
    private(set) var keepAlive: KeepAliveConfiguration
    let loop: any EventLoop
    var throttle: RetryThrottleState
    private let targets: [Address]
    private let resolver: any NameResolver
    private let log: Logger

    private var selector: EndpointSelector
    private var links: [Int: Link] = [:]
    private var staggerTimer: Scheduled<Void>?
    private var isClosed = false
    /// The latest failure to connect or to resolve, for calls that do not wait.
    private var failure: RPCStatus
    private var waiting: [Int: ClientCall] = [:]
    private var nextWaitingKey = 0
    private var hooks: [String: [any ClientCallHooks]] = [:]
    /// Those of the latest call: comparing with a stub's path costs less than looking it up.
    private var latestHooks: (path: String, hooks: [any ClientCallHooks]) = ("", [])
    /// Every socket that is open, for `close` to wait for.
    private var channels: [ObjectIdentifier: any Channel] = [:]

    // Resolution.
    private let isNumeric: Bool
    private var isResolving = false
    /// It takes so long that calls which do not wait need not wait for it either.
    private var isResolutionLate = false
    private var resolvedAt: NIODeadline?
    private var resolutionTimer: Scheduled<Void>?
    private var resolutionBackoff: Backoff
    private var found: [Address: [SocketAddress]] = [:]

    init(
        _ targets: [Address], _ configuration: RPCChannelConfiguration, resolver: any NameResolver = SystemResolver(),
        log: Logger
    ) {
        precondition(!targets.isEmpty, "a channel needs an address")
        precondition(configuration.tls?.canVerifyServers != false, "a channel's TLS needs an authority")
        self.targets = targets
        self.configuration = configuration
        keepAlive = configuration.keepAlive
        self.resolver = resolver
        self.log = log
        loop = MultiThreadedEventLoopGroup.singleton.any()
        let backoff = Backoff(initial: configuration.initialBackoff, longest: configuration.maxBackoff)
        selector = EndpointSelector(configuration.balancing, backoff: backoff)
        resolutionBackoff = backoff
        throttle = RetryThrottleState(configuration.retryThrottle)
        failure = RPCStatus(.unavailable, "no connection")
        isNumeric = targets.allSatisfy { $0.numeric != nil }
    }

    // MARK: - Calls

    /// Puts a call on a connection, or has it wait for one, or fails it.
    func place(_ call: ClientCall) {
        if isClosed {
            call.abort(Self.closed)
        } else if let number = selector.pick(), let connection = links[number]?.connection {
            call.begin(on: connection)
        } else if !call.options.waitForReady, hasFailed(since: selector.failureCount) {
            call.attemptFailed(failure, .unknown)
        } else if waiting.count >= configuration.maxWaitingCallCount {
            call.abort(RPCStatus(.resourceExhausted, "\(waiting.count) calls wait for a connection already"))
        } else {
            nextWaitingKey += 1
            call.waitingKey = nextWaitingKey
            call.waitingSince = selector.failureCount
            waiting[nextWaitingKey] = call
            proceed()
        }
    }

    /// The interceptors' hooks for a path, made when it is first called.
    func hooks(for path: String) -> [any ClientCallHooks] {
        if configuration.interceptors.isEmpty { return [] }
        if path == latestHooks.path { return latestHooks.hooks }
        if let known = hooks[path] {
            latestHooks = (path, known)
            return known
        }
        let made = configuration.interceptors.map { $0.hooks(for: path) }
        // Paths come from stubs, so there are few; a client that makes them up gets them made each time.
        if hooks.count < 1000 { hooks[path] = made }
        return made
    }

    /// The call has ended while it waited.
    func forget(_ call: ClientCall) {
        if let key = call.waitingKey { waiting[key] = nil }
    }

    /// The waiting calls in their order, or those that are wanted; they wait no more.
    private func takeWaiting(where isWanted: (ClientCall) -> Bool) -> [ClientCall] {
        let taken = waiting.filter { isWanted($0.value) }.sorted { $0.key < $1.key }.map(\.value)
        for call in taken {
            forget(call)
            call.waitingKey = nil
        }
        return taken
    }

    /// Nothing that is under way can serve a call that has waited since `count`.
    private func hasFailed(since count: Int) -> Bool {
        if isResolving, !isResolutionLate { return false }
        return selector.isEmpty ? resolutionTimer != nil || isResolutionLate : selector.hasFailed(since: count)
    }

    private func failImpatient() {
        for call in takeWaiting(where: { !$0.options.waitForReady && hasFailed(since: $0.waitingSince) }) {
            call.attemptFailed(failure, .unknown)
        }
    }

    /// Begins what is needed for the calls that wait.
    private func proceed() {
        guard !isClosed else { return }
        let isKept = configuration.balancing == .roundRobin && resolvedAt != nil
        guard isKept || !waiting.isEmpty else { return }
        if selector.isEmpty {
            if resolutionTimer == nil { resolve() }
        } else {
            perform(selector.connect())
        }
    }

    private func perform(_ actions: [EndpointSelector.Action]) {
        for action in actions {
            switch action {
            case .connect(let number, let endpoint): connect(number, endpoint)
            case .drop(let number): drop(number)
            }
        }
    }

    // MARK: - Resolving

    private func resolve() {
        guard !isResolving, !isClosed else { return }
        resolutionTimer?.cancel()
        resolutionTimer = nil
        isResolving = true
        isResolutionLate = false
        if isNumeric {
            return resolved(targets.map { target in .success(target.numeric.map { [$0] } ?? []) })
        }
        resolutionTimer = loop.scheduleTask(in: TimeAmount(configuration.connectTimeout)) {
            self.resolutionTimer = nil
            self.isResolutionLate = true
            self.failure = RPCStatus(.unavailable, "\(self.name): the name service does not answer")
            self.failImpatient()
        }
        let lookUps = targets.map { target in
            target.numeric.map { loop.makeSucceededFuture([$0]) } ?? resolver.addresses(of: target, on: loop)
        }
        EventLoopFuture.whenAllComplete(lookUps, on: loop).whenSuccess { self.resolved($0) }
    }

    private func resolved(_ results: [Result<[SocketAddress], any Error>]) {
        guard !isClosed else { return }
        isResolving = false
        isResolutionLate = false
        resolutionTimer?.cancel()
        resolutionTimer = nil
        resolvedAt = .now()
        var reason = "the name has no address"
        for (target, result) in zip(targets, results) {
            switch result {
            // A name that cannot be resolved for the moment keeps its addresses.
            case .success(let addresses) where !addresses.isEmpty: found[target] = addresses
            case .success: break
            case .failure(let error): reason = (error as? NameFailure)?.reason ?? "\(error)"
            }
        }
        let endpoints = targets.flatMap { target in
            (found[target] ?? []).map { Endpoint(address: $0, target: target) }
        }
        if endpoints.isEmpty {
            log.debug("cannot resolve", metadata: ["name": "\(name)", "reason": "\(reason)"])
            failure = RPCStatus(.unavailable, "cannot resolve \(name): \(reason)")
            let pause = resolutionBackoff.next(random: Double.random(in: 0..<1))
            resolutionTimer = loop.scheduleTask(in: TimeAmount(pause)) {
                self.resolutionTimer = nil
                self.proceed()
            }
        } else {
            resolutionBackoff.reset()
            perform(selector.replace(endpoints))
            if configuration.balancing == .roundRobin, !isNumeric {
                resolveLater(in: TimeAmount(configuration.refreshInterval))
            }
            proceed()
        }
        failImpatient()
    }

    /// The addresses may be others by now: looks again, not too often.
    private func resolveAgain() {
        guard !isNumeric, !isResolving, !isClosed, !selector.isEmpty else { return }
        let earliest = (resolvedAt ?? .distantPast) + TimeAmount(configuration.resolutionInterval)
        let now = NIODeadline.now()
        if earliest <= now { resolve() } else { resolveLater(in: earliest - now) }
    }

    private func resolveLater(in delay: TimeAmount) {
        resolutionTimer?.cancel()
        resolutionTimer = loop.scheduleTask(in: delay) {
            self.resolutionTimer = nil
            self.resolve()
        }
    }

    private var name: String { targets.map(\.description).joined(separator: ",") }

    // MARK: - Connecting

    private func connect(_ number: Int, _ endpoint: Endpoint) {
        links[number]?.timer?.cancel()
        let link = Link(endpoint)
        links[number] = link
        link.timer = loop.scheduleTask(in: TimeAmount(configuration.connectTimeout)) {
            self.attemptFailed(number, link, "no connection within \(self.configuration.connectTimeout)")
        }
        if configuration.balancing == .pickFirst { stagger() }
        guard let tls = configuration.tls else { return connect(number, link, secured: nil) }
        tls.contexts(on: loop, log: log).whenSuccess { contexts in
            self.connect(number, link, secured: contexts.client)
        }
    }

    private func stagger() {
        staggerTimer?.cancel()
        staggerTimer = loop.scheduleTask(in: Self.staggerDelay) {
            self.staggerTimer = nil
            guard !self.waiting.isEmpty else { return }
            self.perform(self.selector.connectAnother())
        }
    }

    private func connect(_ number: Int, _ link: Link, secured context: NIOSSLContext?) {
        guard links[number] === link else { return }
        let log = log
        let target = link.endpoint.target
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(TimeAmount(configuration.connectTimeout))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 8)
            .channelOption(.recvAllocator, value: HTTP2Connection.readBuffers)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard self.links[number] === link else { throw ChannelError.alreadyClosed }
                    let connection = try ClientConnection(self, number: number, authority: target.description, log: log)
                    if let context {
                        connection.isSecure = true
                        // A numeric address is compared with the certificate's by itself, from the socket.
                        let name = target.numeric == nil ? target.host : nil
                        let handler = try NIOSSLClientHandler(context: context, serverHostname: name)
                        try channel.pipeline.syncOperations.addHandler(handler)
                    }
                    try channel.pipeline.syncOperations.addHandler(connection)
                    link.connection = connection
                    link.channel = channel
                    self.track(channel)
                }
            }
        bootstrap.connect(to: link.endpoint.address).whenComplete { result in
            switch result {
            case .success(let channel):
                link.isOpen = true
                if !channel.isActive { self.attemptFailed(number, link, "connection closed") }
            case .failure(let error): self.attemptFailed(number, link, TLSFailure.describe(error) ?? "\(error)")
            }
        }
    }

    private func track(_ channel: any Channel) {
        let id = ObjectIdentifier(channel)
        channels[id] = channel
        channel.closeFuture.whenComplete { _ in self.channels[id] = nil }
    }

    /// The server's settings came: calls may go out.
    func established(_ connection: ClientConnection) {
        guard let link = links[connection.number], link.connection === connection else { return connection.leave() }
        link.timer?.cancel()
        link.timer = nil
        link.isReady = true
        link.readyAt = .now()
        log.debug("connected", metadata: ["address": "\(link.endpoint.address)"])
        perform(selector.connected(connection.number))
        for call in takeWaiting(where: { _ in true }) { place(call) }
    }

    /// A server found that we PING too often, or send too much of something else.
    func calmDown() { keepAlive.interval = min(keepAlive.interval * 2, .seconds(3600)) }

    /// The connection takes no more calls, but has some.
    func leaving(_ connection: ClientConnection) { ended(connection) }

    func lost(_ connection: ClientConnection, _ reason: String) {
        guard let link = links[connection.number], link.connection === connection else { return }
        if link.isReady {
            ended(connection)
        } else if link.isOpen {
            attemptFailed(connection.number, link, reason)
        }
    }

    /// A connection is no more one for new calls.
    private func ended(_ connection: ClientConnection) {
        let number = connection.number
        guard let link = links[number], link.connection === connection, link.isReady else { return }
        links[number] = nil
        failure = RPCStatus(.unavailable, "the connection to \(link.endpoint.target) was lost")
        let isShort = .now() - link.readyAt < Self.shortLife
        if let pause = selector.lost(number, isShort: isShort, random: Double.random(in: 0..<1)) {
            self.pause(number, link, pause)
        }
        resolveAgain()
        proceed()
    }

    private func attemptFailed(_ number: Int, _ link: Link, _ reason: String) {
        guard links[number] === link, !link.isReady else { return }
        configuration.metrics?.failedToConnect()
        links[number] = nil
        link.timer?.cancel()
        link.channel?.close(promise: nil)
        let target = link.endpoint.target
        log.debug("cannot connect", metadata: ["address": "\(link.endpoint.address)", "reason": "\(reason)"])
        failure = RPCStatus(.unavailable, "cannot connect to \(target): \(reason)")
        if let pause = selector.failed(number, random: Double.random(in: 0..<1)) { self.pause(number, link, pause) }
        resolveAgain()
        proceed()
        failImpatient()
    }

    private func pause(_ number: Int, _ link: Link, _ duration: Duration) {
        links[number] = link
        link.connection = nil
        link.channel = nil
        link.isOpen = false
        link.isReady = false
        link.timer = loop.scheduleTask(in: TimeAmount(duration)) {
            guard self.links[number] === link else { return }
            self.links[number] = nil
            self.selector.paused(number)
            self.proceed()
        }
    }

    /// No more calls: an attempt is abandoned, a connection ends with its last call.
    private func drop(_ number: Int) {
        guard let link = links.removeValue(forKey: number) else { return }
        link.timer?.cancel()
        if link.isReady { link.connection?.leave() } else { link.channel?.close(promise: nil) }
    }

    // MARK: - Closing

    /// Ends every call with UNAVAILABLE and closes the connections. The future succeeds when all sockets are closed.
    func close() -> EventLoopFuture<Void> {
        isClosed = true
        staggerTimer?.cancel()
        resolutionTimer?.cancel()
        let open = Array(links.values)
        links = [:]
        for link in open {
            link.timer?.cancel()
            link.connection?.stop(Self.closed)
        }
        for call in takeWaiting(where: { _ in true }) { call.abort(Self.closed) }
        let sockets = Array(channels.values)
        for channel in sockets { channel.close(promise: nil) }
        return EventLoopFuture.andAllComplete(sockets.map { $0.closeFuture }, on: loop)
    }
}

extension Address {
    /// The socket address of a host that is a numeric address.
    fileprivate var numeric: SocketAddress? { try? SocketAddress(ipAddress: host, port: port) }
}
