import Storage
import Testing

/// Everything that a stream's replay left in the database, as text and in order, without what may differ between two
/// replays of the same events: names of stream and account (the orders' ids are made of them: they are numbered
/// instead), and wall-clock stamps.
struct Results: Sendable {
    /// Rows by table.
    var rows: [String: [String]] = [:]

    private static let numbered = """
        WITH numbered AS (
            SELECT *, row_number() OVER (ORDER BY decision_time, symbol, sequence, side) AS place
            FROM orders WHERE account = $1)
        """

    /// Numbers go through their text form, which is exact and distinguishes what `=` does not.
    private static let queries: [(table: String, sql: String)] = [
        (
            "features",
            """
            SELECT ROW(symbol, bar_time, schema_version, sequence, close::text, values::text, valid)::text
            FROM features WHERE stream = $1 ORDER BY sequence, symbol
            """
        ),
        (
            "decisions",
            """
            SELECT ROW(symbol, bar_time, sequence, model_name, model_version, target_exposure::text, value::text,
                       confidence::text, reasons::text, abstained)::text
            FROM decisions WHERE stream = $1 ORDER BY sequence, symbol
            """
        ),
        (
            "orders",
            numbered + """
                SELECT ROW(place, symbol, side, kind, quantity, limit_price, state, decision_time, sequence, reason,
                           filled_quantity)::text
                FROM numbered ORDER BY place
                """
        ),
        (
            "order_events",
            numbered + """
                SELECT ROW(place, e.number, e.event_time, e.state, e.detail)::text
                FROM numbered JOIN order_events e USING (account, client_order_id) ORDER BY place, e.number
                """
        ),
        (
            "fills",
            numbered + """
                SELECT ROW(place, f.number, f.symbol, f.side, f.event_time, f.price, f.quantity, f.fee,
                           f.realised_pnl)::text
                FROM numbered JOIN fills f USING (account, client_order_id) ORDER BY place, f.number
                """
        ),
        (
            "positions",
            """
            SELECT ROW(symbol, quantity, average_price, realised_pnl, fees, event_time)::text
            FROM positions WHERE account = $1 ORDER BY symbol
            """
        ),
        (
            "equity",
            """
            SELECT ROW(event_time, sequence, cash::text, equity::text, exposure::text, price::text)::text
            FROM equity WHERE account = $1 ORDER BY sequence
            """
        ),
        (
            "risk_events",
            """
            SELECT ROW(symbol, event_time, rule, detail)::text FROM risk_events WHERE account = $1
            ORDER BY event_time, symbol, rule
            """
        ),
    ]

    init(of stream: String, _ pool: ConnectionPool) async throws {
        for (table, sql) in Self.queries {
            rows[table] = try await pool.withConnection { connection in
                try connection.query(sql, [stream]) { (row) throws(StorageError) in try row.get(0, as: String.self) }
            }
        }
    }

    func count(_ table: String) -> Int { rows[table]?.count ?? 0 }

    /// Records an issue for every table whose rows are not the reference's.
    func expectEqual(to reference: Results, sourceLocation: SourceLocation = #_sourceLocation) {
        for (table, _) in Self.queries {
            let (mine, theirs) = (rows[table] ?? [], reference.rows[table] ?? [])
            if mine == theirs { continue }
            let place = zip(mine, theirs).enumerated().first { $1.0 != $1.1 }?.offset ?? min(mine.count, theirs.count)
            func row(_ rows: [String]) -> String { rows.indices.contains(place) ? rows[place] : "none" }
            let differing = zip(mine, theirs).count { $0 != $1 }
            Issue.record(
                """
                \(table): \(mine.count) rows, \(theirs.count) in the undisturbed run, \(differing) differ; at \(place):
                \(row(mine))
                \(row(theirs))
                """, sourceLocation: sourceLocation)
        }
    }
}
