internal import NIOConcurrencyHelpers

// Reads of several callers in one pipeline on one connection: one message there and one back wake the two sides up once
// for all of them, where waking up is most of what a short read costs.
//
// A caller who finds fewer than two leaders is one: it takes a lease as everybody does, and the reads that wait by then
// with it; two who are about to go share them. While both pipelines are out, the next reads gather; the first of them
// leads when one is back. Whatever goes wrong with a pipeline, nobody is told of another's misfortune: everybody
// repeats the own read alone, by an ordinary lease, which says what there is to say. Only a lost connection ends the
// reads that were on it, as it always does.
extension ConnectionPool {
    /// Runs one statement that reads, outside of a transaction, and reads each row of its result with `decode`.
    ///
    /// For short reads of many callers at once, who share connections: a read can wait a quarter of a second for
    /// another's, and the server can see it twice. Its plan is made once a connection and does not depend on the
    /// parameters, as is best for reads by key. What writes, takes longer, is best planned for its parameters or has a
    /// deadline of its own goes through `withConnection`. A cancelled task's read is cancelled on the server.
    ///
    /// Throws what `withConnection` and `Connection.query` throw, and `misuse` for a statement that does not begin with
    /// SELECT, WITH, VALUES or TABLE.
    public func query<T>(
        _ sql: String, _ parameters: [any PostgresEncodable] = [], decode: (Row) throws(StorageError) -> T
    ) async throws -> [T] {
        try await read(Statement(sql, parameters)).all(decode)
    }

    /// Like `query`, for statements that return one row at most. Throws `unexpectedRowCount` for more.
    public func queryOptional<T>(
        _ sql: String, _ parameters: [any PostgresEncodable] = [], decode: (Row) throws(StorageError) -> T
    ) async throws -> T? {
        try await read(Statement(sql, parameters)).optional(decode)
    }

    /// Like `query`, for statements that return exactly one row. Throws `unexpectedRowCount` otherwise.
    public func queryOne<T>(
        _ sql: String, _ parameters: [any PostgresEncodable] = [], decode: (Row) throws(StorageError) -> T
    ) async throws -> T {
        try await read(Statement(sql, parameters)).one(decode)
    }

    private func read(_ statement: Statement) async throws -> QueryResult {
        guard statement.beginsLikeRead else {
            throw StorageError.misuse("a shared read begins with SELECT, WITH, VALUES or TABLE")
        }
        let begin = ContinuousClock.now
        let read = SharedRead(statement)
        let turn: SharedRead.Turn
        do {
            turn = try await reads.turn(of: read)
        } catch StorageError.tooManyWaiters(let limit) {
            count(StorageError.tooManyWaiters(limit: limit))
            throw StorageError.tooManyWaiters(limit: limit)
        }
        switch turn {
        case .answered(let result): return result
        case .leads: if let result = try await lead(read, since: begin) { return result }
        case .alone: break
        }
        return try await lease(since: begin) { try $0.run(statement.sql, statement.parameters) }
    }

    /// Takes a read, and those who wait, to a connection. Returns its result; `nil` when it has to go alone.
    private func lead(_ leader: SharedRead, since begin: ContinuousClock.Instant) async throws -> QueryResult? {
        // Without a connection; otherwise the next has been told already.
        defer { reads.leave(leader) }
        return try await lease(since: begin, forReads: true, delayed: { [self] in reads.delay(leader) }) {
            [self] connection in
            defer { reads.leave(leader) }
            let others = reads.take(with: leader)
            count(sharedReads: others.count)
            return try connection.answer([leader] + others)?.first
        }
    }
}

extension Statement {
    /// Keeps transactions, settings and plain writes out. What a function does is its caller's affair.
    fileprivate var beginsLikeRead: Bool {
        var sql = sql
        return sql.withUTF8 { text in
            var begin = 0
            while begin < text.count, unsafe text[begin] == 32 || text[begin] == 10 { begin += 1 }
            var end = begin
            while end < text.count, unsafe text[end] > 32 && text[end] != 40 { end += 1 }
            return Self.readingWords.contains { word in
                word.utf8CodeUnitCount == end - begin
                    && (0..<(end - begin)).allSatisfy { unsafe text[begin + $0] | 0x20 == word.utf8Start[$0] }
            }
        }
    }

    private static let readingWords: [StaticString] = ["select", "with", "values", "table"]
}

