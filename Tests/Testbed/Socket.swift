internal import NIOCore
internal import NIOPosix

/// A TCP connection to the victim.
final class Socket: Sendable {
    let channel: any Channel

    private final class Sink: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {}
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    /// `reads`: takes what the server sends, and throws it away; otherwise it stays in the sockets' buffers.
    static func open(port: Int, reads: Bool = true) async throws -> Socket {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.autoRead, value: reads)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Sink()) }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return Socket(channel)
    }

    private init(_ channel: any Channel) { self.channel = channel }

    var isOpen: Bool { channel.isActive }

    /// Returns whether the bytes went out; not if the server has closed, or takes nothing more for two seconds.
    func send(_ bytes: [UInt8]) async -> Bool {
        guard channel.isActive else { return false }
        let promise = channel.eventLoop.makePromise(of: Bool.self)
        let sent = channel.eventLoop.makePromise(of: Void.self)
        sent.futureResult.whenComplete { result in
            if case .success = result { promise.succeed(true) } else { promise.succeed(false) }
        }
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: sent)
        let timer = channel.eventLoop.scheduleTask(in: .seconds(2)) { promise.succeed(false) }
        let result = (try? await promise.futureResult.get()) ?? false
        timer.cancel()
        return result
    }

    func close() async { try? await channel.close().get() }
}
