public import Kernels

/// A multilayer perceptron: linear layers with one activation between them and none after the last.
///
/// It is a description only. The parameters are a slice of a flat vector that several networks, one optimiser and one
/// checkpoint share; the intermediate values live in an `MLPWorkspace`, so that no pass allocates.
public struct MLP: Sendable, Equatable {
    public let layers: [Linear]
    public let activation: Activation
    /// Where this network starts in the flat parameter vector, and how many parameters it has.
    public let offset: Int
    public let parameterCount: Int

    /// `sizes` from the inputs to the outputs, at least two, all positive. Traps otherwise.
    public init(sizes: [Int], activation: Activation, offset: Int = 0) {
        precondition(sizes.count >= 2, "a network has inputs and outputs")
        var layers: [Linear] = []
        var next = offset
        for (inputs, outputs) in zip(sizes, sizes.dropFirst()) {
            layers.append(Linear(inputs: inputs, outputs: outputs, offset: next))
            next = layers[layers.count - 1].biases.upperBound
        }
        self.layers = layers
        self.activation = activation
        self.offset = offset
        parameterCount = next - offset
    }

    public var inputs: Int { layers[0].inputs }
    public var outputs: Int { layers[layers.count - 1].outputs }

    /// Fills this network's slice: orthogonal weights with gain √2 for ReLU and 5/3 for tanh between the layers,
    /// `outputGain` on the last one; biases 0. (Saxe et al. 2014; a small output gain starts a policy near 0.)
    public func initialise(_ parameters: inout [Float], outputGain: Float, random: inout RandomGenerator) {
        let hiddenGain: Float =
            switch activation {
            case .identity: 1
            case .tanh: 5 / 3
            case .sigmoid: 1
            case .relu: Float(2).squareRoot()
            }
        for (index, layer) in layers.enumerated() {
            let gain = index == layers.count - 1 ? outputGain : hiddenGain
            let weights = orthogonalMatrix(rows: layer.outputs, columns: layer.inputs, gain: gain, random: &random)
            parameters.replaceSubrange(layer.weights, with: weights)
            for i in layer.biases { parameters[i] = 0 }
        }
    }

    /// Computes the outputs of `rows` inputs, x [rows × inputs] row-major, into `workspace`, which keeps what the
    /// backward pass needs. `parameters` is the whole flat vector. Traps when a count does not fit.
    public func forward(
        _ x: Span<Float>, rows: Int, parameters: [Float], workspace: inout MLPWorkspace
    ) {
        unsafe x.withUnsafeBufferPointer { x in
            unsafe forward(x, rows: rows, parameters: parameters, workspace: &workspace)
        }
    }

    /// As the other, for the rows of an array from `firstRow` on.
    public func forward(
        _ x: [Float], firstRow: Int = 0, rows: Int, parameters: [Float], workspace: inout MLPWorkspace
    ) {
        unsafe x.withUnsafeBufferPointer { x in
            let x = x.extracting(firstRow * inputs..<(firstRow + rows) * inputs)
            unsafe forward(x, rows: rows, parameters: parameters, workspace: &workspace)
        }
    }

    /// Writes (does not add) ∂loss/∂parameters to this network's slice of `gradients`, for the first `rows` rows of
    /// `x`, those of the last `forward`, and the output gradient set in `workspace`, which is used up.
    public func backward(
        _ x: [Float], rows: Int, parameters: [Float], workspace: inout MLPWorkspace, gradients: inout [Float]
    ) {
        precondition(gradients.count == parameters.count, "one gradient a parameter")
        unsafe x.withUnsafeBufferPointer { x in
            unsafe gradients.withUnsafeMutableBufferPointer { gradients in
                unsafe propagate(
                    x, rows: rows, parameters: parameters, workspace: &workspace, gradients: gradients.baseAddress,
                    inputGradient: nil)
            }
        }
    }

    /// Writes ∂loss/∂x [rows × inputs] to `result`, leaving the parameters' gradients alone. As `backward` otherwise.
    public func inputGradient(
        _ x: Span<Float>, rows: Int, parameters: [Float], workspace: inout MLPWorkspace, into result: inout [Float]
    ) {
        precondition(result.count >= rows * inputs, "room for every input's gradient")
        unsafe x.withUnsafeBufferPointer { x in
            unsafe result.withUnsafeMutableBufferPointer { result in
                unsafe propagate(
                    x, rows: rows, parameters: parameters, workspace: &workspace, gradients: nil,
                    inputGradient: result.baseAddress)
            }
        }
    }

