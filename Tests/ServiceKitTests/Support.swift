import Logging
import RPC
import Synchronization

/// A number that only grows, and that tasks can wait on: tests wait for events, never for time.
final class Count: Sendable {
    private struct State {
        var value = 0
        var waiters: [(atLeast: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }
    private let state = Mutex(State())

    var value: Int { state.withLock { $0.value } }

    func increment() {
        let ready = state.withLock { state in
            state.value += 1
            let value = state.value
            defer { state.waiters.removeAll { $0.atLeast <= value } }
            return state.waiters.filter { $0.atLeast <= value }
        }
        for waiter in ready { waiter.continuation.resume() }
    }

    func reached(_ atLeast: Int) async {
        await withCheckedContinuation { continuation in
            let isThere = state.withLock { state in
                if state.value < atLeast { state.waiters.append((atLeast, continuation)) }
                return state.value >= atLeast
            }
            if isThere { continuation.resume() }
        }
    }
}

/// A fault that only tests make.
struct Fault: Error, Equatable { var number = 0 }

/// Lets other tasks run: often enough that one which can go on has done so.
func letOthersRun() async { for _ in 0..<50 { await Task.yield() } }

/// The error that the body throws; `nil` if it throws none.
func thrown(_ body: () async throws -> Void) async -> (any Error)? {
    do {
        try await body()
        return nil
    } catch {
        return error
    }
}

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Runs a server of these services on loopback, and a channel to it, around the body.
func withServer(
    _ services: [any RPCService], interceptors: [any ServerInterceptor] = [],
    _ body: @escaping @Sendable (RPCServer, RPCChannel) async throws -> Void
) async throws {
    var configuration = RPCServerConfiguration()
    configuration.interceptors = interceptors
    let server = RPCServer(configuration, services: services, log: quiet)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await server.run() }
        let channel = RPCChannel(host: "127.0.0.1", port: try await server.boundPort, log: quiet)
        let error = await thrown { try await body(server, channel) }
        await channel.close()
        group.cancelAll()
        try await group.waitForAll()
        if let error { throw error }
    }
}
