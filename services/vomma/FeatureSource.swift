internal import ArgumentParser
internal import Features
internal import Foundation
internal import MarketData

/// Where bars come from, and which columns are wanted of them.
struct FeatureSource: ParsableArguments {
    @Argument(help: "A CSV file of candles, plain or gzip: open_time_ms, open, high, low, close, volume.")
    var file: String?
    @Option(help: "The symbol; otherwise what the file's name begins with.")
    var symbol: String?
    @Option(help: "The candles' length: 1m, 15m, 1h; otherwise what the file's name says, or 1m.")
    var interval: String?
    @Option(help: "The modules, with commas between them; `vomma features list` names them.")
    var modules = "market,v2,session"
    @Option(help: "A CSV file of trades for the module flow: trade_id, price, quantity, time_ms, is_buyer_maker.")
    var trades: String?
    @Option(
        help: "A recording of Binance's streams (trades, quotes, depths) for the module flow; without candles they are made from its trades."
    )
    var ticks: String?
    @Option(help: "From this time on, such as 2026-01-01.")
    var from: String?
    @Option(help: "Until this time.")
    var to: String?

    private var stem: [Substring] {
        let name = ((file ?? "") as NSString).lastPathComponent
        return name.prefix { $0 != "." }.split(separator: "_")
    }

    var symbolName: String { symbol ?? stem.first.map(String.init) ?? "SYMBOL" }

    func configuration() throws -> FeatureConfiguration {
        let kinds: [FeatureModuleKind]
        do throws(FeatureError) { kinds = try FeatureModuleKind.list(modules) } catch {
            throw ValidationError("--modules: \(error)")
        }
        let instrument = Instrument(symbolName)
        var configuration = FeatureConfiguration(traded: [instrument], reference: instrument)
        configuration.modules = kinds
        configuration.interval = try barInterval()
        return configuration
    }

    private func barInterval() throws -> Interval {
        if let interval {
            guard let found = Interval(name: interval) else {
                throw ValidationError("--interval is such as 1m, 15m, 4h or 1d")
            }
            return found
        }
        return stem.dropFirst().lazy.compactMap { Interval(name: $0) }.first ?? .minutes(1)
    }

    func span() throws -> Range<Timestamp>? {
        guard from != nil || to != nil else { return nil }
        func time(_ text: String?, _ option: String, otherwise: Timestamp) throws -> Timestamp {
            guard let text else { return otherwise }
            guard let time = Timestamp(text) else {
                throw ValidationError("\(option) is such as 2026-01-31 or 2026-01-31T12:00:00Z")
            }
            return time
        }
        let first = try time(from, "--from", otherwise: Timestamp(seconds: 0))
        let last = try time(to, "--to", otherwise: Timestamp(seconds: 1 << 36))
        guard first < last else { throw ValidationError("--to is not after --from") }
        return first..<last
    }

    /// The bars; what is wrong with the file is told on the terminal.
    private func bars(_ span: Range<Timestamp>?) throws -> [Bar] {
        guard let file else { throw ValidationError("a file of candles or --ticks is missing") }
        let loaded = try KlineReader(interval: try barInterval()).read(.file(path: file), span: span)
        Self.tell(loaded.report, Terminal())
        guard !loaded.rows.isEmpty else { throw ValidationError("no candle in \(file)") }
        return loaded.rows
    }

    /// What was not taken: each of the first ten rows with its line and reason.
    private static func tell(_ report: LoadReport, _ terminal: Terminal) {
        guard !report.isClean else { return }
        let refused = report.rejected + report.quarantined
        terminal.note("\(report.source): \(refused) rows refused, \(report.accepted) taken")
        for issue in report.issues.prefix(10) { terminal.note("  \(issue)") }
        if refused > 10 { terminal.note("  …") }
    }

    /// What the files tell, in order, and all columns of all bars of it.
    struct Computed {
        var bars: [Bar]
        var events: [MarketEvent]
        var table: FeatureTable
    }

    /// Of one time, trades and quotes come before the bar that they are part of.
    func compute(_ terminal: Terminal) throws -> Computed {
        let configuration = try configuration()
        let span = try span()
        terminal.begin("read")
        var events: [MarketEvent] = []
        if let trades {
            let loaded = try TradeReader().read(.file(path: trades), span: span)
            Self.tell(loaded.report, terminal)
            events = loaded.rows.map { event($0.time, .trade($0.value)) }
        }
        if let ticks {
            let recording = try TickRecordingReader().read(.file(path: ticks), symbol: symbolName)
            Self.tell(recording.report, terminal)
            if recording.breaks > 0 { terminal.note("\(ticks): the book broke off \(recording.breaks) times") }
            events += recording.events.filter { span?.contains($0.knownAt) ?? true }
        }
        let bars = try file != nil ? bars(span) : Self.bars(of: events, configuration.interval)
        guard !bars.isEmpty else { throw ValidationError("not one bar of \(configuration.interval.seconds) s") }
        events += bars.map { event($0.closeTime, .bar($0)) }
        events = EventMerger.merge([events])
        terminal.finish("\(bars.count) bars, \(events.count - bars.count) trades, quotes and depths")
        terminal.begin("compute")
        var engine = try FeatureEngine(configuration)
        var table = FeatureTable(engine.schema, symbol: symbolName, reserving: bars.count)
        for (index, event) in events.enumerated() {
            try engine.update(event, into: &table)
            if index & 4095 == 0 { terminal.update(Double(index) / Double(events.count), "\(event.knownAt)") }
        }
        terminal.finish("\(table.count) × \(table.schema.count) values, schema \(table.schema.version)")
        return Computed(bars: bars, events: events, table: table)
    }

    private func event(_ time: Timestamp, _ payload: MarketEvent.Payload) -> MarketEvent {
        MarketEvent(exchange: "file", symbol: symbolName, eventTime: time, knownAt: time, payload: payload)
    }

    private static func bars(of events: [MarketEvent], _ interval: Interval) -> [Bar] {
        var maker = TradeBars(interval: interval)
        var bars: [Bar] = []
        for event in events {
            bars += maker.advance(to: event.knownAt)
            if case .trade(let trade) = event.payload { maker.take(trade, at: event.knownAt) }
        }
        return bars
    }
}
