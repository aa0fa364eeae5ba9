internal import Kernels
public import MarketData

/// On-balance volume, in base units: the first bar's volume, then plus the volume of a bar that closed higher, minus
/// that of one that closed lower. TA-Lib OBV. Unbounded: use `VolumeBalance` for a feature.
public struct OnBalanceVolume: Indicator {
    private var previousClose = -Double.infinity
    private var total = 0.0

    public init() {}

    public var warmUp: Int { 0 }
    public var isWarm: Bool { previousClose.isFinite }

    /// The first bar counts as one that rose.
    @inline(__always)
    public mutating func update(_ bar: Bar) -> Double? {
        let change = bar.close - previousClose
        total += change == 0 ? 0 : Double(signOf: change, magnitudeOf: bar.volume)
        previousClose = bar.close
        return total
    }

    /// As of the newest bar.
    public var value: Double? { isWarm ? total : nil }

    public func save(to writer: inout StateWriter) {
        writer.write(previousClose)
        writer.write(total)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previousClose = try reader.readDouble()
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
    public var isWarm: Bool { mutating get { total.isWarm } }

    /// `nil` in warm-up, and when nobody traded in n bars.
    @inline(__always)
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
    private var previous = Double.nan
    /// Typical price × volume, negative where the typical price fell, 0 where it stayed.
    private var flows: Window
    private var positive = 0.0
    private var negative = 0.0
    private var peaks = (positive: 0.0, negative: 0.0)

    public init(_ period: Int = 14) { flows = Window(period) }

    public var warmUp: Int { flows.capacity }
    public var isWarm: Bool { mutating get { flows.isFull } }
    public var isFlat: Bool { mutating get { positive + negative < 1 } }

    @inline(__always)
    public mutating func update(_ bar: Bar) -> Double? {
        update(typicalPrice: bar.typicalPrice, volume: bar.volume)
    }

    @inline(__always)
    mutating func update(typicalPrice typical: Double, volume: Double) -> Double? {
        let rise = typical - previous
        previous = typical
        guard !rise.isNaN else { return nil }
        let size = typical * volume
        let flow = rise == 0 ? 0 : Double(signOf: rise, magnitudeOf: size)
        let evicted = flows.exchange(flow)
        positive += 0.5 * ((abs(flow) + flow) - (abs(evicted) + evicted))
        negative += 0.5 * ((abs(flow) - flow) - (abs(evicted) - evicted))
        // Both are recomputed by the rule of `RollingSum`.
        if flows.hasWrapped || positive < 1e-4 * peaks.positive || negative < 1e-4 * peaks.negative {
            positive = flows.isFull ? flows.total { 0.5 * ($0.magnitudes + $0) } : flows.partialTotal { max($0, 0) }
            negative = flows.isFull ? flows.total { 0.5 * ($0.magnitudes - $0) } : flows.partialTotal { max(-$0, 0) }
            peaks = (positive, negative)
        } else {
            peaks = (max(peaks.positive, positive), max(peaks.negative, negative))
        }
        return value
    }

    /// As of the newest bar.
    public var value: Double? {
        mutating get {
            guard isWarm else { return nil }
            let total = positive + negative
            return total < 1 ? 0 : 100 * (positive / total)
        }
    }

    public func save(to writer: inout StateWriter) {
        writer.write(previous)
        flows.save(to: &writer)
        for number in [positive, negative, peaks.positive, peaks.negative] { writer.write(number) }
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previous = try reader.readDouble()
        try flows.restore(from: &reader)
        positive = try reader.readDouble()
        negative = try reader.readDouble()
        peaks = (try reader.readDouble(), try reader.readDouble())
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
    public var isWarm: Bool { mutating get { volume.isWarm } }

    /// `nil` in warm-up, and when nobody traded in n bars.
    @inline(__always)
    public mutating func update(_ bar: Bar) -> Double? {
        let money = turnover.update(bar.typicalPrice * bar.volume)
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

/// Chaikin's money flow: the volume of the last n bars, weighted by where each closed in its range, as a share of all
/// of it, within [−1, 1]: Σ V·((C − L) − (H − C))/(H − L) / ΣV. A bar without a range has the weight 0.
public struct ChaikinMoneyFlow: Indicator {
    private var flow: RollingSum
    private var volume: RollingSum

    public init(_ period: Int = 20) {
        flow = RollingSum(period)
        volume = RollingSum(period)
    }

    public var warmUp: Int { volume.warmUp }
    public var isWarm: Bool { mutating get { volume.isWarm } }

    /// `nil` in warm-up, and when nobody traded in n bars.
    public mutating func update(_ bar: Bar) -> Double? {
        let range = bar.high - bar.low
        let position = range > 0 ? ((bar.close - bar.low) - (bar.high - bar.close)) / range : 0
        flow.update(position * bar.volume)
        guard let total = volume.update(bar.volume), total > 0 else { return nil }
        return min(1, max(-1, flow.sum / total))
    }

    public func save(to writer: inout StateWriter) {
        flow.save(to: &writer)
        volume.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try flow.restore(from: &reader)
        try volume.restore(from: &reader)
    }
}

/// Volume-weighted average price since the day began (UTC), in price units: Σ(tp·volume)/Σvolume.
///
/// A bar belongs to the day in which it opened. `nil` until somebody has traded.
public struct SessionVWAP: Indicator {
    private var day: Int64?
    private var turnover = 0.0
    private var volume = 0.0

    public init() {}

    public var warmUp: Int { 0 }
    public var isWarm: Bool { day != nil }

    public mutating func update(_ bar: Bar) -> Double? {
        let today = bar.openTime.floored(to: .days(1)).microseconds
        if today != day { (day, turnover, volume) = (today, 0, 0) }
        turnover += bar.typicalPrice * bar.volume
        volume += bar.volume
        return volume > 0 ? turnover / volume : nil
    }

    public func save(to writer: inout StateWriter) {
        writer.write(day != nil)
        if let day { writer.write(day) }
        writer.write(turnover)
        writer.write(volume)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        day = try reader.readBool() ? try reader.readInt64() : nil
        turnover = try reader.readDouble()
        volume = try reader.readDouble()
    }
}
