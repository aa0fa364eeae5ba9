import Storage
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// A cluster of its own: this suite kills it.
@Suite struct EmbeddedClusterTests {
    /// Deletes the folder when the test is over, server stopped.
    private func withFolder(_ name: String, _ body: (EmbeddedCluster.Configuration) async throws -> Void) async throws {
        let configuration = EmbeddedCluster.Configuration(folder: "/tmp/vomma-test-cluster-\(getpid())-\(name)")
        do { try await body(configuration) } catch {
            try EmbeddedCluster.destroy(configuration)
            throw error
        }
        try EmbeddedCluster.destroy(configuration)
    }

    @Test("under a server that is killed and started again, sixteen writers store each record once") func restart()
        async throws
    {
        try await withFolder("restart") { configuration in
            let cluster = try EmbeddedCluster(configuration)
            var storage = try StorageConfiguration(url: try await cluster.start())
            storage.maximumConnections = 16
            let pool = ConnectionPool(storage)
            // No key: what is stored twice is there twice.
            try await pool.withConnection { try $0.command("CREATE TABLE t (a bigint)") }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<16 {
                    group.addTask {
                        for record in writer * 50..<writer * 50 + 50 {
                            try await pool.retrying(upTo: .seconds(60)) {
                                try await pool.withTransaction { connection in
                                    try connection.execute(
                                        "INSERT INTO t SELECT $1 WHERE NOT EXISTS (SELECT FROM t WHERE a = $1)",
                                        [record])
                                }
                            }
                            // In the middle of its own work, and somewhere in everybody else's.
                            guard record == 25 else { continue }
                            guard case .running(let process) = try await cluster.status() else {
                                throw StorageError.closed
                            }
                            kill(process, SIGKILL)
                            _ = try await cluster.start()
                        }
                    }
                }
                try await group.waitForAll()
            }
            let records = try await pool.withConnection { connection in
                try connection.query("SELECT a FROM t ORDER BY a") { (row) throws(StorageError) in
                    try row.get(0, as: Int.self)
                }
            }
            #expect(records == Array(0..<800))
            #expect(pool.snapshot.leasedConnections == 0 && pool.snapshot.waitingCallers == 0)
            await pool.close()
            try await cluster.stop()
        }
    }

    @Test("data survives SIGKILL of the server, callers that retry do not notice, and restarts reuse it") func life()
        async throws
    {
        // A folder too deep for a socket, with characters that need quoting.
        try await withFolder("it's deep \(String(repeating: "x", count: 90))") { configuration in
            let cluster = try EmbeddedCluster(configuration)
            #expect(try await cluster.status() == .absent)
            let url = try await cluster.start()
            guard case .running(let process) = try await cluster.status() else {
                Issue.record("not running after start")
                return
            }
            #expect(try await EmbeddedCluster(configuration).start() == url)

            let pool = ConnectionPool(try StorageConfiguration(url: url))
            try await pool.withConnection { connection in
                try connection.command("CREATE TABLE t (a bigint PRIMARY KEY)")
                try connection.execute("INSERT INTO t VALUES ($1)", [1])
                let settings = try connection.queryOne(
                    "SELECT current_setting('fsync'), current_setting('listen_addresses')"
                ) { (row) throws(StorageError) in (try row.get(0, as: String.self), try row.get(1, as: String.self)) }
                #expect(settings == ("on", ""))
            }
            // A password is needed, and only we can read it.
            let colon = try #require(url.lastIndex(of: "@"))
            let open = try StorageConfiguration(url: "postgresql://vomma" + url[colon...])
            await #expect(throws: StorageError.self) { try await ConnectionPool(open).withConnection { _ in } }
            var information = stat()
            let found = unsafe stat(configuration.folder + "/password", &information)
            #expect(found == 0 && information.st_mode & 0o777 == 0o600)

            kill(process, SIGKILL)
            // Without patience the caller learns at once, and may retry.
            var failures = 0
            do { try await pool.withConnection { try $0.execute("SELECT 1") } } catch let error as StorageError {
                #expect(error.isRetryable)
                failures += 1
            }
            async let patient = pool.retrying(upTo: .seconds(60)) {
                try await pool.withTransaction { try $0.execute("INSERT INTO t VALUES (2) ON CONFLICT DO NOTHING") }
            }
            #expect(try await cluster.start() == url)
            _ = try await patient
            let rows = try await pool.withConnection { connection in
                try connection.query("SELECT a FROM t ORDER BY a") { (row) throws(StorageError) in
                    try row.get(0, as: Int.self)
                }
            }
            #expect(rows == [1, 2])

            await pool.close()
            try await cluster.stop()
            #expect(try await cluster.status() == .stopped)
            try await cluster.stop()
            await #expect(throws: StorageError.self) {
                try await ConnectionPool(StorageConfiguration(url: url)).retrying(upTo: .milliseconds(30)) {
                    throw StorageError.unavailable("gone")
                }
            }
        }
    }

    @Test("a folder that can't be is a clear error") func badFolder() async throws {
        let cluster = try EmbeddedCluster(.init(folder: "/proc/vomma"))
        await #expect(throws: StorageError.self) { try await cluster.start() }
    }
}
