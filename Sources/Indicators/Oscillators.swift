internal import Kernels
public import MarketData

/// Relative strength index, 0 … 100, of closes. TA-Lib RSI: Wilder's averages of gains and losses.
///
/// TA-Lib's 0 is returned while nothing has moved at all; `isFlat` tells that from a true 0.
public struct RelativeStrengthIndex: Indicator {
    private var previous = Double.nan
    private var gain: WilderAverage
    private var loss: WilderAverage

    public init(_ period: Int = 14) {
        gain = WilderAverage(period)
        loss = WilderAverage(period)
    }

    public var warmUp: Int { gain.warmUp + 1 }
    public var isWarm: Bool { gain.isWarm }
    /// Neither gains nor losses within memory: the index has no meaning.
    public var isFlat: Bool { gain.average + loss.average == 0 }

    @inline(__always)
    public mutating func update(_ close: Double) -> Double? {
        let change = close - previous
        previous = close
        guard !change.isNaN else { return nil }
        // The positive part and the negative, without a branch: halves of exact sums.
        let size = abs(change)
        gain.take(0.5 * (size + change))
        loss.take(0.5 * (size - change))
        return value
    }

    /// As of the newest close.
    public var value: Double? {
        guard gain.isWarm else { return nil }
        let total = gain.average + loss.average
        return total == 0 ? 0 : 100 * gain.average / total
    }

    public func save(to writer: inout StateWriter) {
        writer.write(previous)
        gain.save(to: &writer)
        loss.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previous = try reader.readDouble()
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

    private var range: RollingRange
    private var slowK: ShortAverage
    private var slowD: ShortAverage
    /// The newest window's highest high equals its lowest low.
    public private(set) var isFlat = false

    /// Traps unless `fast` is from 1 to 256, `k` and `d` from 1 to 4.
    public init(_ fast: Int = 14, k: Int = 3, d: Int = 3) {
        range = RollingRange(fast)
        slowK = ShortAverage(k)
        slowD = ShortAverage(d)
    }

    public var warmUp: Int { range.warmUp + slowK.warmUp + slowD.warmUp }
    public var isWarm: Bool { mutating get { slowD.isWarm } }
    @inline(__always)
    public mutating func update(_ bar: Bar) -> Value? {
        guard let span = range.update(bar) else { return nil }
        let width = span.highest - span.lowest
        isFlat = width == 0
        let fast = isFlat ? 0 : 100 * (bar.close - span.lowest) / width
        guard let k = slowK.update(fast), let d = slowD.update(k) else { return nil }
        return Value(k: k, d: d)
    }

    public func save(to writer: inout StateWriter) {
        range.save(to: &writer)
        slowK.save(to: &writer)
        slowD.save(to: &writer)
        writer.write(isFlat)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try range.restore(from: &reader)
        try slowK.restore(from: &reader)
        try slowD.restore(from: &reader)
        isFlat = try reader.readBool()
    }
}

/// Commodity channel index. TA-Lib CCI: (tp − mean tp)/(0.015 · mean |tp − mean tp|), tp = (high + low + close)/3;
/// 0 where either factor is 0.
///
/// The mean deviation is around a mean that moves with each bar, so it is summed anew, as TA-Lib does: of 20 values,
/// four at a time, that costs less than any structure that would keep them sorted.
public struct CommodityChannelIndex: Indicator {
    /// The n − 1 typical prices before the newest: what is read was written a bar ago, so no read waits for a write.
    private var window: Window
    private let reciprocal: Double
    /// n/0.015: the deviation is used as a sum.
    private let scale: Double

    /// Traps unless `period` is from 2 to 257.
    public init(_ period: Int = 20) {
        window = Window(period - 1)
        reciprocal = 1 / Double(period)
        scale = Double(period) / 0.015
    }

    public var warmUp: Int { window.capacity }
    public private(set) var isWarm = false
    private var newest = 0.0
    /// As of the newest bar.
    public var value: Double? { mutating get { isWarm ? newest : nil } }

    @inline(__always)
    public mutating func update(_ bar: Bar) -> Double? { update(typicalPrice: bar.typicalPrice) }

    @inline(__always)
    mutating func update(typicalPrice typical: Double) -> Double? {
        guard window.isFull else {
            _ = window.exchange(typical)
            return nil
        }
        // The usual period as a constant: its loops are written out.
        return window.capacity == 19 ? update(typical, 19) : update(typical, window.capacity)
    }

    @inline(__always)
    private mutating func update(_ typical: Double, _ capacity: Int) -> Double {
        let mean = (window.total(of: capacity) { $0 } + typical) * reciprocal
        let distance = typical - mean
        let deviation = window.total(of: capacity) { ($0 - mean).magnitudes } + abs(distance)
        _ = window.exchange(typical)
        // A deviation within the mean's own rounding is none: nothing moved.
        newest = deviation > 1e-14 * abs(mean) ? distance * scale / deviation : 0
        isWarm = true
        return newest
    }

    public func save(to writer: inout StateWriter) {
        writer.write(isWarm)
        writer.write(newest)
        window.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        isWarm = try reader.readBool()
        newest = try reader.readDouble()
        try window.restore(from: &reader)
    }
}

/// Rate of change: close over the close n bars ago, minus 1; 0.01 is 1 %. TA-Lib ROCP.
public struct RateOfChange: Indicator {
    private var window: Window
    /// As of the newest value; `nil` in warm-up, and where the old value is 0.
    public private(set) var value: Double?

    public init(_ period: Int) { window = Window(period) }

    public var warmUp: Int { window.capacity }
    public var isWarm: Bool { mutating get { value != nil } }

    @discardableResult
    @inline(__always)
    public mutating func update(_ close: Double) -> Double? {
        let isThere = window.isFull
        let old = window.exchange(close)
        value = isThere && old != 0 ? close / old - 1 : nil
        return value
    }

    public func save(to writer: inout StateWriter) {
        window.save(to: &writer)
        writer.write(value)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try window.restore(from: &reader)
        value = try reader.readOptionalDouble()
    }
}

extension Bar {
    /// (high + low + close)/3.
    var typicalPrice: Double { (high + low + close) / 3 }
}
