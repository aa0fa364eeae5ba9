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
    ///
    /// The isolation is a parameter so that the compiler, which inlines this, sees it: see `ServerCall.runHandler`.
    @inline(__always)
    static func suspend(
        isolation: isolated (any Actor)? = #isolation, _ body: (Waiter<Value>) -> Void
    ) async -> Value {
        #if DEBUG
            await withCheckedContinuation(isolation: isolation) { body(Waiter(continuation: $0)) }
        #else
            unsafe await withUnsafeContinuation(isolation: isolation) { unsafe body(Waiter(continuation: $0)) }
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
