internal import NIOConcurrencyHelpers
private import Synchronization

// Locks here are NIO's, which are pthread's: the thread sanitizer does not see Synchronization's `Mutex` on Linux when
// it is contended, and reports races that are none.

/// Counts things in progress, and tells once when there are none. Counting is one atomic addition.
final class ActivityCounter: Sendable {
    private let active = Atomic(0)
    /// Somebody waits for the count to be zero.
    private let isAwaited = Atomic(false)
    private let callbacks = NIOLockedValueBox<[@Sendable () -> Void]>([])

    var count: Int { active.load(ordering: .sequentiallyConsistent) }

    func started() { active.add(1, ordering: .sequentiallyConsistent) }

    func finished() {
        let isIdle = active.subtract(1, ordering: .sequentiallyConsistent).newValue == 0
        if isIdle, isAwaited.load(ordering: .sequentiallyConsistent) { tell() }
    }

    /// Calls back once, at the first moment from now when the count is zero.
    func whenIdle(_ callback: @escaping @Sendable () -> Void) {
        callbacks.withLockedValue { $0.append(callback) }
        isAwaited.store(true, ordering: .sequentiallyConsistent)
        if count == 0 { tell() }
    }

    private func tell() {
        let due = callbacks.withLockedValue { callbacks in
            defer { callbacks = [] }
            return callbacks
        }
        for callback in due { callback() }
    }
}

/// A value that comes once, and tasks that wait for it.
final class OneShot<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var waiters: [Int: Waiter<Value?>] = [:]
        var nextWaiter = 0
    }

    private let state = NIOLockedValueBox(State())

    /// Sets the value; only the first one counts.
    func fire(_ value: Value) {
        let waiters = state.withLockedValue { state in
            guard state.value == nil else { return [Waiter<Value?>]() }
            state.value = value
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume(value) }
    }

    /// The value when it is there; `nil` if the waiting task is cancelled first.
    func wait() async -> Value? {
        let ticket = state.withLockedValue { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await Waiter<Value?>.suspend { waiter in
                let value = state.withLockedValue { state in
                    if state.value == nil { state.waiters[ticket] = waiter }
                    return state.value
                }
                if let value {
                    waiter.resume(value)
                } else if Task.isCancelled {
                    // The handler below may have come too early to find the waiter.
                    remove(ticket)
                }
            }
        } onCancel: {
            remove(ticket)
        }
    }

    /// The value when it is there, even if the waiting task is cancelled meanwhile.
    func waitUncancelled() async -> Value? {
        await Waiter<Value?>.suspend { waiter in
            let value = state.withLockedValue { state in
                if state.value == nil {
                    state.nextWaiter += 1
                    state.waiters[state.nextWaiter] = waiter
                }
                return state.value
            }
            if let value { waiter.resume(value) }
        }
    }

    private func remove(_ ticket: Int) {
        let waiter = state.withLockedValue { $0.waiters.removeValue(forKey: ticket) }
        waiter?.resume(nil)
    }
}
