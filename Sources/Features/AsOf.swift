internal import Indicators
internal import Kernels
internal import MarketData

/// A value, or why there is none.
enum Known<Value> {
    case value(Value)
    case absent(Absence)

    func map<Other>(_ transform: (Value) -> Other) -> Known<Other> {
        switch self {
        case .value(let value): .value(transform(value))
        case .absent(let reason): .absent(reason)
        }
    }

    func flatMap<Other>(_ transform: (Value) -> Known<Other>) -> Known<Other> {
        switch self {
        case .value(let value): transform(value)
        case .absent(let reason): .absent(reason)
        }
    }
}

extension Known where Value == Double {
    /// `nil` is `reason`.
    init(_ value: Double?, or reason: Absence) {
        if let value { self = .value(value) } else { self = .absent(reason) }
    }
}

/// What a slot can keep and write down.
protocol StateValue: Sendable {
    func save(to writer: inout StateWriter)
    init(from reader: inout StateReader) throws(IndicatorError)
}

/// The newest value of a slow input and the one before it: the backward as-of join, one value at a time.
///
/// Whoever offers a value has waited until its `knownAt`. A reading older than `tolerance`, counted from `knownAt`, is
/// stale. A value of an older event than the newest is ignored; one of the same event replaces it.
struct AsOfSlot<Value: StateValue>: Restorable {
    private struct Entry {
        var value: Value
        var eventTime: Timestamp
        var knownAt: Timestamp
    }

    let tolerance: Interval
    private var current: Entry?
    private var previous: Entry?

    init(tolerance: Interval) { self.tolerance = tolerance }

    mutating func offer(_ value: Value, eventTime: Timestamp, knownAt: Timestamp) {
        if let current {
            guard eventTime >= current.eventTime else { return }
            if eventTime > current.eventTime { previous = current }
        }
        current = Entry(value: value, eventTime: eventTime, knownAt: knownAt)
    }

    /// The newest value as of `now`.
    func reading(at now: Timestamp) -> Known<Value> {
        guard let current else { return .absent(.missingInput) }
        return now - current.knownAt > tolerance ? .absent(.staleInput) : .value(current.value)
    }

    /// The newest value with the one before it; in warm-up while there is only one. Stale too where more than
    /// `tolerance` lies between their events.
    func change(at now: Timestamp) -> Known<(new: Value, old: Value)> {
        switch reading(at: now) {
        case .absent(let reason): return .absent(reason)
        case .value(let value):
            guard let previous, let current else { return .absent(.warmUp) }
            guard current.eventTime - previous.eventTime <= tolerance else { return .absent(.staleInput) }
            return .value((value, previous.value))
        }
    }

    func save(to writer: inout StateWriter) {
        for entry in [current, previous] {
            writer.write(entry != nil)
            guard let entry else { continue }
            writer.write(entry.eventTime.microseconds)
            writer.write(entry.knownAt.microseconds)
            entry.value.save(to: &writer)
        }
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        current = try Self.entry(from: &reader)
        previous = try Self.entry(from: &reader)
    }

    private static func entry(from reader: inout StateReader) throws(IndicatorError) -> Entry? {
        guard try reader.readBool() else { return nil }
        let eventTime = Timestamp(microseconds: try reader.readTime())
        let knownAt = Timestamp(microseconds: try reader.readTime())
        return Entry(value: try Value(from: &reader), eventTime: eventTime, knownAt: knownAt)
    }
}

extension StateReader {
    /// Microseconds within ±2⁶¹, so that differences of two cannot overflow.
    mutating func readTime() throws(IndicatorError) -> Int64 {
        let time = try readInt64()
        guard abs(Double(time)) < 0x1p61 else { throw .stateMismatch(field: "time") }
        return time
    }
}

/// A sum that halves every `halfLife` of time.
struct DecayedSum: Restorable {
    let halfLife: Interval
    private var value = 0.0
    private var time = Timestamp(microseconds: 0)

    init(halfLife: Interval) { self.halfLife = halfLife }

    func value(at now: Timestamp) -> Double {
        value == 0 ? 0 : value * exp2(-max(0, (now - time).seconds) / halfLife.seconds)
    }

    mutating func add(_ amount: Double, at now: Timestamp) {
        value = value(at: now) + amount
        time = max(now, time)
    }

    func save(to writer: inout StateWriter) {
        writer.write(value)
        writer.write(time.microseconds)
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        value = try reader.readDouble()
        time = Timestamp(microseconds: try reader.readTime())
    }
}

extension Double: StateValue {
    func save(to writer: inout StateWriter) { writer.write(self) }
    init(from reader: inout StateReader) throws(IndicatorError) { self = try reader.readDouble() }
}

extension BookTop: StateValue {
    func save(to writer: inout StateWriter) {
        for number in [bidPrice, askPrice, bidVolume, askVolume] { writer.write(number) }
    }

    init(from reader: inout StateReader) throws(IndicatorError) {
        self.init(
            bidPrice: try reader.readDouble(), askPrice: try reader.readDouble(),
            bidVolume: try reader.readDouble(), askVolume: try reader.readDouble())
    }
}

extension HestonFit: StateValue {
    func save(to writer: inout StateWriter) {
        writer.write(symbol)
        writer.write(eventTime.microseconds)
        writer.write(knownAt.microseconds)
        for number in [kappa, theta, sigma, rho, v0, rmse] { writer.write(number) }
    }

    init(from reader: inout StateReader) throws(IndicatorError) {
        self.init(
            symbol: try reader.readString(), eventTime: Timestamp(microseconds: try reader.readTime()),
            knownAt: Timestamp(microseconds: try reader.readTime()), kappa: try reader.readDouble(),
            theta: try reader.readDouble(), sigma: try reader.readDouble(), rho: try reader.readDouble(),
            v0: try reader.readDouble(), rmse: try reader.readDouble())
    }
}

extension SurfaceSummary: StateValue {
    func save(to writer: inout StateWriter) {
        for number in [atmShort, atmLong, smileSlope, termSlope] { writer.write(number) }
    }

    init(from reader: inout StateReader) throws(IndicatorError) {
        self.init(
            atmShort: try reader.readOptionalDouble(), atmLong: try reader.readOptionalDouble(),
            smileSlope: try reader.readOptionalDouble(), termSlope: try reader.readOptionalDouble())
    }
}

extension SentimentScore: StateValue {
    func save(to writer: inout StateWriter) {
        writer.write(messageID)
        writer.write(source)
        writer.write(symbol)
        writer.write(eventTime.microseconds)
        writer.write(knownAt.microseconds)
        writer.write(score)
    }

    init(from reader: inout StateReader) throws(IndicatorError) {
        self.init(
            messageID: try reader.readString(), source: try reader.readString(), symbol: try reader.readString(),
            eventTime: Timestamp(microseconds: try reader.readTime()),
            knownAt: Timestamp(microseconds: try reader.readTime()), score: try reader.readDouble())
    }
}
