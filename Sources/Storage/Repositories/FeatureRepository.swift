public import MarketData

/// Feature vectors and what describes them: tables `features`, `feature_schemas`, `normalisers`, `regimes`,
/// `sentiment`.
public enum FeatureRepository {
    /// One vector of one symbol and bar, in the order of its schema's names.
    public struct Vector: Sendable, Equatable {
        public var symbol: String
        /// The bar's close.
        public var barTime: Timestamp
        /// The event that completed it.
        public var sequence: Int64
        public var close: Double
        /// Absent values are NaN here and 0 in `valid`.
        public var values: [Double]
        /// One bit a feature, least significant first; 1 is present.
        public var valid: [UInt8]
        /// When its bar was published, by the wall clock.
        public var publishedAt: Timestamp?

        public init(
            symbol: String, barTime: Timestamp, sequence: Int64, close: Double, values: [Double], valid: [UInt8],
            publishedAt: Timestamp? = nil
        ) {
            self.symbol = symbol
            self.barTime = barTime
            self.sequence = sequence
            self.close = close
            self.values = values
            self.valid = valid
            self.publishedAt = publishedAt
        }
    }

    /// Vectors of one symbol in order of time: `values` is `[count × width]`, row-major, and `valid` has
    /// (width + 7) / 8 bytes a row.
    public struct Block: Sendable, Equatable {
        public var width: Int
        public var barTimes: [Timestamp] = []
        public var sequences: [Int64] = []
        public var closes: [Double] = []
        public var values: [Double] = []
        public var valid: [UInt8] = []
        public var count: Int { barTimes.count }
    }

    // MARK: Schemas

