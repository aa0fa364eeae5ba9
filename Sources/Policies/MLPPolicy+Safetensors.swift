internal import NeuralNetworks

/// Storing: each layer is a tensor, named as PyTorch would (`actor.0.weight` [outputs × inputs], `actor.0.bias`, …,
/// `log_std`, `critic.0.weight`, …); the architecture stands in the metadata under `vomma.…`.
extension MLPPolicy {
    static let kind = "mlp"

    /// The policy as a safetensors file, equal bytes for equal policies.
    public func safetensors() -> [UInt8] { file.bytes() }

    var file: Safetensors {
        PolicyFormat.file(
            kind: Self.kind, metadata: metadata,
            architecture: [
                "observation_size": String(observationSize), "window": String(window),
                "feature_count": String(featureCount), "action_size": String(actionSize),
                "hidden": architecture.hidden.map(String.init).joined(separator: ","),
                "activation": architecture.activation.rawValue,
            ], slices: slices, parameters: parameters)
    }

    /// Reads what `safetensors()` wrote. Throws `checkpoint`, `metadata`, `unsupported` or `parameterNotFinite`.
    public init(safetensors bytes: [UInt8]) throws(PolicyError) {
        let file = try PolicyFormat.file(bytes, kind: Self.kind)
        self.init(zeroed: try Self.architecture(file.metadata, byteCount: bytes.count), metadata: file.metadata)
        parameters = try PolicyFormat.parameters(file, slices, count: parameterCount)
    }

    private static func architecture(
        _ metadata: [String: String], byteCount: Int
    ) throws(PolicyError) -> Architecture {
        let observationSize = try PolicyFormat.natural(metadata, "observation_size")
        let actionSize = try PolicyFormat.natural(metadata, "action_size")
        let window = try PolicyFormat.natural(metadata, "window")
        let featureCount = try PolicyFormat.natural(metadata, "feature_count", from: 0)
        var hidden: [Int] = []
        for part in (metadata["vomma.hidden"] ?? "").split(separator: ",") {
            guard let width = Int(part), width > 0 else {
                throw .metadata(key: "vomma.hidden", value: metadata["vomma.hidden"])
            }
            hidden.append(width)
        }
        guard let activation = metadata["vomma.activation"].flatMap({ Activation(rawValue: $0) }) else {
            throw .metadata(key: "vomma.activation", value: metadata["vomma.activation"])
        }
        // The product of every pair of neighbours is bounded before anything of that size is allocated.
        let sizes = [observationSize] + hidden + [actionSize]
        let limit = min(PolicyFormat.parameterLimit, byteCount / MemoryLayout<Float>.size)
        var total = 0
        for (inputs, outputs) in zip(sizes, sizes.dropFirst()) {
            let (count, overflow) = inputs.multipliedReportingOverflow(by: outputs)
            guard !overflow, count <= limit - total else {
                throw .metadata(key: "vomma.hidden", value: metadata["vomma.hidden"])
            }
            total += count
        }
        return Architecture(
            observationSize: observationSize, actionSize: actionSize, hidden: hidden, activation: activation,
            window: window, featureCount: featureCount)
    }

    private var slices: [PolicyFormat.Slice] {
        func layers(_ name: String, _ network: MLP) -> [PolicyFormat.Slice] {
            network.layers.enumerated().flatMap { index, layer in PolicyFormat.slices("\(name).\(index)", layer) }
        }
        let logStds = PolicyFormat.Slice(name: "log_std", shape: [logStd.count], range: logStd)
        return layers("actor", actor) + [logStds] + layers("critic", critic)
    }
}
