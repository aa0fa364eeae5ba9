internal import Evaluation
internal import Features
internal import Foundation
internal import Kernels
internal import Logging
internal import MarketData
internal import NeuralNetworks
internal import Policies
internal import Storage
internal import Trading

/// What a job of kind `evaluate.walk-forward` is to do: train anew in each of several windows, and test on the bars
/// behind it. See docs/jobs.md.
struct WalkForwardSpecification: Decodable, Equatable {
    var settings: TrainingSettings
    /// Bars that close in `from ..< to`.
    var from: Timestamp
    var to: Timestamp
    /// Of each window.
    var trainDays: Double
    var validateDays: Double
    var testDays: Double
    /// Each window's training begins at `from`; otherwise it moves along.
    var isExpanding: Bool

    init(from decoder: any Decoder) throws {
        var reader = try SpecificationReader(decoder)
        from = try reader.time("from")
        to = try reader.time("to")
        trainDays = try reader.number("train_days", in: 0.01...10_000)
        validateDays = try reader.number("validate_days", in: 0.01...10_000)
        testDays = try reader.number("test_days", in: 0.01...10_000)
        isExpanding = try reader.field("expanding", default: false)
        settings = try TrainingSettings(&reader, defaultSeeds: 1)
        try reader.finish()
        if from >= to { throw reader.fault("to", "is not after “from”") }
    }

    /// The windows in a history's rows; throws `invalidConfiguration` where not one fits.
    func folds(_ history: FeatureHistory) throws -> [WalkForward.Fold] {
        func bars(_ days: Double) -> Int { max(1, Int((days * 86_400 / history.interval.seconds).rounded())) }
        let embargo = settings.embargo(history.schema)
        return try WalkForward(
            trainingCount: bars(trainDays), validationCount: bars(validateDays), testCount: bars(testDays),
            labelHorizon: 0, featureMemory: Int(embargo.microseconds / history.interval.microseconds),
            isExpanding: isExpanding
        ).folds(in: history.rows(from: from, to: to))
    }
}

/// Trains and tests window by window. No model is registered: what is judged is the way of making one.
struct WalkForwardJob {
    /// What has been done, for whoever goes on.
    private struct Progress {
        private(set) var windows: [WalkForwardReport.Window] = []
        /// Of one bar each, of all windows.
        private(set) var returns: [Double] = []
        /// Of the window that was being worked on.
        private(set) var search: PolicySearch?
        /// `windows` as JSON: they are many numbers, and change seldom.
        private var encoded = Array("[]".utf8)

        private static let kind = "walk-forward-1"

        init() {}

        mutating func append(_ window: WalkForwardReport.Window, _ returns: [Double]) throws {
            windows.append(window)
            self.returns += returns
            search = nil
            encoded = Array(try JSONEncoder().encode(windows))
        }

        func checkpoint(_ search: PolicySearch) -> [UInt8] {
            func bytes(_ name: String, _ bytes: [UInt8]) -> Tensor { Tensor(name, shape: [bytes.count], .uint8(bytes)) }
            let tensors = [
                Tensor("returns", shape: [returns.count], .float64(returns)), bytes("windows", encoded),
                bytes("search", search.checkpoint()),
            ]
            return Safetensors(metadata: ["kind": Self.kind], tensors: tensors).bytes()
        }

        /// `data` makes the data of a window. Throws for what is no such checkpoint, or of other data.
        init(_ checkpoint: [UInt8], _ settings: TrainingSettings, data: (Int) throws -> TrainingData) throws {
            let file = try Safetensors(bytes: checkpoint)
            guard file.metadata["kind"] == Self.kind, case .float64(let returns) = try file.tensor("returns").elements,
                case .uint8(let bytes) = try file.tensor("windows").elements,
                case .uint8(let state) = try file.tensor("search").elements
            else { throw PolicyTraining.Unusable(reason: "of another kind") }
            windows = try JSONDecoder().decode([WalkForwardReport.Window].self, from: Data(bytes))
            search = try PolicySearch(resuming: state, settings, try data(windows.count))
            (self.returns, encoded) = (returns, bytes)
        }
    }

    private let context: JobContext
    private let specification: WalkForwardSpecification
    private var settings: TrainingSettings { specification.settings }

    init(_ context: JobContext) throws {
        self.context = context
        specification = try SpecificationReader.read(WalkForwardSpecification.self, from: context.job.spec)
    }

