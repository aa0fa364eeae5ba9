internal import Logging
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// The connection of a channel, and the calls that wait for one.
///
/// `@unchecked Sendable`: every mutable property is read and written on `loop` only.
final class ClientTransport: @unchecked Sendable {
    private enum State {
        /// Nothing to do: the next call connects. → connecting, closed
        case idle
        /// An attempt is under way. → ready, backoff, closed
        case connecting
        /// Calls go out at once. → idle (connection lost or leaving), closed
        case ready(ClientConnection)
        /// The last attempt failed; calls that do not wait fail with its reason. → idle, closed
        case backoff(Scheduled<Void>, RPCStatus)
        /// Final.
        case closed
    }

    let configuration: RPCChannelConfiguration
    let loop: any EventLoop
    let authority: String
    private let host: String
    private let port: Int
    private let log: Logger
    private var state = State.idle
    private var backoff: Backoff
    private var waiting: [Int: ClientCall] = [:]
    private var nextWaitingKey = 0
    private var hooks: [String: [any ClientCallHooks]] = [:]
    /// Every socket that is open, for `close` to wait for.
    private var channels: [ObjectIdentifier: any Channel] = [:]
    /// The connection whose settings are awaited.
    private var candidate: ClientConnection?

    init(host: String, port: Int, _ configuration: RPCChannelConfiguration, log: Logger) {
        self.host = host
        self.port = port
        self.configuration = configuration
        self.log = log
        precondition(configuration.tls?.canVerifyServers != false, "a channel's TLS needs an authority")
        loop = MultiThreadedEventLoopGroup.singleton.any()
        authority = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        backoff = Backoff(initial: configuration.initialBackoff, longest: configuration.maxBackoff)
    }

    // MARK: - Calls

    /// Puts a call on the connection, or has it wait for one, or fails it.
    func place(_ call: ClientCall) {
        switch state {
        case .ready(let connection): call.begin(on: connection)
        case .connecting: wait(call)
        case .idle:
            wait(call)
            connect()
        case .backoff(_, let status):
            if call.options.waitForReady { wait(call) } else { call.abort(status) }
        case .closed: call.abort(Self.closed)
        }
    }

    /// The interceptors' hooks for a path, made when it is first called.
    func hooks(for path: String) -> [any ClientCallHooks] {
        if configuration.interceptors.isEmpty { return [] }
        if let known = hooks[path] { return known }
        let made = configuration.interceptors.map { $0.hooks(for: path) }
        // Paths come from stubs, so there are few; a client that makes them up gets them made each time.
        if hooks.count < 1000 { hooks[path] = made }
        return made
    }

    /// The call has ended while it waited.
    func forget(_ call: ClientCall) {
        if let key = call.waitingKey { waiting[key] = nil }
    }

    private func wait(_ call: ClientCall) {
        guard waiting.count < configuration.maxWaitingCallCount else {
            call.abort(RPCStatus(.resourceExhausted, "\(waiting.count) calls wait for a connection already"))
            return
        }
        nextWaitingKey += 1
        call.waitingKey = nextWaitingKey
        waiting[nextWaitingKey] = call
    }

    /// The waiting calls in their order, or those that do not want to wait; they wait no more.
    private func takeWaiting(where isWanted: (ClientCall) -> Bool) -> [ClientCall] {
        let taken = waiting.filter { isWanted($0.value) }.sorted { $0.key < $1.key }.map(\.value)
        for call in taken {
            forget(call)
            call.waitingKey = nil
        }
        return taken
    }

    // MARK: - Connecting

    private func connect() {
        state = .connecting
        guard let tls = configuration.tls else { return connect(secured: nil) }
        tls.contexts(on: loop, log: log).whenSuccess { contexts in
            if case .connecting = self.state { self.connect(secured: contexts.client) }
        }
    }

    private func connect(secured context: NIOSSLContext?) {
        let log = log
        // The name to verify; a numeric address is compared with the socket's by itself.
        let name = (try? SocketAddress(ipAddress: host, port: port)) == nil ? host : nil
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(TimeAmount(configuration.connectTimeout))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 8)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let connection = try ClientConnection(self, log: log)
                    if let context {
                        connection.isSecure = true
                        let handler = try NIOSSLClientHandler(context: context, serverHostname: name)
                        try channel.pipeline.syncOperations.addHandler(handler)
                    }
                    try channel.pipeline.syncOperations.addHandler(connection)
                }
            }
        bootstrap.connect(host: host, port: port).hop(to: loop).whenComplete { result in
            switch result {
            case .success(let channel): self.connected(channel)
            case .failure(let error): self.attemptFailed(Self.reason(error))
            }
        }
    }

    /// The socket is open; the connection counts when the server's settings came.
    private func connected(_ channel: any Channel) {
        let id = ObjectIdentifier(channel)
        channels[id] = channel
        channel.closeFuture.hop(to: loop).whenComplete { _ in self.channels[id] = nil }
        candidate = try? channel.pipeline.syncOperations.handler(type: ClientConnection.self)
        if case .closed = state {
            channel.close(promise: nil)
        } else if !channel.isActive {
            attemptFailed("connection closed")
        }
    }

    func established(_ connection: ClientConnection) {
        guard case .connecting = state else {
            connection.leave()
            return
        }
        log.debug("connected", metadata: ["authority": "\(authority)"])
        backoff.reset()
        candidate = nil
        state = .ready(connection)
        for call in takeWaiting(where: { _ in true }) { place(call) }
    }

    /// The connection takes no more calls, but has some.
    func leaving(_ connection: ClientConnection) {
        if case .ready(let current) = state, current === connection { becomeIdle() }
    }

    func lost(_ connection: ClientConnection, _ reason: String) {
        switch state {
        case .ready(let current) where current === connection: becomeIdle()
        // Not those of other addresses, which lost the race.
        case .connecting where candidate === connection: attemptFailed(reason)
        default: break
        }
    }

    private func becomeIdle() {
        state = .idle
        if !waiting.isEmpty { connect() }
    }

    private func attemptFailed(_ reason: String) {
        guard case .connecting = state else { return }
        candidate = nil
        let pause = backoff.next(random: Double.random(in: 0..<1))
        log.debug("cannot connect", metadata: ["authority": "\(authority)", "reason": "\(reason)"])
        let timer = loop.scheduleTask(in: TimeAmount(pause)) {
            guard case .backoff = self.state else { return }
            self.becomeIdle()
        }
        let status = RPCStatus(.unavailable, "cannot connect to \(authority): \(reason)")
        state = .backoff(timer, status)
        for call in takeWaiting(where: { !$0.options.waitForReady }) { call.abort(status) }
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            error.connectionErrors.first.map { "\($0.error)" } ?? "no address for the name"
        default: TLSFailure.describe(error) ?? "\(error)"
        }
    }

    // MARK: - Closing

    private static let closed = RPCStatus(.unavailable, "the channel is closed")

    /// Ends every call with UNAVAILABLE and closes the connection. The future succeeds when all sockets are closed.
    func close() -> EventLoopFuture<Void> {
        switch state {
        case .ready(let connection):
            state = .closed
            connection.stop(Self.closed)
        case .backoff(let timer, _):
            state = .closed
            timer.cancel()
        case .idle, .connecting, .closed: state = .closed
        }
        for call in takeWaiting(where: { _ in true }) { call.abort(Self.closed) }
        let open = Array(channels.values)
        for channel in open { channel.close(promise: nil) }
        return EventLoopFuture.andAllComplete(open.map { $0.closeFuture }, on: loop)
    }
}
