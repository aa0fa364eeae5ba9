internal import Kernels
public import MarketData

/// Average true range, in price units. TA-Lib ATR: Wilder's average of the true range, from the second bar on.
public struct AverageTrueRange: Indicator {
    private let period: Int
    private var previousClose: Double?
    private var average: WilderAverage

    public init(_ period: Int = 14) {
        self.period = period
        average = WilderAverage(period)
    }

    public var warmUp: Int { period }
    public var isWarm: Bool { average.isWarm }

    public mutating func update(_ bar: Bar) -> Double? {
        defer { previousClose = bar.close }
        guard let close = previousClose else { return nil }
        return average.update(max(bar.high - bar.low, abs(bar.high - close), abs(bar.low - close)))
    }

    public func save(to writer: inout StateWriter) {
        writer.write(previousClose)
        average.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previousClose = try reader.readOptionalDouble()
        try average.restore(from: &reader)
    }
}

/// Bollinger bands of closes, in price units: mean ± width · population standard deviation. TA-Lib BBANDS (SMA).
public struct BollingerBands: Indicator {
    public struct Value: Sendable, Equatable {
        public var upper: Double
        public var middle: Double
        public var lower: Double
    }

    private var moments: RollingMoments
    private let width: Double

    public init(_ period: Int = 20, width: Double = 2) {
        moments = RollingMoments(period)
        self.width = width
    }

    public var warmUp: Int { moments.warmUp }
    public var isWarm: Bool { moments.isWarm }

    public mutating func update(_ close: Double) -> Value? {
        moments.update(close)
        guard let middle = moments.mean, let deviation = moments.standardDeviation else { return nil }
        return Value(upper: middle + width * deviation, middle: middle, lower: middle - width * deviation)
    }

    public func save(to writer: inout StateWriter) { moments.save(to: &writer) }
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try moments.restore(from: &reader)
    }
}

/// Realised volatility per bar, √(Σr²/n) of the last n log returns: not centred, not annualised. Multiply by
/// √(year/interval) for an annual volatility.
public struct RealisedVolatility: Indicator {
    private var squares: RollingSum
    private let period: Int

    public init(_ period: Int) {
        self.period = period
        squares = RollingSum(period)
    }

    public var warmUp: Int { period - 1 }
    public var isWarm: Bool { squares.isWarm }
    public var value: Double? { isWarm ? (max(0, squares.sum) / Double(period)).squareRoot() : nil }

    /// Takes a log return, ln(close/previous close).
    @discardableResult
    public mutating func update(_ logReturn: Double) -> Double? {
        squares.update(logReturn * logReturn)
        return value
    }

    public func save(to writer: inout StateWriter) { squares.save(to: &writer) }
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try squares.restore(from: &reader)
    }
}

/// Parkinson's volatility per bar from highs and lows, √(Σ ln(high/low)² / (4·ln 2·n)). Parkinson 1980.
public struct ParkinsonVolatility: Indicator {
    private var squares: RollingSum
    private let scale: Double

    public init(_ period: Int) {
        squares = RollingSum(period)
        scale = 1 / (4 * log(2.0) * Double(period))
    }

    public var warmUp: Int { squares.warmUp }
    public var isWarm: Bool { squares.isWarm }

    public mutating func update(_ bar: Bar) -> Double? {
        let range = log(bar.high / bar.low)
        return squares.update(range * range).map { (max(0, $0) * scale).squareRoot() }
    }

    public func save(to writer: inout StateWriter) { squares.save(to: &writer) }
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try squares.restore(from: &reader)
    }
}

/// ln(close/previous close), from the second bar on.
public struct LogReturn: Indicator {
    private var previous: Double?

    public init() {}

    public var warmUp: Int { 1 }
    public var isWarm: Bool { previous != nil }

    public mutating func update(_ close: Double) -> Double? {
        defer { previous = close }
        return previous.map { log(close / $0) }
    }

    public func save(to writer: inout StateWriter) { writer.write(previous) }
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previous = try reader.readOptionalDouble()
    }
}
