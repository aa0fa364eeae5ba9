internal import Features
internal import Kernels
internal import Logging
internal import MarketData
internal import ServiceLifecycle
internal import Storage
internal import Synchronization

/// Takes jobs from the queue and works on them, one at a time, for as long as the process lives.
///
/// A job is computed on a thread of its own, while another task renews its lease. A graceful shutdown saves the running
/// job and gives it back; a cancelled or killed worker leaves it, and when the lease has run out another takes it over
/// from its checkpoint.
struct JobWorker: Service {
    struct Configuration: Sendable {
        /// Stands in the job while it is worked on; unique among the workers.
        var owner: String
        /// After this silence another worker takes the job over. Default 10 s.
        var leaseDuration: Interval = .seconds(10)
        /// Work between two checkpoints. Default 5 s.
        var checkpointInterval: Duration = .seconds(5)
        /// Whose columns policies are trained on: feature-service's too.
        var featureModules = FeatureModuleKind.standard

        init(owner: String) { self.owner = owner }

        /// A fifth of the lease, so that some may be late.
        var heartbeatInterval: Duration { .microseconds(leaseDuration.microseconds / 5) }
        /// How often the queue is looked at when nothing is said about it: nobody tells that a lease has run out.
        var pollInterval: Duration { min(.seconds(2), .microseconds(leaseDuration.microseconds / 4)) }

        /// The machine's name, the process's number, and a number of chance: containers share the first two.
        static func processName() -> String {
            var name = [CChar](repeating: 0, count: 256)
            let isKnown = unsafe gethostname(&name, name.count - 1) == 0
            let bytes = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            let host = isKnown ? String(decoding: bytes, as: UTF8.self) : "trainer"
            return "\(host)-\(getpid())-\(String(UInt32.random(in: 0 ... .max), radix: 36))"
        }
    }

    private let configuration: Configuration
    private let pool: ConnectionPool
    private let log: Logger

    init(_ configuration: Configuration, pool: ConnectionPool, log: Logger) {
        self.configuration = configuration
        self.pool = pool
        self.log = log
    }

    /// What a shutdown has to reach: the job at work, and the wish to take no more.
    private final class Shutdown: Sendable {
        private let state = Mutex<(isAsked: Bool, running: JobContext?)>((false, nil))

        var isAsked: Bool { state.withLock { $0.isAsked } }

        func ask() {
            let running = state.withLock { state in
                state.isAsked = true
                return state.running
            }
            running?.stop()
        }

        func set(_ running: JobContext?) {
            let isAsked = state.withLock { state in
                state.running = running
                return state.isAsked
            }
            if isAsked { running?.stop() }
        }
    }

    func run() async throws {
        let shutdown = Shutdown()
        // One look at the queue that is due is as good as many.
        let (looks, look) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        try await withGracefulShutdownHandler {
            try await withThrowingDiscardingTaskGroup { group in
                group.addTask { await listen(look) }
                group.addTask {
                    while !Task.isCancelled {
                        look.yield()
                        try? await Task.sleep(for: configuration.pollInterval)
                    }
                }
                for await _ in looks {
                    while !shutdown.isAsked, !Task.isCancelled, let lease = await next() {
                        await work(on: lease, shutdown)
                    }
                    if shutdown.isAsked || Task.isCancelled { break }
                }
                group.cancelAll()
            }
        } onGracefulShutdown: {
            shutdown.ask()
            look.finish()
        }
    }

    /// Looks at the queue whenever something is said about it.
    private func listen(_ look: AsyncStream<Void>.Continuation) async {
        while !Task.isCancelled {
            do {
                for try await _ in try pool.notifications(JobRepository.channel) { look.yield() }
            } catch {
                log.info("not told of jobs, looking from time to time", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    private func next() async -> JobRepository.Lease? {
        do {
            return try await pool.withConnection { [configuration] connection in
                try JobRepository.lease(
                    kinds: JobKind.allCases.map(\.rawValue), owner: configuration.owner,
                    for: configuration.leaseDuration, on: connection)
            }
        } catch {
            if !Task.isCancelled { log.info("the queue cannot be read", metadata: ["error": "\(error)"]) }
            return nil
        }
    }

    // MARK: One job

    private func work(on lease: JobRepository.Lease, _ shutdown: Shutdown) async {
        var log = log
        log[metadataKey: "job"] = "\(lease.job.id)"
        log.info(
            "job begun",
            metadata: [
                "kind": "\(lease.job.kind)", "key": "\(lease.job.key)", "attempt": "\(lease.job.attempt)",
                "resumed": "\(lease.checkpoint != nil)",
            ])
        let context = JobContext(
            lease, pool: pool, checkpointInterval: configuration.checkpointInterval,
            featureModules: configuration.featureModules, log: log)
        shutdown.set(context)
        defer { shutdown.set(nil) }
        await withDiscardingTaskGroup { group in
            group.addTask { await context.keepAlive(every: configuration.heartbeatInterval) }
            let started = ContinuousClock.now
            do {
                try await withTaskExecutorPreference(ComputeThread()) { try await JobKind.run(context) }
                let seconds = (ContinuousClock.now - started).components.seconds
                log.info("job succeeded", metadata: ["seconds": "\(seconds)"])
            } catch {
                await end(context, error, log)
            }
            group.cancelAll()
        }
    }

    /// What becomes of a job that was not finished.
    private func end(_ context: JobContext, _ error: any Error, _ log: Logger) async {
        let lease = context.lease
        do {
            switch error {
            case Interruption.leaseLost: log.notice("job left: its lease is not ours any more, or it was cancelled")
            case Interruption.released:
                try await pool.withConnection { try JobRepository.release(lease, on: $0) }
                log.info("job saved and given back")
            case is CancellationError: log.info("job left where it is")
            default:
                let canRetry = (error as? StorageError)?.isTransient ?? false
                log.error("job failed", metadata: ["error": "\(error)", "retry": "\(canRetry)"])
                try await pool.retrying {
                    try await pool.withConnection {
                        try JobRepository.fail(lease, error: "\(error)", canRetry: canRetry, on: $0)
                    }
                }
            }
        } catch StorageError.fenced {
            log.notice("job left: its lease is not ours any more, or it was cancelled")
        } catch {
            // The lease runs out by itself, and the job is taken over.
            log.error("the job's end cannot be stored", metadata: ["error": "\(error)"])
        }
    }
}
