public import Logging
public import RPC
public import ServiceLifecycle
public import Storage
internal import Kernels
public import Telemetry
internal import UnixSignals

/// What a service consists of, beside what every process has.
public struct ServiceParts: Sendable {
    /// Served on the process's port, together with health and reflection.
    public var rpc: [any RPCService]
    /// Long-lived work: started before the server, stopped after it.
    public var background: [any Service]
    /// Where handlers run that do not say it themselves: `.sharedPool` for those that compute.
    public var execution: HandlerExecution

    public init(
        rpc: [any RPCService], background: [any Service] = [], execution: HandlerExecution = .eventLoop
    ) {
        self.rpc = rpc
        self.background = background
        self.execution = execution
    }
}

/// What every service gets from its process.
public struct ServiceEnvironment: Sendable {
    public let log: Logger
    /// `nil` for a service that can do without a database and was given none.
    public let pool: ConnectionPool?
    /// For the service's own metrics; `nil` where nobody asks for any (`VOMMA_METRICS_PORT`).
    public let metrics: MetricRegistry?
    /// How peers are called.
    let peers: PeerSettings

    /// A channel to another service, with this process's credentials. Round-robin is for services of which any
    /// instance answers any call.
    public func channel(to addresses: [Address], balancing: Balancing = .pickFirst) -> RPCChannel {
        var configuration = RPCChannelConfiguration()
        configuration.balancing = balancing
        return peers.channel(to: addresses, configuration: configuration, metrics: metrics, log: log)
    }
}

/// One of Vomma's services, as its `main.swift` hands it to `ServiceProcess`.
public protocol ServiceDefinition: Sendable {
    /// `policy-service`: the executable's and the image's name.
    static var name: String { get }
    /// One sentence for `--help`.
    static var summary: String { get }
    static var defaultPort: Int { get }
    /// Whether it can't work without a database; one that can uses it where there is one.
    static var needsDatabase: Bool { get }
    /// Reads the service's own keys; faults are collected in `settings`.
    init(settings: inout Settings)
    /// Makes the parts; the database has been migrated.
    func parts(_ environment: ServiceEnvironment) async throws -> ServiceParts
}

/// Runs a service from its configuration to its end: reads the environment, connects and migrates the database, serves,
/// and on SIGTERM or SIGINT drains the calls, then stops the background work, then closes the pool.
public enum ServiceProcess<Definition: ServiceDefinition> {
    /// Never returns. Exit code 0 after a graceful stop, 64 for bad arguments, 78 for a bad configuration, 1 otherwise.
    public static func main() async -> Never {
        FreedMemory.keep()
        BLAS.adaptToProcessor()
        let arguments = Array(CommandLine.arguments.dropFirst())
        var settings = Settings()
        let common = CommonSettings(&settings, port: Definition.defaultPort, needsDatabase: Definition.needsDatabase)
        let definition = Definition(settings: &settings)
        if let fault = common.peers.tokenFault(for: settings.peerAddresses) { settings.fault(fault) }
        if let fault = Processor.fault { settings.fault(fault) }
        if arguments.contains("--help") || arguments.contains("-h") {
            print(help(settings.descriptions))
            exit(0)
        }
        if let first = arguments.first {
            complain(
                "unknown argument “\(first)”. \(Definition.name) is configured by environment variables: "
                    + "--help lists them.")
            exit(64)
        }
        do {
            try settings.validate()
        } catch {
            complain("\(error). --help lists the variables.")
            exit(78)
        }
        var log = Logger(label: Definition.name) { StreamLogHandler.standardError(label: $0) }
        log.logLevel = common.logLevel
        do {
            try await run(definition, common, log)
            exit(0)
        } catch {
            complain("\(explain(error))")
            exit(1)
        }
    }

