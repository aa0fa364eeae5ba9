internal import NIOCore

/// How the calls of a channel are spread over the addresses of its server.
public enum Balancing: Sendable, Hashable {
    /// One connection, to the first address that answers, for as long as it lasts; then from the first address again.
    case pickFirst
    /// A connection to every address, and the calls in turn to those that answer. For services of which any instance
    /// answers any call.
    case roundRobin
}

/// One numeric address of a server, and what the server is called there.
struct Endpoint: Hashable, Sendable {
    var address: SocketAddress
    /// As configured: what the server's certificate is for, and the calls' `:authority`.
    var target: Address
}

/// Which of its endpoints a channel connects to, and which one takes the next call. Pure: the owner does what the
/// actions say, tells what came of it, and asks again.
///
/// An endpoint has a number, and is idle → connecting → ready → idle, or connecting → pausing → idle after a failure.
struct EndpointSelector {
    enum Action: Equatable {
        case connect(Int, Endpoint)
        /// Give it no more calls: an attempt is abandoned, a connection ends with its last call.
        case drop(Int)
    }

    private enum Phase: Equatable { case idle, connecting, ready, pausing }

    private struct Entry {
        let number: Int
        var endpoint: Endpoint
        var phase = Phase.idle
        var backoff: Backoff
        /// `failureCount` at its latest failure since it was last ready; 0: none.
        var failedAt = 0
    }

    let balancing: Balancing
    private let backoff: Backoff
    private var entries: [Entry] = []
    private var numbersGiven = 0
    private var turn = 0
    /// Failures of all endpoints so far: the time by which it is told whether a call has waited for all of them.
    private(set) var failureCount = 0

    init(_ balancing: Balancing, backoff: Backoff) {
        self.balancing = balancing
        self.backoff = backoff
    }

    var isEmpty: Bool { entries.isEmpty }
    var isReady: Bool { entries.contains { $0.phase == .ready } }

    // MARK: - Asking

    /// The endpoint for the next call; `nil` while none is ready.
    mutating func pick() -> Int? {
        switch balancing {
        case .pickFirst: return entries.first { $0.phase == .ready }?.number
        case .roundRobin:
            for offset in 0..<entries.count {
                let index = (turn + offset) % entries.count
                guard entries[index].phase == .ready else { continue }
                turn = (index + 1) % entries.count
                return entries[index].number
            }
            return nil
        }
    }

    /// Whether a call that has waited since `failureCount` was this has seen every endpoint fail, or none is worth
    /// waiting for.
    func hasFailed(since count: Int) -> Bool {
        !entries.isEmpty
            && entries.allSatisfy { $0.phase == .pausing || ($0.phase != .ready && $0.failedAt > count) }
    }

    /// What to begin, so that calls that wait get a connection.
    mutating func connect() -> [Action] {
        switch balancing {
        case .pickFirst:
            guard !entries.contains(where: { $0.phase == .ready || $0.phase == .connecting }) else { return [] }
            return connectFirstIdle()
        case .roundRobin: return entries.indices.compactMap { begin($0) }
        }
    }

    /// The attempt under way takes long: try the next one beside it (pick-first).
    mutating func connectAnother() -> [Action] {
        guard balancing == .pickFirst, !isReady else { return [] }
        return connectFirstIdle()
    }

    private mutating func connectFirstIdle() -> [Action] {
        // Those that failed latest come last, so that every address has its turn before one has a second.
        let idle = entries.indices.filter { entries[$0].phase == .idle }
        guard let index = idle.min(by: { entries[$0].failedAt < entries[$1].failedAt }) else { return [] }
        return begin(index).map { [$0] } ?? []
    }

    private mutating func begin(_ index: Int) -> Action? {
        guard entries[index].phase == .idle else { return nil }
        entries[index].phase = .connecting
        return .connect(entries[index].number, entries[index].endpoint)
    }

    // MARK: - Telling

    /// The server's addresses are these now. Connections to those that stay are kept.
    mutating func replace(_ endpoints: [Endpoint]) -> [Action] {
        var old = entries
        entries = []
        for endpoint in endpoints where !entries.contains(where: { $0.endpoint == endpoint }) {
            if let index = old.firstIndex(where: { $0.endpoint == endpoint }) {
                entries.append(old.remove(at: index))
            } else {
                numbersGiven += 1
                entries.append(Entry(number: numbersGiven, endpoint: endpoint, backoff: backoff))
            }
        }
        if turn >= entries.count { turn = 0 }
        return old.filter { $0.phase != .idle }.map { .drop($0.number) }
    }

    /// A connection stands. Pick-first needs no other.
    mutating func connected(_ number: Int) -> [Action] {
        guard let index = index(number) else { return [.drop(number)] }
        guard balancing == .roundRobin || !isReady else {
            entries[index].phase = .idle
            return [.drop(number)]
        }
        entries[index].phase = .ready
        entries[index].failedAt = 0
        guard balancing == .pickFirst else { return [] }
        var actions: [Action] = []
        for other in entries.indices {
            // The next search begins with the first address again.
            entries[other].failedAt = 0
            guard entries[other].phase == .connecting else { continue }
            entries[other].phase = .idle
            actions.append(.drop(entries[other].number))
        }
        return actions
    }

    /// An attempt failed. Returns how long not to try it again; `paused` is due then.
    mutating func failed(_ number: Int, random: Double) -> Duration? {
        guard let index = index(number) else { return nil }
        failureCount += 1
        entries[index].failedAt = failureCount
        entries[index].phase = .pausing
        return entries[index].backoff.next(random: random)
    }

    /// A connection ended, or takes no more calls. Round-robin connects anew by itself, so that a server that always
    /// hangs up at once (`isShort`) has to be given a pause; returns it, as `failed` does.
    mutating func lost(_ number: Int, isShort: Bool, random: Double) -> Duration? {
        guard let index = index(number) else { return nil }
        if balancing == .roundRobin, isShort { return failed(number, random: random) }
        entries[index].backoff.reset()
        entries[index].phase = .idle
        return nil
    }

    /// The pause after a failure is over.
    mutating func paused(_ number: Int) {
        guard let index = index(number), entries[index].phase == .pausing else { return }
        entries[index].phase = .idle
    }

    private func index(_ number: Int) -> Int? { entries.firstIndex { $0.number == number } }
}
