public import Logging
internal import NIOConcurrencyHelpers

/// A bounded set of connections to one database, made as they are needed and remade when they break.
///
/// Nothing is buffered: at `maximumConnections` callers wait in order of arrival, for `acquireTimeout` at most, and
/// above `maximumWaiters` they are refused.
public final class ConnectionPool: Sendable {
    private struct Shared {
        var state: PoolState
        var pause: ReconnectPause
        var connections: [Int: Connection] = [:]
        var waiters: [UInt64: CheckedContinuation<Int, any Error>] = [:]
        /// What waiters were told before they had gone to sleep.
        var early: [UInt64: Result<Int, StorageError>] = [:]
        var counts = PoolSnapshot.Counts()
        /// Of those who wait.
        var deadlines: [UInt64: ContinuousClock.Instant] = [:]
        /// Until when the watcher of the deadlines sleeps; `nil` when there is none.
        var watchedUntil: ContinuousClock.Instant?

        /// Waiters whose deadline has passed, and when the watcher that woke up has to look again; `nil` ends it.
        mutating func takeLate(
            at now: ContinuousClock.Instant, watcher instant: ContinuousClock.Instant
        ) -> (late: [UInt64], next: ContinuousClock.Instant?) {
            let late = deadlines.filter { $0.value <= now }.map(\.key)
            for waiter in late { deadlines[waiter] = nil }
            // Another watcher, for an earlier deadline, has taken over.
            guard watchedUntil == instant else { return (late, nil) }
            watchedUntil = deadlines.values.min()
            return (late, watchedUntil)
        }
        /// Those who wait in `close` and `run`.
        var closing: [CheckedContinuation<Void, Never>] = []

        /// The continuation of a waiter to be told, or nil: then it finds the answer when it comes to sleep.
        mutating func take(
            _ waiter: UInt64, orKeep answer: Result<Int, StorageError>
        ) -> CheckedContinuation<Int, any Error>? {
            deadlines[waiter] = nil
            if let continuation = waiters.removeValue(forKey: waiter) { return continuation }
            early[waiter] = answer
            return nil
        }

        /// Those who wait for the end, once it has come.
        mutating func takeClosing() -> [CheckedContinuation<Void, Never>] {
            guard state.isClosed, state.leasedCount == 0 else { return [] }
            defer { closing = [] }
            return closing
        }
    }

    public let configuration: StorageConfiguration
    let log: Logger
    private let observer: (any PoolObserver)?
    private let shared: NIOLockedValueBox<Shared>
    let reads: SharedReads

    /// Makes no connection yet: the first comes with the first lease. `observer` is told what happens, for metrics.
    public init(
        _ configuration: StorageConfiguration, log: Logger = Logger(label: "storage"),
        observer: (any PoolObserver)? = nil
    ) {
        self.configuration = configuration
        self.log = log
        self.observer = observer
        reads = SharedReads(configuration)
        shared = NIOLockedValueBox(
            Shared(
                state: PoolState(
                    maximumConnections: configuration.maximumConnections,
                    maximumWaiters: configuration.maximumWaiters),
                pause: ReconnectPause(configuration.reconnectPause)))
    }

    // MARK: Use

    /// Lends a connection to `body`, which runs on the connection's own thread: statements inside are synchronous
    /// calls.
    ///
    /// Throws `timeout(.acquire)`, `tooManyWaiters`, `closed`, `unavailable`, `tooManyConnections`, `insecure` and
    /// `rejected` before `body` begins, then whatever it throws. When the task is cancelled the running statement is
    /// cancelled on the server; so it is at `deadline`, which holds for the wait and for all statements together.
    @discardableResult
    public func withConnection<R: Sendable>(
        until deadline: ContinuousClock.Instant? = nil, _ body: @Sendable (isolated Connection) async throws -> R
    ) async throws -> R {
        try await lease(since: .now, until: deadline, body)
    }

