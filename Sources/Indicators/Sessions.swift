internal import Kernels
public import MarketData

/// The part of the world that is at work, by UTC: the hours overlap, and between 21:00 and midnight nobody is.
public enum TradingSession: Int, Sendable, CaseIterable {
    /// 00:00 to 09:00.
    case asia
    /// 07:00 to 16:00.
    case europe
    /// 13:00 to 21:00.
    case us

    public var hours: Range<Int64> {
        switch self {
        case .asia: 0..<9
        case .europe: 7..<16
        case .us: 13..<21
        }
    }

    public func contains(_ time: Timestamp) -> Bool {
        let hour = (time - time.floored(to: .days(1))).microseconds / 3_600_000_000
        return hours.contains(hour)
    }
}

/// Realised volatility per bar since the newest session opened: √(Σr²/n) of its log returns, from the fifth on.
///
/// A session opens at 00:00, 07:00, 13:00 and 21:00 UTC (the last is the quiet time); a bar belongs to the one in which
/// it opened.
public struct SessionVolatility: Restorable {
    private var session: Int64?
    private var squares = 0.0
    private var count = 0

    public init() {}

    /// Takes a bar's log return; `nil` until the session has five.
    public mutating func update(_ logReturn: Double, openTime: Timestamp) -> Double? {
        let day = openTime.floored(to: .days(1)).microseconds
        let hour = (openTime.microseconds - day) / 3_600_000_000
        let start: Int64 = hour < 7 ? 0 : hour < 13 ? 7 : hour < 21 ? 13 : 21
        let current = day + start
        if current != session { (session, squares, count) = (current, 0, 0) }
        squares += logReturn * logReturn
        count += 1
        return count >= 5 ? (squares / Double(count)).squareRoot() : nil
    }

    public func save(to writer: inout StateWriter) {
        writer.write(session != nil)
        if let session { writer.write(session) }
        writer.write(squares)
        writer.write(count)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        session = try reader.readBool() ? try reader.readInt64() : nil
        squares = try reader.readDouble()
        count = try reader.readCount(upTo: 1 << 53, "session returns")
    }
}

/// How many bars in a row have closed higher (positive) or lower (negative) than the one before; 0 after one that did
/// neither.
public struct Streak: Indicator {
    private var previous = Double.nan
    private var length = 0

    public init() {}

    public var warmUp: Int { 1 }
    public var isWarm: Bool { !previous.isNaN }

    @inline(__always)
    public mutating func update(_ close: Double) -> Int? {
        let change = close - previous
        previous = close
        guard !change.isNaN else { return nil }
        let isRise = change > 0
        let step = isRise ? 1 : change < 0 ? -1 : 0
        let goesOn = step != 0 && (length > 0) == isRise && length != 0
        length = goesOn ? max(-1000, min(1000, length + step)) : step
        return length
    }

    public func save(to writer: inout StateWriter) {
        writer.write(previous)
        writer.write(length)
    }

    public mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        previous = try reader.readDouble()
        length = try reader.readInt()
        guard (-1000...1000).contains(length) else { throw .stateMismatch(field: "streak") }
    }
}
