public import MarketData

/// The book of an account: tables `orders`, `order_events`, `fills`, `positions`, `equity`, `risk_events`,
/// `instruments`.
///
/// Quantities, prices and money of orders and fills are exact decimals. Every write can be repeated.
public enum TradingRepository {
    public struct Order: Sendable, Equatable {
        public var clientOrderID: String
        public var symbol: String
        /// `buy` or `sell`.
        public var side: String
        public var kind: String
        /// In base units, positive.
        public var quantity: DecimalNumber
        public var limitPrice: DecimalNumber?
        public var state: String
        /// The close of the bar it was decided on.
        public var decisionTime: Timestamp
        public var sequence: Int64
        public var reason: String?
        public var filledQuantity: DecimalNumber
        /// Wall-clock stamps: the bar's publication, the decision's sending.
        public var publishedAt: Timestamp?
        public var decidedAt: Timestamp?

        public init(
            clientOrderID: String, symbol: String, side: String, kind: String, quantity: DecimalNumber,
            limitPrice: DecimalNumber? = nil, state: String, decisionTime: Timestamp, sequence: Int64,
            reason: String? = nil, filledQuantity: DecimalNumber = DecimalNumber(0), publishedAt: Timestamp? = nil,
            decidedAt: Timestamp? = nil
        ) {
            self.clientOrderID = clientOrderID
            self.symbol = symbol
            self.side = side
            self.kind = kind
            self.quantity = quantity
            self.limitPrice = limitPrice
            self.state = state
            self.decisionTime = decisionTime
            self.sequence = sequence
            self.reason = reason
            self.filledQuantity = filledQuantity
            self.publishedAt = publishedAt
            self.decidedAt = decidedAt
        }
    }

    /// One change of an order's state, numbered from 0 within the order.
    public struct OrderEvent: Sendable, Equatable {
        public var clientOrderID: String
        public var number: Int32
        public var eventTime: Timestamp
        public var state: String
        public var detail: String

        public init(clientOrderID: String, number: Int32, eventTime: Timestamp, state: String, detail: String = "") {
            self.clientOrderID = clientOrderID
            self.number = number
            self.eventTime = eventTime
            self.state = state
            self.detail = detail
        }
    }

    /// One execution, numbered within its order. Fee and profit in the quote currency.
    public struct Fill: Sendable, Equatable {
        public var clientOrderID: String
        public var number: Int32
        public var symbol: String
        public var side: String
        public var eventTime: Timestamp
        public var price: DecimalNumber
        public var quantity: DecimalNumber
        public var fee: DecimalNumber
        public var realisedPnL: DecimalNumber

        public init(
            clientOrderID: String, number: Int32, symbol: String, side: String, eventTime: Timestamp,
            price: DecimalNumber, quantity: DecimalNumber, fee: DecimalNumber, realisedPnL: DecimalNumber
        ) {
            self.clientOrderID = clientOrderID
            self.number = number
            self.symbol = symbol
            self.side = side
            self.eventTime = eventTime
            self.price = price
            self.quantity = quantity
            self.fee = fee
            self.realisedPnL = realisedPnL
        }
    }

    public struct Position: Sendable, Equatable {
        public var symbol: String
        /// Signed: negative is short.
        public var quantity: DecimalNumber
        public var averagePrice: DecimalNumber
        public var realisedPnL: DecimalNumber
        public var fees: DecimalNumber
        public var eventTime: Timestamp

        public init(
            symbol: String, quantity: DecimalNumber, averagePrice: DecimalNumber, realisedPnL: DecimalNumber,
            fees: DecimalNumber, eventTime: Timestamp
        ) {
            self.symbol = symbol
            self.quantity = quantity
            self.averagePrice = averagePrice
            self.realisedPnL = realisedPnL
            self.fees = fees
            self.eventTime = eventTime
        }
    }

    /// The account at a bar's close, in the quote currency; `exposure` is the position's share of equity.
    public struct Equity: Sendable, Equatable {
        /// Whose bar it was, and whose are exposure and price.
        public var symbol: String
        public var eventTime: Timestamp
        public var sequence: Int64
        public var cash: Double
        public var equity: Double
        public var exposure: Double
        public var price: Double

        public init(
            symbol: String, eventTime: Timestamp, sequence: Int64, cash: Double, equity: Double, exposure: Double,
            price: Double
        ) {
            self.symbol = symbol
            self.eventTime = eventTime
            self.sequence = sequence
            self.cash = cash
            self.equity = equity
            self.exposure = exposure
            self.price = price
        }
    }

