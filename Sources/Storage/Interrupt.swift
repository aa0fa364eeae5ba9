internal import NIOConcurrencyHelpers

/// How a cancelled task reaches a connection that is blocked in `poll`: a flag, and a file descriptor to wake it up.
///
/// A request names the lease it is meant for, so that one that comes late can't hit the next borrower.
final class Interrupt: Sendable {
    private struct State {
        var lease: UInt64 = 0
        var isRequested = false
    }

    private let state = NIOLockedValueBox(State())
    private let pipe: WakePipe
    /// Readable while a request stands.
    var descriptor: CInt { pipe.readEnd }

    init() throws(StorageError) {
        pipe = try WakePipe()
    }

    /// Begins a lease: whatever was asked of the one before is forgotten.
    func beginLease() -> UInt64 {
        let (lease, wasRequested) = state.withLockedValue { state in
            defer { state.isRequested = false }
            state.lease += 1
            return (state.lease, state.isRequested)
        }
        if wasRequested { pipe.drain() }
        return lease
    }

    /// Asks the holder of `lease` to stop. Returns at once; callable from any thread.
    func request(lease: UInt64) {
        state.withLockedValue { state in
            guard state.lease == lease, !state.isRequested else { return }
            state.isRequested = true
            pipe.signal()
        }
    }

    var currentLease: UInt64 { state.withLockedValue { $0.lease } }
    var isRequested: Bool { state.withLockedValue { $0.isRequested } }
}
