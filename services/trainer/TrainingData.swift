internal import Evaluation
internal import Features
internal import Learning
internal import MarketData
internal import Policies
internal import Storage
internal import Trading

/// Everything that a training is made with: a function of the specification and the database's rows.
///
/// In order of time, an embargo between each two: the rows to train on, which also make the normaliser; those that stop
/// a training; those that select among trainings. Of the last two the first window − 1 rows only fill the first
/// observation.
struct TrainingData: Sendable {
    let normaliser: Normaliser
    let series: MarketSeries
    let training: Range<Int>
    let validation: Range<Int>
    /// Empty where nothing is selected.
    let selection: Range<Int>
    let environment: TradingEnvironment
    let backtest: Backtest
    private let description: [String: String]

    /// What is stored of the spans, by name, is written into the policy's metadata.
    init(
        _ settings: TrainingSettings, _ history: FeatureHistory, _ session: TradingSession.Configuration,
        training: Range<Int>, validation: Range<Int>, selection: Range<Int>, spans: [String: Timestamp]
    ) throws {
        let window = settings.window
        for (name, rows) in [("training", training), ("validation", validation), ("selection", selection)]
        where rows.count <= window && !(name == "selection" && rows.isEmpty) {
            throw JobError.badData(
                "the \(name) span has \(rows.count) rows of features, more than the window's \(window) are needed")
        }
        (self.training, self.validation, self.selection) = (training, validation, selection)
        normaliser = try history.normaliser(of: training)
        series = try history.series(normaliser)
        environment = try TradingEnvironment(
            .init(
                session: session, reward: settings.reward, window: window, episodeLength: settings.episodeLength),
            series: series, span: training)
        backtest = Backtest(session: session, window: window, modelVersion: "validation")
        description = [
            "schema_version": normaliser.schemaVersion, "normaliser_id": normaliser.id, "symbol": settings.symbol,
            "stream": settings.stream, "exchange": history.stream.exchange, "window": "\(window)",
            "feature_count": "\(normaliser.count)", "gamma": "\(settings.algorithm.gamma)",
            "reward_scale": "\(settings.algorithm.rewardScale)",
        ].merging(spans.mapValues { "\($0)" }) { $1 }
    }

    /// Travels with a policy of that seed.
    func metadata(seed: UInt64) -> [String: String] { description.merging(["seed": "\(seed)"]) { $1 } }

    /// Rows evenly spaced over those that stop the training.
    private static let goldenCount = 16

    /// The policy as it is stored: with its normaliser, and answers to know it by.
    func file(_ policy: Policy) throws -> PolicyFile {
        let layout = environment.layout
        var observations: [Float] = []
        var observation = [Float](repeating: 0, count: layout.count)
        let first = validation.lowerBound + layout.window - 1
        for index in 0..<Self.goldenCount {
            let row = first + index * (validation.upperBound - 1 - first) / (Self.goldenCount - 1)
            var target = observation.mutableSpan
            series.observe(row, layout, previousExposure: 0, into: &target)
            observations += observation
        }
        return PolicyFile(
            policy, normaliser: normaliser.bytes, golden: try GoldenInputs(policy, observations: observations))
    }
}

extension TrainingSettings {
    /// Left out behind each span: what was asked for, or what the features remember and the bar that a reward looks
    /// ahead. (Averages that forget slowly remember a little of everything; what is counted is their warm-up.)
    func embargo(_ schema: FeatureSchema) -> Interval {
        embargo ?? .minutes(Int64((schema.definitions.map(\.warmUp).max() ?? 0) + 1))
    }

    /// The terms on which the policy is trained and tried.
    func session(_ stream: EventRepository.Stream, _ context: JobContext) async throws -> TradingSession.Configuration {
        let rules = try await InstrumentRules.stored(symbol, of: stream, pool: context.pool)
        return try (account ?? AccountSettings(of: stream)).session(account: "training", instruments: [rules])
    }
}
