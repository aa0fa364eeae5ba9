public import MarketData

/// Relative strength index, 0 … 100, of closes. TA-Lib RSI: Wilder's averages of gains and losses.
///
/// TA-Lib's 0 is returned while nothing has moved at all; `isFlat` tells that from a true 0.
public struct RelativeStrengthIndex: Indicator {
    private let period: Int
    private var previous: Double?
    private var gain: WilderAverage
    private var loss: WilderAverage

    public init(_ period: Int = 14) {
        self.period = period
        gain = WilderAverage(period)
        loss = WilderAverage(period)
    }

    public var warmUp: Int { period }
    public var isWarm: Bool { gain.isWarm }
    /// Neither gains nor losses within memory: the index has no meaning.
    public var isFlat: Bool { (gain.value ?? 0) + (loss.value ?? 0) == 0 }

    public mutating func update(_ close: Double) -> Double? {
        defer { previous = close }
        guard let previous else { return nil }
        let change = close - previous
        let rise = gain.update(max(change, 0))
        let fall = loss.update(max(-change, 0))
        guard let up = rise, let down = fall else { return nil }
        return up + down == 0 ? 0 : 100 * up / (up + down)
    }

    public func save(to writer: inout StateWriter) {
        writer.write(previous)
        gain.save(to: &writer)
        loss.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previous = try reader.readOptionalDouble()
        try gain.restore(from: &reader)
        try loss.restore(from: &reader)
    }
}

/// Slow stochastic, 0 … 100. TA-Lib STOCH with simple averages: %K = SMA of 100·(close − lowest)/(highest − lowest),
/// %D = SMA of %K. A bar whose range is 0 counts as 0, as in TA-Lib; `isFlat` tells.
public struct StochasticOscillator: Indicator {
    public struct Value: Sendable, Equatable {
        public var k: Double
        public var d: Double
    }

    private let periods: (fast: Int, k: Int, d: Int)
    private var highest: RollingExtreme
    private var lowest: RollingExtreme
    private var slowK: SimpleMovingAverage
    private var slowD: SimpleMovingAverage
    /// The newest window's highest high equals its lowest low.
    public private(set) var isFlat = false

    public init(_ fast: Int = 14, k: Int = 3, d: Int = 3) {
        periods = (fast, k, d)
        highest = RollingExtreme(.maximum, fast)
        lowest = RollingExtreme(.minimum, fast)
        slowK = SimpleMovingAverage(k)
        slowD = SimpleMovingAverage(d)
    }

    public var warmUp: Int { periods.fast + periods.k + periods.d - 3 }
    public var isWarm: Bool { slowD.isWarm }

    public mutating func update(_ bar: Bar) -> Value? {
        let top = highest.update(bar.high)
        let bottom = lowest.update(bar.low)
        guard let top, let bottom else { return nil }
        isFlat = top == bottom
        let fast = isFlat ? 0 : 100 * (bar.close - bottom) / (top - bottom)
        guard let k = slowK.update(fast), let d = slowD.update(k) else { return nil }
        return Value(k: k, d: d)
    }

    public func save(to writer: inout StateWriter) {
        highest.save(to: &writer)
        lowest.save(to: &writer)
        slowK.save(to: &writer)
        slowD.save(to: &writer)
        writer.write(isFlat)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try highest.restore(from: &reader)
        try lowest.restore(from: &reader)
        try slowK.restore(from: &reader)
        try slowD.restore(from: &reader)
        isFlat = try reader.readBool()
    }
}

/// Commodity channel index. TA-Lib CCI: (tp − mean tp)/(0.015 · mean |tp − mean tp|), tp = (high + low + close)/3;
/// 0 where either factor is 0.
///
/// The mean deviation is around a mean that moves with each bar, so it is summed anew: n is 20, this is TA-Lib's way
/// too, and a sorted structure would be slower.
public struct CommodityChannelIndex: Indicator {
    private var window: Window

    public init(_ period: Int = 20) { window = Window(period) }

    public var warmUp: Int { window.capacity - 1 }
    public var isWarm: Bool { window.isFull }

    public mutating func update(_ bar: Bar) -> Double? {
        let typical = (bar.high + bar.low + bar.close) / 3
        window.push(typical)
        guard isWarm else { return nil }
        let values = window.unordered
        var total = 0.0
        for value in values { total += value }
        let mean = total / Double(values.count)
        var deviation = 0.0
        for value in values { deviation += abs(value - mean) }
        let distance = typical - mean
        guard distance != 0, deviation != 0 else { return 0 }
        return distance / (0.015 * (deviation / Double(values.count)))
    }

    public func save(to writer: inout StateWriter) { window.save(to: &writer) }
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try window.restore(from: &reader)
    }
}

/// Rate of change: close over the close n bars ago, minus 1; 0.01 is 1 %. TA-Lib ROCP.
public struct RateOfChange: Indicator {
    private var window: Window

    public init(_ period: Int) { window = Window(period + 1) }

    public var warmUp: Int { window.capacity - 1 }
    public var isWarm: Bool { window.isFull }
    /// `nil` in warm-up, and where the old value is 0.
    public var value: Double? {
        guard let old = window.oldest, old != 0 else { return nil }
        return window[age: 0] / old - 1
    }

    @discardableResult
    public mutating func update(_ close: Double) -> Double? {
        window.push(close)
        return value
    }

    public func save(to writer: inout StateWriter) { window.save(to: &writer) }
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try window.restore(from: &reader)
    }
}