    /// `withConnection` for a caller who waits since `begin`; `forReads` for shared ones. Calls `delayed` before it
    /// waits for a connection or opens one, which can take as long as the limits allow.
    func lease<R: Sendable>(
        since begin: ContinuousClock.Instant, until deadline: ContinuousClock.Instant? = nil,
        forReads: Bool = false, delayed: (@Sendable () -> Void)? = nil,
        _ body: @Sendable (isolated Connection) async throws -> R
    ) async throws -> R {
        let limit = min(begin + configuration.acquireTimeout, deadline ?? begin + configuration.acquireTimeout)
        let number: Int
        let connection: Connection
        do {
            (number, connection) = try await acquire(until: limit, forReads: forReads, delayed)
        } catch {
            count(error)
            throw error
        }
        let lease = connection.interrupt.beginLease()
        let outcome: Result<R, any Error>
        let leasedAt = ContinuousClock.now
        shared.withLockedValue {
            $0.counts.leases += 1
            $0.counts.waiting += leasedAt - begin
        }
        observer?.leased(after: leasedAt - begin)
        do {
            outcome = .success(
                try await withTaskCancellationHandler {
                    try await lend(
                        number, connection, opening: limit, until: deadline, forReads: forReads, delayed, body)
                } onCancel: {
                    connection.interrupt.request(lease: lease)
                })
        } catch {
            outcome = .failure(error)
        }
        let held = ContinuousClock.now - leasedAt
        shared.withLockedValue { $0.counts.leased += held }
        observer?.returned(after: held)
        return try outcome.get()
    }

    private func lend<R: Sendable>(
        _ number: Int, _ connection: isolated Connection, opening limit: ContinuousClock.Instant,
        until deadline: ContinuousClock.Instant?, forReads: Bool, _ delayed: (@Sendable () -> Void)?,
        _ body: @Sendable (isolated Connection) async throws -> R
    ) async throws -> R {
        defer {
            // The link is clean again before anybody else can have it; who waits is served before our caller goes on.
            connection.reset()
            release(number, isForReads: connection.plans == .once)
        }
        if !connection.lend(until: deadline, forReads: forReads) {
            delayed?()
            try await open(connection, until: limit)
        }
        return try await body(connection)
    }

    /// Opens the connection, unless an attempt failed a moment ago. A server that has none left is asked again until
    /// `deadline`: as for a connection of ours, one waits.
    private func open(_ connection: isolated Connection, until deadline: ContinuousClock.Instant) async throws {
        if let notBefore = shared.withLockedValue({ $0.pause.notBefore }), .now < notBefore {
            throw StorageError.unavailable("the last connection attempt failed a moment ago")
        }
        var pause = ReconnectPause(configuration.reconnectPause)
        while true {
            let begin = ContinuousClock.now
            do {
                try connection.open()
                shared.withLockedValue {
                    $0.pause.succeeded()
                    $0.counts.opened += 1
                }
                observer?.opened(after: .now - begin)
                log.debug("database connection opened")
                return
            } catch {
                shared.withLockedValue {
                    $0.counts.failedToOpen += 1
                    if case .unavailable = error { $0.pause.failed(at: .now) }
                }
                observer?.failedToOpen(error)
                log.debug("database connection failed", metadata: ["error": "\(error)"])
                pause.failed(at: .now)
                guard error == .tooManyConnections, let next = pause.notBefore, next < deadline else { throw error }
                try await Self.sleep(until: next + configuration.reconnectPause.lowerBound * Double.random(in: 0...1))
            }
        }
    }

    /// What the pool does now and has done so far.
    public var snapshot: PoolSnapshot {
        shared.withLockedValue { shared in
            PoolSnapshot(
                maximumConnections: shared.state.maximumConnections,
                openConnections: shared.connections.values.count { $0.isConnected.withLockedValue { $0 } },
                leasedConnections: shared.state.leasedCount,
                waitingCallers: shared.state.waiterCount + reads.waiterCount,
                counts: shared.counts)
        }
    }

