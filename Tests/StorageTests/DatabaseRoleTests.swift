import MarketData
import TestKit
import Testing

@testable import Storage

#if canImport(Glibc)
    import Glibc
#endif

/// Each service's role can do its work, and is refused the rest. Roles belong to the whole server, so one
/// test after the other.
@Suite(.serialized) struct DatabaseRoleTests {
    private struct Stage {
        let owner: ConnectionPool
        let folder: String

        init(_ name: String) async throws {
            owner = ConnectionPool(try await TestCluster.shared.database())
            folder = "/tmp/vomma-test-credentials-\(getpid())-\(name)"
            try await owner.applyRoles(RoleCredentials(folder: folder))
        }

        func pool(_ service: String) throws -> ConnectionPool {
            let role = try #require(DatabaseRole.named(service))
            let file = RoleCredentials(folder: folder).passwordFile(of: role)
            return ConnectionPool(
                try StorageConfiguration(url: owner.configuration.url(for: role, passwordFile: file)))
        }

        func end() async {
            await owner.close()
            for role in DatabaseRole.all {
                FileSystem.remove(RoleCredentials(folder: folder).passwordFile(of: role))
                unsafe _ = rmdir("\(folder)/\(role.service)")
            }
            unsafe _ = rmdir(folder)
        }
    }

    @Test("passwords are made once, private, and let their role in") func credentials() async throws {
        let stage = try await Stage("passwords")
        let files = RoleCredentials(folder: stage.folder)
        let first = try files.prepare()
        try await stage.owner.applyRoles(files)
        #expect(try files.prepare().map(\.password) == first.map(\.password))
        #expect(Set(first.map(\.password)).count == DatabaseRole.all.count)
        let path = files.passwordFile(of: try #require(DatabaseRole.named("trainer")))
        #expect(FileSystem.status(path)?.mode == 0o600)
        let pool = try stage.pool("trainer")
        let who = try await pool.withConnection { connection in
            try connection.queryOne("SELECT current_user::text") { (row) throws(StorageError) in
                try row.get(0, as: String.self)
            }
        }
        #expect(who == "vomma_trainer")
        await pool.close()
        // What the server keeps is a verifier.
        let kept = try await stage.owner.withConnection { connection in
            try connection.queryOne("SELECT rolpassword FROM pg_authid WHERE rolname = 'vomma_trainer'") {
                (row) throws(StorageError) in try row.get(0, as: String.self)
            }
        }
        #expect(kept.hasPrefix("SCRAM-SHA-256$"))
        try FileSystem.write("nonsense", to: path)
        #expect(throws: StorageError.cluster("\(path) holds no password of vomma_trainer")) { try files.prepare() }
        await stage.end()
    }

    @Test("the rights in the database are those in the list, for every role, table and right") func matrix()
        async throws
    {
        let stage = try await Stage("matrix")
        try await stage.owner.withConnection { connection in
            let tables = try connection.query(
                """
                SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
                AND relkind IN ('r', 'p', 'v') AND NOT relispartition AND relname <> 'schema_migrations'
                ORDER BY relname::text COLLATE "C"
                """
            ) { (row) throws(StorageError) in try row.get(0, as: String.self) }
            #expect(tables == DatabaseRole.readable)
            for role in DatabaseRole.all {
                for table in tables {
                    for (right, word) in DatabaseRole.Rights.names {
                        let isGranted = try connection.queryOne(
                            "SELECT has_table_privilege($1::text, $2::text, $3::text)", [role.name, table, word]
                        ) { (row) throws(StorageError) in try row.get(0, as: Bool.self) }
                        #expect(isGranted == (role.rights[table]?.contains(right) ?? false), "\(role.name) \(table)")
                    }
                }
                let mayCreate = try connection.queryOne(
                    """
                    SELECT has_schema_privilege($1::text, 'public', 'CREATE')
                        OR has_database_privilege($1::text, current_database(), 'CREATE')
                    """, [role.name]
                ) { (row) throws(StorageError) in try row.get(0, as: Bool.self) }
                #expect(!mayCreate, "\(role.name)")
            }
        }
        await stage.end()
    }

    @Test("a service starts on an up-to-date schema, makes its partitions, and is refused the rest") func work()
        async throws
    {
        let stage = try await Stage("work")
        let start = Timestamp(seconds: 1_700_000_000)
        let features = try stage.pool("feature-service")
        #expect(try await features.migrate().isEmpty)
        try await features.withConnection { connection in
            try FeatureRepository.putSchema("s1", names: ["a"], on: connection)
            let vector = FeatureRepository.Vector(
                symbol: "A", barTime: start, sequence: 1, close: 1, values: [1], valid: [1])
            #expect(try FeatureRepository.insert([vector], stream: "x", schema: "s1", on: connection) == 1)
            try ConsumerRepository.save(
                .init(sequence: 1, state: []), consumer: "feature-service", stream: "x", on: connection)
            // Another's rows, another's table, another's partition, the schema.
            let attempts: [@Sendable (isolated Connection) throws -> Void] = [
                {
                    try ConsumerRepository.save(
                        .init(sequence: 1, state: []), consumer: "execution-service", stream: "x", on: $0)
                },
                { try TradingRepository.insert([TradingRepository.Fill](), account: "x", on: $0) },
                { _ = try TradingRepository.orders(account: "x", on: $0) },
                { try $0.execute("UPDATE features SET close = 2") },
                { try $0.ensurePartitions("decisions", from: start, to: start) },
                { try $0.command("CREATE TABLE mine (a bigint)") },
                { try $0.command("DROP TABLE features") },
                { _ = try SettingsRepository.all(on: $0) },
            ]
            for attempt in attempts {
                let refusal = #expect(throws: StorageError.self) { try attempt(connection) }
                #expect(refusal?.sqlState == "42501", "\(String(describing: refusal))")
            }
            let nowhere = #expect(throws: StorageError.self) {
                try connection.ensurePartitions("streams", from: start, to: start)
            }
            #expect(nowhere?.sqlState == "42P01")
        }
        await features.close()

        let execution = try stage.pool("execution-service")
        try await execution.withConnection { connection in
            try SettingsRepository.set("kill_switch/x", "{}", on: connection)
            let refusal = #expect(throws: StorageError.self) {
                try SettingsRepository.set("retention", "{}", on: connection)
            }
            #expect(refusal?.sqlState == "42501")
            // Not even seen.
            #expect(try ConsumerRepository.progress(of: "feature-service", stream: "x", on: connection) == nil)
        }
        await execution.close()

