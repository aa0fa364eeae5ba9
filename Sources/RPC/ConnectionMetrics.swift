public import CoreMetrics
internal import Telemetry

/// Why a connection ended, as metrics name it.
enum ConnectionEnd: String, CaseIterable, Sendable {
    /// The other side closed it, or announced with GOAWAY that it would.
    case peer
    /// A read, a write or the TLS handshake failed.
    case failed
    /// What came was against the rules of HTTP/2.
    case protocolError = "protocol_error"
    /// More control frames or PINGs came than are allowed.
    case flood
    /// No answer to a PING.
    case keepAlive = "keep_alive"
    /// The handshake took too long.
    case handshakeTimeout = "handshake_timeout"
    /// There was no call for too long.
    case idle
    /// It was as old as connections get, `RPCServerConfiguration.maxConnectionAge`.
    case age
    /// This side has no more use for it: it stops, or the address is not the peer's any more.
    case shutdown
    /// It was one more than allowed, and closed on accept.
    case refused
}

/// Counts the connections of a server or a channel, how they end, and how long writers wait for room. See
/// docs/metrics.md.
///
/// Nothing of it is on the path of a call that need not wait; what is recorded is an atomic addition.
public final class ConnectionMetrics: Sendable {
    private let open: Meter
    /// In the order of `ConnectionEnd.allCases`.
    private let ended: [Counter]
    /// Only of channels.
    private let connectFailures: Counter?
    private let writersWaiting: Meter
    private let writerWait: CoreMetrics.Timer

    /// For one server.
    public init(server factory: any MetricsFactory) {
        open = Self.serverOpen.meter(in: factory)
        ended = ConnectionEnd.allCases.map { Self.serverEnded.counter($0.rawValue, in: factory) }
        connectFailures = nil
        writersWaiting = Self.serverWriters.meter(in: factory)
        writerWait = Self.serverWait.timer(in: factory)
    }

    /// For the channels to one peer; `peer` is the label by which they are told apart, and comes from a fixed set.
    public init(client factory: any MetricsFactory, peer: String) {
        open = Self.clientOpen.meter(peer, in: factory)
        ended = ConnectionEnd.allCases.map { Self.clientEnded.counter(peer, $0.rawValue, in: factory) }
        connectFailures = Self.clientFailures.counter(peer, in: factory)
        writersWaiting = Self.clientWriters.meter(peer, in: factory)
        writerWait = Self.clientWait.timer(peer, in: factory)
    }

    func opened() { open.increment() }

    /// An open connection has ended.
    func closed(_ end: ConnectionEnd) {
        open.decrement()
        count(end)
    }

    /// Another connection was closed before it counted as open.
    func refused() { count(.refused) }

    func failedToConnect() { connectFailures?.increment() }

    private func count(_ end: ConnectionEnd) {
        for (counter, this) in zip(ended, ConnectionEnd.allCases) where this == end { counter.increment() }
    }

    /// One wait of one writer for a window to open, or for its queue to get short.
    struct Stall {
        private let metrics: ConnectionMetrics
        private let begin = ContinuousClock.now

        init(_ metrics: ConnectionMetrics) {
            self.metrics = metrics
            metrics.writersWaiting.increment()
        }

        func end() {
            metrics.writersWaiting.decrement()
            metrics.writerWait.record(ContinuousClock.now - begin)
        }
    }
}

extension ConnectionMetrics {
    private static let serverOpen = MetricDefinition(
        "vomma_rpc_server_connections", .gauge, "Connections open, also those still in their handshake.")
    private static let serverEnded = MetricDefinition(
        "vomma_rpc_server_connections_ended_total", .counter, labels: ["reason"], "Connections ended, by reason.")
    private static let serverWriters = MetricDefinition(
        "vomma_rpc_server_writers_waiting", .gauge,
        "Handlers that wait to write because their client does not read fast enough.")
    private static let serverWait = MetricDefinition(
        "vomma_rpc_server_writer_wait_seconds", .histogram(bounds: MetricDefinition.latencyBounds),
        "Waits of handlers for room to write, in seconds.")
    private static let clientOpen = MetricDefinition(
        "vomma_rpc_client_connections", .gauge, labels: ["peer"],
        "Connections open to a peer, also those still in their handshake.")
    private static let clientEnded = MetricDefinition(
        "vomma_rpc_client_connections_ended_total", .counter, labels: ["peer", "reason"],
        "Connections to a peer ended, by reason.")
    private static let clientFailures = MetricDefinition(
        "vomma_rpc_client_connect_failures_total", .counter, labels: ["peer"],
        "Attempts to connect to a peer that failed, handshakes included.")
    private static let clientWriters = MetricDefinition(
        "vomma_rpc_client_writers_waiting", .gauge, labels: ["peer"],
        "Writers of requests that wait because the peer does not read fast enough.")
    private static let clientWait = MetricDefinition(
        "vomma_rpc_client_writer_wait_seconds", .histogram(bounds: MetricDefinition.latencyBounds), labels: ["peer"],
        "Waits of writers of requests for room to write, in seconds.")
}
