internal import Contract
internal import Foundation
internal import Heston
internal import HestonInverse
internal import Kernels
internal import MarketData
internal import RPC
internal import VommaProto

/// The RPC face of heston-inverter-service. Every answer is a function of its request.
struct HestonServer: HestonInverterService {
    /// Grows with every change that can move an answer's digits.
    static let modelVersion = "lm-1"

    private let calibrator: Calibrator
    private let builder: SurfaceBuilder
    /// The live inverse network, where there is one.
    private let network: @Sendable () -> LoadedInverter?

    init(network: @escaping @Sendable () -> LoadedInverter? = { nil }) throws {
        calibrator = try Calibrator()
        builder = try SurfaceBuilder()
        self.network = network
    }

    func invert(_ request: InvertRequest, context: CallContext) async throws -> InvertResponse {
        try invert(request, Inversion(calibrator: calibrator, network: network()))
    }

    /// Surfaces are inverted side by side, on as many threads as there are processors.
    func invertBatch(_ request: InvertBatchRequest, context: CallContext) async throws -> InvertBatchResponse {
        // One network for all of them.
        let inversion = Inversion(calibrator: calibrator, network: network())
        let requests = request.requests
        let lanes = max(1, min(requests.count, ProcessInfo.processInfo.activeProcessorCount))
        return try await withThrowingTaskGroup(of: [(Int, InvertResult)].self) { group in
            for lane in 0..<lanes {
                group.addTask {
                    var found: [(Int, InvertResult)] = []
                    for index in stride(from: lane, to: requests.count, by: lanes) {
                        try Task.checkCancellation()
                        do {
                            let answer = try invert(requests[index], inversion)
                            found.append((index, InvertResult(result: .response(answer))))
                        } catch let status as RPCStatus {
                            found.append((index, InvertResult(result: .error(status.description))))
                        }
                        await Task.yield()
                    }
                    return found
                }
            }
            var results = [InvertResult](repeating: InvertResult(), count: requests.count)
            for try await found in group { for (index, result) in found { results[index] = result } }
            return InvertBatchResponse(results: results)
        }
    }

    private func invert(_ request: InvertRequest, _ inversion: Inversion) throws -> InvertResponse {
        try answering {
            try inversion.answer(try requireSurface(request.surface), request.method, start: request.start?.domain)
        }
    }

    func calibrate(_ request: CalibrateRequest, context: CallContext) async throws -> CalibrateResponse {
        try answering {
            let surface = try requireSurface(request.surface)
            guard request.maxIterations >= 0 else { throw RPCStatus(invalidField: "max_iterations", "is negative") }
            let quotes = request.weights.isEmpty ? nil : try weighted(surface, request.weights)
            switch request.method {
            case .unspecified, .levenbergMarquardt:
                var configuration = Calibrator.Configuration()
                configuration.enforcesFeller = request.feller
                if request.maxIterations > 0 { configuration.maximumIterations = Int(request.maxIterations) }
                let calibrator = try Calibrator(configuration)
                let start = request.start?.domain
                return CalibrateResponse(
                    try quotes.map { try calibrator.calibrate($0, warmStart: start) }
                        ?? calibrator.calibrate(surface, warmStart: start))
            case .adam:
                var configuration = AdamCalibrator.Configuration()
                configuration.enforcesFeller = request.feller
                if request.maxIterations > 0 { configuration.steps = Int(request.maxIterations) }
                // A call must end: a cell takes about a microsecond a step.
                guard configuration.steps <= 10_000_000 / max(1, surface.cells.count) else {
                    throw RPCStatus(invalidField: "max_iterations", "times the surface's cells is above 10000000")
                }
                let found = try AdamCalibrator(configuration).calibrate(
                    quotes ?? weighted(surface, surface.cells.map { $0 == .extrapolated ? 0 : 1 }),
                    start: request.start?.domain)
                var response = CalibrateResponse(found.calibration)
                response.trajectory = found.trajectory.map {
                    CalibrationPoint(
                        step: Int32($0.step), loss: $0.loss, parameters: VommaProto.HestonParameters($0.parameters))
                }
                return response
            case .unrecognized(let number):
                throw RPCStatus(invalidField: "method", "\(number) is unknown")
            }
        }
    }

