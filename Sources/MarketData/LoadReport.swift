/// Why one row was not taken.
public enum RowFault: String, Error, Sendable, Hashable, CaseIterable {
    /// Fewer or more fields than the header has, or broken quotes.
    case wrongFieldCount, brokenQuotes
    case lineTooLong, notUTF8, notJSON
    /// A field that must be there is empty or absent.
    case missingValue
    case notANumber, notATime, notAnInstrument
    case nonFinite
    case negativeVolume, negativeValue
    /// Zero or less, where a price must be.
    case notPositive
    case lowAboveHigh, openOutsideRange, closeOutsideRange
    /// Beyond what the quantity can be: a rate of 100 % and more, an index above 100, a volatility in percent.
    case outOfRange
    case bidAboveAsk
    /// A time that is not a multiple of the series' interval.
    case misaligned
    case timeBackwards
    /// The same time or name again, with the same content or with other content. The first one stays.
    case duplicate, conflictingDuplicate
    /// An option that had expired when it was quoted.
    case expired
    /// Farther from the last accepted price than the configured bound: quarantined, not rejected.
    case priceJump
}

/// One row that was not taken, for a message that leads to the line.
public struct RowIssue: Sendable, Equatable {
    /// From 1, the header included.
    public var line: Int
    public var fault: RowFault
    /// The column at fault, where it is one.
    public var column: String?

    public init(line: Int, fault: RowFault, column: String? = nil) {
        self.line = line
        self.fault = fault
        self.column = column
    }
}

extension RowIssue: CustomStringConvertible {
    public var description: String { "line \(line): \(fault.rawValue)" + (column.map { " in \($0)" } ?? "") }
}

/// What became of the rows of one source.
public struct LoadReport: Sendable, Equatable {
    /// At most this many issues are kept; all are counted.
    public static let maximumIssues = 100

    /// The file's path.
    public var source: String
    /// Good rows, those outside the asked span not counted.
    public private(set) var accepted = 0
    public private(set) var rejected = 0
    public private(set) var quarantined = 0
    /// The first `maximumIssues`, in the order of the lines.
    public private(set) var issues: [RowIssue] = []
    public private(set) var counts: [RowFault: Int] = [:]

    public init(source: String) { self.source = source }

    /// Whether every row was taken.
    public var isClean: Bool { rejected == 0 && quarantined == 0 }

    mutating func accept() { accepted += 1 }

    mutating func refuse(_ issue: RowIssue) {
        if issue.fault == .priceJump { quarantined += 1 } else { rejected += 1 }
        counts[issue.fault, default: 0] += 1
        if issues.count < Self.maximumIssues { issues.append(issue) }
    }
}

/// The good rows of one source, the doubtful ones, and the account of all.
public struct Loaded<Row: Sendable>: Sendable {
    public var rows: [Row]
    /// Rows beyond the price-jump bound: for a human to judge, not part of the series.
    public var quarantined: [Row]
    public var report: LoadReport

    public init(rows: [Row], quarantined: [Row] = [], report: LoadReport) {
        self.rows = rows
        self.quarantined = quarantined
        self.report = report
    }
}
