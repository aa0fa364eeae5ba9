import InteropService
import NIOConcurrencyHelpers
import NIOCore
import NIOEmbedded
import Testing

@testable import RPC

private let both = RPCMethod.bidirectional("/test.Service/Both") {
    (requests: RequestStream<Blob>, writer: ResponseWriter<Blob>, _) in
    for try await request in requests { try await writer.write(request) }
}

/// A server's connection without a socket, and a client's session at its other end. Time is what a test says it is.
private final class Embedded {
    let connection: ServerConnection
    let client: End
    private let loop = EmbeddedEventLoop()
    private let channel: EmbeddedChannel
    /// Whether the client takes what the server sends.
    var isReading = true
    private let opened = NIODeadline.now()
    /// All that the server sent.
    private(set) var sent: [UInt8] = []

    init(_ configure: (inout RPCServerConfiguration) -> Void) throws {
        var configuration = RPCServerConfiguration()
        configure(&configuration)
        let environment = ServerConnection.Environment(
            configuration, try MethodTable([TestService(methods: [both])]), MemoryBudget(limit: 1 << 20), log: quiet)
        connection = try ServerConnection(environment, peer: "test", loop: loop)
        client = try End(.client)
        channel = EmbeddedChannel(loop: loop)
        try channel.pipeline.syncOperations.addHandler(connection)
        channel.connect(to: try SocketAddress(unixDomainSocketPath: "test"), promise: nil)
        try settle()
    }

    /// Whether the server has left the socket open, for longer than it lets a client close it.
    var isOpen: Bool {
        loop.advanceTime(by: .seconds(1))
        return channel.isActive
    }

    /// Carries bytes both ways until neither side has any.
    func settle() throws {
        while true {
            let up = try client.produce()
            if !up.isEmpty, channel.isActive { try channel.writeInbound(ByteBuffer(bytes: up)) }
            loop.run()
            var down: [UInt8] = []
            while let buffer = try channel.readOutbound(as: ByteBuffer.self) { down += buffer.readableBytesView }
            if up.isEmpty, down.isEmpty { return }
            sent += down
            if isReading { try client.receive(down) }
        }
    }

    /// Gives the server bytes of which the client knows nothing.
    func write(_ bytes: [UInt8]) throws {
        try channel.writeInbound(ByteBuffer(bytes: bytes))
        loop.run()
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) { sent += buffer.readableBytesView }
    }

    /// Lets the server look at its clock, which says that the connection is so old.
    func tick(age: TimeAmount) throws {
        connection.tick(now: opened + age)
        connection.flush()
        try settle()
    }

    /// Begins a call and has its first message come back.
    func begin() throws -> HTTP2Session.StreamReference {
        var head = HeaderFields()
        for (name, value) in Probe.plain { head.append(name, (name == ":path" ? both.path : value).utf8) }
        let stream = try client.session.request(head)
        try say(1, on: stream)
        return stream
    }

    func say(_ byte: UInt8, on stream: HTTP2Session.StreamReference) throws {
        client.session.enqueue(stream, .init(message: [byte]))
        try settle()
    }

    func ping() throws {
        client.session.ping()
        try settle()
    }

    var goAways: [HTTP2ErrorCode] {
        client.events.compactMap { if case .goAway(let code) = $0 { code } else { nil } }
    }

    func status(of stream: HTTP2Session.StreamReference) -> String? {
        client.heads.last { $0.0 == stream.id }?.1["grpc-status"]
    }

    deinit { _ = try? channel.finish(acceptAlreadyClosed: true) }
}

