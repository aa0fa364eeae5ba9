import Testing

@testable import Storage

#if canImport(Glibc)
    import Glibc
#endif

/// What needs a server of its own: TLS, point-in-time recovery, dead servers' leavings, a full disk.
@Suite(.serialized) struct OwnClusterTests {
    private static let folder = "/tmp/vomma-test-cluster-\(getpid())-own"

    private func withCluster(
        _ name: String, _ change: (inout EmbeddedCluster.Configuration) throws -> Void = { _ in },
        _ body: (EmbeddedCluster, EmbeddedCluster.Configuration) async throws -> Void
    ) async throws {
        var configuration = EmbeddedCluster.Configuration(folder: Self.folder + "-" + name)
        configuration.settings = ["fsync": "off", "shared_buffers": "32MB"]
        try FileSystem.makeFolder(configuration.folder, mode: 0o755)
        do {
            try change(&configuration)
            try await body(EmbeddedCluster(configuration), configuration)
        } catch {
            try EmbeddedCluster.destroy(configuration)
            throw error
        }
        try EmbeddedCluster.destroy(configuration)
    }

    private func run(_ arguments: String...) throws -> String {
        let outcome = try Program.run(["/usr/bin/env"] + arguments)
        guard outcome.status == 0 else { throw StorageError.cluster("\(arguments): \(outcome.output)") }
        return outcome.output
    }

    /// A file that the server, too, may read.
    private func hand(_ path: String, to user: String) throws {
        guard geteuid() == 0, let entry = unsafe getpwnam(user) else { return }
        try unsafe FileSystem.setOwner(path, entry.pointee.pw_uid, entry.pointee.pw_gid)
    }

