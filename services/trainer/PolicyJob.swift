internal import Evaluation
internal import Features
internal import Learning
internal import Logging
internal import MarketData
internal import Policies
internal import Storage
internal import Trading

/// Trains a policy by PPO on stored features, with several seeds; each training is stopped by a second span, one of
/// them selected by a third, and registered.
///
/// Nothing behind the last of these spans is read. Every policy that is tried on one of them is counted as a trial when
/// it is tried, whatever becomes of it and of the job.
struct PolicyJob {
    private let context: JobContext
    private let specification: PolicySpecification
    private var settings: TrainingSettings { specification.settings }

    init(_ context: JobContext, isRecurrent: Bool) throws {
        self.context = context
        let json = context.job.spec
        specification =
            isRecurrent
            ? try SpecificationReader.read(RecurrentPolicySpecification.self, from: json).policy
            : try SpecificationReader.read(PolicySpecification.self, from: json)
    }

    func run() async throws {
        try context.proceed(0, "reading features")
        let data = try await data()
        try context.proceed(0, "preparing")
        var search = try begin(data)
        while !search.isFinished {
            let step = try search.iterate()
            try await context.record(Self.rows(step, settings), step: step.metrics.iteration)
            if let validation = step.validation {
                try await count([trial(step.seed, validation)], data.validation, data)
            }
            try await context.proceed(search.progress, search.message) { search.checkpoint() }
        }
        try await register(search, data)
    }

    /// From the checkpoint of the attempt before, where there is one.
    private func begin(_ data: TrainingData) throws -> PolicySearch {
        if let checkpoint = context.lease.checkpoint {
            do throws(PolicyTraining.Unusable) {
                let search = try PolicySearch(resuming: checkpoint, settings, data)
                context.log.info("training resumed", metadata: ["at": "\(search.message)"])
                return search
            } catch {
                context.log.warning("the checkpoint is of no use, beginning anew", metadata: ["reason": "\(error)"])
            }
        }
        return try PolicySearch(settings, data)
    }

    private func data() async throws -> TrainingData {
        let history = try await FeatureHistory(
            stream: settings.stream, exchange: settings.exchange, symbol: settings.symbol,
            from: specification.trainFrom, to: specification.selectTo ?? specification.validateTo,
            modules: context.featureModules, pool: context.pool)
        let embargo = settings.embargo(history.schema)
        let validateFrom = specification.trainTo + embargo
        var spans = [
            "train_from": specification.trainFrom, "train_to": specification.trainTo, "validate_from": validateFrom,
            "validate_to": specification.validateTo,
        ]
        var selection = 0..<0
        if let selectTo = specification.selectTo {
            let selectFrom = specification.validateTo + embargo
            (spans["select_from"], spans["select_to"]) = (selectFrom, selectTo)
            selection = history.rows(from: selectFrom, to: selectTo)
        }
        return try TrainingData(
            settings, history, try await settings.session(history.stream, context),
            training: history.rows(from: specification.trainFrom, to: specification.trainTo),
            validation: history.rows(from: validateFrom, to: specification.validateTo), selection: selection,
            spans: spans)
    }

    // MARK: Trials

    private func trial(
        _ seed: UInt64, _ found: PolicyTraining.Validation, _ place: String? = nil
    ) -> AcceptanceRepository.Trial {
        .init(
            name: "seed \(seed) " + (place ?? "iteration \(found.iteration)"), sharpe: found.sharpe,
            netReturn: found.netReturn)
    }

    private func count(
        _ trials: [AcceptanceRepository.Trial], _ rows: Range<Int>, _ data: TrainingData
    ) async throws {
        guard let first = data.series.bars[rows].first, let last = data.series.bars[rows].last,
            let exchange = data.metadata(seed: 0)["exchange"]
        else { return }
        try await context.count(
            trials, of: settings.name,
            on: .init(exchange: exchange, symbol: settings.symbol, from: first.closeTime, to: last.closeTime))
    }

    private static func rows(
        _ step: PolicySearch.Step, _ settings: TrainingSettings
    ) -> [(name: String, value: Double)] {
        let metrics = step.metrics
        var rows: [(name: String, value: Double)] = [
            ("steps", Double(metrics.steps)), ("reward", Double(metrics.meanReward)),
            ("kl", Double(metrics.approximateKL)), ("entropy", Double(metrics.entropy)),
            ("clip_fraction", Double(metrics.clipFraction)), ("policy_loss", Double(metrics.policyLoss)),
            ("value_loss", Double(metrics.valueLoss)), ("gradient_norm", Double(metrics.gradientNorm)),
            ("standard_deviation", Double(metrics.standardDeviation)),
            ("mean_absolute_action", Double(metrics.meanAbsoluteAction)),
        ]
        if let variance = metrics.explainedVariance { rows.append(("explained_variance", Double(variance))) }
        if let sum = metrics.meanEpisodeReturn { rows.append(("episode_return", Double(sum))) }
        for (name, mean) in metrics.meanEpisodeTerms { rows.append(("episode_reward_\(name)", Double(mean))) }
        if let validation = step.validation {
            rows.append(("validation_return", validation.netReturn))
            rows.append(("validation_turnover", validation.turnover))
        }
        // One training has plain names; of several each has its own.
        return settings.seeds == 1 ? rows : rows.map { ("seed_\(step.seed).\($0.name)", $0.value) }
    }

