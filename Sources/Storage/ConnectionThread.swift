internal import Dispatch
internal import Glibc
internal import NIOConcurrencyHelpers

/// A thread that runs one connection's work, one piece after the other, so that libpq's blocking calls and waits never
/// hold a thread of the cooperative pool. It is the connection actor's executor; it ends when the actor does.
///
/// Work queued is bounded by the pool: one lease a connection.
final class ConnectionThread: SerialExecutor {
    private struct Queue {
        var jobs: [UnownedJob] = []
        var isSleeping = false
        var isStopped = false
        /// Called on the thread after this long without work.
        var idle: (milliseconds: Int64, call: @Sendable () -> Void)?
    }

    private let queue = NIOLockedValueBox(Queue())
    private let wakeUp = DispatchSemaphore(value: 0)
    private let identity = NIOLockedValueBox<pthread_t?>(nil)

    /// Throws `outOfMemory` when the process has no thread left.
    init() throws(StorageError) {
        var thread = pthread_t()
        let context = unsafe Unmanaged.passRetained(self).toOpaque()
        let failure = unsafe pthread_create(
            &thread, nil,
            { context in
                guard let context = unsafe context else { return nil }
                // The thread owns the executor until it ends: the retain above is consumed here.
                unsafe Unmanaged<ConnectionThread>.fromOpaque(context).takeRetainedValue().run()
                return nil
            }, context)
        guard failure == 0 else {
            unsafe Unmanaged<ConnectionThread>.fromOpaque(context).release()
            throw .outOfMemory
        }
        pthread_detach(thread)
        identity.withLockedValue { $0 = thread }
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let unowned = UnownedJob(job)
        let mustWake = queue.withLockedValue { queue in
            queue.jobs.append(unowned)
            defer { queue.isSleeping = false }
            return queue.isSleeping
        }
        if mustWake { wakeUp.signal() }
    }

    /// Lets the thread end after the jobs that are queued.
    func stop() {
        queue.withLockedValue {
            $0.isStopped = true
            $0.isSleeping = false
        }
        // One signal too many only makes the thread look once more.
        wakeUp.signal()
    }

    /// From now on, calls back on the thread, between two pieces of work, whenever there was none for this long.
    func whenIdle(for duration: Duration, _ call: @escaping @Sendable () -> Void) {
        queue.withLockedValue { $0.idle = (duration.milliseconds, call) }
    }

    func isIsolatingCurrentContext() -> Bool? { identity.withLockedValue { $0 } == pthread_self() }

    func checkIsolated() {
        precondition(isIsolatingCurrentContext() == true, "a connection is used on its own thread only")
    }

    private func run() {
        var batch: [UnownedJob] = []
        while true {
            let isStopped = queue.withLockedValue { queue in
                swap(&queue.jobs, &batch)
                queue.isSleeping = batch.isEmpty && !queue.isStopped
                return queue.isStopped
            }
            for job in batch { unsafe job.runSynchronously(on: asUnownedSerialExecutor()) }
            guard batch.isEmpty else {
                batch.removeAll(keepingCapacity: true)
                continue
            }
            if isStopped { return }
            guard let idle = queue.withLockedValue({ $0.idle }) else {
                wakeUp.wait()
                continue
            }
            if wakeUp.wait(timeout: .now() + .milliseconds(Int(idle.milliseconds))) == .timedOut { idle.call() }
        }
    }
}