    /// Below those that the kernel gives to whoever asks, so that it is still free when the server starts.
    private func freePort() -> UInt16 {
        for port in (20_000..<32_000).shuffled() {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            address.sin_port = UInt16(port).bigEndian
            let isFree = unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                    unsafe bind(descriptor, generic, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                }
            }
            if isFree { return UInt16(port) }
        }
        preconditionFailure("no free port")
    }

    @Test("verify-full trusts the right certificate under the right name, and nothing else") func tls() async throws {
        let port = freePort()
        try await withCluster("tls") { configuration in
            for name in ["server", "stranger"] {
                _ = try run(
                    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
                    "\(configuration.folder)/\(name).key", "-out", "\(configuration.folder)/\(name).crt")
            }
            let key = configuration.folder + "/server.key"
            unsafe _ = chmod(key, 0o600)
            try hand(key, to: configuration.serverUser)
            configuration.settings.merge([
                "listen_addresses": "127.0.0.1", "port": "\(port)", "ssl": "on", "ssl_key_file": key,
                "ssl_cert_file": configuration.folder + "/server.crt",
            ]) { $1 }
        } _: { cluster, configuration in
            let local = try await cluster.start()
            let password = local.split(separator: ":")[2].split(separator: "@")[0]
            func attempt(_ parameters: String, host: String = "localhost") async throws -> Bool {
                let url = "postgresql://vomma:\(password)@\(host):\(port)/vomma?hostaddr=127.0.0.1&\(parameters)"
                let pool = ConnectionPool(try StorageConfiguration(url: url))
                let isEncrypted = try await pool.withConnection { connection in
                    try connection.queryOne("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") {
                        (row) throws(StorageError) in try row.get(0, as: Bool.self)
                    }
                }
                await pool.close()
                return isEncrypted
            }
            let root = "sslrootcert=\(configuration.folder)"
            #expect(try await attempt("sslmode=verify-full&\(root)/server.crt"))
            #expect(try await attempt("sslmode=require"))
            #expect(try await attempt("sslmode=disable") == false)
            let refused = [
                ("sslmode=verify-full&\(root)/stranger.crt", "localhost"),
                ("sslmode=verify-full&\(root)/server.crt", "database.example"),
                ("sslmode=verify-full&\(root)/missing.crt", "localhost"),
            ]
            for (parameters, host) in refused {
                let error = await #expect(throws: StorageError.self) { try await attempt(parameters, host: host) }
                guard case .insecure = error else { throw try #require(error) }
                #expect(error?.isRetryable == false)
            }
            // The name is not checked where it need not be.
            #expect(try await attempt("sslmode=verify-ca&\(root)/server.crt", host: "database.example"))
        }
    }

    @Test("what a killed server leaves behind does not keep the next one from starting") func leavings() async throws {
        try await withCluster("leavings") { cluster, configuration in
            let server = configuration.folder + "/server"
            // Killed while the cluster was being made.
            try FileSystem.makeFolder(server, mode: 0o700)
            try FileSystem.makeFolder(server + "/data.new", mode: 0o700)
            try FileSystem.write("half", to: server + "/data.new/PG_VERSION")
            var url = try await cluster.start()
            let pool = ConnectionPool(try StorageConfiguration(url: url))
            try await pool.withConnection { try $0.command("CREATE TABLE t (a bigint PRIMARY KEY)") }
            // Locks that name a process which lives and is another's: ours.
            for round in 1...3 {
                try await pool.retrying {
                    try await pool.withTransaction {
                        try $0.execute("INSERT INTO t VALUES ($1) ON CONFLICT DO NOTHING", [round])
                    }
                }
                guard case .running(let process) = try await cluster.status() else { throw StorageError.closed }
                kill(process, SIGKILL)
                if round > 1 {
                    let pid = server + "/data/postmaster.pid"
                    let rest = FileSystem.read(pid)?.split(separator: "\n").dropFirst().joined(separator: "\n") ?? ""
                    try FileSystem.write("\(getpid())\n\(rest)\n", to: pid)
                    try hand(pid, to: configuration.serverUser)
                }
                url = try await cluster.start()
            }
            let rows = try await pool.retrying {
                try await pool.withConnection { connection in
                    try connection.query("SELECT a FROM t ORDER BY a") { (row) throws(StorageError) in
                        try row.get(0, as: Int.self)
                    }
                }
            }
            #expect(rows == [1, 2, 3])
            await pool.close()
        }
    }

    @Test(
        "a full disk is named when the cluster is made, and in a COPY, which stores nothing",
        .enabled(if: geteuid() == 0, "mounting a small disk needs root"))
    func fullDisk() async throws {
        let disk = Self.folder + "-disk"
        try FileSystem.makeFolder(disk, mode: 0o755)
        defer { unsafe _ = rmdir(disk) }
        guard (try? run("mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", disk)) != nil else {
            print("no file system can be mounted here: skipped")
            return
        }
        defer { _ = try? Program.run(["/usr/bin/env", "umount", "-l", disk]) }
        let small = EmbeddedCluster.Configuration(folder: disk + "/cluster")
        let error = await #expect(throws: StorageError.self) { try await EmbeddedCluster(small).start() }
        #expect(error?.description.contains("No space left on device") == true, "\(String(describing: error))")
        _ = try run("rm", "-rf", disk + "/cluster")

        try await withCluster("full") { cluster, configuration in
            let url = try await cluster.start()
            let pool = ConnectionPool(try StorageConfiguration(url: url))
            let space = disk + "/space"
            try FileSystem.makeFolder(space, mode: 0o700)
            try hand(space, to: configuration.serverUser)
            try await pool.withConnection { connection in
                try connection.command("CREATE TABLESPACE small LOCATION '\(space)'")
                try connection.command("CREATE TABLE t (a bigint, b text) TABLESPACE small")
                let text = String(repeating: "x", count: 1000)
                let process = connection.processIdentifier
                let full = #expect(throws: StorageError.self) {
                    try connection.copyIn("t", columns: ["a", "b"]) { writer in
                        for index in 0..<60_000 { try writer.row(index, text) }
                    }
                }
                guard case .diskFull = full else { throw try #require(full) }
                // The connection is good; once there is room, the same COPY works.
                #expect(connection.processIdentifier == process)
                // TRUNCATE would need a page of its own first.
                try connection.command("DROP TABLE t")
                try connection.command("CREATE TABLE t (a bigint, b text) TABLESPACE small")
                let stored = try connection.copyIn("t", columns: ["a", "b"]) { writer in
                    for index in 0..<1000 { try writer.row(index, text) }
                }
                #expect(stored == 1000)
                let count = try connection.queryOne("SELECT count(*) FROM t") { (row) throws(StorageError) in
                    try row.get(0, as: Int.self)
                }
                #expect(count == 1000)
            }
            await pool.close()
        }
    }

    @Test("a base backup and the archived log restore any moment in between") func pointInTime() async throws {
        try await withCluster("pitr") { configuration in
            let archive = configuration.folder + "/archive"
            try FileSystem.makeFolder(archive, mode: 0o700)
            try hand(archive, to: configuration.serverUser)
            configuration.settings.merge([
                "archive_mode": "on", "archive_command": "test ! -f \(archive)/%f && cp %p \(archive)/%f",
            ]) { $1 }
        } _: { cluster, configuration in
            let url = try await cluster.start()
            let pool = ConnectionPool(try StorageConfiguration(url: url))
            try await pool.withConnection { try $0.command("CREATE TABLE t (a bigint PRIMARY KEY)") }
            let backup = configuration.folder + "/base"
            _ = try run("pg_basebackup", "-d", url, "-D", backup, "-X", "none", "-c", "fast")
            func insert(_ value: Int) async throws {
                try await pool.withTransaction { try $0.execute("INSERT INTO t VALUES ($1)", [value]) }
            }
            try await insert(1)
            let moment = try await pool.withConnection { connection in
                try connection.queryOne("SELECT clock_timestamp()::text") { (row) throws(StorageError) in
                    try row.get(0, as: String.self)
                }
            }
            // The mistake.
            try await insert(2)
            try await pool.withConnection { connection in
                try connection.execute("SELECT pg_switch_wal()")
                while try connection.queryOne("SELECT archived_count FROM pg_stat_archiver", decode: {
                    (row) throws(StorageError) in try row.get(0, as: Int.self)
                }) == 0 { try connection.execute("SELECT pg_stat_clear_snapshot()") }
            }
            await pool.close()
            try await cluster.stop()

            // In the place of the old data, as the script does it.
            let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
            let data = configuration.folder + "/server/data"
            _ = try run("rm", "-rf", data)
            _ = try run("bash", "/\(root)/docs/restore-to-time.sh", backup, configuration.folder + "/archive", moment, data)
            if geteuid() == 0 { _ = try run("chown", "-R", configuration.serverUser, data) }
            let restored = ConnectionPool(try StorageConfiguration(url: try await cluster.start()))
            // Until the recovery has been ended (`promote`), it is read-only.
            let rows = try await restored.retrying {
                try await restored.withConnection { connection in
                    try connection.query("SELECT a FROM t ORDER BY a") { (row) throws(StorageError) in
                        try row.get(0, as: Int.self)
                    }
                }
            }
            #expect(rows == [1])
            await restored.close()
        }
    }
}
