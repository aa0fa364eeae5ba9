internal import Features
internal import Logging
internal import Storage
internal import Synchronization

/// What a job's work has to do with the outside: reports how far it is, saves where it stands, and learns that it is to
/// stop. Every write is made under the lease, and is refused once another holds it.
final class JobContext: Sendable {
    let lease: JobRepository.Lease
    let pool: ConnectionPool
    let log: Logger
    /// Whose columns policies are trained on.
    let featureModules: [FeatureModuleKind]
    private let checkpointInterval: Duration

    private struct State {
        var progress = 0.0
        var message = ""
        var isLost = false
        var isStopping = false
        var lastCheckpoint = ContinuousClock.now
    }
    private let state: Mutex<State>

    init(
        _ lease: JobRepository.Lease, pool: ConnectionPool, checkpointInterval: Duration,
        featureModules: [FeatureModuleKind], log: Logger
    ) {
        self.lease = lease
        self.featureModules = featureModules
        self.pool = pool
        self.checkpointInterval = checkpointInterval
        self.log = log
        state = Mutex(State(progress: lease.job.progress, message: lease.job.message))
    }

    var job: JobRepository.Job { lease.job }

    // MARK: For the work

    /// Says how far the work is (0 … 1) and what it does; stored with the next heartbeat. Then throws if it is to stop:
    /// `CancellationError`, `Interruption.leaseLost`, `Interruption.released`. Call it often, and where no checkpoint
    /// is needed to begin again.
    func proceed(_ progress: Double, _ message: String) throws {
        let stop = state.withLock { state in
            state.progress = progress
            state.message = message
            return (isLost: state.isLost, isStopping: state.isStopping)
        }
        try Task.checkCancellation()
        if stop.isLost { throw Interruption.leaseLost }
        if stop.isStopping { throw Interruption.released }
    }

    /// As `proceed`, but saves where the work stands when that is due, and before it stops for a shutdown.
    func proceed(_ progress: Double, _ message: String, checkpoint: () -> [UInt8]) async throws {
        let (isDue, isLost) = state.withLock { state in
            (state.isStopping || .now - state.lastCheckpoint >= checkpointInterval, state.isLost)
        }
        if isDue, !isLost {
            let bytes = checkpoint()
            try await write { [lease] in try JobRepository.checkpoint(lease, bytes, progress: progress, on: $0) }
            state.withLock { $0.lastCheckpoint = .now }
            log.debug("checkpoint stored", metadata: ["job": "\(job.id)", "bytes": "\(bytes.count)"])
        }
        try proceed(progress, message)
    }

    /// Stores metrics of a step; a repeated step replaces them.
    func record(_ metrics: [(name: String, value: Double)], step: Int) async throws {
        let finite = metrics.filter { $0.value.isFinite }
        try await write { [lease] in try JobRepository.record(finite, step: Int64(step), lease, on: $0) }
    }

    /// Counts policies that were tried. Trials stay counted when the job fails.
    func count(
        _ trials: [AcceptanceRepository.Trial], of model: String, on block: AcceptanceRepository.Block
    ) async throws {
        try await write { [lease] connection in
            try JobRepository.heartbeat(lease, on: connection)
            try AcceptanceRepository.record(trials, of: model, on: block, jobID: lease.job.id, on: connection)
        }
    }

    /// Writes down that a final block is about to be read for a model; how many other jobs have read bars of it.
    func countRead(_ block: AcceptanceRepository.Block, of model: ModelRepository.Model) async throws -> Int {
        try await write { [lease] connection in
            try JobRepository.heartbeat(lease, on: connection)
            return try AcceptanceRepository.countRead(
                block, by: lease.job.id, of: model.name, version: model.version, on: connection)
        }
    }

    /// Ends the job well, in one transaction with what `body` stores; `body` returns the job's result. `message` says
    /// in a few words what came out.
    func complete(
        _ message: String, _ body: @escaping @Sendable (isolated Connection) throws -> JSON
    ) async throws {
        state.withLock { $0.message = message }
        try await write { [lease] connection in
            let result = try body(connection)
            try JobRepository.heartbeat(lease, message: message, on: connection)
            try JobRepository.complete(lease, result: result, on: connection)
        }
    }

    /// Repeats a write while the database is away: all of them can be repeated. A lost lease stops the work.
    private func write<R: Sendable>(
        _ body: @escaping @Sendable (isolated Connection) throws -> R
    ) async throws -> R {
        do {
            return try await pool.retrying(upTo: .seconds(60)) {
                try await pool.withTransaction { connection in try body(connection) }
            }
        } catch StorageError.fenced {
            lose()
            throw Interruption.leaseLost
        } catch StorageError.cancelled {
            throw CancellationError()
        }
    }

    // MARK: For the worker

    /// Asks the work to save itself and stop.
    func stop() { state.withLock { $0.isStopping = true } }

    private func lose() { state.withLock { $0.isLost = true } }

    /// Renews the lease every `interval` until the task is cancelled or the lease is lost.
    func keepAlive(every interval: Duration) async {
        while !Task.isCancelled {
            let (progress, message) = state.withLock { ($0.progress, $0.message) }
            do {
                try await pool.withConnection { [lease] connection in
                    try JobRepository.heartbeat(lease, progress: progress, message: message, on: connection)
                }
            } catch StorageError.fenced {
                lose()
                return
            } catch {
                if Task.isCancelled { return }
                log.info("heartbeat failed, trying again", metadata: ["job": "\(job.id)", "error": "\(error)"])
            }
            try? await Task.sleep(for: interval)
        }
    }
}
