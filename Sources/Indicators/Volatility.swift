internal import Kernels
public import MarketData

/// Average true range, in price units. TA-Lib ATR: Wilder's average of the true range, from the second bar on.
public struct AverageTrueRange: Indicator {
    private var previousClose = Double.nan
    private var average: WilderAverage

    public init(_ period: Int = 14) { average = WilderAverage(period) }

    public var warmUp: Int { average.warmUp + 1 }
    public var isWarm: Bool { average.isWarm }

    @inline(__always)
    public mutating func update(_ bar: Bar) -> Double? {
        let range = bar.trueRange(after: previousClose)
        previousClose = bar.close
        return update(trueRange: range)
    }

    /// `trueRange`: NaN for the first bar.
    @inline(__always)
    mutating func update(trueRange: Double) -> Double? {
        guard !trueRange.isNaN else { return nil }
        average.take(trueRange)
        return value
    }

    /// As of the newest bar.
    public var value: Double? { average.value }

    public func save(to writer: inout StateWriter) {
        writer.write(previousClose)
        average.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previousClose = try reader.readDouble()
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

    private var moments: RollingDeviation
    private let width: Double

    public init(_ period: Int = 20, width: Double = 2) {
        moments = RollingDeviation(period)
        self.width = width
    }

    public var warmUp: Int { moments.warmUp }
    public var isWarm: Bool { mutating get { moments.isWarm } }

    @inline(__always)
    public mutating func update(_ close: Double) -> Value? {
        moments.update(close)
        return value
    }

    /// As of the newest close.
    public var value: Value? {
        mutating get {
            guard let middle = moments.mean, let deviation = moments.standardDeviation else { return nil }
            return Value(upper: middle + width * deviation, middle: middle, lower: middle - width * deviation)
        }
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
    public var isWarm: Bool { mutating get { squares.isWarm } }
    public var value: Double? { mutating get { isWarm ? (max(0, squares.sum) / Double(period)).squareRoot() : nil } }

    /// Takes a log return, ln(close/previous close).
    @discardableResult
    @inline(__always)
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
    public var isWarm: Bool { mutating get { squares.isWarm } }

    @inline(__always)
    public mutating func update(_ bar: Bar) -> Double? {
        update(squaredRange: Self.squaredRange(bar))
    }

    /// ln(high/low)²: for those who need it for several windows.
    public static func squaredRange(_ bar: Bar) -> Double {
        let range = log(bar.high / bar.low)
        return range * range
    }

    /// Takes a bar's `squaredRange`.
    public mutating func update(squaredRange: Double) -> Double? {
        squares.update(squaredRange).map { (max(0, $0) * scale).squareRoot() }
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

    @inline(__always)
    public mutating func update(_ close: Double) -> Double? {
        defer { previous = close }
        return previous.map { log(close / $0) }
    }

    public func save(to writer: inout StateWriter) { writer.write(previous) }
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previous = try reader.readOptionalDouble()
    }
}

extension Bar {
    /// High and negated low: both reach outward, so that the larger of two is the farther, and their sum is the range.
    @inline(__always)
    var reach: SIMD2<Double> { SIMD2(high, -low) }

    /// The largest of high − low and the distances of both from the previous close; NaN where that is NaN.
    @inline(__always)
    func trueRange(after previousClose: Double) -> Double {
        guard !previousClose.isNaN else { return .nan }
        let farther = reach.larger(SIMD2(previousClose, -previousClose))
        return farther.x + farther.y
    }
}

extension SIMD2<Double> {
    /// Lane by lane the larger of two, in one instruction.
    @inline(__always)
    func larger(_ other: Self) -> Self { other.replacing(with: self, where: self .> other) }
}
