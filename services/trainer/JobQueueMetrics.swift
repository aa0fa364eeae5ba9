internal import CoreMetrics
internal import Logging
internal import MarketData
internal import ServiceLifecycle
internal import Storage
internal import Telemetry

/// Shows an operator the queue of jobs: how many wait and run, over all trainers, and how long the oldest has waited.
struct JobQueueMetrics: Service {
    private let pool: ConnectionPool
    private let log: Logger
    private let queued: Meter
    private let running: Meter
    private let oldest: Meter

    /// How often the queue is counted: a scrape must not wait for the database.
    private static let interval: Duration = .seconds(5)

    init(_ registry: MetricRegistry, pool: ConnectionPool, log: Logger) {
        self.pool = pool
        self.log = log
        queued = Self.jobs.meter("queued", in: registry)
        running = Self.jobs.meter("running", in: registry)
        oldest = Self.oldestQueued.meter(in: registry)
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do { try await count() } catch {
                    if !Task.isCancelled { log.info("the queue cannot be counted", metadata: ["error": "\(error)"]) }
                }
                do { try await Task.sleep(for: Self.interval) } catch { return }
            }
        }
    }

    /// Counts once.
    func count() async throws {
        let depth = try await pool.withConnection { try JobRepository.depth(on: $0) }
        queued.set(Int64(depth.queued))
        running.set(Int64(depth.running))
        oldest.set(Double(depth.oldestQueued?.microseconds ?? 0) / 1e6)
    }

    private static let jobs = MetricDefinition(
        "vomma_jobs", .gauge, labels: ["state"], "Jobs in the queue that all trainers share, by state.")
    private static let oldestQueued = MetricDefinition(
        "vomma_jobs_oldest_queued_seconds", .gauge, "How long the oldest job that waits has waited; 0 without one.")
}
