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
    func bars() throws -> [Bar] {
        guard let file else { throw ValidationError("a file of candles is missing") }
        let loaded = try KlineReader(interval: try barInterval()).read(.file(path: file), span: try span())
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

    /// All columns of all bars. Events of one time: trades before the bar that they are part of.
    func table(_ terminal: Terminal) throws -> (bars: [Bar], table: FeatureTable) {
        let configuration = try configuration()
        terminal.begin("read \(((file ?? "candles") as NSString).lastPathComponent)")
        let bars = try bars()
        var ticks: [Stamped<PublicTrade>] = []
        if let trades {
            let loaded = try TradeReader().read(.file(path: trades))
            Self.tell(loaded.report, terminal)
            ticks = loaded.rows
        }
        terminal.finish("\(bars.count) bars" + (trades == nil ? "" : ", \(ticks.count) trades"))
        terminal.begin("compute")
        var engine = try FeatureEngine(configuration)
        var table = FeatureTable(engine.schema, symbol: symbolName, reserving: bars.count)
        func event(_ time: Timestamp, _ payload: MarketEvent.Payload) -> MarketEvent {
            MarketEvent(exchange: "file", symbol: symbolName, eventTime: time, knownAt: time, payload: payload)
        }
        var next = 0
        for (index, bar) in bars.enumerated() {
            while next < ticks.count, ticks[next].time < bar.closeTime {
                try engine.update(event(ticks[next].time, .trade(ticks[next].value)), into: &table)
                next += 1
            }
            try engine.update(event(bar.closeTime, .bar(bar)), into: &table)
            if index & 4095 == 0 { terminal.update(Double(index) / Double(bars.count), "\(bar.closeTime)") }
        }
        terminal.finish("\(table.count) × \(table.schema.count) values, schema \(table.schema.version)")
        return (bars, table)
    }
}
