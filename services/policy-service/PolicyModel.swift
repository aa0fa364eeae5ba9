internal import Inference
internal import Policies
internal import RPC
internal import ServiceKit
internal import Trading

/// The live policy for inference clients, under its name in the registry and with the registry's version.
struct PolicyModel: TensorModel {
    let name: String
    let models: LiveModel<LoadedPolicy>

    var versions: [any TensorModelVersion] { models.current.map { [PolicyModelVersion(model: $0)] } ?? [] }
    var absence: String { "no policy has been promoted: train one (vomma train) and promote it" }
}

/// One loaded policy: normalised states in, exposures out. Rows of a batch are independent of each other.
///
/// A request may say by its parameters `normaliser_id` and `schema_version` what its states were made with; a model
/// that needs another refuses them with FAILED_PRECONDITION.
struct PolicyModelVersion: TensorModelVersion {
    let model: LoadedPolicy

    var version: String { "\(model.version)" }
    var platform: String { model.policy.kind }

    var inputs: [TensorDeclaration] {
        [
            // normalised, oldest row first, 0 where missing
            TensorDeclaration("values", .float32, ["batch", .fixed(model.layout.window), .fixed(features)]),
            // whether the newest row has the feature
            TensorDeclaration("mask", .bool, ["batch", .fixed(features)]),
            // −1 … 1; 0 where it is absent
            TensorDeclaration("previous_exposure", .float32, ["batch"], isOptional: true),
        ] + memory(isOptional: true)
    }

    /// Of a policy with memory: what the answer before held, and what to send with the next request; absent at first.
    private func memory(isOptional: Bool) -> [TensorDeclaration] {
        let size = model.policy.memorySize
        return size == 0
            ? [] : [TensorDeclaration("memory", .float32, ["batch", .fixed(size)], isOptional: isOptional)]
    }

    var outputs: [TensorDeclaration] {
        [
            TensorDeclaration("target_exposure", .float32, ["batch"]),
            TensorDeclaration("value", .float32, ["batch"]),
            TensorDeclaration("confidence", .float32, ["batch"]),
            // of each feature over the whole window, and of the previous exposure, to the target exposure
            TensorDeclaration("contributions", .float32, ["batch", .fixed(features + 1)]),
        ] + memory(isOptional: false)
    }

    var properties: [String: String] {
        [
            "schema_version": model.schemaVersion, "normaliser_id": model.normaliserID, "sha256": model.sha256,
            "features": model.featureNames.joined(separator: ","),
        ]
    }

    private var features: Int { model.layout.featureCount }

    func infer(_ request: InferenceRequest) async throws -> [String: Tensor] {
        try check(request, "normaliser_id", is: model.normaliserID)
        try check(request, "schema_version", is: model.schemaVersion)
        let batch = request.extent("batch")
        let layout = model.layout
        let previous = request.optionalInput("previous_exposure")?.values(Float.self)
        if let bad = previous?.firstIndex(where: { !(-1...1).contains($0) }) {
            throw RPCStatus(.invalidArgument, "input “previous_exposure”: element \(bad) is not in [−1, 1]")
        }
        let explains = request.outputs.contains("contributions")
        let mask = request.input("mask").bools.map { $0 ? UInt8(1) : 0 }
        let values = request.input("values")
        var runner = model.running
        let memorySize = model.policy.memorySize
        let remembered = memorySize == 0 ? nil : request.optionalInput("memory")?.values(Float.self)
        var memories: [Float] = []
        var observation = [Float](repeating: 0, count: layout.count)
        var exposures: [Float] = []
        var worths: [Float] = []
        var confidences: [Float] = []
        var contributions: [Float] = []
        for row in 0..<batch {
            if row % 64 == 0 { try Task.checkCancellation() }
            let cells = row * layout.window * features..<(row + 1) * layout.window * features
            values.withSpan(of: Float.self) { all in
                var target = observation.mutableSpan
                layout.write(
                    values: all.extracting(cells), mask: mask.span.extracting(row * features..<(row + 1) * features),
                    previousExposure: previous?[row] ?? 0, into: &target)
            }
            do throws(PolicyError) {
                try runner.restore(remembered.map { Array($0[row * memorySize..<(row + 1) * memorySize]) } ?? [])
                let decision: PolicyDecision
                if explains {
                    let (answer, parts) = try runner.explain(observation.span)
                    contributions += PolicyRunner.byFeature(parts, window: layout.window, featureCount: features)
                    decision = answer
                } else {
                    decision = try runner.decide(observation.span)
                }
                exposures.append(decision.action)
                worths.append(decision.value)
                confidences.append(decision.confidence)
                memories += runner.memory
            } catch { throw RPCStatus(.invalidArgument, "batch \(row): \(error)") }
        }
        var answer = [
            "target_exposure": Tensor(exposures, shape: [batch]), "value": Tensor(worths, shape: [batch]),
            "confidence": Tensor(confidences, shape: [batch]),
        ]
        if memorySize > 0 { answer["memory"] = Tensor(memories, shape: [batch, memorySize]) }
        if explains { answer["contributions"] = Tensor(contributions, shape: [batch, features + 1]) }
        return answer
    }

    private func check(_ request: InferenceRequest, _ parameter: String, is expected: String) throws {
        guard let given = try request.text(parameter), given != expected else { return }
        throw RPCStatus(
            .failedPrecondition, "the states have \(parameter) \(given), version \(version) needs \(expected)")
    }
}
