public import RPC
internal import Synchronization
public import VommaProto

/// grpc.health.v1: SERVING for the whole server (`""`) and for each of its services, until the process drains.
public final class Health: HealthService {
    private let services: Set<String>
    private struct State {
        var isServing = true
        var watchers: [Int: CheckedContinuation<Void, Never>] = [:]
        var nextWatcher = 0
    }
    private let state = Mutex(State())

    public init(services: [String]) { self.services = Set(services) }

    /// From now on every check answers NOT_SERVING, and watchers are told so and their calls ended.
    public func stopServing() {
        let watchers = state.withLock { state in
            state.isServing = false
            defer { state.watchers = [:] }
            return Array(state.watchers.values)
        }
        for watcher in watchers { watcher.resume() }
    }

    private func status(of service: String) -> HealthCheckResponse.ServingStatus {
        guard service.isEmpty || services.contains(service) else { return .serviceUnknown }
        return state.withLock { $0.isServing } ? .serving : .notServing
    }

    public func check(_ request: HealthCheckRequest, context: CallContext) async throws -> HealthCheckResponse {
        let status = status(of: request.service)
        guard status != .serviceUnknown else { throw RPCStatus(.notFound, "no service “\(request.service)” here") }
        return HealthCheckResponse(status: status)
    }

    public func watch(
        _ request: HealthCheckRequest, responses: ResponseWriter<HealthCheckResponse>, context: CallContext
    ) async throws {
        let first = status(of: request.service)
        try await responses.write(HealthCheckResponse(status: first))
        // A process that drains has no other status to come.
        guard first != .notServing else { return }
        await waitUntilStopped()
        try Task.checkCancellation()
        // An unknown service stays one: the end of the call is all that its watcher learns.
        let last = status(of: request.service)
        if last != first { try await responses.write(HealthCheckResponse(status: last)) }
    }

    private func waitUntilStopped() async {
        let id = state.withLock { state in
            state.nextWatcher += 1
            return state.nextWatcher
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if !state.isServing || Task.isCancelled { return true }
                    state.watchers[id] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.watchers.removeValue(forKey: id) }?.resume()
        }
    }
}
