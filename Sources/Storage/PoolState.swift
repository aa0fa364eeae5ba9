/// Who has which connection and who waits, as a pure machine: `ConnectionPool` does what it answers.
///
/// Connections are numbers 0 ..< maximum, made as they are needed and lent newest-used first; what is set up for shared
/// reads is lent for those first. Waiters are served in the order they came.
struct PoolState {
    enum Answer: Equatable {
        /// Use this connection now; it may not have been made yet.
        case lease(Int)
        /// Wait until `release` or `close` names this waiter.
        case wait(UInt64)
        case refuse(StorageError)
    }

    let maximumConnections: Int
    let maximumWaiters: Int
    private var idle: [Int] = []
    private var made = 0
    private var leased: Set<Int> = []
    /// Connections that are set up for shared reads, and cost a round trip for anything else.
    private var readers: Set<Int> = []
    /// In order of arrival; `abandoned` ones are skipped.
    private var waiters: [UInt64] = []
    private var nextWaiter: UInt64 = 0
    private(set) var isClosed = false

    init(maximumConnections: Int, maximumWaiters: Int) {
        self.maximumConnections = max(1, maximumConnections)
        self.maximumWaiters = max(0, maximumWaiters)
    }

    var leasedCount: Int { leased.count }
    /// Newest first, as it is mostly asked of the newest.
    func isWaiting(_ waiter: UInt64) -> Bool { waiters.last == waiter || waiters.contains(waiter) }
    var waiterCount: Int { waiters.count }

    /// For shared reads a connection that is set up for them is preferred, for anything else another.
    mutating func acquire(forReads: Bool = false) -> Answer {
        guard !isClosed else { return .refuse(.closed) }
        let fitting = idle.lastIndex { readers.contains($0) == forReads }.map { idle.remove(at: $0) }
        if let connection = fitting ?? idle.popLast() ?? make() {
            leased.insert(connection)
            return .lease(connection)
        }
        guard waiters.count < maximumWaiters else { return .refuse(.tooManyWaiters(limit: maximumWaiters)) }
        nextWaiter += 1
        waiters.append(nextWaiter)
        return .wait(nextWaiter)
    }

    private mutating func make() -> Int? {
        guard made < maximumConnections else { return nil }
        defer { made += 1 }
        return made
    }

    /// The lease ended. The waiter, if one is named, has the connection from now on.
    mutating func release(_ connection: Int, isForReads: Bool = false) -> UInt64? {
        precondition(leased.contains(connection), "a connection is released once")
        if isForReads { readers.insert(connection) } else { readers.remove(connection) }
        guard !waiters.isEmpty else {
            leased.remove(connection)
            idle.append(connection)
            return nil
        }
        return waiters.removeFirst()
    }

    /// A waiter gave up. False when it has been served meanwhile.
    mutating func abandon(_ waiter: UInt64) -> Bool {
        guard let index = waiters.firstIndex(of: waiter) else { return false }
        waiters.remove(at: index)
        return true
    }

    /// No more leases; returns the waiters, who are refused. Leased connections come back as usual.
    mutating func close() -> [UInt64] {
        isClosed = true
        defer { waiters = [] }
        return waiters
    }

    /// For tests: what must hold after every step.
    func checkInvariants() -> Bool {
        made <= maximumConnections && waiters.count <= maximumWaiters && Set(idle).isDisjoint(with: leased)
            && idle.count == Set(idle).count && idle.count + leased.count == made
            && (waiters.isEmpty || leased.count == maximumConnections) && (!isClosed || waiters.isEmpty)
    }
}

/// When to try again after failed connection attempts: doubling pauses between two bounds.
struct ReconnectPause {
    let range: ClosedRange<Duration>
    private var current: Duration?
    private(set) var notBefore: ContinuousClock.Instant?

    init(_ range: ClosedRange<Duration>) { self.range = range }

    mutating func failed(at now: ContinuousClock.Instant) {
        let pause = current.map { min($0 * 2, range.upperBound) } ?? range.lowerBound
        current = pause
        notBefore = now + pause
    }

    mutating func succeeded() {
        current = nil
        notBefore = nil
    }
}
