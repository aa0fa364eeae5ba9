public import MarketData

/// Streams of market events, gap-free from 1: tables `streams` and `stream_events`.
public enum EventRepository {
    public enum State: String, Sendable { case building, active, closed }

    public struct Stream: Sendable, Equatable {
        public var name: String
        public var exchange: String
        public var symbols: [String]
        public var currencies: [String]
        public var from: Timestamp
        public var to: Timestamp
        /// Symbols that the policy decides on; empty: features only.
        public var tradedSymbols: [String]
        /// Decisions begin here; earlier events warm the features up.
        public var tradeFrom: Timestamp
        /// Smallest gap between two published bars; 0: as fast as consumers take them.
        public var pace: Interval
        public var state: State
        /// Known once the stream has been built.
        public var lastSequence: Int64?
        /// The account's terms, JSON of execution.proto's AccountSettings.
        public var settings: JSON

        public init(
            name: String, exchange: String, symbols: [String], currencies: [String], from: Timestamp, to: Timestamp,
            tradedSymbols: [String], tradeFrom: Timestamp, pace: Interval = .init(microseconds: 0),
            state: State = .building, lastSequence: Int64? = nil, settings: JSON = "{}"
        ) {
            self.name = name
            self.exchange = exchange
            self.symbols = symbols
            self.currencies = currencies
            self.from = from
            self.to = to
            self.tradedSymbols = tradedSymbols
            self.tradeFrom = tradeFrom
            self.pace = pace
            self.state = state
            self.lastSequence = lastSequence
            self.settings = settings
        }
    }

    public struct Event: Sendable, Equatable {
        public var sequence: Int64
        public var knownAt: Timestamp
        /// A serialized vomma.v1.MarketEvent.
        public var payload: [UInt8]

        public init(sequence: Int64, knownAt: Timestamp, payload: [UInt8]) {
            self.sequence = sequence
            self.knownAt = knownAt
            self.payload = payload
        }
    }

    /// The channel that is told a stream's name when it is made or its state changes.
    public static let channel = "streams"

    // MARK: Streams

    /// Makes a stream, unless there is one of that name: the stored one counts, and is returned.
    @discardableResult
    public static func create(_ stream: Stream, on connection: isolated Connection) throws(StorageError) -> Stream {
        try connection.inTransaction { () throws(StorageError) in
            let made = try connection.execute(
                """
                INSERT INTO streams (stream, exchange, symbols, currencies, from_time, to_time, traded_symbols,
                trade_from,
                                     pace_microseconds, state, last_sequence, settings)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING
                """,
                [
                    stream.name, stream.exchange, stream.symbols, stream.currencies, stream.from, stream.to,
                    stream.tradedSymbols, stream.tradeFrom, stream.pace.microseconds, stream.state.rawValue,
                    stream.lastSequence, stream.settings,
                ])
            if made > 0 { try connection.notify(channel, stream.name) }
            guard let stored = try self.stream(stream.name, on: connection) else { throw .unexpectedRowCount(0) }
            return stored
        }
    }

    public static func stream(_ name: String, on connection: isolated Connection) throws(StorageError) -> Stream? {
        try connection.queryOptional(selectByName, [name], decode: decode)
    }

    /// By itself: each call of a server asks for its stream, and those of many callers go together.
    public static func stream(_ name: String, in pool: ConnectionPool) async throws -> Stream? {
        try await pool.queryOptional(selectByName, [name], decode: decode)
    }

    /// All streams, or those in one state, the oldest first.
    public static func streams(
        _ state: State? = nil, on connection: isolated Connection
    ) throws(StorageError) -> [Stream] {
        try connection.query(
            "\(select) WHERE $1::text IS NULL OR state = $1 ORDER BY created_at, stream", [state?.rawValue],
            decode: decode)
    }

