/// Simple moving average of the last n values. TA-Lib SMA.
public struct SimpleMovingAverage: Indicator {
    private var total: RollingSum
    private let period: Int

    public init(_ period: Int) {
        self.period = period
        total = RollingSum(period)
    }

    public var warmUp: Int { period - 1 }
    public var isWarm: Bool { total.isWarm }
    public var value: Double? { isWarm ? total.sum / Double(period) : nil }

    @discardableResult
    public mutating func update(_ value: Double) -> Double? { total.update(value).map { $0 / Double(period) } }

    public func save(to writer: inout StateWriter) { total.save(to: &writer) }
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try total.restore(from: &reader)
    }
}

/// Exponential moving average, factor 2/(n + 1), seeded with the simple average of the first n values. TA-Lib EMA.
public struct ExponentialMovingAverage: Indicator {
    private let period: Int
    private let factor: Double
    private let skipped: Int
    private var seen = 0
    private var seed = 0.0
    public private(set) var value: Double?

    /// `skipping` leaves out the first values, so that averages of several periods start on one bar (MACD).
    public init(_ period: Int, skipping: Int = 0) {
        precondition(period > 0 && skipping >= 0, "an average is over at least one value")
        self.period = period
        skipped = skipping
        factor = 2 / Double(period + 1)
    }

    public var warmUp: Int { skipped + period - 1 }
    public var isWarm: Bool { value != nil }

    @discardableResult
    public mutating func update(_ input: Double) -> Double? {
        if let previous = value {
            value = (input - previous) * factor + previous
            return value
        }
        seen += 1
        if seen > skipped { seed += input }
        if seen == skipped + period { value = seed / Double(period) }
        return value
    }

    public func save(to writer: inout StateWriter) {
        writer.write(period)
        writer.write(seen)
        writer.write(seed)
        writer.write(value)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == period else { throw .stateMismatch(field: "average's period") }
        seen = try reader.readCount(upTo: skipped + period, "average's count")
        seed = try reader.readDouble()
        value = try reader.readOptionalDouble()
    }
}

/// Wilder's average: factor 1/n, seeded with the simple average of the first n values. Inside RSI, ATR, ADX.
public struct WilderAverage: Indicator {
    private let period: Int
    private var seen = 0
    private var seed = 0.0
    public private(set) var value: Double?

    public init(_ period: Int) {
        precondition(period > 0, "an average is over at least one value")
        self.period = period
    }

    public var warmUp: Int { period - 1 }
    public var isWarm: Bool { value != nil }

    @discardableResult
    public mutating func update(_ input: Double) -> Double? {
        if let previous = value {
            value = (previous * Double(period - 1) + input) / Double(period)
            return value
        }
        seen += 1
        seed += input
        if seen == period { value = seed / Double(period) }
        return value
    }

    public func save(to writer: inout StateWriter) {
        writer.write(period)
        writer.write(seen)
        writer.write(seed)
        writer.write(value)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == period else { throw .stateMismatch(field: "average's period") }
        seen = try reader.readCount(upTo: period, "average's count")
        seed = try reader.readDouble()
        value = try reader.readOptionalDouble()
    }
}
