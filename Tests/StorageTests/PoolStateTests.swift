import Kernels
import Testing

@testable import Storage

/// The pool's machine alone: no server, no clock.
@Suite struct PoolStateTests {
    @Test func lendsWaitsAndRefuses() {
        var state = PoolState(maximumConnections: 2, maximumWaiters: 1)
        #expect(state.acquire() == .lease(0))
        #expect(state.acquire() == .lease(1))
        #expect(state.acquire() == .wait(1))
        #expect(state.acquire() == .refuse(.tooManyWaiters(limit: 1)))
        #expect(state.release(0) == 1)
        let isLate = !state.abandon(1)
        #expect(isLate)
        #expect(state.release(0) == nil)
        #expect(state.acquire() == .lease(0))
        #expect(state.acquire() == .wait(2))
        #expect(state.close() == [2])
        #expect(state.acquire() == .refuse(.closed))
    }

    @Test("shared reads keep to their connections, as long as there are others") func readers() {
        var state = PoolState(maximumConnections: 3, maximumWaiters: 1)
        for connection in 0..<3 { #expect(state.acquire(forReads: connection == 0) == .lease(connection)) }
        #expect(state.release(2) == nil)
        #expect(state.release(1) == nil)
        #expect(state.release(0, isForReads: true) == nil)
        #expect(state.acquire() == .lease(1))
        #expect(state.acquire(forReads: true) == .lease(0))
        #expect(state.release(0, isForReads: true) == nil)
        #expect(state.acquire() == .lease(2))
        // None that fits is better than to wait, and it is what its last lease has made of it.
        #expect(state.acquire() == .lease(0))
        #expect(state.release(0) == nil)
        #expect(state.release(2) == nil)
        #expect(state.acquire(forReads: true) == .lease(2))
        #expect(state.release(2, isForReads: true) == nil)
        #expect(state.acquire() == .lease(0))
        #expect(state.checkInvariants())
    }

    @Test("no order of events breaks it", arguments: 1...20 as ClosedRange<UInt64>) func random(seed: UInt64) {
        var random = RandomGenerator(seed: seed)
        var state = PoolState(maximumConnections: 3, maximumWaiters: 4)
        var leased: [Int] = []
        var waiting: [(waiter: UInt64, order: Int)] = []
        for step in 0..<500 {
            switch random.index(below: step == 400 ? 4 : 3) {
            case 0:
                switch state.acquire(forReads: random.index(below: 2) == 0) {
                case .lease(let connection):
                    #expect(!leased.contains(connection))
                    leased.append(connection)
                case .wait(let waiter): waiting.append((waiter, step))
                case .refuse: break
                }
            case 1 where !leased.isEmpty:
                let connection = leased.remove(at: random.index(below: leased.count))
                if let served = state.release(connection, isForReads: random.index(below: 2) == 0) {
                    // First come, first served.
                    #expect(served == waiting.removeFirst().waiter)
                    leased.append(connection)
                }
            case 2 where !waiting.isEmpty:
                let gone = waiting.remove(at: random.index(below: waiting.count)).waiter
                let wasWaiting = state.abandon(gone)
                #expect(wasWaiting)
            case 3:
                #expect(state.close() == waiting.map(\.waiter))
                waiting = []
            default: break
            }
            #expect(state.checkInvariants(), "seed \(seed), step \(step)")
        }
    }

    @Test func pausesDouble() {
        var pause = ReconnectPause(.milliseconds(20) ... .milliseconds(100))
        let now = ContinuousClock.now
        for expected in [20, 40, 80, 100, 100] {
            pause.failed(at: now)
            #expect(pause.notBefore == now + .milliseconds(expected))
        }
        pause.succeeded()
        #expect(pause.notBefore == nil)
    }

    @Test("the least recently used statement goes") func statements() {
        var cache = StatementCache()
        for sql in ["a", "b"] { cache.insert(sql: sql, types: [20], name: cache.newName()) }
        #expect(cache.name(sql: "a", types: [20]) == "s1")
        #expect(cache.name(sql: "a", types: [25]) == nil)
        #expect(cache.evict(limit: 3) == nil)
        #expect(cache.evict(limit: 2) == "s2")
        #expect(cache.name(sql: "b", types: [20]) == nil)
    }
}
