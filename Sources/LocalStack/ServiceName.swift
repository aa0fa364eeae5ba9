internal import ServiceKit

/// Vomma's services, in the order in which they are started.
public enum ServiceName: String, CaseIterable, Sendable {
    case marketGateway = "market-gateway"
    case hestonInverter = "heston-inverter-service"
    case regimeSentiment = "regime-sentiment-service"
    case featureService = "feature-service"
    case policyService = "policy-service"
    case executionService = "execution-service"
    case trainer = "trainer"

    public var defaultPort: Int {
        switch self {
        case .marketGateway: DefaultPort.marketGateway
        case .hestonInverter: DefaultPort.hestonInverter
        case .regimeSentiment: DefaultPort.regimeSentiment
        case .featureService: DefaultPort.featureService
        case .policyService: DefaultPort.policyService
        case .executionService: DefaultPort.executionService
        case .trainer: DefaultPort.trainer
        }
    }

    /// The variable that tells the others where it is, `VOMMA_FEATURE_SERVICE`.
    public var addressVariable: String {
        "VOMMA_" + rawValue.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
    }
}