    /// A decision that did not become an order, with the rule that stopped it; or a kill switch.
    public struct RiskEvent: Sendable, Equatable {
        public var symbol: String
        public var eventTime: Timestamp
        public var rule: String
        public var detail: String

        public init(symbol: String, eventTime: Timestamp, rule: String, detail: String) {
            self.symbol = symbol
            self.eventTime = eventTime
            self.rule = rule
            self.detail = detail
        }
    }

    // MARK: Writing

    /// Stores orders, or brings the state, reason and filled quantity of those there up to date; the rest never
    /// changes.
    public static func upsert(
        _ orders: [Order], account: String, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.executeBatch(
            """
            INSERT INTO orders (account, client_order_id, symbol, side, kind, quantity, limit_price, state,
            decision_time,
                                sequence, reason, filled_quantity, published_at, decided_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            ON CONFLICT (account, client_order_id) DO UPDATE
            SET state = excluded.state, reason = excluded.reason, filled_quantity = excluded.filled_quantity
            """,
            orders.map { order in
                [
                    account, order.clientOrderID, order.symbol, order.side, order.kind, order.quantity,
                    order.limitPrice,
                    order.state, order.decisionTime, order.sequence, order.reason, order.filledQuantity,
                    order.publishedAt, order.decidedAt,
                ]
            })
    }

    public static func insert(
        _ events: [OrderEvent], account: String, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.execute(
            """
            INSERT INTO order_events (account, client_order_id, number, event_time, state, detail)
            SELECT $1, * FROM unnest($2::text[], $3::int4[], $4::timestamptz[], $5::text[], $6::text[])
            ON CONFLICT DO NOTHING
            """,
            [
                account, events.map(\.clientOrderID), events.map(\.number), events.map(\.eventTime),
                events.map(\.state),
                events.map(\.detail),
            ])
    }

    /// A fill that is there already is not booked twice. Returns how many are new.
    @discardableResult
    public static func insert(
        _ fills: [Fill], account: String, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.execute(
            """
            INSERT INTO fills (account, client_order_id, number, symbol, side, event_time, price, quantity, fee,
            realised_pnl)
            SELECT $1, * FROM unnest($2::text[], $3::int4[], $4::text[], $5::text[], $6::timestamptz[], $7::numeric[],
                                     $8::numeric[], $9::numeric[], $10::numeric[])
            ON CONFLICT DO NOTHING
            """,
            [
                account, fills.map(\.clientOrderID), fills.map(\.number), fills.map(\.symbol), fills.map(\.side),
                fills.map(\.eventTime), fills.map(\.price), fills.map(\.quantity), fills.map(\.fee),
                fills.map(\.realisedPnL),
            ])
    }

    /// Replaces positions, unless a later one is stored.
    public static func upsert(
        _ positions: [Position], account: String, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.executeBatch(
            """
            INSERT INTO positions (account, symbol, quantity, average_price, realised_pnl, fees, event_time)
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (account, symbol) DO UPDATE
            SET (quantity, average_price, realised_pnl, fees, event_time) = (excluded.quantity, excluded.average_price,
                excluded.realised_pnl, excluded.fees, excluded.event_time)
            WHERE positions.event_time <= excluded.event_time
            """,
            positions.map { position in
                [
                    account, position.symbol, position.quantity, position.averagePrice, position.realisedPnL,
                    position.fees,
                    position.eventTime,
                ]
            })
    }

    public static func insert(
        _ equity: [Equity], account: String, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.ensurePartitions("equity", covering: equity.lazy.map(\.eventTime))
        try connection.execute(
            """
            INSERT INTO equity (account, event_time, sequence, cash, equity, exposure, price, symbol)
            SELECT $1, * FROM unnest($2::timestamptz[], $3::int8[], $4::float8[], $5::float8[], $6::float8[],
                                     $7::float8[], $8::text[])
            ON CONFLICT DO NOTHING
            """,
            [
                account, equity.map(\.eventTime), equity.map(\.sequence), equity.map(\.cash), equity.map(\.equity),
                equity.map(\.exposure), equity.map(\.price), equity.map(\.symbol),
            ])
    }

    public static func insert(
        _ events: [RiskEvent], account: String, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.execute(
            """
            INSERT INTO risk_events (account, symbol, event_time, rule, detail)
            SELECT $1, * FROM unnest($2::text[], $3::timestamptz[], $4::text[], $5::text[]) ON CONFLICT DO NOTHING
            """,
            [account, events.map(\.symbol), events.map(\.eventTime), events.map(\.rule), events.map(\.detail)])
    }

    // MARK: Reading