    func count(sharedReads count: Int) {
        if count > 0 { shared.withLockedValue { $0.counts.sharedReads += UInt64(count) } }
    }

    func count(_ error: any Error) {
        shared.withLockedValue { shared in
            switch error {
            case StorageError.timeout(.acquire): shared.counts.timedOut += 1
            case StorageError.tooManyWaiters: shared.counts.refused += 1
            default: break
            }
        }
        if let error = error as? StorageError { observer?.refused(error) }
    }

    /// Runs `body` in a transaction and repeats it, from its beginning, when it collides with others (40001, 40P01):
    /// at most `maximumTransactionTries` times, then `serializationFailure` is thrown. What `body` does outside the
    /// database must bear repetition; where it does not, `isRepeatable` is false.
    @discardableResult
    public func withTransaction<R: Sendable>(
        isolation: IsolationLevel = .readCommitted, durability: Durability = .immediate, isRepeatable: Bool = true,
        until deadline: ContinuousClock.Instant? = nil, _ body: @Sendable (isolated Connection) async throws -> R
    ) async throws -> R {
        var tries = 0
        while true {
            do {
                return try await withConnection(until: deadline) { connection in
                    try await connection.transaction(isolation: isolation, durability: durability, body)
                }
            } catch StorageError.serializationFailure {
                tries += 1
                guard isRepeatable, tries < configuration.maximumTransactionTries else {
                    throw StorageError.serializationFailure(tries: tries)
                }
                shared.withLockedValue { $0.counts.repeatedTransactions += 1 }
                observer?.repeatsTransaction()
                // A random pause, so that the two that collided do not meet again.
                let ceiling = min(100.0, 2.0 * Double(1 << min(tries, 6)))
                try await Self.sleep(until: .now + .milliseconds(Double.random(in: 0...ceiling)))
            }
        }
    }

    /// Repeats `body` while the database is away (`isRetryable`), for `bound` at most; then throws its last error.
    /// `body` must be idempotent: a commit whose outcome is unknown is repeated too.
    @discardableResult
    public func retrying<R: Sendable>(
        upTo bound: Duration = .seconds(30), _ body: () async throws -> R
    ) async throws -> R {
        let deadline = ContinuousClock.now + bound
        var pause = ReconnectPause(configuration.reconnectPause)
        while true {
            do {
                return try await body()
            } catch let error as StorageError where error.isRetryable {
                let now = ContinuousClock.now
                pause.failed(at: now)
                guard let next = pause.notBefore, next < deadline else { throw error }
                try await Self.sleep(until: next)
            }
        }
    }

    private static func sleep(until instant: ContinuousClock.Instant) async throws(StorageError) {
        do { try await Task.sleep(until: instant, clock: .continuous) } catch { throw .cancelled }
    }

    // MARK: Life

    /// Waits until the pool is closed; a cancelled task closes it.
    public func run() async {
        await withTaskCancellationHandler {
            await drained()
        } onCancel: {
            beginClosing()
        }
        await disconnect()
    }

    /// Refuses new leases, waits for those out, and closes the connections. Idempotent.
    public func close() async {
        beginClosing()
        await drained()
        await disconnect()
    }

    private func beginClosing() {
        let (waiters, closing) = shared.withLockedValue { shared in
            let waiters = shared.state.close().compactMap { shared.take($0, orKeep: .failure(.closed)) }
            return (waiters, shared.takeClosing())
        }
        for waiter in waiters { waiter.resume(throwing: StorageError.closed) }
        for continuation in closing { continuation.resume() }
    }

    private func drained() async {
        await withCheckedContinuation { continuation in
            let isDone = shared.withLockedValue { shared in
                if shared.state.isClosed, shared.state.leasedCount == 0 { return true }
                shared.closing.append(continuation)
                return false
            }
            if isDone { continuation.resume() }
        }
    }

