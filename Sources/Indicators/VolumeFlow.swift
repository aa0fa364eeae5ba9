public import MarketData

/// On-balance volume, in base units: the first bar's volume, then plus the volume of a bar that closed higher, minus
/// that of one that closed lower. TA-Lib OBV. Unbounded: use `VolumeBalance` for a feature.
public struct OnBalanceVolume: Indicator {
    private var previousClose: Double?
    private var total = 0.0

    public init() {}

    public var warmUp: Int { 0 }
    public var isWarm: Bool { previousClose != nil }

    public mutating func update(_ bar: Bar) -> Double? {
        let close = previousClose
        previousClose = bar.close
        if let close {
            total += bar.close > close ? bar.volume : bar.close < close ? -bar.volume : 0
        } else {
            total = bar.volume
        }
        return total
    }

    public func save(to writer: inout StateWriter) {
        writer.write(previousClose)
        writer.write(total)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previousClose = try reader.readOptionalDouble()
        total = try reader.readDouble()
    }
}

/// The change of on-balance volume over n bars as a share of their volume, within [−1, 1]: Σ ±volume / Σ volume.
public struct VolumeBalance: Indicator {
    private var previousClose: Double?
    private var signed: RollingSum
    private var total: RollingSum

    public init(_ period: Int) {
        signed = RollingSum(period)
        total = RollingSum(period)
    }

    public var warmUp: Int { total.warmUp + 1 }
    public var isWarm: Bool { total.isWarm }

    /// `nil` in warm-up, and when nobody traded in n bars.
    public mutating func update(_ bar: Bar) -> Double? {
        defer { previousClose = bar.close }
        guard let close = previousClose else { return nil }
        let direction = bar.close > close ? 1.0 : bar.close < close ? -1 : 0
        signed.update(direction * bar.volume)
        guard let volume = total.update(bar.volume), volume > 0 else { return nil }
        return min(1, max(-1, signed.sum / volume))
    }

    public func save(to writer: inout StateWriter) {
        writer.write(previousClose)
        signed.save(to: &writer)
        total.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previousClose = try reader.readOptionalDouble()
        try signed.restore(from: &reader)
        try total.restore(from: &reader)
    }
}

/// Money flow index, 0 … 100. TA-Lib MFI: the share of typical price × volume on bars whose typical price rose.
///
/// TA-Lib's 0 is returned where the flow of the window is below 1 quote unit; `isFlat` tells that from a true 0.
public struct MoneyFlowIndex: Indicator {
    private var previous: Double?
    private var positive: RollingSum
    private var negative: RollingSum

    public init(_ period: Int = 14) {
        positive = RollingSum(period)
        negative = RollingSum(period)
    }

    public var warmUp: Int { positive.warmUp + 1 }
    public var isWarm: Bool { positive.isWarm }
    public var isFlat: Bool { positive.sum + negative.sum < 1 }

    public mutating func update(_ bar: Bar) -> Double? {
        let typical = (bar.high + bar.low + bar.close) / 3
        defer { previous = typical }
        guard let previous else { return nil }
        let flow = typical * bar.volume
        let up = positive.update(typical > previous ? flow : 0)
        let down = negative.update(typical < previous ? flow : 0)
        guard let up, let down else { return nil }
        return up + down < 1 ? 0 : 100 * (up / (up + down))
    }

    public func save(to writer: inout StateWriter) {
        writer.write(previous)
        positive.save(to: &writer)
        negative.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previous = try reader.readOptionalDouble()
        try positive.restore(from: &reader)
        try negative.restore(from: &reader)
    }
}

/// Distance of the close to the volume-weighted average price of the last n bars: close/VWAP − 1, where
/// VWAP = Σ(tp·volume)/Σvolume, tp = (high + low + close)/3.
public struct VolumeWeightedDistance: Indicator {
    private var turnover: RollingSum
    private var volume: RollingSum

    public init(_ period: Int) {
        turnover = RollingSum(period)
        volume = RollingSum(period)
    }

    public var warmUp: Int { volume.warmUp }
    public var isWarm: Bool { volume.isWarm }

    /// `nil` in warm-up, and when nobody traded in n bars.
    public mutating func update(_ bar: Bar) -> Double? {
        let money = turnover.update((bar.high + bar.low + bar.close) / 3 * bar.volume)
        let amount = volume.update(bar.volume)
        guard let money, let amount, amount > 0, money > 0 else { return nil }
        return bar.close * amount / money - 1
    }

    public func save(to writer: inout StateWriter) {
        turnover.save(to: &writer)
        volume.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try turnover.restore(from: &reader)
        try volume.restore(from: &reader)
    }
}
