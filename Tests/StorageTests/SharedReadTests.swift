import Kernels
import TestKit
import Testing

@testable import Storage

private final class Read: Sendable {}

/// Reads that share connections: what one caller meets is no business of another's.
@Suite struct SharedReadTests {
    private func pool(
        connections: Int, _ change: (inout StorageConfiguration) -> Void = { _ in }
    ) async throws -> ConnectionPool {
        var configuration = try await TestCluster.shared.database(migrated: false)
        configuration.maximumConnections = connections
        configuration.acquireTimeout = .seconds(600)
        change(&configuration)
        return ConnectionPool(configuration)
    }

    private func echo(_ value: Int, _ pool: ConnectionPool) async throws -> Int {
        try await pool.queryOne("SELECT $1::int8", [value]) { (row) throws(StorageError) in try row.get(0) }
    }

    /// Starts reads in this order while the pool's only connection is lent, so that the first of them leads all but the
    /// second. Returns what came of each, or of those that `meanwhile` left waiting.
    private func together(
        _ pool: ConnectionPool, _ reads: [@Sendable () async throws -> Int],
        meanwhile: @Sendable ([Task<Int, any Error>]) async throws -> Void = { _ in }
    ) async throws -> [Result<Int, any Error>] {
        let tasks = try await pool.withConnection { _ in
            var tasks: [Task<Int, any Error>] = []
            for read in reads {
                tasks.append(Task { try await read() })
                while pool.snapshot.waitingCallers < tasks.count { await Task.yield() }
            }
            try await meanwhile(tasks)
            return tasks
        }
        var results: [Result<Int, any Error>] = []
        for task in tasks { results.append(await task.result) }
        return results
    }

