public import MarketData

/// What the policy wanted at each bar: table `decisions`. Stored before it is sent; what is stored stays.
public enum DecisionRepository {
    public struct Decision: Sendable, Equatable {
        public var symbol: String
        public var barTime: Timestamp
        public var sequence: Int64
        public var modelName: String
        public var modelVersion: Int64
        /// Share of equity, −1 … 1; `nil` when the policy abstained, and `abstained` says why.
        public var targetExposure: Double?
        public var value: Double?
        public var confidence: Double?
        /// The features that contributed most.
        public var reasons: JSON
        public var abstained: String?
        /// Wall-clock stamps: the bar's publication, the state's sending.
        public var publishedAt: Timestamp?
        public var stateAt: Timestamp?

        public init(
            symbol: String, barTime: Timestamp, sequence: Int64, modelName: String, modelVersion: Int64,
            targetExposure: Double?, value: Double?, confidence: Double?, reasons: JSON = "[]",
            abstained: String? = nil,
            publishedAt: Timestamp? = nil, stateAt: Timestamp? = nil
        ) {
            self.symbol = symbol
            self.barTime = barTime
            self.sequence = sequence
            self.modelName = modelName
            self.modelVersion = modelVersion
            self.targetExposure = targetExposure
            self.value = value
            self.confidence = confidence
            self.reasons = reasons
            self.abstained = abstained
            self.publishedAt = publishedAt
            self.stateAt = stateAt
        }
    }

    /// Returns how many are new.
    @discardableResult
    public static func insert(
        _ decisions: [Decision], stream: String, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.ensurePartitions("decisions", covering: decisions.lazy.map(\.barTime))
        return try connection.execute(
            """
            INSERT INTO decisions (stream, symbol, bar_time, sequence, model_name, model_version, target_exposure,
            value,
                                   confidence, reasons, abstained, published_at, state_at)
            SELECT $1, * FROM unnest(
                $2::text[], $3::timestamptz[], $4::int8[], $5::text[], $6::int8[], $7::float8[], $8::float8[],
                $9::float8[],
                $10::jsonb[], $11::text[], $12::timestamptz[], $13::timestamptz[])
            ON CONFLICT DO NOTHING
            """,
            [
                stream, decisions.map(\.symbol), decisions.map(\.barTime), decisions.map(\.sequence),
                decisions.map(\.modelName), decisions.map(\.modelVersion), decisions.map(\.targetExposure),
                decisions.map(\.value), decisions.map(\.confidence), decisions.map(\.reasons),
                decisions.map(\.abstained),
                decisions.map(\.publishedAt), decisions.map(\.stateAt),
            ])
    }

    /// One page in order of sequence, then symbol, from `sequence` on.
    public static func decisions(
        stream: String, from sequence: Int64, limit: Int, on connection: isolated Connection
    ) throws(StorageError) -> [Decision] {
        try connection.query(
            """
            SELECT symbol, bar_time, sequence, model_name, model_version, target_exposure, value, confidence, reasons,
                   abstained, published_at, state_at
            FROM decisions WHERE stream = $1 AND sequence >= $2 ORDER BY sequence, symbol LIMIT $3
            """, [stream, sequence, limit]
        ) { (row) throws(StorageError) in
            Decision(
                symbol: try row.get(0), barTime: try row.get(1), sequence: try row.get(2), modelName: try row.get(3),
                modelVersion: try row.get(4), targetExposure: try row.get(5), value: try row.get(6),
                confidence: try row.get(7), reasons: try row.get(8), abstained: try row.get(9),
                publishedAt: try row.get(10), stateAt: try row.get(11))
        }
    }
}
