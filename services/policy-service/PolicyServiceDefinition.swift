internal import Inference
internal import Kernels
internal import RPC
internal import ServiceKit
internal import Storage
internal import VommaProto

/// policy-service: states in, target exposures with value, confidence and reasons out.
struct PolicyServiceDefinition: ServiceDefinition {
    static let name = "policy-service"
    static let summary = "states in, target exposures with value, confidence and reasons out"
    static let defaultPort = DefaultPort.policyService
    static let needsDatabase = true

    private let features: [Address]
    private let modelName: String

    init(settings: inout Settings) {
        features = settings.addresses(
            "feature.service", default: Address(host: "127.0.0.1", port: DefaultPort.featureService),
            "where feature-service is")
        modelName = settings.string("policy.model", default: "policy", "name of the model whose live version decides")
    }

    func parts(_ environment: ServiceEnvironment) async throws -> ServiceParts {
        BLAS.setThreadCount(1)
        let pool = try environment.requirePool()
        let log = environment.log
        let channel = environment.channel(to: features)
        let models = LiveModel<LoadedPolicy>(modelName, pool: pool, log: log) { model, checkpoint, pool in
            try await LoadedPolicy(model, checkpoint: checkpoint, pool: pool)
        }
        let tails = StreamTails<DecisionRepository.Decision>(consumer: Self.name, pool: pool)
        let stage = StageMetrics(environment.metrics)
        tails.report(to: stage) { $0.barTime }
        let pipeline = DecisionPipeline(
            pool: pool, models: models, tails: tails, stage: stage, features: FeatureClient(channel),
            consumer: Self.name, log: log)
        let supervisor = StreamSupervisor(
            log: log, stage: stage,
            streams: {
                try await pool.withConnection { try EventRepository.streams(.active, on: $0) }
                    .filter { !$0.tradedSymbols.isEmpty }
            },
            work: { try await pipeline.follow($0) })
        let server = PolicyServer(pool: pool, models: models, tails: tails)
        let inference = InferenceServer(name: Self.name, models: [PolicyModel(name: modelName, models: models)])
        return ServiceParts(rpc: [server, inference], background: [models, supervisor])
    }
}
