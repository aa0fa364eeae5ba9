internal import Heston
internal import Inference
internal import RPC
internal import ServiceKit

/// heston-inverter-service: implied-volatility surfaces to Heston parameters, and prices under them. Keeps no state.
struct HestonInverterDefinition: ServiceDefinition {
    static let name = "heston-inverter-service"
    static let summary = "implied-volatility surfaces to Heston parameters, and prices under them"
    static let defaultPort = DefaultPort.hestonInverter
    static let needsDatabase = false

    init(settings: inout Settings) {}

    func parts(_ environment: ServiceEnvironment) async throws -> ServiceParts {
        // Handlers compute for milliseconds: they must not hold up the event loops.
        let inference = InferenceServer(name: Self.name, models: try HestonModels.all())
        return ServiceParts(rpc: [try HestonServer(), inference], execution: .sharedPool)
    }
}
