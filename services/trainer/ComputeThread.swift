internal import Dispatch

/// A thread for computing: what prefers it runs there one after the other, and never on the cooperative pool or on an
/// event loop, however long it takes.
final class ComputeThread: TaskExecutor {
    private let queue = DispatchQueue(label: "compute")

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { unsafe job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
