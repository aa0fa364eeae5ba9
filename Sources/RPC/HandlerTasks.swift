internal import NIOCore

/// The tasks in which handlers run on one event loop. A task whose handler has returned waits for the next call of any
/// connection: to make a task and to end it costs more than all that a small handler does, and the one that ended last
/// is the one that the processor's nearest cache still has.
///
/// At most `idleLimit` tasks wait, and none once the last connection is gone; those beyond end with their call.
/// `@unchecked Sendable`: used on the loop only.
final class HandlerTasks: @unchecked Sendable {
    private static let idleLimit = 256

    /// One task, which has one call at a time. `@unchecked Sendable`: used on the loop only.
    private final class Worker: @unchecked Sendable {
        /// `nil` until its first call has run as far as it can without waiting.
        @safe @exclusivity(unchecked) var task: Task<Void, Never>?
        /// Where the task waits for its next call.
        @safe @exclusivity(unchecked) var waiter: Waiter<ServerCall?>?
    }

    private let executor: EventLoopExecutor
    /// Those that wait.
    @safe @exclusivity(unchecked) private var idle: [Worker] = []
    @safe @exclusivity(unchecked) private var connectionCount = 0

    init(loop: any EventLoop) { executor = EventLoopExecutor(loop) }

    /// Runs the call's handler, at once and as far as it goes without waiting. Returns its task, to cancel it by: only
    /// until the handler has returned, for then the task is another call's.
    func run(_ call: ServerCall) -> Task<Void, Never>? {
        executor.runNextJobAtOnce()
        if let worker = idle.popLast() {
            worker.waiter.take()?.resume(call)
            return worker.task
        }
        let worker = Worker()
        worker.task = Task(executorPreference: executor) { await self.serve(call, worker) }
        return worker.task
    }

    @concurrent private func serve(_ first: ServerCall, _ worker: Worker) async {
        var call: ServerCall? = first
        // A task that waits must not hold the call that it had.
        while let isOnLoop = await call.take()?.runHandler() {
            guard isOnLoop, connectionCount > 0, idle.count < Self.idleLimit, !Task.isCancelled else { return }
            call = await Waiter.suspend { waiter in
                worker.waiter = waiter
                idle.append(worker)
            }
        }
    }

    /// A connection will have calls. Once each, and `leave` when it will have no more.
    func join() { connectionCount += 1 }

    /// With the last connection, ends the tasks that wait, and has the others end with their call.
    func leave() {
        connectionCount -= 1
        guard connectionCount == 0 else { return }
        while let worker = idle.popLast() {
            executor.runNextJobAtOnce()
            worker.waiter.take()?.resume(nil)
        }
    }
}
