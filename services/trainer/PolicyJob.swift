internal import Evaluation
internal import Features
internal import Learning
internal import Logging
internal import MarketData
internal import Policies
internal import Storage
internal import Trading

/// Trains a policy by PPO on stored features, chooses among its versions on a later span, and registers the best.
///
/// What it looks at, in order of time: the training span (normaliser, environments), the embargo (nothing), the
/// validation span, of which the first window − 1 rows only fill the first observation. Nothing later is read.
struct PolicyJob {
    private let context: JobContext
    private let specification: PolicySpecification

    init(_ context: JobContext) throws {
        self.context = context
        specification = try SpecificationReader.read(PolicySpecification.self, from: context.job.spec)
    }

    func run() async throws {
        try context.proceed(0, "reading features")
        let data = try await TrainingData(specification, context)
        try context.proceed(0, "preparing")
        var training = try begin(data)
        var last: PPOMetrics?
        while !training.isFinished {
            let (metrics, validation) = try training.iterate { policy in
                try data.backtest.run(policy, on: data.series, span: data.validation)
            }
            last = metrics
            try await context.record(Self.rows(metrics, validation), step: metrics.iteration)
            let message = "iteration \(metrics.iteration) of \(training.trainer.configuration.totalIterations)"
            try await context.proceed(training.progress, message) { training.checkpoint() }
        }
        try await register(training, data, last)
    }

    /// From the checkpoint of the attempt before, where there is one.
    private func begin(_ data: TrainingData) throws -> PolicyTraining {
        if let checkpoint = context.lease.checkpoint {
            do throws(PolicyTraining.Unusable) {
                let training = try PolicyTraining(
                    resuming: checkpoint, data.environment, specification, metadata: data.metadata)
                context.log.info("training resumed", metadata: ["iteration": "\(training.trainer.iteration)"])
                return training
            } catch {
                context.log.warning("the checkpoint is of no use, beginning anew", metadata: ["reason": "\(error)"])
            }
        }
        let architecture = MLPPolicy.Architecture(
            observationSize: data.environment.layout.count, hidden: specification.hidden,
            window: specification.window, featureCount: data.normaliser.count)
        return try PolicyTraining(architecture, data.environment, specification, metadata: data.metadata)
    }

    private static func rows(
        _ metrics: PPOMetrics, _ validation: PolicyTraining.Validation?
    ) -> [(name: String, value: Double)] {
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
        if let validation {
            rows.append(("validation_return", validation.netReturn))
            rows.append(("validation_turnover", validation.turnover))
        }
        return rows
    }

    // MARK: The end

    private struct Metrics: Encodable {
        var iterations: Int
        var steps: Int
        /// Of the chosen version.
        var bestIteration: Int
        /// Versions tried on the validation span.
        var trials: Int
        var trainingRows: Int
        var validationRows: Int
        var reward: Double?
        var explainedVariance: Double?
        var validation: BacktestReport.Statistics
        var validationOrders: Int
        var validationFills: Int
    }

    private struct Result: Encodable {
        var model: ModelReference
        var normaliserId: String
        var schemaVersion: String
        var metrics: Metrics
    }

    private func register(_ training: PolicyTraining, _ data: TrainingData, _ last: PPOMetrics?) async throws {
        guard let best = training.best else { throw JobError.badData("no version of the policy was validated") }
        try context.proceed(1, "registering")
        let report = try data.backtest.run(best.policy, on: data.series, span: data.validation)
        // A job that was resumed behind its last iteration has no metrics of it.
        let metrics = Metrics(
            iterations: training.trainer.iteration, steps: training.trainer.steps,
            bestIteration: best.validation.iteration, trials: training.trials, trainingRows: data.training.count,
            validationRows: data.validation.count, reward: last.map { Double($0.meanReward) },
            explainedVariance: last?.explainedVariance.map(Double.init),
            validation: BacktestReport.Statistics(report), validationOrders: report.orderCount,
            validationFills: report.fills.count)
        let json = try JSON(encoding: metrics)
        let bytes = best.policy.safetensors()
        let (job, name, normaliser) = (context.job, specification.name, data.normaliser)
        let score = BacktestReport.percent(best.validation.netReturn)
        try await context.complete(
            "iteration \(best.validation.iteration) chosen among \(training.trials): \(score) on the validation span"
        ) { connection in
            try FeatureRepository.putNormaliser(
                normaliser.id, schema: normaliser.schemaVersion, bytes: normaliser.bytes, on: connection)
            let model = try ModelRepository.register(
                name: name, kind: JobKind.ppo.rawValue, checkpoint: bytes, schemaVersion: normaliser.schemaVersion,
                normaliserID: normaliser.id, metrics: json, lineage: .lineage(of: job), jobID: job.id, on: connection)
            return try JSON(
                encoding: Result(
                    model: ModelReference(model), normaliserId: normaliser.id, schemaVersion: normaliser.schemaVersion,
                    metrics: metrics))
        }
    }
}

/// Everything that a training is made with: a function of the specification and the database's rows.
private struct TrainingData {
    let normaliser: Normaliser
    let series: MarketSeries
    let training: Range<Int>
    let validation: Range<Int>
    let environment: TradingEnvironment
    let backtest: Backtest
    /// Travels with the policy.
    let metadata: [String: String]

    init(_ specification: PolicySpecification, _ context: JobContext) async throws {
        let pool = context.pool
        let history = try await FeatureHistory(
            stream: specification.stream, exchange: specification.exchange, symbol: specification.symbol,
            from: specification.trainFrom, to: specification.validateTo, modules: context.featureModules, pool: pool)
        let validateFrom = specification.trainTo + specification.embargo
        training = history.rows(from: specification.trainFrom, to: specification.trainTo)
        validation = history.rows(from: validateFrom, to: specification.validateTo)
        let window = specification.window
        for (name, rows) in [("training", training), ("validation", validation)] where rows.count <= window {
            throw JobError.badData(
                "the \(name) span has \(rows.count) rows of features, more than the window's \(window) are needed")
        }
        normaliser = try history.normaliser(of: training)
        series = try history.series(normaliser)
        let rules = try await InstrumentRules.stored(
            exchange: history.stream.exchange, symbol: specification.symbol, pool: pool)
        let account = try specification.account ?? AccountSettings(of: history.stream)
        let session = try account.session(account: "training", instruments: [rules])
        environment = try TradingEnvironment(
            .init(
                session: session, reward: specification.reward, window: specification.window,
                episodeLength: specification.episodeLength),
            series: series, span: training)
        backtest = Backtest(session: session, window: specification.window, modelVersion: "validation")
        metadata = [
            "schema_version": normaliser.schemaVersion, "normaliser_id": normaliser.id,
            "symbol": specification.symbol, "stream": specification.stream, "exchange": history.stream.exchange,
            "seed": "\(specification.seed)", "window": "\(specification.window)",
            "feature_count": "\(normaliser.count)",
            "train_from": "\(specification.trainFrom)", "train_to": "\(specification.trainTo)",
            "validate_from": "\(validateFrom)", "validate_to": "\(specification.validateTo)",
        ]
    }
}
