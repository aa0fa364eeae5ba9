/// A model for other runtimes: a graph of operators with its constants, written as an ONNX file (github.com/onnx/onnx,
/// IR version 8, operator set 17), which ONNX Runtime and most others read.
///
/// A protocol buffer written by hand: what is used of ONNX needs three kinds of field. Equal graphs give equal bytes.
package struct ONNXGraph {
    /// The size of one dimension of an input or output: a number, or a name for what the caller chooses.
    package enum Dimension {
        case fixed(Int)
        case free(String)
    }

    package enum Attribute {
        case integer(Int)
    }

    private let name: String
    private let metadata: [String: String]
    private var nodes: [ProtobufMessage] = []
    private var constants: [ProtobufMessage] = []
    private var inputs: [ProtobufMessage] = []
    private var outputs: [ProtobufMessage] = []

    /// `metadata` travels with the model, as strings that mean nothing to a runtime.
    package init(name: String, metadata: [String: String]) {
        (self.name, self.metadata) = (name, metadata)
    }

    /// Adds an input of single-precision numbers.
    package mutating func addInput(_ name: String, _ shape: [Dimension]) { inputs.append(Self.value(name, shape)) }

    /// Declares a value that some node computes an output of the model.
    package mutating func addOutput(_ name: String, _ shape: [Dimension]) { outputs.append(Self.value(name, shape)) }

    /// Adds a constant, row-major. Traps when the shape does not hold the values.
    package mutating func addConstant(_ name: String, shape: [Int], _ values: [Float]) {
        precondition(shape.reduce(1, *) == values.count, "the shape holds the values")
        // Little-endian, as the host.
        let bytes = unsafe values.withUnsafeBytes { unsafe Array($0) }
        constants.append(Self.tensor(name, shape: shape, type: 1, bytes))
    }

    /// Adds a constant vector of integers: axes.
    package mutating func addConstant(_ name: String, _ values: [Int64]) {
        let bytes = unsafe values.withUnsafeBytes { unsafe Array($0) }
        constants.append(Self.tensor(name, shape: [values.count], type: 7, bytes))
    }

    /// Adds an operator on named values, after those that compute its inputs. An empty name leaves one out.
    package mutating func addNode(
        _ operation: String, _ inputs: [String], _ outputs: [String], _ attributes: [(String, Attribute)] = []
    ) {
        var node = ProtobufMessage()
        for input in inputs { node.add(1, input) }
        for output in outputs { node.add(2, output) }
        node.add(3, "\(operation)_\(nodes.count)")
        node.add(4, operation)
        for (name, value) in attributes {
            var attribute = ProtobufMessage()
            attribute.add(1, name)
            switch value {
            case .integer(let number):
                attribute.add(3, number)
                attribute.add(20, 2)
            }
            node.add(5, attribute)
        }
        nodes.append(node)
    }

    /// The whole file.
    package func bytes() -> [UInt8] {
        var graph = ProtobufMessage()
        for node in nodes { graph.add(1, node) }
        graph.add(2, name)
        for constant in constants { graph.add(5, constant) }
        for input in inputs { graph.add(11, input) }
        for output in outputs { graph.add(12, output) }
        var operators = ProtobufMessage()
        operators.add(1, "")
        operators.add(2, 17)
        var model = ProtobufMessage()
        model.add(1, 8)
        model.add(2, "vomma")
        model.add(7, graph)
        model.add(8, operators)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            var entry = ProtobufMessage()
            entry.add(1, key)
            entry.add(2, value)
            model.add(14, entry)
        }
        return model.bytes
    }

    private static func tensor(_ name: String, shape: [Int], type: Int, _ bytes: [UInt8]) -> ProtobufMessage {
        var tensor = ProtobufMessage()
        for dimension in shape { tensor.add(1, dimension) }
        tensor.add(2, type)
        tensor.add(8, name)
        tensor.add(9, bytes)
        return tensor
    }

    private static func value(_ name: String, _ shape: [Dimension]) -> ProtobufMessage {
        var dimensions = ProtobufMessage()
        for dimension in shape {
            var size = ProtobufMessage()
            switch dimension {
            case .fixed(let count): size.add(1, count)
            case .free(let name): size.add(2, name)
            }
            dimensions.add(1, size)
        }
        var tensor = ProtobufMessage()
        tensor.add(1, 1)
        tensor.add(2, dimensions)
        var type = ProtobufMessage()
        type.add(1, tensor)
        var value = ProtobufMessage()
        value.add(1, name)
        value.add(2, type)
        return value
    }
}