    @Test("those who wait go together, each with its own answer") func sharing() async throws {
        let pool = try await pool(connections: 1)
        let results = try await together(pool, (0..<40).map { index in { try await echo(index, pool) } })
        for (index, result) in results.enumerated() { #expect(try result.get() == index) }
        let counts = pool.snapshot.counts
        // The holder's lease, and four leaders': two go with 15 others each, one with the 6 that are left.
        #expect(counts.leases == 5 && counts.sharedReads == 36)
        #expect(pool.snapshot.waitingCallers == 0 && pool.snapshot.leasedConnections == 0)
        await pool.close()
    }

    @Test("two who are about to go share those who wait") func halves() async throws {
        let pool = try await pool(connections: 2)
        try await pool.withConnection { _ in try await pool.withConnection { _ in } }
        let results = try await withThrowingTaskGroup(of: (Int, Int).self) { group in
            for index in 0..<200 { group.addTask { (index, try await echo(index, pool)) } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(results.count == 200 && results.allSatisfy { $0.0 == $0.1 })
        let counts = pool.snapshot.counts
        #expect(counts.leases - 2 + counts.sharedReads == 200)
        await pool.close()

        var queue = ReadQueue<Read>(maximumLeaders: 2, maximumTogether: 16, maximumWaiters: 100)
        let reads = (0..<9).map { _ in Read() }
        let answers = reads.map { queue.join($0) }
        #expect(answers == [.leads, .leads] + [ReadQueue<Read>.Answer](repeating: .waits, count: 7))
        #expect(queue.take(with: reads[0]).elementsEqual(reads[2..<6], by: ===))
        #expect(queue.take(with: reads[1]).elementsEqual(reads[6..<9], by: ===))
        // One who has to wait for a connection keeps nobody; whoever is told to lead in its place takes all.
        let more = (0..<4).map { _ in Read() }
        for read in more { #expect(queue.join(read) == .waits) }
        #expect(queue.leave(reads[0]) === more[0])
        queue.delay(more[0])
        #expect(queue.leave(reads[1]) === more[1])
        #expect(queue.take(with: more[1]).elementsEqual(more[2...], by: ===))
        #expect(queue.take(with: more[0]).isEmpty)
    }

    @Test("rows are counted as on a lease") func shapes() async throws {
        let pool = try await pool(connections: 2)
        let series = "SELECT g FROM generate_series(1, $1::int8) g"
        func read(_ row: Row) throws(StorageError) -> Int { try row.get(0) }
        #expect(try await pool.query(series, [3], decode: read) == [1, 2, 3])
        #expect(try await pool.queryOptional(series, [0], decode: read) == nil)
        await #expect(throws: StorageError.unexpectedRowCount(2)) {
            try await pool.queryOptional(series, [2], decode: read)
        }
        await #expect(throws: StorageError.unexpectedRowCount(0)) {
            try await pool.queryOne(series, [0], decode: read)
        }
        // Plans that do not depend on the parameters are asked for in the pipeline alone.
        let mode = "SELECT current_setting('plan_cache_mode')"
        func text(_ row: Row) throws(StorageError) -> String { try row.get(0) }
        #expect(try await pool.queryOne(mode, decode: text) == "force_generic_plan")
        let usual = try await pool.withConnection { connection in
            try connection.queryOne(mode) { (row) throws(StorageError) in try row.get(0, as: String.self) }
        }
        #expect(usual == "auto")
        await #expect(throws: StorageError.decoding(column: "g", reason: "type 20 can't be read as String")) {
            try await pool.queryOne(series, [1]) { (row) throws(StorageError) in try row.get(0, as: String.self) }
        }
        await pool.close()
    }

    @Test("a session that plans once for many shared reads plans as usual for a lease", arguments: [false, true])
    func plansOfSession(fails: Bool) async throws {
        let pool = try await pool(connections: 1)
        let mode = "SELECT current_setting('plan_cache_mode')"
        @Sendable func shared() async throws -> Int {
            try await pool.queryOne(mode) { (row) throws(StorageError) in
                try row.get(0, as: String.self) == "force_generic_plan" ? 1 : 0
            }
        }
        @Sendable func failing() async throws -> Int {
            try await pool.queryOne("SELECT 1 / $1::int8", [0]) { (row) throws(StorageError) in try row.get(0) }
        }
        func leased() async throws -> String {
            try await pool.withConnection { connection in
                try connection.queryOne(mode) { (row) throws(StorageError) in try row.get(0) }
            }
        }
        for _ in 0..<3 {
            // All but the second in one pipeline, which sets the session; then one that fails, which changes nothing.
            for result in try await together(pool, (0..<8).map { _ in { try await shared() } }) {
                #expect(try result.get() == 1)
            }
            if fails {
                let results = try await together(pool, (0..<8).map { $0 == 5 ? failing : shared })
                for (index, result) in results.enumerated() where index != 5 {
                    // Repeated on a lease, where plans are as usual; the second leads by itself.
                    #expect(try result.get() == (index == 1 ? 1 : 0))
                }
                #expect(throws: StorageError.self) { try results[5].get() }
            }
            #expect(try await shared() == 1)
            #expect(try await leased() == "auto")
            #expect(try await shared() == 1)
            #expect(try await leased() == "auto")
        }
        // A connection that is gone is opened again, for reads as for leases.
        for result in try await together(pool, (0..<8).map { _ in { try await shared() } }) { _ = try result.get() }
        let other = ConnectionPool(pool.configuration)
        try await other.withConnection { connection in
            _ = try connection.query(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database()"
                    + " AND pid <> pg_backend_pid()"
            ) { (row) throws(StorageError) in row.columnCount }
        }
        #expect(try await leased() == "auto")
        await other.close()
        await pool.close()
    }

    @Test("what does not begin like a read is not sent", arguments: [
        "BEGIN", "SET search_path = x", "COPY (SELECT 1) TO STDOUT", "INSERT INTO t VALUES (1)", "", "selection",
    ])
    func misuse(sql: String) async throws {
        let pool = try await pool(connections: 1)
        let error = await #expect(throws: StorageError.self) {
            try await pool.query(sql) { (_) throws(StorageError) in 0 }
        }
        guard case .misuse = error else { throw try #require(error) }
        #expect(pool.snapshot.counts.leases == 0)
        for read in ["values (7)", "\n  WITH a AS (SELECT 7) SELECT * FROM a", "select(7)"] {
            #expect(try await pool.queryOne(read) { (row) throws(StorageError) in try row.get(0, as: Int32.self) } == 7)
        }
        await pool.close()
    }

    @Test("an error reaches the caller who made it, with its own statement, and nobody else")
    func errors() async throws {
        let pool = try await pool(connections: 1) { $0.statementTimeout = .milliseconds(100) }
        let division = "SELECT 1 / $1::int8"
        let results = try await together(
            pool,
            [
                { try await echo(0, pool) }, { try await echo(1, pool) },
                { try await pool.queryOne(division, [0]) { (row) throws(StorageError) in try row.get(0) } },
                { try await echo(3, pool) },
                { try await pool.queryOne("SELECT a FROM nowhere") { (row) throws(StorageError) in try row.get(0) } },
                { try await pool.query("SELECT pg_sleep(600)") { (_) throws(StorageError) in 0 }.count },
                { try await echo(6, pool) },
            ])
        for index in [0, 1, 3, 6] { #expect(try results[index].get() == index) }
        func error(_ index: Int) -> StorageError? {
            do { _ = try results[index].get() } catch { return error as? StorageError }
            return nil
        }
        guard case .server(let fault) = error(2) else { throw try #require(error(2)) }
        #expect(fault.sqlState == "22012" && fault.sql == division && fault.statementIndex == nil)
        #expect(error(4)?.sqlState == "42P01")
        #expect(error(5) == .timeout(.statement))
        #expect(try await echo(9, pool) == 9)
        await pool.close()
    }

    @Test("one who is cancelled while waiting goes at once, the others stay") func cancelledWaiting() async throws {
        let pool = try await pool(connections: 1)
        // The leader, a second leader, and one who waits.
        for victim in 0..<4 {
            let results = try await together(pool, (0..<4).map { index in { try await echo(index, pool) } }) { tasks in
                tasks[victim].cancel()
                await #expect(throws: StorageError.cancelled) { try await tasks[victim].value }
            }
            for index in 0..<4 where index != victim { #expect(try results[index].get() == index) }
        }
        await pool.close()
    }

    @Test("one who is cancelled while the server works stops it, and a slow read does not keep others")
    func cancelledRunning() async throws {
        let pool = try await pool(connections: 4)
        let watcher = ConnectionPool(pool.configuration)
        func sleepers() async throws -> Int {
            try await watcher.withConnection { connection in
                try connection.queryOne(
                    """
                    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
                    AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()
                    """
                ) { (row) throws(StorageError) in try row.get(0) }
            }
        }
        let slow = Task { try await pool.query("SELECT pg_sleep(600)") { (_) throws(StorageError) in 0 }.count }
        while try await sleepers() == 0 { await Task.yield() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<50 {
                group.addTask {
                    let answer = try await echo(index, pool)
                    #expect(answer == index)
                }
            }
            try await group.waitForAll()
        }
        slow.cancel()
        await #expect(throws: StorageError.cancelled) { try await slow.value }
        while try await sleepers() > 0 { await Task.yield() }
        await pool.close()

        // In the middle of a pipeline.
        let single = try await self.pool(connections: 1)
        let results = try await together(
            single,
            [
                { try await echo(0, single) }, { try await echo(1, single) },
                { try await single.query("SELECT pg_sleep(600)") { (_) throws(StorageError) in 0 }.count },
                { try await echo(3, single) },
            ]
        ) { tasks in
            Task {
                while single.snapshot.counts.sharedReads == 0 { await Task.yield() }
                tasks[2].cancel()
            }
        }
        for index in [0, 1, 3] { #expect(try results[index].get() == index) }
        #expect(throws: StorageError.cancelled) { try results[2].get() }
        await single.close()
        await watcher.close()
    }

    @Test("a lost connection is the same error for all who were on it, and for nobody else") func lost() async throws {
        let pool = try await pool(connections: 1)
        let leave = "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)"
        let results = try await together(
            pool,
            [
                { try await echo(0, pool) }, { try await echo(1, pool) }, { try await echo(2, pool) },
                { try await pool.query(leave) { (_) throws(StorageError) in 0 }.count }, { try await echo(4, pool) },
            ])
        for index in [0, 2, 3, 4] {
            let error = #expect(throws: StorageError.self) { try results[index].get() }
            guard case .outcomeUnknown = error else { throw try #require(error) }
        }
        #expect(try results[1].get() == 1)
        #expect(try await echo(5, pool) == 5)
        // As it is for a statement by itself.
        let alone = await #expect(throws: StorageError.self) { try await pool.withConnection { try $0.execute(leave) } }
        guard case .outcomeUnknown = alone else { throw try #require(alone) }
        await pool.close()
    }

    @Test("limits and the end of the pool hold for shared reads") func limits() async throws {
        let late = try await pool(connections: 1) { $0.acquireTimeout = .milliseconds(50) }
        let timedOut = try await late.withConnection { _ in
            var results: [Result<Int, any Error>] = []
            let tasks = (0..<6).map { index in Task { try await echo(index, late) } }
            for task in tasks { results.append(await task.result) }
            return results
        }
        for result in timedOut { #expect(throws: StorageError.timeout(.acquire)) { try result.get() } }
        #expect(try await echo(1, late) == 1)
        await late.close()

        let few = try await pool(connections: 1) { $0.maximumWaiters = 2 }
        // Two leaders, two who wait for them.
        let served = try await together(few, (0..<4).map { index in { try await echo(index, few) } }) { _ in
            await #expect(throws: StorageError.tooManyWaiters(limit: 2)) { try await echo(9, few) }
        }
        for (index, result) in served.enumerated() { #expect(try result.get() == index) }
        #expect(few.snapshot.counts.refused == 1)

        let closed = try await together(few, (0..<4).map { index in { try await echo(index, few) } }) { tasks in
            let end = Task { await few.close() }
            for task in tasks { await #expect(throws: StorageError.closed) { try await task.value } }
            _ = end
        }
        #expect(closed.count == 4)
        await few.close()
        await #expect(throws: StorageError.closed) { try await echo(1, few) }

        let away = ConnectionPool(try StorageConfiguration(url: "postgresql://a@/b?host=/nowhere"))
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    let error = await #expect(throws: StorageError.self) { try await echo(1, away) }
                    guard case .unavailable = error else {
                        Issue.record("\(String(describing: error))")
                        return
                    }
                }
            }
        }
        await away.close()
    }

    @Test("stale plans and more statements than are kept prepared are made good") func plans() async throws {
        let pool = try await pool(connections: 1) { $0.maximumPreparedStatements = 3 }
        try await pool.withConnection { try $0.command("CREATE TABLE t (a int8); INSERT INTO t VALUES (7)") }
        @Sendable func columns() async throws -> Int {
            try await pool.queryOne("SELECT * FROM t") { (row) throws(StorageError) in row.columnCount }
        }
        #expect(try await columns() == 1)
        try await pool.withConnection { try $0.command("ALTER TABLE t ADD b int8") }
        let wide = try await together(pool, (0..<5).map { _ in { try await columns() } })
        for result in wide { #expect(try result.get() == 2) }
        let results = try await together(
            pool,
            (0..<20).map { index in
                { try await pool.queryOne("SELECT \(index)::int8") { (row) throws(StorageError) in try row.get(0) } }
            })
        for (index, result) in results.enumerated() { #expect(try result.get() == index) }
        await pool.close()
    }

    @Test("whatever others do, each caller gets its own answer or its own error", arguments: [1, 2, 5] as [UInt64])
    func random(seed: UInt64) async throws {
        let pool = try await pool(connections: Int(seed))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in 0..<12 as Range<UInt64> {
                group.addTask {
                    var random = RandomGenerator(seed: seed * 100 + caller)
                    for _ in 0..<60 {
                        let value = random.index(below: 1_000_000)
                        switch random.index(below: 12) {
                        case 0:
                            let error = await #expect(throws: StorageError.self) {
                                try await pool.queryOne("SELECT 1 / ($1::int8 - $1)", [value]) {
                                    (row) throws(StorageError) in try row.get(0, as: Int.self)
                                }
                            }
                            #expect(error?.sqlState == "22012", "seed \(seed)")
                        case 1:
                            let task = Task { try await echo(value, pool) }
                            for _ in 0..<random.index(below: 20) { await Task.yield() }
                            task.cancel()
                            switch await task.result {
                            case .success(let answer): #expect(answer == value, "seed \(seed)")
                            case .failure(let error): #expect(error as? StorageError == .cancelled, "seed \(seed)")
                            }
                        case 2:
                            // A lease between them.
                            let answer = try await pool.withConnection { connection in
                                try connection.queryOne("SELECT $1::int8", [value]) { (row) throws(StorageError) in
                                    try row.get(0, as: Int.self)
                                }
                            }
                            #expect(answer == value, "seed \(seed)")
                        default: #expect(try await echo(value, pool) == value, "seed \(seed)")
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        let snapshot = pool.snapshot
        #expect(snapshot.leasedConnections == 0 && snapshot.waitingCallers == 0, "seed \(seed)")
        // Nobody's mishap has cost a connection.
        #expect(snapshot.counts.opened <= seed, "seed \(seed)")
        await pool.close()
    }

    @Test("no order of events breaks the queue", arguments: 1...20 as ClosedRange<UInt64>) func queue(seed: UInt64) {
        var random = RandomGenerator(seed: seed)
        var queue = ReadQueue<Read>(maximumLeaders: 2, maximumTogether: 4, maximumWaiters: 9)
        var leaders: [Read] = []
        var gathering: [Read] = []
        var waiters: [Read] = []
        for step in 0..<500 {
            switch random.index(below: 7) {
            case 0, 1, 2:
                let read = Read()
                switch queue.join(read) {
                case .leads:
                    leaders.append(read)
                    gathering.append(read)
                case .waits: waiters.append(read)
                case .refuse(let error): #expect(error == .tooManyWaiters(limit: 9) && waiters.count == 9)
                }
            case 3 where !leaders.isEmpty:
                // First come, first served, no more than fit, and half of them when another is about to go.
                let leader = leaders[random.index(below: leaders.count)]
                gathering.removeAll { $0 === leader }
                let share = gathering.isEmpty ? waiters.count : (waiters.count + 1) / 2
                let taken = queue.take(with: leader)
                #expect(taken.elementsEqual(waiters.prefix(min(share, 3)), by: ===), "seed \(seed), step \(step)")
                waiters.removeFirst(taken.count)
            case 4 where !leaders.isEmpty:
                let leader = leaders.remove(at: random.index(below: leaders.count))
                gathering.removeAll { $0 === leader }
                let next = queue.leave(leader)
                #expect(next === waiters.first, "seed \(seed), step \(step)")
                if let next {
                    waiters.removeFirst()
                    leaders.append(next)
                    gathering.append(next)
                }
                let again = queue.leave(leader)
                #expect(again == nil)
            case 5 where !waiters.isEmpty: queue.abandon(waiters.remove(at: random.index(below: waiters.count)))
            case 6 where !leaders.isEmpty:
                let leader = leaders[random.index(below: leaders.count)]
                gathering.removeAll { $0 === leader }
                queue.delay(leader)
            default: break
            }
            #expect(queue.checkInvariants() && queue.waiterCount == waiters.count, "seed \(seed), step \(step)")
        }
    }
}
