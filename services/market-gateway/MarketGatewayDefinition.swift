internal import RPC
internal import ServiceKit

/// market-gateway: market data in from files and simulators; one ordered, gap-free event stream out.
struct MarketGatewayDefinition: ServiceDefinition {
    static let name = "market-gateway"
    static let summary = "market data in from files and simulators; one ordered, gap-free event stream out"
    static let defaultPort = DefaultPort.marketGateway
    static let needsDatabase = true

    init(settings: inout Settings) {}

    func parts(_ environment: ServiceEnvironment) async throws -> ServiceParts {
        let pool = try environment.requirePool()
        let streams = StreamBuilder(pool: pool, log: environment.log)
        let server = GatewayServer(pool: pool, loader: HistoryLoader(pool: pool), streams: streams)
        StageMetrics(environment.metrics).report { [subscriptions = server.subscriptions] in subscriptions.positions }
        // Reading files, simulating and building surfaces compute: not on the event loops.
        return ServiceParts(
            rpc: [server], background: [RetentionTask(pool, log: environment.log)],
            execution: .sharedPool)
    }
}
