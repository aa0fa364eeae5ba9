internal import Inference
internal import Regimes
internal import ServiceKit
internal import Storage

/// regime-sentiment-service: hidden-Markov market regimes, and the sentiment of texts.
struct RegimeSentimentDefinition: ServiceDefinition {
    static let name = "regime-sentiment-service"
    static let summary = "hidden-Markov market regimes, and the sentiment of texts"
    static let defaultPort = DefaultPort.regimeSentiment
    static let needsDatabase = true

    private let modelName: String

    init(settings: inout Settings) {
        modelName = settings.string(
            "regime.model", default: "regime", "name of the regime model whose live version filters")
    }

    func parts(_ environment: ServiceEnvironment) async throws -> ServiceParts {
        let pool = try environment.requirePool()
        let models = LiveModel<LoadedRegime>(modelName, pool: pool, log: environment.log) { model, bytes, _ in
            try LoadedRegime(model, bytes: bytes)
        }
        let inference = InferenceServer(
            name: Self.name,
            models: [RegimeModel(name: modelName, models: models), FixedModel("sentiment", SentimentModel())])
        return ServiceParts(
            rpc: [RegimeSentimentServer(pool: pool, models: models), inference], background: [models])
    }
}

/// A regime model ready to filter.
struct LoadedRegime: Sendable {
    let version: Int64
    let filter: RegimeFilter
    let logLikelihood: Double

    init(_ model: ModelRepository.Model, bytes: [UInt8]) throws {
        version = model.version
        filter = try RegimeFilter(GaussianHMM(serialised: bytes))
        logLikelihood = Metrics(model.metrics).logLikelihoodPerObservation ?? .nan
    }
}
