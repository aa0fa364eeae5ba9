public import Logging
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// Serves a registry over HTTP/1.1: `GET /metrics` (or HEAD), nothing else.
///
/// For an operator's scraper on a trusted network: no TLS, no authentication, and no secrets in the answers. Limits:
/// 16 connections, 8 KiB of headers (NIO's parser has its own of 80 KiB), 10 s for a request and between two.
public final class MetricsServer: Sendable {
    private static let maxConnectionCount = 16
    private static let idleTimeout = TimeAmount.seconds(10)

    private let host: String
    private let port: Int
    private let registry: MetricRegistry
    private let log: Logger
    private let listener = NIOLockedValueBox<(any Channel)?>(nil)

    public init(host: String, port: Int, registry: MetricRegistry, log: Logger) {
        self.host = host
        self.port = port
        self.registry = registry
        self.log = log
    }

    /// Binds; returns the port, which the system chose if 0 was asked for. Serves from then on, until `close`.
    public func start() async throws -> Int {
        let registry = registry
        let connectionCount = NIOLockedValueBox(0)
        let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 16)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let isFull = connectionCount.withLockedValue { count in
                        count += 1
                        return count > Self.maxConnectionCount
                    }
                    channel.closeFuture.whenComplete { _ in connectionCount.withLockedValue { $0 -= 1 } }
                    if isFull { throw ChannelError.operationUnsupported }
                    try channel.pipeline.syncOperations.addHandler(
                        IdleStateHandler(readTimeout: Self.idleTimeout))
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline(withErrorHandling: true)
                    try channel.pipeline.syncOperations.addHandler(MetricsHandler(registry))
                }
            }
        let channel = try await bootstrap.bind(host: host, port: port).get()
        listener.withLockedValue { $0 = channel }
        let port = channel.localAddress?.port ?? port
        log.info("serving metrics", metadata: ["port": "\(port)"])
        return port
    }

    /// Listens no more. Open connections end with their next pause.
    public func close() async {
        let channel = listener.withLockedValue { $0 }
        try? await channel?.close().get()
    }
}

/// Answers one connection's requests.
private final class MetricsHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private static let maxHeaderByteCount = 8 << 10

    private let registry: MetricRegistry
    private var head: HTTPRequestHead?

    init(_ registry: MetricRegistry) { self.registry = registry }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body: break
        case .end:
            guard let head else { return }
            self.head = nil
            answer(head, context)
        }
    }

    private func answer(_ request: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let headerByteCount = request.headers.reduce(request.uri.utf8.count) {
            $0 + $1.name.utf8.count + $1.value.utf8.count
        }
        let path = request.uri.prefix { $0 != "?" }
        var status = HTTPResponseStatus.ok
        var headers = HTTPHeaders()
        if headerByteCount > Self.maxHeaderByteCount {
            status = .requestHeaderFieldsTooLarge
        } else if path != "/metrics" {
            status = .notFound
        } else if request.method != .GET, request.method != .HEAD {
            status = .methodNotAllowed
            headers.add(name: "allow", value: "GET, HEAD")
        }
        let text = status == .ok ? registry.exposition() : "\(status.code) \(status.reasonPhrase)\n"
        headers.add(name: "content-type", value: status == .ok ? MetricRegistry.contentType : "text/plain")
        headers.add(name: "content-length", value: String(text.utf8.count))
        let keepsAlive = request.isKeepAlive && status == .ok
        if !keepsAlive { headers.add(name: "connection", value: "close") }
        let head = HTTPResponseHead(version: request.version, status: status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if request.method != .HEAD {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: text)))), promise: nil)
        }
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in
            if !keepsAlive { bound.value.close(promise: nil) }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
