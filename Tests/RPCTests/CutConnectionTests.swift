import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing

@testable import RPC

/// Where a connection is cut.
private struct Cut: Sendable {
    enum Direction: Sendable { case toClient, toServer }
    var direction: Direction
    /// Bytes that still get through; `nil`: all of them.
    var byteCount: Int?
}

/// Between a client and a server: forwards the first connection's bytes up to a cut, and keeps a copy; refuses others.
private final class CuttingProxy: Sendable {
    struct Record {
        var toClient: [UInt8] = []
        var toServer: [UInt8] = []
    }

    private let record = NIOLockedValueBox(Record())
    private let connectionCount = NIOLockedValueBox(0)
    private let cut: Cut
    private let serverPort: Int

    private init(_ cut: Cut, serverPort: Int) {
        self.cut = cut
        self.serverPort = serverPort
    }

    /// Runs the body with the proxy's port; returns what got through.
    static func run(_ cut: Cut, serverPort: Int, _ body: (Int) async throws -> Void) async throws -> Record {
        let proxy = CuttingProxy(cut, serverPort: serverPort)
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            // Both ends half-close: a reset would take back bytes that have arrived.
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { proxy.accept($0) }
            .bind(host: "127.0.0.1", port: 0).get()
        let result = await Result { try await body(listener.localAddress?.port ?? 0) }
        try? await listener.close().get()
        try result.get()
        return proxy.record.withLockedValue { $0 }
    }

    private func accept(_ client: any Channel) -> EventLoopFuture<Void> {
        let isFirst = connectionCount.withLockedValue { count in
            count += 1
            return count == 1
        }
        guard isFirst else { return client.close() }
        return ClientBootstrap(group: client.eventLoop)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .connect(host: "127.0.0.1", port: serverPort)
            .flatMapThrowing { server in
                let limit = self.cut.byteCount ?? Int.max
                try server.pipeline.syncOperations.addHandler(
                    Forwarder(to: client, limit: self.cut.direction == .toClient ? limit : .max) { bytes in
                        self.record.withLockedValue { $0.toClient += bytes }
                    })
                try client.pipeline.syncOperations.addHandler(
                    Forwarder(to: server, limit: self.cut.direction == .toServer ? limit : .max) { bytes in
                        self.record.withLockedValue { $0.toServer += bytes }
                    })
            }
    }

    /// Passes on what comes, up to the limit, and then the end.
    private final class Forwarder: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let other: any Channel
        private let record: ([UInt8]) -> Void
        private var remaining: Int
        private var isCut = false

        init(to other: any Channel, limit: Int, record: @escaping ([UInt8]) -> Void) {
            self.other = other
            self.record = record
            remaining = limit
        }

