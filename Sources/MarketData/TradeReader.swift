/// Reads public trades: CSV with `trade_id` (or `agg_trade_id`, `id`), `price`, `quantity` (or `qty`), `time_ms` (or
/// `time`, `transact_time`) and `is_buyer_maker`, in the order of their numbers; other columns are ignored.
///
/// Stamps are in milliseconds, or in microseconds where they are too large for that.
public struct TradeReader: Sendable {
    public init() {}

    /// The trades in `span`, in order. O(rows); blocks on the file.
    public func read(
        _ source: RowSource, span: Range<Timestamp>? = nil
    ) throws(MarketDataError) -> Loaded<Stamped<PublicTrade>> {
        var report = LoadReport(source: source.name)
        var format = TradeFormat(span: span)
        try readTable(source, into: &format, report: &report)
        for _ in format.trades { report.accept() }
        return Loaded(rows: format.trades, report: report)
    }
}

private struct TradeFormat: TableFormat {
    var trades: [Stamped<PublicTrade>] = []
    private let span: Range<Timestamp>?
    private var positions: [Int] = []
    private var current = 0
    private var last: Stamped<PublicTrade>?

    private static let names = [
        ["trade_id", "agg_trade_id", "id"], ["price"], ["quantity", "qty"], ["time_ms", "time", "transact_time"],
        ["is_buyer_maker"],
    ]

    init(span: Range<Timestamp>?) { self.span = span }

    var columnAtFault: String? { current < Self.names.count ? Self.names[current][0] : nil }

    mutating func layOut(_ header: [String], headerless: Bool) -> [String] {
        if headerless { return Self.names.map { $0[0] } }
        let found = Self.names.map { names in names.compactMap { header.firstIndex(of: $0) }.first }
        positions = found.map { $0 ?? 0 }
        return zip(Self.names, found).filter { $0.1 == nil }.map { $0.0[0] }
    }

    mutating func take(_ row: borrowing Row, _ text: Span<UInt8>) throws(RowFault) -> Bool {
        current = 0
        let id = try row.integer(positions[0], text)
        current = 3
        let time = try timestamp(row.integer(positions[3], text))
        if let span, time >= span.upperBound { return false }
        current = 1
        let price = try row.double(positions[1], text)
        guard price > 0 else { throw .notPositive }
        current = 2
        let quantity = try row.double(positions[2], text)
        guard quantity > 0 else { throw .notPositive }
        current = 4
        let isBuyerMaker: Bool
        switch try row.string(positions[4], text) {
        case "true", "True": isBuyerMaker = true
        case "false", "False": isBuyerMaker = false
        default: throw .outOfRange
        }
        current = Int.max  // what follows concerns the row
        let trade = Stamped(
            time: time, value: PublicTrade(id: id, price: price, quantity: quantity, isBuy: !isBuyerMaker))
        if let last {
            if id == last.value.id { throw trade == last ? .duplicate : .conflictingDuplicate }
            guard id > last.value.id, time >= last.time else { throw .timeBackwards }
        }
        last = trade
        if span?.contains(time) ?? true { trades.append(trade) }
        return true
    }
}
