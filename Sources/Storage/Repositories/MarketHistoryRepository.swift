public import MarketData

/// A value with the time it belongs to and the time from which it could be known.
public struct Dated<Value: Sendable & Equatable>: Sendable, Equatable {
    public var eventTime: Timestamp
    public var knownAt: Timestamp
    public var value: Value

    public init(eventTime: Timestamp, knownAt: Timestamp, value: Value) {
        self.eventTime = eventTime
        self.knownAt = knownAt
        self.value = value
    }
}

/// History other than bars: tables `funding_rates`, `open_interest`, `fear_greed`, `messages`, `book_tops`,
/// `option_quotes`, `iv_surfaces`. What is stored stays as it is: a repeated key changes nothing. The functions that
/// store
/// return the number of new rows; those that read give `from ..< to` of the event time, in order.
public enum MarketHistoryRepository {
    // MARK: Funding

    @discardableResult
    public static func insert(
        fundingRates rates: [Dated<FundingRate>], exchange: String, symbol: String, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.execute(
            """
            INSERT INTO funding_rates (exchange, symbol, event_time, known_at, rate, interval_seconds)
            SELECT $1, $2, * FROM unnest($3::timestamptz[], $4::timestamptz[], $5::float8[], $6::int4[])
            ON CONFLICT DO NOTHING
            """,
            [
                exchange, symbol, rates.map(\.eventTime), rates.map(\.knownAt), rates.map(\.value.rate),
                rates.map { Int32(clamping: $0.value.interval.microseconds / 1_000_000) },
            ])
    }

    public static func fundingRates(
        exchange: String, symbol: String, from: Timestamp, to: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> [Dated<FundingRate>] {
        try connection.query(
            """
            SELECT event_time, known_at, rate, interval_seconds FROM funding_rates
            WHERE exchange = $1 AND symbol = $2 AND event_time >= $3 AND event_time < $4 ORDER BY event_time
            """, [exchange, symbol, from, to]
        ) { (row) throws(StorageError) in
            Dated(
                eventTime: try row.get(0), knownAt: try row.get(1),
                value: FundingRate(rate: try row.get(2), interval: .seconds(try row.get(3))))
        }
    }

    // MARK: Open interest

    @discardableResult
    public static func insert(
        openInterest values: [Dated<OpenInterest>], exchange: String, symbol: String, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.execute(
            """
            INSERT INTO open_interest (exchange, symbol, event_time, known_at, quantity, notional)
            SELECT $1, $2, * FROM unnest($3::timestamptz[], $4::timestamptz[], $5::float8[], $6::float8[])
            ON CONFLICT DO NOTHING
            """,
            [
                exchange, symbol, values.map(\.eventTime), values.map(\.knownAt), values.map(\.value.quantity),
                values.map(\.value.notional),
            ])
    }

    public static func openInterest(
        exchange: String, symbol: String, from: Timestamp, to: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> [Dated<OpenInterest>] {
        try connection.query(
            """
            SELECT event_time, known_at, quantity, notional FROM open_interest
            WHERE exchange = $1 AND symbol = $2 AND event_time >= $3 AND event_time < $4 ORDER BY event_time
            """, [exchange, symbol, from, to]
        ) { (row) throws(StorageError) in
            Dated(
                eventTime: try row.get(0), knownAt: try row.get(1),
                value: OpenInterest(quantity: try row.get(2), notional: try row.get(3)))
        }
    }

    // MARK: Fear & Greed, 0 … 100

    @discardableResult
    public static func insert(
        fearGreed values: [Dated<Double>], on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.execute(
            """
            INSERT INTO fear_greed (event_time, known_at, value)
            SELECT * FROM unnest($1::timestamptz[], $2::timestamptz[], $3::float8[]) ON CONFLICT DO NOTHING
            """, [values.map(\.eventTime), values.map(\.knownAt), values.map(\.value)])
    }

    public static func fearGreed(
        from: Timestamp, to: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> [Dated<Double>] {
        try connection.query(
            """
            SELECT event_time, known_at, value FROM fear_greed
            WHERE event_time >= $1 AND event_time < $2 ORDER BY event_time
            """, [from, to]
        ) { (row) throws(StorageError) in
            Dated(eventTime: try row.get(0), knownAt: try row.get(1), value: try row.get(2))
        }
    }

    // MARK: Messages

    /// `symbol` is empty for general news.
    @discardableResult
    public static func insert(
        messages: [Dated<Message>], symbol: String = "", on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.execute(
            """
            INSERT INTO messages (symbol, source, message_id, event_time, known_at, text)
            SELECT $1, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[])
            ON CONFLICT DO NOTHING
            """,
            [
                symbol, messages.map(\.value.source), messages.map(\.value.id), messages.map(\.eventTime),
                messages.map(\.knownAt), messages.map(\.value.text),
            ])
    }

    public static func messages(
        symbol: String = "", from: Timestamp, to: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> [Dated<Message>] {
        try connection.query(
            """
            SELECT event_time, known_at, message_id, source, text FROM messages
            WHERE symbol = $1 AND event_time >= $2 AND event_time < $3 ORDER BY event_time, source, message_id
            """, [symbol, from, to]
        ) { (row) throws(StorageError) in
            Dated(
                eventTime: try row.get(0), knownAt: try row.get(1),
                value: Message(id: try row.get(2), source: try row.get(3), text: try row.get(4)))
        }
    }

    // MARK: Books

    @discardableResult
    public static func insert(
        bookTops tops: [Dated<BookTop>], exchange: String, symbol: String, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.ensurePartitions("book_tops", covering: tops.lazy.map(\.eventTime))
        return try connection.execute(
            """
            INSERT INTO book_tops (exchange, symbol, event_time, known_at, bid_price, ask_price, bid_volume, ask_volume)
            SELECT $1, $2, * FROM unnest($3::timestamptz[], $4::timestamptz[], $5::float8[], $6::float8[], $7::float8[],
                                         $8::float8[])
            ON CONFLICT DO NOTHING
            """,
            [
                exchange, symbol, tops.map(\.eventTime), tops.map(\.knownAt), tops.map(\.value.bidPrice),
                tops.map(\.value.askPrice), tops.map(\.value.bidVolume), tops.map(\.value.askVolume),
            ])
    }

    public static func bookTops(
        exchange: String, symbol: String, from: Timestamp, to: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> [Dated<BookTop>] {
        try connection.query(
            """
            SELECT event_time, known_at, bid_price, ask_price, bid_volume, ask_volume FROM book_tops
            WHERE exchange = $1 AND symbol = $2 AND event_time >= $3 AND event_time < $4 ORDER BY event_time
            """, [exchange, symbol, from, to]
        ) { (row) throws(StorageError) in
            Dated(
                eventTime: try row.get(0), knownAt: try row.get(1),
                value: BookTop(
                    bidPrice: try row.get(2), askPrice: try row.get(3), bidVolume: try row.get(4),
                    askVolume: try row.get(5)))
        }
    }
}
