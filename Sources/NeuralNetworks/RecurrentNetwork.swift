public import Kernels

/// A network with a memory: a linear layer with an activation, long short-term memory, and a linear layer.
///
/// Like `MLP` it is a description only: its parameters are a slice of a flat vector, in the order encoder, LSTM, head;
/// the intermediate values live in a `RecurrentWorkspace`. It runs sequences of several rows side by side, from a state
/// that the caller keeps. Sequences are [steps × rows × …], row-major: row `step·rows + row`.
public struct RecurrentNetwork: Sendable, Equatable {
    public let encoder: Linear
    public let activation: Activation
    public let lstm: LSTM
    public let head: Linear
    /// Where this network starts in the flat parameter vector, and how many parameters it has.
    public let offset: Int
    public let parameterCount: Int

    /// `encoded` is the encoder's width, `hidden` the LSTM's units. Traps for sizes that are not positive.
    public init(
        inputs: Int, encoded: Int, hidden: Int, outputs: Int, activation: Activation = .tanh, offset: Int = 0
    ) {
        encoder = Linear(inputs: inputs, outputs: encoded, offset: offset)
        lstm = LSTM(inputs: encoded, hidden: hidden, offset: encoder.biases.upperBound)
        head = Linear(inputs: hidden, outputs: outputs, offset: lstm.recurrentBiases.upperBound)
        self.activation = activation
        self.offset = offset
        parameterCount = head.biases.upperBound - offset
    }

    public var inputs: Int { encoder.inputs }
    public var outputs: Int { head.outputs }
    public var hidden: Int { lstm.hidden }

    /// Fills this network's slice: orthogonal weights (each gate's block by itself) of gain 1, `outputGain` on the
    /// head; biases 0 but the forget gate's, which is 1, so that a new network remembers (Jozefowicz et al. 2015).
    public func initialise(_ parameters: inout [Float], outputGain: Float, random: inout RandomGenerator) {
        func fill(_ range: Range<Int>, columns: Int, gain: Float) {
            let weights = orthogonalMatrix(
                rows: range.count / columns, columns: columns, gain: gain, random: &random)
            parameters.replaceSubrange(range, with: weights)
        }
        for i in offset..<offset + parameterCount { parameters[i] = 0 }
        fill(encoder.weights, columns: inputs, gain: 1)
        for (weights, columns) in [(lstm.inputWeights, lstm.inputs), (lstm.recurrentWeights, hidden)] {
            let size = hidden * columns
            for gate in 0..<4 {
                let start = weights.lowerBound + gate * size
                fill(start..<start + size, columns: columns, gain: 1)
            }
        }
        for k in hidden..<2 * hidden { parameters[lstm.inputBiases.lowerBound + k] = 1 }
        fill(head.weights, columns: hidden, gain: outputGain)
    }

    /// Runs `steps` steps of `rows` rows, x [steps × rows × inputs], from `state` to the one that it leaves there.
    /// Where `resets` [steps × rows] is true the row's state is 0 before that step; empty, it resets nothing. The
    /// outputs and what the backward pass needs are in `workspace`. Traps when a count does not fit.
    public func forward(
        _ x: Span<Float>, steps: Int, rows: Int, resets: [Bool] = [], parameters: [Float], state: inout LSTMState,
        workspace: inout RecurrentWorkspace
    ) {
        unsafe x.withUnsafeBufferPointer { x in
            unsafe forward(
                x, steps: steps, rows: rows, resets: resets, parameters: parameters, state: &state,
                workspace: &workspace)
        }
    }

    /// As the other, for the rows of an array from `firstRow` on.
    public func forward(
        _ x: [Float], firstRow: Int = 0, steps: Int, rows: Int, resets: [Bool] = [], parameters: [Float],
        state: inout LSTMState, workspace: inout RecurrentWorkspace
    ) {
        unsafe x.withUnsafeBufferPointer { x in
            let x = x.extracting(firstRow * inputs..<(firstRow + steps * rows) * inputs)
            unsafe forward(
                x, steps: steps, rows: rows, resets: resets, parameters: parameters, state: &state,
                workspace: &workspace)
        }
    }