    private func disconnect() async {
        let connections = shared.withLockedValue { shared in
            defer { shared.connections = [:] }
            return Array(shared.connections.values)
        }
        for connection in connections { await connection.disconnect() }
    }

    // MARK: Leases

    private func acquire(
        until deadline: ContinuousClock.Instant, forReads: Bool, _ delayed: (@Sendable () -> Void)?
    ) async throws -> (Int, Connection) {
        if Task.isCancelled { throw StorageError.cancelled }
        let number: Int
        switch shared.withLockedValue({ $0.state.acquire(forReads: forReads) }) {
        case .lease(let free): number = free
        case .refuse(let error): throw error
        case .wait(let waiter):
            delayed?()
            number = try await wait(waiter, until: deadline)
        }
        do {
            return (number, try connection(number))
        } catch {
            release(number)
            throw error
        }
    }

    /// Waits to be served, until the deadline or cancellation.
    private func wait(_ waiter: UInt64, until deadline: ContinuousClock.Instant) async throws -> Int {
        try await withTaskCancellationHandler {
            watch(waiter, until: deadline)
            return try await served(waiter)
        } onCancel: {
            refuse(waiter, .cancelled)
        }
    }

    /// Has the waiter refused at its deadline. One task watches all deadlines: a timer for every waiter would cost more
    /// than most statements. It ends when nobody waits, and nothing depends on when.
    private func watch(_ waiter: UInt64, until deadline: ContinuousClock.Instant) {
        let mustStart = shared.withLockedValue { shared in
            // It may have been served already.
            guard shared.state.isWaiting(waiter) else { return false }
            shared.deadlines[waiter] = deadline
            // A watcher that sleeps until later than this deadline is left to its own; another one begins.
            guard shared.watchedUntil.map({ deadline < $0 }) ?? true else { return false }
            shared.watchedUntil = deadline
            return true
        }
        guard mustStart else { return }
        Task { [weak self] in
            var next: ContinuousClock.Instant? = deadline
            while let instant = next {
                do { try await Task.sleep(until: instant, clock: .continuous) } catch { return }
                next = self?.refuseLate(watcher: instant)
            }
        }
    }

    /// Refuses those whose deadline has passed; returns when to look again.
    private func refuseLate(watcher instant: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        let (late, next) = shared.withLockedValue { $0.takeLate(at: .now, watcher: instant) }
        for waiter in late { refuse(waiter, .timeout(.acquire)) }
        return next
    }

    private func served(_ waiter: UInt64) async throws -> Int {
        try await withCheckedThrowingContinuation { continuation in
            let early: Result<Int, StorageError>? = shared.withLockedValue { shared in
                if let outcome = shared.early.removeValue(forKey: waiter) { return outcome }
                shared.waiters[waiter] = continuation
                return nil
            }
            if let early { continuation.resume(with: early.mapError { $0 as any Error }) }
        }
    }

    private func refuse(_ waiter: UInt64, _ error: StorageError) {
        shared.withLockedValue { shared -> CheckedContinuation<Int, any Error>? in
            guard shared.state.abandon(waiter) else { return nil }
            return shared.take(waiter, orKeep: .failure(error))
        }?.resume(throwing: error)
    }

    private func release(_ number: Int, isForReads: Bool = false) {
        let (continuation, closing) = shared.withLockedValue { shared in
            guard let waiter = shared.state.release(number, isForReads: isForReads) else {
                return (CheckedContinuation<Int, any Error>?.none, shared.takeClosing())
            }
            return (shared.take(waiter, orKeep: .success(number)), [])
        }
        continuation?.resume(returning: number)
        for continuation in closing { continuation.resume() }
    }

    private func connection(_ number: Int) throws(StorageError) -> Connection {
        if let known = shared.withLockedValue({ $0.connections[number] }) { return known }
        // Nobody else holds this number: it can't be made twice.
        let made = try Connection(configuration)
        made.closeWhenIdle()
        shared.withLockedValue { $0.connections[number] = made }
        return made
    }
}