    /// Sets the state; becoming active fixes `last_sequence` as what is stored. Throws `unexpectedRowCount` for an
    /// unknown stream, `conflict` for a closed one that is to reopen.
    public static func setState(
        _ state: State, of name: String, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.inTransaction { () throws(StorageError) in
            let changed = try connection.execute(
                """
                UPDATE streams SET state = $2, closed_at = CASE WHEN $2 = 'closed' THEN coalesce(closed_at, now()) END,
                    last_sequence = CASE WHEN $2 = 'active' AND state = 'building'
                    THEN (SELECT coalesce(max(sequence), 0) FROM stream_events WHERE stream = $1) ELSE last_sequence END
                WHERE stream = $1 AND (state <> 'closed' OR $2 = 'closed')
                """, [name, state.rawValue])
            guard changed == 1 else {
                guard try stream(name, on: connection) != nil else { throw .unexpectedRowCount(0) }
                throw .conflict("stream \(name)")
            }
            try connection.notify(channel, name)
        }
    }

    private static let select = """
        SELECT stream, exchange, symbols, currencies, from_time, to_time, traded_symbols, trade_from, pace_microseconds,
               state, last_sequence, settings FROM streams
        """
    private static let selectByName = "\(select) WHERE stream = $1"

    private static func decode(_ row: Row) throws(StorageError) -> Stream {
        guard let state = State(rawValue: try row.get(9)) else {
            throw .decoding(column: "state", reason: "unknown state")
        }
        return Stream(
            name: try row.get(0), exchange: try row.get(1), symbols: try row.get(2), currencies: try row.get(3),
            from: try row.get(4), to: try row.get(5), tradedSymbols: try row.get(6), tradeFrom: try row.get(7),
            pace: Interval(microseconds: try row.get(8)), state: state, lastSequence: try row.get(10),
            settings: try row.get(11))
    }

    // MARK: Events

    /// Appends events whose sequences follow one another. Those already stored are skipped, so that an append can be
    /// repeated; a hole before the first, or between two, throws `sequenceGap` and stores nothing. Writers of one
    /// stream
    /// wait for each other. Returns how many are new.
    @discardableResult
    public static func append(
        _ events: [Event], to stream: String, on connection: isolated Connection
    ) throws -> Int {
        guard let first = events.first else { return 0 }
        for (index, event) in events.enumerated() where event.sequence != first.sequence + Int64(index) {
            throw StorageError.sequenceGap(expected: first.sequence + Int64(index), got: event.sequence)
        }
        return try connection.atomically {
            let known = try connection.queryOptional(
                "SELECT 1 FROM streams WHERE stream = $1 FOR UPDATE", [stream]
            ) { (row) throws(StorageError) in try row.get(0, as: Int32.self) }
            guard known != nil else { throw StorageError.unexpectedRowCount(0) }
            let next = try nextSequence(of: stream, on: connection)
            guard first.sequence <= next else {
                throw StorageError.sequenceGap(expected: next, got: first.sequence)
            }
            let new = events.drop { $0.sequence < next }
            guard !new.isEmpty else { return 0 }
            return try connection.copyIn(
                "stream_events", columns: ["stream", "sequence", "known_at", "payload"]
            ) { writer in
                for event in new { try writer.row(stream, event.sequence, event.knownAt, event.payload) }
            }
        }
    }

    /// The sequence that the next appended event must have: 1 for an empty stream.
    public static func nextSequence(
        of stream: String, on connection: isolated Connection
    ) throws(StorageError) -> Int64 {
        try connection.queryOne(
            "SELECT coalesce(max(sequence), 0) + 1 FROM stream_events WHERE stream = $1", [stream]
        ) { (row) throws(StorageError) in try row.get(0) }
    }

    /// One page: events from `sequence` on, in order, `limit` at most.
    public static func events(
        of stream: String, from sequence: Int64, limit: Int, on connection: isolated Connection
    ) throws(StorageError) -> [Event] {
        try connection.query(
            """
            SELECT sequence, known_at, payload FROM stream_events WHERE stream = $1 AND sequence >= $2
            ORDER BY sequence LIMIT $3
            """, [stream, sequence, limit]
        ) { (row) throws(StorageError) in
            Event(sequence: try row.get(0), knownAt: try row.get(1), payload: try row.get(2))
        }
    }
}
