internal import Contract
internal import Heston
internal import HestonInverse
internal import MarketData
internal import RPC
internal import VommaProto

/// One surface to parameters, by the method that is asked for.
struct Inversion: Sendable {
    let calibrator: Calibrator
    let network: LoadedInverter?

    /// Throws `RPCStatus`, `HestonError`, `InversionError`.
    func answer(
        _ surface: ImpliedVolatilitySurface, _ method: InversionMethod, start: Heston.HestonParameters?
    ) throws -> InvertResponse {
        switch method {
        case .calibration: return try calibrated(surface, start)
        case .network: return try networkAlone(surface, try requireNetwork())
        case .polished: return try polished(surface, start, try requireNetwork())
        case .unspecified:
            guard let network, isFor(network, surface) else { return try calibrated(surface, start) }
            return try polished(surface, start, network)
        case .unrecognized(let number):
            throw RPCStatus(
                .invalidArgument, "there is no inversion method \(number)", invalidField: "method", "is unknown")
        }
    }

    private func requireNetwork() throws -> LoadedInverter {
        guard let network else {
            throw RPCStatus(
                .failedPrecondition,
                "no inverse network is live: train one (a job of kind heston_inverse_synth) and promote it, or ask "
                    + "for CALIBRATION")
        }
        return network
    }

    /// Whether the network can answer at all.
    private func isFor(_ network: LoadedInverter, _ surface: ImpliedVolatilitySurface) -> Bool {
        guard let cells = try? network.model.grid.volatilities(surface) else { return false }
        return (try? network.model.grid.check(cells)) != nil
    }

    private func calibrated(
        _ surface: ImpliedVolatilitySurface, _ start: Heston.HestonParameters?
    ) throws -> InvertResponse {
        response(try calibrator.calibrate(surface, warmStart: start), .calibration, HestonServer.modelVersion)
    }

    /// The network's own parameters, and what they make of the surface.
    private func networkAlone(
        _ surface: ImpliedVolatilitySurface, _ network: LoadedInverter
    ) throws -> InvertResponse {
        let cells = try network.model.grid.volatilities(surface)
        let (answer, error) = try network.inverter.answer(cells)
        let fitted = try HestonPricer(answer.parameters, Market(spot: surface.spot)).surface(
            logMoneyness: surface.logMoneyness, tau: surface.tau)
        return InvertResponse(
            parameters: VommaProto.HestonParameters(answer.parameters), rmseVolatility: error, termination: "network",
            method: .network, modelVersion: network.title, fittedVolatility: fitted.impliedVolatility,
            network: VommaProto.NetworkAnswer(answer, error: error))
    }

    /// Levenberg–Marquardt from the network's parameters, or from the given start where that is nearer.
    private func polished(
        _ surface: ImpliedVolatilitySurface, _ start: Heston.HestonParameters?, _ network: LoadedInverter
    ) throws -> InvertResponse {
        let grid = network.model.grid
        let cells = try grid.volatilities(surface)
        let (answer, error) = try network.inverter.answer(cells)
        var best = answer.parameters
        if let start, let other = try? InverseModel.error(of: start, grid.quotes(cells)), other < error {
            best = start
        }
        let fit = try calibrator.calibrate(surface, warmStart: best)
        var polished = response(fit, .polished, "\(HestonServer.modelVersion)+\(network.title)")
        polished.network = VommaProto.NetworkAnswer(answer, error: error)
        return polished
    }

    private func response(_ fit: Calibration, _ method: InversionMethod, _ version: String) -> InvertResponse {
        InvertResponse(
            parameters: VommaProto.HestonParameters(fit.parameters), rmseVolatility: fit.volatilityRootMeanSquare,
            iterations: Int32(fit.iterations), termination: fit.termination.rawValue, method: method,
            modelVersion: version, fittedVolatility: fit.residuals.map { $0.modelVolatility ?? .nan })
    }
}

extension VommaProto.NetworkAnswer {
    init(_ answer: HestonInverse.NetworkAnswer, error: Double) {
        self.init(
            parameters: VommaProto.HestonParameters(answer.parameters), deviations: answer.deviations,
            novelty: answer.novelty, rmseVolatility: error)
    }
}
