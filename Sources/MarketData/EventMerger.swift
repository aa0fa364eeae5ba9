/// Puts events of several sources into the one order in which everything replays them.
///
/// The order: `knownAt`; at one instant slow information before fast (message, fear & greed, funding, open interest,
/// surface, book, bar), so that a bar that closes then already meets everything known at that instant; then symbol,
/// exchange, event time, and at last the source's place in the list. It depends on the events alone, not on how they
/// are spread over sources, except for events equal in all those.
public struct EventMerger {
    private struct Head {
        var event: MarketEvent
        let source: Int
    }

    private var sources: [AnyIterator<MarketEvent>]
    /// A binary heap of the sources' next events, the first in order on top.
    private var heap: [Head] = []
    private var sequence: UInt64
    private var isStarted = false

    /// `sources`: each in the order above (`sorted` makes it so). `firstSequence`: the number of the first event.
    public init(_ sources: [AnyIterator<MarketEvent>], firstSequence: UInt64 = 1) {
        self.sources = sources
        self.sequence = firstSequence
    }

    /// The next event with its sequence number; `nil` when all sources have ended. O(log sources).
    ///
    /// Throws `sourceOutOfOrder` when a source breaks the order: what had been handed out would have been wrong.
    public mutating func next() throws(MarketDataError) -> MarketEvent? {
        if !isStarted {
            isStarted = true
            for index in sources.indices {
                if let event = sources[index].next() { heap.append(Head(event: event, source: index)) }
            }
            for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(index) }
        }
        guard var event = heap.first?.event, let source = heap.first?.source else { return nil }
        if let following = sources[source].next() {
            guard !Self.precedes(following, event) else {
                throw .sourceOutOfOrder(source: source, previous: event.knownAt, next: following.knownAt)
            }
            heap[0] = Head(event: following, source: source)
        } else {
            heap[0] = heap[heap.count - 1]
            heap.removeLast()
        }
        siftDown(0)
        event.sequence = sequence
        sequence += 1
        return event
    }

    /// All events of `sources`, each in any order, merged and numbered from `firstSequence`.
    public static func merge(_ sources: [[MarketEvent]], firstSequence: UInt64 = 1) -> [MarketEvent] {
        var all: [MarketEvent] = []
        all.reserveCapacity(sources.reduce(0) { $0 + $1.count })
        for source in sources { all.append(contentsOf: source) }
        all = sorted(all)
        for index in all.indices { all[index].sequence = firstSequence + UInt64(index) }
        return all
    }

    /// One source in the merger's order; equal events keep theirs.
    public static func sorted(_ events: [MarketEvent]) -> [MarketEvent] {
        // Most sources come sorted: do not move hundreds of bytes an event for nothing.
        if zip(events, events.dropFirst()).allSatisfy({ !precedes($1, $0) }) { return events }
        let order = events.indices.sorted { a, b in
            precedes(events[a], events[b]) || (a < b && !precedes(events[b], events[a]))
        }
        return order.map { events[$0] }
    }

    /// Whether `a` comes strictly before `b` in the merger's order.
    public static func precedes(_ a: MarketEvent, _ b: MarketEvent) -> Bool {
        if a.knownAt != b.knownAt { return a.knownAt < b.knownAt }
        let (rankA, rankB) = (a.payload.rank, b.payload.rank)
        if rankA != rankB { return rankA < rankB }
        if a.symbol != b.symbol { return a.symbol < b.symbol }
        if a.exchange != b.exchange { return a.exchange < b.exchange }
        return a.eventTime < b.eventTime
    }

    private mutating func siftDown(_ start: Int) {
        var parent = start
        while true {
            var first = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
                if isBefore(heap[child], heap[first]) { first = child }
            }
            guard first != parent else { return }
            heap.swapAt(parent, first)
            parent = first
        }
    }

    private func isBefore(_ a: Head, _ b: Head) -> Bool {
        if Self.precedes(a.event, b.event) { return true }
        return a.source < b.source && !Self.precedes(b.event, a.event)
    }
}

extension MarketEvent.Payload {
    /// The place of a kind among events known at one instant.
    var rank: Int {
        switch self {
        case .message: 0
        case .fearGreed: 1
        case .fundingRate: 2
        case .openInterest: 3
        case .surface: 4
        case .bookTop: 5
        case .bookDepth: 6
        case .trade: 7
        case .bar: 8
        }
    }
}
