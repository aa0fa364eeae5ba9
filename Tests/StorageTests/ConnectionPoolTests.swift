import MarketData
import Storage
import TestKit
import Testing

/// The pool against a real server: limits, deadlines, cancellation, broken connections, collisions.
@Suite struct ConnectionPoolTests {
    private func pool(
        migrated: Bool = false, _ change: (inout StorageConfiguration) -> Void = { _ in }
    ) async throws -> ConnectionPool {
        var configuration = try await TestCluster.shared.database(migrated: migrated)
        change(&configuration)
        return ConnectionPool(configuration)
    }

    @Test func keepsToItsLimits() async throws {
        let pool = try await pool {
            $0.maximumConnections = 2
            $0.acquireTimeout = .milliseconds(50)
        }
        // Both connections are held until the third caller has been refused.
        let (stream, finish) = AsyncStream.makeStream(of: Void.self)
        let (held, hold) = AsyncStream.makeStream(of: Int32.self)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<2 {
                group.addTask {
                    try await pool.withConnection { connection in
                        hold.yield(connection.processIdentifier)
                        for await _ in stream {}
                    }
                }
            }
            var processes: Set<Int32> = []
            for await process in held {
                processes.insert(process)
                if processes.count == 2 { break }
            }
            await #expect(throws: StorageError.timeout(.acquire)) { try await pool.withConnection { _ in } }
            finish.finish()
            try await group.waitForAll()
        }
        await pool.close()
        await #expect(throws: StorageError.closed) { try await pool.withConnection { _ in } }
    }

    @Test("many callers share two connections, and all are served") func sharing() async throws {
        let pool = try await pool {
            $0.maximumConnections = 2
            $0.acquireTimeout = .seconds(600)
        }
        let used = try await withThrowingTaskGroup(of: Int32.self) { group in
            for _ in 0..<50 {
                group.addTask { try await pool.withConnection { $0.processIdentifier } }
            }
            return try await group.reduce(into: Set<Int32>()) { $0.insert($1) }
        }
        #expect(used.count <= 2)
        await pool.close()
    }

    @Test("a cancelled task's statement stops on the server, and the connection is good for the next")
    func cancellation()
        async throws
    {
        let pool = try await pool { $0.maximumConnections = 1 }
        let (begun, begin) = AsyncStream.makeStream(of: Int32.self)
        let task = Task {
            try await pool.withTransaction { connection in
                begin.yield(connection.processIdentifier)
                try connection.execute("SELECT pg_sleep(600)")
            }
        }
        var process: Int32 = 0
        for await identifier in begun {
            process = identifier
            break
        }
        task.cancel()
        await #expect(throws: StorageError.cancelled) { try await task.value }
        let (next, others) = try await pool.withConnection { connection in
            (
                connection.processIdentifier,
                try connection.queryOne(
                    """
                    SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
                    """
                ) { (row) throws(StorageError) in try row.get(0, as: Int.self) }
            )
        }
        #expect(next == process)
        #expect(others == 0)
        // Cancelled before it begins.
        let early = Task {
            unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
            return try await pool.withConnection { $0.processIdentifier }
        }
        await #expect(throws: StorageError.cancelled) { try await early.value }
    }

    @Test func statementTimeout() async throws {
        let pool = try await pool { $0.statementTimeout = .milliseconds(30) }
        await #expect(throws: StorageError.timeout(.statement)) {
            try await pool.withConnection { try $0.execute("SELECT pg_sleep(600)") }
        }
        let rows = try await pool.withConnection { try $0.execute("SELECT 1") }
        #expect(rows == 1)
    }

    @Test("a connection that the server ended is replaced before anybody notices") func terminated() async throws {
        let pool = try await pool { $0.maximumConnections = 2 }
        let first = try await pool.withConnection { victim in
            let identifier = victim.processIdentifier
            try await pool.withConnection { try $0.execute("SELECT pg_terminate_backend($1, 5000)", [identifier]) }
            // In the middle of a lease it shows.
            #expect(throws: StorageError.self) { try victim.execute("SELECT 1") }
            return identifier
        }
        let second = try await pool.withConnection { $0.processIdentifier }
        try await pool.withConnection { other in
            try other.execute(
                "SELECT pg_terminate_backend($1, 5000)", [second == other.processIdentifier ? first : second])
        }
        for _ in 0..<4 { try await pool.withConnection { try $0.execute("SELECT 1") } }
    }

    @Test("an error in a transaction rolls it back, and its rows with it") func rollback() async throws {
        struct Stop: Error {}
        let pool = try await pool { $0.maximumConnections = 1 }
        try await pool.withConnection { try $0.command("CREATE TABLE t (a bigint PRIMARY KEY)") }
        await #expect(throws: Stop.self) {
            try await pool.withTransaction { connection in
                try connection.execute("INSERT INTO t VALUES ($1)", [1])
                throw Stop()
            }
        }
        // A transaction left open by its borrower does not reach the next one.
        try await pool.withConnection { connection in
            try connection.command("BEGIN")
            try connection.execute("INSERT INTO t VALUES ($1)", [2])
        }
        // An ignored error fails the commit.
        await #expect(throws: StorageError.self) {
            try await pool.withTransaction { connection in
                try connection.execute("INSERT INTO t VALUES ($1)", [3])
                _ = try? connection.execute("SELECT 1/0")
            }
        }
        await #expect(throws: StorageError.self) {
            try await pool.withTransaction { try await $0.transaction { _ in } }
        }
        let count = try await pool.withConnection { connection in
            try connection.queryOne("SELECT count(*) FROM t") { (row) throws(StorageError) in
                try row.get(0, as: Int.self)
            }
        }
        #expect(count == 0)
    }

    @Test("colliding transactions are repeated until each has counted once") func serialization() async throws {
        let pool = try await pool { $0.maximumTransactionTries = 200 }
        try await pool.withConnection { connection in
            try connection.command("CREATE TABLE t (a bigint); INSERT INTO t VALUES (0)")
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    try await pool.withTransaction(isolation: .serializable) { connection in
                        let value = try connection.queryOne("SELECT a FROM t") { (row) throws(StorageError) in
                            try row.get(0, as: Int.self)
                        }
                        try connection.execute("UPDATE t SET a = $1", [value + 1])
                    }
                }
            }
            try await group.waitForAll()
        }
        let count = try await pool.withConnection { connection in
            try connection.queryOne("SELECT a FROM t") { (row) throws(StorageError) in try row.get(0, as: Int.self) }
        }
        #expect(count == 20)
        // The bound: a body that always collides.
        var few = pool.configuration
        few.maximumTransactionTries = 3
        let bounded = ConnectionPool(few)
        await #expect(throws: StorageError.serializationFailure(tries: 3)) {
            try await bounded.withTransaction { try $0.execute("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$") }
        }
    }

    @Test("errors are typed, and keep rows and SQL out of the log") func errors() async throws {
        let pool = try await pool()
        try await pool.withConnection { connection in
            try connection.command("CREATE TABLE t (a text CONSTRAINT only_once PRIMARY KEY, b bigint NOT NULL)")
            try connection.execute("INSERT INTO t VALUES ($1, 1)", ["secret"])
            do {
                try connection.execute("INSERT INTO t VALUES ($1, 1)", ["secret"])
                Issue.record("a duplicate was accepted")
            } catch let error as StorageError {
                guard case .constraintViolation("only_once", _) = error else { throw error }
                #expect(!error.description.contains("secret") && !error.description.contains("INSERT"))
                #expect(error.debugDescription.contains("secret") && error.debugDescription.contains("INSERT"))
            }
            let noNull = #expect(throws: StorageError.self) {
                try connection.execute("INSERT INTO t VALUES ('x', NULL)")
            }
            guard case .constraintViolation("b", _) = noNull else { throw StorageError.unexpectedRowCount(0) }
            let noTable = #expect(throws: StorageError.self) { try connection.execute("SELECT * FROM nowhere") }
            #expect(noTable?.sqlState == "42P01")
            #expect(throws: StorageError.unexpectedRowCount(0)) {
                try connection.queryOne("SELECT 1 WHERE false") { (_) throws(StorageError) in 0 }
            }
            // A prepared statement outlives a change of what it selects.
            let read = { (connection: isolated Connection) in
                try connection.queryOne("SELECT * FROM t") { (row) throws(StorageError) in row.columnCount }
            }
            #expect(try read(connection) == 2)
            try connection.command("ALTER TABLE t ADD c bigint")
            #expect(try read(connection) == 3)
        }
    }

    @Test("more statements than are kept prepared") func statementLimit() async throws {
        let pool = try await pool { $0.maximumPreparedStatements = 3 }
        let kept = try await pool.withTransaction { connection in
            for _ in 0..<2 { for index in 0..<9 { try connection.execute("SELECT \(index)") } }
            return 0
        }
        #expect(kept == 0)
        let count = try await pool.withConnection { connection in
            for index in 0..<9 { try connection.execute("SELECT \(index)") }
            return try connection.queryOne("SELECT count(*) FROM pg_prepared_statements") {
                (row) throws(StorageError) in try row.get(0, as: Int.self)
            }
        }
        #expect(count <= 3)
    }

    @Test func wrongAddresses() async throws {
        let good = try await TestCluster.shared.database(migrated: false).url
        for bad in ["", "nonsense", "http://x/y", "postgresql://[::1", "host=a b c"] {
            #expect(throws: StorageError.self) { try StorageConfiguration(url: bad) }
        }
        func failure(_ url: String) async throws -> StorageError? {
            let pool = ConnectionPool(try StorageConfiguration(url: url))
            do { try await pool.withConnection { _ in } } catch let error as StorageError { return error }
            return nil
        }
        let elsewhere = good.split(separator: "?")[1]
        #expect(try await failure("postgresql://nobody:x@/test_1?\(elsewhere)")?.sqlState == "28P01")
        let noDatabase = try await failure(good.replacing("/test_", with: "/missing_"))
        #expect(noDatabase?.sqlState == "3D000")
        #expect(noDatabase?.description == "the server has no such database (3D000)")
        guard case .unavailable = try await failure("postgresql://a@/b?host=/nowhere") else {
            Issue.record("a missing socket is unavailable")
            return
        }
        guard case .unavailable = try await failure("postgresql://a@127.0.0.1:1/b") else {
            Issue.record("a closed port is unavailable")
            return
        }
    }
}