extension ONNXGraph {
    /// The layer as an operator, its parameters as constants called `name`.weight and `name`.bias.
    package mutating func addLinear(
        _ layer: Linear, name: String, parameters: [Float], from input: String, to output: String
    ) {
        addConstant(
            "\(name).weight", shape: [layer.outputs, layer.inputs], Array(parameters[layer.weights]))
        addConstant("\(name).bias", shape: [layer.outputs], Array(parameters[layer.biases]))
        addNode("Gemm", [input, "\(name).weight", "\(name).bias"], [output], [("transB", .integer(1))])
    }

    package mutating func addActivation(_ activation: Activation, from input: String, to output: String) {
        let operation =
            switch activation {
            case .identity: "Identity"
            case .tanh: "Tanh"
            case .relu: "Relu"
            case .sigmoid: "Sigmoid"
            }
        addNode(operation, [input], [output])
    }

    /// The network, values between its layers called `name`.….
    package mutating func addMLP(
        _ network: MLP, name: String, parameters: [Float], from input: String, to output: String
    ) {
        var value = input
        for (index, layer) in network.layers.enumerated() {
            let isLast = index == network.layers.count - 1
            let next = isLast ? output : "\(name).\(index).sum"
            addLinear(layer, name: "\(name).\(index)", parameters: parameters, from: value, to: next)
            guard !isLast else { return }
            value = "\(name).\(index).output"
            addActivation(network.activation, from: next, to: value)
        }
    }

    /// One step of the network: `state` and `next` are the names of h and c, [1 × rows × hidden] each, before and
    /// after.
    package mutating func addRecurrentStep(
        _ network: RecurrentNetwork, name: String, parameters: [Float], from input: String,
        state: (h: String, c: String), next: (h: String, c: String), to output: String
    ) {
        let lstm = network.lstm
        addLinear(network.encoder, name: "\(name).encoder", parameters: parameters, from: input, to: "\(name).sum")
        addActivation(network.activation, from: "\(name).sum", to: "\(name).encoded")
        addConstant("\(name).axis", [0])
        addNode("Unsqueeze", ["\(name).encoded", "\(name).axis"], ["\(name).sequence"])
        // ONNX has the gates in the order i, o, f, c: of ours, i, f, g, o, the blocks 0, 3, 1, 2.
        func reordered(_ range: Range<Int>) -> [Float] {
            let size = range.count / 4
            return [0, 3, 1, 2].flatMap { block in
                let start = range.lowerBound + block * size
                return parameters[start..<start + size]
            }
        }
        let width = 4 * lstm.hidden
        addConstant("\(name).lstm.W", shape: [1, width, lstm.inputs], reordered(lstm.inputWeights))
        addConstant("\(name).lstm.R", shape: [1, width, lstm.hidden], reordered(lstm.recurrentWeights))
        addConstant(
            "\(name).lstm.B", shape: [1, 2 * width], reordered(lstm.inputBiases) + reordered(lstm.recurrentBiases))
        let constants = ["\(name).lstm.W", "\(name).lstm.R", "\(name).lstm.B"]
        addNode(
            "LSTM", ["\(name).sequence"] + constants + ["", state.h, state.c], ["", next.h, next.c],
            [("hidden_size", .integer(lstm.hidden))])
        addNode("Squeeze", [next.h, "\(name).axis"], ["\(name).memory"])
        addLinear(network.head, name: "\(name).head", parameters: parameters, from: "\(name).memory", to: output)
    }
}

/// Fields of one message, as the wire has them (protobuf.dev/programming-guides/encoding).
private struct ProtobufMessage {
    private(set) var bytes: [UInt8] = []

    /// Numbers are not negative here.
    mutating func add(_ field: Int, _ value: Int) {
        append(UInt64(field) << 3)
        append(UInt64(value))
    }

    mutating func add(_ field: Int, _ text: String) { add(field, Array(text.utf8)) }

    mutating func add(_ field: Int, _ message: ProtobufMessage) { add(field, message.bytes) }

    mutating func add(_ field: Int, _ content: [UInt8]) {
        append(UInt64(field) << 3 | 2)
        append(UInt64(content.count))
        bytes.append(contentsOf: content)
    }

    /// Seven bits a byte, lowest first; the eighth says that more follow.
    private mutating func append(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}
