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

    public mutating func update(_ close: Double) -> Value? {
        let quick = fast.update(close)
        let lazy = slow.update(close)
        guard let quick, let lazy else { return nil }
        let line = quick - lazy
        return signal.update(line).map { Value(line: line, signal: $0) }
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
    private var previous: (high: Double, low: Double, close: Double)?
    private var moves = 0
    private var plus = 0.0
    private var minus = 0.0
    private var range = 0.0
    private var seed = 0.0
    private var value: Double?

    public init(_ period: Int = 14) {
        precondition(period > 1, "an average directional index is over at least two bars")
        self.period = period
    }

    public var warmUp: Int { 2 * period - 1 }
    public var isWarm: Bool { value != nil }

    public mutating func update(_ bar: Bar) -> Double? {
        defer { previous = (bar.high, bar.low, bar.close) }
        guard let previous else { return nil }
        let up = bar.high - previous.high
        let down = previous.low - bar.low
        let plusMove = up > 0 && up > down ? up : 0
        let minusMove = down > 0 && down > up ? down : 0
        let trueRange = max(bar.high - bar.low, abs(bar.high - previous.close), abs(bar.low - previous.close))
        if moves < 2 * period { moves += 1 }
        let n = Double(period)
        if moves < period {
            plus += plusMove
            minus += minusMove
            range += trueRange
            return nil
        }
        plus += plusMove - plus / n
        minus += minusMove - minus / n
        range += trueRange - range / n
        let index = directionalIndex
        if let average = value {
            if let index { value = (average * (n - 1) + index) / n }
        } else {
            seed += index ?? 0
            if moves == 2 * period - 1 { value = seed / n }
        }
        return value
    }

    private var directionalIndex: Double? {
        guard range > 0, plus + minus > 0 else { return nil }
        return 100 * abs(minus - plus) / (minus + plus)
    }

    public func save(to writer: inout StateWriter) {
        writer.write(period)
        writer.write(previous != nil)
        if let previous {
            writer.write(previous.high)
            writer.write(previous.low)
            writer.write(previous.close)
        }
        writer.write(moves)
        for number in [plus, minus, range, seed] { writer.write(number) }
        writer.write(value)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == period else { throw .stateMismatch(field: "directional period") }
        previous = nil
        if try reader.readBool() {
            previous = (try reader.readDouble(), try reader.readDouble(), try reader.readDouble())
        }
        moves = try reader.readCount(upTo: 2 * period, "directional moves")
        plus = try reader.readDouble()
        minus = try reader.readDouble()
        range = try reader.readDouble()
        seed = try reader.readDouble()
        value = try reader.readOptionalDouble()
    }
}
