internal import ArgumentParser
internal import Evaluation
internal import Features
internal import Foundation
internal import LocalStack
internal import MarketData
internal import Policies
internal import Reports
internal import Trading
internal import VommaProto

/// `vomma backtest`: a policy over history, through the paper account's own engine.
struct BacktestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backtest", abstract: "Run a policy over history, beside the baselines.",
        discussion: """
            The engine is the paper account's own: the same rules, fees and ledger, filled at the next bar's open.

            Of a running stack, a stored policy over a stream's stored features:
              vomma backtest --model policy:3 --stream march --symbol BTCUSDT --from 2026-03-01 --to 2026-04-01
            Of files, without a stack (vomma model export makes the first):
              vomma backtest --model policy.safetensors --bars BTCUSDT_1m.csv.gz --from 2026-03-01 --to 2026-04-01

            A result counts only on bars that the policy was neither trained nor chosen on. What cannot be true (a Sharpe \
            ratio above 10, nearly every trade won) stops the command with the likely cause.
            """)

    @OptionGroup var stack: StackOptions
    @Option(help: "A policy: NAME or NAME:VERSION of the registry, or a file. Without a version the live one.")
    var model = "policy"
    @Option(help: "The stream whose features are used, as `vomma status` lists it.")
    var stream: String?
    @Option(help: "A CSV file of candles, in place of a stream.")
    var bars: String?
    @Option(help: "With --bars: a CSV file of funding settlements; the symbol is traded as a perpetual future.")
    var funding: String?
    @Option(help: "The symbol to trade; otherwise what the file's name begins with.")
    var symbol: String?
    @Option(help: "First decision, such as 2026-03-01.")
    var from: String
    @Option(help: "End of the span.")
    var to: String
    @Option(help: "Starting capital, in USDT.")
    var capital = "19.99"
    @Option(help: "Write the whole result as JSON into this file; - prints it in place of the report.")
    var json: String?
    @Option(help: "Write the report with its pictures into this file, as one HTML page.")
    var html: String?

    func validate() throws {
        guard (stream == nil) != (bars == nil) else { throw ValidationError("give --stream, or --bars") }
        guard stream == nil || symbol != nil else { throw ValidationError("--stream needs --symbol") }
        guard funding == nil || bars != nil else { throw ValidationError("--funding goes with --bars") }
        guard Amount(capital) != nil else { throw ValidationError("--capital is an amount such as 19.99") }
    }

    func run() async throws {
        try await explaining {
            let result = try await bars == nil ? stored() : offline()
            if let json {
                if json == "-" {
                    print(result.json)
                    return
                }
                try result.json.write(toFile: json, atomically: true, encoding: .utf8)
            }
            let page = BacktestPage(report: result.report, baselines: result.baselines, fills: result.fills)
            let change = BacktestReport.percent(result.report.statistics.totalReturn)
            let report = Report(
                title: "Backtest of \(result.title)",
                verdict: "\(change) from \(from) to \(to) with \(capital) USDT. Out of sample only if the policy was "
                    + "neither trained nor chosen on these bars.",
                sections: page.sections)
            print(report.text())
            if let html {
                try report.html().write(toFile: html, atomically: true, encoding: .utf8)
                print("\nThe same with pictures: \(html)")
            }
        }
    }

    private struct Outcome {
        var title: String
        var json: String
        var report: BacktestReport
        var baselines: [String: BacktestReport]
        var fills: [BacktestReport.FillRow]
    }

    // MARK: Of a stack

    private struct Stored: Decodable {
        struct Model: Decodable {
            var name: String
            var version: Int64
        }
        var model: Model
        var report: BacktestReport
        var baselines: [String: BacktestReport]
        var fills: [BacktestReport.FillRow]
    }

    private func stored() async throws -> Outcome {
        let reference = try ModelName(model)
        let trainer = try TrainerClient(stack.channel(.trainer))
        // The version is part of the key, so that the same question is asked once, and another live one is another.
        let found = try await trainer.getModel(GetModelRequest(name: reference.name, version: reference.version))
        let specification: [String: Any] = [
            "stream": stream ?? "", "symbol": symbol ?? "", "from": from, "to": to, "model": found.name,
            "version": found.version, "account": ["capital": capital],
        ]
        let text = String(
            decoding: try JSONSerialization.data(withJSONObject: specification, options: [.sortedKeys]), as: UTF8.self)
        let json = try await JobFollower(trainer).ask(kind: "backtest", prefix: "backtest", specification: text).resultJSON
        let result: Stored = try decode(json)
        return Outcome(
            title: "\(result.model.name) version \(result.model.version) on \(symbol ?? ""), stream \(stream ?? "")",
            json: json, report: result.report, baselines: result.baselines, fills: result.fills)
    }

    // MARK: Of files

    private struct Written: Encodable {
        var report: BacktestReport
        var baselines: [String: BacktestReport]
        var fills: [BacktestReport.FillRow]
    }

    private func offline() async throws -> Outcome {
        guard let first = Timestamp(from), let last = Timestamp(to), first < last else {
            throw ValidationError("--from and --to are such as 2026-03-01, in this order")
        }
        let (file, normaliser) = try Self.policy(of: model)
        let terminal = Terminal()
        // Everything before --from warms the features up.
        var arguments = [bars ?? "", "--to", to, "--modules", FeatureModuleKind.standard.map(\.rawValue).joined(separator: ",")]
        if let symbol { arguments += ["--symbol", symbol] }
        let source = try FeatureSource.parse(arguments)
        let computed = try source.compute(terminal)
        let series = try Self.series(computed, normaliser, symbol: source.symbolName)
        let window = file.policy.window
        guard let start = series.bars.firstIndex(where: { $0.closeTime >= first }) else {
            throw ValidationError("no bar of \(bars ?? "") closes in the span")
        }
        let name = source.symbolName
        guard let rules = funding == nil ? InstrumentRules.binanceSpot(name) : .binancePerpetual(name) else {
            throw ValidationError("the trading rules of \(name) are not known: use a stack and --stream")
        }
        let settings = AccountSettings(capital: capital)
        let backtest = Backtest(
            session: try settings.session(account: "backtest", instruments: [rules]), window: window,
            modelVersion: "file", funding: try settlements())
        terminal.begin("backtest")
        let span = max(0, start - (window - 1))..<series.count
        var runner = RunningPolicy(file.policy)
        var failure: PolicyError?
        let result = try backtest.run(on: series, span: span) { (observation, _) -> Double? in
            do throws(PolicyError) { return Double(try runner.decide(observation).action) } catch {
                failure = failure ?? error
                return nil
            }
        }
        if let failure { throw failure }
        try PlausibilityGuard.check(result)
        let baselines = try Baseline.reports(beside: result, backtest, on: series, span: span, seed: 1)
        terminal.finish("\(result.curve.count) bars, \(result.fills.count) fills")
        let written = Written(
            report: BacktestReport(result), baselines: baselines, fills: BacktestReport.fills(result, limit: 5000))
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys]
        return Outcome(
            title: "\(model) on \(source.symbolName), \(bars ?? "")",
            json: String(decoding: try encoder.encode(written), as: UTF8.self), report: written.report,
            baselines: written.baselines, fills: written.fills)
    }

    private func settlements() throws -> [Stamped<MarketData.FundingRate>] {
        guard let funding else { return [] }
        let loaded = try FundingReader().read(.file(path: funding))
        if let issue = loaded.report.issues.first { throw ValidationError("\(funding), \(issue)") }
        return loaded.rows
    }

    /// The policy in a file, checked against its golden inputs, and its normaliser.
    static func policy(of path: String) throws -> (PolicyFile, Normaliser) {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ValidationError("\(path) cannot be read: without a stack the model is a file (vomma model export)")
        }
        let file = try PolicyFile(safetensors: Array(data))
        guard let bytes = file.normaliser else {
            throw ValidationError("\(path) holds no normaliser: export it with `vomma model export`")
        }
        try file.golden?.verify(file.policy)
        return (file, try Normaliser(bytes: bytes))
    }

    /// All bars with their features, normalised: 0 and mask 0 for what is missing. Throws `ValidationError` when the
    /// normaliser is for other features.
    static func series(
        _ computed: FeatureSource.Computed, _ normaliser: Normaliser, symbol: String
    ) throws -> MarketSeries {
        guard computed.table.schema.version == normaliser.schemaVersion else {
            throw ValidationError(
                "the policy was trained on features of schema \(normaliser.schemaVersion), these are of "
                    + "\(computed.table.schema.version): another build, or VOMMA_FEATURE_MODULES was set")
        }
        var features: [Float] = []
        var mask: [UInt8] = []
        features.reserveCapacity(computed.table.count * normaliser.count)
        mask.reserveCapacity(computed.table.count * normaliser.count)
        for row in 0..<computed.table.count {
            let normalised = try normaliser.normalise(computed.table.vector(row))
            features.append(contentsOf: normalised.values)
            mask.append(contentsOf: normalised.mask)
        }
        return try MarketSeries(
            symbol: symbol, bars: computed.bars, featureCount: normaliser.count, features: features, mask: mask)
    }
}

/// `NAME` or `NAME:VERSION`; without a version the live one.
struct ModelName {
    var name: String
    /// 0: the live one.
    var version: Int64 = 0

    init(_ text: String) throws {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard let first = parts.first, !first.isEmpty, parts.count <= 2 else {
            throw ValidationError("“\(text)” is no model: NAME or NAME:VERSION")
        }
        name = String(first)
        guard parts.count == 2 else { return }
        guard let number = Int64(parts[1]), number > 0 else {
            throw ValidationError("“\(parts[1])” is no version of “\(first)”: they count from 1")
        }
        version = number
    }
}

/// A job's result, whose keys are in snake_case.
func decode<Value: Decodable>(_ json: String) throws -> Value {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Value.self, from: Data(json.utf8))
}