    /// All orders of an account, in order of their decisions.
    public static func orders(account: String, on connection: isolated Connection) throws(StorageError) -> [Order] {
        try connection.query(
            """
            SELECT client_order_id, symbol, side, kind, quantity, limit_price, state, decision_time, sequence, reason,
                   filled_quantity, published_at, decided_at
            FROM orders WHERE account = $1 ORDER BY sequence, client_order_id
            """, [account]
        ) { (row) throws(StorageError) in
            Order(
                clientOrderID: try row.get(0), symbol: try row.get(1), side: try row.get(2), kind: try row.get(3),
                quantity: try row.get(4), limitPrice: try row.get(5), state: try row.get(6),
                decisionTime: try row.get(7),
                sequence: try row.get(8), reason: try row.get(9), filledQuantity: try row.get(10),
                publishedAt: try row.get(11), decidedAt: try row.get(12))
        }
    }

    public static func orderEvents(
        account: String, clientOrderID: String, on connection: isolated Connection
    ) throws(StorageError) -> [OrderEvent] {
        try connection.query(
            """
            SELECT client_order_id, number, event_time, state, detail FROM order_events
            WHERE account = $1 AND client_order_id = $2 ORDER BY number
            """, [account, clientOrderID]
        ) { (row) throws(StorageError) in
            OrderEvent(
                clientOrderID: try row.get(0), number: try row.get(1), eventTime: try row.get(2), state: try row.get(3),
                detail: try row.get(4))
        }
    }

    /// All fills of an account, in order of time.
    public static func fills(account: String, on connection: isolated Connection) throws(StorageError) -> [Fill] {
        try connection.query(
            """
            SELECT client_order_id, number, symbol, side, event_time, price, quantity, fee, realised_pnl
            FROM fills WHERE account = $1 ORDER BY event_time, client_order_id, number
            """, [account]
        ) { (row) throws(StorageError) in
            Fill(
                clientOrderID: try row.get(0), number: try row.get(1), symbol: try row.get(2), side: try row.get(3),
                eventTime: try row.get(4), price: try row.get(5), quantity: try row.get(6), fee: try row.get(7),
                realisedPnL: try row.get(8))
        }
    }

    public static func positions(account: String, on connection: isolated Connection) throws(StorageError) -> [Position]
    {
        try connection.query(
            """
            SELECT symbol, quantity, average_price, realised_pnl, fees, event_time FROM positions
            WHERE account = $1 ORDER BY symbol
            """, [account]
        ) { (row) throws(StorageError) in
            Position(
                symbol: try row.get(0), quantity: try row.get(1), averagePrice: try row.get(2),
                realisedPnL: try row.get(3), fees: try row.get(4), eventTime: try row.get(5))
        }
    }

    /// The account's course in `from ..< to`.
    public static func equity(
        account: String, from: Timestamp, to: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> [Equity] {
        try connection.query(
            """
            SELECT symbol, event_time, sequence, cash, equity, exposure, price FROM equity
            WHERE account = $1 AND event_time >= $2 AND event_time < $3 ORDER BY event_time, sequence, symbol
            """, [account, from, to], decode: decodeEquity)
    }

    /// The account's newest point.
    public static func lastEquity(account: String, on connection: isolated Connection) throws(StorageError) -> Equity? {
        try connection.queryOptional(
            """
            SELECT symbol, event_time, sequence, cash, equity, exposure, price FROM equity
            WHERE account = $1 ORDER BY event_time DESC, sequence DESC LIMIT 1
            """, [account], decode: decodeEquity)
    }

    /// One page of points in order of sequence, from `sequence` on.
    public static func equity(
        account: String, fromSequence sequence: Int64, limit: Int, on connection: isolated Connection
    ) throws(StorageError) -> [Equity] {
        try connection.query(
            """
            SELECT symbol, event_time, sequence, cash, equity, exposure, price FROM equity
            WHERE account = $1 AND sequence >= $2 ORDER BY sequence, symbol LIMIT $3
            """, [account, sequence, limit], decode: decodeEquity)
    }

    private static func decodeEquity(_ row: Row) throws(StorageError) -> Equity {
        Equity(
            symbol: try row.get(0), eventTime: try row.get(1), sequence: try row.get(2), cash: try row.get(3),
            equity: try row.get(4), exposure: try row.get(5), price: try row.get(6))
    }

    /// How often each rule stopped a decision.
    public static func riskEventCounts(
        account: String, on connection: isolated Connection
    ) throws(StorageError) -> [(rule: String, count: Int)] {
        try connection.query(
            "SELECT rule, count(*) FROM risk_events WHERE account = $1 GROUP BY rule ORDER BY count(*) DESC, rule",
            [account]
        ) { (row) throws(StorageError) in (try row.get(0), try row.get(1)) }
    }
}
