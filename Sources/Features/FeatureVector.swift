public import MarketData

/// Why a column has no value.
public enum Absence: UInt8, Sendable, CaseIterable {
    /// Not enough bars yet, since the start or since a long gap.
    case warmUp = 1
    /// The input has never been there.
    case missingInput = 2
    /// The newest input is older than its tolerance.
    case staleInput = 3
    /// The book is crossed, one-sided or not finite.
    case brokenBook = 4
    /// All inputs are there, but the formula has no value: nothing moved, nobody traded.
    case undefined = 5
    /// The vector was read from where only the mask is stored.
    case unrecorded = 6
}

/// One symbol's features at one bar's close: a value or a reason for each column of a schema.
public struct FeatureVector: Sendable {
    public var symbol: String
    /// The bar's close: with the symbol, the vector's key.
    public var barTime: Timestamp
    /// From when it could be known: the latest `knownAt` of all that went into it. Never before `barTime`.
    public var knownAt: Timestamp
    /// Of the market event that completed it.
    public var sequence: UInt64
    /// The bar's closing price, in the quote currency: for execution and reports; not a column.
    public var close: Double
    public let schemaVersion: String
    /// In the schema's order; NaN where absent.
    public internal(set) var values: [Double]
    /// `nil` where there is a value.
    public internal(set) var absences: [Absence?]

    init(
        symbol: String, barTime: Timestamp, knownAt: Timestamp, sequence: UInt64, close: Double, schemaVersion: String,
        values: [Double], absences: [Absence?]
    ) {
        self.symbol = symbol
        self.barTime = barTime
        self.knownAt = knownAt
        self.sequence = sequence
        self.close = close
        self.schemaVersion = schemaVersion
        self.values = values
        self.absences = absences
    }

    /// A vector as stored or sent. `validity`: one bit a column, least significant bit of the first byte first, 1 where
    /// there is a value; columns without one get the reason `unrecorded`.
    ///
    /// Throws `schemaMismatch`, `wrongCount`, and `invalidInput` for a valid value that is not finite.
    public init(
        symbol: String, barTime: Timestamp, knownAt: Timestamp, sequence: UInt64, close: Double, schemaVersion: String,
        values: [Double], validity: [UInt8], schema: FeatureSchema
    ) throws(FeatureError) {
        try schema.require(schemaVersion)
        guard values.count == schema.count else { throw .wrongCount(expected: schema.count, found: values.count) }
        let byteCount = (schema.count + 7) / 8
        guard validity.count == byteCount else { throw .wrongCount(expected: byteCount, found: validity.count) }
        var kept = values
        var absences = [Absence?](repeating: nil, count: values.count)
        for index in values.indices {
            if validity[index >> 3] >> UInt8(index & 7) & 1 == 0 {
                kept[index] = .nan
                absences[index] = .unrecorded
            } else if !values[index].isFinite {
                throw .invalidInput(
                    symbol: symbol, eventTime: barTime, reason: "\(schema.names[index]) is marked valid but not finite")
            }
        }
        self.init(
            symbol: symbol, barTime: barTime, knownAt: knownAt, sequence: sequence, close: close,
            schemaVersion: schemaVersion, values: kept, absences: absences)
    }

    /// Column `index` of the schema's order; `nil` where absent.
    public subscript(index: Int) -> Double? { absences[index] == nil ? values[index] : nil }

    /// The named column. Throws `unknownFeature`, and `schemaMismatch` when this vector is of another schema.
    public func value(_ name: String, in schema: FeatureSchema) throws(FeatureError) -> Double? {
        self[try index(name, in: schema)]
    }

    /// Why the named column is absent; `nil` where there is a value. Throws as `value` does.
    public func absence(_ name: String, in schema: FeatureSchema) throws(FeatureError) -> Absence? {
        absences[try index(name, in: schema)]
    }

    private func index(_ name: String, in schema: FeatureSchema) throws(FeatureError) -> Int {
        try schema.require(schemaVersion)
        guard let index = schema.index(of: name) else { throw .unknownFeature(name: name) }
        return index
    }

    /// One bit a column, least significant bit of the first byte first: 1 where there is a value.
    public var validity: [UInt8] {
        var bits = [UInt8](repeating: 0, count: (values.count + 7) / 8)
        for index in absences.indices where absences[index] == nil { bits[index >> 3] |= 1 << UInt8(index & 7) }
        return bits
    }

    /// How many columns have a value.
    public var validCount: Int { absences.reduce(0) { $0 + ($1 == nil ? 1 : 0) } }
}

extension FeatureVector: Equatable {
    /// The same key, schema, reasons and, bit for bit, values.
    public static func == (a: FeatureVector, b: FeatureVector) -> Bool {
        a.symbol == b.symbol && a.barTime == b.barTime && a.knownAt == b.knownAt && a.sequence == b.sequence
            && a.close.bitPattern == b.close.bitPattern && a.schemaVersion == b.schemaVersion
            && a.absences == b.absences
            && a.values.elementsEqual(b.values) { $0.bitPattern == $1.bitPattern }
    }
}
