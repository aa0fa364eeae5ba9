internal import ArgumentParser
internal import Foundation
internal import Heston
internal import HestonInverse
internal import MarketData
internal import Reports

extension SurfaceCommand {
    /// Reads a network that `train` or a training job has made.
    static func model(_ path: String) throws -> InverseModel {
        let bytes: Data
        do { bytes = try Data(contentsOf: URL(fileURLWithPath: path)) } catch {
            throw ValidationError("cannot read \(path): \(error.localizedDescription). `vomma surface train` makes one.")
        }
        let model = try InverseModel(safetensors: [UInt8](bytes))
        guard model.grid == .standard else {
            throw ValidationError("\(path) is a network for other inputs than surfaces on the standard grid")
        }
        return model
    }

    /// Surfaces that a network trained on `seed` has not seen.
    static func heldOut(
        _ preset: ParameterPreset, trainedOn seed: UInt64, count: Int, threads: Int
    ) throws -> SurfaceDataset {
        try SurfaceGenerator(preset, seed: seed &+ 1_000_003).surfaces(count: count, threads: threads)
    }

    /// What is drawn, and on how many threads.
    struct Drawing: ParsableArguments {
        @Option(
            help: "The family of parameters: equity or crypto.",
            transform: { try Drawing.named($0, of: ParameterPreset.allCases) })
        var preset = ParameterPreset.crypto
        @Option(
            help: "Where volatilities come from: heston or proxy.",
            transform: { try Drawing.named($0, of: SurfaceGenerator.Kind.ofSurfaces) })
        var generator = SurfaceGenerator.Kind.heston
        @Option(help: "Surfaces to make.")
        var surfaces = 100_000
        @Option(help: "One seed, the same surfaces.")
        var seed: UInt64 = 1
        @Option(help: "Threads; 0 is one a processor.")
        var threads = 0

        func validate() throws {
            guard (10...10_000_000).contains(surfaces) else { throw ValidationError("--surfaces is 10 … 10000000") }
            guard (0...256).contains(threads) else { throw ValidationError("--threads is 0 … 256") }
        }

        private static func named<Value: RawRepresentable>(_ text: String, of values: [Value]) throws -> Value
        where Value.RawValue == String {
            guard let value = values.first(where: { $0.rawValue == text }) else {
                throw ValidationError("“\(text)” is none of \(values.map(\.rawValue).joined(separator: ", "))")
            }
            return value
        }

        var threadCount: Int { threads > 0 ? threads : ProcessInfo.processInfo.activeProcessorCount }

        func make() throws -> SurfaceDataset {
            try SurfaceGenerator(preset, kind: generator, seed: seed).surfaces(count: surfaces, threads: threadCount)
        }
    }

