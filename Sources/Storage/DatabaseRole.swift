/// A PostgreSQL role of one service, with the least rights that its work needs. The schema belongs to the role that
/// migrates; no service may change it.
public struct DatabaseRole: Sendable, Equatable {
    /// Rights on one table or view.
    struct Rights: OptionSet, Sendable, Hashable {
        let rawValue: Int
        static let select = Rights(rawValue: 1)
        static let insert = Rights(rawValue: 2)
        static let update = Rights(rawValue: 4)
        static let delete = Rights(rawValue: 8)
        /// For rows that never change once written.
        static let append: Rights = [.select, .insert]
        /// For rows that are replaced.
        static let upsert: Rights = [.select, .insert, .update]

        static let names: [(Rights, String)] = [
            (.select, "SELECT"), (.insert, "INSERT"), (.update, "UPDATE"), (.delete, "DELETE"),
        ]
    }

    /// The service's name, `feature-service`, or `operator`.
    public let service: String
    let rights: [String: Rights]
    /// Functions, with their argument types, that it may call beside those that everybody may.
    let functions: [String]
    /// Of tables whose rows are not all its own: the SQL condition of the rows that it may see and write.
    let ownRows: [String: String]

    /// `vomma_feature_service`.
    public var name: String { "vomma_" + service.map { $0 == "-" ? "_" : String($0) }.joined() }

    init(_ service: String, _ rights: [String: Rights], functions: [String] = [], ownRows: [String: String] = [:]) {
        self.service = service
        self.rights = rights.merging(["schema_migrations": .select]) { theirs, _ in theirs }
        self.functions = functions
        self.ownRows = ownRows
    }

    private static let makePartitions = "ensure_partition(text, integer, integer)"
    private static let applyRetention = "drop_expired()"

    /// Rows of `consumer_states` that belong to one service.
    private static func progress(of service: String) -> [String: String] {
        ["consumer_states": "consumer = \(Identifier.literal(service))"]
    }

    /// One a service that needs a database, and one for people and the command line.
    public static let all: [DatabaseRole] = [
        DatabaseRole(
            "market-gateway",
            [
                "instruments": .upsert, "instrument_rules": .upsert, "bars": .upsert, "book_tops": .append, "trades_public": .append,
                "funding_rates": .append, "open_interest": .append, "fear_greed": .append, "messages": .append,
                "option_quotes": .append, "iv_surfaces": .append, "streams": .upsert, "stream_events": .append,
            ], functions: [makePartitions, applyRetention]),
        DatabaseRole("heston-inverter-service", ["models": .select]),
        DatabaseRole(
            "regime-sentiment-service",
            [
                "messages": .select, "fear_greed": .select, "models": .select, "sentiment": .append,
                "regimes": .append,
            ]),
        DatabaseRole(
            "feature-service",
            [
                "streams": .select, "features": .append, "feature_schemas": .append, "normalisers": .select,
                "heston_fits": .append, "consumer_states": [.upsert, .delete],
            ], functions: [makePartitions], ownRows: progress(of: "feature-service")),
        DatabaseRole(
            "policy-service",
            [
                "streams": .select, "models": .select, "normalisers": .select, "feature_schemas": .select,
                "decisions": .append, "consumer_states": .upsert,
            ], functions: [makePartitions], ownRows: progress(of: "policy-service")),
        DatabaseRole(
            "execution-service",
            [
                "streams": .select, "instrument_rules": .select, "orders": .upsert, "order_events": .append,
                "fills": .append, "positions": .upsert, "equity": .append, "risk_events": .append,
                "settings": .upsert, "consumer_states": .upsert,
            ], functions: [makePartitions],
            ownRows: progress(of: "execution-service").merging(["settings": "key LIKE 'kill\\_switch/%'"]) { $1 }),
        DatabaseRole(
            "trainer",
            [
                "jobs": .upsert, "job_metrics": .upsert, "models": .upsert, "normalisers": .append,
                "trials": .append, "final_block_reads": .append, "acceptances": .append, "promotions": .append,
                "feature_schemas": .select, "features": .select, "bars": .select, "instrument_rules": .select,
                "streams": .select, "iv_surfaces": .select,
            ]),
        // Reads everything, and changes settings: reports, psql, retention.
        DatabaseRole(
            "operator",
            Dictionary(uniqueKeysWithValues: readable.map { ($0, $0 == "settings" ? .upsert : .select) }),
            functions: [applyRetention], ownRows: ["settings": "true", "consumer_states": "true"]),
    ]

