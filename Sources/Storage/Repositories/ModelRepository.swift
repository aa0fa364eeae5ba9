public import MarketData

/// Trained models and which of them is live: table `models`.
public enum ModelRepository {
    public enum Stage: String, Sendable { case candidate, accepted, live, retired }

    /// A model without its checkpoint's bytes.
    public struct Model: Sendable, Equatable {
        public var name: String
        /// From 1, counted within the name.
        public var version: Int64
        public var kind: String
        public var stage: Stage
        /// Of the checkpoint, in hexadecimal.
        public var sha256: String
        public var schemaVersion: String?
        public var normaliserID: String?
        public var metrics: JSON
        public var lineage: JSON
        public var jobID: Int64?
        public var createdAt: Timestamp
        public var promotedAt: Timestamp?
    }

    /// The channel that is told a model's name when another version of it becomes live.
    public static let channel = "models"

    /// Stores a checkpoint (safetensors) as the next version of its name, stage candidate, and returns it. For one job
    /// and
    /// name there is one model: a repeated call returns the stored one, and throws `conflict` if its bytes differ. The
    /// server computes the hash.
    public static func register(
        name: String, kind: String, checkpoint: [UInt8], schemaVersion: String? = nil, normaliserID: String? = nil,
        metrics: JSON = "{}", lineage: JSON = "{}", jobID: Int64? = nil, on connection: isolated Connection
    ) throws(StorageError) -> Model {
        try connection.locked("models of \(name)") { () throws(StorageError) in
            if let jobID {
                let known = try connection.queryOptional(
                    """
                    SELECT \(columns), sha256 = encode(sha256($3), 'hex') FROM models WHERE job_id = $1 AND name = $2
                    """, [jobID, name, checkpoint]
                ) { (row) throws(StorageError) in (try decode(row), try row.get(12, as: Bool.self)) }
                if let (model, isSame) = known {
                    guard isSame else { throw .conflict("model \(name) of job \(jobID)") }
                    return model
                }
            }
            return try connection.queryOne(
                """
                INSERT INTO models (name, version, kind, checkpoint, sha256, schema_version, normaliser_id, metrics,
                lineage,
                                    job_id)
                SELECT $1, coalesce(max(version), 0) + 1, $2, $3, encode(sha256($3), 'hex'), $4, $5, $6, $7, $8
                FROM models WHERE name = $1
                RETURNING \(columns)
                """, [name, kind, checkpoint, schemaVersion, normaliserID, metrics, lineage, jobID], decode: decode)
        }
    }

    /// One line of the ledger of promotions: which version became live when, and why. Lines are never changed.
    public struct Promotion: Sendable, Equatable {
        public enum Action: String, Sendable { case promote, rollback }

        public var name: String
        public var version: Int64
        /// Live before it; `nil` for the first.
        public var previousVersion: Int64?
        public var action: Action
        /// Whether an acceptance of the version had passed.
        public var isAccepted: Bool
        public var reason: String
        public var time: Timestamp
    }

    /// Makes a version the live one of its name, retires the one that was, writes both into the ledger and tells the
    /// channel. Nothing happens to a version that is live already. Throws `unexpectedRowCount` for an unknown version.
    public static func promote(
        _ name: String, version: Int64, reason: String = "", on connection: isolated Connection
    ) throws(StorageError) {
        try connection.locked("models of \(name)") { () throws(StorageError) in
            try makeLive(name, version, .promote, reason, on: connection)
        }
    }

    /// Makes live again what was live before the live version, and returns it; again and again, back to the first.
    /// `nil`, and no change, where nothing was live before.
    public static func rollBack(
        _ name: String, reason: String = "", on connection: isolated Connection
    ) throws(StorageError) -> Model? {
        try connection.locked("models of \(name)") { () throws(StorageError) in
            // What a promotion puts on top, a rollback takes off.
            var versions: [Int64] = []
            for line in try promotions(of: name, on: connection) {
                switch line.action {
                case .promote: versions.append(line.version)
                case .rollback: versions.removeLast()
                }
            }
            guard let previous = versions.dropLast().last else { return nil }
            try makeLive(name, previous, .rollback, reason, on: connection)
            return try live(name, on: connection)
        }
    }

