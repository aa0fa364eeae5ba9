/// How far a consumer of a stream has come, with its state: table `consumer_states`; and the table `settings`.
public enum ConsumerRepository {
    public struct Progress: Sendable, Equatable {
        /// The last event whose effects are stored.
        public var sequence: Int64
        /// What the consumer needs to go on from there.
        public var state: [UInt8]

        public init(sequence: Int64, state: [UInt8]) {
            self.sequence = sequence
            self.state = state
        }
    }

    /// `nil` for a consumer that has never saved: begin at sequence 1.
    public static func progress(
        of consumer: String, stream: String, on connection: isolated Connection
    ) throws(StorageError) -> Progress? {
        try connection.queryOptional(
            "SELECT sequence, state FROM consumer_states WHERE consumer = $1 AND stream = $2", [consumer, stream]
        ) { (row) throws(StorageError) in Progress(sequence: try row.get(0), state: try row.get(1)) }
    }

    /// Saves progress; call it in the transaction that stores the rows derived from those events. Throws `fenced` when
    /// a
    /// later state is stored already: another instance consumes the stream, and this one must stop.
    public static func save(
        _ progress: Progress, consumer: String, stream: String, on connection: isolated Connection
    ) throws(StorageError) {
        let saved = try connection.execute(
            """
            INSERT INTO consumer_states (consumer, stream, sequence, state) VALUES ($1, $2, $3, $4)
            ON CONFLICT (consumer, stream) DO UPDATE
            SET sequence = excluded.sequence, state = excluded.state, updated_at = now()
            WHERE consumer_states.sequence <= excluded.sequence
            """, [consumer, stream, progress.sequence, progress.state])
        guard saved == 1 else { throw .fenced("consumer \(consumer) of \(stream)") }
    }

    /// Forgets a consumer's progress: it begins anew.
    public static func reset(
        _ consumer: String, stream: String, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.execute("DELETE FROM consumer_states WHERE consumer = $1 AND stream = $2", [consumer, stream])
    }
}

/// Named JSON values: table `settings`.
public enum SettingsRepository {
    public static func value(_ key: String, on connection: isolated Connection) throws(StorageError) -> JSON? {
        try connection.queryOptional("SELECT value FROM settings WHERE key = $1", [key]) { (row) throws(StorageError) in
            try row.get(0)
        }
    }

    public static func set(_ key: String, _ value: JSON, on connection: isolated Connection) throws(StorageError) {
        try connection.execute(
            """
            INSERT INTO settings (key, value) VALUES ($1, $2)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now()
            """, [key, value])
    }

    /// All settings, by key.
    public static func all(on connection: isolated Connection) throws(StorageError) -> [(key: String, value: JSON)] {
        try connection.query("SELECT key, value FROM settings ORDER BY key") { (row) throws(StorageError) in
            (try row.get(0), try row.get(1))
        }
    }
}
