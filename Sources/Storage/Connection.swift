internal import CLibPQ
internal import NIOConcurrencyHelpers

/// One connection to PostgreSQL, an actor on a thread of its own.
///
/// It is lent by `ConnectionPool.withConnection`, whose closure runs on that thread: inside, statements are plain
/// synchronous calls, as fast as the server, and block nobody else. Elsewhere they need `await`.
///
/// A connection that breaks reopens itself at its next lease.
public actor Connection {
    private let thread: ConnectionThread
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe thread.asUnownedSerialExecutor() }

    let configuration: StorageConfiguration
    nonisolated let interrupt: Interrupt
    var link: ServerLink? {
        didSet { isConnected.withLockedValue { $0 = link != nil } }
    }
    var statements = StatementCache()
    /// Parameters of the statement that is being sent; kept for its memory.
    var scratch = BinaryWriter()
    /// Column types of tables that COPY has written to, by table and columns.
    var copyTypes: [String: [PostgresType]] = [:]
    /// Monthly partitions that are there, so that writers need not ask. Forgotten at each rollback.
    var knownPartitions: Set<String> = []
    private var statementTimeout: Duration
    /// How the server plans this session's statements.
    var plans = Plans.usual
    /// While true, the link belongs to a COPY.
    var isCopying = false
    /// Between `open` and `reset`: somebody has it.
    private var isLent = false
    /// Until when the borrower's statements may run.
    var leaseDeadline: ContinuousClock.Instant?
    /// When the link is too old for another lease.
    private var replaceAt = ContinuousClock.now
    /// Whether there is a link, for whoever counts them.
    nonisolated let isConnected = NIOLockedValueBox(false)

    init(_ configuration: StorageConfiguration) throws(StorageError) {
        self.configuration = configuration
        statementTimeout = configuration.statementTimeout
        thread = try ConnectionThread()
        interrupt = try Interrupt()
    }

    deinit { thread.stop() }

    // MARK: Statements

    /// Runs a statement and reads each row of its result with `decode`. Parameters are `$1`, `$2`, … and never part of
    /// the text. The statement is prepared once a connection.
    ///
    /// Blocks the connection's thread until the server has answered. Throws what the server reports, `timeout` and
    /// `cancelled` (the server has then stopped), `unavailable` when the connection breaks.
    public func query<T>(
        _ sql: String, _ parameters: [any PostgresEncodable] = [], decode: (Row) throws(StorageError) -> T
    ) throws(StorageError) -> [T] {
        try run(sql, parameters).all(decode)
    }

    /// Like `query`, for statements that return one row at most. Throws `unexpectedRowCount` for more.
    public func queryOptional<T>(
        _ sql: String, _ parameters: [any PostgresEncodable] = [], decode: (Row) throws(StorageError) -> T
    ) throws(StorageError) -> T? {
        try run(sql, parameters).optional(decode)
    }

    /// Like `query`, for statements that return exactly one row. Throws `unexpectedRowCount` otherwise.
    public func queryOne<T>(
        _ sql: String, _ parameters: [any PostgresEncodable] = [], decode: (Row) throws(StorageError) -> T
    ) throws(StorageError) -> T {
        try run(sql, parameters).one(decode)
    }

    /// Runs a statement for its effect; returns how many rows it inserted, updated or deleted.
    @discardableResult
    public func execute(_ sql: String, _ parameters: [any PostgresEncodable] = []) throws(StorageError) -> Int {
        try run(sql, parameters).affectedRowCount
    }

    func run(_ sql: String, _ parameters: [any PostgresEncodable]) throws(StorageError) -> QueryResult {
        scratch.removeAll()
        for parameter in parameters { scratch.addParameter(parameter) }
        let link = try usableLink()
        do {
            return try runPrepared(sql, link)
        } catch {
            // After a change of schema a prepared plan can be stale (0A000) or gone (26000): prepare it once more,
            // unless a transaction is open, which the error has already failed.
            guard ["0A000", "26000"].contains(error.sqlState ?? ""), !link.isInTransaction else { throw error }
            statements.forget(sql: sql, types: scratch.types)
            return try runPrepared(sql, link)
        }
    }

    private func runPrepared(_ sql: String, _ link: ServerLink) throws(StorageError) -> QueryResult {
        let deadline = self.deadline
        let name = try prepared(sql, types: scratch.types, link, until: deadline)
        let isAlone = !link.isInTransaction
        try link.sendExecute(name: name, scratch)
        do throws(StorageError) {
            guard let result = try finish(sql, until: deadline) else { throw StorageError.misuse("an empty statement") }
            return result
        } catch {
            throw isAlone ? link.unknownIfLost(error) : error
        }
    }

    /// The name of a statement on the server, which is prepared if it is not yet.
    func prepared(
        _ sql: String, types: [UInt32], _ link: ServerLink, until deadline: ContinuousClock.Instant
    ) throws(StorageError) -> String {
        if let known = statements.name(sql: sql, types: types) { return known }
        if let victim = statements.evict(limit: configuration.maximumPreparedStatements) {
            try script("DEALLOCATE \(victim)")
        }
        let name = statements.newName()
        try link.sendPrepare(name: name, sql: sql, types: types)
        try finish(sql, until: deadline)
        statements.insert(sql: sql, types: types, name: name)
        return name
    }

    /// Runs a command that takes no parameters and no transaction (CREATE DATABASE, VACUUM). Names in it are
    /// `Identifier`s; nothing else from outside may be part of it.
    public func command(_ sql: String) throws(StorageError) { try script(sql) }

    /// Runs statements without parameters, as one text: our own commands and migrations, never anything from outside.
    func script(_ sql: String, interruptible: Bool = true) throws(StorageError) {
        try usableLink().sendScript(sql)
        try finish(sql, until: deadline, interruptible: interruptible)
    }

    /// Collects all results of what was sent, so that the connection is free again, and returns the last with rows.
    @discardableResult
    func finish(
        _ sql: String, until deadline: ContinuousClock.Instant, interruptible: Bool = true
    ) throws(StorageError) -> QueryResult? {
        guard let link else { throw .unavailable("no connection") }
        var last: QueryResult?
        var fault: ServerFault?
        while let answer = try link.nextAnswer(sql: sql, until: deadline, interruptible: interruptible) {
            switch answer {
            case .rows(let result): last = result
            case .failure(let failure): if fault == nil { fault = failure }
            case .copyIn, .copyOut:
                link.markBroken()
                throw .misuse("COPY goes through copyIn")
            case .empty, .synchronised, .aborted, .fatal: break
            }
        }
        if let fault { throw error(fault, deadline: deadline) }
        return last
    }

    /// Until when a statement that begins now may take.
    var deadline: ContinuousClock.Instant {
        let usual = ContinuousClock.now + statementTimeout + .seconds(1)
        return leaseDeadline.map { min($0, usual) } ?? usual
    }

    /// The error of a failed statement, and what follows from it for the connection.
    func error(_ fault: ServerFault, deadline: ContinuousClock.Instant) -> StorageError {
        if fault.sqlState.hasPrefix("57P") { link?.markBroken() }
        if fault.sqlState == "57014", ContinuousClock.now >= deadline { return .timeout(.statement) }
        // A row without a partition: one that we knew was dropped meanwhile.
        if fault.sqlState == "23514" { knownPartitions = [] }
        return StorageError(fault)
    }

    func usableLink() throws(StorageError) -> ServerLink {
        if interrupt.isRequested { throw .cancelled }
        if let leaseDeadline, leaseDeadline <= .now { throw .timeout(.statement) }
        guard !isCopying else { throw .misuse("a statement while copying") }
        guard let link, !link.isBroken else { throw .unavailable("the connection to the server was lost") }
        return link
    }

    /// Lets `body`'s statements run for up to an hour: migrations, and waiting for another process's.
    func withoutStatementTimeout(
        _ body: () throws(StorageError) -> Void
    ) throws(StorageError) {
        statementTimeout = .seconds(3600)
        defer { statementTimeout = configuration.statementTimeout }
        try script("SET statement_timeout = '1h'")
        do {
            try body()
            try script("RESET statement_timeout")
        } catch {
            // A RESET that fails leaves a link with foreign settings: it is given up.
            do { try script("RESET statement_timeout") } catch { link?.markBroken() }
            throw error
        }
    }

    // MARK: Transactions

    /// Runs `body` between BEGIN and COMMIT, and rolls back when it throws. One try: collisions are thrown as
    /// `serializationFailure`; `ConnectionPool.withTransaction` repeats them. Does not nest.
    public func transaction<R: Sendable>(
        isolation: IsolationLevel = .readCommitted, durability: Durability = .immediate,
        _ body: @Sendable (isolated Connection) async throws -> R
    ) async throws -> R {
        guard !(try usableLink().isInTransaction) else { throw StorageError.misuse("a transaction inside another") }
        try script(isolation.begin + durability.setting)
        let value: R
        do {
            value = try await body(self)
        } catch {
            rollback()
            throw error
        }
        try commit()
        return value
    }

    /// Runs `body` in the open transaction, or in one of its own: for what must be atomic either way.
    func inTransaction<R>(_ body: () throws(StorageError) -> R) throws(StorageError) -> R {
        if try usableLink().isInTransaction { return try body() }
        try script(IsolationLevel.readCommitted.begin)
        let value: R
        do {
            value = try body()
        } catch {
            rollback()
            throw error
        }
        try commit()
        return value
    }

    /// `inTransaction` for bodies that throw other errors too.
    func atomically<R>(_ body: () throws -> R) throws -> R {
        var failure: (any Error)?
        do {
            return try inTransaction { () throws(StorageError) in
                do { return try body() } catch {
                    failure = error
                    throw .cancelled
                }
            }
        } catch { throw failure ?? error }
    }

    private func commit() throws(StorageError) {
        // Only what happens after COMMIT was sent is of unknown outcome.
        let link = try usableLink()
        try link.sendScript("COMMIT")
        do throws(StorageError) {
            let result = try finish("COMMIT", until: deadline, interruptible: false)
            // A transaction that had failed answers COMMIT with ROLLBACK, and no error.
            if result?.commandTag == "ROLLBACK" { throw StorageError.misuse("a failed statement's error was ignored") }
        } catch {
            if link.isBroken { throw .outcomeUnknown("the connection to the server was lost") }
            throw error
        }
    }

    private func rollback() {
        knownPartitions = []
        guard let link, !link.isBroken else { return }
        do {
            try link.sendScript("ROLLBACK")
            try finish("ROLLBACK", until: .now + .seconds(5), interruptible: false)
        } catch { link.markBroken() }
    }

    // MARK: Leases, by the pool

    /// Begins a lease of what there is: false when the connection has to be opened (again) first.
    func lend(until deadline: ContinuousClock.Instant?, forReads: Bool) -> Bool {
        isLent = true
        leaseDeadline = deadline
        guard let link, ContinuousClock.now < replaceAt else { return false }
        // What its socket tells: the server may have gone away meanwhile.
        guard link.checkIdle() else { return false }
        return forReads || plans == .usual || resetPlans(link)
    }

    /// Has statements planned as usual again; false when the connection is of no use any more.
    private func resetPlans(_ link: ServerLink) -> Bool {
        // Of a borrower who is late or cancelled no statement runs.
        if interrupt.isRequested || leaseDeadline.map({ $0 <= .now }) ?? false { return true }
        // Not for the borrower to cancel. What was meant for the one before can still hit it, but not twice.
        for _ in 0..<2 {
            do {
                try link.sendScript("RESET plan_cache_mode")
                try finish("RESET plan_cache_mode", until: deadline, interruptible: false)
                plans = .usual
                return true
            } catch {
                if link.isBroken { return false }
            }
        }
        return false
    }

    /// Opens the connection.
    func open() throws(StorageError) {
        link = nil
        statements = StatementCache()
        copyTypes = [:]
        knownPartitions = []
        plans = .usual
        link = try ServerLink(configuration, interrupt: interrupt)
        replaceAt = .now + configuration.maximumLifetime * Double.random(in: 0.9...1)
    }

    /// Ends a lease: leaves nothing of it behind.
    func reset() {
        isLent = false
        leaseDeadline = nil
        guard let link else { return }
        if !link.isBroken, link.isInTransaction { rollback() }
        if link.isBroken { self.link = nil }
    }

    /// Closes the connection to the server; the next lease would open another.
    func disconnect() { link = nil }

    /// Closes the connection whenever nobody has had it for `idleTimeout`.
    nonisolated func closeWhenIdle() {
        thread.whenIdle(for: configuration.idleTimeout) { [weak self] in
            self?.assumeIsolated { connection in
                if !connection.isLent { connection.disconnect() }
            }
        }
    }

    /// The server's process for this connection; 0 when there is none.
    public var processIdentifier: Int32 { link?.processIdentifier ?? 0 }
}

