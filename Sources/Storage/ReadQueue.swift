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
    /// Reads that go together, the leader included.
    let maximumTogether: Int
    let maximumWaiters: Int
    private var leaders: [Read] = []
    /// Those of the leaders who will take others with them, and before long.
    private var gathering: [Read] = []
    private var waiters: [Read] = []

    init(maximumLeaders: Int, maximumTogether: Int, maximumWaiters: Int) {
        self.maximumLeaders = maximumLeaders
        self.maximumTogether = maximumTogether
        self.maximumWaiters = maximumWaiters
    }

    var waiterCount: Int { waiters.count }

    mutating func join(_ read: Read) -> Answer {
        if leaders.count < maximumLeaders {
            lead(read)
            return .leads
        }
        guard waiters.count < maximumWaiters else { return .refuse(.tooManyWaiters(limit: maximumWaiters)) }
        waiters.append(read)
        return .waits
    }

    /// Those of the waiters who go with this leader: as many as there is room for, but for a fair share of another who
    /// is about to go too. Of two pipelines of one length, each fills the time of the other; a short one beside a long
    /// one is soon back, alone again.
    mutating func take(with leader: Read) -> [Read] {
        gathering.removeAll { $0 === leader }
        let shares = gathering.count + 1
        let taken = Array(waiters.prefix(min((waiters.count + shares - 1) / shares, maximumTogether - 1)))
        waiters.removeFirst(taken.count)
        return taken
    }

    /// A leader has to wait, nobody knows for how long: nobody is kept for it.
    mutating func delay(_ leader: Read) {
        gathering.removeAll { $0 === leader }
    }

    /// A leader is done. Returns the one who leads from now on, if anybody waits.
    mutating func leave(_ leader: Read) -> Read? {
        guard let index = leaders.firstIndex(where: { $0 === leader }) else { return nil }
        leaders.remove(at: index)
        delay(leader)
        guard !waiters.isEmpty else { return nil }
        let next = waiters.removeFirst()
        lead(next)
        return next
    }

    private mutating func lead(_ read: Read) {
        leaders.append(read)
        gathering.append(read)
    }

    /// A waiter gave up; one who does not wait stays what it is.
    mutating func abandon(_ read: Read) {
        waiters.removeAll { $0 === read }
    }

    /// For tests: what must hold after every step.
    func checkInvariants() -> Bool {
        leaders.count <= maximumLeaders && waiters.count <= maximumWaiters
            && (waiters.isEmpty || leaders.count == maximumLeaders)
            && gathering.allSatisfy { one in leaders.contains { $0 === one } }
            && Set((leaders + waiters).map { ObjectIdentifier($0) }).count == leaders.count + waiters.count
    }
}
