public import MarketData

/// Order-flow imbalance at the best quotes since it was last taken, in base units. Cont, Kukanov, Stoikov 2014, eq. 4:
///
///     e = 1{Pᵇ ≥ Pᵇ₋₁}·qᵇ − 1{Pᵇ ≤ Pᵇ₋₁}·qᵇ₋₁ − 1{Pᵃ ≤ Pᵃ₋₁}·qᵃ + 1{Pᵃ ≥ Pᵃ₋₁}·qᵃ₋₁
///
/// summed over the changes of the book. Books that are not sound are passed over; the first after one starts anew.
public struct OrderFlowImbalance: Restorable {
    private var previous: BookTop?
    private var sum = 0.0
    private var depth = 0.0
    private var changes = 0

    public init() {}

    public mutating func update(_ book: BookTop) {
        guard book.isSound else {
            previous = nil
            return
        }
        defer { previous = book }
        guard let old = previous else { return }
        if book.bidPrice >= old.bidPrice { sum += book.bidVolume }
        if book.bidPrice <= old.bidPrice { sum -= old.bidVolume }
        if book.askPrice <= old.askPrice { sum -= book.askVolume }
        if book.askPrice >= old.askPrice { sum += old.askVolume }
        depth += 0.5 * (book.bidVolume + book.askVolume)
        changes += 1
    }

    /// The imbalance and the mean depth of one side, both in base units, since the last call; `nil` without a book that
    /// followed another. A book that is repeated counts in the mean.
    public mutating func take() -> (imbalance: Double, meanDepth: Double)? {
        defer { (sum, depth, changes) = (0, 0, 0) }
        return changes > 0 ? (sum, depth / Double(changes)) : nil
    }

    public func save(to writer: inout StateWriter) {
        writer.write(previous != nil)
        if let previous {
            for number in [previous.bidPrice, previous.askPrice, previous.bidVolume, previous.askVolume] {
                writer.write(number)
            }
        }
        writer.write(sum)
        writer.write(depth)
        writer.write(changes)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previous = nil
        if try reader.readBool() {
            previous = BookTop(
                bidPrice: try reader.readDouble(), askPrice: try reader.readDouble(),
                bidVolume: try reader.readDouble(), askVolume: try reader.readDouble())
        }
        sum = try reader.readDouble()
        depth = try reader.readDouble()
        changes = try reader.readCount(upTo: 1 << 53, "book changes")
    }
}

/// Who was in a hurry, by price alone: 1 after a rise, −1 after a fall, as before where the price stayed; 0 until it
/// has moved. Lee, Ready 1991.
public struct TickRule: Indicator {
    private var previous = Double.nan
    /// 1, −1, or 0 before the first change.
    public private(set) var sign = 0

    public init() {}

    public var warmUp: Int { 0 }
    public var isWarm: Bool { sign != 0 }

    @discardableResult
    public mutating func update(_ price: Double) -> Int? {
        if price > previous { sign = 1 } else if price < previous { sign = -1 }
        previous = price
        return sign
    }

    public func save(to writer: inout StateWriter) {
        writer.write(previous)
        writer.write(sign)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previous = try reader.readDouble()
        sign = try reader.readInt()
        guard (-1...1).contains(sign) else { throw .stateMismatch(field: "tick sign") }
    }
}

/// Volume-synchronised probability of informed trading, within [0, 1]. Easley, López de Prado, O'Hara 2012:
/// Σ|buys − sells| / (n·V) over the last n buckets of equal volume V.
///
/// A trade that is larger than what its bucket still takes goes on in the next, so that buckets are equal exactly; the
/// size is set anew for each bucket from `bucketVolume` as it opens, and the sum is weighted by the buckets' own
/// volumes. The published form guesses who bought from the bars' price changes; here the trades say.
public struct InformedTradingProbability: Restorable {
    private var imbalances: RollingSum
    private var volumes: RollingSum
    /// Of the bucket that fills: what it takes, and what is in it.
    private var size = 0.0
    private var bought = 0.0
    private var sold = 0.0
    private let buckets: Int

    public init(buckets: Int = 50) {
        self.buckets = buckets
        imbalances = RollingSum(buckets)
        volumes = RollingSum(buckets)
    }

    public var isWarm: Bool { mutating get { volumes.isWarm } }
    /// `nil` until n buckets have filled.
    public var value: Double? {
        mutating get {
            guard isWarm, volumes.sum > 0 else { return nil }
            return min(1, max(0, imbalances.sum / volumes.sum))
        }
    }

    /// Takes a trade of `quantity` base units. `bucketVolume`: the size of buckets that open now. Where either is not a
    /// positive number (a market whose mean volume is 0 has no size of a bucket), nothing is taken.
    public mutating func update(quantity: Double, isBuy: Bool, bucketVolume: Double) {
        guard quantity > 0, bucketVolume > 0, bucketVolume.isFinite else { return }
        var rest = quantity
        while rest > 0 {
            if bought + sold == 0 {
                size = bucketVolume
                // Of more whole buckets than are looked at, all say the same: only the last n are filled.
                let whole = size * Double(buckets)
                if rest > whole { rest = whole + (rest - whole).truncatingRemainder(dividingBy: size) }
            }
            let room = size - (bought + sold)
            let part = min(rest, room)
            if isBuy { bought += part } else { sold += part }
            rest -= part
            guard part == room else { return }
            imbalances.update(abs(bought - sold))
            volumes.update(bought + sold)
            (bought, sold) = (0, 0)
        }
    }

    public func save(to writer: inout StateWriter) {
        imbalances.save(to: &writer)
        volumes.save(to: &writer)
        for number in [size, bought, sold] { writer.write(number) }
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try imbalances.restore(from: &reader)
        try volumes.restore(from: &reader)
        size = try reader.readDouble()
        bought = try reader.readDouble()
        sold = try reader.readDouble()
    }
}

extension BookDepth {
    /// What a market order of `notional` (quote currency) costs beyond the middle of the book: average price/mid − 1
    /// for a purchase, 1 − average price/mid for a sale; neither is negative. `nil` where the book is not sound or too
    /// shallow.
    public func slippage(buying: Bool, notional: Double) -> Double? {
        guard let bid = bidPrices.first, let ask = askPrices.first, bid > 0, ask >= bid, notional > 0
        else { return nil }
        let middle = 0.5 * (bid + ask)
        let (prices, volumes) = buying ? (askPrices, askVolumes) : (bidPrices, bidVolumes)
        var rest = notional
        var quantity = 0.0
        for (price, volume) in zip(prices, volumes) {
            let taken = min(rest, price * volume)
            quantity += taken / price
            rest -= taken
            if rest <= 0 { break }
        }
        guard rest <= 0, quantity > 0 else { return nil }
        let average = notional / quantity
        return buying ? average / middle - 1 : 1 - average / middle
    }
}
