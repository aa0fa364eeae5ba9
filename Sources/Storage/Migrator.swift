internal import Logging

/// One numbered step of the schema: a plain SQL file of `Migrations/`, never edited once merged.
public struct Migration: Sendable, Equatable {
    public let number: Int
    /// The file's name without number and extension: `initial`.
    public let name: String
    public let sql: String

    public init(number: Int, name: String, sql: String) {
        self.number = number
        self.name = name
        self.sql = sql
    }

    /// Those built into this binary, in order. A new file is added here; a test compares this list with the folder.
    public static let all: [Migration] = [
        Migration(number: 1, name: "initial", bytes: PackageResources._001_initial_sql),
        Migration(number: 2, name: "retention", bytes: PackageResources._002_retention_sql),
        Migration(number: 3, name: "acceptance", bytes: PackageResources._003_acceptance_sql),
    ]

    private init(number: Int, name: String, bytes: [UInt8]) {
        self.init(number: number, name: name, sql: String(decoding: bytes, as: UTF8.self))
    }
}

extension ConnectionPool {
    /// Brings the schema up to `migrations`: applies those that are missing, in order, each in a transaction of its
    /// own,
    /// and returns them. Safe when several processes start at once: the first does the work, the others wait for it.
    ///
    /// Throws `migrationChanged` when an applied one differs from ours, `schemaNewer` when the database has one that we
    /// lack; neither changes anything.
    @discardableResult
    public func migrate(_ migrations: [Migration] = Migration.all) async throws -> [Migration] {
        for (index, migration) in migrations.enumerated() where migration.number != index + 1 {
            throw StorageError.badMigrationFiles("number \(migration.number) stands at place \(index + 1)")
        }
        return try await withConnection { connection in
            // A role without the right to change the schema can start on one that is up to date.
            if try connection.pending(migrations).isEmpty { return [] }
            var applied: [Migration] = []
            try connection.withoutStatementTimeout { () throws(StorageError) in
                for _ in migrations {
                    let step = try connection.locked("schema_migrations") { () throws(StorageError) in
                        try connection.applyNext(of: migrations)
                    }
                    guard let step else { return }
                    applied.append(step)
                }
            }
            return applied
        }
    }
}

extension Connection {
    /// What has not been applied yet; throws if what has been is not ours.
    fileprivate func pending(_ migrations: [Migration]) throws(StorageError) -> ArraySlice<Migration> {
        let exists = try queryOne("SELECT to_regclass('schema_migrations') IS NOT NULL") {
            (row) throws(StorageError) in try row.get(0, as: Bool.self)
        }
        guard exists else { return migrations[...] }
        let applied = try query("SELECT number, name, checksum FROM schema_migrations ORDER BY number") {
            (row) throws(StorageError) in
            (try row.get(0, as: Int.self), try row.get(1, as: String.self), try row.get(2, as: [UInt8].self))
        }
        for (index, (number, name, checksum)) in applied.enumerated() {
            guard index < migrations.count else { throw .schemaNewer(number: number, name: name) }
            let ours = migrations[index]
            guard number == ours.number, try self.checksum(ours) == checksum else {
                throw .migrationChanged(number: number, name: name)
            }
        }
        return migrations[applied.count...]
    }

    /// The first missing one, applied under the caller's lock; `nil` when none is missing.
    fileprivate func applyNext(of migrations: [Migration]) throws(StorageError) -> Migration? {
        try script(
            """
            CREATE TABLE IF NOT EXISTS schema_migrations (
                number     bigint PRIMARY KEY,
                name       text NOT NULL,
                checksum   bytea NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )
            """)
        guard let next = try pending(migrations).first else { return nil }
        try script(next.sql)
        try execute(
            "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
            [next.number, next.name, try checksum(next)])
        return next
    }

    /// SHA-256 of the text, by the server.
    private func checksum(_ migration: Migration) throws(StorageError) -> [UInt8] {
        try queryOne("SELECT sha256($1)", [Array(migration.sql.utf8)]) { (row) throws(StorageError) in try row.get(0) }
    }
}