    /// Stores a schema. Throws `conflict` when the version is stored with other names.
    public static func putSchema(
        _ version: String, names: [String], on connection: isolated Connection
    ) throws(StorageError) {
        try connection.execute(
            "INSERT INTO feature_schemas (schema_version, names) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            [version, names])
        guard try schema(version, on: connection) == names else { throw .conflict("feature schema \(version)") }
    }

    public static func schema(_ version: String, on connection: isolated Connection) throws(StorageError) -> [String]? {
        try connection.queryOptional("SELECT names FROM feature_schemas WHERE schema_version = $1", [version]) {
            (row) throws(StorageError) in try row.get(0)
        }
    }

    // MARK: Vectors

    /// Stores vectors; those already there stay as they are. Returns how many are new. Throws `encoding` where `valid`
    /// does not fit `values`.
    @discardableResult
    public static func insert(
        _ vectors: [Vector], stream: String, schema: String, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        for vector in vectors where vector.valid.count != (vector.values.count + 7) / 8 {
            throw .encoding(column: "valid", reason: "\(vector.valid.count) bytes for \(vector.values.count) features")
        }
        try connection.ensurePartitions("features", covering: vectors.lazy.map(\.barTime))
        return try connection.executeBatch(
            """
            INSERT INTO features (stream, symbol, bar_time, schema_version, sequence, close, values, valid,
            published_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
            """,
            vectors.map { vector in
                [
                    stream, vector.symbol, vector.barTime, schema, vector.sequence, vector.close, vector.values,
                    vector.valid, vector.publishedAt,
                ]
            })
    }

    /// One page in order of sequence, then symbol: vectors from `sequence` on, `limit` at most; one symbol's or all.
    ///
    /// A page can end between two symbols of one sequence: ask for one symbol where that matters.
    public static func vectors(
        stream: String, schema: String, symbol: String? = nil, from sequence: Int64, limit: Int,
        on connection: isolated Connection
    ) throws(StorageError) -> [Vector] {
        try connection.query(
            """
            SELECT symbol, bar_time, sequence, close, values, valid, published_at FROM features
            WHERE stream = $1 AND schema_version = $2 AND ($3::text IS NULL OR symbol = $3) AND sequence >= $4
            ORDER BY sequence, symbol LIMIT $5
            """, [stream, schema, symbol, sequence, limit], decode: decode)
    }

    /// The last `count` vectors of a symbol before a sequence, oldest first: what a stacked state at it begins with.
    public static func lastVectors(
        stream: String, schema: String, symbol: String, before sequence: Int64, count: Int,
        on connection: isolated Connection
    ) throws(StorageError) -> [Vector] {
        try connection.query(
            """
            SELECT symbol, bar_time, sequence, close, values, valid, published_at FROM features
            WHERE stream = $1 AND schema_version = $2 AND symbol = $3 AND sequence < $4
            ORDER BY sequence DESC LIMIT $5
            """, [stream, schema, symbol, sequence, count], decode: decode
        ).reversed()
    }

    private static func decode(_ row: Row) throws(StorageError) -> Vector {
        Vector(
            symbol: try row.get(0), barTime: try row.get(1), sequence: try row.get(2), close: try row.get(3),
            values: try row.get(4), valid: try row.get(5), publishedAt: try row.get(6))
    }

    /// The bars of a symbol's first and last vector; `nil` without one.
    public static func span(
        stream: String, schema: String, symbol: String, on connection: isolated Connection
    ) throws(StorageError) -> ClosedRange<Timestamp>? {
        let bounds = try connection.queryOne(
            """
            SELECT min(bar_time), max(bar_time) FROM features
            WHERE stream = $1 AND symbol = $2 AND schema_version = $3
            """, [stream, symbol, schema]
        ) { (row) throws(StorageError) in
            (try row.get(0, as: Timestamp?.self), try row.get(1, as: Timestamp?.self))
        }
        guard let first = bounds.0, let last = bounds.1 else { return nil }
        return first...last
    }

    /// The vectors of one symbol whose bars closed in `from ..< to`, as one contiguous block. Throws `decoding` for a
    /// row whose length is not the schema's.
    public static func block(
        stream: String, schema: String, symbol: String, from: Timestamp, to: Timestamp,
        on connection: isolated Connection
    ) throws(StorageError) -> Block {
        guard let names = try self.schema(schema, on: connection) else { throw .unexpectedRowCount(0) }
        var block = Block(width: names.count)
        let rows = try connection.run(
            """
            SELECT bar_time, sequence, close, values, valid FROM features
            WHERE stream = $1 AND schema_version = $2 AND symbol = $3 AND bar_time >= $4 AND bar_time < $5
            ORDER BY bar_time
            """, [stream, schema, symbol, from, to])
        block.values.reserveCapacity(rows.rowCount * block.width)
        for index in 0..<rows.rowCount {
            let row = Row(result: rows, index: index)
            let count = try row.append(3, to: &block.values)
            let valid = try row.get(4, as: [UInt8].self)
            guard count == block.width, valid.count == (block.width + 7) / 8 else {
                throw .decoding(column: "values", reason: "\(count) features, the schema has \(block.width)")
            }
            block.barTimes.append(try row.get(0))
            block.sequences.append(try row.get(1))
            block.closes.append(try row.get(2))
            block.valid.append(contentsOf: valid)
        }
        return block
    }

    // MARK: Normalisers

    /// Stores a normaliser under the hash of its bytes, which makes a second time the same.
    public static func putNormaliser(
        _ id: String, schema: String, bytes: [UInt8], on connection: isolated Connection
    ) throws(StorageError) {
        try connection.execute(
            "INSERT INTO normalisers (normaliser_id, schema_version, bytes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            [id, schema, bytes])
        guard let stored = try normaliser(id, on: connection), stored.schema == schema, stored.bytes == bytes else {
            throw .conflict("normaliser \(id)")
        }
    }

    public static func normaliser(
        _ id: String, on connection: isolated Connection
    ) throws(StorageError) -> (schema: String, bytes: [UInt8])? {
        try connection.queryOptional("SELECT schema_version, bytes FROM normalisers WHERE normaliser_id = $1", [id]) {
            (row) throws(StorageError) in (try row.get(0), try row.get(1))
        }
    }

    // MARK: Regimes and sentiment

    /// Stores the filtered probabilities of a symbol's regimes at bars; those there stay. Returns how many are new.
    @discardableResult
    public static func insert(
        regimes: [(barTime: Timestamp, probabilities: [Double])], stream: String, symbol: String, modelVersion: String,
        on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.executeBatch(
            """
            INSERT INTO regimes (stream, symbol, bar_time, model_version, probabilities) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT DO NOTHING
            """, regimes.map { [stream, symbol, $0.barTime, modelVersion, $0.probabilities] })
    }

    public static func regimes(
        stream: String, symbol: String, modelVersion: String, from: Timestamp, to: Timestamp,
        on connection: isolated Connection
    ) throws(StorageError) -> [(barTime: Timestamp, probabilities: [Double])] {
        try connection.query(
            """
            SELECT bar_time, probabilities FROM regimes
            WHERE stream = $1 AND symbol = $2 AND model_version = $3 AND bar_time >= $4 AND bar_time < $5 ORDER BY
            bar_time
            """, [stream, symbol, modelVersion, from, to]
        ) { (row) throws(StorageError) in (try row.get(0), try row.get(1)) }
    }

    /// One message's sentiment by one model: `score` −1 … 1, and the three probabilities.
    public struct Sentiment: Sendable, Equatable {
        public var source: String
        public var messageID: String
        public var score: Double
        public var bearish: Double
        public var neutral: Double
        public var bullish: Double

        public init(source: String, messageID: String, score: Double, bearish: Double, neutral: Double, bullish: Double)
        {
            self.source = source
            self.messageID = messageID
            self.score = score
            self.bearish = bearish
            self.neutral = neutral
            self.bullish = bullish
        }
    }

    @discardableResult
    public static func insert(
        sentiment rows: [Sentiment], model: String, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.execute(
            """
            INSERT INTO sentiment (model, source, message_id, score, bearish, neutral, bullish)
            SELECT $1, * FROM unnest($2::text[], $3::text[], $4::float8[], $5::float8[], $6::float8[], $7::float8[])
            ON CONFLICT DO NOTHING
            """,
            [
                model, rows.map(\.source), rows.map(\.messageID), rows.map(\.score), rows.map(\.bearish),
                rows.map(\.neutral), rows.map(\.bullish),
            ])
    }
}
