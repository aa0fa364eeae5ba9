import MarketData
import Storage
import TestKit
import Testing

/// Leases: one holder at a time, and a holder that lost its lease can write nothing. A lease of no length has run out
/// at
/// once, which is how these tests let time pass.
@Suite struct JobRepositoryTests {
    private let expired = Interval.seconds(0)
    private let long = Interval.hours(1)

    private func take(_ pool: ConnectionPool, _ owner: String, _ duration: Interval) async throws -> JobRepository
        .Lease?
    {
        try await pool.withConnection { try JobRepository.lease(kinds: ["ppo"], owner: owner, for: duration, on: $0) }
    }

    private func submit(_ pool: ConnectionPool, _ key: String, priority: Int32 = 0, tries: Int32 = 5) async throws
        -> Int64
    {
        try await pool.withConnection { connection in
            try JobRepository.enqueue(
                key: key, kind: "ppo", spec: "{}", priority: priority, maximumAttempts: tries, on: connection)
        }
    }

    @Test("many trainers share the queue: each job goes to one, by priority, then age") func sharing() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        var ids: [Int64] = []
        for index in 0..<12 { ids.append(try await submit(pool, "job \(index)", priority: index == 7 ? 1 : 0)) }
        #expect(try await submit(pool, "job 3") == ids[3])
        #expect(try await take(pool, "first", long)?.job.id == ids[7])
        let taken = try await withThrowingTaskGroup(of: [Int64].self) { group in
            for trainer in 0..<6 {
                group.addTask {
                    var mine: [Int64] = []
                    while let lease = try await take(pool, "trainer \(trainer)", long) { mine.append(lease.job.id) }
                    return mine
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(taken.sorted() == ids.filter { $0 != ids[7] })
        let other = try await pool.withConnection {
            try JobRepository.lease(kinds: ["heston"], owner: "x", for: .hours(1), on: $0)
        }
        #expect(other == nil)
        await pool.close()
    }

    @Test("a dead trainer's job goes on from its checkpoint, and its ghost is fenced") func takeOver() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        let id = try await submit(pool, "job")
        let ghost = try #require(try await take(pool, "a", expired))
        #expect(ghost.checkpoint == nil && ghost.job.attempt == 1)
        // Late, but nobody has taken it over yet.
        try await pool.withConnection { try JobRepository.checkpoint(ghost, [1, 2, 3], progress: 0.5, on: $0) }
        let heir = try #require(try await take(pool, "a", long))
        #expect(heir.checkpoint == [1, 2, 3] && heir.job.attempt == 2 && heir.job.progress == 0.5)
        #expect(try await take(pool, "c", long) == nil)
        // The same owner name does not help: the attempt's number counts.
        for write in [
            { @Sendable (c: isolated Connection) in try JobRepository.heartbeat(ghost, on: c) },
            { @Sendable (c: isolated Connection) in try JobRepository.checkpoint(ghost, [], progress: 1, on: c) },
            { @Sendable (c: isolated Connection) in try JobRepository.complete(ghost, result: "{}", on: c) },
            { @Sendable (c: isolated Connection) in try JobRepository.fail(ghost, error: "", canRetry: true, on: c) },
            { @Sendable (c: isolated Connection) in try JobRepository.release(ghost, on: c) },
            { @Sendable (c: isolated Connection) in try JobRepository.record([("x", 1)], step: 1, ghost, on: c) },
        ] {
            await #expect(throws: StorageError.fenced("job \(id)")) { try await pool.withConnection { try write($0) } }
        }
        try await pool.withConnection { connection in
            try JobRepository.heartbeat(heir, progress: 0.75, message: "almost", on: connection)
            try JobRepository.record([("loss", 2), ("reward", 1)], step: 10, heir, on: connection)
            try JobRepository.record([("loss", 3)], step: 10, heir, on: connection)
            try JobRepository.complete(heir, result: "{\"sharpe\": 0}", on: connection)
            let job = try JobRepository.job(id, on: connection)
            #expect(job?.state == .succeeded && job?.message == "almost" && job?.result == "{\"sharpe\": 0}")
            #expect(try JobRepository.metric("loss", of: id, on: connection).map(\.value) == [3])
            #expect(throws: StorageError.fenced("job \(id)")) {
                try JobRepository.complete(heir, result: "{}", on: connection)
            }
        }
        #expect(try await take(pool, "c", long) == nil)
        await pool.close()
    }

    @Test("attempts are bounded; release, cancel and fail do what they say") func ends() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        let id = try await submit(pool, "job", tries: 2)
        _ = try #require(try await take(pool, "a", expired))
        _ = try #require(try await take(pool, "b", expired))
        #expect(try await take(pool, "c", long) == nil)
        let exhausted = try await pool.withConnection { try JobRepository.job(id, on: $0) }
        #expect(exhausted?.state == .failed)

        let second = try await submit(pool, "second", tries: 2)
        let failing = try #require(try await take(pool, "a", long))
        try await pool.withConnection { try JobRepository.fail(failing, error: "NaN", canRetry: true, on: $0) }
        let retried = try #require(try await take(pool, "a", long))
        #expect(retried.job.id == second && retried.job.attempt == 2 && retried.job.error == "NaN")
        try await pool.withConnection { try JobRepository.release(retried, on: $0) }
        let again = try #require(try await take(pool, "a", long))
        #expect(again.job.attempt == 3)
        try await pool.withConnection { try JobRepository.fail(again, error: "NaN", canRetry: true, on: $0) }
        #expect(try await take(pool, "a", long) == nil)

        let third = try await submit(pool, "third")
        let cancelled = try #require(try await take(pool, "a", long))
        let ended = try await pool.withConnection { connection in
            [try JobRepository.cancel(third, on: connection), try JobRepository.cancel(third, on: connection)]
        }
        #expect(ended == [true, false])
        await #expect(throws: StorageError.fenced("job \(third)")) {
            try await pool.withConnection { try JobRepository.heartbeat(cancelled, on: $0) }
        }
        await pool.close()
    }
}
