internal import Heston
internal import HestonInverse
internal import Inference
internal import RPC

/// The live inverse network for inference clients, under its name in the registry and with the registry's version.
struct InverseNetworkModel: TensorModel {
    let name: String
    let current: @Sendable () -> LoadedInverter?

    init(name: String, current: @escaping @Sendable () -> LoadedInverter?) {
        self.name = name
        self.current = current
    }

    var versions: [any TensorModelVersion] { current().map { [InverseNetworkVersion(loaded: $0)] } ?? [] }
    var absence: String {
        "no inverse network is live: train one (a job of kind heston_inverse_synth) and promote it"
    }
    /// Pricing and calibration do without.
    var isOptional: Bool { true }
}

/// The live regime embedding, for assets without options.
struct EmbeddingModel: TensorModel {
    let name: String
    let current: @Sendable () -> LoadedInverter?

    var versions: [any TensorModelVersion] { current().map { [EmbeddingVersion(loaded: $0)] } ?? [] }
    var absence: String { "no regime embedding is live: train one (a job of kind heston_moments) and promote it" }
    var isOptional: Bool { true }
}

/// One loaded embedding: half an hour of one-minute returns to five numbers.
struct EmbeddingVersion: TensorModelVersion {
    let loaded: LoadedInverter

    var version: String { "\(loaded.version)" }
    var platform: String { "convolutional" }
    let inputs = [
        // logarithmic, of one minute each, oldest first
        TensorDeclaration("returns", .float64, ["batch", .fixed(MomentSurface.returnCount)])
    ]
    let outputs = [
        // where Heston's kappa, theta, sigma, rho, v0 would be: features, not parameters to price with
        TensorDeclaration("embedding", .float64, ["batch", 5]),
        TensorDeclaration("deviations", .float64, ["batch", 5]),
        TensorDeclaration("novelty", .float64, ["batch"]),
    ]
    var properties: [String: String] { loaded.model.metadata }

    func infer(_ request: InferenceRequest) async throws -> [String: Tensor] {
        guard loaded.model.grid == MomentSurface.grid else {
            throw RPCStatus(.failedPrecondition, "the live model “\(loaded.name)” is no regime embedding")
        }
        let batch = request.extent("batch")
        let returns = request.input("returns").values(Double.self)
        var inverter = Inverter(loaded.model)
        var (embedding, deviations, novelty): ([Double], [Double], [Double]) = ([], [], [])
        for row in 0..<batch {
            if row % 64 == 0 { try Task.checkCancellation() }
            let count = MomentSurface.returnCount
            let values = MomentSurface.values(Array(returns[row * count..<(row + 1) * count]))
            do throws(InversionError) { try loaded.model.grid.check(values) } catch {
                throw RPCStatus(.invalidArgument, "batch \(row): the returns are not finite, or do not move")
            }
            inverter.invert(values)
            let answer = inverter.answer()
            embedding += answer.parameters.array
            deviations += answer.deviations
            novelty.append(answer.novelty)
        }
        return [
            "embedding": Tensor(embedding, shape: [batch, 5]), "deviations": Tensor(deviations, shape: [batch, 5]),
            "novelty": Tensor(novelty, shape: [batch]),
        ]
    }
}

/// One loaded network: implied-volatility surfaces on its grid to parameters, unpolished.
struct InverseNetworkVersion: TensorModelVersion {
    let loaded: LoadedInverter

    var version: String { "\(loaded.version)" }
    var platform: String { "convolutional" }

    private var rows: Int { loaded.model.grid.logMoneyness.count }
    private var columns: Int { loaded.model.grid.tau.count }

    var inputs: [TensorDeclaration] {
        // absolute, NaN where there is no quote
        [TensorDeclaration("implied_volatility", .float64, ["batch", .fixed(rows), .fixed(columns)])]
    }

    var outputs: [TensorDeclaration] {
        [
            // kappa, theta, sigma, rho, v0
            TensorDeclaration("parameters", .float64, ["batch", 5]),
            // one standard deviation of each, by the network's own estimate
            TensorDeclaration("deviations", .float64, ["batch", 5]),
            // above 1: the surface is new to the network
            TensorDeclaration("novelty", .float64, ["batch"]),
            // the surface as the network redraws it
            TensorDeclaration("reconstruction", .float64, ["batch", .fixed(rows), .fixed(columns)]),
        ]
    }

    var properties: [String: String] {
        var properties = loaded.model.metadata
        properties["parameters"] = "kappa, theta, sigma, rho, v0"
        properties["log_moneyness"] = "\(loaded.model.grid.logMoneyness)"
        properties["tau"] = "\(loaded.model.grid.tau)"
        properties["sha256"] = loaded.sha256
        return properties
    }

    /// Surfaces that go through the network together.
    private static let piece = 64

    func infer(_ request: InferenceRequest) async throws -> [String: Tensor] {
        let batch = request.extent("batch")
        let volatilities = request.input("implied_volatility").values(Double.self)
        let grid = loaded.model.grid
        for row in 0..<batch {
            do throws(InversionError) {
                try grid.check(Array(volatilities[row * grid.count..<(row + 1) * grid.count]))
            } catch { throw RPCStatus(.invalidArgument, "batch \(row): \(error)") }
        }
        let redraws = request.outputs != ["parameters"]
        var inverter = Inverter(loaded.model, capacity: max(1, min(batch, Self.piece)))
        var (parameters, deviations, novelty, surfaces): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
        for start in stride(from: 0, to: batch, by: Self.piece) {
            try Task.checkCancellation()
            let count = min(Self.piece, batch - start)
            inverter.invert(
                Array(volatilities[start * grid.count..<(start + count) * grid.count]), count: count, surface: redraws)
            for row in 0..<count {
                parameters += inverter.parameters[row].array
                guard redraws else { continue }
                let answer = inverter.answer(row)
                deviations += answer.deviations
                novelty.append(answer.novelty)
                surfaces += inverter.surface(row)
            }
        }
        var tensors = ["parameters": Tensor(parameters, shape: [batch, 5])]
        guard redraws else { return tensors }
        tensors["deviations"] = Tensor(deviations, shape: [batch, 5])
        tensors["novelty"] = Tensor(novelty, shape: [batch])
        tensors["reconstruction"] = Tensor(surfaces, shape: [batch, rows, columns])
        return tensors
    }
}
