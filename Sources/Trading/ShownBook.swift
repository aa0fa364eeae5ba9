/// One side of a book as far as the recorded market shows it, in whole units of 1e-8.
///
/// Two sources: depths, which show all levels down to some price, and best quotes, which come oftener and show one.
/// Between a quote that is better than the last depth's best and that best nothing is known.
///
/// Each level remembers what our own orders took from it. The recorded market does not know of that, so it is taken off
/// what is shown until the level is gone or out of sight.
struct ShownSide: Sendable, Equatable {
    struct Level: Sendable, Equatable {
        /// The price in units; its negative on the bid side, so that the better level has the smaller key.
        var key: Int64
        /// Of others, as shown.
        var shown: Int64
        /// By our own orders.
        var taken: Int64 = 0

        var available: Int64 { max(0, shown - taken) }
    }

    /// The size of a level before it fell.
    private struct Decline: Sendable, Equatable {
        var key: Int64
        var before: Int64
        var time: Int64
    }

    /// More are of no use: nobody walks so far.
    static let maximumLevels = 1000

    let sign: Int64
    /// For how long a decline is remembered, microseconds.
    private let memory: Int64
    private(set) var levels: [Level] = []
    private var spare: [Level] = []
    /// Whether `levels[0]` was in the last depth; the ones after it were.
    private var isBestInDepth = false
    /// Best and worst of the last depth.
    private var depthKeys: ClosedRange<Int64>?
    private var declines: [Decline] = []

    /// `side` is that of the orders that rest here: `buy` for bids.
    init(_ side: Side, memory: Int64) {
        sign = -side.sign
        self.memory = memory
    }

    var best: Level? { levels.first }

    /// The key of a price, and the price of a key.
    func key(_ price: Int64) -> Int64 { sign * price }

    /// What others show at `key`: 0 where the book is known to have nothing, `nil` where it is not known.
    func shown(at key: Int64) -> Int64? {
        guard let best = levels.first else { return nil }
        if key < best.key { return 0 }
        if key == best.key { return best.shown }
        guard let depthKeys, depthKeys.contains(key) else { return nil }
        let index = firstIndex(notBefore: key)
        return index < levels.count && levels[index].key == key ? levels[index].shown : 0
    }

    /// The most that was shown at `key` within the memory until `time`: what the queue there has at most, although a
    /// trade that the quotes show already may not have been told yet.
    func settled(at key: Int64, _ time: Int64) -> Int64? {
        guard var most = shown(at: key) else { return nil }
        for decline in declines where decline.key == key && decline.time > time - memory {
            most = max(most, decline.before)
        }
        return most
    }

    /// Takes the best quote; a price or size that is not positive says that the side is empty.
    mutating func set(bestPrice price: Int64, volume: Int64, at time: Int64) {
        forget(before: time)
        guard price > 0, volume > 0 else {
            for level in levels { note(level, time) }
            levels.removeAll(keepingCapacity: true)
            isBestInDepth = false
            return
        }
        let key = key(price)
        let gone = firstIndex(notBefore: key)
        for index in 0..<gone { note(levels[index], time) }
        if gone > 0 {
            levels.removeFirst(gone)
            isBestInDepth = true
        }
        if let first = levels.first, first.key == key {
            if volume < first.shown { note(first, time) }
            levels[0].shown = volume
        } else if !levels.isEmpty, !isBestInDepth {
            // A quote before this one, now behind it: what became of it is not known until the next depth.
            levels[0] = Level(key: key, shown: volume)
        } else {
            levels.insert(Level(key: key, shown: volume), at: 0)
            isBestInDepth = false
        }
    }

    /// Takes a depth: all levels from the best to the last given. Levels out of order or without size are passed over.
    mutating func replace(prices: [Double], volumes: [Double], at time: Int64) {
        forget(before: time)
        spare.removeAll(keepingCapacity: true)
        var old = 0
        for index in 0..<min(prices.count, volumes.count, Self.maximumLevels) {
            guard let price = Price(prices[index])?.units, let volume = Quantity(volumes[index])?.units, price > 0,
                volume > 0
            else { continue }
            var level = Level(key: key(price), shown: volume)
            if let last = spare.last, last.key >= level.key { continue }
            while old < levels.count, levels[old].key < level.key {
                note(levels[old], time)
                old += 1
            }
            if old < levels.count, levels[old].key == level.key {
                level.taken = levels[old].taken
                if volume < levels[old].shown { note(levels[old], time) }
                old += 1
            }
            spare.append(level)
        }
        swap(&levels, &spare)
        isBestInDepth = !levels.isEmpty
        depthKeys = nil
        if let first = levels.first, let last = levels.last { depthKeys = first.key...last.key }
    }

    mutating func take(_ quantity: Int64, at index: Int) { levels[index].taken += quantity }

    /// What our own orders took at `key`; 0 where there is no level.
    func taken(at key: Int64) -> Int64 {
        let index = firstIndex(notBefore: key)
        return index < levels.count && levels[index].key == key ? levels[index].taken : 0
    }

    private func firstIndex(notBefore key: Int64) -> Int {
        var (low, high) = (0, levels.count)
        while low < high {
            let middle = (low + high) / 2
            if levels[middle].key < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private mutating func note(_ level: Level, _ time: Int64) {
        guard memory > 0 else { return }
        declines.append(Decline(key: level.key, before: level.shown, time: time))
    }

    private mutating func forget(before time: Int64) {
        guard let oldest = declines.first, oldest.time <= time - memory else { return }
        declines.removeAll { $0.time <= time - memory }
    }
}