    @unsafe
    private func forward(
        _ x: UnsafeBufferPointer<Float>, rows: Int, parameters: [Float], workspace: inout MLPWorkspace
    ) {
        unsafe check(x, rows, parameters, workspace)
        let capacity = workspace.capacity
        unsafe parameters.withUnsafeBufferPointer { parameters in
            unsafe workspace.activations.withUnsafeMutableBufferPointer { activations in
                guard var input = x.baseAddress, let parameters = parameters.baseAddress,
                    var output = activations.baseAddress
                else { return }
                for (index, layer) in layers.enumerated() {
                    unsafe layer.forward(input, rows: rows, parameters: parameters, into: output)
                    if index < layers.count - 1 {
                        unsafe activation.apply(output, count: rows * layer.outputs)
                    }
                    unsafe input = UnsafePointer(output)
                    unsafe output += capacity * layer.outputs
                }
            }
        }
    }

    /// Back-propagation. The gradients at a layer's outputs and inputs alternate between the workspace's two halves.
    @unsafe
    private func propagate(
        _ x: UnsafeBufferPointer<Float>, rows: Int, parameters: [Float], workspace: inout MLPWorkspace,
        gradients: UnsafeMutablePointer<Float>?, inputGradient: UnsafeMutablePointer<Float>?
    ) {
        unsafe check(x, rows, parameters, workspace)
        let capacity = workspace.capacity
        let half = workspace.deltas.count / 2
        var end = workspace.activations.count
        unsafe parameters.withUnsafeBufferPointer { parameters in
            unsafe workspace.activations.withUnsafeBufferPointer { activations in
                unsafe workspace.deltas.withUnsafeMutableBufferPointer { deltas in
                    guard let x = x.baseAddress, let parameters = parameters.baseAddress,
                        let activations = activations.baseAddress, var delta = deltas.baseAddress
                    else { return }
                    var other = unsafe delta + half
                    for index in layers.indices.reversed() {
                        let layer = layers[index]
                        end -= capacity * layer.outputs
                        let input = unsafe index == 0 ? x : activations + (end - capacity * layer.inputs)
                        if let gradients = unsafe gradients {
                            unsafe layer.parameterGradients(input, outputGradient: delta, rows: rows, into: gradients)
                        }
                        guard index > 0 else {
                            if let inputGradient = unsafe inputGradient {
                                unsafe layer.inputGradient(
                                    outputGradient: delta, rows: rows, parameters: parameters, into: inputGradient)
                            }
                            return
                        }
                        unsafe layer.inputGradient(
                            outputGradient: delta, rows: rows, parameters: parameters, into: other)
                        unsafe activation.applyDerivative(outputs: input, gradient: other, count: rows * layer.inputs)
                        unsafe swap(&delta, &other)
                    }
                }
            }
        }
    }

    @unsafe
    private func check(
        _ x: UnsafeBufferPointer<Float>, _ rows: Int, _ parameters: [Float], _ workspace: MLPWorkspace
    ) {
        precondition(rows > 0 && rows <= workspace.capacity, "rows fit the workspace")
        precondition(x.count >= rows * inputs, "every row has its inputs")
        precondition(parameters.count >= offset + parameterCount, "the flat vector holds this network")
        precondition(workspace.layers == layers, "the workspace was made for this network")
    }
}

/// What one network's passes over up to `capacity` rows keep: every layer's outputs, and two gradients in flight.
public struct MLPWorkspace: Sendable {
    public let capacity: Int
    let layers: [Linear]
    /// One block [capacity × outputs] a layer, in order; the rows in use are packed at the block's start.
    var activations: [Float]
    var deltas: [Float]
    private let outputStart: Int
    private let outputs: Int

    public init(_ network: MLP, capacity: Int) {
        precondition(capacity > 0, "a workspace has room for a row")
        self.capacity = capacity
        layers = network.layers
        let widths = network.layers.map(\.outputs)
        activations = [Float](repeating: 0, count: capacity * widths.reduce(0, +))
        deltas = [Float](repeating: 0, count: 2 * capacity * (widths.max() ?? 0))
        outputs = network.outputs
        outputStart = activations.count - capacity * outputs
    }

    /// One output of the last forward pass.
    public func output(_ row: Int, _ column: Int = 0) -> Float { activations[outputStart + row * outputs + column] }

    /// Sets ∂loss/∂output for the next backward pass. Every output of every row must be set before each.
    public mutating func setOutputGradient(_ value: Float, _ row: Int, _ column: Int = 0) {
        deltas[row * outputs + column] = value
    }
}
