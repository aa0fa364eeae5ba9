public import MarketData

/// The queue of training jobs: tables `jobs` and `job_metrics`.
///
/// A lease belongs to one attempt. It is renewed by every write of its holder; when it runs out, another trainer takes
/// the job over from its checkpoint with the next attempt number, and whatever the first still writes throws `fenced`.
/// All times are the server's clock.
public enum JobRepository {
    public enum State: String, Sendable { case queued, running, succeeded, failed, cancelled }

    public struct Job: Sendable, Equatable {
        public var id: Int64
        public var key: String
        public var kind: String
        public var spec: JSON
        public var priority: Int32
        public var state: State
        public var attempt: Int32
        public var maximumAttempts: Int32
        public var leaseOwner: String?
        public var leaseUntil: Timestamp?
        /// 0 … 1.
        public var progress: Double
        public var message: String
        public var result: JSON?
        public var error: String?
        public var parent: Int64?
        public var createdAt: Timestamp
        public var finishedAt: Timestamp?
    }

    /// The right to work on a job, until it runs out or is taken over.
    public struct Lease: Sendable, Equatable {
        public var job: Job
        /// Where the attempt before this one left off.
        public var checkpoint: [UInt8]?
        var owner: String
        var duration: Interval
    }

    /// The channel that is told a job's id when it is submitted or ends.
    public static let channel = "jobs"

    // MARK: Submitters

    /// Submits a job; the same key twice is one job. Returns its id.
    public static func enqueue(
        key: String, kind: String, spec: JSON, priority: Int32 = 0, maximumAttempts: Int32 = 5, parent: Int64? = nil,
        on connection: isolated Connection
    ) throws(StorageError) -> Int64 {
        try connection.inTransaction { () throws(StorageError) in
            let made = try connection.queryOptional(
                """
                INSERT INTO jobs (job_key, kind, spec, priority, max_attempts, parent_id) VALUES ($1, $2, $3, $4, $5,
                $6)
                ON CONFLICT (job_key) DO NOTHING RETURNING job_id
                """, [key, kind, spec, priority, maximumAttempts, parent]
            ) { (row) throws(StorageError) in try row.get(0, as: Int64.self) }
            if let made {
                try connection.notify(channel, String(made))
                return made
            }
            return try connection.queryOne("SELECT job_id FROM jobs WHERE job_key = $1", [key]) {
                (row) throws(StorageError) in try row.get(0)
            }
        }
    }

    public static func job(_ id: Int64, on connection: isolated Connection) throws(StorageError) -> Job? {
        try connection.queryOptional("SELECT \(columns) FROM jobs WHERE job_id = $1", [id], decode: decode)
    }

    /// The newest jobs, of one state or all.
    public static func jobs(
        _ state: State? = nil, limit: Int = 100, on connection: isolated Connection
    ) throws(StorageError) -> [Job] {
        try connection.query(
            "SELECT \(columns) FROM jobs WHERE $1::text IS NULL OR state = $1 ORDER BY job_id DESC LIMIT $2",
            [state?.rawValue, limit], decode: decode)
    }

    /// How many jobs wait and are worked on, and for how long the oldest of those that wait has waited.
    public static func depth(
        on connection: isolated Connection
    ) throws(StorageError) -> (queued: Int, running: Int, oldestQueued: Interval?) {
        try connection.queryOne(
            """
            SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'running'),
                   (extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE state = 'queued'))
                    * 1000000)::bigint
            FROM jobs WHERE state IN ('queued', 'running')
            """
        ) { (row) throws(StorageError) in
            let waited = try row.get(2, as: Int64?.self).map { Interval(microseconds: $0) }
            return (Int(try row.get(0, as: Int64.self)), Int(try row.get(1, as: Int64.self)), waited)
        }
    }

