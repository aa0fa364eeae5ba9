import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing

@testable import RPC

/// Names as a test tells them.
private final class ScriptedResolver: NameResolver {
    private let answer = NIOLockedValueBox<Result<[String], NameFailure>>(.success([]))

    init(_ addresses: [String]) { say(.success(addresses)) }

    func say(_ result: Result<[String], NameFailure>) { answer.withLockedValue { $0 = result } }

    func addresses(of target: Address, on loop: any EventLoop) -> EventLoopFuture<[SocketAddress]> {
        loop.submit {
            try self.answer.withLockedValue { $0 }.get().map { try SocketAddress(ipAddress: $0, port: target.port) }
        }
    }
}

/// A server on one of loopback's many addresses, which counts its calls.
private struct Replica {
    let calls = Counter()
    let host: String
    let port: Int
    private let task: Task<Void, any Error>

    init(_ host: String, port: Int? = nil, methods: [RPCMethod] = []) async throws {
        self.host = host
        let calls = calls
        let who = RPCMethod.unary("/test.Service/Who") { (_: Blob, _) -> Blob in
            calls.increment()
            return Blob(host)
        }
        (_, self.port, task) = try await startServer(
            RPCServerConfiguration(host: host), port: port, [who] + methods)
    }

    /// Ends it at once, as a kill would.
    func stop() async throws {
        task.cancel()
        try await task.value
    }
}

private func who(_ channel: RPCChannel, waitForReady: Bool = false) async -> Result<String, RPCStatus> {
    do {
        let options = CallOptions(timeout: .seconds(30), waitForReady: waitForReady)
        return .success((try await channel.unary("/test.Service/Who", Blob("?"), options: options) as Blob).text)
    } catch let status as RPCStatus {
        return .failure(status)
    } catch {
        return .failure(RPCStatus(.unknown, "\(error)"))
    }
}

/// Calls until one succeeds: the end of a connection may be noticed by a call only.
private func firstAnswer(_ channel: RPCChannel) async -> String? {
    while !Task.isCancelled {
        switch await who(channel) {
        case .success(let host): return host
        case .failure(let status): #expect(status.code == .unavailable || Task.isCancelled)
        }
    }
    return nil
}

extension RPCChannel {
    /// To one name, with quick looks at the script.
    fileprivate convenience init(
        port: Int, _ resolver: ScriptedResolver, _ balancing: Balancing = .pickFirst,
        configure: (inout RPCChannelConfiguration) -> Void = { _ in }
    ) {
        var configuration = RPCChannelConfiguration()
        configuration.balancing = balancing
        configuration.resolutionInterval = .zero
        configuration.refreshInterval = .milliseconds(10)
        configuration.initialBackoff = .milliseconds(1)
        configuration.maxBackoff = .milliseconds(5)
        // A busy machine takes its time.
        configuration.connectTimeout = .seconds(60)
        configure(&configuration)
        self.init([Address(host: "replicas", port: port)], configuration: configuration, resolver: resolver, log: quiet)
    }
}

