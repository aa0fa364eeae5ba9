import Logging
import NIOConcurrencyHelpers

@testable import RPC

/// A message that is just its bytes; those that begin with 0xFF are malformed.
struct Blob: RPCMessage, Equatable {
    var bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }
    init(_ text: String) { bytes = Array(text.utf8) }
    init(_ number: Int) { self.init(String(number)) }
    init(repeating byte: UInt8 = 7, count: Int) { bytes = Array(repeating: byte, count: count) }

    init(serializedBytes bytes: RawSpan) throws {
        self.bytes = unsafe bytes.withUnsafeBytes { unsafe Array($0) }
        if self.bytes.first == 0xFF { throw Malformed() }
    }

    func serializedBytes() -> [UInt8] { bytes }

    var text: String { String(decoding: bytes, as: UTF8.self) }
    var number: Int { Int(text) ?? -1 }

    struct Malformed: Error {}
}

/// A counter that tasks may wait on: assertions by counts, not by time.
final class Counter: Sendable {
    private struct State {
        var value = 0
        var waiters: [(atLeast: Int, waiter: Waiter<Void>)] = []
    }
    private let state = NIOLockedValueBox(State())

    var value: Int { state.withLockedValue { $0.value } }

    func increment() {
        let ready = state.withLockedValue { state in
            state.value += 1
            let ready = state.waiters.filter { $0.atLeast <= state.value }
            state.waiters.removeAll { $0.atLeast <= state.value }
            return ready
        }
        for entry in ready { entry.waiter.resume(()) }
    }

    func reached(_ atLeast: Int) async {
        await Waiter<Void>.suspend { waiter in
            let isThere = state.withLockedValue { state in
                if state.value < atLeast { state.waiters.append((atLeast, waiter)) }
                return state.value >= atLeast
            }
            if isThere { waiter.resume(()) }
        }
    }
}

/// Starts a server on this port, or on a free one to which it may come back: none of those that the system gives to
/// outgoing connections, which begin at 32,768. A port in use is tried until it is free: a child process that is just
/// being started holds every socket of ours for a moment.
func startServer(
    _ configuration: RPCServerConfiguration, port: Int?, _ methods: [RPCMethod]
) async throws -> (server: RPCServer, port: Int, task: Task<Void, any Error>) {
    var configuration = configuration
    while true {
        configuration.port = port ?? Int.random(in: 15_000..<32_000)
        let server = RPCServer(configuration, services: [TestService(methods: methods)], log: quiet)
        let task = Task { try await server.run() }
        do {
            return (server, try await server.boundPort, task)
        } catch RPCError.addressInUse where !Task.isCancelled {
            await Task.yield()
        }
    }
}

struct TestService: RPCService {
    var serviceName = "test.Service"
    var methods: [RPCMethod]
}

let quiet: Logger = {
    var log = Logger(label: "test")
    log.logLevel = .critical
    return log
}()

/// Runs a server with these methods and a channel to it around the body; the server is cancelled afterwards.
func withServer<Result: Sendable>(
    _ methods: [RPCMethod], configure: (inout RPCServerConfiguration) -> Void = { _ in },
    configureChannel: (inout RPCChannelConfiguration) -> Void = { _ in },
    _ body: @escaping @Sendable (RPCServer, RPCChannel) async throws -> Result
) async throws -> Result {
    var configuration = RPCServerConfiguration()
    configure(&configuration)
    var channelConfiguration = RPCChannelConfiguration()
    // The server's loop may be busy with other tests for longer than a server of its own would be.
    channelConfiguration.connectTimeout = .seconds(60)
    configureChannel(&channelConfiguration)
    let server = RPCServer(configuration, services: [TestService(methods: methods)], log: quiet)
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await server.run() }
        let port = try await server.boundPort
        let channel = RPCChannel(host: "127.0.0.1", port: port, configuration: channelConfiguration, log: quiet)
        let result = await Swift.Result { try await body(server, channel) }
        await channel.close()
        group.cancelAll()
        try await group.waitForAll()
        return try result.get()
    }
}

/// Calls back at the end of each call.
struct OnEnd: ServerInterceptor, ServerCallHooks {
    let body: @Sendable (String, RPCStatus) -> Void

    init(_ body: @escaping @Sendable (String, RPCStatus) -> Void) { self.body = body }
    func hooks(for method: MethodDescription) -> any ServerCallHooks { self }
    func end(_ context: CallContext, _ status: RPCStatus, _ summary: CallSummary) { body(context.path, status) }
}

extension Result where Failure == any Error {
    init(_ body: () async throws -> Success) async {
        do {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}

/// The status that the body throws; OK if it throws none.
func status(_ body: () async throws -> Void) async -> RPCStatus {
    do {
        try await body()
        return .ok
    } catch let status as RPCStatus {
        return status
    } catch {
        return RPCStatus(.unknown, "not a status: \(error)")
    }
}

/// SplitMix64, so that a failure's seed reproduces it.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
