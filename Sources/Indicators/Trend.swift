public import MarketData

/// Moving average convergence–divergence of closes, in price units. TA-Lib MACD.
///
/// TA-Lib seeds both averages on one bar, the slow one's first: the fast one skips slow − fast bars. Line, signal and
/// histogram start together, when the signal does.
public struct MovingAverageConvergenceDivergence: Indicator {
    public struct Value: Sendable, Equatable {
        public var line: Double
        public var signal: Double
        public var histogram: Double { line - signal }
    }

    private var fast: ExponentialMovingAverage
    private var slow: ExponentialMovingAverage
    private var signal: ExponentialMovingAverage
    public let warmUp: Int

    /// Traps unless 0 < fast ≤ slow.
    public init(fast fastPeriod: Int = 12, slow slowPeriod: Int = 26, signal signalPeriod: Int = 9) {
        precondition(fastPeriod <= slowPeriod, "the fast average is over fewer bars")
        fast = ExponentialMovingAverage(fastPeriod, skipping: slowPeriod - fastPeriod)
        slow = ExponentialMovingAverage(slowPeriod)
        signal = ExponentialMovingAverage(signalPeriod)
        warmUp = slowPeriod + signalPeriod - 2
    }

    public var isWarm: Bool { signal.isWarm }

    @inline(__always)
    public mutating func update(_ close: Double) -> Value? {
        let quick = fast.update(close)
        let lazy = slow.update(close)
        guard let quick, let lazy else { return nil }
        _ = signal.update(quick - lazy)
        return value
    }

    /// As of the newest close.
    public var value: Value? {
        guard let average = signal.value, let quick = fast.value, let lazy = slow.value else { return nil }
        return Value(line: quick - lazy, signal: average)
    }

    public func save(to writer: inout StateWriter) {
        fast.save(to: &writer)
        slow.save(to: &writer)
        signal.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try fast.restore(from: &reader)
        try slow.restore(from: &reader)
        try signal.restore(from: &reader)
    }
}

/// Average directional index, 0 … 100. TA-Lib ADX (Wilder 1978).
///
/// Directional movement and true range are summed over the first n − 1 moves, then decayed by 1/n a bar; the index is
/// the mean of the first n directional indices, then Wilder's average. A bar without a directional index (nothing
/// moved within memory) leaves the average as it was, and counts as 0 in the first mean, as in TA-Lib.
public struct AverageDirectionalIndex: Indicator {
    private let period: Int
    private let factor: Double
    /// Moves until the index is there.
    private var missing: Int
    /// The previous bar's reach: what rises in either lane is a move outward.
    private var previous = SIMD2<Double>(repeating: .nan)
    private var previousClose = Double.nan
    /// Directional movement up and down, smoothed.
    private var movement = SIMD2<Double>.zero
    private var range = 0.0
    /// Of the first n directional indices their sum, then the average.
    private var average = 0.0

    public init(_ period: Int = 14) {
        precondition(period > 1, "an average directional index is over at least two bars")
        self.period = period
        missing = 2 * period - 1
        factor = 1 / Double(period)
    }

    public var warmUp: Int { 2 * period - 1 }
    public var isWarm: Bool { missing == 0 }

    @inline(__always)
    public mutating func update(_ bar: Bar) -> Double? {
        let trueRange = bar.trueRange(after: previousClose)
        previousClose = bar.close
        return update(reach: bar.reach, trueRange: trueRange)
    }

    /// `trueRange`: NaN for the first bar.
    @inline(__always)
    mutating func update(reach: SIMD2<Double>, trueRange: Double) -> Double? {
        let outward = reach - previous
        previous = reach
        guard !trueRange.isNaN else { return nil }
        // Only the larger of two outward moves counts.
        let moves = outward.larger(.zero)
        let kept = moves.replacing(with: SIMD2.zero, where: moves .<= SIMD2(moves.y, moves.x))
        guard isWarm else { return seed(kept, trueRange) }
        take(kept, trueRange)
        if let index = directionalIndex { average.addProduct(index - average, factor) }
        return value
    }

    /// As of the newest bar.
    public var value: Double? { isWarm ? average : nil }

    @inline(__always)
    private mutating func take(_ moves: SIMD2<Double>, _ trueRange: Double) {
        movement.addProduct(-movement, SIMD2(repeating: factor))
        movement += moves
        range.addProduct(-range, factor)
        range += trueRange
    }

    private mutating func seed(_ moves: SIMD2<Double>, _ trueRange: Double) -> Double? {
        missing -= 1
        if missing >= period {
            movement += moves
            range += trueRange
            return nil
        }
        take(moves, trueRange)
        average += directionalIndex ?? 0
        guard isWarm else { return nil }
        average *= factor
        return average
    }

    private var directionalIndex: Double? {
        let total = movement.x + movement.y
        guard range > 0, total > 0 else { return nil }
        return 100 * abs(movement.y - movement.x) / total
    }

    public func save(to writer: inout StateWriter) {
        writer.write(period)
        writer.write(missing)
        for number in [previous.x, previous.y, previousClose, movement.x, movement.y, range, average] {
            writer.write(number)
        }
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == period else { throw .stateMismatch(field: "directional period") }
        missing = try reader.readCount(upTo: 2 * period - 1, "directional moves")
        previous = SIMD2(try reader.readDouble(), try reader.readDouble())
        previousClose = try reader.readDouble()
        movement = SIMD2(try reader.readDouble(), try reader.readDouble())
        range = try reader.readDouble()
        average = try reader.readDouble()
    }
}
