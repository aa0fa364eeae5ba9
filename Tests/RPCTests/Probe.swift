import NIOCore
import NIOPosix

@testable import RPC

/// A bare HTTP/2 client on a socket: sends one request as it is told, and gives back what came, gRPC or not.
final class Probe: HTTP2Connection {
    struct Answer: Sendable {
        /// Header blocks in order: head and trailers, or one that is both.
        var blocks: [[String: String]] = []
        var data: [UInt8] = []
        /// `nil`: the connection was closed before the stream.
        var closed: HTTP2ErrorCode?

        var head: [String: String] { blocks.first ?? [:] }
        var code: StatusCode? { blocks.last?["grpc-status"].flatMap { Int($0) }.flatMap { StatusCode(rawValue: $0) } }
    }

    private var answer = Answer()
    private let done: OneShot<Answer>
    private let consumes: Bool

    private init(_ done: OneShot<Answer>, consumes: Bool, loop: any EventLoop) throws {
        self.done = done
        self.consumes = consumes
        try super.init(.client, HTTP2Configuration(), keepAlive: KeepAliveConfiguration(), loop: loop, log: quiet)
    }

    override func handle(_ event: HTTP2Session.Event, input: UnsafeRawBufferPointer) {
        switch event {
        case .headers(_, let block):
            let fields = block.fields.map {
                (session.headers.name($0), String(decoding: session.headers.value($0), as: UTF8.self))
            }
            answer.blocks.append(Dictionary(fields) { $0 + "," + $1 })
        case .data(let stream, let range):
            unsafe answer.data += input[range]
            if consumes { session.consume(stream, range.count) }
        case .closed(_, let code):
            answer.closed = code
            done.fire(answer)
        default: break
        }
    }

    override func connectionLost(_ reason: String) { done.fire(answer) }

    static let plain: KeyValuePairs = [
        ":method": "POST", ":scheme": "http", ":path": "/test.Service/Echo", ":authority": "a", "te": "trailers",
        "content-type": "application/grpc",
    ]

    /// Makes one request: the plain headers with `changes` in place of theirs, then the body, then END_STREAM. Without
    /// `consumes` the windows stay shut once full.
    static func request(
        port: Int, _ changes: [(String, String)] = [], body: [UInt8], ends: Bool = true, consumes: Bool = true
    ) async throws -> Answer {
        let done = OneShot<Answer>()
        var headers = HeaderFields()
        for (name, value) in plain { headers.append(name, (changes.first { $0.0 == name }?.1 ?? value).utf8) }
        for (name, value) in changes where !plain.contains(where: { $0.key == name }) {
            headers.append(name, value.utf8)
        }
        let fields = headers
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        Probe(done, consumes: consumes, loop: channel.eventLoop))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        try await channel.eventLoop.submit {
            let probe = try channel.pipeline.syncOperations.handler(type: Probe.self)
            let stream = try probe.session.request(fields)
            probe.session.enqueue(stream, .init(body))
            if ends { probe.session.finish(stream, trailers: nil) }
            probe.scheduleFlush()
        }.get()
        let answer = await done.wait() ?? Answer()
        try? await channel.close().get()
        return answer
    }

    /// Sends bytes on a new connection; returns when the server has closed it, or at once if `waits` is false.
    static func send(port: Int, _ bytes: [UInt8], waits: Bool) async throws {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port).get()
        try? await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get()
        if waits { try await channel.closeFuture.get() } else { try? await channel.close().get() }
    }
}

/// A listener that accepts connections and does to each what it is told; for servers that are none.
func withListener<Result: Sendable>(
    _ handle: @escaping @Sendable (any Channel) -> Void, _ body: (Int) async throws -> Result
) async throws -> Result {
    let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .childChannelInitializer { channel in
            handle(channel)
            return channel.eventLoop.makeSucceededVoidFuture()
        }
        .bind(host: "127.0.0.1", port: 0).get()
    let result = await Swift.Result { try await body(listener.localAddress?.port ?? 0) }
    try? await listener.close().get()
    return try result.get()
}
