public import CoreMetrics
internal import Telemetry

/// Counts the calls that a server answers, by method and status, and how long they took. See docs/metrics.md.
///
/// Instruments are made for each method when the server starts, all statuses at once, so that a call costs six atomic
/// additions and no look-up.
public struct ServerMetrics: ServerInterceptor {
    private let factory: any MetricsFactory

    public init(_ factory: any MetricsFactory) { self.factory = factory }

    public func hooks(for method: MethodDescription) -> any ServerCallHooks {
        CallInstruments(.server, method.path.isEmpty ? "unknown" : method.path, factory)
    }
}

/// Counts the calls that a channel makes. See docs/metrics.md.
public struct ClientMetrics: ClientInterceptor {
    private let factory: any MetricsFactory

    public init(_ factory: any MetricsFactory) { self.factory = factory }

    public func hooks(for path: String) -> any ClientCallHooks { CallInstruments(.client, path, factory) }
}

/// The metric families of one side.
private struct CallMetrics {
    let calls: MetricDefinition
    let latency: MetricDefinition
    let inFlight: MetricDefinition
    let requests: MetricDefinition
    let requestBytes: MetricDefinition
    let responses: MetricDefinition
    let responseBytes: MetricDefinition

    static let server = CallMetrics(
        calls: MetricDefinition(
            "vomma_rpc_server_calls_total", .counter, labels: ["method", "status"],
            "Calls answered, by method and gRPC status."),
        latency: MetricDefinition(
            "vomma_rpc_server_call_seconds", .histogram(bounds: MetricDefinition.latencyBounds), labels: ["method"],
            "Time from a call's head to its status, in seconds."),
        inFlight: MetricDefinition(
            "vomma_rpc_server_calls_in_flight", .gauge, labels: ["method"], "Calls begun and not answered yet."),
        requests: MetricDefinition(
            "vomma_rpc_server_messages_received_total", .counter, labels: ["method"], "Request messages received."),
        requestBytes: MetricDefinition(
            "vomma_rpc_server_received_bytes_total", .counter, labels: ["method"],
            "Bytes of request messages, as they travelled."),
        responses: MetricDefinition(
            "vomma_rpc_server_messages_sent_total", .counter, labels: ["method"], "Response messages queued to be sent."
        ),
        responseBytes: MetricDefinition(
            "vomma_rpc_server_sent_bytes_total", .counter, labels: ["method"],
            "Bytes of response messages, as they travel."))

    static let client = CallMetrics(
        calls: MetricDefinition(
            "vomma_rpc_client_calls_total", .counter, labels: ["method", "status"],
            "Calls made, by method and gRPC status."),
        latency: MetricDefinition(
            "vomma_rpc_client_call_seconds", .histogram(bounds: MetricDefinition.latencyBounds), labels: ["method"],
            "Time from a call's start to its status, waiting for a connection included, in seconds."),
        inFlight: MetricDefinition(
            "vomma_rpc_client_calls_in_flight", .gauge, labels: ["method"], "Calls made and not answered yet."),
        requests: MetricDefinition(
            "vomma_rpc_client_messages_sent_total", .counter, labels: ["method"], "Request messages queued to be sent."
        ),
        requestBytes: MetricDefinition(
            "vomma_rpc_client_sent_bytes_total", .counter, labels: ["method"],
            "Bytes of request messages, as they travel."),
        responses: MetricDefinition(
            "vomma_rpc_client_messages_received_total", .counter, labels: ["method"], "Response messages received."),
        responseBytes: MetricDefinition(
            "vomma_rpc_client_received_bytes_total", .counter, labels: ["method"],
            "Bytes of response messages, as they travelled."))
}

/// The instruments of one method, for either side.
private struct CallInstruments: ServerCallHooks, ClientCallHooks {
    /// By the status's number.
    private let calls: [Counter]
    private let latency: CoreMetrics.Timer
    private let inFlight: Meter
    private let requests: Counter
    private let requestBytes: Counter
    private let responses: Counter
    private let responseBytes: Counter

    init(_ metrics: CallMetrics, _ path: String, _ factory: any MetricsFactory) {
        calls = StatusCode.allCases.map { metrics.calls.counter(path, $0.name, in: factory) }
        latency = metrics.latency.timer(path, in: factory)
        inFlight = metrics.inFlight.meter(path, in: factory)
        requests = metrics.requests.counter(path, in: factory)
        requestBytes = metrics.requestBytes.counter(path, in: factory)
        responses = metrics.responses.counter(path, in: factory)
        responseBytes = metrics.responseBytes.counter(path, in: factory)
    }

    func begin(_ context: inout CallContext) -> RPCStatus? {
        inFlight.increment()
        return nil
    }

    func begin(_ call: inout OutgoingCall) -> RPCStatus? {
        inFlight.increment()
        return nil
    }

    func progress(_ traffic: CallTraffic) {
        if traffic.requestCount > 0 {
            requests.increment(by: traffic.requestCount)
            requestBytes.increment(by: traffic.requestByteCount)
        }
        if traffic.responseCount > 0 {
            responses.increment(by: traffic.responseCount)
            responseBytes.increment(by: traffic.responseByteCount)
        }
    }

    func end(_ context: CallContext, _ status: RPCStatus, _ summary: CallSummary) { end(status, summary) }
    func end(_ call: OutgoingCall, _ status: RPCStatus, _ summary: CallSummary) { end(status, summary) }

    private func end(_ status: RPCStatus, _ summary: CallSummary) {
        progress(summary.unreported)
        calls[status.code.rawValue].increment()
        guard summary.hasBegun else { return }
        inFlight.decrement()
        latency.recordNanoseconds(summary.nanoseconds)
    }
}

extension StatusCode {
    /// As the gRPC documents write it: `DEADLINE_EXCEEDED`.
    public var name: String {
        switch self {
        case .ok: "OK"
        case .cancelled: "CANCELLED"
        case .unknown: "UNKNOWN"
        case .invalidArgument: "INVALID_ARGUMENT"
        case .deadlineExceeded: "DEADLINE_EXCEEDED"
        case .notFound: "NOT_FOUND"
        case .alreadyExists: "ALREADY_EXISTS"
        case .permissionDenied: "PERMISSION_DENIED"
        case .resourceExhausted: "RESOURCE_EXHAUSTED"
        case .failedPrecondition: "FAILED_PRECONDITION"
        case .aborted: "ABORTED"
        case .outOfRange: "OUT_OF_RANGE"
        case .unimplemented: "UNIMPLEMENTED"
        case .internal: "INTERNAL"
        case .unavailable: "UNAVAILABLE"
        case .dataLoss: "DATA_LOSS"
        case .unauthenticated: "UNAUTHENTICATED"
        }
    }
}
