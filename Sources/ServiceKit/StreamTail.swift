internal import DequeModule
internal import MarketData
internal import Storage
internal import Synchronization

/// The newest rows of a stored stream, kept in memory so that subscribers who keep up need not read the database.
///
/// A stage publishes rows here after it has committed them. A subscriber asks with `next(from:)` and gets rows, or is
/// told to read the database up to some sequence because it is further behind than the memory reaches. Nothing is
/// ever blocked by a slow subscriber, and no more than `capacity` rows are held.
public final class StreamTail<Row: Sendable>: Sendable {
    /// What a subscriber is to do next.
    public enum Answer: Sendable {
        /// Rows in order of their sequence, at least one.
        case rows([Row])
        /// Read the stored rows with sequences up to this one, then ask again from the next sequence.
        case behind(upTo: UInt64)
        /// The stream has ended, and every row has been given.
        case finished
    }

    private struct State {
        var rows: Deque<(sequence: UInt64, row: Row)> = []
        /// Every row with a sequence above this one is in `rows`, or not there yet.
        var start: UInt64
        var isFinished = false
        /// When rows were added last, by the wall clock.
        var publishedAt: Timestamp?
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter: UInt64 = 0
    }

    private let state: Mutex<State>
    private let capacity: Int

    /// `start` is the last sequence that is stored already; `capacity` the number of rows kept.
    public init(start: UInt64, capacity: Int = 4096) {
        precondition(capacity > 0, "the newest row is kept")
        state = Mutex(State(start: start))
        self.capacity = capacity
    }

    /// Adds rows that have been committed, in order of their sequence, and wakes the subscribers. Rows that were added
    /// before are passed over: a stage that starts again from a saved state repeats some.
    public func publish(_ rows: [(sequence: UInt64, row: Row)]) {
        guard !rows.isEmpty else { return }
        wake { state in
            let newest = state.rows.last?.sequence ?? state.start
            state.publishedAt = .now
            state.rows.append(contentsOf: rows.drop { $0.sequence <= newest })
            while state.rows.count > self.capacity { state.start = state.rows.removeFirst().sequence }
        }
    }

    /// Says that no row will follow.
    public func finish() { wake { $0.isFinished = true } }

    /// The newest row and when it was published; `nil` before the first, and after the end.
    var newest: (row: Row, publishedAt: Timestamp)? {
        state.withLock { state in
            guard !state.isFinished, let row = state.rows.last?.row, let time = state.publishedAt else { return nil }
            return (row, time)
        }
    }

    private func wake(_ change: (inout sending State) -> Void) {
        let waiters = state.withLock { state in
            change(&state)
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Rows with sequences from `sequence` on, at most `limit`; waits until there are some. Throws `CancellationError`.
    public func next(from sequence: UInt64, limit: Int) async throws -> Answer {
        precondition(limit > 0, "an answer has at least one row")
        while true {
            try Task.checkCancellation()
            if let answer = state.withLock({ Self.answer(from: sequence, limit: limit, $0) }) { return answer }
            await waitForChange(from: sequence)
        }
    }

    private static func answer(from sequence: UInt64, limit: Int, _ state: State) -> Answer? {
        if sequence <= state.start { return .behind(upTo: state.start) }
        // Sequences increase: the first row wanted is found by bisection.
        var low = 0
        var high = state.rows.count
        while low < high {
            let middle = (low + high) / 2
            if state.rows[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        if low < state.rows.count { return .rows(state.rows[low...].prefix(limit).map(\.row)) }
        return state.isFinished ? .finished : nil
    }

    private func waitForChange(from sequence: UInt64) async {
        let id = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let resumeNow = state.withLock { state in
                    // Something may have come, or the task been cancelled, since the caller looked.
                    if Task.isCancelled || Self.answer(from: sequence, limit: 1, state) != nil { return true }
                    state.waiters[id] = continuation
                    return false
                }
                if resumeNow { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
        }
    }
}
