public import MarketData

/// Ichimoku's lines (Hosoda 1969), in price units: middles of the highest high and lowest low of n bars.
///
/// Conversion line (tenkan) of 9 bars, base line (kijun) of 26; leading span A, the mean of both, and span B, the
/// middle of 52. Charts draw the spans 26 bars ahead; here `spanA` and `spanB` are those that a chart shows at the
/// newest bar: worked out 26 bars ago. The lagging line, which a chart draws 26 bars back, would look ahead, and does
/// not exist.
public struct Ichimoku: Restorable {
    public struct Value: Sendable, Equatable {
        public var conversion: Double?
        public var base: Double?
        /// Of 26 bars ago.
        public var spanA: Double?
        public var spanB: Double?
    }

    private var short: RollingRange
    private var middle: RollingRange
    private var long: RollingRange
    private var spansA: Delay
    private var spansB: Delay
    /// As of the newest bar.
    public private(set) var value = Value()

    public init(conversion: Int = 9, base: Int = 26, spanB: Int = 52) {
        short = RollingRange(conversion)
        middle = RollingRange(base)
        long = RollingRange(spanB)
        spansA = Delay(base)
        spansB = Delay(base)
    }

    /// Bars before all four lines are there.
    public var warmUp: Int { max(max(short.warmUp, middle.warmUp), long.warmUp) + spansA.warmUp }
    public var isWarm: Bool { mutating get { spansB.isWarm } }

    public mutating func update(_ bar: Bar) {
        value.conversion = short.update(bar)?.middle
        value.base = middle.update(bar)?.middle
        if let conversion = value.conversion, let base = value.base {
            value.spanA = spansA.update(0.5 * (conversion + base))
        }
        if let widest = long.update(bar)?.middle { value.spanB = spansB.update(widest) }
    }

    public func save(to writer: inout StateWriter) {
        for range in [short, middle, long] { range.save(to: &writer) }
        spansA.save(to: &writer)
        spansB.save(to: &writer)
    }

    /// The value is that of the next bar: it is not part of the state.
    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try short.restore(from: &reader)
        try middle.restore(from: &reader)
        try long.restore(from: &reader)
        try spansA.restore(from: &reader)
        try spansB.restore(from: &reader)
        value = Value()
    }
}

/// The value of n updates ago.
public struct Delay: Indicator {
    private var window: Window

    public init(_ count: Int) { window = Window(count) }

    public var warmUp: Int { window.capacity }
    public private(set) var isWarm = false

    @inline(__always)
    public mutating func update(_ value: Double) -> Double? {
        isWarm = window.isFull
        let old = window.exchange(value)
        return isWarm ? old : nil
    }

    public func save(to writer: inout StateWriter) {
        writer.write(isWarm)
        window.save(to: &writer)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        isWarm = try reader.readBool()
        try window.restore(from: &reader)
    }
}
