internal import Dispatch
internal import Kernels
internal import ServiceLifecycle
internal import Synchronization

/// Ends, and with it the process, when standard input is closed: a child then does not outlive the parent that holds
/// the other end, however that parent died.
struct StandardInputWatch: Service {
    func run() async throws {
        let end = OneShot()
        // A thread of its own: the read blocks until the parent is gone.
        DispatchQueue(label: "standard-input").async {
            var byte: UInt8 = 0
            while unsafe read(0, &byte, 1) > 0 {}
            end.fire()
        }
        do { try await cancelWhenGracefulShutdown { try await end.wait() } } catch is CancellationError {
            // The others are stopping already.
        }
    }
}

/// Something that happens once and can be awaited.
private final class OneShot: Sendable {
    private enum State {
        case waiting(CheckedContinuation<Void, Never>?)
        case fired
    }
    private let state = Mutex(State.waiting(nil))

    func fire() {
        let waiter: CheckedContinuation<Void, Never>? = state.withLock { state in
            defer { state = .fired }
            if case .waiting(let continuation) = state { return continuation }
            return nil
        }
        waiter?.resume()
    }

    /// Returns once it has fired, or throws when the task is cancelled.
    func wait() async throws {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if case .fired = state { return true }
                    if Task.isCancelled { return true }
                    state = .waiting(continuation)
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            fire()
        }
        try Task.checkCancellation()
    }
}
