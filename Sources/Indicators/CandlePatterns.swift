public import MarketData

/// Shapes that traders read from the last one to three candles. Known when their last bar closes.
///
/// Range = high − low, body = |close − open|. A body is long from 0.6 of its range on, small below 0.3, none (doji) up
/// to 0.05; a candle without a range is nothing at all. A doji is a small body in a pattern of several candles; the
/// hammer and its kin have a body that is small and no doji. The trend before a pattern of one candle is up or down
/// where the close before it lies above or below the one five bars earlier. Nison, Japanese Candlestick Charting
/// Techniques (2001), gives the shapes in words; the thresholds are ours.
public enum CandlePattern: Int, Sendable, CaseIterable {
    case none = 0
    /// Lower shadow of at least two small bodies, an upper one of at most 0.1 of the range, after a fall.
    case hammer = 1
    /// The same upside down: upper shadow of at least two small bodies, hardly a lower one, after a fall.
    case invertedHammer = 2
    /// A rising body that covers the falling body before it and is longer.
    case bullishEngulfing = 3
    /// A falling body that covers the rising body before it and is longer.
    case bearishEngulfing = 4
    /// Open and close all but equal.
    case doji = 5
    /// A long fall, a small body below its middle, a rise that closes above the fall's middle.
    case morningStar = 6
    /// A long rise, a small body above its middle, a fall that closes below the rise's middle.
    case eveningStar = 7
    /// Three long rises, each opening within the body before and closing above it.
    case threeWhiteSoldiers = 8
    /// Three long falls, each opening within the body before and closing below it.
    case threeBlackCrows = 9
    /// A small rising body inside the long falling one before it.
    case bullishHarami = 10
    /// A small falling body inside the long rising one before it.
    case bearishHarami = 11
    /// The inverted hammer's shape after a rise.
    case shootingStar = 12
    /// The hammer's shape after a rise.
    case hangingMan = 13
    /// After a long fall, a rise that opens below its close and closes above its middle, below its open.
    case piercingLine = 14
    /// After a long rise, a fall that opens above its close and closes below its middle, above its open.
    case darkCloudCover = 15
}

/// Recognises `CandlePattern`s: of several, the one of more bars, then the one named first.
public struct CandlePatternRecogniser: Indicator {
    private struct Candle {
        var open = 0.0
        var high = 0.0
        var low = 0.0
        var close = 0.0

        var body: Double { abs(close - open) }
        var range: Double { high - low }
        var isRise: Bool { close > open }
        var isFall: Bool { close < open }
        var top: Double { max(open, close) }
        var bottom: Double { min(open, close) }
        var middle: Double { 0.5 * (open + close) }
        var isLong: Bool { range > 0 && body >= 0.6 * range }
        var isSmall: Bool { range > 0 && body < 0.3 * range }
        var isDoji: Bool { range > 0 && body <= 0.05 * range }
        /// Small body above, long lower shadow.
        var isHammer: Bool {
            isSmall && !isDoji && bottom - low >= 2 * body && high - top <= 0.1 * range
        }
        var isInvertedHammer: Bool {
            isSmall && !isDoji && high - top >= 2 * body && bottom - low <= 0.1 * range
        }
    }

    /// The newest candle, the one before, and the one before that.
    private var newest = Candle()
    private var middle = Candle()
    private var oldest = Candle()
    /// Closes of the four bars before `oldest`, newest first: the last is five bars before `middle`.
    private var closes: (Double, Double, Double, Double) = (0, 0, 0, 0)
    private var seen = 0

    public init() {}

    public var warmUp: Int { 6 }
    public var isWarm: Bool { seen > warmUp }

    public mutating func update(_ bar: Bar) -> CandlePattern? {
        closes = (oldest.close, closes.0, closes.1, closes.2)
        oldest = middle
        middle = newest
        newest = Candle(open: bar.open, high: bar.high, low: bar.low, close: bar.close)
        if seen <= warmUp { seen += 1 }
        guard isWarm else { return nil }
        return ofThree ?? ofTwo ?? ofOne ?? CandlePattern.none
    }

    private var ofThree: CandlePattern? {
        let (a, b, c) = (oldest, middle, newest)
        if a.isLong, b.isSmall, a.isFall, b.top < a.middle, c.isRise, c.close > a.middle { return .morningStar }
        if a.isLong, b.isSmall, a.isRise, b.bottom > a.middle, c.isFall, c.close < a.middle { return .eveningStar }
        guard a.isLong, b.isLong, c.isLong else { return nil }
        func opensWithin(_ later: Candle, _ earlier: Candle) -> Bool {
            later.open >= earlier.bottom && later.open <= earlier.top
        }
        guard opensWithin(b, a), opensWithin(c, b) else { return nil }
        if a.isRise, b.isRise, c.isRise, b.close > a.close, c.close > b.close { return .threeWhiteSoldiers }
        if a.isFall, b.isFall, c.isFall, b.close < a.close, c.close < b.close { return .threeBlackCrows }
        return nil
    }

    private var ofTwo: CandlePattern? {
        let (a, b) = (middle, newest)
        let covers = b.bottom <= a.bottom && b.top >= a.top && b.body > a.body
        if covers, a.isFall, b.isRise { return .bullishEngulfing }
        if covers, a.isRise, b.isFall { return .bearishEngulfing }
        guard a.isLong else { return nil }
        let isInside = b.bottom >= a.bottom && b.top <= a.top && b.isSmall
        if isInside, a.isFall, b.isRise { return .bullishHarami }
        if isInside, a.isRise, b.isFall { return .bearishHarami }
        if a.isFall, b.isRise, b.open < a.close, b.close > a.middle, b.close < a.open { return .piercingLine }
        if a.isRise, b.isFall, b.open > a.close, b.close < a.middle, b.close > a.open { return .darkCloudCover }
        return nil
    }

    private var ofOne: CandlePattern? {
        let wasRising = middle.close > closes.3
        let wasFalling = middle.close < closes.3
        if newest.isHammer { return wasFalling ? .hammer : wasRising ? .hangingMan : nil }
        if newest.isInvertedHammer { return wasFalling ? .invertedHammer : wasRising ? .shootingStar : nil }
        return newest.isDoji ? .doji : nil
    }

    public func save(to writer: inout StateWriter) {
        for candle in [newest, middle, oldest] {
            for number in [candle.open, candle.high, candle.low, candle.close] { writer.write(number) }
        }
        for close in [closes.0, closes.1, closes.2, closes.3] { writer.write(close) }
        writer.write(seen)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        newest = try Self.candle(from: &reader)
        middle = try Self.candle(from: &reader)
        oldest = try Self.candle(from: &reader)
        closes = (
            try reader.readDouble(), try reader.readDouble(), try reader.readDouble(), try reader.readDouble()
        )
        seen = try reader.readCount(upTo: warmUp + 1, "candles")
    }

    private static func candle(from reader: inout StateReader) throws(IndicatorError) -> Candle {
        Candle(
            open: try reader.readDouble(), high: try reader.readDouble(), low: try reader.readDouble(),
            close: try reader.readDouble())
    }
}
