internal import Contract
internal import Features
internal import MarketData
internal import Storage
internal import Trading

/// The stored features of one symbol of a stream, each with its bar, in order of time.
struct FeatureHistory: Sendable {
    let stream: EventRepository.Stream
    let symbol: String
    let schema: FeatureSchema
    private(set) var bars: [Bar] = []
    private var vectors: [FeatureVector] = []

    /// How many days are read at once: about 10,000 vectors.
    private static let chunk = Interval.days(7)
    /// As far before the first bar that is asked for, its window is looked for at first.
    private static let lead = Interval.days(1)

    /// The features are those that this build computes of these modules: a stream whose features are of another schema
    /// has none.
    static func schema(_ modules: [FeatureModuleKind] = FeatureModuleKind.standard) throws -> FeatureSchema {
        var configuration = FeatureConfiguration(traded: [Instrument("BTCUSDT", options: "BTC")])
        configuration.modules = modules
        return try FeatureEngine(configuration).schema
    }

    /// Reads what closed in `from ..< to`, and the `before` rows in front of it as far as there are any.
    ///
    /// Throws `JobError.badData` when the stream or its features are not there, or when features and bars are not of
    /// the same closes and prices.
    init(
        stream name: String, exchange: String?, symbol: String, from: Timestamp, to: Timestamp, before: Int = 0,
        modules: [FeatureModuleKind] = FeatureModuleKind.standard, pool: ConnectionPool
    ) async throws {
        let schema = try Self.schema(modules)
        let (found, isStored) = try await pool.withConnection { connection in
            (
                try EventRepository.stream(name, on: connection),
                try FeatureRepository.schema(schema.version, on: connection) != nil
            )
        }
        guard let stream = found else { throw JobError.badData("no stream “\(name)”") }
        if let exchange, exchange != stream.exchange {
            throw JobError.badData("the stream “\(name)” is of \(stream.exchange), not of \(exchange)")
        }
        guard stream.symbols.contains(symbol) else { throw JobError.badData("the stream “\(name)” has no \(symbol)") }
        guard isStored else { throw JobError.badData("no features of schema \(schema.version) have been stored yet") }
        self.stream = stream
        self.symbol = symbol
        self.schema = schema
        try await read(from: from, to: to, pool)
        guard !vectors.isEmpty else {
            throw JobError.badData("the stream “\(name)” has no features of \(symbol) from \(from) to \(to)")
        }
        if before > 0 { try await readLead(before, from, pool) }
        try await readBars(pool)
    }

    var count: Int { bars.count }
    var interval: Interval { bars[0].interval }

    /// The rows of bars that closed in `from ..< to`.
    func rows(from: Timestamp, to: Timestamp) -> Range<Int> {
        func first(_ time: Timestamp) -> Int {
            var (low, high) = (0, vectors.count)
            while low < high {
                let middle = (low + high) / 2
                if vectors[middle].barTime < time { low = middle + 1 } else { high = middle }
            }
            return low
        }
        let start = first(from)
        return start..<max(start, first(to))
    }

    /// Statistics of these rows alone.
    func normaliser(of rows: Range<Int>) throws -> Normaliser {
        var learning = try LearningNormaliser(schema)
        for row in rows { try learning.observe(vectors[row]) }
        return learning.freeze()
    }

    /// All rows, normalised: 0 and mask 0 for what is missing.
    func series(_ normaliser: Normaliser) throws -> MarketSeries {
        var features: [Float] = []
        var mask: [UInt8] = []
        features.reserveCapacity(vectors.count * normaliser.count)
        mask.reserveCapacity(vectors.count * normaliser.count)
        for vector in vectors {
            let row = try normaliser.normalise(vector)
            features.append(contentsOf: row.values)
            mask.append(contentsOf: row.mask)
        }
        return try MarketSeries(
            symbol: symbol, bars: bars, featureCount: normaliser.count, features: features, mask: mask)
    }

    // MARK: Reading

    private mutating func read(from: Timestamp, to: Timestamp, _ pool: ConnectionPool) async throws {
        // Nothing closes outside the stream; the day more is for the last bar.
        var start = max(from, stream.from)
        let end = min(to, stream.to + .days(1))
        while start < end {
            let next = min(start + Self.chunk, end)
            vectors += try await chunk(from: start, to: next, pool)
            start = next
        }
    }

    private mutating func readLead(_ count: Int, _ from: Timestamp, _ pool: ConnectionPool) async throws {
        guard stream.from < from else { return }
        var rows = try await chunk(from: max(stream.from, from - Self.lead), to: from, pool)
        if rows.count < count, stream.from < from - Self.lead {
            // A long gap lies before it.
            rows = try await chunk(from: stream.from, to: from, pool)
        }
        vectors = rows.suffix(count) + vectors
    }

    private func chunk(from: Timestamp, to: Timestamp, _ pool: ConnectionPool) async throws -> [FeatureVector] {
        let (stream, symbol, schema) = (stream.name, symbol, schema)
        let block = try await pool.withConnection { connection in
            try FeatureRepository.block(
                stream: stream, schema: schema.version, symbol: symbol, from: from, to: to, on: connection)
        }
        let bytes = (block.width + 7) / 8
        return try (0..<block.count).map { row in
            try FeatureVector(
                symbol: symbol, barTime: block.barTimes[row], knownAt: block.barTimes[row],
                sequence: UInt64(block.sequences[row]), close: block.closes[row], schemaVersion: schema.version,
                values: Array(block.values[row * block.width..<(row + 1) * block.width]),
                validity: Array(block.valid[row * bytes..<(row + 1) * bytes]), schema: schema)
        }
    }

    /// The bars of the vectors: exactly one each.
    private mutating func readBars(_ pool: ConnectionPool) async throws {
        guard let first = vectors.first, let last = vectors.last else { return }
        let (exchange, symbol, interval) = (stream.exchange, symbol, FeatureConfiguration.barInterval)
        bars = try await pool.withConnection { connection in
            try BarRepository.bars(
                exchange: exchange, symbol: symbol, interval: interval, from: first.barTime - interval,
                to: last.barTime, on: connection)
        }
        for (bar, vector) in zip(bars, vectors) where bar.closeTime != vector.barTime || bar.close != vector.close {
            throw JobError.badData(
                "bars and features of \(symbol) do not fit together: a bar closed at \(bar.closeTime) at \(bar.close), "
                    + "a feature vector is of \(vector.barTime) and \(vector.close)")
        }
        guard bars.count == vectors.count else {
            throw JobError.badData("\(vectors.count) feature vectors of \(symbol) have \(bars.count) bars")
        }
    }
}

extension FeatureConfiguration {
    /// The length of the bars that features are computed of.
    fileprivate static var barInterval: Interval { FeatureConfiguration(traded: [Instrument("BTCUSDT")]).interval }
}

extension InstrumentRules {
    /// A symbol's rules as they were when the stream began, which its account trades by too. Throws `JobError.badData`
    /// when there are none.
    static func stored(
        _ symbol: String, of stream: EventRepository.Stream, pool: ConnectionPool
    ) async throws -> InstrumentRules {
        let all = try await pool.withConnection {
            try InstrumentRepository.instruments(exchange: stream.exchange, at: stream.from, on: $0)
        }
        guard let stored = all.first(where: { $0.symbol == symbol }) else {
            throw JobError.badData("no trading rules are stored for \(symbol) on \(stream.exchange)")
        }
        return try InstrumentRules(stored)
    }
}
