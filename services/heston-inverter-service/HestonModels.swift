internal import Heston
internal import Inference
internal import MarketData
internal import RPC

/// What inference clients can call here beside the inverse network: the pricer and the calibration.
enum HestonModels {
    static func all() throws -> [any TensorModel] {
        [
            FixedModel("heston_pricer", PricerModel()),
            FixedModel("heston_calibration", CalibrationModel(calibrator: try Calibrator())),
        ]
    }
}

/// `heston_pricer`: parameters, market and contracts to prices and their derivatives.
struct PricerModel: TensorModelVersion {
    let version = HestonServer.modelVersion
    let platform = "heston"
    let inputs: [TensorDeclaration] = [
        // kappa, theta, sigma, rho, v0
        TensorDeclaration("parameters", .float64, ["batch", 5]),
        // spot, rate, dividend yield
        TensorDeclaration("market", .float64, ["batch", 3]),
        TensorDeclaration("strikes", .float64, ["batch", "contracts"]),
        // years
        TensorDeclaration("tau", .float64, ["batch", "contracts"]),
        // true for a put; all are calls where it is absent
        TensorDeclaration("is_put", .bool, ["batch", "contracts"], isOptional: true),
    ]
    let outputs = names.map { TensorDeclaration($0, .float64, ["batch", "contracts"]) }
    let properties = ["parameters": "kappa, theta, sigma, rho, v0", "market": "spot, rate, dividend_yield"]

    private static let names = ["price", "delta", "gamma", "by_kappa", "by_theta", "by_sigma", "by_rho", "by_v0"]
    /// Contracts priced between two looks at the deadline.
    private static let piece = 256

    func infer(_ request: InferenceRequest) async throws -> [String: Tensor] {
        let (batch, contracts) = (request.extent("batch"), request.extent("contracts"))
        let parameters = request.input("parameters").values(Double.self)
        let market = request.input("market").values(Double.self)
        let strikes = request.input("strikes").values(Double.self)
        let tau = request.input("tau").values(Double.self)
        let isPut = request.optionalInput("is_put")?.bools
        let needsGreeks = request.outputs != ["price"]
        var columns = [[Double]](repeating: [], count: needsGreeks ? Self.names.count : 1)
        for index in columns.indices { columns[index].reserveCapacity(batch * contracts) }
        for row in 0..<batch {
            let pricer = try Self.answering(row) { () throws(HestonError) in
                try HestonPricer(
                    HestonParameters(array: Array(parameters[row * 5..<row * 5 + 5])),
                    Market(
                        spot: market[row * 3], rate: market[row * 3 + 1], dividendYield: market[row * 3 + 2]))
            }
            let end = (row + 1) * contracts
            var start = row * contracts
            while start < end {
                try Task.checkCancellation()
                // Of one maturity, which the contracts then share the work of.
                var next = start + 1
                while next < end, next - start < Self.piece, tau[next] == tau[start] { next += 1 }
                let piece = (start..<next).map { index in
                    OptionContract(kind: isPut?[index] == true ? .put : .call, strike: strikes[index], tau: tau[index])
                }
                for value in try Self.answering(row, { () throws(HestonError) in
                    try pricer.values(piece, greeks: needsGreeks)
                }) {
                    columns[0].append(value.price)
                    guard needsGreeks else { continue }
                    let gradient = value.gradient
                    columns[1].append(value.delta)
                    columns[2].append(value.gamma)
                    columns[3].append(gradient.kappa)
                    columns[4].append(gradient.theta)
                    columns[5].append(gradient.sigma)
                    columns[6].append(gradient.rho)
                    columns[7].append(gradient.v0)
                }
                start = next
            }
        }
        let tensors = columns.map { Tensor($0, shape: [batch, contracts]) }
        return Dictionary(uniqueKeysWithValues: zip(Self.names, tensors))
    }

    private static func answering<R>(_ row: Int, _ body: () throws(HestonError) -> R) throws -> R {
        do throws(HestonError) { return try body() } catch { throw RPCStatus(error, row: row) }
    }
}

/// `heston_calibration`: implied-volatility surfaces over one grid to Heston parameters.
struct CalibrationModel: TensorModelVersion {
    let calibrator: Calibrator
    let version = HestonServer.modelVersion
    let platform = "heston"
    let inputs: [TensorDeclaration] = [
        // ln(strike/forward), increasing
        TensorDeclaration("log_moneyness", .float64, ["moneyness"]),
        // years, increasing
        TensorDeclaration("tau", .float64, ["maturities"]),
        // absolute, NaN where there is no quote
        TensorDeclaration("implied_volatility", .float64, ["batch", "moneyness", "maturities"]),
    ]
    let outputs: [TensorDeclaration] = [
        TensorDeclaration("parameters", .float64, ["batch", 5]),
        TensorDeclaration("rmse_volatility", .float64, ["batch"]),
        TensorDeclaration("iterations", .int32, ["batch"]),
        // NaN where there is no quote
        TensorDeclaration("fitted_volatility", .float64, ["batch", "moneyness", "maturities"]),
    ]
    let properties = ["parameters": "kappa, theta, sigma, rho, v0"]

    func infer(_ request: InferenceRequest) async throws -> [String: Tensor] {
        let batch = request.extent("batch")
        let logMoneyness = request.input("log_moneyness").values(Double.self)
        let tau = request.input("tau").values(Double.self)
        let volatility = request.input("implied_volatility").values(Double.self)
        for (name, grid) in [("log_moneyness", logMoneyness), ("tau", tau)] {
            for index in grid.indices where !grid[index].isFinite || index > 0 && grid[index] <= grid[index - 1] {
                throw RPCStatus(.invalidArgument, "input “\(name)”: element \(index) is not finite and increasing")
            }
        }
        let cells = logMoneyness.count * tau.count
        var parameters: [Double] = []
        var errors: [Double] = []
        var iterations: [Int32] = []
        var fitted: [Double] = []
        for row in 0..<batch {
            try Task.checkCancellation()
            let quotes = (0..<cells).map { cell in
                let value = volatility[row * cells + cell]
                return CalibrationQuote(
                    logMoneyness: logMoneyness[cell / tau.count], tau: tau[cell % tau.count], impliedVolatility: value,
                    weight: value.isNaN ? 0 : 1)
            }
            do throws(HestonError) {
                let fit = try calibrator.calibrate(quotes)
                parameters += fit.parameters.array
                errors.append(fit.volatilityRootMeanSquare)
                iterations.append(Int32(fit.iterations))
                fitted += fit.residuals.map { $0.modelVolatility ?? .nan }
            } catch { throw RPCStatus(error, row: row) }
            await Task.yield()
        }
        return [
            "parameters": Tensor(parameters, shape: [batch, 5]), "rmse_volatility": Tensor(errors, shape: [batch]),
            "iterations": Tensor(iterations, shape: [batch]),
            "fitted_volatility": Tensor(fitted, shape: [batch, logMoneyness.count, tau.count]),
        ]
    }
}

extension RPCStatus {
    /// What is wrong with one row of a batch.
    fileprivate init(_ error: HestonError, row: Int) {
        let status = RPCStatus(error)
        self.init(status.code, "batch \(row): \(status.message)")
    }
}