        let people = try stage.pool("operator")
        try await people.withConnection { connection in
            try SettingsRepository.set("retention", "{\"features\": 30}", on: connection)
            #expect(try SettingsRepository.all(on: connection).map(\.key) == ["kill_switch/x", "retention"])
            #expect(try ConsumerRepository.progress(of: "feature-service", stream: "x", on: connection) != nil)
            let refusal = #expect(throws: StorageError.self) { try connection.execute("DELETE FROM fills") }
            #expect(refusal?.sqlState == "42501")
        }
        await people.close()
        await stage.end()
    }

    @Test("a dump, restored into an empty database, has the same rows, rights and rules") func backup() async throws {
        let stage = try await Stage("backup")
        let start = Timestamp(seconds: 1_700_000_000)
        try await stage.owner.withConnection { connection in
            let bars = (0..<2000).map { index in
                Bar(
                    openTime: start + .minutes(Int64(index) * 60), interval: .minutes(1), open: 1, high: 3, low: 0.1,
                    close: 1.0 / Double(index + 1), volume: 1)
            }
            try BarRepository.upsert(bars, exchange: "x", symbol: "A", on: connection)
            try EventRepository.create(
                .init(
                    name: "s", exchange: "x", symbols: ["A", "\u{e4}'\\"], currencies: [], from: start, to: start,
                    tradedSymbols: [], tradeFrom: start), on: connection)
            try EventRepository.append(
                [.init(sequence: 1, knownAt: start, payload: [0, 255, 10])], to: "s", on: connection)
            _ = try ModelRepository.register(
                name: "m", kind: "policy.ppo", checkpoint: [UInt8](repeating: 7, count: 10_000), on: connection)
            try SettingsRepository.set("kill_switch/s", "{\"mode\": \"freeze\"}", on: connection)
        }
        let file = stage.folder + "/dump"
        let empty = try await TestCluster.shared.database(migrated: false)
        for arguments in [
            ["pg_dump", "-Fc", "-f", file, stage.owner.configuration.url],
            ["pg_restore", "--exit-on-error", "--no-owner", "-d", empty.url, file],
        ] {
            let outcome = try Program.run(["/usr/bin/env"] + arguments)
            #expect(outcome.status == 0, "\(arguments[0]): \(outcome.output)")
        }
        FileSystem.remove(file)
        let restored = ConnectionPool(empty)
        func content(_ pool: ConnectionPool) async throws -> [String] {
            try await pool.withConnection { connection in
                try (DatabaseRole.readable + ["schema_migrations"]).map { table in
                    let table = try Identifier(table)
                    return try connection.queryOne(
                        "SELECT count(*) || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM \(table) t"
                    ) { (row) throws(StorageError) in "\(table) " + (try row.get(0, as: String.self)) }
                }
            }
        }
        let before = try await content(stage.owner)
        #expect(try await content(restored) == before)
        #expect(before.contains { $0.hasPrefix("\"bars\" 2000") })
        // It goes on from there: the schema is known, partitions are, and the roles' rules hold.
        #expect(try await restored.migrate().isEmpty)
        try await restored.applyRoles(RoleCredentials(folder: stage.folder))
        let trainer = try #require(DatabaseRole.named("trainer"))
        let path = RoleCredentials(folder: stage.folder).passwordFile(of: trainer)
        let pool = ConnectionPool(try StorageConfiguration(url: empty.url(for: trainer, passwordFile: path)))
        let live = try await pool.withConnection { try ModelRepository.models("m", on: $0).count }
        #expect(live == 1)
        await pool.close()
        await restored.close()
        await stage.end()
    }

    @Test("a superuser is no service") func superuser() async throws {
        let owner = ConnectionPool(try await TestCluster.shared.database())
        let role = DatabaseRole("wrong", [:])
        try await owner.withConnection { try $0.command("CREATE ROLE vomma_wrong SUPERUSER") }
        await #expect(throws: StorageError.conflict("role vomma_wrong, a superuser,")) {
            try await owner.applyRoles([(role, "x")])
        }
        try await owner.withConnection { try $0.command("DROP ROLE vomma_wrong") }
        await owner.close()
    }
}
