internal import Inference
internal import Regimes
internal import RPC
internal import Sentiment
internal import ServiceKit

/// The live regime model for inference clients, under its name in the registry and with the registry's version.
struct RegimeModel: TensorModel {
    let name: String
    let models: LiveModel<LoadedRegime>

    var versions: [any TensorModelVersion] { models.current.map { [RegimeModelVersion(model: $0)] } ?? [] }
    var absence: String { "no regime model has been promoted: train one (kind hmm) and promote it" }
}

/// The filter of one regime model: observations in their order in, P(state | observations so far) out.
struct RegimeModelVersion: TensorModelVersion {
    let model: LoadedRegime

    var version: String { "\(model.version)" }
    var platform: String { "hmm" }

    var inputs: [TensorDeclaration] {
        [
            TensorDeclaration("observations", .float64, ["rows", .fixed(model.filter.model.dimension)]),
            // where the filter stands before the first row; the model's start where it is absent
            TensorDeclaration("posterior", .float64, [.fixed(states)], isOptional: true),
        ]
    }

    var outputs: [TensorDeclaration] { [TensorDeclaration("posteriors", .float64, ["rows", .fixed(states)])] }

    var properties: [String: String] { ["observations": "log_return, log_volatility, log_volume_ratio"] }

    private var states: Int { model.filter.model.stateCount }

    func infer(_ request: InferenceRequest) async throws -> [String: Tensor] {
        let rows = request.extent("rows")
        let dimension = model.filter.model.dimension
        let observations = request.input("observations").values(Double.self)
        var posteriors: [Double] = []
        posteriors.reserveCapacity(rows * states)
        do throws(RegimeError) {
            var state: FilterState
            if let start = request.optionalInput("posterior") {
                state = try FilterState(model.filter, posterior: start.values())
            } else {
                state = FilterState(model.filter)
            }
            for row in 0..<rows {
                _ = try state.update(Array(observations[row * dimension..<(row + 1) * dimension]))
                posteriors += state.posterior
            }
        } catch { throw RPCStatus(.invalidArgument, "row \(posteriors.count / max(states, 1)): \(error)") }
        return ["posteriors": Tensor(posteriors, shape: [rows, states])]
    }
}

/// `sentiment`: UTF-8 texts to scores. Nothing is stored.
struct SentimentModel: TensorModelVersion {
    private let lexicon = LexiconModel()

    let version = LexiconModel.name
    let platform = "lexicon"
    let inputs: [TensorDeclaration] = [TensorDeclaration("text", .bytes, ["batch"])]
    let outputs: [TensorDeclaration] = ["score", "bearish", "neutral", "bullish"].map {
        TensorDeclaration($0, .float64, ["batch"])
    }
    let properties: [String: String] = [:]

    func infer(_ request: InferenceRequest) async throws -> [String: Tensor] {
        var results: [SentimentResult] = []
        for (index, bytes) in request.input("text").byteStrings.enumerated() {
            if index % 64 == 0 { try Task.checkCancellation() }
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw RPCStatus(.invalidArgument, "input “text”: element \(index) is not UTF-8")
            }
            results.append(lexicon.analyse(text))
        }
        let shape = [results.count]
        return [
            "score": Tensor(results.map(\.score), shape: shape),
            "bearish": Tensor(results.map(\.bearish), shape: shape),
            "neutral": Tensor(results.map(\.neutral), shape: shape),
            "bullish": Tensor(results.map(\.bullish), shape: shape),
        ]
    }
}
