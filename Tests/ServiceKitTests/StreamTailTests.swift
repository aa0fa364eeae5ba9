import Kernels
import ServiceKit
import Synchronization
import Testing

private func rows(_ sequences: some Sequence<UInt64>) -> [(sequence: UInt64, row: UInt64)] {
    sequences.map { ($0, $0 * 10) }
}

extension StreamTail.Answer {
    fileprivate var rows: [Row]? { if case .rows(let rows) = self { rows } else { nil } }
    fileprivate var behind: UInt64? { if case .behind(let sequence) = self { sequence } else { nil } }
    fileprivate var isFinished: Bool { if case .finished = self { true } else { false } }
}

@Suite(.timeLimit(.minutes(1))) struct StreamTailTests {
    @Test("rows are given from any sequence in memory, at most as many as asked for")
    func window() async throws {
        let tail = StreamTail<UInt64>(start: 4, capacity: 100)
        tail.publish(rows(5...8))
        #expect(try await tail.next(from: 5, limit: 10).rows == [50, 60, 70, 80])
        #expect(try await tail.next(from: 7, limit: 10).rows == [70, 80])
        #expect(try await tail.next(from: 5, limit: 2).rows == [50, 60])
    }

    @Test("a subscriber behind the memory is told how far to read what is stored")
    func behind() async throws {
        let tail = StreamTail<UInt64>(start: 4, capacity: 3)
        #expect(try await tail.next(from: 1, limit: 10).behind == 4)
        #expect(try await tail.next(from: 4, limit: 10).behind == 4)
        tail.publish(rows(5...10))
        #expect(try await tail.next(from: 5, limit: 10).behind == 7)
        #expect(try await tail.next(from: 7, limit: 10).behind == 7)
        #expect(try await tail.next(from: 8, limit: 10).rows == [80, 90, 100])
    }

    @Test("after its end a stream gives what is left, then says that it has finished")
    func finished() async throws {
        let tail = StreamTail<UInt64>(start: 0, capacity: 2)
        tail.publish(rows(1...3))
        tail.finish()
        #expect(try await tail.next(from: 1, limit: 10).behind == 1)
        #expect(try await tail.next(from: 2, limit: 10).rows == [20, 30])
        #expect(try await tail.next(from: 4, limit: 10).isFinished)
        #expect(try await StreamTail<UInt64>.finished(at: 7).next(from: 8, limit: 1).isFinished)
        #expect(try await StreamTail<UInt64>.finished(at: 7).next(from: 7, limit: 1).behind == 7)
    }

    @Test("rows that were published before are passed over, and new ones among them taken")
    func repeated() async throws {
        let tail = StreamTail<UInt64>(start: 2, capacity: 10)
        tail.publish(rows(1...4))
        tail.publish(rows(2...4))
        tail.publish([])
        tail.publish(rows(4...6))
        #expect(try await tail.next(from: 3, limit: 10).rows == [30, 40, 50, 60])
    }

    /// What a tail is, said naively: all rows that were ever taken, and how many of the last are in memory.
    private struct Model {
        var all: [UInt64] = []
        var start: UInt64
        var capacity: Int
        var isFinished = false

        mutating func publish(_ sequences: [UInt64]) {
            let newest = all.last ?? start
            all += sequences.filter { $0 > newest }
        }

        /// `nil`: wait.
        func answer(from sequence: UInt64, limit: Int) -> (rows: [UInt64]?, behind: UInt64?, isFinished: Bool)? {
            let reach = all.dropLast(capacity).last ?? start
            if sequence <= reach { return (nil, reach, false) }
            let rows = all.filter { $0 >= sequence }.prefix(limit).map { $0 * 10 }
            if !rows.isEmpty { return (Array(rows), nil, false) }
            return isFinished ? (nil, nil, true) : nil
        }
    }

    @Test("any order of publishing, repeating and asking gives the naive answer", arguments: 1...60)
    func likeTheModel(seed: Int) async throws {
        var random = RandomGenerator(seed: UInt64(seed))
        let start = UInt64(random.index(below: 20))
        let capacity = 1 + random.index(below: 12)
        let tail = StreamTail<UInt64>(start: start, capacity: capacity)
        var model = Model(start: start, capacity: capacity)
        for step in 0..<200 {
            switch random.index(below: 12) {
            case 0..<4:
                // From somewhere before the newest on, sometimes with gaps: a stage that begins anew repeats itself.
                var next = (model.all.last ?? start) + 1
                next -= min(next, UInt64(random.index(below: 4)))
                let sequences = (0..<random.index(below: 6)).map { _ in
                    defer { next += random.index(below: 8) == 0 ? 3 : 1 }
                    return next
                }
                tail.publish(rows(sequences))
                model.publish(sequences)
            case 4 where step > 150:
                tail.finish()
                model.isFinished = true
            default:
                let sequence = UInt64(random.index(below: Int(model.all.last ?? start) + 4))
                let limit = 1 + random.index(below: 6)
                // Where the naive answer is to wait, the call would: that is for the tests below.
                guard let wanted = model.answer(from: sequence, limit: limit) else { continue }
                let answer = try await tail.next(from: sequence, limit: limit)
                #expect(
                    answer.rows == wanted.rows && answer.behind == wanted.behind
                        && answer.isFinished == wanted.isFinished,
                    "step \(step): from \(sequence), limit \(limit): \(answer), not \(wanted)")
            }
        }
    }

    /// The last sequence stored.
    private final class Stored: Sendable {
        private let value = Mutex<UInt64>(0)
        var last: UInt64 {
            get { value.withLock { $0 } }
            set { value.withLock { $0 = newValue } }
        }
    }

    /// Follows a stream as a service does, reading `stored` where it has fallen behind: the sequences it saw.
    private static func follow(
        _ tail: StreamTail<UInt64>, from first: UInt64, limit: Int, stored: @Sendable (ClosedRange<UInt64>) -> [UInt64]
    ) async throws -> [UInt64] {
        var seen: [UInt64] = []
        var next = first
        while true {
            switch try await tail.next(from: next, limit: limit) {
            case .rows(let rows):
                #expect((1...limit).contains(rows.count))
                seen += rows.map { $0 / 10 }
                next = (seen.last ?? next) + 1
            case .behind(let last):
                seen += stored(next...last)
                next = last + 1
            case .finished: return seen
            }
        }
    }

    @Test("many subscribers at once, slow or quick, each see every row once, in order")
    func manySubscribers() async throws {
        let total: UInt64 = 3000
        let tail = StreamTail<UInt64>(start: 0, capacity: 16)
        // What is stored is what was committed before it was published.
        let committed = Stored()
        try await withThrowingTaskGroup(of: (UInt64, [UInt64]).self) { group in
            for subscriber in 0..<60 {
                let first = UInt64(1 + subscriber * 40)
                group.addTask {
                    let seen = try await Self.follow(tail, from: first, limit: 1 + subscriber % 9) { wanted in
                        let last = committed.last
                        return wanted.filter { $0 <= last }
                    }
                    return (first, seen)
                }
            }
            var random = RandomGenerator(seed: 5)
            var published: UInt64 = 0
            while published < total {
                let last = min(total, published + UInt64(1 + random.index(below: 30)))
                committed.last = last
                tail.publish(rows((published + 1)...last))
                published = last
                await Task.yield()
            }
            tail.finish()
            for try await (first, seen) in group { #expect(seen == Array(first...total), "from \(first)") }
        }
    }

    @Test("a waiting subscriber is woken by what it waits for, and not by rows before it")
    func waiting() async throws {
        let tail = StreamTail<UInt64>(start: 0, capacity: 10)
        let answered = Count()
        async let answer = {
            defer { answered.increment() }
            return try await tail.next(from: 3, limit: 5).rows
        }()
        await letOthersRun()
        tail.publish(rows(1...2))
        await letOthersRun()
        #expect(answered.value == 0)
        tail.publish(rows(3...4))
        #expect(try await answer == [30, 40])
    }

    @Test("a cancelled subscriber stops waiting, at once or before it began, and the others wait on")
    func cancellation() async throws {
        let tail = StreamTail<UInt64>(start: 0, capacity: 10)
        let waiting = (0..<20).map { _ in Task { try await tail.next(from: 1, limit: 1).rows } }
        await letOthersRun()
        for task in waiting.prefix(19) { task.cancel() }
        for task in waiting.prefix(19) { #expect(await thrown { _ = try await task.value } is CancellationError) }
        let late = Task {
            unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
            return try await tail.next(from: 1, limit: 1).rows
        }
        #expect(await thrown { _ = try await late.value } is CancellationError)
        tail.publish(rows(1...1))
        #expect(try await waiting[19].value == [10])
    }
}

extension StreamTail {
    /// A stream whose rows are all stored, and none in memory.
    fileprivate static func finished(at last: UInt64) -> StreamTail {
        let tail = StreamTail(start: last)
        tail.finish()
        return tail
    }
}
