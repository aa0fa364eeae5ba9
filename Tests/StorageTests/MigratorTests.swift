import MarketData
import Storage
import TestKit
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct MigratorTests {
    private let first = Migration(number: 1, name: "one", sql: "CREATE TABLE a (x bigint); CREATE TABLE b (x bigint)")
    private let second = Migration(number: 2, name: "two", sql: "ALTER TABLE a ADD y text")

    @Test("seven processes' worth of pools at once apply each migration once") func concurrent() async throws {
        let configuration = try await TestCluster.shared.database(migrated: false)
        let steps = [first, second]
        let applied = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<7 {
                group.addTask {
                    let pool = ConnectionPool(configuration)
                    let count = try await pool.migrate(steps).count
                    await pool.close()
                    return count
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(applied == 2)
        let pool = ConnectionPool(configuration)
        #expect(try await pool.migrate(steps).isEmpty)
        await pool.close()
    }

    @Test func refusals() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database(migrated: false))
        try await pool.migrate([first])
        // One that fails leaves nothing behind, and those before it stay.
        let broken = Migration(number: 2, name: "broken", sql: "CREATE TABLE c (x bigint); SELECT nonsense")
        await #expect(throws: StorageError.self) { try await pool.migrate([first, broken]) }
        #expect(try await pool.migrate([first, second]) == [second])
        var edited = first
        edited = Migration(number: 1, name: "one", sql: edited.sql + " ")
        await #expect(throws: StorageError.migrationChanged(number: 1, name: "one")) {
            try await pool.migrate([edited, second])
        }
        await #expect(throws: StorageError.schemaNewer(number: 2, name: "two")) { try await pool.migrate([first]) }
        await #expect(throws: StorageError.badMigrationFiles("number 2 stands at place 1")) {
            try await pool.migrate([second])
        }
        let tables = try await pool.withConnection { connection in
            try connection.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1") {
                (row) throws(StorageError) in try row.get(0, as: String.self)
            }
        }
        #expect(tables == ["a", "b", "schema_migrations"])
        await pool.close()
    }

    @Test("the list in the code is the folder's") func embedded() throws {
        let folder = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let path = "/" + folder + "/Sources/Storage/Migrations"
        guard let handle = unsafe opendir(path) else {
            Issue.record("no folder of migrations")
            return
        }
        defer { unsafe _ = closedir(handle) }
        var files: [String] = []
        while let entry = unsafe readdir(handle) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name.hasSuffix(".sql") { files.append(name) }
        }
        let names = Migration.all.map { migration in
            let digits = String(migration.number)
            return String(repeating: "0", count: 4 - digits.count) + digits + "_" + migration.name + ".sql"
        }
        #expect(names == files.sorted())
    }

    @Test("months are made once, wherever asked from, and dropped by retention") func partitions() async throws {
        let configuration = try await TestCluster.shared.database()
        let (from, to) = (Timestamp("2025-11-30T23:59:59Z"), Timestamp("2026-03-01T00:00:00Z"))
        let (start, end) = (try #require(from), try #require(to))
        let made = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<6 {
                group.addTask {
                    let pool = ConnectionPool(configuration)
                    let count = try await pool.withConnection { try $0.ensurePartitions("bars", from: start, to: end) }
                    await pool.close()
                    return count
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(made == 4)
        let pool = ConnectionPool(configuration)
        try await pool.withConnection { connection in
            let all = ["bars_p2025_11", "bars_p2025_12", "bars_p2026_01", "bars_p2026_02"]
            #expect(try connection.partitions(of: "bars") == all)
            // A month is kept as long as one instant of it is wanted.
            let kept = try #require(Timestamp("2025-12-31T23:59:59.999999Z"))
            #expect(try connection.dropPartitions("bars", before: kept) == ["bars_p2025_11"])
            #expect(try connection.dropPartitions("bars", before: end) == Array(all[1...]))
        }
        // Partitions that were rolled back are made again.
        struct Stop: Error {}
        await #expect(throws: Stop.self) {
            try await pool.withTransaction { connection in
                try connection.ensurePartitions("bars", from: start, to: start)
                throw Stop()
            }
        }
        let again = try await pool.withConnection { try $0.ensurePartitions("bars", from: start, to: start) }
        #expect(again == 1)
        await #expect(throws: StorageError.self) {
            try await pool.withConnection { connection in
                try connection.ensurePartitions("bars", from: start, to: Timestamp(seconds: 20_000_000_000))
            }
        }
        await pool.close()
    }
}
