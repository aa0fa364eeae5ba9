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
        /// Those who wait in `close` and `run`.
        var closing: [CheckedContinuation<Void, Never>] = []

        /// The continuation of a waiter to be told, or nil: then it finds the answer when it comes to sleep.
        mutating func take(
            _ waiter: UInt64, orKeep answer: Result<Int, StorageError>
        ) -> CheckedContinuation<Int, any Error>? {
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
    private let shared: NIOLockedValueBox<Shared>

    /// Makes no connection yet: the first comes with the first lease.
    public init(_ configuration: StorageConfiguration, log: Logger = Logger(label: "storage")) {
        self.configuration = configuration
        self.log = log
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
    /// Throws `timeout(.acquire)`, `tooManyWaiters`, `closed`, `unavailable` and `rejected` before `body` begins, then
    /// whatever it throws. When the task is cancelled the running statement is cancelled on the server.
    @discardableResult
    public func withConnection<R: Sendable>(
        _ body: @Sendable (isolated Connection) async throws -> R
    ) async throws -> R {
        let (number, connection) = try await acquire()
        let lease = connection.interrupt.beginLease()
        let outcome: Result<R, any Error>
        do {
            outcome = .success(
                try await withTaskCancellationHandler {
                    try await lend(connection, body)
                } onCancel: {
                    connection.interrupt.request(lease: lease)
                })
        } catch {
            outcome = .failure(error)
        }
        // The link is clean again before anybody else can have it.
        release(number)
        return try outcome.get()
    }

    private func lend<R: Sendable>(
        _ connection: isolated Connection, _ body: @Sendable (isolated Connection) async throws -> R
    ) async throws -> R {
        try open(connection)
        defer { connection.reset() }
        return try await body(connection)
    }

    /// Opens the connection if it needs to be, unless an attempt failed a moment ago.
    private func open(_ connection: isolated Connection) throws(StorageError) {
        if connection.isOpen { return }
        if let notBefore = shared.withLockedValue({ $0.pause.notBefore }), .now < notBefore {
            throw .unavailable("the last connection attempt failed a moment ago")
        }
        do {
            try connection.open()
            shared.withLockedValue { $0.pause.succeeded() }
            log.debug("database connection opened")
        } catch {
            if case .unavailable = error { shared.withLockedValue { $0.pause.failed(at: .now) } }
            log.debug("database connection failed", metadata: ["error": "\(error)"])
            throw error
        }
    }

    /// Runs `body` in a transaction and repeats it, from its beginning, when it collides with others (40001, 40P01):
    /// at most `maximumTransactionTries` times, then `serializationFailure` is thrown. What `body` does outside the
    /// database must bear repetition.
    @discardableResult
    public func withTransaction<R: Sendable>(
        isolation: IsolationLevel = .readCommitted, durability: Durability = .immediate,
        _ body: @Sendable (isolated Connection) async throws -> R
    ) async throws -> R {
        var tries = 0
        while true {
            do {
                return try await withConnection { connection in
                    try await connection.transaction(isolation: isolation, durability: durability, body)
                }
            } catch StorageError.serializationFailure {
                tries += 1
                guard tries < configuration.maximumTransactionTries else {
                    throw StorageError.serializationFailure(tries: tries)
                }
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

    private func acquire() async throws -> (Int, Connection) {
        if Task.isCancelled { throw StorageError.cancelled }
        let number: Int
        switch shared.withLockedValue({ $0.state.acquire() }) {
        case .lease(let free): number = free
        case .refuse(let error): throw error
        case .wait(let waiter): number = try await wait(waiter)
        }
        do {
            return (number, try connection(number))
        } catch {
            release(number)
            throw error
        }
    }

    /// Waits to be served, until the deadline or cancellation: the slow way, taken only when all connections are busy.
    private func wait(_ waiter: UInt64) async throws -> Int {
        try await withTaskCancellationHandler {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    // Cancelled, and so without effect, once the waiter is served.
                    try await Task.sleep(for: self.configuration.acquireTimeout)
                    self.refuse(waiter, .timeout(.acquire))
                }
                defer { group.cancelAll() }
                return try await self.served(waiter)
            }
        } onCancel: {
            refuse(waiter, .cancelled)
        }
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

    private func release(_ number: Int) {
        let (continuation, closing) = shared.withLockedValue { shared in
            guard let waiter = shared.state.release(number) else {
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
        shared.withLockedValue { $0.connections[number] = made }
        return made
    }
}