extension Statement {
    fileprivate var types: [UInt32] { parameters.map { type(of: $0).postgresType.oid } }

    /// Whether it is the other statement, with parameters of the same types.
    fileprivate func isPrepared(like other: Statement) -> Bool {
        guard parameters.count == other.parameters.count, sql == other.sql else { return false }
        return parameters.indices.allSatisfy { type(of: parameters[$0]) == type(of: other.parameters[$0]) }
    }
}

extension Connection {
    /// Tells the callers of reads what comes of them, but for the leader, who gets the results; `nil` when all have to
    /// go alone.
    func answer(_ reads: [SharedRead]) throws(StorageError) -> [QueryResult]? {
        let lease = interrupt.currentLease
        for read in reads { read.runs(on: interrupt, lease: lease) }
        do throws(StorageError) {
            guard let results = try readTogether(reads.map(\.statement)) else {
                for read in reads { read.tell(.success(.alone)) }
                return nil
            }
            for (read, result) in zip(reads, results) { read.tell(.success(.answered(result))) }
            return results
        } catch {
            for read in reads { read.tell(.failure(error)) }
            throw error
        }
    }

    /// The results of reads that are sent in one pipeline with one synchronisation point; `nil` where one of them
    /// failed, was too slow or was cancelled. Throws `unavailable` and `outcomeUnknown` when the connection is lost, as
    /// it is for a statement that is sent alone.
    private func readTogether(_ statements: [Statement]) throws(StorageError) -> [QueryResult]? {
        do {
            return try pipelined(statements)
        } catch {
            switch error {
            case .unavailable, .outcomeUnknown: throw error
            default: return nil
            }
        }
    }

    private func pipelined(_ reads: [Statement]) throws(StorageError) -> [QueryResult]? {
        let link = try usableLink()
        let limit = ContinuousClock.now + SharedReads.patience
        // First, plans that do not depend on the parameters: to plan a read by key anew costs the server more than to
        // run it. For this transaction alone, or, as that costs it as much as a read, for the session of a connection
        // that has many of them.
        let isBusy = reads.count >= SharedReads.crowd
        let setting = isBusy ? SharedReads.planOnce : SharedReads.planOnceHere
        let sets = plans != .once
        let settingName = sets ? try prepared(setting, types: [], link, until: limit) : ""
        var names: [String] = []
        names.reserveCapacity(reads.count)
        for (index, read) in reads.enumerated() {
            // Callers mostly ask the same of different keys.
            if index > 0, read.isPrepared(like: reads[index - 1]) {
                names.append(names[index - 1])
            } else {
                names.append(try prepared(read.sql, types: read.types, link, until: limit))
            }
        }
        try link.enterPipeline()
        if sets {
            if isBusy { plans = .unknown }
            scratch.removeAll()
            try link.sendExecute(name: settingName, scratch)
        }
        for (read, name) in zip(reads, names) {
            scratch.removeAll()
            for parameter in read.parameters { scratch.addParameter(parameter) }
            try link.sendExecute(name: name, scratch)
        }
        try link.sendSynchronisation()
        do throws(StorageError) {
            var results: [QueryResult] = []
            results.reserveCapacity(reads.count + 1)
            var isSynchronised = false
            while !isSynchronised {
                switch try link.nextAnswer(sql: "", until: limit, interruptible: true) {
                case .rows(let result): results.append(result)
                case .synchronised: isSynchronised = true
                case .failure(let fault):
                    // What it means for the connection; the caller hears of it when it is alone.
                    _ = self.error(fault, deadline: limit)
                    guard ["0A000", "26000"].contains(fault.sqlState) else { continue }
                    // A stale plan (see `run`): whichever it was, the next pipeline here prepares them again.
                    statements.forget(sql: setting, types: [])
                    for read in reads { statements.forget(sql: read.sql, types: read.types) }
                case .copyIn, .copyOut:
                    link.markBroken()
                    return nil
                case nil, .empty, .aborted, .fatal: break
                }
            }
            try link.exitPipeline()
            guard results.count == reads.count + (sets ? 1 : 0) else { return nil }
            if sets, isBusy { plans = .once }
            return sets ? Array(results.dropFirst()) : results
        } catch {
            throw link.unknownIfLost(error)
        }
    }
}

/// One caller's read, until the caller is told what comes of it.
final class SharedRead: Sendable {
    enum Turn {
        case answered(QueryResult)
        /// It has to take a lease, for those who wait too.
        case leads
        /// It has to take a lease for itself.
        case alone
    }

