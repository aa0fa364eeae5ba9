/// Reads snapshots of Deribit option chains: CSV with `snapshot_ms, instrument_name, underlying_price, index_price,
/// bid_price, ask_price, mark_price` (in coin), `mark_iv` (a **fraction**), `open_interest, volume`; empty is absent.
///
/// Rows with one `snapshot_ms` form one `OptionChain`. The rows of a snapshot are not simultaneous (it was polled for
/// 10 to 20 minutes), so each quote keeps its own forward, the chain's index price is the median of its rows, and the
/// chain is known from `KnownTimes.chain` only.
public struct ChainReader: Sendable {
    /// Above this a volatility is taken for one in percent and refused: 1000 %.
    public static let maximumVolatility = 10.0

    public init() {}

    /// Calls `body` with each chain whose snapshot time is in `span`, in time order, holding one chain at a time, until
    /// it returns false. The report counts quotes.
    public func forEach(
        _ source: RowSource, span: Range<Timestamp>? = nil, _ body: @escaping (OptionChain) -> Bool
    ) throws(MarketDataError) -> LoadReport {
        var report = LoadReport(source: source.name)
        var format = ChainFormat(span: span, deliver: body)
        try readTable(source, into: &format, report: &report)
        format.finish()
        for _ in 0..<format.accepted { report.accept() }
        return report
    }

    /// All chains in `span`.
    public func read(
        _ source: RowSource, span: Range<Timestamp>? = nil
    ) throws(MarketDataError) -> Loaded<OptionChain> {
        var report = LoadReport(source: source.name)
        var format = ChainFormat(span: span, deliver: nil)
        try readTable(source, into: &format, report: &report)
        format.finish()
        for _ in 0..<format.accepted { report.accept() }
        return Loaded(rows: format.chains, report: report)
    }
}

/// What Deribit's name of an option says: `BTC-27MAR26-90000-C`, `XRP_USDC-30JUN26-1d2-P` (d is the decimal point).
public struct OptionInstrument: Sendable, Equatable {
    public var currency: String
    /// 08:00 UTC of its day.
    public var expiry: Timestamp
    public var strike: Double
    public var kind: OptionQuote.Kind

    /// `nil` for anything that is not such a name, days that do not exist included.
    public init?(_ name: String) {
        let parts = name.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard parts.count == 4, !parts[0].isEmpty, parts[0].count <= 16, let expiry = Self.expiry(Array(parts[1])),
            let strike = Self.strike(Array(parts[2])), strike > 0
        else { return nil }
        switch Substring(parts[3]) {
        case "C": kind = .call
        case "P": kind = .put
        default: return nil
        }
        currency = String(Substring(parts[0]))
        self.expiry = expiry
        self.strike = strike
    }

    private static func strike(_ text: [UInt8]) -> Double? {
        guard !text.isEmpty, text.count <= 16 else { return nil }
        let plain = text.map { $0 == UInt8(ascii: "d") ? UInt8(ascii: ".") : $0 }
        guard plain.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 || $0 == UInt8(ascii: ".") }) else { return nil }
        return try? decimal(plain.span, 0..<plain.count)
    }

    private static let months = [
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ].map { Array($0.utf8) }

    /// `5JAN26`, `27MAR26`.
    private static func expiry(_ text: [UInt8]) -> Timestamp? {
        guard text.count == 6 || text.count == 7 else { return nil }
        let digits = text.count - 5
        var day: Int64 = 0
        var year: Int64 = 0
        for byte in text[..<digits] {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            day = day * 10 + Int64(byte - 0x30)
        }
        for byte in text[(digits + 3)...] {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            year = year * 10 + Int64(byte - 0x30)
        }
        guard let month = months.firstIndex(of: Array(text[digits..<(digits + 3)])), day >= 1 else { return nil }
        let days = Timestamp.days(2000 + year, Int64(month + 1), day)
        guard Timestamp.civil(daysSince1970: days) == (2000 + year, Int64(month + 1), day) else { return nil }
        return Timestamp(seconds: days * 86_400) + .hours(8)
    }

    /// The name of such an option, `init(_:)`'s inverse.
    public static func name(currency: String, expiry: Timestamp, strike: Double, kind: OptionQuote.Kind) -> String {
        let days = expiry.floored(to: .days(1)).microseconds / 86_400_000_000
        let (year, month, day) = Timestamp.civil(daysSince1970: days)
        let short = year % 100
        let level = strike == strike.rounded() && strike < 1e15
            ? String(Int64(strike)) : String(strike.description.map { $0 == "." ? "d" : $0 })
        let monthName = String(decoding: months[Int(month - 1)], as: UTF8.self)
        return "\(currency)-\(day)\(monthName)\(short < 10 ? "0" : "")\(short)-\(level)-\(kind == .call ? "C" : "P")"
    }
}

