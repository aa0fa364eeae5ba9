internal import Kernels
public import MarketData

/// The mood of the messages about one subject, as of any time: messages in, two features out.
///
/// What is known at a time rests on messages known at that time only. Without a message in the window there is no
/// answer (`nil`), which is another thing than a neutral mood.
public struct SentimentAggregator: Sendable {
    public struct Configuration: Sendable, Equatable {
        /// A message this old counts half.
        public var halfLife: Interval = .hours(6)
        /// Older messages do not count; none in it: absent.
        public var window: Interval = .hours(24)
        /// Messages are kept this long behind the newest, at least `window`; no answers for times before that.
        public var retention: Interval = .days(7)
        /// At most this many are kept; the oldest go first.
        public var maximumMessages = 200_000

        public init() {}
    }

    /// One message as kept.
    public struct Entry: Sendable, Equatable, Codable {
        public var knownAt: Timestamp
        public var id: String
        /// −1 … 1.
        public var score: Double

        public init(knownAt: Timestamp, id: String, score: Double) {
            self.knownAt = knownAt
            self.id = id
            self.score = score
        }
    }

    /// The features of a time.
    public struct Aggregate: Sendable, Equatable {
        /// Mean score, each message weighted by 2^(−age / halfLife); −1 … 1.
        public var score: Double
        /// Messages per minute, with the same weights: Σ2^(−age/halfLife) · ln 2 / halfLife.
        public var messageRate: Double
        /// Messages in the window.
        public var count: Int
    }

    /// All that must be kept to go on after a restart.
    public struct State: Sendable, Equatable, Codable {
        public var entries: [Entry]
        /// Messages known before this time have been dropped; the distant past when none.
        public var droppedBefore: Timestamp
    }

    public let configuration: Configuration
    /// By `knownAt`; equal times in order of arrival.
    private var entries: [Entry] = []
    private var ids: Set<String> = []
    private var droppedBefore = Timestamp(microseconds: .min)

    public init(_ configuration: Configuration = .init()) { self.configuration = configuration }

    /// Goes on from `state`, whatever order its entries have; the earlier of two with one id stays.
    public init(_ configuration: Configuration = .init(), state: State) {
        self.init(configuration)
        droppedBefore = state.droppedBefore
        for entry in state.entries { add(id: entry.id, score: entry.score, knownAt: entry.knownAt) }
        droppedBefore = max(droppedBefore, state.droppedBefore)
    }

    public var state: State { State(entries: entries, droppedBefore: droppedBefore) }

    /// Takes a message. False, and nothing changes, when its id is known already, it is older than what is kept, or its
    /// score is not a number in [−1, 1]. O(1) for the newest message, O(kept) for a late one.
    @discardableResult
    public mutating func add(id: String, score: Double, knownAt: Timestamp) -> Bool {
        guard score >= -1, score <= 1, knownAt >= droppedBefore, !ids.contains(id) else { return false }
        ids.insert(id)
        entries.insert(Entry(knownAt: knownAt, id: id, score: score), at: upperBound(knownAt))
        prune()
        return true
    }

    /// The features as of `time`; `nil` without a message in the window, and for times about which too much was
    /// dropped. O(log kept + messages in the window).
    public func aggregate(asOf time: Timestamp) -> Aggregate? {
        let start = Self.before(time, configuration.window)
        guard start >= droppedBefore || droppedBefore.microseconds == .min else { return nil }
        let range = upperBound(start)..<upperBound(time)
        guard !range.isEmpty else { return nil }
        var weights = 0.0
        var sum = 0.0
        for entry in entries[range] {
            let weight = exp2(-(time - entry.knownAt).seconds / configuration.halfLife.seconds)
            weights += weight
            sum += weight * entry.score
        }
        guard weights > 0 else { return nil }
        return Aggregate(
            score: sum / weights, messageRate: weights * log(2) / (configuration.halfLife.seconds / 60),
            count: range.count)
    }

    /// Drops what is beyond retention; a tenth at a time, so that the cost is shared by many messages.
    private mutating func prune() {
        guard let newest = entries.last?.knownAt else { return }
        let keep = max(configuration.retention, configuration.window)
        let oldest = Self.before(newest, keep)
        let outdated = oldest < newest ? upperBound(oldest) : 0
        let excess = max(0, entries.count - configuration.maximumMessages)
        guard outdated > entries.count / 10 || excess > 0 else { return }
        let count = max(outdated, excess > 0 ? excess + configuration.maximumMessages / 10 : 0)
        let dropped = entries[..<min(count, entries.count - 1)]
        guard let last = dropped.last else { return }
        for entry in dropped { ids.remove(entry.id) }
        droppedBefore = max(droppedBefore, last.knownAt + Interval(microseconds: 1))
        entries.removeFirst(dropped.count)
    }

    /// `time` − `length`, not before the first instant there is.
    private static func before(_ time: Timestamp, _ length: Interval) -> Timestamp {
        let (value, overflow) = time.microseconds.subtractingReportingOverflow(length.microseconds)
        return Timestamp(microseconds: overflow ? .min : value)
    }

    /// The first place whose time is later than `time`.
    private func upperBound(_ time: Timestamp) -> Int {
        if let last = entries.last, last.knownAt <= time { return entries.count }
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].knownAt <= time { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