        func handlerAdded(context: ChannelHandlerContext) { if remaining == 0 { cut(context) } }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard !isCut else { return }
            let bytes = Array(unwrapInboundIn(data).readableBytesView.prefix(remaining))
            remaining -= bytes.count
            record(bytes)
            other.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
            if remaining == 0 { cut(context) }
        }

        private func cut(_ context: ChannelHandlerContext) {
            isCut = true
            other.close(mode: .output, promise: nil)
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            guard event as? ChannelEvent == .inputClosed else { return }
            isCut = true
            context.close(promise: nil)
            other.close(mode: .output, promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

/// The frames of one direction, after the preface if there is one.
private struct Frames {
    /// Where each complete frame ends.
    var ends: [Int] = []
    /// A frame with END_STREAM is complete.
    var hasEndOfStream = false

    init(_ bytes: [UInt8], preface: Int) {
        var start = preface
        if preface > 0, bytes.count >= preface { ends.append(preface) }
        while start + 9 <= bytes.count {
            let length = Int(bytes[start]) << 16 | Int(bytes[start + 1]) << 8 | Int(bytes[start + 2])
            guard start + 9 + length <= bytes.count else { break }
            let (type, flags) = (bytes[start + 3], bytes[start + 4])
            if type <= 1, flags & 1 != 0 { hasEndOfStream = true }
            start += 9 + length
            ends.append(start)
        }
    }
}

@Suite(.timeLimit(.minutes(2))) struct CutConnectionTests {
    private struct Outcome: Sendable {
        var messages: [String] = []
        var statuses: [RPCStatus] = []
    }

    private static let words = ["alpha", "beta", "gamma"]
    private static let methods: [RPCMethod] = [
        .unary("/test.Service/Unary") { (request: Blob, _) in request },
        .serverStreaming("/test.Service/Stream") { (_: Blob, writer: ResponseWriter<Blob>, _) in
            for word in words { try await writer.write(Blob(word)) }
        },
        .bidirectional("/test.Service/Both") { (requests: RequestStream<Blob>, writer: ResponseWriter<Blob>, _) in
            for try await request in requests { try await writer.write(request) }
        },
    ]

    /// Makes one call over a connection with this cut.
    private static func call(_ path: String, _ cut: Cut, serverPort: Int) async throws -> (
        Outcome, CuttingProxy.Record
    ) {
        let outcome = NIOLockedValueBox(Outcome())
        let record = try await CuttingProxy.run(cut, serverPort: serverPort) { port in
            let channel = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
            @Sendable func note(_ message: Blob) { outcome.withLockedValue { $0.messages.append(message.text) } }
            let ended = await status {
                switch path {
                case "Unary": note(try await channel.unary("/test.Service/Unary", Blob("alpha")))
                case "Stream":
                    for try await message in channel.serverStreaming("/test.Service/Stream", Blob(""))
                        as ResponseStream<Blob>
                    {
                        note(message)
                    }
                default:
                    let call = channel.bidirectional("/test.Service/Both", request: Blob.self, response: Blob.self)
                    var responses = call.responses.makeAsyncIterator()
                    do {
                        for word in words {
                            try await call.requests.write(Blob(word))
                            if let message = try await responses.next() { note(message) }
                        }
                        call.requests.finish()
                    } catch {
                        // The responses' end has the status.
                    }
                    while let message = try await responses.next() { note(message) }
                }
            }
            outcome.withLockedValue { $0.statuses.append(ended) }
            await channel.close()
        }
        return (outcome.withLockedValue { $0 }, record)
    }

    /// Every byte, or the ends of the frames and what is around them: inside the next one's head, and its payload.
    private static func cuts(_ bytes: [UInt8], preface: Int, all: Bool) -> [Int] {
        if all { return Array(0...bytes.count) }
        let near = Frames(bytes, preface: preface).ends.flatMap { end in [end - 1, end, end + 1, end + 9, end + 12] }
        return Set([0] + near.filter { $0 <= bytes.count }).sorted()
    }

    @Test(
        "Cut after any byte, either way: the caller has exactly one status, the right one, and only whole messages",
        arguments: ["Unary", "Stream", "Both"])
    func everyByte(path: String) async throws {
        try await withServer(Self.methods) { server, _ in
            let port = try await server.boundPort
            let whole = Self.words.prefix(path == "Unary" ? 1 : 3)
            let (uncut, record) = try await Self.call(path, Cut(direction: .toClient), serverPort: port)
            #expect(uncut.statuses == [.ok] && uncut.messages == Array(whole))
            // At least: settings, their acknowledgement, head, a message, trailers; and the other way.
            #expect(Frames(record.toClient, preface: 0).ends.count >= 5)
            #expect(Frames(record.toServer, preface: 24).ends.count >= 4)
            for byteCount in Self.cuts(record.toClient, preface: 0, all: path == "Unary") {
                let cut = Cut(direction: .toClient, byteCount: byteCount)
                let (outcome, record) = try await Self.call(path, cut, serverPort: port)
                let isComplete = Frames(record.toClient, preface: 0).hasEndOfStream
                #expect(outcome.statuses.map(\.code) == [isComplete ? .ok : .unavailable], "cut after \(byteCount)")
                #expect(outcome.messages == Array(whole.prefix(outcome.messages.count)), "cut after \(byteCount)")
                #expect(!isComplete || outcome.messages.count == whole.count, "cut after \(byteCount)")
            }
            for byteCount in Self.cuts(record.toServer, preface: 24, all: path == "Unary") {
                let cut = Cut(direction: .toServer, byteCount: byteCount)
                let (outcome, record) = try await Self.call(path, cut, serverPort: port)
                let isComplete = Frames(record.toClient, preface: 0).hasEndOfStream
                #expect(outcome.statuses.map(\.code) == [isComplete ? .ok : .unavailable], "cut after \(byteCount)")
                #expect(!isComplete || Frames(record.toServer, preface: 24).hasEndOfStream, "answered half a request")
                #expect(outcome.messages == Array(whole.prefix(outcome.messages.count)), "cut after \(byteCount)")
            }
        }
    }
}
