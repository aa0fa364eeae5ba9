import MarketData
import Storage
import TestKit
import Testing

@Suite struct CopyTests {
    @Test("all rows or none, each of the column's own type") func copy() async throws {
        struct Stop: Error {}
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        try await pool.withConnection { connection in
            try connection.command("CREATE TABLE t (a bigint PRIMARY KEY, b float8, c text, d bytea)")
            let columns = ["a", "b", "c", "d"]
            let count = try connection.copyIn("t", columns: columns) { writer in
                // More than one buffer.
                for index in 0..<5000 {
                    try writer.row(index, index % 3 == 0 ? nil : Double(index), "row \(index)", [UInt8(index % 256)])
                }
            }
            #expect(count == 5000)
            let (sum, nulls, text) = try connection.queryOne(
                """
                SELECT sum(b), count(*) FILTER (WHERE b IS NULL), max(c) FROM t
                WHERE d = set_byte('\\x00', 0, (a % 256)::int)
                """
            ) { (row) throws(StorageError) in
                (try row.get(0, as: Double.self), try row.get(1, as: Int.self), try row.get(2, as: String.self))
            }
            #expect(sum == Double((0..<5000).filter { $0 % 3 != 0 }.reduce(0, +)))
            #expect(nulls == 1667 && text == "row 999")

            // The caller's error, a wrong type, a missing value, a duplicate key, an unknown table: nothing is stored,
            // and
            // the connection is good.
            #expect(throws: Stop.self) {
                try connection.copyIn("t", columns: columns) { writer in
                    try writer.row(9000, 1.0, "x", [UInt8]())
                    throw Stop()
                }
            }
            #expect(throws: StorageError.encoding(column: "a", reason: "type 23 for a column of type 20")) {
                try connection.copyIn("t", columns: columns) { try $0.row(Int32(9000), 1.0, "x", [UInt8]()) }
            }
            #expect(throws: StorageError.self) { try connection.copyIn("t", columns: columns) { try $0.row(9000) } }
            let duplicate = #expect(throws: StorageError.self) {
                try connection.copyIn("t", columns: ["a"]) { writer in
                    for index in 8000..<20_000 { try writer.row(index % 9000) }
                }
            }
            #expect(duplicate?.sqlState == "23505")
            let unknown = #expect(throws: StorageError.self) {
                try connection.copyIn("u", columns: ["a"]) { try $0.row(1) }
            }
            #expect(unknown?.sqlState == "42P01")
            #expect(throws: StorageError.misuse("a statement while copying")) {
                try connection.copyIn("t", columns: ["a"]) { _ in try connection.execute("SELECT 1") }
            }
            let rows = try connection.queryOne("SELECT count(*) FROM t") { (row) throws(StorageError) in
                try row.get(0, as: Int.self)
            }
            #expect(rows == 5000)
        }
        await pool.close()
    }

    @Test("a batch is one transaction, of any length") func batch() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        try await pool.withConnection { connection in
            try connection.command("CREATE TABLE t (a bigint PRIMARY KEY, b float8[])")
            let insert = "INSERT INTO t VALUES ($1, $2) ON CONFLICT DO NOTHING"
            #expect(try connection.executeBatch(insert, []) == 0)
            let rows: [[any PostgresEncodable]] = (0..<1000).map { [$0, [Double($0)]] }
            #expect(try connection.executeBatch(insert, rows) == 1000)
            #expect(try connection.executeBatch(insert, rows + [[5000, [Double]()]]) == 1)
            // The last row fails: none is stored.
            let bad = #expect(throws: StorageError.self) {
                try connection.executeBatch(
                    "INSERT INTO t VALUES ($1, $2)", (6000..<6600).map { [min($0, 6598), [0.0]] })
            }
            #expect(bad?.sqlState == "23505")
            #expect(throws: StorageError.encoding(column: "batch", reason: "rows of different types")) {
                try connection.executeBatch(insert, [[7000, [0.0]], [7001, "text"]])
            }
            let count = try connection.queryOne("SELECT count(*) FROM t") { (row) throws(StorageError) in
                try row.get(0, as: Int.self)
            }
            #expect(count == 1001)
        }
        await pool.close()
    }
}

@Suite struct NotificationTests {
    @Test("a lost connection shows as resync, and the sequence goes on") func reconnects() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        let name = "Models \"x\""
        var iterator = try pool.notifications(name, "jobs").makeAsyncIterator()
        #expect(try await iterator.next() == .resync)
        try await pool.withTransaction { connection in
            try connection.notify(name, "1")
            try connection.notify("jobs", "2")
        }
        #expect(try await iterator.next() == .notification(channel: name, payload: "1"))
        #expect(try await iterator.next() == .notification(channel: "jobs", payload: "2"))
        try await pool.withConnection { connection in
            try connection.execute(
                """
                SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE query LIKE 'LISTEN%' AND datname = current_database()
                """)
        }
        #expect(try await iterator.next() == .resync)
        try await pool.withConnection { try $0.notify("jobs", "3") }
        #expect(try await iterator.next() == .notification(channel: "jobs", payload: "3"))
        await pool.close()
    }

    @Test("cancelling the task ends the sequence") func cancellation() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        let (ready, isReady) = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            var count = 0
            for try await _ in try pool.notifications("jobs") {
                count += 1
                isReady.yield()
            }
            return count
        }
        for await _ in ready { break }
        task.cancel()
        #expect(try await task.value == 1)
        await pool.close()
    }
}
