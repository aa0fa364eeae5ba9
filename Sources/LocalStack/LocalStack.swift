internal import Foundation
public import Logging
public import RPC
public import ServiceKit
internal import Storage
internal import Synchronization
internal import VommaProto

/// Vomma's services as child processes on loopback, over one database: what `vomma run` starts, and what the tests of
/// the whole stack crash.
public final class LocalStack: Sendable {
    public struct Configuration: Sendable {
        /// Folder of the services' executables.
        public var binaries: String
        /// Logs go to `<data>/logs`.
        public var dataFolder: String
        public var databaseURL: String
        /// Of services that have a role of their own in the database; the others get `databaseURL`.
        public var databaseURLs: [ServiceName: String] = [:]
        /// Replicas of the trainer.
        public var trainers = 1
        public var logLevel = Logger.Level.info
        /// How the services and we call each other; the services get the same files.
        public var peers = PeerSettings()
        /// Further variables for every service.
        public var environment: [String: String] = [:]

        /// Those variables of a process that are meant for its services too: their limits, their tokens, their columns.
        public static func handedOn(_ environment: [String: String]) -> [String: String] {
            environment.filter { $0.key.contains(/^VOMMA_(RPC_|TOKENS?_FILE$|FEATURE_MODULES$)/) }
        }

        public init(binaries: String, dataFolder: String, databaseURL: String) {
            self.binaries = binaries
            self.dataFolder = dataFolder
            self.databaseURL = databaseURL
        }
    }

    /// Migrates a private cluster's database and gives each service a role of its own in it, with its password under
    /// `credentials`; returns their URLs. `url` is the owner's.
    public static func roleURLs(url: String, credentials: String, log: Logger) async throws -> [ServiceName: String] {
        let configuration = try StorageConfiguration(url: url)
        let pool = ConnectionPool(configuration, log: log)
        let files = RoleCredentials(folder: credentials)
        do {
            try await pool.migrate()
            try await pool.applyRoles(files)
        } catch {
            await pool.close()
            throw error
        }
        await pool.close()
        var urls: [ServiceName: String] = [:]
        for name in ServiceName.allCases {
            guard let role = DatabaseRole.named(name.rawValue) else { continue }
            urls[name] = try configuration.url(for: role, passwordFile: files.passwordFile(of: role))
        }
        return urls
    }

    public let children: [ServiceChild]
    private let peers: PeerSettings
    private let ports: ReservedPorts
    /// How long a service that is stopped may go on with its calls.
    private let drain: Duration
    private let log: Logger

    /// Chooses free ports and prepares the children; starts nothing yet.
    public init(_ configuration: Configuration, log: Logger) throws(LocalStackError) {
        self.log = log
        peers = configuration.peers
        let logs = configuration.dataFolder + "/logs"
        do {
            try FileManager.default.createDirectory(atPath: logs, withIntermediateDirectories: true)
        } catch {
            throw .badDataFolder(path: configuration.dataFolder, reason: error.localizedDescription)
        }
        var names = ServiceName.allCases.filter { $0 != .trainer }
        names += Array(repeating: .trainer, count: configuration.trainers)
        do {
            ports = try ReservedPorts(2 * names.count)
        } catch {
            throw .noPort(reason: "\(error)")
        }
        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("VOMMA_") }
        environment["VOMMA_DATABASE_URL"] = configuration.databaseURL
        environment["VOMMA_LOG_LEVEL"] = configuration.logLevel.rawValue
        environment["VOMMA_EXIT_WITH_STDIN"] = "yes"
        for (name, port) in zip(names, ports.numbers) { environment[name.addressVariable] = "127.0.0.1:\(port)" }
        let files = peers.tls?.files
        environment["VOMMA_TLS_CERTIFICATE"] = files?.certificate
        environment["VOMMA_TLS_KEY"] = files?.key
        environment["VOMMA_TLS_AUTHORITY"] = files?.authority
        environment.merge(configuration.environment) { $1 }
        drain = .seconds(environment["VOMMA_RPC_DRAIN_SECONDS"].flatMap { Int($0) } ?? 5)
        var seen: [ServiceName: Int] = [:]
        let metricsPorts = ports.numbers.dropFirst(names.count)
        children = zip(zip(names, ports.numbers), metricsPorts).map { service, metricsPort in
            let (name, port) = service
            seen[name, default: 0] += 1
            let suffix = name == .trainer ? "-\(seen[name, default: 1])" : ""
            var own = environment
            own["VOMMA_PORT"] = "\(port)"
            own["VOMMA_METRICS_PORT"] = "\(metricsPort)"
            if let url = configuration.databaseURLs[name] { own["VOMMA_DATABASE_URL"] = url }
            return ServiceChild(
                name: name, port: port, metricsPort: metricsPort,
                executable: configuration.binaries + "/" + name.rawValue, environment: own,
                logFile: "\(logs)/\(name.rawValue)\(suffix).log")
        }
    }

    /// The first (for trainers: any) process of a service.
    public func child(_ name: ServiceName) -> ServiceChild {
        guard let child = children.first(where: { $0.name == name }) else {
            preconditionFailure("every service is there")
        }
        return child
    }

    public func address(_ name: ServiceName) -> Address { Address(host: "127.0.0.1", port: child(name).port) }

    /// A channel to the first (for trainers: any) process of a service.
    public func channel(_ name: ServiceName) -> RPCChannel { peers.channel(to: [address(name)], log: log) }

    /// Starts every service and waits until each says SERVING.
    public func start(timeout: Duration = .seconds(60)) async throws {
        for child in children { try child.start() }
        for child in children { try await waitUntilServing(child, timeout: timeout) }
    }

    /// Starts one again after it has ended or been killed, and waits until it serves.
    public func restart(_ child: ServiceChild, timeout: Duration = .seconds(60)) async throws {
        try child.start()
        try await waitUntilServing(child, timeout: timeout)
    }

    private func waitUntilServing(_ child: ServiceChild, timeout: Duration) async throws {
        let channel = peers.channel(to: [Address(host: "127.0.0.1", port: child.port)], log: log)
        let deadline = ContinuousClock.now + timeout
        defer { Task { await channel.close() } }
        let client = HealthClient(channel)
        while true {
            let answer = try? await client.check(HealthCheckRequest(), options: CallOptions(timeout: .seconds(1)))
            if answer?.status == .serving { return }
            if !child.isRunning {
                throw LocalStackError.ended(service: child.name.rawValue, output: child.lastOutput())
            }
            guard ContinuousClock.now < deadline else {
                throw LocalStackError.notReady(service: child.name.rawValue, output: child.lastOutput())
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Stops all of them, last started first: each drains its calls; one that does not end in time is killed.
    public func stop() async {
        for child in children.reversed() { child.terminate() }
        // Ten seconds more than its calls may take.
        let deadline = ContinuousClock.now + .seconds(10) + drain
        for child in children.reversed() {
            while child.isRunning, ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(10)) }
            child.kill()
        }
    }

    /// Starts again whatever ends by itself, until cancelled; gives up (throws) on a service that ends five times.
    public func supervise() async throws {
        while true {
            try await Task.sleep(for: .milliseconds(200))
            for child in children where !child.isRunning {
                guard child.startCount < 5 else {
                    throw LocalStackError.ended(service: child.name.rawValue, output: child.lastOutput())
                }
                log.warning("service ended, starting it again", metadata: ["service": "\(child.name.rawValue)"])
                try child.start()
            }
        }
    }
}
