internal import Storage

/// The ledger's invariants, checked on what is stored rather than on what a session remembers.
struct Audit {
    /// In words, in the order of the checks.
    static let invariants = [
        "every fill belongs to an order, and no order is filled beyond its quantity",
        "an order is filled when, and only when, its fills add up to its quantity",
        "no order's events skip a number",
        "positions equal the sum of their fills",
        "at the last point: equity = cash + position × price",
    ]

    var orders = 0
    var fills = 0
    var equityPoints = 0
    /// The first invariant that does not hold, with the offender.
    var fault: String?

    init(account: String, on connection: isolated Connection) throws(StorageError) {
        func count(_ table: Identifier) throws(StorageError) -> Int {
            try connection.queryOne("SELECT count(*) FROM \(table) WHERE account = $1", [account]) {
                (row) throws(StorageError) in Int(try row.get(0, as: Int64.self))
            }
        }
        orders = try count(Identifier("orders"))
        fills = try count(Identifier("fills"))
        equityPoints = try count(Identifier("equity"))
        let checks = [
            """
            SELECT f.client_order_id FROM fills f LEFT JOIN orders o USING (account, client_order_id)
            WHERE account = $1 GROUP BY f.client_order_id, o.quantity
            HAVING o.quantity IS NULL OR sum(f.quantity) > o.quantity LIMIT 1
            """,
            """
            SELECT o.client_order_id FROM orders o LEFT JOIN fills f USING (account, client_order_id)
            WHERE account = $1 GROUP BY o.client_order_id, o.quantity, o.state, o.filled_quantity
            HAVING (o.state = 'filled') <> (coalesce(sum(f.quantity), 0) = o.quantity)
                OR o.filled_quantity <> coalesce(sum(f.quantity), 0) LIMIT 1
            """,
            """
            SELECT client_order_id FROM order_events WHERE account = $1 GROUP BY client_order_id
            HAVING max(number) + 1 <> count(*) LIMIT 1
            """,
            """
            SELECT p.symbol FROM positions p LEFT JOIN fills f USING (account, symbol)
            WHERE account = $1 GROUP BY p.symbol, p.quantity
            HAVING p.quantity <> coalesce(sum(CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END), 0) LIMIT 1
            """,
            """
            SELECT e.event_time::text
            FROM (SELECT * FROM equity WHERE account = $1 ORDER BY event_time DESC, sequence DESC LIMIT 1) e
            LEFT JOIN positions p ON p.account = $1
            GROUP BY e.event_time, e.cash, e.equity, e.price
            HAVING count(p.symbol) <= 1
                AND abs(e.equity - e.cash - coalesce(sum(p.quantity), 0)::float8 * e.price) > 1e-6 LIMIT 1
            """,
        ]
        for (sql, words) in zip(checks, Self.invariants) {
            let offender = try connection.queryOptional(sql, [account]) {
                (row) throws(StorageError) in try row.get(0, as: String.self)
            }
            if let offender {
                fault = "“\(words)” does not hold: \(offender)"
                return
            }
        }
    }
}
