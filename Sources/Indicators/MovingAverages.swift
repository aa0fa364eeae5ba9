/// Simple moving average of the last n values. TA-Lib SMA.
public struct SimpleMovingAverage: Indicator {
    private var total: RollingSum
    private let reciprocal: Double

    public init(_ period: Int) {
        reciprocal = 1 / Double(period)
        total = RollingSum(period)
    }

    public var warmUp: Int { total.warmUp }
    public var isWarm: Bool { mutating get { total.isWarm } }
    public var value: Double? { mutating get { isWarm ? total.sum * reciprocal : nil } }

    @discardableResult
    @inline(__always)
    public mutating func update(_ value: Double) -> Double? { total.update(value).map { $0 * reciprocal } }

    public func save(to writer: inout StateWriter) { total.save(to: &writer) }
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try total.restore(from: &reader)
    }
}

/// Simple moving average of the last one to four values, added anew each time: no drift, and nothing to look up.
struct ShortAverage: Restorable {
    /// An earlier value, and 1 where it counts, 0 where not. Side by side, so that the compiler does not move two
    /// values at once: what narrow stores have put, a wide load would have to wait for.
    private struct Earlier {
        var weight: Double
        var value = 0.0
    }

    private var first: Earlier
    private var second: Earlier
    private var third: Earlier
    private let reciprocal: Double
    private var missing: Int
    let warmUp: Int

    /// Traps unless `period` is from 1 to 4.
    init(_ period: Int) {
        precondition((1...4).contains(period), "a short average is over 1 to 4 values")
        first = Earlier(weight: period > 1 ? 1 : 0)
        second = Earlier(weight: period > 2 ? 1 : 0)
        third = Earlier(weight: period > 3 ? 1 : 0)
        reciprocal = 1 / Double(period)
        missing = period
        warmUp = period - 1
    }

    var isWarm: Bool { missing == 0 }

    @inline(__always)
    mutating func update(_ value: Double) -> Double? {
        let sum = (value + first.weight * first.value) + (second.weight * second.value + third.weight * third.value)
        third.value = second.value
        second.value = first.value
        first.value = value
        if missing > 0 { missing &-= 1 }
        return missing == 0 ? sum * reciprocal : nil
    }

    func save(to writer: inout StateWriter) {
        writer.write(missing)
        for value in [first.value, second.value, third.value] { writer.write(value) }
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        missing = try reader.readCount(upTo: warmUp + 1, "average's count")
        first.value = try reader.readDouble()
        second.value = try reader.readDouble()
        third.value = try reader.readDouble()
    }
}

/// Exponential moving average, factor 2/(n + 1), seeded with the simple average of the first n values. TA-Lib EMA.
public struct ExponentialMovingAverage: Indicator {
    private let period: Int
    private let factor: Double
    private let skipped: Int
    /// Values until the average is there.
    private var missing: Int
    /// Of the first n values their sum, then the average.
    private var average = 0.0

    /// `skipping` leaves out the first values, so that averages of several periods start on one bar (MACD).
    public init(_ period: Int, skipping: Int = 0) {
        precondition(period > 0 && skipping >= 0, "an average is over at least one value")
        self.period = period
        skipped = skipping
        missing = skipping + period
        factor = 2 / Double(period + 1)
    }

    public var warmUp: Int { skipped + period - 1 }
    public var isWarm: Bool { missing == 0 }
    public var value: Double? { isWarm ? average : nil }

    @discardableResult
    @inline(__always)
    public mutating func update(_ input: Double) -> Double? {
        if isWarm {
            average.addProduct(input - average, factor)
            return average
        }
        return seed(input)
    }

    private mutating func seed(_ input: Double) -> Double? {
        if missing <= period { average += input }
        missing -= 1
        guard isWarm else { return nil }
        average /= Double(period)
        return average
    }

    public func save(to writer: inout StateWriter) {
        writer.write(period)
        writer.write(missing)
        writer.write(average)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == period else { throw .stateMismatch(field: "average's period") }
        missing = try reader.readCount(upTo: skipped + period, "average's count")
        average = try reader.readDouble()
    }
}

/// Wilder's average: factor 1/n, seeded with the simple average of the first n values. Inside RSI, ATR, ADX.
public struct WilderAverage: Indicator {
    private let period: Int
    private let factor: Double
    /// Values until the average is there.
    private var missing: Int
    /// Of the first n values their sum, then the average.
    private(set) var average = 0.0

    public init(_ period: Int) {
        precondition(period > 0, "an average is over at least one value")
        self.period = period
        missing = period
        factor = 1 / Double(period)
    }

    public var warmUp: Int { period - 1 }
    public var isWarm: Bool { missing == 0 }
    public var value: Double? { isWarm ? average : nil }

    @discardableResult
    @inline(__always)
    public mutating func update(_ input: Double) -> Double? {
        take(input)
        return value
    }

    @inline(__always)
    mutating func take(_ input: Double) {
        if isWarm { average.addProduct(input - average, factor) } else { seed(input) }
    }

    private mutating func seed(_ input: Double) {
        missing -= 1
        average += input
        if isWarm { average /= Double(period) }
    }

    public func save(to writer: inout StateWriter) {
        writer.write(period)
        writer.write(missing)
        writer.write(average)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        guard try reader.readInt() == period else { throw .stateMismatch(field: "average's period") }
        missing = try reader.readCount(upTo: period, "average's count")
        average = try reader.readDouble()
    }
}