    func run() async throws {
        try context.proceed(0, "reading features")
        let history = try await FeatureHistory(
            stream: settings.stream, exchange: settings.exchange, symbol: settings.symbol, from: specification.from,
            to: specification.to, modules: context.featureModules, pool: context.pool)
        let folds = try specification.folds(history)
        let session = try await settings.session(history.stream, context)
        func data(_ index: Int) throws -> TrainingData {
            try TrainingData(
                settings, history, session, training: folds[index].training, validation: folds[index].validation,
                selection: 0..<0, spans: [:])
        }
        var progress = Progress()
        if let checkpoint = context.lease.checkpoint {
            do { progress = try Progress(checkpoint, settings, data: data) } catch {
                context.log.warning("the checkpoint is of no use, beginning anew", metadata: ["reason": "\(error)"])
            }
        }
        for index in progress.windows.count..<folds.count {
            let data = try data(index)
            var search = try progress.search ?? PolicySearch(settings, data)
            while !search.isFinished {
                let step = try search.iterate()
                if let validation = step.validation {
                    try await count(index, step.seed, validation, data, folds[index].validation, history)
                }
                let done = (Double(index) + search.progress) / Double(folds.count)
                try await context.proceed(done, "window \(index + 1) of \(folds.count), \(search.message)") {
                    progress.checkpoint(search)
                }
            }
            let (window, result) = try test(search, data, folds[index], history)
            try progress.append(window, result.returns)
            try await context.record([("test_return", window.report.statistics.totalReturn)], step: index + 1)
        }
        try await complete(progress, history)
    }

    private func count(
        _ index: Int, _ seed: UInt64, _ found: PolicyTraining.Validation, _ data: TrainingData, _ rows: Range<Int>,
        _ history: FeatureHistory
    ) async throws {
        let bars = data.series.bars
        try await context.count(
            [
                .init(
                    name: "window \(index + 1) seed \(seed) iteration \(found.iteration)", sharpe: found.sharpe,
                    netReturn: found.netReturn)
            ], of: settings.name,
            on: .init(
                exchange: history.stream.exchange, symbol: settings.symbol, from: bars[rows.lowerBound].closeTime,
                to: bars[rows.upperBound - 1].closeTime))
    }

    /// The candidate that validated best, on the bars behind. Its window reaches back before them, as it does live.
    private func test(
        _ search: PolicySearch, _ data: TrainingData, _ fold: WalkForward.Fold, _ history: FeatureHistory
    ) throws -> (WalkForwardReport.Window, BacktestResult) {
        var best = 0
        for index in search.finished.indices
        where search.finished[index].validation.isBetter(than: search.finished[best].validation) { best = index }
        let chosen = search.finished[best]
        let span = max(0, fold.test.lowerBound - settings.window)..<fold.test.upperBound
        let result = try data.backtest.run(chosen.policy, on: data.series, span: span)
        try PlausibilityGuard.check(result)
        let baselines = try Baseline.reports(
            beside: result, data.backtest, on: data.series, span: span, seed: settings.seed)
        func time(_ row: Int) -> String { "\(data.series.bars[row].closeTime)" }
        return (
            WalkForwardReport.Window(
                trainFrom: time(fold.training.lowerBound), trainTo: time(fold.training.upperBound - 1),
                testFrom: time(fold.test.lowerBound), testTo: time(fold.test.upperBound - 1),
                chosenSeed: chosen.seed, bestIteration: chosen.validation.iteration,
                validationReturn: chosen.validation.netReturn, report: BacktestReport(result, pointLimit: 500),
                baselines: baselines), result
        )
    }

    private func complete(_ progress: Progress, _ history: FeatureHistory) async throws {
        try context.proceed(1, "judging")
        let trials = try await context.pool.withConnection { [settings] connection in
            try AcceptanceRepository.trials(of: settings.name, symbol: settings.symbol, on: connection)
        }
        var random = RandomGenerator(seed: settings.seed)
        let report = WalkForwardReport(
            stream: settings.stream, symbol: settings.symbol, windows: progress.windows, returns: progress.returns,
            interval: history.interval, trials: trials, random: &random)
        let (json, pooled) = (try JSON(encoding: report), report.pooled)
        try await context.complete(
            "\(BacktestReport.percent(pooled.totalReturn)) in \(report.windows.count) windows, "
                + "\(pooled.profitableWindows) of them with a profit"
        ) { _ in json }
    }
}
