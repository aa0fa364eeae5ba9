internal import Logging
internal import Storage

/// The database at a service's start: waited for, then migrated.
enum DatabaseStart {
    /// Migrates, waiting up to `patience` for a server that is not there yet, or, where our role may not change the
    /// schema, for its owner to bring it up to date. Throws at once what waiting can't mend: a wrong password, an
    /// unknown database, a changed migration.
    static func migrate(_ pool: ConnectionPool, patience: Duration, log: Logger) async throws {
        let deadline = ContinuousClock.now + patience
        var applied: [Migration] = []
        while true {
            do {
                applied = try await pool.retrying(upTo: patience) { try await pool.migrate() }
                break
            } catch StorageError.notPermitted(let fault) {
                guard ContinuousClock.now < deadline else { throw StorageError.notPermitted(fault) }
                log.info("waiting for the schema's owner to migrate it")
                try await Task.sleep(for: .seconds(1))
            }
        }
        for migration in applied { log.info("schema migrated", metadata: ["migration": "\(migration.name)"]) }
    }
}
