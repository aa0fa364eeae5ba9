internal import NeuralNetworks

/// Checkpoints: a safetensors file whose weights have the shapes and the order of PyTorch's Conv2d and Linear.
extension InverseModel {
    private static let kind = "heston-inverse-1"

    /// One layer's tensors in a file: `encoder.0`, `encoder.1`, `trunk.i`, `heads.kappa.0`, `heads.kappa.1` (value and
    /// logarithm of its standard deviation), `surface.0`, `surface.1`.
    private struct Layer {
        var name: String
        /// Of the weight.
        var shape: [Int]
        /// Where the file's elements stand in the flat vector, in the file's order.
        var weights: [Int]
        var biases: Range<Int>
    }

    private static func layers(_ network: InverseNetwork) -> [Layer] {
        var layers: [Layer] = []
        for (index, layer) in [network.first, network.second].enumerated() {
            // From [taps, inputs, outputs] to [outputs, inputs, 3, 3].
            var places: [Int] = []
            for o in 0..<layer.outputs {
                for i in 0..<layer.inputs {
                    for tap in 0..<9 { places.append(layer.offset + (tap * layer.inputs + i) * layer.outputs + o) }
                }
            }
            layers.append(
                Layer(
                    name: "encoder.\(index)", shape: [layer.outputs, layer.inputs, 3, 3], weights: places,
                    biases: layer.biases))
        }
        func add(_ name: String, _ layer: Linear) {
            layers.append(
                Layer(
                    name: name, shape: [layer.outputs, layer.inputs], weights: Array(layer.weights),
                    biases: layer.biases))
        }
        for (index, layer) in network.trunk.enumerated() { add("trunk.\(index)", layer) }
        let width = network.architecture.head
        let outputBiases = network.answers.upperBound - InverseNetwork.answerCount
        for (head, name) in ["kappa", "theta", "sigma", "rho", "v0"].enumerated() {
            let first = network.heads.offset + head * width * network.code
            let bias = network.heads.biases.lowerBound + head * width
            layers.append(
                Layer(
                    name: "heads.\(name).0", shape: [width, network.code],
                    weights: Array(first..<first + width * network.code), biases: bias..<bias + width))
            let second = network.answers.lowerBound + 2 * head * width
            layers.append(
                Layer(
                    name: "heads.\(name).1", shape: [2, width], weights: Array(second..<second + 2 * width),
                    biases: outputBiases + 2 * head..<outputBiases + 2 * head + 2))
        }
        add("surface.0", network.surfaceHidden)
        add("surface.1", network.surface)
        return layers
    }

    /// The file's bytes: the same for the same model.
    public func safetensors() -> [UInt8] {
        let architecture = network.architecture
        func list(_ widths: [Int]) -> String { widths.map(String.init).joined(separator: ",") }
        var metadata = metadata
        metadata["kind"] = Self.kind
        metadata["channels"] = list(architecture.channels)
        metadata["trunk"] = list(architecture.trunk)
        metadata["head"] = "\(architecture.head)"
        metadata["surface"] = "\(architecture.surface)"
        var tensors = [
            Tensor("log_moneyness", shape: [grid.logMoneyness.count], .float64(grid.logMoneyness)),
            Tensor("tau", shape: [grid.tau.count], .float64(grid.tau)),
            Tensor("scaling.parameter_mean", shape: [5], .float64(scaling.parameterMean)),
            Tensor("scaling.parameter_deviation", shape: [5], .float64(scaling.parameterDeviation)),
            Tensor("scaling.cell_mean", scaling.cellMean),
            Tensor("scaling.cell_deviation", scaling.cellDeviation),
            Tensor("familiar_error", [familiarError]),
        ]
        for layer in Self.layers(network) {
            tensors.append(
                Tensor("\(layer.name).weight", shape: layer.shape, .float32(layer.weights.map { parameters[$0] })))
            tensors.append(Tensor("\(layer.name).bias", Array(parameters[layer.biases])))
        }
        return Safetensors(metadata: metadata, tensors: tensors).bytes()
    }

    /// Reads such a file, and trusts nothing in it. Throws `file`, `malformed`.
    public init(safetensors bytes: [UInt8]) throws(InversionError) {
        let file: Safetensors
        do { file = try Safetensors(bytes: bytes) } catch { throw .file(error) }
        var metadata = file.metadata
        func take(_ name: String) throws(InversionError) -> String {
            guard let value = metadata.removeValue(forKey: name) else {
                throw .malformed(field: name, reason: "is missing")
            }
            return value
        }
        let kind = try take("kind")
        guard kind == Self.kind else { throw .malformed(field: "kind", reason: "is \(kind), not \(Self.kind)") }
        func widths(
            _ name: String, _ counts: ClosedRange<Int>, multipleOf unit: Int = 1
        ) throws(InversionError) -> [Int] {
            let text = try take(name)
            let values = text.split(separator: ",").map { Int($0) ?? 0 }
            guard counts.contains(values.count), values.allSatisfy({ (1...4096).contains($0) && $0 % unit == 0 }) else {
                throw .malformed(field: name, reason: "is “\(text)”")
            }
            return values
        }
        var architecture = InverseNetwork.Architecture()
        architecture.channels = try widths("channels", 2...2, multipleOf: 16)
        architecture.trunk = try widths("trunk", 1...8)
        architecture.head = try widths("head", 1...1)[0]
        architecture.surface = try widths("surface", 1...1)[0]
        let grid = try SurfaceGrid(file)
        guard grid.count <= 10_000 else { throw .malformed(field: "tau", reason: "makes too large a grid") }
        let network = InverseNetwork(architecture, grid: grid)
        func floats(_ name: String, _ shape: [Int]) throws(InversionError) -> [Float] {
            let values: [Float]
            do { values = try file.floats(name, shape: shape) } catch { throw .file(error) }
            guard values.allSatisfy(\.isFinite) else { throw .malformed(field: name, reason: "is not finite") }
            return values
        }
        var parameters = [Float](repeating: 0, count: network.parameterCount)
        for layer in Self.layers(network) {
            let weights = try floats("\(layer.name).weight", layer.shape)
            for (place, weight) in zip(layer.weights, weights) { parameters[place] = weight }
            let biases = try floats("\(layer.name).bias", [layer.biases.count])
            parameters.replaceSubrange(layer.biases, with: biases)
        }
        let mean = try file.doubles("scaling.parameter_mean").values
        let deviation = try file.doubles("scaling.parameter_deviation").values
        let cellDeviation = try floats("scaling.cell_deviation", [grid.count])
        guard mean.count == 5, deviation.count == 5, mean.allSatisfy(\.isFinite),
            deviation.allSatisfy({ $0 > 0 && $0.isFinite })
        else { throw .malformed(field: "scaling.parameter_mean", reason: "or its deviation is no scale") }
        guard cellDeviation.allSatisfy({ $0 > 0 }) else {
            throw .malformed(field: "scaling.cell_deviation", reason: "is not positive")
        }
        let familiar = try floats("familiar_error", [1])[0]
        guard familiar > 0 else { throw .malformed(field: "familiar_error", reason: "is not positive") }
        self.init(
            network: network, parameters: parameters,
            scaling: InverseScaling(
                grid: grid, cellMean: try floats("scaling.cell_mean", [grid.count]), cellDeviation: cellDeviation,
                parameterMean: mean, parameterDeviation: deviation),
            familiarError: familiar, metadata: metadata)
    }
}
