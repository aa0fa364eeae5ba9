internal import NIOCore

/// Runs Swift tasks on one event loop: a handler with it as its preference never changes threads by itself.
final class EventLoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    init(_ loop: any EventLoop) { self.loop = loop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { unsafe job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

extension EventLoop {
    /// Runs the body now if this is the loop's thread, else as its next task.
    func runHere(_ body: @escaping @Sendable () -> Void) {
        if inEventLoop { body() } else { execute(body) }
    }
}

extension TimeAmount {
    /// Rounded down to the nanosecond; at most ten years.
    init(_ duration: Duration) {
        let (seconds, attoseconds) = min(max(duration, .zero), GRPCTimeout.longest).components
        self = .nanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
