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

    init(settings: inout Settings) {
        modelName = settings.string(
            "heston.model", default: "heston_inverse", "name of the inverse network whose live version answers")
    }

    func parts(_ environment: ServiceEnvironment) async throws -> ServiceParts {
        // Calls compute side by side, each on one thread.
        BLAS.setThreadCount(1)
        let networks = environment.pool.map { pool in
            LiveModel<LoadedInverter>(modelName, pool: pool, log: environment.log) { record, bytes, _ in
                try LoadedInverter(record, bytes: bytes)
            }
        }
        let server = try HestonServer { networks?.current }
        // Without a registry there will never be a network: the service is ready without it.
        let network = networks.map { networks in InverseNetworkModel(name: modelName) { networks.current } }
        let inference = InferenceServer(
            name: Self.name, models: try HestonModels.all() + (network.map { [$0] } ?? []))
        // Handlers compute for milliseconds: they must not hold up the event loops.
        return ServiceParts(
            rpc: [server, inference], background: networks.map { [$0] } ?? [], execution: .sharedPool)
    }
}
