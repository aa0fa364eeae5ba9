internal import NeuralNetworks

/// What the files of all kinds of policy share: safetensors, a tensor a layer, the architecture in the metadata under
/// `vomma.…`. Reading trusts nothing.
enum PolicyFormat {
    static let reservedPrefix = "vomma."
    static let format = "1"
    /// A larger network is refused, and one larger than its file: it is a mistake or an attack. 2²⁷ parameters are
    /// 512 MiB.
    static let parameterLimit = 1 << 27

    /// One tensor of the file, and where it stands in the flat parameter vector.
    struct Slice {
        let name: String
        let shape: [Int]
        let range: Range<Int>
    }

    static func slices(_ name: String, _ layer: Linear) -> [Slice] {
        [
            Slice(name: "\(name).weight", shape: [layer.outputs, layer.inputs], range: layer.weights),
            Slice(name: "\(name).bias", shape: [layer.outputs], range: layer.biases),
        ]
    }

    /// `architecture`'s keys get the prefix; keys of `metadata` that have it are left out.
    static func file(
        kind: String, metadata: [String: String], architecture: [String: String], slices: [Slice],
        parameters: [Float]
    ) -> Safetensors {
        var all = described(metadata, kind: kind)
        all["vomma.format"] = format
        for (key, value) in architecture { all[reservedPrefix + key] = value }
        let tensors = slices.map { Tensor($0.name, shape: $0.shape, .float32(Array(parameters[$0.range]))) }
        return Safetensors(metadata: all, tensors: tensors)
    }

    /// A policy's own metadata, with its kind and without other keys that have the prefix.
    static func described(_ metadata: [String: String], kind: String) -> [String: String] {
        var all = metadata.filter { !$0.key.hasPrefix(reservedPrefix) }
        all["vomma.kind"] = kind
        return all
    }

    /// Throws `checkpoint`, or `unsupported` for another kind or format.
    static func file(_ bytes: [UInt8], kind expected: String) throws(PolicyError) -> Safetensors {
        let file: Safetensors
        do { file = try Safetensors(bytes: bytes) } catch { throw .checkpoint(error) }
        let kind = file.metadata["vomma.kind"] ?? ""
        let format = file.metadata["vomma.format"] ?? ""
        guard kind == expected, format == Self.format else { throw .unsupported(kind: kind, format: format) }
        return file
    }

    /// The number under `key`, whose prefix is added, from `least` to the limit of parameters. Throws `metadata`.
    static func natural(
        _ metadata: [String: String], _ key: String, from least: Int = 1
    ) throws(PolicyError) -> Int {
        let key = reservedPrefix + key
        guard let value = metadata[key].flatMap({ Int($0) }), value >= least, value <= parameterLimit else {
            throw .metadata(key: key, value: metadata[key])
        }
        return value
    }

    /// The flat vector of `count` parameters, which the slices fill. Throws `checkpoint` or `parameterNotFinite`.
    static func parameters(_ file: Safetensors, _ slices: [Slice], count: Int) throws(PolicyError) -> [Float] {
        var values = [Float](repeating: 0, count: count)
        for slice in slices {
            do { values.replaceSubrange(slice.range, with: try file.floats(slice.name, shape: slice.shape)) } catch {
                throw .checkpoint(error)
            }
        }
        if let index = values.firstIndex(where: { !$0.isFinite }) { throw .parameterNotFinite(index: index) }
        return values
    }
}
