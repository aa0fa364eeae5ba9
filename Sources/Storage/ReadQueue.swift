/// Who leads and who waits, as a pure machine. First come, first served.
struct ReadQueue<Read: AnyObject & Sendable> {
    enum Answer: Equatable {
        /// Take a lease, then `take` those who wait, then `leave`.
        case leads
        /// Wait until `take` or `leave` names this read.
        case waits
        case refuse(StorageError)
    }

    let maximumLeaders: Int
    let maximumWaiters: Int
    private var leaders: [Read] = []
    private var waiters: [Read] = []

    init(maximumLeaders: Int, maximumWaiters: Int) {
        self.maximumLeaders = maximumLeaders
        self.maximumWaiters = maximumWaiters
    }

    var waiterCount: Int { waiters.count }

    mutating func join(_ read: Read) -> Answer {
        if leaders.count < maximumLeaders {
            leaders.append(read)
            return .leads
        }
        guard waiters.count < maximumWaiters else { return .refuse(.tooManyWaiters(limit: maximumWaiters)) }
        waiters.append(read)
        return .waits
    }

    /// So many of the waiters as there are, who go with a leader.
    mutating func take(_ count: Int) -> [Read] {
        let taken = Array(waiters.prefix(count))
        waiters.removeFirst(taken.count)
        return taken
    }

    /// A leader is done. Returns the one who leads from now on, if anybody waits.
    mutating func leave(_ leader: Read) -> Read? {
        guard let index = leaders.firstIndex(where: { $0 === leader }) else { return nil }
        leaders.remove(at: index)
        guard !waiters.isEmpty else { return nil }
        let next = waiters.removeFirst()
        leaders.append(next)
        return next
    }

    /// A waiter gave up; one who does not wait stays what it is.
    mutating func abandon(_ read: Read) {
        waiters.removeAll { $0 === read }
    }

    /// For tests: what must hold after every step.
    func checkInvariants() -> Bool {
        leaders.count <= maximumLeaders && waiters.count <= maximumWaiters
            && (waiters.isEmpty || leaders.count == maximumLeaders)
            && Set((leaders + waiters).map { ObjectIdentifier($0) }).count == leaders.count + waiters.count
    }
}