    /// Back-propagation through time. Writes (does not add) ∂loss/∂parameters to this network's slice of `gradients`,
    /// for the `x`, sizes and `resets` of the last `forward`, and the output gradient set in `workspace`, which is used
    /// up. `stateGradient` holds ∂loss/∂(final state) before, and ∂loss/∂(initial state) after.
    public func backward(
        _ x: [Float], steps: Int, rows: Int, resets: [Bool] = [], parameters: [Float],
        stateGradient: inout LSTMState, workspace: inout RecurrentWorkspace, gradients: inout [Float]
    ) {
        precondition(gradients.count == parameters.count, "one gradient a parameter")
        let count = steps * rows
        unsafe x.withUnsafeBufferPointer { x in
            unsafe check(x, steps, rows, resets, parameters, workspace)
            unsafe gradients.withUnsafeMutableBufferPointer { gradients in
                unsafe parameters.withUnsafeBufferPointer { parameters in
                    guard let x = x.baseAddress, let parameters = parameters.baseAddress,
                        let gradients = gradients.baseAddress
                    else { return }
                    unsafe workspace.withParts { encoded, deltas, outputs, lstmWorkspace in
                        unsafe lstmWorkspace.withBlocks { blocks in
                            unsafe head.parameterGradients(
                                blocks.outputs, outputGradient: outputs, rows: count, into: gradients)
                            unsafe head.inputGradient(
                                outputGradient: outputs, rows: count, parameters: parameters,
                                into: blocks.outputGradient)
                        }
                        unsafe resets.withUnsafeBufferPointer { resets in
                            unsafe lstm.backward(
                                encoded, steps: steps, rows: rows, resets: resets.isEmpty ? nil : resets.baseAddress,
                                parameters: parameters, stateGradient: &stateGradient, workspace: &lstmWorkspace,
                                gradients: gradients, inputGradient: deltas)
                        }
                        unsafe activation.applyDerivative(
                            outputs: encoded, gradient: deltas, count: count * encoder.outputs)
                        unsafe encoder.parameterGradients(x, outputGradient: deltas, rows: count, into: gradients)
                    }
                }
            }
        }
    }

    @unsafe
    private func forward(
        _ x: UnsafeBufferPointer<Float>, steps: Int, rows: Int, resets: [Bool], parameters: [Float],
        state: inout LSTMState, workspace: inout RecurrentWorkspace
    ) {
        unsafe check(x, steps, rows, resets, parameters, workspace)
        let count = steps * rows
        unsafe parameters.withUnsafeBufferPointer { parameters in
            guard let x = x.baseAddress, let parameters = parameters.baseAddress else { return }
            unsafe workspace.withParts { encoded, _, outputs, lstmWorkspace in
                unsafe encoder.forward(x, rows: count, parameters: parameters, into: encoded)
                unsafe activation.apply(encoded, count: count * encoder.outputs)
                unsafe resets.withUnsafeBufferPointer { resets in
                    unsafe lstm.forward(
                        encoded, steps: steps, rows: rows, resets: resets.isEmpty ? nil : resets.baseAddress,
                        parameters: parameters, state: &state, workspace: &lstmWorkspace)
                }
                unsafe lstmWorkspace.withBlocks { blocks in
                    unsafe head.forward(blocks.outputs, rows: count, parameters: parameters, into: outputs)
                }
            }
        }
    }

    @unsafe
    private func check(
        _ x: UnsafeBufferPointer<Float>, _ steps: Int, _ rows: Int, _ resets: [Bool], _ parameters: [Float],
        _ workspace: RecurrentWorkspace
    ) {
        precondition(steps > 0 && rows > 0 && steps * rows <= workspace.capacity, "steps and rows fit the workspace")
        precondition(x.count >= steps * rows * inputs, "every row has its inputs")
        precondition(resets.isEmpty || resets.count >= steps * rows, "every step of a row has its flag")
        precondition(parameters.count >= offset + parameterCount, "the flat vector holds this network")
        precondition(workspace.network == self, "the workspace was made for this network")
    }
}

/// What a recurrent network's passes over up to `steps` × `rows` rows keep.
public struct RecurrentWorkspace: Sendable {
    /// Rows in all steps together for which there is room.
    public let capacity: Int
    let network: RecurrentNetwork
    private var lstm: LSTMWorkspace
    private var encoded: [Float]
    private var encodedGradient: [Float]
    /// The outputs, and in their place the gradient at them.
    private var outputs: [Float]

    public init(_ network: RecurrentNetwork, steps: Int, rows: Int) {
        lstm = LSTMWorkspace(network.lstm, steps: steps, rows: rows)
        capacity = steps * rows
        self.network = network
        encoded = [Float](repeating: 0, count: capacity * network.encoder.outputs)
        encodedGradient = encoded
        outputs = [Float](repeating: 0, count: capacity * network.outputs)
    }

    /// One output of the last forward pass; `row` is step·rows + row.
    public func output(_ row: Int, _ column: Int = 0) -> Float { outputs[row * network.outputs + column] }

    /// Sets ∂loss/∂output for the next backward pass, in the output's place. Every output of every row must be set
    /// before each.
    public mutating func setOutputGradient(_ value: Float, _ row: Int, _ column: Int = 0) {
        outputs[row * network.outputs + column] = value
    }

    @unsafe
    fileprivate mutating func withParts(
        _ body: (
            _ encoded: UnsafeMutablePointer<Float>, _ gradient: UnsafeMutablePointer<Float>,
            _ outputs: UnsafeMutablePointer<Float>, inout LSTMWorkspace
        ) -> Void
    ) {
        unsafe encoded.withUnsafeMutableBufferPointer { encoded in
            unsafe encodedGradient.withUnsafeMutableBufferPointer { gradient in
                unsafe outputs.withUnsafeMutableBufferPointer { outputs in
                    guard let encoded = encoded.baseAddress, let gradient = gradient.baseAddress,
                        let outputs = outputs.baseAddress
                    else { return }
                    unsafe body(encoded, gradient, outputs, &lstm)
                }
            }
        }
    }
}