    private func weighted(_ surface: ImpliedVolatilitySurface, _ weights: [Double]) throws -> [CalibrationQuote] {
        guard weights.count == surface.cells.count else {
            throw RPCStatus(
                invalidField: "weights", "has \(weights.count) values for \(surface.cells.count) cells")
        }
        if let bad = weights.firstIndex(where: { !($0 >= 0 && $0.isFinite) }) {
            throw RPCStatus(invalidField: "weights[\(bad)]", "is not a finite number of at least 0")
        }
        return surface.cells.indices.map { index in
            CalibrationQuote(
                logMoneyness: surface.logMoneyness[index / surface.tau.count],
                tau: surface.tau[index % surface.tau.count], impliedVolatility: surface.impliedVolatility[index],
                weight: surface.cells[index] == .missing ? 0 : weights[index])
        }
    }

    func price(_ request: PriceRequest, context: CallContext) async throws -> PriceResponse {
        guard let parameters = request.parameters?.domain else {
            throw RPCStatus(invalidField: "parameters", "is missing")
        }
        let count = request.strikes.count
        guard count > 0 else { throw RPCStatus(invalidField: "strikes", "is empty") }
        let tau = try spread(request.tau, over: count, name: "tau")
        let kinds = try spread(request.kinds.isEmpty ? [.call] : request.kinds, over: count, name: "kinds")
        let market = Market(spot: request.spot, rate: request.rate, dividendYield: request.dividendYield)
        let pricer: any EuropeanPricer = try answering {
            guard let jumps = request.jumps else { return try HestonPricer(parameters, market) }
            return try BatesPricer(
                BatesParameters(
                    heston: parameters,
                    jumps: JumpParameters(intensity: jumps.lambda, mean: jumps.mu, standardDeviation: jumps.delta)),
                market)
        }
        let contracts = try (0..<count).map { index in
            OptionContract(
                kind: try Self.kind(kinds[index], at: index), strike: request.strikes[index], tau: tau[index])
        }
        var values: [OptionValue] = []
        values.reserveCapacity(count)
        // In pieces of one maturity, so that a call whose deadline has passed stops within one piece's time.
        var start = 0
        while start < count {
            try Task.checkCancellation()
            var end = start + 1
            while end < count, end - start < Self.piece, tau[end] == tau[start] { end += 1 }
            let piece = Array(contracts[start..<end])
            values += try answering { try pricer.values(piece, greeks: request.greeks) }
            start = end
            await Task.yield()
        }
        var response = PriceResponse(prices: values.map(\.price))
        guard request.greeks else { return response }
        response.delta = values.map(\.delta)
        response.gamma = values.map(\.gamma)
        response.digital = values.map(\.digital)
        response.byKappa = values.map(\.gradient.kappa)
        response.byTheta = values.map(\.gradient.theta)
        response.bySigma = values.map(\.gradient.sigma)
        response.byRho = values.map(\.gradient.rho)
        response.byV0 = values.map(\.gradient.v0)
        response.theta = values.map(\.theta)
        guard request.jumps != nil else { return response }
        response.byLambda = values.map(\.jumpGradient.intensity)
        response.byMu = values.map(\.jumpGradient.mean)
        response.byDelta = values.map(\.jumpGradient.standardDeviation)
        return response
    }

    /// Cells of the largest grid that a request may ask for: a small request must not cost much memory.
    private static let maximumCells = 10_000

    /// Strikes priced between two looks at the deadline.
    private static let piece = 256

