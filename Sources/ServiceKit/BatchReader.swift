internal import DequeModule
internal import Synchronization

/// Takes elements from a stream as they come and hands them out in batches: everything that has arrived, at least one.
///
/// A consumer that stores what it derives can so share one transaction between all elements that arrived during the one
/// before: batches of one when it keeps up, large ones when it is behind. At most `capacity` elements are held; then
/// the source is not read, and its flow control stops the sender. One consumer at a time.
public final class BatchReader<Element: Sendable>: Sendable {
    private struct State {
        var elements: Deque<Element> = []
        /// Set once the source has ended: `nil` inside for a regular end.
        var end: (any Error)??
        var consumer: CheckedContinuation<Void, Never>?
        var producer: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    private let capacity: Int
    private let stage: StageMetrics?

    /// What waits here is counted in `stage`.
    public init(capacity: Int = 512, stage: StageMetrics? = nil) {
        precondition(capacity > 0, "there is room for one element")
        self.capacity = capacity
        self.stage = stage
    }

    deinit { stage?.queued(-state.withLock { $0.elements.count }) }

    /// Reads the source to its end; run it in a task beside the consumer's. The source's error is thrown by
    /// `nextBatch`.
    public func pump<Source: AsyncSequence>(_ source: Source) async where Source.Element == Element {
        do {
            for try await element in source {
                let (consumer, isFull) = state.withLock { state in
                    state.elements.append(element)
                    defer { state.consumer = nil }
                    return (state.consumer, state.elements.count >= self.capacity)
                }
                stage?.queued(1)
                consumer?.resume()
                if isFull { await waitForRoom() }
                if Task.isCancelled { throw CancellationError() }
            }
            end(nil)
        } catch {
            end(error)
        }
    }

    private func end(_ error: (any Error)?) {
        let consumer = state.withLock { state in
            state.end = .some(error)
            defer { state.consumer = nil }
            return state.consumer
        }
        consumer?.resume()
    }

    private func waitForRoom() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.elements.count < self.capacity || Task.isCancelled { return true }
                    state.producer = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let producer = state.withLock { state in
                defer { state.producer = nil }
                return state.producer
            }
            producer?.resume()
        }
    }

    /// Everything that has arrived, at most `limit`, in order; waits for the first. `nil` after the source's regular
    /// end; throws its error, or `CancellationError`.
    public func nextBatch(limit: Int = .max) async throws -> [Element]? {
        precondition(limit > 0, "a batch has at least one element")
        while true {
            try Task.checkCancellation()
            let (batch, end, producer) = state.withLock { state in
                let batch = Array(state.elements.prefix(limit))
                state.elements.removeFirst(batch.count)
                defer { if !batch.isEmpty { state.producer = nil } }
                return (batch, state.end, batch.isEmpty ? nil : state.producer)
            }
            producer?.resume()
            if !batch.isEmpty {
                stage?.queued(-batch.count)
                return batch
            }
            if let end {
                if let error = end { throw error }
                return nil
            }
            await waitForElements()
        }
    }

    private func waitForElements() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if !state.elements.isEmpty || state.end != nil || Task.isCancelled { return true }
                    state.consumer = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let consumer = state.withLock { state in
                defer { state.consumer = nil }
                return state.consumer
            }
            consumer?.resume()
        }
    }
}