@Suite(.timeLimit(.minutes(1))) struct ChannelTests {
    @Test("Pick-first: the first address that answers takes every call, and when it is gone the next one")
    func pickFirst() async throws {
        let second = try await Replica("127.0.0.2")
        let third = try await Replica("127.0.0.3", port: second.port)
        let resolver = ScriptedResolver(["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        let channel = RPCChannel(port: second.port, resolver)
        // The second, unless it took so long that the third was tried beside it.
        let chosen = await firstAnswer(channel)
        for _ in 0..<5 { #expect(await who(channel).map { $0 == chosen } == .success(true)) }
        let (gone, left) = chosen == second.host ? (second, third) : (third, second)
        try await gone.stop()
        #expect(await firstAnswer(channel) == left.host)
        try await left.stop()
        await channel.close()
    }

    @Test("Several configured addresses are one server's; the calls fail when all of them do")
    func severalAddresses() async throws {
        let replica = try await Replica("127.0.0.2")
        let addresses = [Address(host: "127.0.0.1", port: replica.port), Address(host: "127.0.0.2", port: replica.port)]
        var configuration = RPCChannelConfiguration()
        configuration.connectTimeout = .seconds(60)
        let channel = RPCChannel(addresses, configuration: configuration, log: quiet)
        #expect(await who(channel) == .success("127.0.0.2"))
        try await replica.stop()
        var answer = await who(channel)
        while case .success = answer { answer = await who(channel) }
        #expect(throws: RPCStatus.self) { try answer.get() }
        await channel.close()
    }

    @Test("Round-robin: every address gets the same share; one that is gone is left out, and comes back")
    func roundRobin() async throws {
        let first = try await Replica("127.0.0.1")
        let second = try await Replica("127.0.0.2", port: first.port)
        let third = try await Replica("127.0.0.3", port: first.port)
        let resolver = ScriptedResolver(["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        let channel = RPCChannel(port: first.port, resolver, .roundRobin)
        while [first, second, third].contains(where: { $0.calls.value == 0 }) { _ = try await who(channel).get() }
        let before = [first, second, third].map { $0.calls.value }
        for _ in 0..<9 { _ = try await who(channel).get() }
        #expect(zip([first, second, third], before).map { $0.calls.value - $1 } == [3, 3, 3])

        try await second.stop()
        // Calls that were on their way to it fail, those after that go to the others.
        #expect(await firstAnswer(channel) != nil)
        for _ in 0..<6 { #expect(await who(channel) != .success("127.0.0.2")) }
        let again = try await Replica("127.0.0.2", port: first.port)
        while again.calls.value == 0 { _ = try await who(channel).get() }
        for replica in [first, again, third] { try await replica.stop() }
        await channel.close()
    }

    @Test("Round-robin finds an address that is added, and leaves one that is taken away")
    func refresh() async throws {
        let first = try await Replica("127.0.0.1")
        let second = try await Replica("127.0.0.2", port: first.port)
        let resolver = ScriptedResolver(["127.0.0.1"])
        let channel = RPCChannel(port: first.port, resolver, .roundRobin)
        #expect(await who(channel) == .success("127.0.0.1"))
        resolver.say(.success(["127.0.0.1", "127.0.0.2"]))
        while second.calls.value == 0 { _ = try await who(channel).get() }
        resolver.say(.success(["127.0.0.2"]))
        var row = 0
        while row < 10, !Task.isCancelled { row = await who(channel) == .success("127.0.0.2") ? row + 1 : 0 }
        for replica in [first, second] { try await replica.stop() }
        await channel.close()
    }

    @Test("A name that changes its address is followed as soon as the old one fails")
    func changedAddress() async throws {
        let first = try await Replica("127.0.0.1")
        let resolver = ScriptedResolver(["127.0.0.1"])
        let channel = RPCChannel(port: first.port, resolver)
        #expect(await who(channel) == .success("127.0.0.1"))
        let second = try await Replica("127.0.0.2", port: first.port)
        resolver.say(.success(["127.0.0.2"]))
        // Nothing is wrong with the old one yet.
        #expect(await who(channel) == .success("127.0.0.1"))
        try await first.stop()
        #expect(await firstAnswer(channel) == "127.0.0.2")
        try await second.stop()
        await channel.close()
    }

    @Test("A name that cannot be resolved fails calls with its reason; those that wait go out when it can")
    func unresolvable() async throws {
        let replica = try await Replica("127.0.0.1")
        let resolver = ScriptedResolver([])
        resolver.say(.failure(NameFailure(reason: "no such name")))
        let channel = RPCChannel(port: replica.port, resolver)
        #expect(
            await who(channel)
                == .failure(RPCStatus(.unavailable, "cannot resolve replicas:\(replica.port): no such name")))
        resolver.say(.success([]))
        guard case .failure(let status) = await who(channel) else {
            Issue.record("a name without an address was reached")
            return
        }
        #expect(status.message.contains("cannot resolve"))
        async let waiting = who(channel, waitForReady: true)
        resolver.say(.success(["127.0.0.1"]))
        #expect(await waiting == .success("127.0.0.1"))
        // A failure of the name service does no harm to what is known.
        resolver.say(.failure(NameFailure(reason: "no such name")))
        try await replica.stop()
        let again = try await Replica("127.0.0.1", port: replica.port)
        #expect(await firstAnswer(channel) == "127.0.0.1")
        try await again.stop()
        await channel.close()
    }

    @Test("A name service that does not answer fails the calls that do not wait by the connect timeout")
    func silentNameService() async throws {
        struct Silence: NameResolver {
            let promise: EventLoopPromise<[SocketAddress]>
            func addresses(of target: Address, on loop: any EventLoop) -> EventLoopFuture<[SocketAddress]> {
                promise.futureResult.hop(to: loop)
            }
        }
        let replica = try await Replica("127.0.0.1")
        let promise = MultiThreadedEventLoopGroup.singleton.any().makePromise(of: [SocketAddress].self)
        var configuration = RPCChannelConfiguration()
        configuration.connectTimeout = .milliseconds(20)
        let channel = RPCChannel(
            [Address(host: "replicas", port: replica.port)], configuration: configuration,
            resolver: Silence(promise: promise), log: quiet)
        guard case .failure(let status) = await who(channel) else {
            Issue.record("a name without an address was reached")
            return
        }
        #expect(status.code == .unavailable && status.message.contains("does not answer"))
        async let waiting = who(channel, waitForReady: true)
        promise.succeed([try SocketAddress(ipAddress: "127.0.0.1", port: replica.port)])
        #expect(await waiting == .success("127.0.0.1"))
        try await replica.stop()
        await channel.close()
    }

    @Test("The system's resolver knows loopback, and says why a name has no address")
    func systemResolver() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        let found = try await SystemResolver().addresses(of: Address(host: "localhost", port: 7), on: loop).get()
        #expect(found.contains(try SocketAddress(ipAddress: "127.0.0.1", port: 7)))
        // No label is as long as that, so that nobody has to be asked.
        let impossible = Address(host: String(repeating: "a", count: 64) + ".invalid", port: 7)
        let failed = await status { _ = try await SystemResolver().addresses(of: impossible, on: loop).get() }
        #expect(failed.message.contains("NameFailure"))
    }

    @Test("A server killed in the middle of a stream: what came is read, then UNAVAILABLE; the next call finds it again")
    func killedMidStream() async throws {
        let endless = RPCMethod.serverStreaming("/test.Service/Endless") { (_: Blob, writer: ResponseWriter<Blob>, _) in
            try await writer.write(Blob("one"))
            try await writer.write(Blob("two"))
            _ = await OneShot<Void>().wait()
        }
        let first = try await Replica("127.0.0.1", methods: [endless])
        let channel = RPCChannel(host: "127.0.0.1", port: first.port, log: quiet)
        let (read, received) = (NIOLockedValueBox<[String]>([]), Counter())
        async let ended = status {
            for try await message in channel.serverStreaming("/test.Service/Endless", Blob("")) as ResponseStream<Blob> {
                read.withLockedValue { $0.append(message.text) }
                received.increment()
            }
        }
        await received.reached(2)
        try await first.stop()
        #expect(await ended.code == .unavailable)
        #expect(read.withLockedValue { $0 } == ["one", "two"])
        let second = try await Replica("127.0.0.1", port: first.port)
        #expect(await who(channel, waitForReady: true) == .success("127.0.0.1"))
        #expect(await who(channel) == .success("127.0.0.1"))
        try await second.stop()
        await channel.close()
    }
}

// MARK: - Calls that the server never processed

/// A server whose connections do with each request what its script says: one entry a request, the last one for the
/// rest.
private final class StubbornServer: HTTP2Connection {
    enum Reaction {
        case refuse
        /// GOAWAY that leaves the request out.
        case goAway
        case hangUp
        /// Nothing at all.
        case ignore
        case echo
    }

    final class Script: Sendable {
        let requests = Counter()
        private let reactions: [Reaction]
        private let connections = NIOLockedValueBox<[any Channel]>([])
        init(_ reactions: [Reaction]) { self.reactions = reactions }

        func next() -> Reaction {
            requests.increment()
            return reactions[min(requests.value, reactions.count) - 1]
        }

        func connected(_ channel: any Channel) { connections.withLockedValue { $0.append(channel) } }

        /// Cuts every connection so far.
        func hangUp() { for channel in connections.withLockedValue({ $0 }) { channel.close(promise: nil) } }
    }

    private let script: Script
    private var received: [HTTP2Session.StreamReference: [UInt8]] = [:]
    private var echoed: Set<HTTP2Session.StreamReference> = []

    init(_ script: Script, maxStreams: Int, loop: any EventLoop) throws {
        self.script = script
        var http2 = HTTP2Configuration()
        http2.maxConcurrentStreamCount = maxStreams
        try super.init(.server, http2, keepAlive: KeepAliveConfiguration(), loop: loop, log: quiet)
    }

    override func handle(_ event: HTTP2Session.Event, input: UnsafeRawBufferPointer) {
        switch event {
        case .headers(let stream, _):
            switch script.next() {
            case .refuse: session.reset(stream, .refusedStream)
            case .goAway:
                let frame: [UInt8] = [0, 0, 8, 7] + Array(repeating: 0, count: 13)
                context?.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: frame)), promise: nil)
            case .hangUp: context?.close(promise: nil)
            case .ignore: break
            case .echo: echoed.insert(stream)
            }
        case .data(let stream, let range): unsafe received[stream, default: []] += input[range]
        case .endStream(let stream) where echoed.contains(stream):
            session.respond(stream, GRPCHeaders.response([:]), hasBody: true)
            session.enqueue(stream, .init(received[stream] ?? []))
            session.finish(stream, trailers: GRPCHeaders.trailers(.ok, [:]))
            scheduleFlush()
        case .closed(let stream, _): session.release(stream)
        default: break
        }
    }

    static func run<Result: Sendable>(
        _ script: Script, maxStreams: Int = 100, _ body: (RPCChannel) async throws -> Result
    ) async throws -> Result {
        try await withListener { channel in
            script.connected(channel)
            if let server = try? StubbornServer(script, maxStreams: maxStreams, loop: channel.eventLoop) {
                try? channel.pipeline.syncOperations.addHandler(server)
            }
        } _: { port in
            let channel = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
            let result = await Swift.Result { try await body(channel) }
            await channel.close()
            return try result.get()
        }
    }
}

/// A server that allows no streams, and hangs up once the client knows it: nothing is ever sent to it.
private final class UnwillingServer: HTTP2Connection {
    init(_ loop: any EventLoop) throws {
        var http2 = HTTP2Configuration()
        http2.maxConcurrentStreamCount = 0
        try super.init(.server, http2, keepAlive: KeepAliveConfiguration(), loop: loop, log: quiet)
    }

    override func handle(_ event: HTTP2Session.Event, input: UnsafeRawBufferPointer) {
        switch event {
        case .settings:
            session.ping()
            scheduleFlush()
        case .pingAnswered: context?.close(promise: nil)
        default: break
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct TransparentRetryTests {
    private func call(_ channel: RPCChannel) async -> RPCStatus {
        await status {
            let answer: Blob = try await channel.unary("/test.Service/Echo", Blob("x"))
            #expect(answer.text == "x")
        }
    }

    @Test("A refused request is made again unseen, a stream of requests too, but once only")
    func refused() async throws {
        let script = StubbornServer.Script([.refuse, .echo])
        try await StubbornServer.run(script) { channel in
            #expect(await call(channel) == .ok)
            #expect(script.requests.value == 2)
        }
        let streams = StubbornServer.Script([.refuse, .echo])
        try await StubbornServer.run(streams) { channel in
            let answer: Blob = try await channel.clientStreaming("/test.Service/Echo") { (writer: RequestWriter<Blob>) in
                try await writer.write(Blob("all of it"))
            }
            #expect(answer.text == "all of it" && streams.requests.value == 2)
        }
        let never = StubbornServer.Script([.refuse])
        try await StubbornServer.run(never) { channel in
            #expect(await call(channel).code == .unavailable)
            #expect(never.requests.value == 2)
        }
        // From there on it is the policy's affair.
        let often = StubbornServer.Script([.refuse, .refuse, .refuse, .echo])
        try await StubbornServer.run(often) { channel in
            var policy = RetryPolicy.idempotent
            policy.initialBackoff = .milliseconds(1)
            let options = CallOptions(retry: policy)
            let answer: Blob = try await channel.unary("/test.Service/Echo", Blob("x"), options: options)
            #expect(answer.text == "x" && often.requests.value == 4)
        }
    }

    @Test("A request that GOAWAY leaves out is made again on another connection")
    func goAway() async throws {
        let script = StubbornServer.Script([.goAway, .echo])
        try await StubbornServer.run(script) { channel in
            #expect(await call(channel) == .ok)
            #expect(script.requests.value == 2)
        }
    }

    @Test("A request that the server may have seen is not made again")
    func hangUp() async throws {
        let script = StubbornServer.Script([.hangUp, .echo])
        try await StubbornServer.run(script) { channel in
            #expect(await call(channel).code == .unavailable)
            #expect(script.requests.value == 1)
        }
    }

    @Test("A request that was never sent, for want of a stream, is made again when its connection is lost")
    func neverSent() async throws {
        let script = StubbornServer.Script([.ignore, .echo])
        try await StubbornServer.run(script, maxStreams: 1) { channel in
            let first = Task { await call(channel) }
            await script.requests.reached(1)
            let second = ClientCall(
                "/test.Service/Echo", request: Array("y".utf8), options: CallOptions(), transport: channel.transport)
            second.start()
            // It has its place on the connection when the loop has come this far.
            try await channel.transport.loop.submit {}.get()
            script.hangUp()
            #expect(await first.value.code == .unavailable)
            let outcome = await second.collectStarted()
            #expect(outcome.status == .ok && outcome.messages == [Array("y".utf8)])
            #expect(script.requests.value == 2)
        }
    }

    @Test("A request that is never sent is made again on one connection after the other, as long as it takes")
    func oftenNeverSent() async throws {
        let refusals = Counter()
        let script = StubbornServer.Script([.echo])
        try await withListener { channel in
            let isUnwilling = refusals.value < 10
            if isUnwilling { refusals.increment() }
            let loop = channel.eventLoop
            let server: HTTP2Connection? =
                isUnwilling ? try? UnwillingServer(loop) : try? StubbornServer(script, maxStreams: 100, loop: loop)
            if let server { try? channel.pipeline.syncOperations.addHandler(server) }
        } _: { port in
            var configuration = RPCChannelConfiguration()
            configuration.initialBackoff = .milliseconds(1)
            let channel = RPCChannel(host: "127.0.0.1", port: port, configuration: configuration, log: quiet)
            #expect(await call(channel) == .ok)
            #expect(refusals.value == 10 && script.requests.value == 1)
            await channel.close()
        }
    }

    @Test("It takes as long as the deadline lets it")
    func neverSentInTime() async throws {
        let connections = Counter()
        try await withListener { channel in
            connections.increment()
            if let server = try? UnwillingServer(channel.eventLoop) {
                try? channel.pipeline.syncOperations.addHandler(server)
            }
        } _: { port in
            var configuration = RPCChannelConfiguration()
            configuration.initialBackoff = .milliseconds(1)
            let channel = RPCChannel(host: "127.0.0.1", port: port, configuration: configuration, log: quiet)
            let ended = await status {
                let options = CallOptions(timeout: .milliseconds(100))
                _ = try await channel.unary("/test.Service/Echo", Blob("x"), options: options) as Blob
            }
            #expect(ended.code == .deadlineExceeded)
            // Not in circles: after the fourth time there is a pause, and it grows.
            #expect(connections.value < 20)
            await channel.close()
        }
    }
}
