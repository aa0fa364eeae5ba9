/// What a pool does now, and what it has done since it was made: for metrics.
public struct PoolSnapshot: Sendable, Equatable {
    public struct Counts: Sendable, Equatable {
        /// Connections lent so far.
        public var leases: UInt64 = 0
        /// Reads that went to the server on the lease of another caller's.
        public var sharedReads: UInt64 = 0
        /// Time that callers have waited for them, and time that they had them, in all.
        public var waiting: Duration = .zero
        public var leased: Duration = .zero
        /// Callers that waited in vain (`timeout(.acquire)`), and those that were not let in (`tooManyWaiters`).
        public var timedOut: UInt64 = 0
        public var refused: UInt64 = 0
        /// Connections opened, and attempts that failed.
        public var opened: UInt64 = 0
        public var failedToOpen: UInt64 = 0
        /// Transactions begun again after a collision.
        public var repeatedTransactions: UInt64 = 0
    }

    public var maximumConnections: Int
    public var openConnections: Int
    public var leasedConnections: Int
    public var waitingCallers: Int
    public var counts: Counts
}

/// Is told what happens in a pool, at once and on the thread where it happens: it must be quick and must not block.
public protocol PoolObserver: Sendable {
    /// A caller has a connection, after waiting so long.
    func leased(after wait: Duration)
    /// It has given it back.
    func returned(after use: Duration)
    /// A caller got none.
    func refused(_ error: StorageError)
    func opened(after duration: Duration)
    func failedToOpen(_ error: StorageError)
    /// A transaction collided and begins again.
    func repeatsTransaction()
}

extension PoolObserver {
    public func leased(after wait: Duration) {}
    public func returned(after use: Duration) {}
    public func refused(_ error: StorageError) {}
    public func opened(after duration: Duration) {}
    public func failedToOpen(_ error: StorageError) {}
    public func repeatsTransaction() {}
}