/// What concurrent transactions see of each other; PostgreSQL manual, 13.2.
public enum IsolationLevel: Sendable {
    case readCommitted, repeatableRead, serializable

    var begin: String {
        switch self {
        case .readCommitted: "BEGIN ISOLATION LEVEL READ COMMITTED"
        case .repeatableRead: "BEGIN ISOLATION LEVEL REPEATABLE READ"
        case .serializable: "BEGIN ISOLATION LEVEL SERIALIZABLE"
        }
    }
}

/// How the server plans the statements of a session.
enum Plans {
    /// As it sees fit, as everybody on a lease has it.
    case usual
    /// Once a statement and connection, whatever the parameters: set for the session by shared reads.
    case once
    /// One or the other: a pipeline that was to set it did not end well.
    case unknown
}

/// When a commit is on disk.
public enum Durability: Sendable {
    /// Before COMMIT returns. For what can't be made again: orders, fills, models, jobs, stream events.
    case immediate
    /// Within a fraction of a second. After a crash of the server the last such commits can be missing, each as a whole
    /// and
    /// the newest first: nothing that is stored depends on something missing, because a later `immediate` commit
    /// takes all earlier ones to the disk with it. For what a consumer derives again from its saved progress.
    case deferred

    var setting: String {
        switch self {
        case .immediate: ""
        case .deferred: "; SET LOCAL synchronous_commit = off"
        }
    }
}

