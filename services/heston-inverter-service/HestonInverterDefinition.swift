internal import Heston
internal import Inference
internal import Kernels
internal import RPC
internal import ServiceKit
internal import Storage

/// heston-inverter-service: implied-volatility surfaces to Heston parameters, and prices under them. Keeps no state;
/// with a database it serves the live inverse network of the registry, without one it calibrates.
struct HestonInverterDefinition: ServiceDefinition {
    static let name = "heston-inverter-service"
    static let summary = "implied-volatility surfaces to Heston parameters, and prices under them"
    static let defaultPort = DefaultPort.hestonInverter
    static let needsDatabase = false

    private let modelName: String
    private let embeddingName: String

    init(settings: inout Settings) {
        modelName = settings.string(
            "heston.model", default: "heston_inverse", "name of the inverse network whose live version answers")
        embeddingName = settings.string(
            "embedding.model", default: "regime_embedding", "name of the regime embedding whose live version answers")
    }

    func parts(_ environment: ServiceEnvironment) async throws -> ServiceParts {
        // Calls compute side by side, each on one thread.
        BLAS.setThreadCount(1)
        func live(_ name: String) -> LiveModel<LoadedInverter>? {
            environment.pool.map { pool in
                LiveModel<LoadedInverter>(name, pool: pool, log: environment.log) { record, bytes, _ in
                    try LoadedInverter(record, bytes: bytes)
                }
            }
        }
        let (networks, embeddings) = (live(modelName), live(embeddingName))
        let server = try HestonServer { networks?.current }
        var models = try HestonModels.all()
        // Without a registry there will never be any.
        if let networks { models.append(InverseNetworkModel(name: modelName) { networks.current }) }
        if let embeddings { models.append(EmbeddingModel(name: embeddingName) { embeddings.current }) }
        let inference = InferenceServer(name: Self.name, models: models)
        // Handlers compute for milliseconds: they must not hold up the event loops.
        return ServiceParts(
            rpc: [server, inference], background: [networks, embeddings].compactMap { $0 }, execution: .sharedPool)
    }
}