    /// All tables and views of the schema; a test compares them with the database.
    static let readable = [
        "acceptances", "bars", "book_tops", "consumer_states", "daily_performance", "decisions", "equity",
        "fear_greed", "feature_schemas", "features", "fills", "final_block_reads", "funding_rates", "heston_fits",
        "instrument_rules", "instruments", "iv_surfaces", "job_metrics", "jobs", "latency_per_hop", "messages", "models", "normalisers",
        "open_interest", "option_quotes", "order_events", "orders", "positions", "promotions", "regimes",
        "risk_events", "sentiment", "settings", "stream_events", "streams", "trade_fills", "trades", "trades_public",
        "trials",
    ]

    public static func named(_ service: String) -> DatabaseRole? { all.first { $0.service == service } }
}

extension ConnectionPool {
    /// Makes the services' roles, or brings their rights and passwords up to date; the schema must be. For the role
    /// that owns the schema, which needs the right to make roles. In one transaction: services that run keep running.
    ///
    /// Passwords reach the server as SCRAM verifiers, so that no log of it can hold one. Throws `conflict` where a role
    /// of that name has more rights than a service should (superuser), and `notPermitted` without the right to do this.
    public func applyRoles(_ passwords: [(role: DatabaseRole, password: String)]) async throws {
        try await withTransaction { connection in
            try connection.locked("roles") { () throws(StorageError) in
                try connection.grant(passwords)
            }
        }
    }
}

extension Connection {
    fileprivate func grant(_ passwords: [(role: DatabaseRole, password: String)]) throws(StorageError) {
        let database = try queryOne("SELECT current_database()") { (row) throws(StorageError) in
            try Identifier(row.get(0, as: String.self))
        }
        let relations = try query(
            """
            SELECT relname FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition ORDER BY 1
            """
        ) { (row) throws(StorageError) in try Identifier(row.get(0, as: String.self)).description }
        for table in Set(passwords.flatMap(\.role.ownRows.keys)).sorted() {
            try script("ALTER TABLE \(try Identifier(table)) ENABLE ROW LEVEL SECURITY")
        }
        try script("REVOKE ALL ON DATABASE \(database) FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        for (role, password) in passwords {
            let name = try Identifier(role.name)
            let isSuper = try queryOptional("SELECT rolsuper FROM pg_roles WHERE rolname = $1", [role.name]) {
                (row) throws(StorageError) in try row.get(0, as: Bool.self)
            }
            guard isSuper != true else { throw .conflict("role \(role.name), a superuser,") }
            if isSuper == nil { try script("CREATE ROLE \(name)") }
            let verifier = try usableLink().passwordVerifier(role: role.name, password: password)
            try script("ALTER ROLE \(name) LOGIN PASSWORD \(Identifier.literal(verifier))")
            try script("GRANT CONNECT ON DATABASE \(database) TO \(name)")
            try script("REVOKE ALL ON \(relations.joined(separator: ", ")) FROM \(name)")
            for (table, rights) in role.rights.sorted(by: { $0.key < $1.key }) {
                let words = DatabaseRole.Rights.names.filter { rights.contains($0.0) }.map(\.1)
                try script("GRANT \(words.joined(separator: ", ")) ON \(try Identifier(table)) TO \(name)")
            }
            for function in role.functions { try script("GRANT EXECUTE ON FUNCTION \(function) TO \(name)") }
            for (table, condition) in role.ownRows.sorted(by: { $0.key < $1.key }) {
                let table = try Identifier(table)
                try script(
                    """
                    DROP POLICY IF EXISTS \(name) ON \(table);
                    CREATE POLICY \(name) ON \(table) TO \(name) USING (\(condition))
                    """)
            }
        }
    }
}