private struct ChainFormat: TableFormat {
    private static let names = [
        "snapshot_ms", "instrument_name", "underlying_price", "index_price", "bid_price", "ask_price", "mark_price",
        "mark_iv", "open_interest", "volume",
    ]

    var chains: [OptionChain] = []
    var accepted = 0
    private let span: Range<Timestamp>?
    private let deliver: ((OptionChain) -> Bool)?
    private var positions: [Int] = []
    private var current = 0
    private var snapshot: Timestamp?
    private var currency = ""
    private var quotes: [OptionQuote] = []
    private var indexPrices: [Double] = []
    private var seen: Set<String> = []
    private var isStopped = false

    init(span: Range<Timestamp>?, deliver: ((OptionChain) -> Bool)?) {
        self.span = span
        self.deliver = deliver
    }

    var columnAtFault: String? { current < Self.names.count ? Self.names[current] : nil }

    mutating func layOut(_ header: [String], headerless: Bool) -> [String] {
        let found = Self.names.map { header.firstIndex(of: $0) }
        positions = found.map { $0 ?? 0 }
        return zip(Self.names, found).filter { $0.1 == nil }.map(\.0)
    }

    mutating func take(_ row: borrowing Row, _ text: Span<UInt8>) throws(RowFault) -> Bool {
        current = 0
        let time = try timestamp(row.integer(positions[0], text))
        if let span, time >= span.upperBound { return false }
        if let snapshot, time < snapshot { throw .timeBackwards }
        if let span, time < span.lowerBound { return true }
        if time != snapshot {
            finish()
            snapshot = time
            guard !isStopped else { return false }
        }
        current = 1
        let name = try row.string(positions[1], text)
        guard let instrument = OptionInstrument(name) else { throw .notAnInstrument }
        guard quotes.isEmpty || instrument.currency == currency else { throw .notAnInstrument }
        guard instrument.expiry > time else { throw .expired }
        current = 2
        let underlying = try row.double(positions[2], text)
        guard underlying > 0 else { throw .notPositive }
        current = 3
        let index = try row.double(positions[3], text)
        guard index > 0 else { throw .notPositive }
        var optional: (Double?, Double?, Double?, Double?, Double?, Double?)
        optional.0 = try nonNegative(4, row, text)
        optional.1 = try nonNegative(5, row, text)
        optional.2 = try nonNegative(6, row, text)
        optional.3 = try nonNegative(7, row, text)
        optional.4 = try nonNegative(8, row, text)
        optional.5 = try nonNegative(9, row, text)
        current = 7
        guard optional.3 ?? 0 <= ChainReader.maximumVolatility else { throw .outOfRange }
        current = 4
        if let bid = optional.0, let ask = optional.1, bid > ask { throw .bidAboveAsk }
        current = 1
        guard seen.insert(name).inserted else { throw .duplicate }
        currency = instrument.currency
        indexPrices.append(index)
        quotes.append(
            OptionQuote(
                instrument: name, kind: instrument.kind, strike: instrument.strike, expiry: instrument.expiry,
                underlyingPrice: underlying, bidPriceCoin: optional.0, askPriceCoin: optional.1,
                // A volatility of 0 is Deribit's way to say that there is none.
                markPriceCoin: optional.2, markVolatility: optional.3 == 0 ? nil : optional.3,
                openInterest: optional.4, volume: optional.5))
        return true
    }

    private mutating func nonNegative(
        _ column: Int, _ row: borrowing Row, _ text: Span<UInt8>
    ) throws(RowFault) -> Double? {
        current = column
        let value = try row.optionalDouble(positions[column], text)
        guard value ?? 0 >= 0 else { throw .negativeValue }
        return value
    }

    /// Delivers the chain under construction.
    mutating func finish() {
        guard let time = snapshot, !quotes.isEmpty, !isStopped else { return }
        indexPrices.sort()
        let middle = indexPrices.count / 2
        let median = indexPrices.count % 2 == 1
            ? indexPrices[middle] : (indexPrices[middle - 1] + indexPrices[middle]) / 2
        let chain = OptionChain(currency: currency, snapshotTime: time, indexPrice: median, quotes: quotes)
        accepted += quotes.count
        if let deliver { isStopped = !deliver(chain) } else { chains.append(chain) }
        quotes.removeAll(keepingCapacity: true)
        indexPrices.removeAll(keepingCapacity: true)
        seen.removeAll(keepingCapacity: true)
    }
}
