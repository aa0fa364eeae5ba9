internal import Logging
internal import Storage

/// The database at a service's start: waited for, then migrated.
enum DatabaseStart {
    /// Migrates, waiting up to `patience` for a server that is not there yet. Throws at once what waiting can't mend: a
    /// wrong password, an unknown database, a changed migration.
    static func migrate(_ pool: ConnectionPool, patience: Duration, log: Logger) async throws {
        let applied = try await pool.retrying(upTo: patience) { try await pool.migrate() }
        for migration in applied { log.info("schema migrated", metadata: ["migration": "\(migration.name)"]) }
    }
}
