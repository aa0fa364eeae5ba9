private import Glibc
public import Logging
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// A gRPC server: listens, and runs the handlers of its services.
///
/// `run()` is the whole life of it. `beginShutdown()` ends it gently: no new connections or calls, those accepted go on
/// for at most `drainTimeout`. Cancelling the task of `run()` ends it at once: every call ends with UNAVAILABLE.
/// Either way handlers' tasks are cancelled before `run()` returns.
public final class RPCServer: Sendable {
    private let configuration: RPCServerConfiguration
    private let services: [any RPCService]
    private let log: Logger
    private let memory: MemoryBudget
    private let hasRun = NIOLockedValueBox(false)
    private let port = OneShot<Result<Int, RPCError>>()
    private let shutdown = OneShot<Void>()

    public init(_ configuration: RPCServerConfiguration, services: [any RPCService], log: Logger) {
        self.configuration = configuration
        self.services = services
        self.log = log
        memory = MemoryBudget(limit: configuration.maxHeldByteCount)
    }

    /// The port listened on, as soon as it is bound; with a configured port of 0, the one that the system chose.
    /// Waits for `run()` to bind.
    /// - Throws: what `run()` throws when it cannot bind; `RPCError.notRunning` when it ended before;
    ///   `CancellationError`.
    public var boundPort: Int {
        get async throws {
            guard let result = await port.wait() else { throw CancellationError() }
            return try result.get()
        }
    }

    /// Bytes that the server holds for its clients now, in steps of 64 KiB a connection:
    /// `RPCServerConfiguration.maxHeldByteCount` is their limit.
    public var heldByteCount: Int { memory.usedByteCount }

    /// Asks `run()` to drain and return. From any thread, any number of times.
    public func beginShutdown() { shutdown.fire(()) }

    /// Binds, and serves until shutdown is asked for or the task is cancelled.
    /// - Throws: `RPCError`: `addressInUse`, `cannotBind`, `alreadyRan`, `duplicateMethod`.
    public func run() async throws {
        let isFirst = hasRun.withLockedValue { hasRun in
            defer { hasRun = true }
            return !hasRun
        }
        guard isFirst else { throw RPCError.alreadyRan }
        defer { port.fire(.failure(.notRunning)) }
        precondition(configuration.tls?.canServe != false, "a server's TLS needs a certificate")
        let methods = try MethodTable(services, configuration.interceptors)
        let connections = ConnectionRegistry()
        let environment = ServerConnection.Environment(configuration, methods, memory, log: log)
        let handlers = environment.handlers
        let listener: any Channel
        do throws(RPCError) {
            listener = try await bind(environment, connections)
        } catch {
            port.fire(.failure(error))
            throw error
        }
        let boundPort = listener.localAddress?.port ?? configuration.port
        log.debug("listening", metadata: ["host": "\(configuration.host)", "port": "\(boundPort)"])
        port.fire(.success(boundPort))
        listener.closeFuture.whenComplete { _ in self.shutdown.fire(()) }
        _ = await shutdown.wait()

        listener.close(promise: nil)
        if !Task.isCancelled {
            connections.drain()
            await wait(atMost: configuration.drainTimeout, cancellable: true) { connections.counter.whenIdle($0) }
        }
        connections.stop(RPCStatus(.unavailable, "the server is shutting down"))
        // Closing is local and quick; handlers that ignore cancellation are not waited for beyond a second.
        await wait(atMost: .seconds(1), cancellable: false) { done in
            connections.counter.whenIdle { handlers.whenIdle(done) }
        }
        if handlers.count > 0 {
            log.warning("handlers ignore their cancellation", metadata: ["count": "\(handlers.count)"])
        }
        try? await listener.closeFuture.get()
    }

    private func bind(
        _ environment: ServerConnection.Environment, _ connections: ConnectionRegistry
    ) async throws(RPCError) -> any Channel {
        let log = log
        let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 8)
            .childChannelOption(.recvAllocator, value: HTTP2Connection.readBuffers)
            .childChannelInitializer { channel in
                guard let tls = environment.configuration.tls else {
                    return channel.eventLoop.makeCompletedFuture {
                        try Self.accept(channel, environment, connections, secured: nil, log)
                    }
                }
                return tls.contexts(on: channel.eventLoop, log: log).flatMapThrowing { contexts in
                    guard let context = contexts.server else { throw ChannelError.operationUnsupported }
                    try Self.accept(channel, environment, connections, secured: context, log)
                }
            }
        do {
            return try await bootstrap.bind(host: configuration.host, port: configuration.port).get()
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw .addressInUse(host: configuration.host, port: configuration.port)
        } catch {
            throw .cannotBind(host: configuration.host, port: configuration.port, reason: "\(error)")
        }
    }

    /// Sets up a new connection, on its loop.
    private static func accept(
        _ channel: any Channel, _ environment: ServerConnection.Environment, _ connections: ConnectionRegistry,
        secured context: NIOSSLContext?, _ log: Logger
    ) throws {
        guard connections.counter.count < environment.configuration.maxConnectionCount else {
            environment.configuration.metrics?.refused()
            throw ChannelError.operationUnsupported
        }
        let peer = channel.remoteAddress.map { "\($0.ipAddress ?? "?"):\($0.port ?? 0)" } ?? "?"
        let connection = try ServerConnection(environment, peer: peer, loop: channel.eventLoop)
        connections.add(connection, channel)
        if let context {
            connection.isSecure = true
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
        }
        try channel.pipeline.syncOperations.addHandler(connection)
    }

    /// Waits for a callback, for a time, or (if `cancellable`) for the task's cancellation, whichever is first.
    private func wait(atMost timeout: Duration, cancellable: Bool, _ start: (@escaping @Sendable () -> Void) -> Void)
        async
    {
        let done = OneShot<Void>()
        let timer = MultiThreadedEventLoopGroup.singleton.any().scheduleTask(in: TimeAmount(timeout)) { done.fire(()) }
        start { done.fire(()) }
        _ = cancellable ? await done.wait() : await done.waitUncancelled()
        timer.cancel()
    }
}

/// The open connections of one server, over all event loops.
private final class ConnectionRegistry: Sendable {
    let counter = ActivityCounter()
    private let state = NIOLockedValueBox<State>(State())

    private struct State {
        var connections: [ObjectIdentifier: NIOLoopBound<ServerConnection>] = [:]
        var isDraining = false
    }

    /// On the connection's loop.
    func add(_ connection: ServerConnection, _ channel: any Channel) {
        let id = ObjectIdentifier(connection)
        let bound = NIOLoopBound(connection, eventLoop: channel.eventLoop)
        counter.started()
        let isLate = state.withLockedValue { state in
            state.connections[id] = bound
            return state.isDraining
        }
        if isLate { channel.eventLoop.execute { bound.value.beginDrain() } }
        channel.closeFuture.whenComplete { _ in
            _ = self.state.withLockedValue { $0.connections.removeValue(forKey: id) }
            self.counter.finished()
        }
    }

    func drain() {
        let all = state.withLockedValue { state in
            state.isDraining = true
            return Array(state.connections.values)
        }
        for bound in all { bound.eventLoop.execute { bound.value.beginDrain() } }
    }

    func stop(_ status: RPCStatus) {
        let all = state.withLockedValue { state in
            state.isDraining = true
            return Array(state.connections.values)
        }
        for bound in all { bound.eventLoop.execute { bound.value.stop(status) } }
    }
}
