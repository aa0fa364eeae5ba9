public import MarketData

/// How policies were tried and judged: tables `trials`, `final_block_reads` and `acceptances`.
public enum AcceptanceRepository {
    /// One policy, tried on bars that it was not trained on.
    public struct Trial: Sendable, Equatable {
        /// Which of its job's: `seed 1 iteration 40`.
        public var name: String
        /// Of one bar, not annualised; `nil` where the account never moved.
        public var sharpe: Double?
        public var netReturn: Double

        public init(name: String, sharpe: Double?, netReturn: Double) {
            self.name = name
            self.sharpe = sharpe
            self.netReturn = netReturn
        }
    }

    /// The bars of one symbol between two instants.
    public struct Block: Sendable, Equatable {
        public var exchange: String
        public var symbol: String
        public var from: Timestamp
        public var to: Timestamp

        public init(exchange: String, symbol: String, from: Timestamp, to: Timestamp) {
            self.exchange = exchange
            self.symbol = symbol
            self.from = from
            self.to = to
        }
    }

    /// A version's verdict.
    public struct Acceptance: Sendable, Equatable {
        public var jobID: Int64
        public var name: String
        public var version: Int64
        public var passed: Bool
        public var report: JSON
        public var judgedAt: Timestamp
    }

    /// Counts trials of a model on a block. The same trial of the same job again is the same trial.
    public static func record(
        _ trials: [Trial], of model: String, on block: Block, jobID: Int64, on connection: isolated Connection
    ) throws(StorageError) {
        for trial in trials {
            try connection.execute(
                """
                INSERT INTO trials (job_id, trial, model, exchange, symbol, span_from, span_to, sharpe, net_return)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (job_id, trial) DO NOTHING
                """,
                [
                    jobID, trial.name, model, block.exchange, block.symbol, block.from, block.to, trial.sharpe,
                    trial.netReturn,
                ])
        }
    }

    /// How many policies were ever tried under a model's name on a symbol, and the variance of their Sharpe ratios
    /// (one bar); `nil` for fewer than two that have one.
    public static func trials(
        of model: String, symbol: String, on connection: isolated Connection
    ) throws(StorageError) -> (count: Int, sharpeVariance: Double?) {
        try connection.queryOne(
            "SELECT count(*), var_samp(sharpe) FROM trials WHERE model = $1 AND symbol = $2", [model, symbol]
        ) { (row) throws(StorageError) in (Int(try row.get(0, as: Int64.self)), try row.get(1)) }
    }

    /// Writes down that a job is about to read a final block, and returns how many other jobs have read bars of it. A
    /// job that says so again, at its next attempt, is counted once.
    public static func countRead(
        _ block: Block, by jobID: Int64, of name: String, version: Int64, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.locked("final blocks of \(block.exchange) \(block.symbol)") { () throws(StorageError) in
            try connection.execute(
                """
                INSERT INTO final_block_reads (job_id, name, version, exchange, symbol, block_from, block_to)
                VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (job_id) DO NOTHING
                """, [jobID, name, version, block.exchange, block.symbol, block.from, block.to])
            return try connection.queryOne(
                """
                SELECT count(*) FROM final_block_reads
                WHERE exchange = $2 AND symbol = $3 AND block_from < $5 AND block_to > $4 AND job_id <> $1
                """, [jobID, block.exchange, block.symbol, block.from, block.to]
            ) { (row) throws(StorageError) in Int(try row.get(0, as: Int64.self)) }
        }
    }

    /// Stores a verdict. What passed becomes `accepted`, unless it is live already.
    public static func store(
        passed: Bool, report: JSON, of name: String, version: Int64, jobID: Int64, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.execute(
            "INSERT INTO acceptances (job_id, name, version, passed, report) VALUES ($1, $2, $3, $4, $5)",
            [jobID, name, version, passed, report])
        guard passed else { return }
        try connection.execute(
            "UPDATE models SET stage = 'accepted' WHERE name = $1 AND version = $2 AND stage = 'candidate'",
            [name, version])
    }

    /// The verdicts of a version, the newest first.
    public static func acceptances(
        of name: String, version: Int64, on connection: isolated Connection
    ) throws(StorageError) -> [Acceptance] {
        try connection.query(
            """
            SELECT job_id, name, version, passed, report, judged_at FROM acceptances
            WHERE name = $1 AND version = $2 ORDER BY job_id DESC
            """, [name, version]
        ) { (row) throws(StorageError) in
            Acceptance(
                jobID: try row.get(0), name: try row.get(1), version: try row.get(2), passed: try row.get(3),
                report: try row.get(4), judgedAt: try row.get(5))
        }
    }
}
