import Compression
import InteropService
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing

@testable import RPC

private let echo = RPCMethod.unary("/test.Service/Echo") { (request: Blob, _) in request }
private let both = RPCMethod.bidirectional("/test.Service/Both") {
    (requests: RequestStream<Blob>, writer: ResponseWriter<Blob>, _) in
    for try await request in requests { try await writer.write(request) }
}

private let gzip = ("grpc-encoding", "gzip")

/// A compressed message with its prefix.
private func compressed(_ bytes: [UInt8]) throws -> [UInt8] {
    let body = try #require(Gzip.compressed(bytes))
    return [1] + Wire.number(UInt32(body.count)) + body
}

/// https://github.com/grpc/grpc/blob/master/doc/compression.md, on loopback.
@Suite(.timeLimit(.minutes(1))) struct CompressedCallTests {
    private static let text = [UInt8](repeating: 0x61, count: 100_000)

    @Test("Requests and responses are compressed where it is configured, and only there")
    func bothWays() async throws {
        for (server, client) in [(false, false), (true, false), (false, true), (true, true)] {
            let traffic = NIOLockedValueBox(CallTraffic())
            try await withServer(
                [echo, both],
                configure: {
                    $0.compression = server ? .gzip : .identity
                    $0.interceptors = [Traffic { sum in traffic.withLockedValue { $0 = sum } }]
                },
                configureChannel: { $0.compression = client ? .gzip : .identity }
            ) { _, channel in
                let answer: Blob = try await channel.unary("/test.Service/Echo", Blob(Self.text))
                #expect(answer.bytes == Self.text)
                let sum = traffic.withLockedValue { $0 }
                #expect((sum.requestByteCount < 1000) == client && (sum.responseByteCount < 1000) == server)
                // Short messages and those that get no shorter are sent as they are, between the others.
                let messages = [Self.text, [1], Self.noise, [], Self.text].map { Blob($0) }
                let call = channel.bidirectional("/test.Service/Both", request: Blob.self, response: Blob.self)
                for message in messages { try await call.requests.write(message) }
                call.requests.finish()
                #expect(try await call.responses.reduce(into: []) { $0.append($1) } == messages)
            }
        }
    }

    private static let noise: [UInt8] = {
        var random = SeededGenerator(seed: 7)
        return (0..<5000).map { _ in .random(in: 0...255, using: &random) }
    }()

    @Test("A call's own option goes before its channel's")
    func callOption() async throws {
        let traffic = NIOLockedValueBox(CallTraffic())
        try await withServer(
            [echo], configure: { $0.interceptors = [Traffic { sum in traffic.withLockedValue { $0 = sum } }] },
            configureChannel: { $0.compression = .gzip }
        ) { _, channel in
            for (option, isShort) in [(MessageCompression?.none, true), (.some(.identity), false), (.gzip, true)] {
                let answer: Blob = try await channel.unary(
                    "/test.Service/Echo", Blob(Self.text), options: CallOptions(compression: option))
                #expect(answer.bytes == Self.text)
                #expect((traffic.withLockedValue { $0.requestByteCount } < 1000) == isShort)
            }
        }
    }

    @Test("What a foreign client sees: encodings in the heads, flags before the messages")
    func heads() async throws {
        try await withServer([echo], configure: { $0.compression = .gzip }) { server, _ in
            let port = try await server.boundPort
            let plain = try await Probe.request(port: port, body: frame(Self.text))
            #expect(plain.code == .ok && plain.data == frame(Self.text) && plain.head["grpc-encoding"] == nil)

            for accepted in ["gzip", "identity, deflate, gzip", "identity,gzip,deflate"] {
                let answer = try await Probe.request(
                    port: port, [("grpc-accept-encoding", accepted)], body: frame(Self.text))
                #expect(answer.code == .ok && answer.head["grpc-encoding"] == "gzip", "\(accepted)")
                #expect(answer.head["grpc-accept-encoding"] == "identity,gzip")
                #expect(answer.data.first == 1)
                #expect(try Gzip.decompressed(Array(answer.data.dropFirst(5)), maxByteCount: 1 << 20) == Self.text)
            }
            for refused in ["identity", "", "deflate", "gzipped", "x-gzip"] {
                let answer = try await Probe.request(
                    port: port, [("grpc-accept-encoding", refused)], body: frame(Self.text))
                #expect(answer.head["grpc-encoding"] == nil && answer.data.first == 0, "\(refused)")
            }
            let request = try await Probe.request(port: port, [gzip], body: try compressed(Self.text))
            #expect(request.code == .ok && request.data == frame(Self.text))
            #expect(request.head["grpc-accept-encoding"] == "identity,gzip")
        }
    }

    @Test("What breaks the rules ends as gRPC says")
    func refusals() async throws {
        try await withServer([echo, both], configure: { $0.maxMessageByteCount = 1000 }) { server, _ in
            let port = try await server.boundPort
            let small = [UInt8](repeating: 1, count: 1000)
            func code(
                _ headers: [(String, String)], _ body: [UInt8], sourceLocation: SourceLocation = #_sourceLocation,
                is expected: StatusCode
            ) async throws {
                // As the one request of a call, and in a stream.
                for path in ["Echo", "Both"] {
                    let answer = try await Probe.request(
                        port: port, headers + [(":path", "/test.Service/" + path)], body: body)
                    #expect(answer.code == expected, "\(path): \(answer)", sourceLocation: sourceLocation)
                }
            }
            try await code([gzip], compressed(small), is: .ok)
            // Compressed without a word about it, or about another encoding.
            try await code([], compressed(small), is: .internal)
            try await code([("grpc-encoding", "identity")], compressed(small), is: .internal)
            try await code([gzip], [2] + frame(small).dropFirst(), is: .internal)
            // Too long once unpacked, by a byte and by far; and told to be shorter than it is.
            try await code([gzip], compressed(small + [1]), is: .resourceExhausted)
            let bomb = [UInt8](repeating: 0, count: 100_000)
            try await code([gzip], compressed(bomb), is: .resourceExhausted)
            try await code([gzip], compressed(bomb).dropLast(4) + [10, 0, 0, 0], is: .internal)
            // No gzip at all.
            try await code([gzip], [1] + frame(small).dropFirst(), is: .internal)
            try await code([gzip], [1, 0, 0, 0, 0], is: .internal)
            let unknown = try await Probe.request(port: port, [("grpc-encoding", "br")], body: frame([]))
            #expect(unknown.code == .unimplemented && unknown.head["grpc-accept-encoding"] == "identity,gzip")
        }
    }

    @Test("A client refuses what is damaged or too long, in one response and in a stream")
    func clientRefusals() async throws {
        let text = Self.text
        for (limit, code) in [(text.count, StatusCode.ok), (text.count - 1, .resourceExhausted)] {
            try await withServer(
                [echo, both], configure: { $0.compression = .gzip },
                configureChannel: { $0.maxMessageByteCount = limit }
            ) { _, channel in
                let unary = await status { _ = try await channel.unary("/test.Service/Echo", Blob(text)) as Blob }
                #expect(unary.code == code)
                let call = channel.bidirectional("/test.Service/Both", request: Blob.self, response: Blob.self)
                try await call.requests.write(Blob(text))
                call.requests.finish()
                let stream = await status { for try await _ in call.responses {} }
                #expect(stream.code == code)
            }
        }
    }

    @Test("Compressed messages wait as they came, and count as such")
    func waiting() throws {
        var inbound = InboundMessages(maxMessageByteCount: 1 << 20)
        inbound.acceptsGzip = true
        let bytes = try compressed(Self.text)
        let credit = try unsafe bytes.withUnsafeBytes { unsafe try inbound.receive($0) }
        #expect(credit == 0 && inbound.heldByteCount == bytes.count && inbound.receivedByteCount == bytes.count - 5)
        let taken = try #require(try inbound.take())
        #expect(taken.message == Self.text && taken.credit == bytes.count && inbound.heldByteCount == 0)
    }

    @Test("A request that takes long to unpack holds up nobody on its connection")
    func unpackedAside() async throws {
        let order = NIOLockedValueBox<[String]>([])
        let note = RPCMethod.unary("/test.Service/Note") { (request: Blob, _) -> Blob in
            order.withLockedValue { $0.append(request.bytes.count > 100 ? "long" : "short") }
            return Blob([])
        }
        let notes = RPCMethod.clientStreaming("/test.Service/Notes") { (requests: RequestStream<Blob>, _) -> Blob in
            for try await request in requests {
                order.withLockedValue { $0.append(request.bytes.count > 100 ? "long" : "short") }
            }
            return Blob([])
        }
        try await withServer([note, notes]) { _, channel in
            let connect: Blob = try await channel.unary("/test.Service/Note", Blob([]))
            #expect(connect.bytes.isEmpty)
            order.withLockedValue { $0 = [] }
            let long = [UInt8](repeating: 0, count: 3 << 20)
            for path in ["/test.Service/Note", "/test.Service/Notes"] {
                func call(_ path: String, _ request: [UInt8]) -> ClientCall {
                    ClientCall(
                        path, request: request, options: CallOptions(compression: .gzip), transport: channel.transport)
                }
                let (first, second) = (call(path, long), call("/test.Service/Note", [1]))
                // One after the other, in one write.
                try await channel.transport.loop.submit {
                    first.start()
                    second.start()
                }.get()
                #expect(await second.collectStarted().status == .ok)
                #expect(await first.collectStarted().status == .ok)
                #expect(order.withLockedValue { $0 } == ["short", "long"], "\(path)")
                order.withLockedValue { $0 = [] }
            }
        }
    }

    @Test("Of what is unpacked aside nothing is lost, and order is kept; what waits for a call that ended is freed")
    func unpackedInOrder() async throws {
        let sizes = [10, 300_000, 0, 70_000, 5000, 1 << 20, 3]
        try await withServer([both]) { _, channel in
            let call = channel.bidirectional(
                "/test.Service/Both", options: CallOptions(compression: .gzip), request: Blob.self, response: Blob.self)
            for size in sizes { try await call.requests.write(Blob([UInt8](repeating: 1, count: size))) }
            call.requests.finish()
            var answers: [Int] = []
            for try await answer in call.responses { answers.append(answer.bytes.count) }
            #expect(answers == sizes)
        }
        let packed = try #require(Gzip.compressed([UInt8](repeating: 0, count: 1 << 20)))
        let message = InboundMessages.Message(bytes: packed, isCompressed: true)
        #expect(UnpackJob.isWorthIt(message, maxByteCount: 1 << 20))
        // It is refused by what it says.
        #expect(!UnpackJob.isWorthIt(message, maxByteCount: (1 << 20) - 1))
        let plain = InboundMessages.Message(bytes: packed, isCompressed: false)
        #expect(!UnpackJob.isWorthIt(plain, maxByteCount: 1 << 20))
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        let (cancelled, other) = (UnpackJob(message, maxByteCount: 1 << 20), UnpackJob(message, maxByteCount: 1 << 20))
        cancelled.cancel()
        let outcomes = NIOLockedValueBox<[Int?]>([])
        let done = OneShot<Void>()
        cancelled.start(on: loop) { _ in outcomes.withLockedValue { $0.append(nil) } }
        other.start(on: loop) { outcome in
            outcomes.withLockedValue { $0.append(try? outcome.get().count) }
            done.fire(())
        }
        await done.wait()
        #expect(outcomes.withLockedValue { $0 } == [1 << 20])
    }

    @Test("What compressed requests unpack to counts for what the server holds")
    func budget() async throws {
        let begun = Counter()
        let gate = OneShot<Void>()
        let keep = RPCMethod.unary("/test.Service/Keep") { (_: Blob, _) -> Blob in
            begun.increment()
            _ = await gate.wait()
            return Blob([])
        }
        try await withServer([keep, echo], configure: { $0.maxHeldByteCount = 3 << 20 }) { _, channel in
            let options = CallOptions(compression: .gzip)
            let statuses = try await withThrowingTaskGroup(of: RPCStatus.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        await status {
                            _ = try await channel.unary(
                                "/test.Service/Keep", Blob(repeating: 1, count: 1 << 20), options: options) as Blob
                        }
                    }
                }
                // Some are refused while the others hold what there is.
                let first = try #require(try await group.next())
                #expect(first.code == .resourceExhausted)
                gate.fire(())
                return try await group.reduce(into: [first]) { $0.append($1) }
            }
            #expect(statuses.contains { $0.code == .ok } && begun.value <= 4)
            let small: Blob = try await channel.unary("/test.Service/Echo", Blob("still here"), options: options)
            #expect(small.text == "still here")
        }
    }
}

/// Tells each call's traffic at its end.
private struct Traffic: ServerInterceptor, ServerCallHooks {
    let body: @Sendable (CallTraffic) -> Void

    init(_ body: @escaping @Sendable (CallTraffic) -> Void) { self.body = body }
    func hooks(for method: MethodDescription) -> any ServerCallHooks { self }
    func end(_ context: CallContext, _ status: RPCStatus, _ summary: CallSummary) { body(summary.traffic) }
}