    private static func run(_ definition: Definition, _ common: CommonSettings, _ log: Logger) async throws {
        var services: [ServiceGroupConfiguration.ServiceConfiguration] = []
        let registry = common.metricsPort.map { _ in MetricRegistry() }
        var pool: ConnectionPool?
        if !common.databaseURL.isEmpty {
            let observer = registry.map { PoolMetrics($0) }
            let opened = try ConnectionPool(
                common.storage(applicationName: Definition.name), log: log, observer: observer)
            if let registry { observer?.report(opened, in: registry) }
            pool = opened
            try await DatabaseStart.migrate(opened, patience: common.databasePatience, log: log)
        }
        let environment = ServiceEnvironment(log: log, pool: pool, metrics: registry, peers: common.peers)
        let parts = try await definition.parts(environment)
        let health = Health(services: parts.rpc.map(\.serviceName))
        var configuration = common.server
        configuration.execution = parts.execution
        configuration.tls = common.peers.tls.flatMap { $0.canServe ? $0 : nil }
        configuration.compression = common.peers.compression
        configuration.interceptors = [ServerTracing(), ServerLogging(log)]
        if let tokens = common.tokens {
            configuration.interceptors.append(TokenAuthentication(tokens: tokens))
            if configuration.tls == nil, !Address(host: common.host, port: common.port).isLoopback {
                log.warning("callers show their tokens in plain text: set VOMMA_TLS_CERTIFICATE and VOMMA_TLS_KEY")
            }
        }
        var rereads: [@Sendable () -> Void] = []
        if let tokens = common.tokens { rereads.append { tokens.reread(log) } }
        if let token = common.peers.token { rereads.append { token.reread(log) } }
        if !rereads.isEmpty { services.append(.init(service: FileWatch(rereads: rereads))) }
        if let registry, let port = common.metricsPort {
            ProcessMetrics.register(in: registry, service: Definition.name)
            configuration.interceptors.insert(ServerMetrics(registry), at: 0)
            configuration.metrics = ConnectionMetrics(server: registry)
            services.append(
                .init(service: MetricsRunner(
                    server: MetricsServer(host: common.host, port: port, registry: registry, log: log))))
        }
        let all: [any RPCService] = parts.rpc + [health]
        let server = RPCServer(configuration, services: all + Reflection.versions(of: all), log: log)
        registry?.observe(HeldBytes.limit) { [limit = configuration.maxHeldByteCount] in Double(limit) }
        registry?.observe(HeldBytes.now) { Double(server.heldByteCount) }
        services += parts.background.map {
            .init(
                service: BackgroundWork(service: $0), successTerminationBehavior: .ignore,
                failureTerminationBehavior: .gracefullyShutdownGroup)
        }
        services.append(.init(service: RPCServerRunner(server: server, health: health, log: log)))
        if common.exitsWithStandardInput { services.append(
                .init(service: StandardInputWatch(), successTerminationBehavior: .gracefullyShutdownGroup)) }
        let group = ServiceGroupConfiguration(services, drain: configuration.drainTimeout, log: log)
        log.info("starting", metadata: ["host": "\(common.host)", "port": "\(common.port)"])
        defer { log.info("stopped") }
        do {
            try await ServiceGroup(configuration: group).run()
        } catch {
            await pool?.close()
            throw error
        }
        await pool?.close()
    }

    private static func help(_ settings: [SettingDescription]) -> String {
        var out = "\(Definition.name): \(Definition.summary)\n\nConfiguration, by environment variables:\n"
        let width = settings.map(\.variable.count).max() ?? 0
        for setting in settings {
            let value = setting.defaultValue.map { $0.isEmpty ? "" : " (default: \($0))" } ?? " (required)"
            out += "  \(setting.variable)\(String(repeating: " ", count: width - setting.variable.count))  "
            out += "\(setting.meaning)\(setting.isSecret ? " (secret)" : "")\(value)\n"
        }
        return out + "\nIt speaks gRPC, with health (grpc.health.v1) and reflection; see docs/python.md to call it."
    }

    private static func complain(_ text: String) {
        var line = "\(Definition.name): \(text)\n"
        line.withUTF8 { bytes in _ = unsafe write(2, bytes.baseAddress, bytes.count) }
    }

    /// An error as an operator wants to read it: what, where, what to do.
    static func explain(_ error: any Error) -> String {
        switch error {
        case RPCError.addressInUse(let host, let port):
            "\(host):\(port) is in use by another process. Stop it, or set VOMMA_PORT to a free port."
        case let error as StorageError: "\(error). VOMMA_DATABASE_URL says which database is used."
        default: "\(error)"
        }
    }
}

extension ServiceGroupConfiguration {
    /// Services that end with the process, and have as long for it as calls may take, `drain`, and 5 seconds more,
    /// which is what everything else gets.
    init(_ services: [ServiceConfiguration], drain: Duration, log: Logger) {
        self.init(services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: log)
        maximumGracefulShutdownDuration = drain + .seconds(5)
    }
}

/// What clients make the server hold.
private enum HeldBytes {
    static let now = MetricDefinition(
        "vomma_rpc_server_held_bytes", .gauge,
        "Bytes held for clients: requests not handled and responses not sent yet, in steps of 64 KiB a connection.")
    static let limit = MetricDefinition(
        "vomma_rpc_server_held_bytes_limit", .gauge, "Bytes held for clients above which calls are refused.")
}

/// Serves the metrics for as long as the service lives, its drain included.
private struct MetricsRunner: Service {
    let server: MetricsServer

    func run() async throws {
        _ = try await server.start()
        try? await gracefulShutdown()
        await server.close()
    }
}

/// Work that is interrupted by a graceful shutdown has ended as it was asked to; any other error is one.
private struct BackgroundWork: Service {
    let service: any Service

    func run() async throws {
        do {
            try await service.run()
        } catch is CancellationError where Task.isShuttingDownGracefully {
        } catch StorageError.cancelled where Task.isShuttingDownGracefully {}
    }
}

/// Runs the RPC server inside the service group: a graceful shutdown drains it.
private struct RPCServerRunner: Service {
    let server: RPCServer
    let health: Health
    let log: Logger

    func run() async throws {
        try await withGracefulShutdownHandler {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await server.run() }
                group.addTask {
                    let port = try await server.boundPort
                    log.info("listening", metadata: ["port": "\(port)"])
                }
                try await group.waitForAll()
            }
        } onGracefulShutdown: {
            health.stopServing()
            server.beginShutdown()
        }
    }
}

extension ServiceEnvironment {
    /// The pool of a service that asked for a database. Throws where it did not: a mistake in its definition.
    public func requirePool() throws -> ConnectionPool {
        guard let pool else {
            throw ConfigurationError(faults: ["this service needs a database and did not ask for one"])
        }
        return pool
    }
}
