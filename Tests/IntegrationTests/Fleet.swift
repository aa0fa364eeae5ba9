import Foundation
import LocalStack
import Logging
import MarketData
import RPC
import ServiceKit
import Storage
import Testing
import VommaProto

/// All tests of the whole stack: one after the other, because they share one and crash its parts.
@Suite(.serialized) enum Integration {}

/// The seven services (the trainer twice) as processes over a PostgreSQL of their own, which the tests may kill.
/// Started at first use; the processes end with ours.
struct Fleet: Sendable {
    let cluster: EmbeddedCluster
    let databaseURL: String
    let stack: LocalStack
    let pool: ConnectionPool
    let gateway: MarketGatewayClient
    let inverter: HestonInverterClient
    let regimes: RegimeSentimentClient
    let features: FeatureClient
    let policy: PolicyClient
    let execution: ExecutionClient
    let trainer: TrainerClient

    static let silent = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    /// Waits for a service that is just being started again.
    static let patient = CallOptions(timeout: .seconds(120), waitForReady: true)

    /// The running fleet.
    static func shared() async throws -> Fleet { try await FleetHolder.shared.fleet() }

    /// The folder of the services' executables: beside this test bundle.
    static let binaries: String = {
        let executable = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        let beside = URL(fileURLWithPath: executable).deletingLastPathComponent().path
        if FileManager.default.isExecutableFile(atPath: beside + "/market-gateway") { return beside }
        return URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../.build/debug")
            .path
    }()

    fileprivate init() async throws {
        // A commit is handed to the operating system before it is answered, as in production; a killed server
        // needs no more than that.
        cluster = try EmbeddedCluster(Self.clusterConfiguration)
        databaseURL = try await cluster.start()
        var configuration = LocalStack.Configuration(
            binaries: Self.binaries, dataFolder: Self.folder + "/stack", databaseURL: databaseURL)
        // As `vomma run` does: whatever a service does beyond its rights would fail here.
        configuration.databaseURLs = try await LocalStack.roleURLs(
            url: databaseURL, credentials: Self.folder + "/credentials", log: Self.silent)
        configuration.trainers = 2
        configuration.environment = [
            "VOMMA_LEASE_SECONDS": "2", "VOMMA_CHECKPOINT_SECONDS": "1", "VOMMA_DATABASE_CONNECTIONS": "4",
        ]
        stack = try LocalStack(configuration, log: Self.silent)
        pool = try ConnectionPool(StorageConfiguration(url: databaseURL), log: Self.silent)
        let stack = stack
        func channel(_ name: ServiceName) -> RPCChannel {
            let address = stack.address(name)
            return RPCChannel(host: address.host, port: address.port, log: Self.silent)
        }
        gateway = MarketGatewayClient(channel(.marketGateway))
        inverter = HestonInverterClient(channel(.hestonInverter))
        regimes = RegimeSentimentClient(channel(.regimeSentiment))
        features = FeatureClient(channel(.featureService))
        policy = PolicyClient(channel(.policyService))
        execution = ExecutionClient(channel(.executionService))
        trainer = TrainerClient(channel(.trainer))
        try await stack.start()
    }

    static let folder = "/tmp/vomma-integration-\(getpid())"
    static var clusterConfiguration: EmbeddedCluster.Configuration {
        var configuration = EmbeddedCluster.Configuration(folder: folder)
        configuration.settings = [
            "fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB", "max_connections": "100",
            "autovacuum": "off",
        ]
        return configuration
    }

    // MARK: Waiting

    /// Looks again and again until `holds`; throws, with the services' last complaints, when it never does.
    func until(
        _ what: String, within limit: Duration = .seconds(90), every pause: Duration = .milliseconds(20),
        _ holds: () async throws -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + limit
        while try await !holds() {
            guard ContinuousClock.now < deadline else { throw TooLate(what: what, complaints: complaints()) }
            try await Task.sleep(for: pause)
        }
    }

    /// The newest lines of every service's log that tell of something wrong.
    func complaints() -> String {
        stack.children.map { child in
            let text = (try? String(contentsOfFile: child.logPath, encoding: .utf8)) ?? ""
            let lines = text.split(separator: "\n").filter { !$0.contains(" info ") || $0.contains("interrupted") }
            return "\(child.name.rawValue): running \(child.isRunning)\n" + lines.suffix(5).joined(separator: "\n")
        }.joined(separator: "\n")
    }

    /// Reads one value, over a database that may be restarting.
    func value<T: PostgresDecodable & Sendable>(
        _ sql: String, _ parameters: [any PostgresEncodable & Sendable] = [], as type: T.Type = T.self
    ) async throws -> T {
        try await pool.retrying(upTo: .seconds(30)) {
            try await pool.withConnection { connection in
                try connection.queryOne(sql, parameters) { (row) throws(StorageError) in try row.get(0, as: T.self) }
            }
        }
    }

    // MARK: Jobs

    /// Submits a job and waits for its end.
    func job(_ key: String, _ kind: String, _ specification: String) async throws -> Job {
        let job = try await submit(key, kind, specification)
        return try await end(of: job.jobID)
    }

    func submit(_ key: String, _ kind: String, _ specification: String) async throws -> Job {
        try await trainer.submitJob(
            SubmitJobRequest(jobKey: key, kind: kind, specJSON: specification), options: Self.patient)
    }

    func end(of id: Int64) async throws -> Job {
        var job = Job()
        try await until("job \(id) has ended") {
            job = try await trainer.getJob(GetJobRequest(jobID: id), options: Self.patient)
            return [.succeeded, .failed, .cancelled].contains(job.state)
        }
        return job
    }

    /// Kills the database server as a crash would, and starts it again.
    func crashDatabase() async throws {
        guard case .running(let process) = try await cluster.status() else {
            throw TooLate(what: "PostgreSQL runs", complaints: "")
        }
        kill(process, SIGKILL)
        try await until("PostgreSQL is gone", every: .milliseconds(2)) { try await cluster.status() == .stopped }
        _ = try await cluster.start()
    }
}

/// Something did not come about in time.
struct TooLate: Error, CustomStringConvertible {
    let what: String
    let complaints: String
    var description: String { "waited in vain until \(what)\n\(complaints)" }
}

private actor FleetHolder {
    static let shared = FleetHolder()
    private var starting: Task<Fleet, any Error>?

    func fleet() async throws -> Fleet {
        if let starting { return try await starting.value }
        let task = Task {
            Self.removeLeftOvers()
            atexit { FleetHolder.destroy() }
            return try await Fleet()
        }
        starting = task
        return try await task.value
    }

    private static func destroy() {
        do { try EmbeddedCluster.destroy(Fleet.clusterConfiguration) } catch { print("integration cluster: \(error)") }
    }

    /// Clusters of test processes that were killed.
    private static func removeLeftOvers() {
        for name in EmbeddedCluster.folders(in: "/tmp", prefix: "vomma-integration-") {
            guard let process = Int32(name.dropFirst("vomma-integration-".count)), kill(process, 0) != 0, errno == ESRCH
            else { continue }
            do { try EmbeddedCluster.destroy(.init(folder: "/tmp/" + name)) } catch {
                print("left over \(name): \(error)")
            }
        }
    }
}