    func impliedVolatility(
        _ request: ImpliedVolatilityRequest, context: CallContext
    ) async throws -> ImpliedVolatilityResponse {
        let count = request.prices.count
        guard request.strikes.count == count else {
            throw RPCStatus(
                .invalidArgument, "\(count) prices and \(request.strikes.count) strikes", invalidField: "strikes",
                "is not as long as prices")
        }
        let tau = try spread(request.tau, over: count, name: "tau")
        let kinds = try spread(request.kinds.isEmpty ? [.call] : request.kinds, over: count, name: "kinds")
        let market = Market(spot: request.spot, rate: request.rate, dividendYield: request.dividendYield)
        var response = ImpliedVolatilityResponse()
        for index in 0..<count {
            if index % 1024 == 0 { try Task.checkCancellation() }
            let kind = try Self.kind(kinds[index], at: index)
            do throws(HestonError) {
                response.impliedVolatility.append(
                    try Black.impliedVolatility(
                        kind, price: request.prices[index] * exp(request.rate * tau[index]),
                        forward: market.forward(tau: tau[index]), strike: request.strikes[index], tau: tau[index]))
                response.errors.append("")
            } catch {
                response.impliedVolatility.append(.nan)
                response.errors.append("\(error)")
            }
        }
        return response
    }

    func buildSurface(_ request: BuildSurfaceRequest, context: CallContext) async throws -> BuildSurfaceResponse {
        guard let chain = request.chain else { throw RPCStatus(invalidField: "chain", "is missing") }
        let (cells, overflow) = max(1, request.logMoneyness.count).multipliedReportingOverflow(
            by: max(1, request.tau.count))
        guard !overflow, cells <= Self.maximumCells else {
            throw RPCStatus(
                .invalidArgument, "log_moneyness × tau has more than \(Self.maximumCells) cells",
                invalidField: "log_moneyness", "makes too large a grid with tau")
        }
        return try answering {
            var configuration = SurfaceBuilder.Configuration()
            if !request.logMoneyness.isEmpty { configuration.logMoneyness = request.logMoneyness }
            if !request.tau.isEmpty { configuration.tau = request.tau }
            switch request.method {
            case .unspecified, .svi: configuration.method = .svi
            case .nearest: configuration.method = .nearest
            case .unrecognized(let number): throw RPCStatus(invalidField: "method", "\(number) is unknown")
            }
            let result = try SurfaceBuilder(configuration).build(try chain.domain())
            var dropped: [String: UInt32] = [:]
            for (fate, count) in result.hygiene.counts where fate != .kept { dropped[fate.rawValue] = UInt32(count) }
            return BuildSurfaceResponse(
                surface: Surface(result.surface), quotesUsed: UInt32(result.hygiene[.kept]), quotesDropped: dropped,
                smileRmse: result.fitRootMeanSquare, calendarViolations: UInt32(result.arbitrage.calendarPairs),
                butterflyViolations: UInt32(result.arbitrage.butterflyExpiries),
                quoteFates: result.hygiene.fates.map(\.rawValue))
        }
    }

    func describeModel(_ request: DescribeModelRequest, context: CallContext) async throws -> DescribeModelResponse {
        guard let network = network() else {
            return DescribeModelResponse(
                methods: [.calibration], defaultMethod: .calibration, modelVersion: Self.modelVersion,
                logMoneyness: ImpliedVolatilitySurface.standardLogMoneyness, tau: ImpliedVolatilitySurface.standardTau)
        }
        let grid = network.model.grid
        return DescribeModelResponse(
            methods: [.calibration, .network, .polished], defaultMethod: .polished,
            modelVersion: "\(Self.modelVersion)+\(network.title)", logMoneyness: grid.logMoneyness, tau: grid.tau,
            network: network.model.metadata)
    }

    // MARK: Requests

    private func requireSurface(_ surface: Surface?) throws -> ImpliedVolatilitySurface {
        guard let surface else { throw RPCStatus(invalidField: "surface", "is missing") }
        return try surface.domain()
    }