    /// The ledger of a name, the oldest line first.
    public static func promotions(
        of name: String, on connection: isolated Connection
    ) throws(StorageError) -> [Promotion] {
        try connection.query(
            """
            SELECT name, version, previous_version, action, accepted, reason, promoted_at FROM promotions
            WHERE name = $1 ORDER BY promotion_id
            """, [name]
        ) { (row) throws(StorageError) in
            guard let action = Promotion.Action(rawValue: try row.get(3)) else {
                throw .decoding(column: "action", reason: "unknown action")
            }
            return Promotion(
                name: try row.get(0), version: try row.get(1), previousVersion: try row.get(2), action: action,
                isAccepted: try row.get(4), reason: try row.get(5), time: try row.get(6))
        }
    }

    private static func makeLive(
        _ name: String, _ version: Int64, _ action: Promotion.Action, _ reason: String,
        on connection: isolated Connection
    ) throws(StorageError) {
        let stage = try connection.queryOne(
            "SELECT stage FROM models WHERE name = $1 AND version = $2", [name, version]
        ) { (row) throws(StorageError) in try row.get(0, as: String.self) }
        guard stage != Stage.live.rawValue else { return }
        let previous = try live(name, on: connection)?.version
        try connection.execute("UPDATE models SET stage = 'retired' WHERE name = $1 AND stage = 'live'", [name])
        try connection.execute(
            "UPDATE models SET stage = 'live', promoted_at = clock_timestamp() WHERE name = $1 AND version = $2",
            [name, version])
        try connection.execute(
            """
            INSERT INTO promotions (name, version, previous_version, action, accepted, reason)
            SELECT $1, $2, $3, $4, EXISTS (SELECT FROM acceptances WHERE name = $1 AND version = $2 AND passed), $5
            """, [name, version, previous, action.rawValue, reason])
        try connection.notify(channel, name)
    }

    /// The live version of a name.
    public static func live(_ name: String, on connection: isolated Connection) throws(StorageError) -> Model? {
        try connection.queryOptional(
            "SELECT \(columns) FROM models WHERE name = $1 AND stage = 'live'", [name], decode: decode)
    }

    /// The versions of a name, the newest first.
    public static func models(_ name: String, on connection: isolated Connection) throws(StorageError) -> [Model] {
        try connection.query(
            "SELECT \(columns) FROM models WHERE name = $1 ORDER BY version DESC", [name], decode: decode)
    }

    /// A version's bytes; `nil` for an unknown one. Throws `decoding` when they are not those of its hash.
    public static func checkpoint(
        _ name: String, version: Int64, on connection: isolated Connection
    ) throws(StorageError) -> [UInt8]? {
        try connection.queryOptional(
            """
            SELECT checkpoint, sha256 = encode(sha256(checkpoint), 'hex') FROM models
            WHERE name = $1 AND version = $2
            """,
            [name, version]
        ) { (row) throws(StorageError) in
            guard try row.get(1, as: Bool.self) else {
                throw .decoding(column: "checkpoint", reason: "not the bytes of its hash")
            }
            return try row.get(0)
        }
    }

    private static let columns = """
        name, version, kind, stage, sha256, schema_version, normaliser_id, metrics, lineage, job_id, created_at,
        promoted_at
        """

    private static func decode(_ row: Row) throws(StorageError) -> Model {
        guard let stage = Stage(rawValue: try row.get(3)) else {
            throw .decoding(column: "stage", reason: "unknown stage")
        }
        return Model(
            name: try row.get(0), version: try row.get(1), kind: try row.get(2), stage: stage, sha256: try row.get(4),
            schemaVersion: try row.get(5), normaliserID: try row.get(6), metrics: try row.get(7),
            lineage: try row.get(8),
            jobID: try row.get(9), createdAt: try row.get(10), promotedAt: try row.get(11))
    }
}