    private enum State {
        /// → waiting, told.
        case new
        /// Once a pipeline is about to have it, with the lease that this runs on. → told.
        case waiting(CheckedContinuation<Turn, any Error>, running: (Interrupt, lease: UInt64)?)
        case told
    }

    let statement: Statement
    private let state = NIOLockedValueBox(State.new)

    init(_ statement: Statement) { self.statement = statement }

    /// False when it is cancelled already.
    func wait(_ continuation: CheckedContinuation<Turn, any Error>) -> Bool {
        state.withLockedValue { state in
            guard case .new = state else { return false }
            state = .waiting(continuation, running: nil)
            return true
        }
    }

    func runs(on interrupt: Interrupt, lease: UInt64) {
        state.withLockedValue { state in
            guard case .waiting(let continuation, _) = state else { return }
            state = .waiting(continuation, running: (interrupt, lease))
        }
    }

    /// Lets the caller go on. False when it has been told something before.
    @discardableResult
    func tell(_ outcome: Result<Turn, StorageError>) -> Bool {
        let last = state.withLockedValue { state in
            defer { state = .told }
            return state
        }
        guard case .waiting(let continuation, _) = last else { return false }
        continuation.resume(with: outcome.mapError { $0 as any Error })
        return true
    }

    /// The caller's task was cancelled: it goes, and the server stops the pipeline. The others repeat theirs.
    func cancel() {
        let last = state.withLockedValue { state in
            defer { state = .told }
            return state
        }
        guard case .waiting(let continuation, let running) = last else { return }
        continuation.resume(throwing: StorageError.cancelled)
        if let (interrupt, lease) = running { interrupt.request(lease: lease) }
    }
}

/// The reads of a pool that wait for a leader.
final class SharedReads: Sendable {
    /// How long a pipeline may take. Then it is given up, and each of its reads goes alone: a slow read keeps others
    /// for no longer. Hundreds of times what short reads take.
    static let patience = Duration.milliseconds(250)
    /// Until the end of the pipeline, which is a transaction.
    static let planOnceHere = "SELECT set_config('plan_cache_mode', 'force_generic_plan', true)"
    /// Until the connection is lent for something else.
    static let planOnce = "SELECT set_config('plan_cache_mode', 'force_generic_plan', false)"
    /// From how many reads in a pipeline on a connection is kept for them.
    static let crowd = 3
    /// Pipelines at once: one is filled while the server works on the other.
    static let maximumLeaders = 2
    /// Reads in a pipeline: the first waits for the last.
    private static let maximumTogether = 16

    private let queue: NIOLockedValueBox<ReadQueue<SharedRead>>

    init(_ configuration: StorageConfiguration) {
        queue = NIOLockedValueBox(
            ReadQueue(
                maximumLeaders: Self.maximumLeaders,
                // All of a pipeline's statements are prepared before it begins.
                maximumTogether: max(1, min(Self.maximumTogether, configuration.maximumPreparedStatements - 1)),
                maximumWaiters: configuration.maximumWaiters))
    }

    var waiterCount: Int { queue.withLockedValue { $0.waiterCount } }

    /// Waits until the read leads, is answered, or has to go alone.
    func turn(of read: SharedRead) async throws -> SharedRead.Turn {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                guard read.wait(continuation) else { return continuation.resume(throwing: StorageError.cancelled) }
                switch queue.withLockedValue({ $0.join(read) }) {
                case .leads: tellToLead(read)
                case .waits: break
                case .refuse(let error): read.tell(.failure(error))
                }
            }
        } onCancel: {
            queue.withLockedValue { $0.abandon(read) }
            read.cancel()
        }
    }

    /// The first of those who wait.
    func take(with leader: SharedRead) -> [SharedRead] { queue.withLockedValue { $0.take(with: leader) } }

    /// The leader has to wait for a connection: the others need not wait with it.
    func delay(_ leader: SharedRead) { queue.withLockedValue { $0.delay(leader) } }

    /// The leader's pipeline is over. Idempotent.
    func leave(_ leader: SharedRead) {
        if let next = queue.withLockedValue({ $0.leave(leader) }) { tellToLead(next) }
    }

    private func tellToLead(_ read: SharedRead) {
        // Cancelled a moment ago: it leads nobody.
        if !read.tell(.success(.leads)) { leave(read) }
    }
}