    // MARK: The end

    private struct Metrics: Encodable {
        struct Seed: Encodable {
            var seed: UInt64
            /// Of the version that is kept.
            var bestIteration: Int
            var iterations: Int
            var steps: Int
            var validationReturn: Double
            var selectionReturn: Double?
        }
        var seeds: [Seed]
        var chosenSeed: UInt64
        /// Of the chosen seed.
        var iterations: Int
        var steps: Int
        var bestIteration: Int
        /// Policies tried in this job, on the spans that stop and select.
        var trials: Int
        var trainingRows: Int
        var validationRows: Int
        var selectionRows: Int
        /// Of the chosen version, on the span that stops and, where there is one, on that which selects.
        var validation: BacktestReport.Statistics
        var validationOrders: Int
        var validationFills: Int
        var selection: BacktestReport.Statistics?
    }

    private struct Result: Encodable {
        var model: ModelReference
        var normaliserId: String
        var schemaVersion: String
        var metrics: Metrics
    }

    /// How each candidate did on the selection span; empty where there is none.
    private func select(_ search: PolicySearch, _ data: TrainingData) async throws -> [BacktestResult] {
        guard !data.selection.isEmpty else { return [] }
        var found: [BacktestResult] = []
        for candidate in search.finished {
            try context.proceed(1, "trying seed \(candidate.seed) on the selection span")
            let result = try data.backtest.run(candidate.policy, on: data.series, span: data.selection)
            try PlausibilityGuard.check(result)
            let score = PolicyTraining.Validation(iteration: candidate.validation.iteration, result)
            try await count([trial(candidate.seed, score, "selection")], data.selection, data)
            found.append(result)
        }
        return found
    }

    private func register(_ search: PolicySearch, _ data: TrainingData) async throws {
        let selections = try await select(search, data)
        var best = 0
        func score(_ index: Int) -> PolicyTraining.Validation {
            let candidate = search.finished[index]
            guard !selections.isEmpty else { return candidate.validation }
            return .init(iteration: candidate.validation.iteration, selections[index])
        }
        for index in search.finished.indices where score(index).isBetter(than: score(best)) { best = index }
        let chosen = search.finished[best]
        try context.proceed(1, "registering")
        let report = try data.backtest.run(chosen.policy, on: data.series, span: data.validation)
        let metrics = Metrics(
            seeds: search.finished.enumerated().map { index, candidate in
                .init(
                    seed: candidate.seed, bestIteration: candidate.validation.iteration,
                    iterations: candidate.iterations, steps: candidate.steps,
                    validationReturn: candidate.validation.netReturn,
                    selectionReturn: selections.isEmpty ? nil : selections[index].statistics.totalReturn)
            },
            chosenSeed: chosen.seed, iterations: chosen.iterations, steps: chosen.steps,
            bestIteration: chosen.validation.iteration, trials: search.trials + selections.count,
            trainingRows: data.training.count, validationRows: data.validation.count,
            selectionRows: data.selection.count, validation: BacktestReport.Statistics(report),
            validationOrders: report.orderCount, validationFills: report.fills.count,
            selection: selections.isEmpty ? nil : BacktestReport.Statistics(selections[best]))
        let json = try JSON(encoding: metrics)
        let bytes = try data.file(chosen.policy).safetensors()
        let (job, name, normaliser) = (context.job, settings.name, data.normaliser)
        let found = BacktestReport.percent(score(best).netReturn)
        let span = selections.isEmpty ? "validation" : "selection"
        try await context.complete(
            "seed \(chosen.seed), iteration \(chosen.validation.iteration) chosen among \(metrics.trials): "
                + "\(found) on the \(span) span"
        ) { connection in
            try FeatureRepository.putNormaliser(
                normaliser.id, schema: normaliser.schemaVersion, bytes: normaliser.bytes, on: connection)
            let model = try ModelRepository.register(
                name: name, kind: job.kind, checkpoint: bytes,
                schemaVersion: normaliser.schemaVersion, normaliserID: normaliser.id, metrics: json,
                lineage: .lineage(of: job), jobID: job.id, on: connection)
            return try JSON(
                encoding: Result(
                    model: ModelReference(model), normaliserId: normaliser.id, schemaVersion: normaliser.schemaVersion,
                    metrics: metrics))
        }
    }
}
