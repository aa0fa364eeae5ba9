internal import NeuralNetworks

/// Storing: each layer's tensors, named and laid out as PyTorch's (`actor.encoder.weight` [outputs × inputs],
/// `actor.lstm.weight_ih_l0` [4·hidden × inputs] with the gates in the order i, f, g, o, `actor.lstm.weight_hh_l0`,
/// `actor.lstm.bias_ih_l0`, `actor.lstm.bias_hh_l0`, `actor.head.weight`, …, `log_std`, `critic.encoder.weight`, …);
/// the architecture stands in the metadata under `vomma.…`.
extension RecurrentPolicy {
    static let kind = "recurrent"

    /// The policy as a safetensors file, equal bytes for equal policies.
    public func safetensors() -> [UInt8] { file.bytes() }

    var file: Safetensors {
        PolicyFormat.file(
            kind: Self.kind, metadata: metadata,
            architecture: [
                "observation_size": String(observationSize), "window": String(window),
                "feature_count": String(featureCount), "action_size": String(actionSize),
                "encoded": String(architecture.encoded), "hidden": String(architecture.hidden),
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
        let architecture = Architecture(
            observationSize: try PolicyFormat.natural(metadata, "observation_size"),
            actionSize: try PolicyFormat.natural(metadata, "action_size"),
            encoded: try PolicyFormat.natural(metadata, "encoded"), hidden: try PolicyFormat.natural(metadata, "hidden"),
            window: try PolicyFormat.natural(metadata, "window"),
            featureCount: try PolicyFormat.natural(metadata, "feature_count", from: 0))
        // Before anything of that size is allocated. No factor is above 2²⁷, so that nothing here overflows.
        let (encoded, hidden) = (architecture.encoded, architecture.hidden)
        let network = architecture.observationSize * encoded + 4 * hidden * (encoded + hidden)
        let weights = 2 * network + hidden * (architecture.actionSize + 1)
        guard weights <= min(PolicyFormat.parameterLimit, byteCount / MemoryLayout<Float>.size) else {
            throw .metadata(key: "vomma.hidden", value: metadata["vomma.hidden"])
        }
        return architecture
    }

    private var slices: [PolicyFormat.Slice] {
        func layers(_ name: String, _ network: RecurrentNetwork) -> [PolicyFormat.Slice] {
            let lstm = network.lstm
            let width = 4 * lstm.hidden
            let memory = [
                PolicyFormat.Slice(
                    name: "\(name).lstm.weight_ih_l0", shape: [width, lstm.inputs], range: lstm.inputWeights),
                PolicyFormat.Slice(
                    name: "\(name).lstm.weight_hh_l0", shape: [width, lstm.hidden], range: lstm.recurrentWeights),
                PolicyFormat.Slice(name: "\(name).lstm.bias_ih_l0", shape: [width], range: lstm.inputBiases),
                PolicyFormat.Slice(name: "\(name).lstm.bias_hh_l0", shape: [width], range: lstm.recurrentBiases),
            ]
            return PolicyFormat.slices("\(name).encoder", network.encoder) + memory
                + PolicyFormat.slices("\(name).head", network.head)
        }
        let logStds = PolicyFormat.Slice(name: "log_std", shape: [logStd.count], range: logStd)
        return layers("actor", actor) + [logStds] + layers("critic", critic)
    }
}
