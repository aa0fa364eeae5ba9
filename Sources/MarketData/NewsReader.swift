/// A message and from when it was known.
public struct TimedMessage: Sendable, Equatable {
    public var published: Timestamp
    /// `KnownTimes.message`.
    public var knownAt: Timestamp
    public var message: Message

    public init(published: Timestamp, knownAt: Timestamp, message: Message) {
        self.published = published
        self.knownAt = knownAt
        self.message = message
    }
}

/// Reads texts about the market: JSON lines of articles, and CSV of headlines.
///
/// JSON lines: `id`, `title`, `pub_date`, and where there are `description`, `source`, `first_seen`.
/// CSV: `time_utc`, `text` or `title` or `headline` (title and text are joined), and where there are `source`, `link`
/// or `url`. Labels and scores of such files are made by models and are not read.
public struct NewsReader: Sendable {
    public init() {}

    /// The messages known in `span`, by (`knownAt`, `id`); of messages with one id the first known stays.
    /// The files themselves need no order. Holds all messages; blocks on the file.
    public func read(
        _ source: RowSource, span: Range<Timestamp>? = nil
    ) throws(MarketDataError) -> Loaded<TimedMessage> {
        var report = LoadReport(source: source.name)
        var lines: [(line: Int, message: TimedMessage)] = []
        if try Self.isJSON(source) {
            var reader = try LineReader(source)
            try reader.forEach { line, text, kind in
                guard kind != .whole || !text.isEmpty else { return true }
                do throws(RowFault) {
                    guard kind == .whole else { throw .lineTooLong }
                    lines.append((line, try Self.article(text)))
                } catch {
                    report.refuse(.init(line: line, fault: error))
                }
                return true
            }
        } else {
            var format = HeadlineFormat()
            try readTable(source, into: &format, quoted: true, report: &report)
            lines = format.messages.enumerated().map { ($0.offset, $0.element) }
        }
        lines.sort { a, b in
            (a.message.knownAt, a.message.message.id, a.line) < (b.message.knownAt, b.message.message.id, b.line)
        }
        var seen: Set<String> = []
        var rows: [TimedMessage] = []
        for (_, row) in lines where seen.insert(row.message.id).inserted && span?.contains(row.knownAt) ?? true {
            rows.append(row)
            report.accept()
        }
        return Loaded(rows: rows, report: report)
    }

    /// Whether the first byte opens an object.
    private static func isJSON(_ source: RowSource) throws(MarketDataError) -> Bool {
        var reader = try LineReader(source)
        var isObject = false
        try reader.forEach { _, text, _ in
            guard !text.isEmpty else { return true }
            isObject = text[0] == UInt8(ascii: "{")
            return false
        }
        return isObject
    }

    private static func article(_ text: Span<UInt8>) throws(RowFault) -> TimedMessage {
        guard let object = JSONValue(text), case .object = object else { throw .notJSON }
        guard let title = object["title"]?.string, !title.isEmpty, let date = object["pub_date"]?.string else {
            throw .missingValue
        }
        guard let published = Timestamp(date) else { throw .notATime }
        var firstSeen: Timestamp?
        if let seen = object["first_seen"]?.string {
            guard let time = Timestamp(seen) else { throw .notATime }
            firstSeen = time
        }
        let source = object["source"]?.string ?? ""
        let text = joined(title, object["description"]?.string ?? "")
        return TimedMessage(
            published: published, knownAt: KnownTimes.message(published: published, firstSeen: firstSeen),
            message: .init(
                id: object["id"]?.string ?? identifier(published, source, text), source: source, text: text))
    }

    /// "Title. Text", with one of them where they are equal or one is empty.
    fileprivate static func joined(_ title: String, _ text: String) -> String {
        if text.isEmpty || text == title { return title }
        if title.isEmpty { return text }
        let ending = title.last.map { ".!?:".contains($0) } ?? false
        return title + (ending ? " " : ". ") + text
    }

    /// A stable identity for a message without one: FNV-1a of its time, source and text, in hexadecimal.
    fileprivate static func identifier(_ time: Timestamp, _ source: String, _ text: String) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in "\(time.microseconds)\u{1F}\(source)\u{1F}\(text)".utf8 {
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
        }
        return String(hash, radix: 16)
    }
}

private struct HeadlineFormat: TableFormat {
    var messages: [TimedMessage] = []
    private var time = 0
    private var title: Int?
    private var text: Int?
    private var source: Int?
    private var link: Int?
    private var current: String?

    var columnAtFault: String? { current }

    mutating func layOut(_ header: [String], headerless: Bool) -> [String] {
        func find(_ names: String...) -> Int? { header.firstIndex { names.contains($0) } }
        time = find("time_utc") ?? 0
        title = find("title", "headline")
        text = find("text")
        source = find("source")
        link = find("link", "url")
        var missing: [String] = []
        if find("time_utc") == nil { missing.append("time_utc") }
        if title == nil, text == nil { missing.append("text") }
        return missing
    }

    mutating func take(_ row: borrowing Row, _ bytes: Span<UInt8>) throws(RowFault) -> Bool {
        func string(_ column: Int?) throws(RowFault) -> String {
            guard let column else { return "" }
            return try row.string(column, bytes)
        }
        current = "time_utc"
        guard !row.isEmpty(time) else { throw .missingValue }
        guard let published = Timestamp(try row.string(time, bytes)) else { throw .notATime }
        current = "text"
        let whole = NewsReader.joined(try string(title), try string(text))
        guard !whole.isEmpty else { throw .missingValue }
        current = "source"
        let origin = try string(source)
        let address = try string(link)
        messages.append(
            TimedMessage(
                published: published, knownAt: KnownTimes.message(published: published),
                message: .init(
                    id: address.isEmpty ? NewsReader.identifier(published, origin, whole) : address,
                    source: origin, text: whole)))
        return true
    }
}
