internal import RPC
internal import ServiceKit
internal import Storage
internal import VommaProto

/// execution-service: decisions in, risk checks, orders, fills, positions and equity out. Paper trading.
struct ExecutionServiceDefinition: ServiceDefinition {
    static let name = "execution-service"
    static let summary = "decisions in; risk checks, paper orders, fills, positions and equity out"
    static let defaultPort = DefaultPort.executionService
    static let needsDatabase = true

    private let gateway: [Address]
    private let policy: [Address]

    init(settings: inout Settings) {
        gateway = settings.addresses(
            "market.gateway", default: Address(host: "127.0.0.1", port: DefaultPort.marketGateway),
            "where market-gateway is")
        policy = settings.addresses(
            "policy.service", default: Address(host: "127.0.0.1", port: DefaultPort.policyService),
            "where policy-service is")
    }

    func parts(_ environment: ServiceEnvironment) async throws -> ServiceParts {
        let pool = try environment.requirePool()
        let log = environment.log
        let switches = KillSwitches(pool: pool)
        let tails = StreamTails<TradingRepository.Equity>(consumer: Self.name, pool: pool)
        let stage = StageMetrics(environment.metrics)
        tails.report(to: stage) { $0.eventTime }
        let runner = AccountRunner(
            pool: pool, tails: tails, stage: stage, switches: switches,
            gateway: MarketGatewayClient(environment.channel(to: gateway)),
            policy: PolicyClient(environment.channel(to: policy)), consumer: Self.name, log: log)
        let supervisor = StreamSupervisor(
            log: log, stage: stage,
            streams: {
                try await pool.withConnection { try EventRepository.streams(.active, on: $0) }
                    .filter { !$0.tradedSymbols.isEmpty }
            },
            work: { try await runner.follow($0) })
        let server = ExecutionServer(pool: pool, tails: tails, switches: switches, consumer: Self.name)
        return ServiceParts(rpc: [server], background: [supervisor])
    }
}
