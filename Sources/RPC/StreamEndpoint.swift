internal import NIOCore

/// What both ends of a call share: a reader that waits for messages, and writers that wait for room.
///
/// `@unchecked Sendable`, for the subclasses too: every mutable property is read and written on `loop` only.
/// `nextMessage` and `write` may be called from any thread; they hop to the loop first, or are there already, which
/// costs nothing.
class StreamEndpoint: @unchecked Sendable {
    enum WriteOutcome {
        case proceed
        /// Queued (or not yet sendable): wait for room.
        case full
        /// The call is over, for this reason.
        case failed(RPCStatus)
    }

    /// Ties a waiter to the cancellation of its task. `@unchecked Sendable`: used on the loop only.
    private final class Ticket: @unchecked Sendable { var isCancelled = false }
    private typealias ReadWaiter = Waiter<Result<[UInt8]?, RPCStatus>>
    private typealias WriteWaiter = Waiter<RPCStatus?>

    let loop: any EventLoop
    private var reader: (ticket: Ticket, waiter: ReadWaiter)?
    private var writers: [(ticket: Ticket, waiter: WriteWaiter, stall: ConnectionMetrics.Stall?)] = []

    init(loop: any EventLoop) { self.loop = loop }

    // MARK: - For the roles, on the loop

    /// The next message, the end (`nil` inside), the failure; or `nil` while the reader has to wait.
    func takeMessage() -> Result<[UInt8]?, RPCStatus>? { nil }
    /// Queues a message.
    func enqueue(_ message: [UInt8]) -> WriteOutcome { .full }
    /// What a writer is told that comes, or comes back, to wait: `.full` has it wait.
    func writability() -> WriteOutcome { .full }
    /// A writer waits now; `releaseWriters` is due when there is room.
    func writerParked() {}
    /// Where it is counted that a writer waits for its peer to read.
    var metrics: ConnectionMetrics? { nil }

    /// Gives the waiting reader what there is.
    final func serveReader() {
        guard let reader, let result = takeMessage() else { return }
        self.reader = nil
        reader.waiter.resume(result)
    }

    /// Lets the waiting writers go on, or fail.
    final func releaseWriters(_ status: RPCStatus?) {
        guard !writers.isEmpty else { return }
        let parked = writers
        writers.removeAll()
        for writer in parked {
            writer.stall?.end()
            writer.waiter.resume(status)
        }
    }

    // MARK: - Any thread

    /// The next message, or `nil` after the last. One reader at a time. Cancelling the reading task ends the wait only.
    final func nextMessage() async throws(RPCStatus) -> [UInt8]? {
        if loop.inEventLoop, let result = takeMessage() { return try result.get() }
        let ticket = Ticket()
        let result = await withTaskCancellationHandler {
            await ReadWaiter.suspend { waiter in
                loop.runHere { self.park(reader: waiter, ticket) }
            }
        } onCancel: {
            loop.execute { self.cancelReader(ticket) }
        }
        return try result.get()
    }

    /// Queues a message; returns when the queue is below the high-water mark.
    final func write(_ message: [UInt8]) async throws(RPCStatus) {
        var unqueued: [UInt8]? = message
        if loop.inEventLoop {
            switch enqueue(message) {
            case .proceed: return
            case .failed(let status): throw status
            case .full: unqueued = nil
            }
        }
        let ticket = Ticket()
        let status = await withTaskCancellationHandler {
            await WriteWaiter.suspend { waiter in
                loop.runHere { [unqueued] in self.park(writer: waiter, ticket, unqueued) }
            }
        } onCancel: {
            loop.execute { self.cancelWriter(ticket) }
        }
        if let status { throw status }
    }

    // MARK: - Parking

    private func park(reader waiter: ReadWaiter, _ ticket: Ticket) {
        if let result = takeMessage() {
            waiter.resume(result)
        } else if ticket.isCancelled {
            waiter.resume(.failure(Self.cancelled))
        } else if reader != nil {
            waiter.resume(.failure(RPCStatus(.internal, "two readers of one stream")))
        } else {
            reader = (ticket, waiter)
        }
    }

    private func park(writer waiter: WriteWaiter, _ ticket: Ticket, _ message: [UInt8]?) {
        switch message.map({ enqueue($0) }) ?? writability() {
        case .proceed: waiter.resume(nil)
        case .failed(let status): waiter.resume(status)
        case .full:
            if ticket.isCancelled {
                waiter.resume(Self.cancelled)
            } else {
                writers.append((ticket, waiter, metrics.map { ConnectionMetrics.Stall($0) }))
                writerParked()
            }
        }
    }

    private func cancelReader(_ ticket: Ticket) {
        ticket.isCancelled = true
        guard let reader, reader.ticket === ticket else { return }
        self.reader = nil
        reader.waiter.resume(.failure(Self.cancelled))
    }

    private func cancelWriter(_ ticket: Ticket) {
        ticket.isCancelled = true
        guard let index = writers.firstIndex(where: { $0.ticket === ticket }) else { return }
        let writer = writers.remove(at: index)
        writer.stall?.end()
        writer.waiter.resume(Self.cancelled)
    }

    private static let cancelled = RPCStatus(.cancelled, "the task was cancelled")
}
