internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOPosix

/// A compressed message that is unpacked beside the event loops, on threads of their own: a few thousand bytes can
/// unpack to many megabytes, and other calls must not wait for that.
final class UnpackJob: Sendable {
    /// What unpacks to no more than this is done sooner than handed over.
    private static let tinyByteCount = 4 << 10
    /// So is what unpacks to no more than this, and to no more than `quickFactor` times what came.
    private static let quickByteCount = 64 << 10
    private static let quickFactor = 16

    /// Half of the cores: the other half always has time for the loops.
    private static let threads: NIOThreadPool = {
        let pool = NIOThreadPool(numberOfThreads: max(1, System.coreCount / 2))
        pool.start()
        return pool
    }()

    /// `nil` once it was begun or cancelled.
    private let message: NIOLockedValueBox<InboundMessages.Message?>
    private let maxByteCount: Int

    init(_ message: InboundMessages.Message, maxByteCount: Int) {
        self.message = NIOLockedValueBox(message)
        self.maxByteCount = maxByteCount
    }

    /// Whether unpacking a message would hold up an event loop. Those that are refused by what they say do not.
    static func isWorthIt(_ message: InboundMessages.Message, maxByteCount: Int) -> Bool {
        guard message.isCompressed else { return false }
        let told = message.unpackedByteCount
        return told <= maxByteCount && told > tinyByteCount
            && told > min(quickByteCount, quickFactor * message.bytes.count)
    }

    /// Hands the outcome over on the loop, unless the job was cancelled.
    func start(on loop: any EventLoop, _ done: @escaping @Sendable (Result<[UInt8], RPCStatus>) -> Void) {
        Self.threads.runIfActive(eventLoop: loop) { () -> Result<[UInt8], RPCStatus>? in
            guard let message = self.take() else { return nil }
            do throws(RPCStatus) {
                return .success(try message.unpacked(maxByteCount: self.maxByteCount))
            } catch {
                return .failure(error)
            }
        }.whenSuccess { if let outcome = $0 { done(outcome) } }
    }

    /// Nobody wants it any more: frees the message, wherever the job stands in the queue.
    func cancel() { _ = take() }

    private func take() -> InboundMessages.Message? {
        message.withLockedValue { message in
            defer { message = nil }
            return message
        }
    }
}
