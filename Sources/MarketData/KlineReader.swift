/// Reads candles: CSV with a header (`open_time_ms` or `open_time`, then `open, high, low, close, volume` anywhere;
/// other columns are ignored) and the headerless twelve columns of Binance's public archive.
///
/// Stamps are the opening times in milliseconds, or in microseconds where they are too large for that (Binance's spot
/// archive from 2025 on). Prices must be positive; a zero volume is a real minute without trades.
public struct KlineReader: Sendable {
    public var validation: BarValidator.Configuration

    public init(interval: Interval, maximumJump: Double? = nil) {
        validation = .init(interval: interval, maximumJump: maximumJump)
    }

    /// The bars with `openTime` in `span` (all by default), in time order; what is wrong outside the span before it is
    /// reported too, and reading ends with the span. O(rows); blocks on the file.
    public func read(_ source: RowSource, span: Range<Timestamp>? = nil) throws(MarketDataError) -> Loaded<Bar> {
        var report = LoadReport(source: source.name)
        var format = KlineFormat(validation: validation, span: span)
        try readTable(source, into: &format, report: &report)
        for _ in format.bars { report.accept() }
        return Loaded(rows: format.bars, quarantined: format.quarantined, report: report)
    }
}

private struct KlineFormat: TableFormat {
    var bars: [Bar] = []
    var quarantined: [Bar] = []
    private let interval: Interval
    private let span: Range<Timestamp>?
    private var validator: BarValidator
    /// Positions of open time, open, high, low, close, volume.
    private var columns = [0, 1, 2, 3, 4, 5]
    private var names: [String] = []
    private var current = 0

    init(validation: BarValidator.Configuration, span: Range<Timestamp>?) {
        interval = validation.interval
        validator = BarValidator(validation)
        self.span = span
    }

    var columnAtFault: String? { current < names.count ? names[current] : nil }

    mutating func layOut(_ header: [String], headerless: Bool) -> [String] {
        names = ["open_time", "open", "high", "low", "close", "volume"]
        if headerless { return header.count == 12 || header.count == 6 ? [] : names }
        let found = names.map { name in
            header.firstIndex(of: name) ?? (name == "open_time" ? header.firstIndex(of: "open_time_ms") : nil)
        }
        columns = found.map { $0 ?? 0 }
        return zip(names, found).filter { $0.1 == nil }.map(\.0)
    }

    mutating func take(_ row: borrowing Row, _ text: Span<UInt8>) throws(RowFault) -> Bool {
        current = 0
        let openTime = try timestamp(row.integer(columns[0], text))
        if let span, openTime >= span.upperBound { return false }
        current = 1
        let open = try row.double(columns[1], text)
        current = 2
        let high = try row.double(columns[2], text)
        current = 3
        let low = try row.double(columns[3], text)
        current = 4
        let close = try row.double(columns[4], text)
        current = 5
        let volume = try row.double(columns[5], text)
        current = Int.max  // what follows concerns the row
        let bar = Bar(
            openTime: openTime, interval: interval, open: open, high: high, low: low, close: close, volume: volume)
        let isWanted = span?.contains(openTime) ?? true
        do throws(RowFault) {
            try validator.check(bar)
        } catch {
            if error == .priceJump, isWanted { quarantined.append(bar) }
            throw error
        }
        if isWanted { bars.append(bar) }
        return true
    }
}

/// An exchange's stamp in milliseconds or microseconds: the two differ by the factor that separates 1973 from 5138.
func timestamp(_ stamp: Int64) throws(RowFault) -> Timestamp {
    let isMicroseconds = stamp >= 100_000_000_000_000
    guard stamp > 0, stamp < 100_000_000_000_000_000 else { throw .notATime }
    return isMicroseconds ? Timestamp(microseconds: stamp) : Timestamp(milliseconds: stamp)
}
