/// How long time series are kept: the setting `retention`, days by table. What is not named there is kept for ever.
public enum Retention {
    /// A whole month of a table that may go.
    public struct Expired: Sendable, Equatable {
        public var table: String
        public var partition: String
    }

    static let key = "retention"

    /// Days that are kept, by table.
    public static func days(on connection: isolated Connection) throws(StorageError) -> [String: Double] {
        let rows = try connection.query(
            """
            SELECT t.key, t.value::float8 FROM settings s, jsonb_each_text(s.value) t
            WHERE s.key = $1 AND jsonb_typeof(s.value) = 'object' AND jsonb_typeof(s.value -> t.key) = 'number'
            """, [key]
        ) { (row) throws(StorageError) in (try row.get(0, as: String.self), try row.get(1, as: Double.self)) }
        return Dictionary(rows) { $1 }
    }

    /// Tables that can be named: those in monthly partitions, and the events of closed streams.
    public static func tables(on connection: isolated Connection) throws(StorageError) -> [String] {
        try connection.query(
            """
            SELECT c.relname::text FROM pg_partitioned_table t JOIN pg_class c ON c.oid = t.partrelid
            WHERE c.relnamespace = 'public'::regnamespace UNION ALL SELECT 'stream_events' ORDER BY 1
            """
        ) { (row) throws(StorageError) in try row.get(0) }
    }

    /// Keeps `days` of a table from now on; `nil` keeps everything. Throws `encoding` for less than one day, more than
    /// 36,500, or a table that can't be named.
    public static func keep(
        _ days: Int?, of table: String, on connection: isolated Connection
    ) throws(StorageError) {
        guard try tables(on: connection).contains(table) else {
            throw .encoding(column: "retention", reason: "\(table) is not kept by months")
        }
        if let days {
            guard (1...36_500).contains(days) else {
                throw .encoding(column: "retention", reason: "1 to 36500 days")
            }
            try connection.execute(
                """
                INSERT INTO settings (key, value) VALUES ($1, jsonb_build_object($2::text, $3::int8))
                ON CONFLICT (key) DO UPDATE SET value = settings.value || excluded.value, updated_at = now()
                """, [key, table, days])
        } else {
            try connection.execute(
                "UPDATE settings SET value = value - $2::text, updated_at = now() WHERE key = $1", [key, table])
        }
    }

    /// What `applyRetention` would drop now, the oldest first. Streams that are not closed, and those that a waiting or
    /// running job names, protect all months from one before their beginning on.
    public static func expired(on connection: isolated Connection) throws(StorageError) -> [Expired] {
        try connection.query("SELECT parent, partition FROM expired_partitions()") { (row) throws(StorageError) in
            Expired(table: try row.get(0), partition: try row.get(1))
        }
    }
}

extension ConnectionPool {
    /// Drops what retention no longer keeps, one step a transaction, so that nothing is locked for long; returns what
    /// has gone. Throws `server` (55P03) when readers or writers did not make way within two seconds: try again later.
    public func applyRetention() async throws -> [String] {
        var dropped: [String] = []
        while true {
            let step = try await withConnection { connection in
                try connection.queryOne("SELECT drop_expired()") { (row) throws(StorageError) in
                    try row.get(0, as: String?.self)
                }
            }
            guard let step else { return dropped }
            dropped.append(step)
        }
    }
}
