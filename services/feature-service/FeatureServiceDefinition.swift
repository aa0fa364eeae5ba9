internal import Features
internal import RPC
internal import ServiceKit
internal import Storage
internal import VommaProto

/// feature-service: market events in, named feature vectors and normalised stacked states out.
struct FeatureServiceDefinition: ServiceDefinition {
    static let name = "feature-service"
    static let summary = "market events in, named feature vectors and normalised stacked states out"
    static let defaultPort = DefaultPort.featureService
    static let needsDatabase = true

    private let gateway: [Address]
    private let inverter: [Address]
    private let regimes: [Address]
    private let terms: FeatureTerms

    init(settings: inout Settings) {
        gateway = settings.addresses(
            "market.gateway", default: Address(host: "127.0.0.1", port: DefaultPort.marketGateway),
            "where market-gateway is")
        inverter = settings.addresses(
            "heston.inverter.service", default: Address(host: "127.0.0.1", port: DefaultPort.hestonInverter),
            "where heston-inverter-service is")
        regimes = settings.addresses(
            "regime.sentiment.service", default: Address(host: "127.0.0.1", port: DefaultPort.regimeSentiment),
            "where regime-sentiment-service is")
        let names = settings.string(
            "feature.modules", default: FeatureModuleKind.standardList,
            "modules of columns (docs/features.md); the trainer's too")
        do throws(FeatureError) { terms = FeatureTerms(modules: try FeatureModuleKind.list(names)) } catch {
            settings.fault("VOMMA_FEATURE_MODULES: \(error)")
            terms = FeatureTerms(modules: FeatureModuleKind.standard)
        }
    }

    func parts(_ environment: ServiceEnvironment) async throws -> ServiceParts {
        let pool = try environment.requirePool()
        let log = environment.log
        let schema = try terms.schema()
        try await pool.withConnection { try FeatureRepository.putSchema(schema.version, names: schema.names, on: $0) }
        let tails = StreamTails<FeatureRepository.Vector>(consumer: Self.name, pool: pool)
        let stage = StageMetrics(environment.metrics)
        tails.report(to: stage) { $0.barTime }
        let pipeline = FeaturePipeline(
            pool: pool, tails: tails, stage: stage, gateway: MarketGatewayClient(environment.channel(to: gateway)),
            inverter: HestonInverterClient(environment.channel(to: inverter, balancing: .roundRobin)),
            regimes: RegimeSentimentClient(environment.channel(to: regimes, balancing: .roundRobin)),
            consumer: Self.name, terms: terms, schema: schema, log: log)
        let supervisor = StreamSupervisor(
            log: log, stage: stage,
            streams: { try await pool.withConnection { try EventRepository.streams(.active, on: $0) } },
            work: { try await pipeline.follow($0) })
        let server = FeatureServer(pool: pool, tails: tails, schema: schema, consumer: Self.name)
        return ServiceParts(rpc: [server], background: [supervisor])
    }
}