    /// Cancels a job that has not ended; its holder learns it at its next write. False when it had ended.
    public static func cancel(_ id: Int64, on connection: isolated Connection) throws(StorageError) -> Bool {
        try connection.inTransaction { () throws(StorageError) in
            let changed = try connection.execute(
                """
                UPDATE jobs SET state = 'cancelled', finished_at = clock_timestamp(), lease_owner = NULL, lease_until =
                NULL
                WHERE job_id = $1 AND state IN ('queued', 'running')
                """, [id])
            if changed > 0 { try connection.notify(channel, String(id)) }
            return changed > 0
        }
    }

    // MARK: Trainers

    /// Takes the next job of these kinds that is queued, or whose holder's lease has run out: highest priority first,
    /// then oldest. `nil` when there is none. Two callers never get the same one. A job whose last allowed attempt ran
    /// out becomes `failed`.
    public static func lease(
        kinds: [String], owner: String, for duration: Interval, on connection: isolated Connection
    ) throws(StorageError) -> Lease? {
        try connection.inTransaction { () throws(StorageError) in
            try connection.execute(
                """
                UPDATE jobs SET state = 'failed', error = 'every attempt lost its lease', finished_at =
                clock_timestamp(),
                                lease_owner = NULL, lease_until = NULL
                WHERE job_id IN (
                    SELECT job_id FROM jobs WHERE kind = ANY($1) AND state = 'running'
                        AND lease_until <= clock_timestamp() AND attempt >= max_attempts
                    FOR UPDATE SKIP LOCKED)
                """, [kinds])
            return try connection.queryOptional(
                """
                UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_owner = $2,
                                lease_until = clock_timestamp() + $3 * interval '1 microsecond',
                                started_at = coalesce(started_at, clock_timestamp()),
                                progress = CASE WHEN checkpoint IS NULL THEN 0 ELSE progress END
                WHERE job_id = (
                    SELECT job_id FROM jobs
                    WHERE kind = ANY($1) AND attempt < max_attempts
                        AND (state = 'queued' OR (state = 'running' AND lease_until <= clock_timestamp()))
                    ORDER BY priority DESC, job_id FOR UPDATE SKIP LOCKED LIMIT 1)
                RETURNING \(columns), checkpoint
                """, [kinds, owner, duration.microseconds]
            ) { (row) throws(StorageError) in
                Lease(job: try decode(row), checkpoint: try row.get("checkpoint"), owner: owner, duration: duration)
            }
        }
    }

    /// Renews the lease and tells how far the work has come (0 … 1); a word that comes late does not take back what has
    /// been told since. Throws `fenced` when the job is not ours any more.
    public static func heartbeat(
        _ lease: Lease, progress: Double? = nil, message: String? = nil, on connection: isolated Connection
    ) throws(StorageError) {
        try write(
            lease, "progress = greatest(progress, $5), message = coalesce($6, message)", [progress, message],
            on: connection)
    }

    /// Stores where the work stands, for whoever goes on with it, and renews the lease.
    public static func checkpoint(
        _ lease: Lease, _ bytes: [UInt8], progress: Double, on connection: isolated Connection
    ) throws(StorageError) {
        try write(lease, "checkpoint = $5, progress = $6", [bytes, progress], on: connection)
    }

    /// Ends the job well. In one transaction with what it made (`ModelRepository.register`), that is stored once.
    public static func complete(
        _ lease: Lease, result: JSON, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.inTransaction { () throws(StorageError) in
            try write(
                lease, "state = 'succeeded', result = $5, progress = 1, finished_at = clock_timestamp()", [result],
                on: connection)
            try connection.notify(channel, String(lease.job.id))
        }
    }

    /// Ends the attempt badly: the job goes back into the queue while it may be tried again and `canRetry`, or has
    /// failed.
    public static func fail(
        _ lease: Lease, error: String, canRetry: Bool, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.inTransaction { () throws(StorageError) in
            try write(
                lease,
                """
                error = $5, state = CASE WHEN $6 AND attempt < max_attempts THEN 'queued' ELSE 'failed' END,
                finished_at = CASE WHEN $6 AND attempt < max_attempts THEN NULL ELSE clock_timestamp() END
                """, [error, canRetry], on: connection)
            try connection.notify(channel, String(lease.job.id))
        }
    }

