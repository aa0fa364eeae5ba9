import Kernels
import ServiceKit
import Testing

/// 1, 2, …, `last`, then an error or a regular end. Counts what has been taken from it.
private struct Numbers: AsyncSequence, Sendable {
    var last: Int
    var fault: Fault?
    /// Where a source with nothing more for now waits: until its task is cancelled.
    var staysOpen = false
    let taken = Count()

    struct Iterator: AsyncIteratorProtocol {
        let source: Numbers
        var next = 1

        mutating func next() async throws -> Int? {
            guard next <= source.last else {
                if source.staysOpen { try await Task.sleep(for: .seconds(3600)) }
                if let fault = source.fault { throw fault }
                return nil
            }
            defer { next += 1 }
            source.taken.increment()
            return next
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(source: self) }
}

@Suite(.timeLimit(.minutes(1))) struct BatchReaderTests {
    @Test("every element arrives once, in order, whatever the limits", arguments: [1, 2, 7, 512])
    func allInOrder(capacity: Int) async throws {
        let source = Numbers(last: 5000)
        let reader = BatchReader<Int>(capacity: capacity)
        var random = RandomGenerator(seed: 11)
        async let pumping: Void = reader.pump(source)
        var seen: [Int] = []
        while let batch = try await reader.nextBatch(limit: 1 + random.index(below: 20)) {
            #expect((1...capacity).contains(batch.count))
            seen += batch
        }
        await pumping
        #expect(seen == Array(1...5000))
        #expect(try await reader.nextBatch() == nil)
    }

    @Test("a batch is everything that has arrived: one when the consumer keeps up, all when it was away")
    func everythingThatArrived() async throws {
        let source = AsyncStream<Int>.makeStream()
        let reader = BatchReader<Int>(capacity: 100)
        async let pumping: Void = reader.pump(source.stream)
        for element in 1...3 {
            source.continuation.yield(element)
            #expect(try await reader.nextBatch() == [element])
        }
        for element in 4...50 { source.continuation.yield(element) }
        source.continuation.finish()
        await pumping
        #expect(try await reader.nextBatch(limit: 40) == Array(4...43))
        #expect(try await reader.nextBatch(limit: 40) == Array(44...50))
        #expect(try await reader.nextBatch() == nil)
    }

    @Test("the source is read up to the capacity, and on as soon as there is room, but never further")
    func backPressure() async throws {
        let capacity = 8
        let source = Numbers(last: 1000)
        let reader = BatchReader<Int>(capacity: capacity)
        async let pumping: Void = reader.pump(source)
        var random = RandomGenerator(seed: 3)
        var consumed = 0
        while consumed < 900 {
            await source.taken.reached(consumed + capacity)
            await letOthersRun()
            #expect(source.taken.value == consumed + capacity)
            let limit = 1 + random.index(below: 2 * capacity)
            let batch = try #require(try await reader.nextBatch(limit: limit))
            #expect(batch == Array((consumed + 1)...(consumed + min(limit, capacity))))
            consumed += batch.count
        }
        while let batch = try await reader.nextBatch() { consumed += batch.count }
        #expect(consumed == 1000)
        await pumping
    }

    @Test("the source's error is thrown after the elements before it, and again at each further call")
    func sourceError() async throws {
        let reader = BatchReader<Int>(capacity: 4)
        async let pumping: Void = reader.pump(Numbers(last: 10, fault: Fault(number: 3)))
        var seen: [Int] = []
        let error = await thrown { while let batch = try await reader.nextBatch(limit: 3) { seen += batch } }
        await pumping
        #expect(seen == Array(1...10))
        #expect(error as? Fault == Fault(number: 3))
        #expect(await thrown { _ = try await reader.nextBatch() } as? Fault == Fault(number: 3))
    }

    @Test("a consumer that is cancelled while it waits, or before, loses nothing for the next one")
    func consumerCancelled() async throws {
        let source = AsyncStream<Int>.makeStream()
        let reader = BatchReader<Int>()
        async let pumping: Void = reader.pump(source.stream)
        let waiting = Task { try await reader.nextBatch() }
        await letOthersRun()
        waiting.cancel()
        #expect(await thrown { _ = try await waiting.value } is CancellationError)
        source.continuation.yield(1)
        let cancelled = Task {
            unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
            return try await reader.nextBatch()
        }
        #expect(await thrown { _ = try await cancelled.value } is CancellationError)
        #expect(try await reader.nextBatch() == [1])
        source.continuation.finish()
        await pumping
        #expect(try await reader.nextBatch() == nil)
    }

    @Test("a reading task that is cancelled, waiting for room or for its source, ends; what it had read stays")
    func readingCancelled() async throws {
        for isFull in [true, false] {
            let source = Numbers(last: isFull ? 100 : 5, staysOpen: true)
            let reader = BatchReader<Int>(capacity: isFull ? 5 : 100)
            let reading = Task { await reader.pump(source) }
            await source.taken.reached(5)
            await letOthersRun()
            reading.cancel()
            await reading.value
            #expect(source.taken.value == 5)
            #expect(try await reader.nextBatch() == [1, 2, 3, 4, 5])
            #expect(await thrown { _ = try await reader.nextBatch() } is CancellationError)
        }
    }

    @Test("neither reader nor elements outlive their users, cancelled or not")
    func nothingLeaks() async throws {
        final class Element: Sendable {}
        weak var reader: BatchReader<Element>?
        weak var element: Element?
        do {
            let made = BatchReader<Element>(capacity: 1)
            reader = made
            let reading = Task {
                let first = Element()
                let second = Element()
                await made.pump(AsyncStream { $0.yield(first); $0.yield(second) })
            }
            element = try #require(try await made.nextBatch(limit: 1)).first
            let waiting = Task { while try await made.nextBatch() != nil {} }
            await letOthersRun()
            waiting.cancel()
            reading.cancel()
            _ = await waiting.result
            await reading.value
        }
        #expect(reader == nil)
        #expect(element == nil)
    }
}
