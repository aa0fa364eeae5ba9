internal import Contract
internal import Heston
internal import MarketData
internal import Simulation
internal import Storage
internal import Trading
internal import VommaProto

/// Puts recorded and simulated history into the database, the same way for both. Everything is an upsert on natural
/// keys: loading twice, or again after a crash, changes nothing.
struct HistoryLoader: Sendable {
    let pool: ConnectionPool

    /// Rows of one transaction.
    private static let chunk = 20_000

    /// Loads a folder's files. `report` is told how far it is, item by item.
    func load(
        folder: HistoryFolder, symbols: [String], currencies: [String], span: Range<Timestamp>,
        report: (LoadProgress) async throws -> Void
    ) async throws {
        let steps = Double(symbols.count + currencies.count)
        var done = 0.0
        for symbol in symbols {
            // The market-wide inputs come with the first symbol.
            let history = try folder.history(symbols: [symbol], currency: nil, span: span)
            let isFirst = symbol == symbols.first
            try await store(history, marketWide: isFirst, from: done / steps, to: (done + 1) / steps, report: report)
            done += 1
        }
        for currency in currencies {
            let loaded = try folder.chains(currency, span: (span.lowerBound - .days(1))..<span.upperBound)
            try await store(
                loaded.rows, exchange: "deribit", loaded.report, from: done / steps, to: (done + 1) / steps,
                report: report)
            done += 1
        }
    }

    /// Simulates a market and loads it.
    func load(
        _ market: SimulatedMarket, exchange: String, report: (LoadProgress) async throws -> Void
    ) async throws {
        try await store(market.history, marketWide: true, from: 0, to: 0.7, report: report)
        try await store(
            market.history.chains, exchange: exchange, nil, from: 0.7, to: 1, report: report)
    }

    // MARK: Storing

    private func store(
        _ history: History, marketWide: Bool, from: Double, to: Double,
        report: (LoadProgress) async throws -> Void
    ) async throws {
        let count = Double(max(1, history.sources.count))
        for (index, source) in history.sources.enumerated() {
            guard let first = source.first, marketWide || !first.symbol.isEmpty else { continue }
            let loadReport = index < history.reports.count ? history.reports[index] : nil
            var progress = LoadProgress(item: Self.item(first), first: source.first, last: source.last, loadReport)
            for start in stride(from: 0, to: source.count, by: Self.chunk) {
                let events = Array(source[start..<min(start + Self.chunk, source.count)])
                try await pool.withTransaction { connection in try Self.insert(events, on: connection) }
                progress.rowsStored += UInt64(events.count)
                let part = (Double(index) + Double(start + events.count) / Double(source.count)) / count
                progress.fraction = from + (to - from) * part
                progress.finished = start + events.count == source.count
                try await report(progress)
            }
            if case .bar(let bar) = first.payload {
                try await storeRules(first.exchange, first.symbol, price: bar.close)
            }
        }
    }

    private func store(
        _ chains: [MarketData.OptionChain], exchange: String, _ loadReport: LoadReport?, from: Double, to: Double,
        report: (LoadProgress) async throws -> Void
    ) async throws {
        guard let first = chains.first, let last = chains.last else { return }
        var progress = LoadProgress(item: "option chains \(first.currency)", first: nil, last: nil, loadReport)
        progress.firstMicroseconds = first.snapshotTime.microseconds
        progress.lastMicroseconds = last.snapshotTime.microseconds
        let size = 20
        for start in stride(from: 0, to: chains.count, by: size) {
            let part = Array(chains[start..<min(start + size, chains.count)])
            try await pool.withTransaction { connection in
                for chain in part {
                    try OptionRepository.insert(
                        chain, exchange: exchange, knownAt: KnownTimes.chain(snapshotTime: chain.snapshotTime),
                        on: connection)
                }
            }
            progress.rowsStored += UInt64(part.reduce(0) { $0 + $1.quotes.count })
            progress.fraction = from + (to - from) * Double(start + part.count) / Double(chains.count)
            progress.finished = start + part.count == chains.count
            try await report(progress)
        }
    }

