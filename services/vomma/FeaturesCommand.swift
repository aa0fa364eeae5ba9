internal import ArgumentParser
internal import Features
internal import Foundation
internal import LocalStack
internal import MarketData
internal import RPC
internal import Reports
internal import VommaProto

/// `vomma features`: the columns by name, computed from files, fetched from a stack, judged and drawn.
struct FeaturesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "features", abstract: "List, compute, fetch, judge and draw feature columns.",
        subcommands: [List.self, Compute.self, Export.self, Check.self, Plot.self])

    /// `vomma features list`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Every column there is: formula, unit, warm-up, bounds.")

        @Option(help: "One module's only.")
        var module: String?
        @Flag(help: "As docs/features.md.")
        var markdown = false

        func run() async throws {
            if markdown { return print(FeatureCatalogue.markdown(), terminator: "") }
            let kinds = FeatureModuleKind.allCases.filter { module == nil || $0.rawValue == module }
            guard !kinds.isEmpty else {
                let known = FeatureModuleKind.allCases.map(\.rawValue).joined(separator: ", ")
                throw ValidationError("no module \(module ?? ""); there are \(known)")
            }
            let sections = kinds.map { kind in
                let rows = FeatureCatalogue.definitions(of: kind).map { column in
                    [
                        column.name, column.formula, column.unit, "\(column.warmUp)",
                        FeatureCatalogue.bounds(column), column.isLevel ? "level" : "",
                    ]
                }
                let header = ["column", "formula", "unit", "warm-up", "bounds", ""]
                return Report.Section(
                    "\(kind.rawValue): \(rows.count) columns", [
                        .text("from \(kind.inputs)"), .table(header: header, rows: rows),
                    ])
            }
            let count = kinds.reduce(0) { $0 + FeatureCatalogue.definitions(of: $1).count }
            let place = kinds.count == 1 ? "one module" : "\(kinds.count) modules"
            let verdict = "\(count) columns in \(place). A level is not shown to a network."
            print(Report(title: "Features", verdict: verdict, sections: sections).text())
        }
    }

    /// `vomma features compute FILE`.
    struct Compute: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "compute", abstract: "Compute columns from a file of candles; needs no stack.",
            discussion: """
                The output is CSV (`time_ms`, then a column a feature, empty where absent) or NumPy's .npz (`names` as \
                `names.txt` beside it, `time_ms`, `values` as rows × columns with NaN where absent). With --targets the \
                forward-looking columns go to a file of their own, <output>.targets.csv or .npz: never beside what \
                a policy may see. With --fills the account's columns go to <output>.system.csv or .npz.
                """)

        @OptionGroup var source: FeatureSource
        @Option(name: .shortAndLong, help: "Where the columns go: a name that ends in .csv or .npz.")
        var output: String
        @Flag(help: "Also the targets, to a file of their own.")
        var targets = false
        @Option(help: "A CSV of fills: time_ms, quantity (negative: sold), price, fee, and perhaps decided_ms.")
        var fills: String?
        @Option(help: "What the account of the fills begins with.")
        var capital = 19.99

        func validate() throws {
            guard output.hasSuffix(".csv") || output.hasSuffix(".npz") else {
                throw ValidationError("--output ends in .csv or .npz")
            }
            guard capital > 0 else { throw ValidationError("--capital is positive") }
        }

        func run() async throws {
            try await explaining {
                let terminal = Terminal()
                let computed = try source.compute(terminal)
                var outputs = [(suffix: "", ColumnFile(computed.table))]
                if targets { outputs.append((".targets", ColumnFile(Targets(computed.bars)))) }
                if let fills {
                    let executions = try FillFile(path: fills).executions
                    outputs.append((".system", ColumnFile(computed.bars, executions, capital: capital)))
                }
                terminal.begin("write")
                for (suffix, columns) in outputs {
                    let name = (output as NSString).deletingPathExtension + suffix + "."
                        + (output as NSString).pathExtension
                    try columns.write(to: name)
                    print(name)
                }
                terminal.finish("\(outputs.count) files")
            }
        }
    }

    /// `vomma features export`.
    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "export", abstract: "Fetch stored vectors of a running stack to a file.")

        @OptionGroup var stack: StackOptions
        @Option(help: "The stream; `vomma status` names them.")
        var stream: String
        @Option(help: "The symbol.")
        var symbol: String
        @Option(help: "From this time on, such as 2026-01-01.")
        var from: String
        @Option(help: "Until this time.")
        var to: String
        @Option(name: .shortAndLong, help: "Where the columns go: a name that ends in .csv or .npz.")
        var output: String

        func validate() throws {
            guard output.hasSuffix(".csv") || output.hasSuffix(".npz") else {
                throw ValidationError("--output ends in .csv or .npz")
            }
            guard let first = Timestamp(from), let last = Timestamp(to) else {
                throw ValidationError("--from and --to are such as 2026-01-31 or 2026-01-31T12:00:00Z")
            }
            guard first < last else { throw ValidationError("--to is not after --from") }
        }

        func run() async throws {
            try await explaining {
                guard let first = Timestamp(from), let last = Timestamp(to) else { return }
                let client = FeatureClient(try stack.channel(.featureService))
                let terminal = Terminal()
                terminal.begin("fetch \(stream) \(symbol)")
                let stored = try await StoredFeatures(client, stream: stream, symbol: symbol, first..<last) { time in
                    terminal.update((time - first).seconds / (last - first).seconds, "\(time)")
                }
                terminal.finish("\(stored.table.count) vectors, schema \(stored.schemaVersion)")
                try ColumnFile(stored.table).write(to: output)
                print(output)
            }
        }
    }

    /// `vomma features check FILE`.
    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check",
            abstract: "Judge columns: coverage, staleness, distribution, drift, twins; look-ahead.",
            discussion: """
                Prints a table and writes a page with a histogram a column. The columns are computed from a file of \
                candles, and once more without the last tenth of the bars, and with it scrambled: a value that changes \
                has looked ahead. Or, with --stream, they are those that a running stack has stored. The status is 1 \
                when a column looks ahead, or a value is outside its column's bounds.
                """)

        @OptionGroup var source: FeatureSource
        @OptionGroup var stack: StackOptions
        @Option(help: "Stored vectors of this stream, instead of a file's; with --symbol.")
        var stream: String?
        @Option(help: "Where the page goes.")
        var output = "features.html"

        func validate() throws {
            guard (source.file == nil && source.ticks == nil) != (stream == nil) else {
                throw ValidationError("give a file of candles or --stream, one of them")
            }
            guard stream == nil || source.symbol != nil else { throw ValidationError("--stream needs --symbol") }
        }

        func run() async throws {
            try await explaining {
                let terminal = Terminal()
                let (table, ahead) = try await judged(terminal)
                terminal.begin("judge")
                let quality = FeatureQuality(table)
                terminal.finish("\(quality.columns.count) columns")
                let report = FeatureQualityReport(quality, symbol: source.symbolName, lookingAhead: ahead).report()
                print(report.text())
                try report.html().write(toFile: output, atomically: true, encoding: .utf8)
                print("page: \(output)")
                let isOutside = quality.columns.contains { $0.outOfBounds > 0 }
                if !(ahead ?? []).isEmpty || isOutside { throw ExitCode(1) }
            }
        }

        /// The table, and the columns that look ahead; `nil` for stored ones, of which that cannot be said.
        private func judged(_ terminal: Terminal) async throws -> (FeatureTable, [String]?) {
            guard let stream else {
                let computed = try source.compute(terminal)
                terminal.begin("compute without the end")
                let ahead = try LookAhead(configuration: source.configuration(), symbol: source.symbolName)
                    .columns(computed.events, computed.table)
                terminal.finish(ahead.isEmpty ? "nothing looks ahead" : "\(ahead.count) columns look ahead")
                return (computed.table, ahead)
            }
            let client = FeatureClient(try stack.channel(.featureService))
            terminal.begin("fetch \(stream) \(source.symbolName)")
            let stored = try await StoredFeatures(client, stream: stream, symbol: source.symbolName, source.span())
            terminal.finish("\(stored.table.count) vectors")
            return (stored.table, nil)
        }
    }

    /// `vomma features plot FILE`.
    struct Plot: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "plot", abstract: "Draw columns of a file of candles against time.")

        @OptionGroup var source: FeatureSource
        @Option(help: "The columns, with commas between them: market.close,market.rsi_14.")
        var columns: String
        @Option(help: "Where the page goes.")
        var output = "features.html"

        func run() async throws {
            try await explaining {
                let names = columns.split(separator: ",").map(String.init)
                let table = try source.compute(Terminal()).table
                let charts: [Report.Block] = try names.map { name in
                    guard let index = table.schema.index(of: name) else {
                        throw ValidationError("no column \(name) in the modules \(source.modules)")
                    }
                    return .chart(FeatureQualityReport.chart(table, index))
                }
                let title = "\(source.symbolName), \(table.barTimes[0]) to \(table.barTimes[table.count - 1])"
                let report = Report(
                    title: title, verdict: "\(table.count) bars.", sections: [.init("Columns", charts)])
                try report.html().write(toFile: output, atomically: true, encoding: .utf8)
                print("page: \(output)")
            }
        }
    }
}
