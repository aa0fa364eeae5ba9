internal import Glibc
public import Storage
internal import Synchronization

/// A real PostgreSQL for tests: one private cluster a test process, started at first use, gone at exit.
///
/// It lives in a folder of its own under /tmp and trades durability for speed (fsync off): a killed server still keeps
/// what was
/// committed, a killed machine need not.
public actor TestCluster {
    public static let shared = TestCluster()

    private var starting: Task<String, any Error>?
    private var databaseCount = 0
    private static let folder = "/tmp/vomma-test-\(getpid())"

    private static var configuration: EmbeddedCluster.Configuration {
        var configuration = EmbeddedCluster.Configuration(folder: folder)
        configuration.settings = [
            "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "shared_buffers": "32MB",
            "max_connections": "200", "autovacuum": "off",
        ]
        return configuration
    }

    /// A new empty database; with all migrations applied unless `migrated` is false. Returns its configuration: make
    /// as many pools on it as the test needs.
    public func database(migrated: Bool = true) async throws -> StorageConfiguration {
        let maintenance = try await server()
        databaseCount += 1
        let name = try Identifier("test_\(databaseCount)")
        let template = try Identifier(migrated ? "vomma" : "template1")
        let pool = ConnectionPool(try StorageConfiguration(url: maintenance))
        try await pool.withConnection { try $0.command("CREATE DATABASE \(name) TEMPLATE \(template)") }
        await pool.close()
        return try StorageConfiguration(url: maintenance.replacingDatabase(with: name.name))
    }

    /// The URL of the maintenance database, once the server runs and the template is migrated.
    private func server() async throws -> String {
        if let starting { return try await starting.value }
        let task = Task {
            Self.removeLeftOvers()
            let cluster = try EmbeddedCluster(Self.configuration)
            atexit { TestCluster.destroy() }
            let url = try await cluster.start()
            let pool = ConnectionPool(try StorageConfiguration(url: url))
            try await pool.migrate()
            await pool.close()
            return url.replacingDatabase(with: "postgres")
        }
        starting = task
        return try await task.value
    }

    private static func destroy() {
        do { try EmbeddedCluster.destroy(configuration) } catch { print("test cluster: \(error)") }
    }

    /// Clusters of test processes that were killed.
    private static func removeLeftOvers() {
        for name in EmbeddedCluster.folders(in: "/tmp", prefix: "vomma-test-") {
            guard let process = Int32(name.dropFirst("vomma-test-".count)), kill(process, 0) != 0, errno == ESRCH else {
                continue
            }
            do { try EmbeddedCluster.destroy(.init(folder: "/tmp/" + name)) } catch {
                print("left over \(name): \(error)")
            }
        }
    }
}

extension String {
    /// A URL of the fixture's form with another database.
    fileprivate func replacingDatabase(with name: String) -> String {
        guard let start = range(of: "@/"), let end = firstIndex(of: "?") else { return self }
        return self[..<start] + "@/" + name + self[end...]
    }

    private func range(of text: String) -> Index? {
        indices.first { self[$0...].hasPrefix(text) }
    }
}