    /// One value for each of `count`, from one for each or one for all.
    private func spread<T>(_ values: [T], over count: Int, name: String) throws -> [T] {
        if values.count == count { return values }
        guard values.count == 1 else {
            throw RPCStatus(invalidField: name, "has \(values.count) values, 1 or \(count) needed")
        }
        return Array(repeating: values[0], count: count)
    }

    private static func kind(_ kind: VommaProto.OptionKind, at index: Int) throws -> MarketData.OptionQuote.Kind {
        switch kind {
        case .call: return .call
        case .put: return .put
        case .unspecified, .unrecognized: throw RPCStatus(invalidField: "kinds[\(index)]", "is unspecified")
        }
    }

    /// Turns this domain's errors into statuses.
    private func answering<R>(_ body: () throws -> R) throws -> R {
        do {
            return try body()
        } catch let error as HestonError {
            throw RPCStatus(error)
        } catch let error as InversionError {
            throw RPCStatus(error)
        } catch let error as ContractError {
            switch error {
            case .missing(let field): throw RPCStatus(invalidField: field, "is missing")
            case .invalid(let field, let reason): throw RPCStatus(invalidField: field, reason)
            }
        }
    }
}

extension RPCStatus {
    /// The one place that knows both vocabularies.
    init(_ error: HestonError) {
        switch error {
        case .invalidArgument(let name, let value, let allowed):
            self.init(
                .invalidArgument, "\(error)", invalidField: Self.field(name), "is \(value), allowed: \(allowed)")
        case .shapeMismatch(let name, let expected, let actual):
            self.init(
                .invalidArgument, "\(error)", invalidField: Self.field(name),
                "has \(actual) elements, \(expected) expected")
        case .belowIntrinsic, .aboveUpperBound, .noVolatilityInformation:
            self.init(.invalidArgument, "\(error)", invalidField: "prices", "\(error)")
        case .accuracyNotReached, .staleChain, .chainTooSparse, .tooFewCells, .calibrationFailed:
            self.init(.failedPrecondition, "\(error)")
        }
    }

    init(_ error: InversionError) {
        switch error {
        case .wrongGrid:
            self.init(.invalidArgument, "\(error)", invalidField: "surface", "is not on the network's grid")
        case .impossibleVolatility(let cell, let value):
            self.init(.invalidArgument, "\(error)", invalidField: "surface.implied_volatility[\(cell)]", "is \(value)")
        case .calibration(let error): self.init(error)
        case .tooFewCells, .malformed, .file, .diverged, .generatorExhausted, .noAnswers:
            self.init(.failedPrecondition, "\(error)")
        }
    }

    /// The request's field of an argument's name in the domain.
    private static func field(_ name: String) -> String {
        switch name {
        case "kappa", "theta", "sigma", "rho", "v0": "parameters.\(name)"
        case "strike": "strikes"
        case "intensity": "jumps.lambda"
        case "mean": "jumps.mu"
        case "standardDeviation": "jumps.delta"
        case "dividendYield": "dividend_yield"
        case "logMoneyness": "log_moneyness"
        case "weight": "weights"
        case "impliedVolatility": "surface.implied_volatility"
        default: name
        }
    }
}

extension CalibrateResponse {
    init(_ fit: Calibration) {
        self.init(
            parameters: VommaProto.HestonParameters(fit.parameters), rmseVolatility: fit.volatilityRootMeanSquare,
            rmsePrice: fit.priceRootMeanSquare, iterations: Int32(fit.iterations),
            termination: fit.termination.rawValue, conditionNumber: fit.conditionNumber,
            standardErrors: fit.standardErrors ?? [], residuals: fit.residuals.map { $0.difference ?? .nan })
    }
}

extension VommaProto.HestonParameters {
    init(_ parameters: Heston.HestonParameters) {
        self.init(
            kappa: parameters.kappa, theta: parameters.theta, sigma: parameters.sigma, rho: parameters.rho,
            v0: parameters.v0)
    }

    var domain: Heston.HestonParameters { .init(kappa: kappa, theta: theta, sigma: sigma, rho: rho, v0: v0) }
}
