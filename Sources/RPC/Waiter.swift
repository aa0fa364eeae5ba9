/// A suspended task that waits for one value. Has to be resumed exactly once.
///
/// The one place that knows continuations: debug builds check the rule, release builds trust it.
@safe struct Waiter<Value: Sendable>: Sendable {
    #if DEBUG
        private let continuation: CheckedContinuation<Value, Never>
    #else
        private let continuation: UnsafeContinuation<Value, Never>
    #endif

    /// Suspends the current task and hands its waiter to `body`, which keeps or resumes it.
    static func suspend(_ body: (Waiter<Value>) -> Void) async -> Value {
        #if DEBUG
            await withCheckedContinuation { body(Waiter(continuation: $0)) }
        #else
            unsafe await withUnsafeContinuation { unsafe body(Waiter(continuation: $0)) }
        #endif
    }

    func resume(_ value: Value) {
        #if DEBUG
            continuation.resume(returning: value)
        #else
            unsafe continuation.resume(returning: value)
        #endif
    }
}