@Suite(.timeLimit(.minutes(1))) struct ConnectionAgeTests {
    @Test("A connection that is old takes no new calls, and ends with its last one")
    func drains() throws {
        let pair = try Embedded { $0.maxConnectionAge = .seconds(3600) }
        let stream = try pair.begin()
        try pair.tick(age: .minutes(53))
        #expect(pair.goAways.isEmpty)
        try pair.tick(age: .minutes(67))
        // The notice, and the final word once the client has seen it.
        #expect(pair.goAways == [.noError, .noError] && pair.isOpen)
        try pair.say(2, on: stream)
        try pair.tick(age: .hours(1000))
        try pair.say(3, on: stream)
        #expect(pair.client.data[stream.id] == frame([1]) + frame([2]) + frame([3]))
        let late = try pair.begin()
        #expect(pair.client.closed[late.id] == .refusedStream)
        pair.client.session.finish(stream, trailers: nil)
        try pair.settle()
        #expect(pair.status(of: stream) == "0" && !pair.isOpen)
    }

    @Test("After their grace its calls end with UNAVAILABLE")
    func grace() throws {
        let pair = try Embedded {
            $0.maxConnectionAge = .seconds(3600)
            $0.maxConnectionAgeGrace = .seconds(600)
        }
        let stream = try pair.begin()
        try pair.tick(age: .minutes(67))
        try pair.tick(age: .minutes(76))
        try pair.say(2, on: stream)
        #expect(pair.client.data[stream.id] == frame([1]) + frame([2]) && pair.status(of: stream) == nil)
        try pair.tick(age: .minutes(78))
        #expect(pair.status(of: stream) == "14" && !pair.isOpen)
    }

    @Test("A client that reads nothing more does not keep the connection beyond it")
    func graceWithoutReader() throws {
        let pair = try Embedded {
            $0.maxConnectionAge = .seconds(3600)
            $0.maxConnectionAgeGrace = .seconds(600)
        }
        _ = try pair.begin()
        pair.isReading = false
        try pair.tick(age: .minutes(67))
        try pair.tick(age: .minutes(78))
        #expect(pair.isOpen)
        try pair.tick(age: .minutes(78))
        #expect(!pair.isOpen)
    }

    @Test("A call whose head comes behind the answer to the notice is served")
    func lateHead() throws {
        let pair = try Embedded { $0.maxConnectionAge = .seconds(3600) }
        pair.isReading = false
        try pair.tick(age: .minutes(67))
        let head = Probe.plain.map { Wire.field($0, $0 == ":path" ? both.path : $1) }.joined()
        try pair.write(
            Wire.frame(.ping, flags: 1, [UInt8](repeating: 0, count: 8))
                + Wire.frame(.headers, flags: Wire.endHeaders, stream: 1, Array(head)))
        #expect(pair.isOpen)
        try pair.write(Wire.frame(.data, flags: Wire.endStream, stream: 1, frame([42])))
        let answer = Wire.frame(.data, stream: 1, frame([42]))
        #expect(pair.sent.indices.contains { pair.sent[$0...].starts(with: answer) })
        #expect(!pair.isOpen)
    }

    @Test("A connection without calls ends at once; without the setting, none ends")
    func idle() throws {
        let old = try Embedded { $0.maxConnectionAge = .seconds(3600) }
        try old.tick(age: .minutes(67))
        #expect(!old.isOpen)
        let ageless = try Embedded { _ in }
        try ageless.tick(age: .hours(100_000))
        #expect(ageless.isOpen && ageless.goAways.isEmpty)
    }

    @Test("Connections of one age do not end all at once")
    func jitter() throws {
        let pairs = try (0..<60).map { _ in try Embedded { $0.maxConnectionAge = .seconds(3600) } }
        for pair in pairs { try pair.tick(age: .minutes(60)) }
        // That all 60 draw the same side has the odds of 2 to the -59.
        #expect((1..<60).contains(pairs.count(where: \.isOpen)))
    }

    @Test("Calls go on without a failure while their connections age and end")
    func calls() async throws {
        let peers = NIOLockedValueBox<Set<String>>([])
        let echo = RPCMethod.unary("/test.Service/Echo") { (request: Blob, context) -> Blob in
            peers.withLockedValue { _ = $0.insert(context.peer) }
            return request
        }
        try await withServer(
            [echo],
            configure: {
                $0.maxConnectionAge = .milliseconds(250)
                $0.maxConnectionAgeGrace = .seconds(10)
            }
        ) { _, channel in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<4 {
                    group.addTask {
                        while peers.withLockedValue({ $0.count }) < 3 {
                            let answer: Blob = try await channel.unary("/test.Service/Echo", Blob(number))
                            #expect(answer.number == number)
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct PingTests {
    @Test("Two PINGs too soon are let through, the third ends the connection")
    func strikes() throws {
        let pair = try Embedded { _ in }
        let stream = try pair.begin()
        // The first comes after data of ours.
        for _ in 0..<3 { try pair.ping() }
        #expect(pair.isOpen && pair.goAways.isEmpty)
        try pair.ping()
        #expect(!pair.isOpen && pair.goAways.first == .enhanceYourCalm)
        #expect(pair.sent.count > 0 && String(decoding: pair.sent, as: UTF8.self).contains("too_many_pings"))
        #expect(pair.client.events.count { $0 == .pingAnswered } == 3)
        #expect(pair.status(of: stream) == nil)
    }

    @Test("PINGs after each message of ours are never too many")
    func afterData() throws {
        let pair = try Embedded { _ in }
        let stream = try pair.begin()
        for byte in 0..<50 {
            try pair.say(UInt8(byte), on: stream)
            try pair.ping()
            // A client that measures the network may have one more under way.
            try pair.ping()
        }
        #expect(pair.isOpen && pair.goAways.isEmpty)
    }

    @Test("What is permitted is the server's to say")
    func permitted() throws {
        let pair = try Embedded {
            $0.clientPings.minInterval = .zero
            $0.clientPings.permitsWithoutCalls = true
        }
        for _ in 0..<50 { try pair.ping() }
        #expect(pair.isOpen && pair.goAways.isEmpty)
    }

    @Test("The rule by itself: interval, idle connections, bursts, forgiveness")
    func watch() {
        let start = NIODeadline.now()
        func watch(permits: Bool = false) -> PingWatch {
            var configuration = ClientPingConfiguration()
            configuration.minInterval = .seconds(10)
            configuration.permitsWithoutCalls = permits
            return PingWatch(configuration)
        }
        /// How many PINGs, one every so often, are let through; at most 100.
        func allowed(_ watch: PingWatch, every step: TimeAmount, hasCalls: Bool) -> Int {
            var watch = watch
            return (0..<100).first { index in
                !watch.take(1, now: start + step * index, afterData: false, hasCalls: hasCalls)
            } ?? 100
        }
        #expect(allowed(watch(), every: .seconds(10), hasCalls: true) == 100)
        #expect(allowed(watch(), every: .milliseconds(9999), hasCalls: true) == 3)
        #expect(allowed(watch(), every: .minutes(119), hasCalls: false) == 3)
        #expect(allowed(watch(), every: .hours(2), hasCalls: false) == 100)
        #expect(allowed(watch(permits: true), every: .seconds(10), hasCalls: false) == 100)
        #expect(allowed(watch(permits: true), every: .seconds(9), hasCalls: false) == 3)

        var bursts = watch()
        let three = bursts.take(3, now: start, afterData: false, hasCalls: true)
        let another = bursts.take(1, now: start + .seconds(11), afterData: false, hasCalls: true)
        #expect(three && another)
        let forgiven = bursts.take(3, now: start + .seconds(12), afterData: true, hasCalls: true)
        #expect(forgiven)
        let four = bursts.take(4, now: start + .seconds(30), afterData: false, hasCalls: true)
        #expect(!four)
    }

    @Test("A client that is told of too many PINGs slows down for its later connections")
    func clientSlowsDown() async throws {
        let begun = Counter()
        let hang = RPCMethod.unary("/test.Service/Hang") { (request: Blob, _) -> Blob in
            begun.increment()
            _ = await OneShot<Void>().wait()
            return request
        }
        try await withServer(
            [hang], configure: { $0.clientPings.minInterval = .seconds(3600) },
            configureChannel: {
                $0.keepAlive.interval = .milliseconds(20)
                $0.keepAlive.timeout = .seconds(60)
            }
        ) { _, channel in
            for factor in [2, 4] {
                let ended = await status { _ = try await channel.unary("/test.Service/Hang", Blob("")) as Blob }
                #expect(ended.code == .unavailable)
                let transport = channel.transport
                let interval = try await transport.loop.submit { transport.keepAlive.interval }.get()
                #expect(interval == .milliseconds(20 * factor))
            }
            #expect(begun.value == 2)
        }
    }

    @Test("With the defaults of both sides, our clients' keep-alive is permitted")
    func defaults() {
        #expect(KeepAliveConfiguration().interval >= ClientPingConfiguration().minInterval * 2)
    }
}