    /// The exchange's trading rules: recorded ones where there are some, else rules like those of listed coins.
    private func storeRules(_ exchange: String, _ symbol: String, price: Double) async throws {
        let rules: InstrumentRules
        if exchange == "binance", let recorded = InstrumentRules.binanceSpot(symbol) {
            rules = recorded
        } else {
            rules = try InstrumentRules.simulated(symbol, price: price)
        }
        let instrument = InstrumentRepository.Instrument(rules, exchange: exchange)
        try await pool.withConnection { try InstrumentRepository.upsert([instrument], on: $0) }
    }

    private static func item(_ event: MarketData.MarketEvent) -> String {
        switch event.payload {
        case .bar: "bars \(event.symbol)"
        case .bookTop: "book tops \(event.symbol)"
        case .bookDepth: "book depths \(event.symbol)"
        case .trade: "trades \(event.symbol)"
        case .surface: "surfaces \(event.symbol)"
        case .fundingRate: "funding \(event.symbol)"
        case .openInterest: "open interest \(event.symbol)"
        case .fearGreed: "fear & greed"
        case .message: "messages"
        }
    }

    /// Events of one source: all of one kind, symbol and exchange.
    private static func insert(
        _ events: [MarketData.MarketEvent], on connection: isolated Connection
    ) throws(StorageError) {
        guard let first = events.first else { return }
        let (exchange, symbol) = (first.exchange, first.symbol)
        func dated<T: Sendable & Equatable>(_ value: (MarketData.MarketEvent.Payload) -> T?) -> [Dated<T>] {
            events.compactMap { event in
                value(event.payload).map { Dated(eventTime: event.eventTime, knownAt: event.knownAt, value: $0) }
            }
        }
        switch first.payload {
        case .bar:
            let bars = dated { if case .bar(let bar) = $0 { bar } else { nil } }.map(\.value)
            try BarRepository.upsert(bars, exchange: exchange, symbol: symbol, on: connection)
        case .bookTop:
            try MarketHistoryRepository.insert(
                bookTops: dated { if case .bookTop(let top) = $0 { top } else { nil } }, exchange: exchange,
                symbol: symbol, on: connection)
        case .bookDepth, .trade:
            throw .encoding(column: "payload", reason: "the history of trades and of book depths is not kept")
        case .fundingRate:
            try MarketHistoryRepository.insert(
                fundingRates: dated { if case .fundingRate(let rate) = $0 { rate } else { nil } }, exchange: exchange,
                symbol: symbol, on: connection)
        case .openInterest:
            try MarketHistoryRepository.insert(
                openInterest: dated { if case .openInterest(let interest) = $0 { interest } else { nil } },
                exchange: exchange, symbol: symbol, on: connection)
        case .fearGreed:
            try MarketHistoryRepository.insert(
                fearGreed: dated { if case .fearGreed(let value) = $0 { value } else { nil } }, on: connection)
        case .message:
            try MarketHistoryRepository.insert(
                messages: dated { if case .message(let message) = $0 { message } else { nil } }, symbol: symbol,
                on: connection)
        case .surface:
            for surface in dated({ if case .surface(let surface) = $0 { surface } else { nil } }) {
                try OptionRepository.insert(surface, exchange: exchange, currency: symbol, on: connection)
            }
        }
    }
}

extension LoadProgress {
    /// The beginning of an item's reports.
    init(item: String, first: MarketData.MarketEvent?, last: MarketData.MarketEvent?, _ report: LoadReport?) {
        self.init()
        self.item = item
        firstMicroseconds = first?.knownAt.microseconds ?? 0
        lastMicroseconds = last?.knownAt.microseconds ?? 0
        rowsRefused = UInt64((report?.rejected ?? 0) + (report?.quarantined ?? 0))
        refusals = report?.issues.prefix(10).map(\.description) ?? []
    }
}
