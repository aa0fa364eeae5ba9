public import MarketData

/// One symbol's feature vectors in one block, the batch form: what the engine would hand out one at a time, bit for
/// bit.
public struct FeatureTable: Sendable {
    public let schema: FeatureSchema
    public let symbol: String
    /// The bars' closes, ascending.
    public private(set) var barTimes: [Timestamp] = []
    /// The bars' closing prices, in the quote currency.
    public private(set) var closes: [Double] = []
    /// [rows × D], row-major, in the schema's order; NaN where absent.
    public fileprivate(set) var values: [Double] = []
    /// [rows × D]: why there is no value; `nil` where there is one.
    public fileprivate(set) var absences: [Absence?] = []

    public init(_ schema: FeatureSchema, symbol: String, reserving rows: Int = 0) {
        self.schema = schema
        self.symbol = symbol
        barTimes.reserveCapacity(rows)
        closes.reserveCapacity(rows)
        values.reserveCapacity(rows * schema.count)
        absences.reserveCapacity(rows * schema.count)
    }

    /// Rows that were stored: `values` [rows × D], `validity` one bit a column, least significant bit of the first byte
    /// first, ⌈D/8⌉ bytes a row; columns without a value get the reason `unrecorded`.
    ///
    /// Throws `wrongCount` where the lists do not fit each other, and `invalidInput` for a valid value that is not
    /// finite.
    public init(
        _ schema: FeatureSchema, symbol: String, barTimes: [Timestamp], closes: [Double], values: [Double],
        validity: [UInt8]
    ) throws(FeatureError) {
        let (width, bytes) = (schema.count, (schema.count + 7) / 8)
        guard values.count == barTimes.count * width else {
            throw .wrongCount(expected: barTimes.count * width, found: values.count)
        }
        guard validity.count == barTimes.count * bytes else {
            throw .wrongCount(expected: barTimes.count * bytes, found: validity.count)
        }
        guard closes.count == barTimes.count else { throw .wrongCount(expected: barTimes.count, found: closes.count) }
        self.init(schema, symbol: symbol)
        (self.barTimes, self.closes, self.values) = (barTimes, closes, values)
        absences = [Absence?](repeating: nil, count: values.count)
        for row in barTimes.indices {
            for column in 0..<width {
                let place = row * width + column
                if validity[row * bytes + (column >> 3)] >> UInt8(column & 7) & 1 == 0 {
                    self.values[place] = .nan
                    absences[place] = .unrecorded
                } else if !values[place].isFinite {
                    throw .invalidInput(
                        symbol: symbol, eventTime: barTimes[row],
                        reason: "\(schema.names[column]) is marked valid but not finite")
                }
            }
        }
    }

    public var count: Int { barTimes.count }

    /// Takes all rows out, and keeps the memory for the next ones.
    public mutating func removeAll() {
        barTimes.removeAll(keepingCapacity: true)
        closes.removeAll(keepingCapacity: true)
        values.removeAll(keepingCapacity: true)
        absences.removeAll(keepingCapacity: true)
    }

    /// One column by its place in the schema: `nil` where absent.
    public func column(_ index: Int) -> [Double?] {
        (0..<count).map { row in
            let place = row * schema.count + index
            return absences[place] == nil ? values[place] : nil
        }
    }

    /// A row as a vector; `knownAt` is the bar's close.
    public func vector(_ row: Int) -> FeatureVector {
        let range = row * schema.count..<(row + 1) * schema.count
        return FeatureVector(
            symbol: symbol, barTime: barTimes[row], knownAt: barTimes[row], sequence: 0, close: closes[row],
            schemaVersion: schema.version, values: Array(values[range]), absences: Array(absences[range]))
    }

    /// Adds an empty row and returns where it begins.
    fileprivate mutating func addRow(_ bar: Bar) -> Int {
        let start = values.count
        barTimes.append(bar.closeTime)
        closes.append(bar.close)
        values.append(contentsOf: repeatElement(.nan, count: schema.count))
        absences.append(contentsOf: repeatElement(.missingInput, count: schema.count))
        return start
    }
}

extension FeatureEngine {
    /// `update` into a table: where `event` is a bar of the table's symbol, its row is added. Bars of other traded
    /// symbols are taken in, and their columns not worked out. No allocation once the table has room.
    ///
    /// Throws as `ingest`, and `schemaMismatch` for a table of another schema; nothing is added then.
    public mutating func update(
        _ event: MarketEvent, into table: inout FeatureTable,
        regime: (RegimeObservation) -> RegimePosterior? = { _ in nil }
    ) throws(FeatureError) {
        try schema.require(table.schema.version)
        guard let closed = try accept(event) else { return }
        tracks[closed.track].completed = closed.ticket
        guard tracks[closed.track].symbol == table.symbol else { return }
        let row = table.addRow(closed.bar)
        write(track: closed.track, now: closed.now, row: row, &table.values, &table.absences)
        guard hasDeferred else { return }
        let posterior = closed.observation.flatMap(regime)
        finish(
            track: closed.track, barTime: closed.bar.closeTime, knownAt: closed.now, posterior?.probabilities,
            otherwise: closed.absence, row: row, &table.values, &table.absences)
    }

    private var hasDeferred: Bool { configuration.modules.contains { $0.isDeferred } }

    /// The bars of one market with everything else that is known of it, in the order of `EventMerger`, as one table.
    public static func table(
        of events: [MarketEvent], symbol: String, _ configuration: FeatureConfiguration
    ) throws(FeatureError) -> FeatureTable {
        var engine = try FeatureEngine(configuration)
        var table = FeatureTable(engine.schema, symbol: symbol)
        for event in events { try engine.update(event, into: &table) }
        return table
    }

    /// All bars of one market, known at their closes.
    public static func table(
        of bars: [Bar], symbol: String, _ configuration: FeatureConfiguration
    ) throws(FeatureError) -> FeatureTable {
        let events = bars.enumerated().map { index, bar in
            MarketEvent(
                sequence: UInt64(index + 1), exchange: "", symbol: symbol, eventTime: bar.closeTime,
                knownAt: bar.closeTime, payload: .bar(bar))
        }
        return try table(of: events, symbol: symbol, configuration)
    }
}
