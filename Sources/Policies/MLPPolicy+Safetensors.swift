internal import NeuralNetworks

/// Storing: each layer is a tensor, named as PyTorch would (`actor.0.weight` [outputs × inputs], `actor.0.bias`, …,
/// `log_std`, `critic.0.weight`, …); the architecture stands in the metadata under `vomma.…`.
extension MLPPolicy {
    static let reservedPrefix = "vomma."
    static let kind = "mlp"
    static let format = "1"
    /// A larger network is refused: it is a mistake or an attack. 2²⁷ parameters are 512 MiB.
    static let parameterLimit = 1 << 27

    /// The policy as a safetensors file, equal bytes for equal policies.
    public func safetensors() -> [UInt8] { file.bytes() }

    var file: Safetensors {
        var metadata = self.metadata.filter { !$0.key.hasPrefix(Self.reservedPrefix) }
        metadata["vomma.kind"] = Self.kind
        metadata["vomma.format"] = Self.format
        metadata["vomma.observation_size"] = String(observationSize)
        metadata["vomma.window"] = String(window)
        metadata["vomma.feature_count"] = String(featureCount)
        metadata["vomma.action_size"] = String(actionSize)
        metadata["vomma.hidden"] = architecture.hidden.map(String.init).joined(separator: ",")
        metadata["vomma.activation"] = architecture.activation.rawValue
        let tensors = Self.slices(actor, critic, logStd).map { slice in
            Tensor(slice.name, shape: slice.shape, .float32(Array(parameters[slice.range])))
        }
        return Safetensors(metadata: metadata, tensors: tensors)
    }

    /// Reads what `safetensors()` wrote. Throws `checkpoint`, `metadata`, `unsupported` or `parameterNotFinite`.
    public init(safetensors bytes: [UInt8]) throws(PolicyError) {
        let file: Safetensors
        do { file = try Safetensors(bytes: bytes) } catch { throw .checkpoint(error) }
        try self.init(file)
    }

    init(_ file: Safetensors) throws(PolicyError) {
        let kind = file.metadata["vomma.kind"] ?? ""
        let format = file.metadata["vomma.format"] ?? ""
        guard kind == Self.kind, format == Self.format else { throw .unsupported(kind: kind, format: format) }
        let architecture = try Self.architecture(file.metadata)
        self.init(zeroed: architecture, metadata: file.metadata)
        var values = parameters
        for slice in Self.slices(actor, critic, logStd) {
            do { values.replaceSubrange(slice.range, with: try file.floats(slice.name, shape: slice.shape)) } catch {
                throw .checkpoint(error)
            }
        }
        if let index = values.firstIndex(where: { !$0.isFinite }) { throw .parameterNotFinite(index: index) }
        parameters = values
    }

    private static func architecture(_ metadata: [String: String]) throws(PolicyError) -> Architecture {
        func natural(_ key: String, from least: Int = 1) throws(PolicyError) -> Int {
            guard let value = metadata[key].flatMap({ Int($0) }), value >= least, value <= parameterLimit else {
                throw .metadata(key: key, value: metadata[key])
            }
            return value
        }
        let observationSize = try natural("vomma.observation_size")
        let actionSize = try natural("vomma.action_size")
        let window = try natural("vomma.window")
        let featureCount = try natural("vomma.feature_count", from: 0)
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
        var total = 0
        for (inputs, outputs) in zip(sizes, sizes.dropFirst()) {
            let (count, overflow) = inputs.multipliedReportingOverflow(by: outputs)
            guard !overflow, count <= parameterLimit - total else {
                throw .metadata(key: "vomma.hidden", value: metadata["vomma.hidden"])
            }
            total += count
        }
        return Architecture(
            observationSize: observationSize, actionSize: actionSize, hidden: hidden, activation: activation,
            window: window, featureCount: featureCount)
    }

    private struct Slice {
        let name: String
        let shape: [Int]
        let range: Range<Int>
    }

    private static func slices(_ actor: MLP, _ critic: MLP, _ logStd: Range<Int>) -> [Slice] {
        func layers(_ name: String, _ network: MLP) -> [Slice] {
            network.layers.enumerated().flatMap { index, layer in
                [
                    Slice(
                        name: "\(name).\(index).weight", shape: [layer.outputs, layer.inputs], range: layer.weights),
                    Slice(name: "\(name).\(index).bias", shape: [layer.outputs], range: layer.biases),
                ]
            }
        }
        return layers("actor", actor) + [Slice(name: "log_std", shape: [logStd.count], range: logStd)]
            + layers("critic", critic)
    }
}
