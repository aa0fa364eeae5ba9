import MarketData
import TestKit
import Testing

@testable import Storage
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// What goes wrong outside of us: the right typed error, nothing lost or doubled, and recovery without a restart.
@Suite struct FaultTests {
    private func pool(
        _ change: (inout StorageConfiguration) -> Void = { _ in }
    ) async throws -> ConnectionPool {
        var configuration = try await TestCluster.shared.database(migrated: false)
        change(&configuration)
        return ConnectionPool(configuration)
    }

    private func count(_ pool: ConnectionPool) async throws -> Int {
        try await pool.withConnection { connection in
            try connection.queryOne("SELECT count(*) FROM t") { (row) throws(StorageError) in try row.get(0) }
        }
    }

    @Test("of a batch, the statement that failed is named, and nothing of it stays") func attribution() async throws {
        let pool = try await pool()
        try await pool.withConnection { connection in
            try connection.command("CREATE TABLE t (a bigint PRIMARY KEY CHECK (a < 1000), b text)")
            let insert = "INSERT INTO t VALUES ($1, $2)"
            let early = #expect(throws: StorageError.self) {
                try connection.executeBatch(insert, (0..<5000).map { [$0 == 3 ? 2 : $0, "x"] })
            }
            guard case .constraintViolation("t_pkey", let fault) = early else { throw StorageError.closed }
            #expect(fault.statementIndex == 3)
            let late = #expect(throws: StorageError.self) {
                try connection.executeBatch(insert, (0..<1001).map { [$0, "x"] })
            }
            guard case .constraintViolation("t_a_check", let fault) = late else { throw StorageError.closed }
            #expect(fault.statementIndex == 1000)
            // Different statements in one go; those that return rows too.
            let counts = try connection.execute([
                Statement(insert, [1, "one"]), Statement(insert, [2, "two"]), Statement("SELECT * FROM t"),
                Statement("UPDATE t SET b = $1", ["both"]), Statement("DELETE FROM t WHERE a = 7"),
            ])
            #expect(counts == [1, 1, 2, 2, 0])
            let wrong = #expect(throws: StorageError.self) {
                try connection.execute([
                    Statement("DELETE FROM t"), Statement("SELECT 1 / $1::int8", [0]), Statement(insert, [9, "nine"]),
                ])
            }
            guard case .server(let fault) = wrong else { throw StorageError.closed }
            #expect(fault.sqlState == "22012" && fault.statementIndex == 1)
            #expect(try connection.execute([Statement]()) == [])
        }
        #expect(try await count(pool) == 2)
        // Inside a transaction the batch is part of it.
        await #expect(throws: StorageError.cancelled) {
            try await pool.withTransaction { connection in
                try connection.executeBatch("INSERT INTO t VALUES ($1, $2)", [[5, "x"], [6, "x"]])
                throw StorageError.cancelled
            }
        }
        #expect(try await count(pool) == 2)
        await pool.close()
    }

    @Test("rows come out of COPY as they went in, and errors on either side leave the connection good")
    func copyOut() async throws {
        struct Stop: Error {}
        let pool = try await pool { $0.maximumConnections = 1 }
        try await pool.withConnection { connection in
            try connection.command("CREATE TABLE t (a bigint, b float8, c text, d bytea, e timestamptz)")
            let columns = ["a", "b", "c", "d", "e"]
            let start = Timestamp(seconds: 1_700_000_000)
            let big = String(repeating: "y", count: 100_000)
            try connection.copyIn("t", columns: columns) { writer in
                for index in 0..<3000 {
                    let text = index == 7 ? big : "row \(index)"
                    try writer.row(
                        index, index % 3 == 0 ? nil : Double(index), text, [UInt8](repeating: 1, count: index % 9),
                        start + .seconds(Int64(index)))
                }
            }
            var seen: Set<Int> = []
            let count = try connection.copyOut("t", columns: columns) { row in
                let index = try row.get(0, as: Int.self)
                seen.insert(index)
                #expect(try row.get(1, as: Double?.self) == (index % 3 == 0 ? nil : Double(index)))
                #expect(try row.get(2, as: String.self) == (index == 7 ? big : "row \(index)"))
                #expect(try row.get(3, as: [UInt8].self).count == index % 9)
                #expect(try row.get(4, as: Timestamp.self) == start + .seconds(Int64(index)))
            }
            #expect(count == 3000 && seen.count == 3000)
            let some = CopyRange(column: "e", from: start + .seconds(10), to: start + .seconds(20))
            let ten = try connection.copyOut("t", columns: ["a"], range: some) { _ in }
            let none = CopyRange(column: "e", from: start, to: start)
            let zero = try connection.copyOut("t", columns: ["a"], range: none) { _ in }
            #expect(ten == 10 && zero == 0)

            let process = connection.processIdentifier
            #expect(throws: Stop.self) {
                try connection.copyOut("t", columns: ["a"]) { _ in throw Stop() }
            }
            #expect(throws: StorageError.decoding(column: "b", reason: "NULL")) {
                try connection.copyOut("t", columns: ["a", "b"]) { row in _ = try row.get(1, as: Double.self) }
            }
            #expect(throws: StorageError.decoding(column: "a", reason: "type 20 can't be read as String")) {
                try connection.copyOut("t", columns: ["a"]) { row in _ = try row.get(0, as: String.self) }
            }
            let unknown = #expect(throws: StorageError.self) { try connection.copyOut("u", columns: ["a"]) { _ in } }
            #expect(unknown?.sqlState == "42P01")
            // The server fails in the middle of it.
            try connection.command("CREATE VIEW v AS SELECT 1000 / (2000 - a) AS q FROM t")
            var rows = 0
            let failed = #expect(throws: StorageError.self) {
                try connection.copyOut("v", columns: ["q"]) { _ in rows += 1 }
            }
            #expect(failed?.sqlState == "22012" && rows > 0)
            #expect(throws: StorageError.misuse("a statement while copying")) {
                try connection.copyOut("t", columns: ["a"]) { _ in try connection.execute("SELECT 1") }
            }
            #expect(try connection.execute("SELECT 1") == 1)
            #expect(connection.processIdentifier == process)
        }
        await pool.close()
    }

    @Test("a COPY is read alike in pieces of any size, and damage is an error") func decoder() throws {
        var bytes = BinaryWriter()
        bytes.append(contentsOf: Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00])
        bytes.append(Int32(0))
        bytes.append(Int32(3))
        bytes.append(contentsOf: [1, 2, 3])
        for index in 0..<50 {
            bytes.append(Int16(2))
            bytes.appendField(Int64(index))
            bytes.appendField(index % 2 == 0 ? "x\(index)" : String?.none)
        }
        let whole = bytes.bytes
        let end: [UInt8] = [0xFF, 0xFF]
        func read(_ bytes: [UInt8], piece size: Int) throws -> [String?] {
            var decoder = CopyDecoder(columns: ["a", "b"], types: [.int8, .text])
            var texts: [String?] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                let piece = Array(bytes[start..<min(start + size, bytes.count)])
                unsafe decoder.append(piece.span.bytes)
                while let row = try decoder.next() {
                    #expect(try row.get(0, as: Int64.self) == Int64(texts.count))
                    texts.append(try row.get(1))
                }
            }
            try decoder.finish()
            return texts
        }
        let wanted = (0..<50).map { $0 % 2 == 0 ? "x\($0)" : nil }
        for size in [1, 2, 3, 7, 64, 100_000] { #expect(try read(whole + end, piece: size) == wanted) }
        #expect(throws: StorageError.decoding(column: "COPY", reason: "no end")) { try read(whole, piece: 9) }
        #expect(throws: StorageError.decoding(column: "COPY", reason: "bytes behind the end")) {
            try read(whole + end + [0], piece: 9)
        }
        // Every byte damaged in turn, every cut: an error or another row, never a trap.
        for index in whole.indices {
            for flip: UInt8 in [0x80, 0x01, 0xFF] {
                var damaged = whole + end
                damaged[index] ^= flip
                var decoder = CopyDecoder(columns: ["a", "b"], types: [.int8, .text])
                unsafe decoder.append(damaged.span.bytes)
                do { while let row = try decoder.next() { _ = try? row.get(1, as: String?.self) } } catch {}
            }
            #expect(throws: StorageError.self) { try read(Array(whole[..<index]), piece: 32) }
        }
    }

    @Test("a server without a connection left is waited for, and a typed error in the end") func tooMany() async throws {
        let owner = try await pool()
        try await owner.withConnection { connection in
            try connection.command("CREATE ROLE few LOGIN PASSWORD 'x' CONNECTION LIMIT 1")
        }
        let few = owner.configuration.url.replacing(/\/\/vomma:[^@]*@/, with: "//few:x@")
        var configuration = try StorageConfiguration(url: few)
        configuration.acquireTimeout = .seconds(600)
        let patient = ConnectionPool(configuration)
        configuration.acquireTimeout = .milliseconds(50)
        let impatient = ConnectionPool(configuration)
        let first = ConnectionPool(configuration)
        // Held until the impatient one has been refused and the patient one has asked in vain.
        let waiting = try await first.withConnection { _ in
            await #expect(throws: StorageError.tooManyConnections) { try await impatient.withConnection { _ in } }
            #expect(StorageError.tooManyConnections.isRetryable)
            let task = Task { try await patient.withConnection { try $0.execute("SELECT 1") } }
            while patient.snapshot.counts.failedToOpen == 0 { await Task.yield() }
            return task
        }
        await first.close()
        #expect(try await waiting.value == 1)
        await patient.close()
        await impatient.close()
        try await owner.withConnection { try $0.command("DROP ROLE few") }
        await owner.close()
    }

    @Test("a connection cut during a transaction stores nothing; cut at its commit, the outcome is unknown")
    func cut() async throws {
        let pool = try await pool { $0.maximumConnections = 1 }
        let other = ConnectionPool(pool.configuration)
        try await other.withConnection { try $0.command("CREATE TABLE t (a bigint PRIMARY KEY)") }
        let lost = await #expect(throws: StorageError.self) {
            try await pool.withTransaction { connection in
                try connection.execute("INSERT INTO t VALUES (1)")
                try await other.withConnection { [process = connection.processIdentifier] in
                    try $0.execute("SELECT pg_terminate_backend($1, 5000)", [process])
                }
                try connection.execute("INSERT INTO t VALUES (2)")
            }
        }
        guard case .unavailable = lost else { throw try #require(lost) }
        #expect(try await count(pool) == 0)

        // A trigger that ends its own connection when the transaction commits: the client hears nothing of it.
        try await other.withConnection { connection in
            try connection.command(
                """
                CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN NULL; END $$;
                CREATE CONSTRAINT TRIGGER leaving AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW WHEN (NEW.a > 100) EXECUTE FUNCTION leave()
                """)
        }
        let unknown = await #expect(throws: StorageError.self) {
            try await pool.withTransaction { try $0.execute("INSERT INTO t VALUES (101)") }
        }
        guard case .outcomeUnknown = unknown else { throw try #require(unknown) }
        #expect(unknown?.isRetryable == true)
        // Outside of a transaction each statement, batch and COPY is its own commit.
        let attempts: [@Sendable (isolated Connection) throws -> Void] = [
            { try $0.execute("INSERT INTO t VALUES (102)") },
            { try $0.executeBatch("INSERT INTO t VALUES ($1)", [[103], [104]]) },
            { connection in _ = try connection.copyIn("t", columns: ["a"]) { try $0.row(105) } },
        ]
        for attempt in attempts {
            let error = await #expect(throws: StorageError.self) { try await pool.withConnection { try attempt($0) } }
            guard case .outcomeUnknown = error else { throw try #require(error) }
        }
        // Recovered by itself, and nothing is there that was not committed.
        try await pool.withTransaction { try $0.execute("INSERT INTO t VALUES (3)") }
        #expect(try await count(pool) == 1)
        await pool.close()
        await other.close()
    }

    @Test("a COPY whose server goes away, or runs out of room, stores nothing, and can be repeated")
    func copyFaults() async throws {
        let pool = try await pool { $0.maximumConnections = 1 }
        let other = ConnectionPool(pool.configuration)
        try await other.withConnection { try $0.command("CREATE TABLE t (a bigint PRIMARY KEY)") }
        let lost = await #expect(throws: StorageError.self) {
            try await pool.withConnection { connection in
                let process = connection.processIdentifier
                _ = try connection.copyIn("t", columns: ["a"]) { writer in
                    for index in 0..<20_000 { try writer.row(index) }
                    _ = kill(process, SIGTERM)
                    for index in 20_000..<200_000 { try writer.row(index) }
                }
            }
        }
        #expect(lost?.isRetryable == true, "\(String(describing: lost))")
        #expect(try await count(pool) == 0)
        // The limit of temporary files stands for the disk: the same code of the server's resource errors.
        let full = await #expect(throws: StorageError.self) {
            try await pool.withTransaction { connection in
                try connection.command("SET LOCAL work_mem = '64kB'; SET LOCAL temp_file_limit = '100kB'")
                try connection.execute("SELECT count(*) FROM (SELECT g FROM generate_series(1, 200000) g ORDER BY -g) s")
            }
        }
        guard case .diskFull = full else { throw try #require(full) }
        let stored = try await pool.withConnection { connection in
            try connection.copyIn("t", columns: ["a"]) { writer in for index in 0..<20_000 { try writer.row(index) } }
        }
        #expect(stored == 20_000)
        #expect(try await count(pool) == 20_000)
        await pool.close()
        await other.close()
    }

    @Test("a caller's deadline holds for the wait and for the statement") func deadlines() async throws {
        let pool = try await pool { $0.maximumConnections = 1 }
        await #expect(throws: StorageError.timeout(.statement)) {
            try await pool.withConnection(until: .now + .milliseconds(50)) { try $0.execute("SELECT pg_sleep(600)") }
        }
        await #expect(throws: StorageError.timeout(.statement)) {
            try await pool.withConnection(until: .now + .milliseconds(50)) { connection in
                try connection.executeBatch("SELECT pg_sleep($1)", [[600.0], [600.0]])
            }
        }
        try await pool.withConnection { _ in
            await #expect(throws: StorageError.timeout(.acquire)) {
                try await pool.withConnection(until: .now + .milliseconds(20)) { _ in }
            }
        }
        // It ends with the lease.
        #expect(try await pool.withConnection { try $0.execute("SELECT 1") } == 1)
        let counts = pool.snapshot.counts
        #expect(counts.timedOut == 1 && counts.leases == 4)
        await pool.close()
    }

    @Test("connections that are old or idle are replaced, and what happens is told") func life() async throws {
        final class Recorder: PoolObserver {
            let opened = Count()
            let returned = Count()
            func opened(after duration: Duration) { opened.add() }
            func returned(after use: Duration) { returned.add() }
        }
        var configuration = try await TestCluster.shared.database(migrated: false)
        configuration.maximumLifetime = .zero
        let recorder = Recorder()
        let old = ConnectionPool(configuration, observer: recorder)
        let first = try await old.withConnection { $0.processIdentifier }
        #expect(try await old.withConnection { $0.processIdentifier } != first)
        #expect(recorder.opened.value == 2 && recorder.returned.value == 2 && old.snapshot.counts.opened == 2)
        #expect(old.snapshot.openConnections == 1 && old.snapshot.leasedConnections == 0)
        await old.close()

        configuration.maximumLifetime = .seconds(3600)
        configuration.idleTimeout = .milliseconds(5)
        let idle = ConnectionPool(configuration)
        let other = ConnectionPool(configuration)
        try await idle.withConnection { connection in
            // Not while it is lent, however long its borrower is about something else: another's idle time passes.
            for _ in 0..<3 {
                try await other.withConnection { try $0.execute("SELECT 1") }
                while other.snapshot.openConnections > 0 { await Task.yield() }
            }
            try connection.execute("SELECT 1")
        }
        await other.close()
        while idle.snapshot.openConnections > 0 { await Task.yield() }
        #expect(try await idle.withConnection { try $0.execute("SELECT 1") } == 1)
        await idle.close()
    }

    @Test("a transaction that must not be repeated is not") func once() async throws {
        let pool = try await pool()
        let tries = Count()
        await #expect(throws: StorageError.serializationFailure(tries: 1)) {
            try await pool.withTransaction(isRepeatable: false) { connection in
                tries.add()
                try connection.execute("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
            }
        }
        #expect(tries.value == 1)
        await pool.close()
    }

    @Test("a URL that no server could like is a fault of the configuration",
        arguments: [
            "postgresql://a@h:54x2/b", "postgresql://a@h:0/b", "postgresql://a@h:70000/b",
            "postgresql://a@h/b?sslmode=secure", "host=h port=, sslmode=require connect_timeout=soon",
            "host=h target_session_attrs=best",
        ])
    func url(_ text: String) {
        let error = #expect(throws: StorageError.self) { try StorageConfiguration(url: text) }
        guard case .invalidConfiguration = error else {
            Issue.record("\(text): \(String(describing: error))")
            return
        }
    }

    @Test("random texts are a URL or an error, and a role's URL is read as it was written") func randomURLs() throws {
        var generator = SystemRandomNumberGenerator()
        let seed = generator.next()
        var state = seed
        func next(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        let parts = ["postgresql://", "host=", "a", ":", "@", "/", "?", "&", "%", "%41", "'", "\\", " ", "=", "port=", "ä",
            "passfile=", "sslmode=", "[::1]", ",", "5432", "\u{0}"]
        for _ in 0..<3000 {
            let text = (0..<next(12)).map { _ in parts[next(parts.count)] }.joined()
            guard let configuration = try? StorageConfiguration(url: text) else { continue }
            let role = try #require(DatabaseRole.named("trainer"))
            let again = try configuration.url(for: role, passwordFile: "/tmp/it's \\ here")
            #expect(throws: Never.self, "seed \(seed): \(text)") { try StorageConfiguration(url: again) }
        }
    }
}

/// A counter for callbacks.
final class Count: Sendable {
    private let number = Mutex(0)
    func add() { number.withLock { $0 += 1 } }
    var value: Int { number.withLock { $0 } }
}
