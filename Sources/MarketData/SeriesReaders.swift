// The slow series of a perpetual future and of the whole market: funding, open interest, fear & greed.

/// A value and the instant to which it belongs.
public struct Stamped<Value: Sendable & Equatable>: Sendable, Equatable {
    public var time: Timestamp
    public var value: Value

    public init(time: Timestamp, value: Value) {
        self.time = time
        self.value = value
    }
}

/// Reads funding settlements: CSV with `funding_time_ms` (or `fundingTime`) and `funding_rate` (or `fundingRate`),
/// a fraction of the notional.
///
/// The interval is the step from the settlement before, where that is 1, 2, 4 or 8 hours, and 8 hours (Binance's rule)
/// where it is unknown: at the first row and behind a hole.
public struct FundingReader: Sendable {
    public init() {}

    /// The settlements in `span`, in time order.
    public func read(
        _ source: RowSource, span: Range<Timestamp>? = nil
    ) throws(MarketDataError) -> Loaded<Stamped<FundingRate>> {
        var report = LoadReport(source: source.name)
        var format = StampedFormat(
            columns: [["funding_time_ms", "fundingTime", "time_ms"], ["funding_rate", "fundingRate"]], span: span
        ) { values, time, previous throws(RowFault) in
            guard let rate = values[0] else { throw .missingValue }
            guard abs(rate) < 1 else { throw .outOfRange }
            return FundingRate(rate: rate, interval: Self.interval(from: previous, to: time))
        }
        try readTable(source, into: &format, report: &report)
        for _ in format.rows { report.accept() }
        return Loaded(rows: format.rows, report: report)
    }

    static func interval(from previous: Timestamp?, to time: Timestamp) -> Interval {
        guard let previous else { return .hours(8) }
        // Binance stamps a settlement some milliseconds late: round to the minute.
        let step = ((time - previous).microseconds + 30_000_000) / 60_000_000
        return [60, 120, 240].contains(step) ? .minutes(step) : .hours(8)
    }
}

/// Reads open interest: CSV with `time_ms`, `open_interest` (base units) and, where given, `open_interest_value_usdt`.
public struct OpenInterestReader: Sendable {
    public init() {}

    /// The values in `span`, in time order.
    public func read(
        _ source: RowSource, span: Range<Timestamp>? = nil
    ) throws(MarketDataError) -> Loaded<Stamped<OpenInterest>> {
        var report = LoadReport(source: source.name)
        var format = StampedFormat(
            columns: [["time_ms"], ["open_interest"], ["open_interest_value_usdt"]], optional: [2], span: span
        ) { values, _, _ throws(RowFault) in
            guard let quantity = values[0] else { throw .missingValue }
            guard quantity >= 0, values[1] ?? 0 >= 0 else { throw .negativeValue }
            return OpenInterest(quantity: quantity, notional: values[1])
        }
        try readTable(source, into: &format, report: &report)
        for _ in format.rows { report.accept() }
        return Loaded(rows: format.rows, report: report)
    }
}

/// Reads the Crypto Fear & Greed index: CSV with `timestamp_s` (Unix **seconds**) and `value`, 0 … 100.
public struct FearGreedReader: Sendable {
    public init() {}

    /// The values of the days in `span`, in time order. When each is known: `KnownTimes.fearGreed`.
    public func read(
        _ source: RowSource, span: Range<Timestamp>? = nil
    ) throws(MarketDataError) -> Loaded<Stamped<Double>> {
        var report = LoadReport(source: source.name)
        var format = StampedFormat(
            columns: [["timestamp_s"], ["value"]], isInSeconds: true, span: span
        ) { values, _, _ throws(RowFault) in
            guard let value = values[0] else { throw .missingValue }
            guard value >= 0, value <= 100 else { throw .outOfRange }
            return value
        }
        try readTable(source, into: &format, report: &report)
        for _ in format.rows { report.accept() }
        return Loaded(rows: format.rows, report: report)
    }
}

/// A table of a time and some numbers, in strictly increasing time.
private struct StampedFormat<Value: Sendable & Equatable>: TableFormat {
    typealias Make = ([Double?], Timestamp, Timestamp?) throws(RowFault) -> Value

    var rows: [Stamped<Value>] = []
    private let columns: [[String]]
    private let optional: Set<Int>
    private let isInSeconds: Bool
    private let span: Range<Timestamp>?
    private let make: Make
    private var positions: [Int?] = []
    private var current = 0
    private var last: Stamped<Value>?

    /// `columns`: the names that each column may have, the time's first. `optional`: those that may be absent or empty.
    init(
        columns: [[String]], optional: Set<Int> = [], isInSeconds: Bool = false, span: Range<Timestamp>?,
        make: @escaping Make
    ) {
        self.columns = columns
        self.optional = optional
        self.isInSeconds = isInSeconds
        self.span = span
        self.make = make
    }

    var columnAtFault: String? { current < columns.count ? columns[current][0] : nil }

    mutating func layOut(_ header: [String], headerless: Bool) -> [String] {
        guard !headerless else { return columns.map { $0[0] } }
        positions = columns.map { names in header.firstIndex { names.contains($0) } }
        return columns.indices.filter { positions[$0] == nil && !optional.contains($0) }.map { columns[$0][0] }
    }

    mutating func take(_ row: borrowing Row, _ text: Span<UInt8>) throws(RowFault) -> Bool {
        current = 0
        let stamp = try row.integer(positions[0] ?? 0, text)
        guard !isInSeconds || stamp < 100_000_000_000 else { throw .notATime }  // milliseconds given as seconds
        let time = try timestamp(isInSeconds ? stamp * 1000 : stamp)
        if let span, time >= span.upperBound { return false }
        var values: [Double?] = []
        for column in 1..<columns.count {
            current = column
            values.append(try positions[column].flatMap { position throws(RowFault) in
                try row.optionalDouble(position, text)
            })
        }
        current = 1
        let value = try make(values, time, last?.time)
        current = 0
        let stamped = Stamped(time: time, value: value)
        if let last {
            if time == last.time { throw stamped == last ? .duplicate : .conflictingDuplicate }
            guard time > last.time else { throw .timeBackwards }
        }
        last = stamped
        if span?.contains(time) ?? true { rows.append(stamped) }
        return true
    }
}