    /// `vomma surface generate`.
    struct Generate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "generate", abstract: "Make surfaces whose parameters are known, as a safetensors file.")

        @OptionGroup var drawing: Drawing
        @Option(name: .shortAndLong, help: "Where the file goes.")
        var output = "surfaces.safetensors"

        func run() async throws {
            try await explaining {
                try SurfaceSource.requireProcessor()
                let start = ContinuousClock.now
                let data = try drawing.make()
                let seconds = (ContinuousClock.now - start).seconds
                try Data(data.safetensors()).write(to: URL(fileURLWithPath: output), options: .atomic)
                print("\(data.count) surfaces in \(seconds.shown(1)) s, \(data.refused) draws refused: \(output)")
            }
        }
    }

    /// `vomma surface train`.
    struct Train: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "train", abstract: "Train an inverse network on synthetic surfaces, and judge it.")

        @OptionGroup var drawing: Drawing
        @Option(help: "Passes over the surfaces.")
        var epochs = InverseTraining.Configuration().epochs
        @Option(help: "Surfaces of another seed to judge by.")
        var heldOut = 20_000
        @Option(help: "A network to go on from, on market surfaces beside synthetic ones. Needs --market.")
        var base: String?
        @Option(help: "Files of option quotes whose surfaces are learnt from, for --base; may be given again.")
        var market: [String] = []
        @Option(help: "Market surfaces until here are learnt from, such as 2026-02-20T00:00:00Z.")
        var trainTo: String?
        @Option(help: "Market surfaces from --train-to until here choose the best epoch; later ones are not looked at.")
        var validateTo: String?
        @Option(name: .shortAndLong, help: "Where the network goes.")
        var output = "heston_inverse.safetensors"

        func validate() throws {
            guard (1...10_000).contains(epochs) else { throw ValidationError("--epochs is 1 … 10000") }
            guard (100...1_000_000).contains(heldOut) else { throw ValidationError("--held-out is 100 … 1000000") }
            let given = [base != nil, !market.isEmpty, trainTo != nil, validateTo != nil]
            guard Set(given).count == 1 else {
                throw ValidationError("--base, --market, --train-to and --validate-to go together")
            }
        }

        func run() async throws {
            try await explaining {
                try SurfaceSource.requireProcessor()
                let threads = drawing.threadCount
                let terminal = Terminal()
                terminal.begin("making surfaces")
                let data = try drawing.make()
                terminal.finish("\(data.count) of preset \(drawing.preset.rawValue), \(data.refused) draws refused")
                var training = try begin(data)
                terminal.begin("training")
                while !training.isFinished {
                    let done = Double(training.epochs.count)
                    let error = training.epochs.last?.medianError.map { ", \((100 * $0).shown(2)) points" } ?? ""
                    try training.runEpoch(threads: threads) { part in
                        terminal.update(
                            (done + part) / Double(epochs), "epoch \(Int(done) + 1) of \(epochs)\(error)")
                    }
                }
                terminal.finish("\(epochs) epochs on \(threads) threads")
                let model = training.model(metadata: [
                    "mode": training.configuration.mode.rawValue, "preset": drawing.preset.rawValue, "generator": drawing.generator.rawValue,
                    "seed": "\(drawing.seed)", "surfaces": "\(data.count)", "epochs": "\(epochs)",
                ])
                terminal.begin("judging")
                let held = try SurfaceCommand.heldOut(
                    drawing.preset, trainedOn: drawing.seed, count: heldOut, threads: threads)
                let quality = try model.quality(on: held, try Calibrator(), threads: threads)
                terminal.finish("\(quality.count) surfaces that it has not seen")
                try Data(model.safetensors()).write(to: URL(fileURLWithPath: output), options: .atomic)
                print(GateReport(model: model, synthetic: quality, market: nil).report().text())
                print("network: \(output)")
            }
        }

        /// From new weights, or from the base with what the market had until `validateTo`.
        private func begin(_ data: SurfaceDataset) throws -> InverseTraining {
            var configuration = InverseTraining.Configuration()
            configuration.epochs = epochs
            configuration.seed = drawing.seed
            guard let base, let trainTo, let validateTo else { return InverseTraining(data, configuration) }
            let model = try SurfaceCommand.model(base)
            configuration.mode = .mixed
            // The base has learnt most of it.
            configuration.learningRate *= 0.5
            let (trainEnd, validateEnd) = (
                try SurfaceSource.time(trainTo, "--train-to"), try SurfaceSource.time(validateTo, "--validate-to")
            )
            guard trainEnd < validateEnd else { throw ValidationError("--validate-to is not after --train-to") }
            var surfaces = MarketSurfaces(grid: model.grid, trainTo: trainEnd, validateTo: validateEnd)
            var sparse = 0
            for file in market {
                let span = Timestamp(microseconds: .min)..<validateEnd
                _ = try ChainReader().forEach(.file(path: file), span: span) { chain in
                    do throws(HestonError) {
                        let built = try SurfaceSource.build(chain, bids: true)
                        surfaces.add(built.surface, at: chain.snapshotTime)
                    } catch { sparse += 1 }
                    return true
                }
            }
            guard !surfaces.training.isEmpty, !surfaces.validation.isEmpty else {
                throw ValidationError(
                    "\(surfaces.trainingCount) market surfaces until --train-to and "
                        + "\(surfaces.validation.count / model.grid.count) until --validate-to: some of both are needed")
            }
            Terminal().note(
                "\(surfaces.trainingCount) market surfaces to learn from, "
                    + "\(surfaces.validation.count / model.grid.count) to choose by, \(sparse + surfaces.skipped) unfit")
            return InverseTraining(
                from: model, market: surfaces.training + surfaces.validation, trainingCount: surfaces.trainingCount,
                data, configuration)
        }
    }

    /// `vomma surface invert FILE --model FILE`.
    struct Invert: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "invert", abstract: "Ask an inverse network for a surface's parameters, and refine its answer.")

        @OptionGroup var source: SurfaceSource
        @Option(name: .shortAndLong, help: "The network, as `vomma surface train` makes it.")
        var model = "heston_inverse.safetensors"
        @Option(help: "Where the page with the pictures goes.")
        var output = "surface.html"

        func run() async throws {
            try await explaining {
                let found = try source.surface()
                let inverter = SharedInverter(try SurfaceCommand.model(model))
                let inversion = try NetworkInversion(found, inverter, Calibrator())
                let report = inversion.report()
                print(report.text())
                try report.html().write(toFile: output, atomically: true, encoding: .utf8)
                print("pictures: \(output)")
            }
        }
    }

    /// `vomma surface gate FILE…`.
    struct Gate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "gate", abstract: "Judge an inverse network: is it solid? Exits with 1 when it is not.",
            discussion: """
                By synthetic surfaces that it has not seen, and by every snapshot of the given files of quotes: give days \
                that it was not trained on. Writes the verdict as JSON, and a page with the pictures.
                """)

        @Argument(help: "CSV files of option quotes, plain or gzip.")
        var files: [String] = []
        @Option(name: .shortAndLong, help: "The network, as `vomma surface train` makes it.")
        var model = "heston_inverse.safetensors"
        @Option(help: "Take the snapshots from this time on, such as 2026-03-01T00:00:00Z.")
        var from: String?
        @Option(help: "Synthetic surfaces to judge by.")
        var heldOut = 20_000
        @Option(name: .shortAndLong, help: "Where the page goes; the JSON goes beside it.")
        var output = "gate.html"

        func run() async throws {
            var passed = false
            try await explaining {
                try SurfaceSource.requireProcessor()
                let model = try SurfaceCommand.model(model)
                guard let preset = model.metadata["preset"].flatMap(ParameterPreset.init),
                    let seed = model.metadata["seed"].flatMap(UInt64.init)
                else { throw ValidationError("the network does not say on which preset and seed it was trained") }
                let threads = ProcessInfo.processInfo.activeProcessorCount
                let terminal = Terminal()
                terminal.begin("synthetic surfaces")
                let held = try SurfaceCommand.heldOut(preset, trainedOn: seed, count: heldOut, threads: threads)
                let calibrator = try Calibrator()
                let synthetic = try model.quality(on: held, calibrator, threads: threads)
                terminal.finish("\(synthetic.count) inverted")
                var market: GateReport.Market?
                if !files.isEmpty {
                    terminal.begin("market surfaces")
                    let start = try from.map { try SurfaceSource.time($0, "--from") }
                    market = try GateReport.Market(files, from: start, model, calibrator, threads: threads)
                    let (count, sparse) = (market?.points.count ?? 0, market?.skipped ?? 0)
                    terminal.finish("\(count) inverted, \(sparse) snapshots too sparse")
                }
                let report = GateReport(model: model, synthetic: synthetic, market: market)
                try report.report().html().write(toFile: output, atomically: true, encoding: .utf8)
                let json = output.hasSuffix(".html") ? output.dropLast(5) + ".json" : output + ".json"
                try report.json().write(to: URL(fileURLWithPath: String(json)), options: .atomic)
                print(report.report().text())
                print("pictures: \(output)\nverdict: \(json)")
                passed = report.gate.passed
            }
            if !passed { throw ExitCode(1) }
        }
    }
}
