import CoreMetrics
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import Telemetry

@Suite struct MetricsServerTests {
    /// Sends the text and gives back all that comes until the server closes.
    private func exchange(_ port: Int, _ request: String) async throws -> String {
        final class Reader: ChannelInboundHandler {
            typealias InboundIn = ByteBuffer
            private let done: EventLoopPromise<String>
            private var text = ""

            init(_ done: EventLoopPromise<String>) { self.done = done }
            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                text += String(buffer: unwrapInboundIn(data))
            }
            func channelInactive(context: ChannelHandlerContext) { done.succeed(text) }
        }
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        let done = loop.makePromise(of: String.self)
        let channel = try await ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Reader(done))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        try await channel.writeAndFlush(ByteBuffer(string: request))
        return try await done.futureResult.get()
    }

    @Test("GET and HEAD of /metrics are answered, nothing else is")
    func requests() async throws {
        let registry = MetricRegistry()
        MetricDefinition("answers_total", .counter, "Answers.").counter(in: registry).increment(by: 42)
        var log = Logger(label: "test")
        log.logLevel = .critical
        let server = MetricsServer(host: "127.0.0.1", port: 0, registry: registry, log: log)
        let port = try await server.start()
        let end = " HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        let got = try await exchange(port, "GET /metrics\(end)")
        #expect(got.hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(got.contains("content-type: text/plain; version=0.0.4; charset=utf-8"))
        #expect(got.contains("\r\n\r\n# HELP answers_total Answers.\n# TYPE answers_total counter\nanswers_total 42\n"))
        let head = try await exchange(port, "HEAD /metrics\(end)")
        #expect(head.hasPrefix("HTTP/1.1 200 OK\r\n") && head.hasSuffix("\r\n\r\n"))
        #expect(try await exchange(port, "GET /\(end)").hasPrefix("HTTP/1.1 404 "))
        #expect(try await exchange(port, "POST /metrics\(end)").hasPrefix("HTTP/1.1 405 "))
        let long = "GET /metrics HTTP/1.1\r\nx: \(String(repeating: "y", count: 9000))\r\n\r\n"
        #expect(try await exchange(port, long).hasPrefix("HTTP/1.1 431 "))
        #expect(try await exchange(port, "not HTTP\r\n\r\n").hasPrefix("HTTP/1.1 400 "))
        await server.close()
    }
}
