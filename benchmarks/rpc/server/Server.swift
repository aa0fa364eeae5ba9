internal import Glibc
internal import Logging
internal import NIOCore
internal import RPC
internal import Telemetry
internal import VommaProto

/// `vomma.testing.v1.Load` as a user of the module writes it: async handlers, generated types.
struct Load: TestingLoadService {
    func echo(_ request: TestingLoadMessage, context: CallContext) async throws -> TestingLoadMessage { request }

    func flow(
        _ request: TestingFlowRequest, responses: ResponseWriter<TestingLoadMessage>, context: CallContext
    ) async throws {
        let message = TestingLoadMessage(body: [UInt8](repeating: 7, count: Int(request.size)))
        for _ in 0..<request.count { try await responses.write(message) }
    }
}

/// Serves on a free port of loopback, on one thread, with all that a service has on, and prints `listening port=…`.
@main struct Server {
    static func main() {
        FreedMemory.keep()
        // Detached: what the first thread starts would else wait for it.
        Task.detached {
            do {
                try await serve()
            } catch {
                print(error)
                exit(1)
            }
        }
        // An async `main` leaves the first thread in a `sigsuspend` that valgrind 3.19 dies of.
        while true { pause() }
    }

    private static func serve() async throws {
        NIOSingletons.groupLoopCountSuggestion = 1
        var configuration = RPCServerConfiguration()
        // One call is a message of 1 MiB.
        configuration.maxMessageByteCount = 8 << 20
        let log = Logger(label: "rpc-bench-server")
        configuration.interceptors = [ServerMetrics(MetricRegistry()), ServerTracing(), ServerLogging(log)]
        let server = RPCServer(configuration, services: [Load()], log: log)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            print("listening port=\(try await server.boundPort)")
            fflush(nil)
            try await group.next()
        }
    }
}
