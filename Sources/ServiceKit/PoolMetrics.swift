internal import CoreMetrics
internal import Storage
internal import Telemetry

/// Shows an operator what a connection pool does. See docs/metrics.md.
struct PoolMetrics: PoolObserver {
    private let wait: CoreMetrics.Timer
    private let lease: CoreMetrics.Timer

    init(_ registry: MetricRegistry) {
        wait = Self.waitTime.timer(in: registry)
        lease = Self.leaseTime.timer(in: registry)
    }

    func leased(after wait: Duration) { self.wait.record(wait) }
    func returned(after use: Duration) { lease.record(use) }

    /// Shows what the pool itself knows, asked at each scrape.
    func report(_ pool: ConnectionPool, in registry: MetricRegistry) {
        registry.observe(Self.limit) { Double(pool.configuration.maximumConnections) }
        registry.observe(Self.connections, "open") { Double(pool.snapshot.openConnections) }
        registry.observe(Self.connections, "leased") { Double(pool.snapshot.leasedConnections) }
        registry.observe(Self.waiting) { Double(pool.snapshot.waitingCallers) }
        registry.observe(Self.timeouts) { Double(pool.snapshot.counts.timedOut) }
        registry.observe(Self.refusals) { Double(pool.snapshot.counts.refused) }
        registry.observe(Self.opened) { Double(pool.snapshot.counts.opened) }
        registry.observe(Self.failures) { Double(pool.snapshot.counts.failedToOpen) }
        registry.observe(Self.repetitions) { Double(pool.snapshot.counts.repeatedTransactions) }
    }

    private static let limit = MetricDefinition(
        "vomma_database_connections_limit", .gauge, "Most connections to PostgreSQL, VOMMA_DATABASE_CONNECTIONS.")
    private static let connections = MetricDefinition(
        "vomma_database_connections", .gauge, labels: ["state"],
        "Connections to PostgreSQL that are open, and those that are lent.")
    private static let waiting = MetricDefinition(
        "vomma_database_callers_waiting", .gauge, "Callers that wait for a connection.")
    private static let waitTime = MetricDefinition(
        "vomma_database_wait_seconds", .histogram(bounds: MetricDefinition.latencyBounds),
        "Time that callers waited for a connection, in seconds, of those who got one.")
    private static let leaseTime = MetricDefinition(
        "vomma_database_lease_seconds", .histogram(bounds: MetricDefinition.latencyBounds),
        "Time that callers had a connection, in seconds.")
    private static let timeouts = MetricDefinition(
        "vomma_database_wait_timeouts_total", .counter, "Callers that waited for a connection in vain.")
    private static let refusals = MetricDefinition(
        "vomma_database_refusals_total", .counter, "Callers refused because too many waited already.")
    private static let opened = MetricDefinition(
        "vomma_database_connections_opened_total", .counter, "Connections opened.")
    private static let failures = MetricDefinition(
        "vomma_database_connect_failures_total", .counter, "Attempts to open a connection that failed.")
    private static let repetitions = MetricDefinition(
        "vomma_database_repeated_transactions_total", .counter, "Transactions begun again after a collision.")
}