/// Names of the statements that a connection has prepared. A pure value: it says what to do, and does no I/O.
struct StatementCache {
    private struct Key: Hashable {
        var sql: String
        var types: [UInt32]
    }
    private struct Entry {
        var name: String
        var lastUse: UInt64
    }

    private var entries: [Key: Entry] = [:]
    private var clock: UInt64 = 0
    private var nextNumber = 0

    var count: Int { entries.count }

    mutating func name(sql: String, types: [UInt32]) -> String? {
        clock += 1
        let key = Key(sql: sql, types: types)
        guard let index = entries.index(forKey: key) else { return nil }
        entries.values[index].lastUse = clock
        return entries.values[index].name
    }

    mutating func newName() -> String {
        nextNumber += 1
        return "s\(nextNumber)"
    }

    mutating func insert(sql: String, types: [UInt32], name: String) {
        entries[Key(sql: sql, types: types)] = Entry(name: name, lastUse: clock)
    }

    mutating func forget(sql: String, types: [UInt32]) { entries[Key(sql: sql, types: types)] = nil }

    /// Makes room for one more: the least recently used statement, which the caller deallocates on the server.
    mutating func evict(limit: Int) -> String? {
        guard entries.count >= max(1, limit), let oldest = entries.min(by: { $0.value.lastUse < $1.value.lastUse })
        else {
            return nil
        }
        entries[oldest.key] = nil
        return oldest.value.name
    }
}
