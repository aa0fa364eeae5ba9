public import MarketData

/// What happened at the newest bar, judged against the bars before it, never against itself. `nil` in warm-up.
public struct MarketEvents: Restorable {
    public struct Value: Sendable, Equatable {
        /// The volume is above mean + 2 population standard deviations of the 20 bars before.
        public var isVolumeSpike: Bool?
        /// The close is above the highest high of the 20 bars before.
        public var isBreakout: Bool?
        /// 1: the bar before made the lowest low of 10 bars, and this one closes above its high; −1: mirrored.
        public var reversal: Int?
        /// 1: EMA 9 above EMA 21 and the close above SMA 50; −1: both below; 0: they disagree, or are equal but for
        /// rounding (1e-12 of them).
        public var trendDirection: Int?
        /// 1: the MACD line has crossed its signal upwards, or the RSI has risen above 30; −1: downwards, or fallen
        /// below 70; 0: nothing, or both. An index that says nothing (nothing moved) does not cross.
        public var momentumShift: Int?
        public var pattern: CandlePattern?
    }

    private var volume = RollingDeviation(20)
    private var channel = RollingRange(20)
    private var swing = RollingRange(10)
    private var previousHigh = Double.nan
    private var previousLow = Double.nan
    /// Highest high and lowest low of the 10 bars up to the one before the newest.
    private var previousSwing: RollingRange.Value?
    private var previousHistogram: Double?
    private var previousRSI: Double?
    private var patterns = CandlePatternRecogniser()
    /// As of the newest bar.
    public private(set) var value = Value()

    public init() {}

    /// The averages and the index are those of the same bar: `nil` while they are not there, and for an index that says
    /// nothing.
    public mutating func update(
        _ bar: Bar, macd: MovingAverageConvergenceDivergence.Value?, rsi: Double?, ema9: Double?, ema21: Double?,
        sma50: Double?
    ) {
        value.isVolumeSpike = nil
        if let mean = volume.mean, let deviation = volume.standardDeviation {
            value.isVolumeSpike = bar.volume > mean + 2 * deviation
        }
        volume.update(bar.volume)
        value.isBreakout = channel.value.map { bar.close > $0.highest }
        channel.update(bar)

        let window = swing.update(bar)
        value.reversal = nil
        if let before = previousSwing {
            let fromBelow = previousLow <= before.lowest && bar.close > previousHigh
            let fromAbove = previousHigh >= before.highest && bar.close < previousLow
            value.reversal = fromBelow == fromAbove ? 0 : fromBelow ? 1 : -1
        }
        previousSwing = window
        (previousHigh, previousLow) = (bar.high, bar.low)

        value.trendDirection = nil
        if let ema9, let ema21, let sma50 {
            let rounding = 1e-12 * bar.close
            let isUp = ema9 - ema21 > rounding && bar.close - sma50 > rounding
            let isDown = ema21 - ema9 > rounding && sma50 - bar.close > rounding
            value.trendDirection = isUp ? 1 : isDown ? -1 : 0
        }
        value.momentumShift = shift(macd?.histogram, rsi)
        previousHistogram = macd?.histogram
        previousRSI = rsi
        value.pattern = patterns.update(bar)
    }

    private mutating func shift(_ histogram: Double?, _ rsi: Double?) -> Int? {
        guard let histogram, let oldHistogram = previousHistogram else { return nil }
        var up = oldHistogram <= 0 && histogram > 0
        var down = oldHistogram >= 0 && histogram < 0
        if let rsi, let oldRSI = previousRSI {
            if oldRSI <= 30, rsi > 30 { up = true }
            if oldRSI >= 70, rsi < 70 { down = true }
        }
        return up == down ? 0 : up ? 1 : -1
    }

    public func save(to writer: inout StateWriter) {
        volume.save(to: &writer)
        channel.save(to: &writer)
        swing.save(to: &writer)
        writer.write(previousHigh)
        writer.write(previousLow)
        writer.write(previousSwing?.highest)
        writer.write(previousSwing?.lowest)
        writer.write(previousHistogram)
        writer.write(previousRSI)
        patterns.save(to: &writer)
    }

    /// The value is that of the next bar: it is not part of the state.
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try volume.restore(from: &reader)
        try channel.restore(from: &reader)
        try swing.restore(from: &reader)
        previousHigh = try reader.readDouble()
        previousLow = try reader.readDouble()
        let highest = try reader.readOptionalDouble()
        let lowest = try reader.readOptionalDouble()
        guard (highest == nil) == (lowest == nil) else { throw .stateMismatch(field: "swing") }
        previousSwing = nil
        if let highest, let lowest { previousSwing = .init(highest: highest, lowest: lowest) }
        previousHistogram = try reader.readOptionalDouble()
        previousRSI = try reader.readOptionalDouble()
        try patterns.restore(from: &reader)
        value = Value()
    }
}
