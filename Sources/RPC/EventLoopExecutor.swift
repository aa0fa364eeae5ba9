internal import NIOCore

/// Runs Swift tasks on one event loop: a handler with it as its preference never changes threads by itself.
final class EventLoopExecutor: TaskExecutor {
    private let loop: any EventLoop
    /// Read and written on the loop only.
    private nonisolated(unsafe) var runsNextJobAtOnce = false

    init(_ loop: any EventLoop) { self.loop = loop }

    /// The next task made with this preference, by the caller and on the loop, begins at once: it has run as far as it
    /// can without waiting when its maker goes on.
    func runNextJobAtOnce() {
        loop.preconditionInEventLoop()
        unsafe runsNextJobAtOnce = true
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if loop.inEventLoop, unsafe runsNextJobAtOnce {
            unsafe runsNextJobAtOnce = false
            unsafe job.runSynchronously(on: asUnownedTaskExecutor())
        } else {
            loop.execute { unsafe job.runSynchronously(on: self.asUnownedTaskExecutor()) }
        }
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
