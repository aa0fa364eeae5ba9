import LocalStack
import NIOCore
import NIOPosix
import Testing

@testable import RPC

private let echo = RPCMethod.unary("/test.Service/Echo") { (request: Blob, _) in request }

/// Starts a server and returns it, its port and the task that runs it.
private func start(
    _ methods: [RPCMethod], port: Int? = nil, configure: (inout RPCServerConfiguration) -> Void = { _ in }
) async throws -> (server: RPCServer, port: Int, task: Task<Void, any Error>) {
    var configuration = RPCServerConfiguration()
    configure(&configuration)
    return try await startServer(configuration, port: port, methods)
}

private func stop(_ task: Task<Void, any Error>) async throws {
    task.cancel()
    try await task.value
}

/// Waits for the gate, then answers.
private func gated(_ begun: Counter, _ gate: Counter) -> RPCMethod {
    .unary("/test.Service/Gated") { (request: Blob, _) -> Blob in
        begun.increment()
        await gate.reached(1)
        return request
    }
}

private func call(_ channel: RPCChannel, _ path: String = "/test.Service/Echo", _ options: CallOptions = CallOptions())
    async -> RPCStatus
{
    await status { _ = try await channel.unary(path, Blob("x"), options: options) as Blob }
}

@Suite(.timeLimit(.minutes(1))) struct ConnectivityTests {
    private let ready = CallOptions(timeout: .seconds(30), waitForReady: true)

    @Test("A port in use is a typed error; so are a second run and a path registered twice")
    func bindErrors() async throws {
        let (server, port, task) = try await start([echo])
        let second = RPCServer(RPCServerConfiguration(port: port), services: [], log: quiet)
        await #expect(throws: RPCError.addressInUse(host: "127.0.0.1", port: port)) { try await second.run() }
        await #expect(throws: RPCError.addressInUse(host: "127.0.0.1", port: port)) { try await second.boundPort }
        await #expect(throws: RPCError.alreadyRan) { try await server.run() }
        let twice = RPCServer(RPCServerConfiguration(), services: [TestService(methods: [echo, echo])], log: quiet)
        await #expect(throws: RPCError.duplicateMethod(path: echo.path)) { try await twice.run() }
        await #expect(throws: RPCError.notRunning) { try await twice.boundPort }
        let nowhere = RPCServer(RPCServerConfiguration(host: "256.1.1.1"), services: [], log: quiet)
        await #expect(throws: RPCError.self) { try await nowhere.run() }
        try await stop(task)
    }

    @Test("Drain: the call in flight ends well, a new one finds no server, run() returns")
    func drain() async throws {
        let (begun, gate) = (Counter(), Counter())
        let (server, port, task) = try await start([gated(begun, gate), echo]) { $0.drainTimeout = .seconds(30) }
        let channel = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
        async let inFlight = call(channel, "/test.Service/Gated")
        await begun.reached(1)
        server.beginShutdown()
        // GOAWAY moves later calls away from the old connection, and there is no listener for a new one.
        while await call(channel) == .ok {}
        #expect(await call(channel).code == .unavailable)
        gate.increment()
        #expect(await inFlight == .ok)
        try await task.value
        await channel.close()
    }

    @Test("Drain is bounded: a handler that never ends is cancelled, its caller told")
    func boundedDrain() async throws {
        let begun = Counter()
        let endless = RPCMethod.serverStreaming("/test.Service/Endless") { (_: Blob, writer: ResponseWriter<Blob>, _) in
            try await writer.write(Blob("first"))
            begun.increment()
            _ = await OneShot<Void>().wait()
        }
        let (server, port, task) = try await start([endless]) { $0.drainTimeout = .milliseconds(20) }
        let channel = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
        let stream: ResponseStream<Blob> = channel.serverStreaming("/test.Service/Endless", Blob(""))
        async let ended = status { for try await _ in stream {} }
        await begun.reached(1)
        server.beginShutdown()
        try await task.value
        #expect(await ended.code == .unavailable)
        await channel.close()
    }

    @Test("A server that stops fails the calls in flight; the next calls find its successor on the same port")
    func restart() async throws {
        let (begun, gate) = (Counter(), Counter())
        let reserved = try ReservedPorts(1)
        defer { withExtendedLifetime(reserved) {} }
        let port = reserved.numbers[0]
        let (_, _, first) = try await start([gated(begun, gate), echo], port: port)
        let channel = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
        async let inFlight = call(channel, "/test.Service/Gated")
        await begun.reached(1)
        gate.increment()
        _ = await inFlight
        let stuck = Task { await call(channel, "/test.Service/Hang") }
        _ = await stuck.value
        try await stop(first)
        #expect(await call(channel).code == .unavailable)

        async let waiting = call(channel, "/test.Service/Echo", ready)
        let (_, _, second) = try await start([echo], port: port)
        #expect(await waiting == .ok)
        #expect(await call(channel) == .ok)
        try await stop(second)
        await channel.close()
    }

    @Test("A connection that is cut fails its calls at once with UNAVAILABLE")
    func cutConnection() async throws {
        let (begun, gate) = (Counter(), Counter())
        let (_, port, task) = try await start([gated(begun, gate)])
        let channel = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
        let calls = (0..<20).map { _ in Task { await call(channel, "/test.Service/Gated") } }
        await begun.reached(20)
        task.cancel()
        for call in calls { #expect(await call.value.code == .unavailable) }
        gate.increment()
        try await task.value
        await channel.close()
    }

    @Test("Calls that wait for a server that starts later; cancellation and deadline end the wait")
    func waitForReady() async throws {
        let reserved = try ReservedPorts(1)
        defer { withExtendedLifetime(reserved) {} }
        let port = reserved.numbers[0]
        let channel = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
        #expect(await call(channel).code == .unavailable)
        let impatient = CallOptions(timeout: .milliseconds(20), waitForReady: true)
        #expect(await call(channel, "/test.Service/Echo", impatient).code == .deadlineExceeded)
        let cancelled = Task { await call(channel, "/test.Service/Echo", ready) }
        cancelled.cancel()
        #expect(await cancelled.value.code == .cancelled)

        let calls = (0..<50).map { _ in Task { await call(channel, "/test.Service/Echo", ready) } }
        let (_, _, task) = try await start([echo], port: port)
        for call in calls { #expect(await call.value == .ok) }
        try await stop(task)
        await channel.close()
    }

    @Test("The number of waiting calls is bounded")
    func waitingLimit() async throws {
        let reserved = try ReservedPorts(1)
        defer { withExtendedLifetime(reserved) {} }
        let port = reserved.numbers[0]
        var configuration = RPCChannelConfiguration()
        configuration.maxWaitingCallCount = 3
        let channel = RPCChannel(host: "127.0.0.1", port: port, configuration: configuration, log: quiet)
        let results = await withTaskGroup(of: RPCStatus.self) { group in
            for _ in 0..<4 { group.addTask { [ready] in await call(channel, "/test.Service/Echo", ready) } }
            // The one too many ends by itself, the others with the channel.
            let first = await group.next()
            await channel.close()
            return await group.reduce(into: [first]) { $0.append($1) }
        }
        #expect(results.map { $0?.code } == [.resourceExhausted, .unavailable, .unavailable, .unavailable])
        #expect(await call(channel).code == .unavailable)
    }

    @Test("Servers that are none: closing at once, speaking HTTP/1, or saying nothing")
    func strangeServers() async throws {
        func attempt(_ handle: @escaping @Sendable (any Channel) -> Void) async throws -> RPCStatus {
            try await withListener(handle) { port in
                var configuration = RPCChannelConfiguration()
                configuration.connectTimeout = .milliseconds(50)
                let channel = RPCChannel(host: "127.0.0.1", port: port, configuration: configuration, log: quiet)
                let status = await call(channel)
                await channel.close()
                return status
            }
        }
        #expect(try await attempt { $0.close(promise: nil) }.code == .unavailable)
        #expect(
            try await attempt { channel in
                channel.eventLoop.execute {
                    channel.writeAndFlush(ByteBuffer(string: "HTTP/1.1 400 Bad\r\n\r\n"), promise: nil)
                }
            }.code == .unavailable)
        #expect(try await attempt { _ in }.code == .unavailable)
    }

    @Test("Keep-alive finds a server that has gone silent")
    func keepAlive() async throws {
        // Answers the handshake, then nothing: settings, and the acknowledgement of the client's.
        let settings = ByteBuffer(bytes: [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0])
        try await withListener { channel in
            channel.eventLoop.execute { channel.writeAndFlush(settings, promise: nil) }
        } _: { port in
            var configuration = RPCChannelConfiguration()
            configuration.keepAlive.interval = .milliseconds(20)
            configuration.keepAlive.timeout = .milliseconds(20)
            let channel = RPCChannel(host: "127.0.0.1", port: port, configuration: configuration, log: quiet)
            #expect(await call(channel) == RPCStatus(.unavailable, "no answer to keep-alive"))
            await channel.close()
        }
    }

    @Test("Connections above the limit are closed; those below it work")
    func connectionLimit() async throws {
        let (_, port, task) = try await start([echo]) { $0.maxConnectionCount = 1 }
        let first = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
        #expect(await call(first) == .ok)
        let second = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
        #expect(await call(second).code == .unavailable)
        await first.close()
        await second.close()
        try await stop(task)
    }

    @Test("A client that never finishes its handshake, or idles, is sent away")
    func idleConnections() async throws {
        let (_, port, task) = try await start([echo]) {
            $0.handshakeTimeout = .milliseconds(20)
            $0.maxConnectionIdle = .milliseconds(20)
        }
        try await Probe.send(port: port, Array("PRI * HT".utf8), waits: true)
        try await Probe.send(
            port: port, Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0], waits: true)
        try await stop(task)
    }

    @Test("Bytes of any kind on the socket leave the server working")
    func garbage() async throws {
        let (_, port, task) = try await start([echo])
        let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
        var random = SeededGenerator(seed: 11)
        try await Probe.send(port: port, Array("GET / HTTP/1.1\r\n\r\n".utf8), waits: true)
        for _ in 0..<50 {
            let noise = (0..<Int.random(in: 1...500, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            try await Probe.send(port: port, (Bool.random(using: &random) ? preface : []) + noise, waits: false)
        }
        // More control frames than the limit allows.
        let pings = Array(repeating: [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8] as [UInt8], count: 5000)
        try await Probe.send(port: port, preface + pings.flatMap { $0 }, waits: true)
        let channel = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
        #expect(await call(channel) == .ok)
        await channel.close()
        try await stop(task)
    }

    @Test("Objects are freed: calls with their streams, connections with their sessions")
    func nothingIsLeft() async throws {
        final class Token: Sendable {}
        weak var token: Token?
        weak var transport: ClientTransport?
        do {
            let kept = Token()
            token = kept
            let method = RPCMethod.unary("/test.Service/Echo") { [kept] (request: Blob, _) -> Blob in
                withExtendedLifetime(kept) { request }
            }
            let (_, port, task) = try await start([method])
            let channel = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
            transport = channel.transport
            for _ in 0..<10 { #expect(await call(channel) == .ok) }
            await channel.close()
            try await stop(task)
        }
        // The loops let go of what they still hold in their next turns.
        for _ in 0..<10 {
            for loop in MultiThreadedEventLoopGroup.singleton.makeIterator() { try await loop.submit {}.get() }
        }
        #expect(token == nil)
        #expect(transport == nil)
    }
}
