internal import ArgumentParser
internal import Glibc
internal import InteropService
internal import Logging
internal import RPC
internal import UnixSignals

/// `rpc-testbed serve`: the interop service, until a signal.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serve vomma.testing.v1.Interop; prints “listening port=…”.")

    @Option(help: "The port; 0 takes a free one.")
    var port = 0
    @Option(help: "Connections served at once.")
    var maxConnections: Int?
    @Option(help: "Seconds for the HTTP/2 handshake.")
    var handshakeSeconds: Double?
    @Option(help: "Seconds of silence before a PING.")
    var keepAliveSeconds: Double?
    @Option(help: "Seconds for its answer.")
    var keepAliveTimeoutSeconds: Double?

    @Option(help: "MiB that clients may make it hold.")
    var maxHeldMib: Int?

    func run() async throws {
        var configuration = RPCServerConfiguration(port: port)
        if let maxConnections { configuration.maxConnectionCount = maxConnections }
        if let handshakeSeconds { configuration.handshakeTimeout = .seconds(handshakeSeconds) }
        if let maxHeldMib { configuration.maxHeldByteCount = maxHeldMib << 20 }
        if let keepAliveSeconds { configuration.keepAlive.interval = .seconds(keepAliveSeconds) }
        if let keepAliveTimeoutSeconds { configuration.keepAlive.timeout = .seconds(keepAliveTimeoutSeconds) }
        var log = Logger(label: "rpc-testbed") { StreamLogHandler.standardError(label: $0) }
        log.logLevel = .warning
        let server = RPCServer(configuration, services: [Interop()], log: log)
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            group.addTask {
                for await _ in signals { break }
                server.beginShutdown()
            }
            print("listening port=\(try await server.boundPort)")
            fflush(nil)
            try await group.next()
            group.cancelAll()
        }
    }
}