    /// Gives an unfinished job back to the queue (graceful shutdown) without counting the attempt against it.
    public static func release(_ lease: Lease, on connection: isolated Connection) throws(StorageError) {
        try connection.inTransaction { () throws(StorageError) in
            // The attempt's number stays used, because it fences; one more is allowed instead.
            try write(lease, "state = 'queued', max_attempts = max_attempts + 1", [], on: connection)
            try connection.notify(channel, String(lease.job.id))
        }
    }

    /// Stores metrics of a step; a repeated step replaces them. Fenced like every write of a holder.
    public static func record(
        _ metrics: [(name: String, value: Double)], step: Int64, _ lease: Lease, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.inTransaction { () throws(StorageError) in
            try write(lease, "message = message", [], on: connection)
            try connection.execute(
                """
                INSERT INTO job_metrics (job_id, step, name, value) SELECT $1, $2, * FROM unnest($3::text[],
                $4::float8[])
                ON CONFLICT (job_id, step, name) DO UPDATE SET value = excluded.value
                """, [lease.job.id, step, metrics.map(\.name), metrics.map(\.value)])
        }
    }

    /// A job's metric by step.
    public static func metric(
        _ name: String, of id: Int64, on connection: isolated Connection
    ) throws(StorageError) -> [(step: Int64, value: Double)] {
        try connection.query(
            "SELECT step, value FROM job_metrics WHERE job_id = $1 AND name = $2 ORDER BY step", [id, name]
        ) { (row) throws(StorageError) in (try row.get(0), try row.get(1)) }
    }

    /// A page of a job's metrics, by name and step, behind the given place; `nil` begins.
    public static func metrics(
        of id: Int64, after name: String?, _ step: Int64, limit: Int, on connection: isolated Connection
    ) throws(StorageError) -> [(name: String, step: Int64, value: Double)] {
        try connection.query(
            """
            SELECT name, step, value FROM job_metrics
            WHERE job_id = $1 AND ($2::text IS NULL OR (name, step) > ($2, $3)) ORDER BY name, step LIMIT $4
            """, [id, name, step, limit]
        ) { (row) throws(StorageError) in (try row.get(0), try row.get(1), try row.get(2)) }
    }

    /// Changes a job under its lease, whose parameters are $1 … $4, and renews it.
    private static func write(
        _ lease: Lease, _ assignments: String, _ values: [any PostgresEncodable], on connection: isolated Connection
    ) throws(StorageError) {
        let changed = try connection.execute(
            """
            UPDATE jobs SET lease_until = clock_timestamp() + $4 * interval '1 microsecond', \(assignments)
            WHERE job_id = $1 AND attempt = $2 AND lease_owner = $3 AND state = 'running'
            """, [lease.job.id, lease.job.attempt, lease.owner, lease.duration.microseconds] + values)
        guard changed == 1 else { throw .fenced("job \(lease.job.id)") }
    }

    private static let columns = """
        job_id, job_key, kind, spec, priority, state, attempt, max_attempts, lease_owner, lease_until, progress,
        message,
        result, error, parent_id, created_at, finished_at
        """

    private static func decode(_ row: Row) throws(StorageError) -> Job {
        guard let state = State(rawValue: try row.get(5)) else {
            throw .decoding(column: "state", reason: "unknown state")
        }
        return Job(
            id: try row.get(0), key: try row.get(1), kind: try row.get(2), spec: try row.get(3),
            priority: try row.get(4),
            state: state, attempt: try row.get(6), maximumAttempts: try row.get(7), leaseOwner: try row.get(8),
            leaseUntil: try row.get(9), progress: try row.get(10), message: try row.get(11), result: try row.get(12),
            error: try row.get(13), parent: try row.get(14), createdAt: try row.get(15), finishedAt: try row.get(16))
    }
}
