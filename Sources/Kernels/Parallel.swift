internal import Dispatch

/// Loops over several threads, for work that takes milliseconds or more.
public enum Parallel {
    /// Calls `body` for each of 0 ..< `lanes`, side by side, and returns when all are done. One lane is run by the
    /// caller itself.
    public static func perform(_ lanes: Int, _ body: @Sendable (Int) -> Void) {
        precondition(lanes >= 0, "a number of lanes")
        if lanes == 1 { return body(0) }
        DispatchQueue.concurrentPerform(iterations: lanes) { body($0) }
    }

    /// What `body` returns for each of 0 ..< `lanes`, in that order.
    public static func map<R: Sendable>(_ lanes: Int, _ body: @Sendable (Int) -> R) -> [R] {
        var results = [R?](repeating: nil, count: lanes)
        unsafe results.withUnsafeMutableBufferPointer { results in
            // Each lane writes to its own place.
            nonisolated(unsafe) let places = unsafe results
            perform(lanes) { lane in unsafe places[lane] = body(lane) }
        }
        return results.compactMap { $0 }
    }
}
