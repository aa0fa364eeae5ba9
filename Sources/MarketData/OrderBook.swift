/// A book kept from a snapshot and the changes after it, by the rules of Binance's streams: changes that the snapshot
/// has in it are passed over, the first that counts spans its number, and each later one follows the one before. A
/// snapshot comes later than the changes around its number, so these are kept while there is none. A change that does
/// not follow makes the book unknown until the next snapshot.
public struct OrderBook: Sendable, Equatable {
    public struct Level: Sendable, Equatable {
        public var price: Double
        public var volume: Double

        public init(price: Double, volume: Double) {
            self.price = price
            self.volume = volume
        }
    }

    /// Changed levels; a volume of 0 takes the level away.
    public struct Change: Sendable, Equatable {
        /// Numbers of its first and last update.
        public var first: Int64
        public var last: Int64
        /// Of the change before it, where the stream says so (futures).
        public var previous: Int64?
        public var bids: [Level]
        public var asks: [Level]

        public init(first: Int64, last: Int64, previous: Int64?, bids: [Level], asks: [Level]) {
            self.first = first
            self.last = last
            self.previous = previous
            self.bids = bids
            self.asks = asks
        }
    }

    /// What became of a change.
    public enum Outcome: Sendable, Equatable {
        case applied
        /// The snapshot has it already.
        case passedOver
        /// There is no snapshot yet: it is kept for the next one.
        case kept
        /// It does not follow: the book is unknown from here on.
        case broken
    }

    /// A book deeper than this is no book: levels beyond are not kept.
    public static let maximumLevels = 20_000
    /// So many changes are kept while there is no snapshot; older ones go.
    public static let maximumKept = 1000

    /// Best first.
    public private(set) var bids: [Level] = []
    public private(set) var asks: [Level] = []
    /// Number of the newest update in it; `nil` while it is unknown.
    public private(set) var lastUpdate: Int64?
    private var isFollowing = false
    private var kept: [Change] = []

    public init() {}

    /// Takes a snapshot: it replaces what there was. Levels may come in any order.
    public mutating func reset(lastUpdate: Int64, bids: [Level], asks: [Level]) {
        self.bids = Array(bids.filter { $0.volume > 0 }.sorted { $0.price > $1.price }.prefix(Self.maximumLevels))
        self.asks = Array(asks.filter { $0.volume > 0 }.sorted { $0.price < $1.price }.prefix(Self.maximumLevels))
        self.lastUpdate = lastUpdate
        isFollowing = false
        let waiting = kept
        kept = []
        for change in waiting where apply(change) == .broken { return }
    }

    public mutating func apply(_ change: Change) -> Outcome {
        guard let known = lastUpdate else {
            if kept.count == Self.maximumKept { kept.removeFirst() }
            kept.append(change)
            return .kept
        }
        guard change.last > known else { return .passedOver }
        let follows: Bool
        if !isFollowing {
            follows = change.first <= known + 1
        } else if let previous = change.previous {
            follows = previous == known
        } else {
            follows = change.first == known + 1
        }
        guard follows else {
            (bids, asks, lastUpdate, isFollowing) = ([], [], nil, false)
            kept = [change]
            return .broken
        }
        for level in change.bids { Self.set(level, in: &bids) { $0 > $1 } }
        for level in change.asks { Self.set(level, in: &asks) { $0 < $1 } }
        lastUpdate = change.last
        isFollowing = true
        return .applied
    }

    private static func set(_ level: Level, in side: inout [Level], _ isBetter: (Double, Double) -> Bool) {
        var low = 0
        var high = side.count
        while low < high {
            let middle = (low + high) / 2
            if isBetter(side[middle].price, level.price) { low = middle + 1 } else { high = middle }
        }
        let isThere = low < side.count && side[low].price == level.price
        if level.volume == 0 {
            if isThere { side.remove(at: low) }
        } else if isThere {
            side[low].volume = level.volume
        } else if low < maximumLevels {
            side.insert(level, at: low)
            if side.count > maximumLevels { side.removeLast() }
        }
    }

    /// The best `count` levels of each side.
    public func depth(_ count: Int) -> BookDepth {
        BookDepth(
            bidPrices: bids.prefix(count).map(\.price), bidVolumes: bids.prefix(count).map(\.volume),
            askPrices: asks.prefix(count).map(\.price), askVolumes: asks.prefix(count).map(\.volume))
    }
}
