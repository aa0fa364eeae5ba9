internal import ArgumentParser
internal import Evaluation
internal import Features
internal import Foundation
internal import MarketData
internal import Policies
internal import Reports
internal import Trading

/// `vomma execute`: target exposures over a recorded book, order by order.
struct ExecuteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "execute", abstract: "Run orders through a recorded book: queues, partial fills, latency, fees.",
        discussion: """
            The recording is of Binance's combined streams (trades, best quotes, depths). What is wanted is one of:
              --every 10s        all in and all out by turns
              --targets FILE     CSV: time_ms, target_exposure in [-1, 1]
              --model FILE       a policy (vomma model export) at the close of each bar made of the recording's trades
            Orders are market orders, or rest at the best price and follow it until patience ends. How they are simulated \
            is told in docs/execution.md.

              vomma execute --ticks btcusdt.jsonl.gz --symbol BTCUSDT --every 10s --style touch --capital 1000
            """)

    enum Venue: String, ExpressibleByArgument, CaseIterable { case spot, perpetual }

    @Option(help: "A recording of Binance's streams, plain or gzip.")
    var ticks: String
    @Option(help: "The symbol that it is of.")
    var symbol: String
    @Option(help: "Whose rules and fees apply: spot or perpetual.")
    var market = Venue.spot
    @Option(help: "All in and all out by turns, so often: 10s, 1m.")
    var every: String?
    @Option(help: "A CSV file of targets: time_ms, target_exposure.")
    var targets: String?
    @Option(help: "A policy's file.")
    var model: String?
    @Option(help: "With --model: the bars' length, the one that the policy was trained on.")
    var interval = "1m"
    @Option(help: "market, or touch: rest at the best price.")
    var style = "market"
    @Option(help: "With --style touch: after so long the rest goes to the market.")
    var patience = "5s"
    @Option(help: "Starting capital, in the quote currency.")
    var capital = "100"
    @Option(help: "Milliseconds that each message takes at least, 0 … 10000; a quarter more on average. 0: none at all.")
    var latency: Int64 = 5
    @Option(help: "quote; received (spot: a purchase pays in what it bought); or BNB:600:0.25, an asset, price, discount.")
    var fees = "quote"
    @Option(help: "Of the random part of latencies.")
    var seed: UInt64 = 1
    @Option(help: "Write the result as JSON into this file; - prints it in place of the report.")
    var json: String?

    private struct Written: Encodable {
        var report: BookReplayReport
        var fills: [BookReplayReport.FillRow]
    }

    func validate() throws {
        guard [every, targets, model].count(where: { $0 != nil }) == 1 else {
            throw ValidationError("give one of --every, --targets and --model")
        }
        guard BookReplay.Style(rawValue: style) != nil else { throw ValidationError("--style is market or touch") }
        guard Amount(capital) != nil else { throw ValidationError("--capital is an amount such as 19.99") }
        guard (0...10_000).contains(latency) else { throw ValidationError("--latency is 0 … 10000 milliseconds") }
        for length in [every, patience, interval].compactMap({ $0 }) where Interval(name: length) == nil {
            throw ValidationError("“\(length)” is no length of time such as 10s, 1m or 4h")
        }
        _ = try feeAsset()
    }

    func run() async throws {
        try await explaining {
            let terminal = Terminal()
            terminal.begin("read")
            let recording = try TickRecordingReader().read(.file(path: ticks), symbol: symbol)
            let refused = recording.report.rejected
            terminal.finish("\(recording.events.count) events, \(refused) lines refused")
            if recording.breaks > 0 { terminal.note("the book broke off \(recording.breaks) times") }
            guard let first = recording.events.first?.eventTime, let last = recording.events.last?.eventTime else {
                throw ValidationError("no event in \(ticks)")
            }
            let wanted = try wanted(first, last, terminal)
            let replay = try BookReplay(try settings())
            terminal.begin("execute")
            let result = try replay.run(recording.events, targets: wanted)
            terminal.finish("\(result.orders.count) orders")
            let report = BookReplayReport(result)
            let encoder = JSONEncoder()
            encoder.keyEncodingStrategy = .convertToSnakeCase
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
            let written = Written(report: report, fills: BookReplayReport.fills(result, limit: 10_000))
            let text = String(decoding: try encoder.encode(written), as: UTF8.self)
            if json == "-" { return print(text) }
            if let json { try text.write(toFile: json, atomically: true, encoding: .utf8) }
            print(page(report).text())
        }
    }

    private func settings() throws -> BookReplay.Configuration {
        let known = market == .spot ? InstrumentRules.binanceSpot(symbol) : .binancePerpetual(symbol)
        guard let rules = known else {
            throw ValidationError("the trading rules of \(symbol) on the \(market.rawValue) market are not known")
        }
        guard let style = BookReplay.Style(rawValue: style), let patience = Interval(name: patience),
            let cash = Amount(capital)
        else { throw ValidationError("--style, --patience or --capital is none") }
        return BookReplay.Configuration(
            exchange: .init(
                rules: rules, initialCash: cash, latency: latency == 0 ? .zero : .typical(milliseconds: latency),
                feeAsset: try feeAsset(), seed: seed),
            style: style, patience: patience)
    }

    private func feeAsset() throws -> FeeAsset {
        switch fees {
        case "quote": return .quote
        case "received": return .received
        default:
            let parts = fees.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 3, !parts[0].isEmpty, let price = Price(parts[1]), price > .zero,
                let discount = Double(parts[2]), (0..<1).contains(discount)
            else { throw ValidationError("--fees is quote, received, or such as BNB:600:0.25") }
            return .other(parts[0], price: price, discount: discount)
        }
    }

    // MARK: What is wanted

    private func wanted(
        _ first: Timestamp, _ last: Timestamp, _ terminal: Terminal
    ) throws -> [Stamped<Double>] {
        if let every, let step = Interval(name: every) {
            let count = (last - first).microseconds / step.microseconds
            return (0..<count).map { Stamped(time: first + step * $0, value: $0 % 2 == 0 ? 1 : 0) }
        }
        if let targets {
            let table = try NumericTable(.file(path: targets))
            if let issue = table.report.issues.first { throw ValidationError("\(targets), \(issue)") }
            guard let times = table["time_ms"], let values = table["target_exposure"] else {
                throw ValidationError("\(targets) needs the columns time_ms and target_exposure")
            }
            return try zip(times, values).enumerated().map { row, pair in
                guard abs(pair.0) < 1e14, abs(pair.1) <= 1 else {
                    throw ValidationError("\(targets), target \(row + 1): no time, or no exposure in [-1, 1]")
                }
                return Stamped(time: Timestamp(milliseconds: Int64(pair.0)), value: pair.1)
            }
        }
        return try decisions(of: model ?? "", terminal)
    }

    /// What the policy decides at the close of each bar of the recording, its own last decision among its inputs.
    private func decisions(of path: String, _ terminal: Terminal) throws -> [Stamped<Double>] {
        let (file, normaliser) = try BacktestCommand.policy(of: path)
        let modules = FeatureModuleKind.standard.map(\.rawValue).joined(separator: ",")
        let source = try FeatureSource.parse(
            ["--ticks", ticks, "--symbol", symbol, "--interval", interval, "--modules", modules])
        let series = try BacktestCommand.series(try source.compute(terminal), normaliser, symbol: symbol)
        let window = file.policy.window
        guard series.count >= window else {
            throw ValidationError("\(series.count) bars of \(interval); the policy looks at \(window): a shorter --interval")
        }
        let layout = ObservationLayout(window: window, featureCount: series.featureCount)
        var runner = RunningPolicy(file.policy)
        var observation = [Float](repeating: 0, count: layout.count)
        var previous: Float = 0
        return try (window - 1..<series.count).map { row in
            var target = observation.mutableSpan
            series.observe(row, layout, previousExposure: previous, into: &target)
            previous = try runner.decide(observation.span).action
            return Stamped(time: series.bars[row].closeTime, value: Double(previous))
        }
    }

    // MARK: For people

    private func page(_ report: BookReplayReport) -> Report {
        func line(_ name: String, _ value: String) -> [String] { [name, value] }
        func points(_ value: Double?) -> String { (value ?? .nan).shown(3) + " bp" }
        func spread(_ name: String, _ unit: String, _ values: BookReplayReport.Distribution?) -> [String] {
            guard let values else { return [name, "–", "–", "–", "–", unit] }
            return [name] + [values.mean, values.median, values.p95, values.maximum].map { $0.shown(3) } + [unit]
        }
        let orders = report.orders
        let charged = report.feesByAsset.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        let failed = orders.failed.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        let change = BacktestReport.percent(report.finalEquity / report.capital - 1)
        return Report(
            title: "Execution of \(symbol), \(style), \(market.rawValue)",
            verdict: "\(report.fills) fills of \(orders.sent) orders; \(change) of \(capital).",
            sections: [
                .init(
                    "Targets and orders",
                    [
                        .text("\(report.events) events, \(report.firstEvent ?? "–") to \(report.lastEvent ?? "–")"),
                        .table(
                            header: [],
                            rows: [
                                line("targets", "\(report.targets)"),
                                line("  without an order", "\(report.idleTargets)"),
                                line("  not reached", "\(report.unfinishedTargets)"),
                                line("orders", "\(orders.sent)"), line("  market", "\(orders.market)"),
                                line("  rested", "\(orders.resting)"), line("  filled", "\(orders.filled)"),
                                line("  partly filled", "\(orders.partlyFilled)"),
                                line("  in several fills", "\(orders.inSeveralFills)"),
                                line("  cancelled", "\(orders.cancelled)"),
                                line("  failed", failed.isEmpty ? "0" : failed.joined(separator: ", ")),
                            ]),
                    ]),
                .init(
                    "Costs",
                    [
                        .table(
                            header: [],
                            rows: [
                                line("turnover", report.turnover.shown(4)),
                                line("maker share", (report.makerShare ?? .nan).shownPercent),
                                line("against the mid at the fill", points(report.costAgainstMidBasisPoints)),
                                line("against the mid at the decision", points(report.costAgainstDecisionBasisPoints)),
                                line("fees", report.fees.shown(6)),
                                line("  charged", charged.isEmpty ? "–" : charged.joined(separator: ", ")),
                                line("final equity", report.finalEquity.shown(4)),
                                line("final position", report.finalPosition), line("  dust of it", report.dust),
                            ])
                    ]),
                .init(
                    "Waiting",
                    [
                        .table(
                            header: ["", "mean", "median", "95 %", "longest", ""],
                            rows: [
                                spread("in the queue", "s", report.queueWaitSeconds),
                                spread("ahead in the queue", "base units", report.queueAhead),
                                spread("market data", "ms", report.marketDataLatencyMilliseconds),
                                spread("order", "ms", report.orderLatencyMilliseconds),
                                spread("acknowledgement", "ms", report.acknowledgementLatencyMilliseconds),
                            ])
                    ]),
            ])
    }
}
