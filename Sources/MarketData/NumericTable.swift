/// A CSV of numbers under named columns, read whole: reference values, exports. `nan` and empty fields are NaN here,
/// and rows are otherwise as strict as everywhere.
public struct NumericTable: Sendable {
    public let names: [String]
    /// `columns[i][row]` belongs to `names[i]`.
    public let columns: [[Double]]
    public let report: LoadReport

    public init(_ source: RowSource) throws(MarketDataError) {
        var report = LoadReport(source: source.name)
        var format = NumericFormat()
        try readTable(source, into: &format, report: &report)
        names = format.names
        columns = format.columns
        for _ in 0..<(format.columns.first?.count ?? 0) { report.accept() }
        self.report = report
    }

    public subscript(name: String) -> [Double]? { names.firstIndex(of: name).map { columns[$0] } }
}

private struct NumericFormat: TableFormat {
    var names: [String] = []
    var columns: [[Double]] = []
    private var current = 0
    private var values: [Double] = []

    var columnAtFault: String? { current < names.count ? names[current] : nil }

    mutating func layOut(_ header: [String], headerless: Bool) -> [String] {
        guard !headerless else { return ["a header"] }
        names = header
        columns = header.map { _ in [] }
        return []
    }

    mutating func take(_ row: borrowing Row, _ text: Span<UInt8>) throws(RowFault) -> Bool {
        values.removeAll(keepingCapacity: true)
        for column in columns.indices {
            current = column
            do throws(RowFault) {
                values.append(try row.optionalDouble(column, text) ?? .nan)
            } catch {
                guard error == .nonFinite else { throw error }
                values.append(.nan)
            }
        }
        for column in columns.indices { columns[column].append(values[column]) }
        return true
    }
}
