internal import Kernels

/// A layer of long short-term memory (Hochreiter, Schmidhuber 1997, with the forget gate of Gers et al. 2000), for
/// sequences of several rows side by side.
///
///     (i, f, g, o) = x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh;   i, f, o through the logistic function, g through tanh
///     c' = f·c + i·g,   h' = o·tanh c'
///
/// Its parameters are a slice of a flat vector, as PyTorch stores `nn.LSTM`'s: W_ih [4·hidden × inputs] row-major with
/// the gates' blocks in the order i, f, g, o, W_hh [4·hidden × hidden], b_ih and b_hh [4·hidden]. Only the sum of the
/// two biases matters; both are kept, so that files and optimisers' steps are PyTorch's.
public struct LSTM: Sendable, Equatable {
    /// Numbers of inputs and of hidden units of one row, both positive.
    public let inputs: Int
    public let hidden: Int
    /// Where W_ih starts in the flat parameter vector.
    public let offset: Int

    public init(inputs: Int, hidden: Int, offset: Int) {
        precondition(inputs > 0 && hidden > 0 && offset >= 0, "a recurrent layer has positive sizes")
        (self.inputs, self.hidden, self.offset) = (inputs, hidden, offset)
    }

    /// The slices of the flat vector that hold W_ih, W_hh, b_ih and b_hh.
    public var inputWeights: Range<Int> { offset..<offset + 4 * hidden * inputs }
    public var recurrentWeights: Range<Int> {
        inputWeights.upperBound..<inputWeights.upperBound + 4 * hidden * hidden
    }
    public var inputBiases: Range<Int> { recurrentWeights.upperBound..<recurrentWeights.upperBound + 4 * hidden }
    public var recurrentBiases: Range<Int> { inputBiases.upperBound..<inputBiases.upperBound + 4 * hidden }

    /// Runs `steps` steps of `rows` rows, x [steps × rows × inputs] row-major, from `state` to the one that it leaves
    /// there. Where `resets` [steps × rows] is true the row's state is 0 before that step: an episode starts there.
    /// `nil` resets nothing. `workspace` holds the outputs and what the backward pass needs.
    @unsafe
    package func forward(
        _ x: UnsafePointer<Float>, steps: Int, rows: Int, resets: UnsafePointer<Bool>?,
        parameters: UnsafePointer<Float>, state: inout LSTMState, workspace: inout LSTMWorkspace
    ) {
        workspace.check(self, steps: steps, rows: rows)
        precondition(state.holds(rows: rows, hidden: hidden), "the state has every row")
        let (width, block) = (4 * hidden, rows * hidden)
        let bias = unsafe (parameters + inputBiases.lowerBound, parameters + recurrentBiases.lowerBound)
        unsafe workspace.withBlocks { blocks in
            unsafe state.withPointers { h, c in
                for k in 0..<width { unsafe blocks.gates[k] = bias.0[k] + bias.1[k] }
                for row in 1..<max(steps * rows, 1) {
                    unsafe (blocks.gates + row * width).update(from: blocks.gates, count: width)
                }
                unsafe addProduct(
                    x, parameters + inputWeights.lowerBound, rows: steps * rows, inner: inputs, into: blocks.gates)
                for step in 0..<steps {
                    let gates = unsafe blocks.gates + step * rows * width
                    if let resets = unsafe resets {
                        for row in 0..<rows where unsafe resets[step * rows + row] {
                            unsafe (h + row * hidden).update(repeating: 0, count: hidden)
                            unsafe (c + row * hidden).update(repeating: 0, count: hidden)
                        }
                    }
                    unsafe (blocks.previousHidden + step * block).update(from: h, count: block)
                    unsafe (blocks.previousCells + step * block).update(from: c, count: block)
                    unsafe addProduct(
                        h, parameters + recurrentWeights.lowerBound, rows: rows, inner: hidden, into: gates)
                    let squashed = unsafe blocks.squashedCells + step * block
                    for row in 0..<rows {
                        let place = row * hidden
                        unsafe squashGates(gates + row * width, hidden)
                        unsafe advance(
                            gates + row * width, cells: c + place, squashed: squashed + place, outputs: h + place,
                            count: hidden)
                    }
                    unsafe (blocks.outputs + step * block).update(from: h, count: block)
                }
            }
        }
    }

    /// Back-propagation through time, for the `x`, `resets` and sizes of the last `forward`, whose record it uses up,
    /// and the gradient at the outputs that `workspace` holds. Writes (does not add) ∂loss/∂parameters to this layer's
    /// slice of `gradients`, and ∂loss/∂x to `inputGradient` unless that is `nil`. `stateGradient` holds ∂loss/∂(final
    /// state) before, 0 where the loss does not see it, and ∂loss/∂(initial state) after.
    @unsafe
    package func backward(
        _ x: UnsafePointer<Float>, steps: Int, rows: Int, resets: UnsafePointer<Bool>?,
        parameters: UnsafePointer<Float>, stateGradient: inout LSTMState, workspace: inout LSTMWorkspace,
        gradients: UnsafeMutablePointer<Float>?, inputGradient: UnsafeMutablePointer<Float>?
    ) {
        workspace.check(self, steps: steps, rows: rows)
        precondition(stateGradient.holds(rows: rows, hidden: hidden), "the state's gradient has every row")
        let (width, block, count) = (4 * hidden, rows * hidden, steps * rows)
        unsafe workspace.withBlocks { blocks in
            unsafe stateGradient.withPointers { dh, dc in
                for step in (0..<steps).reversed() {
                    let gates = unsafe blocks.gates + step * rows * width
                    for row in 0..<rows {
                        let place = row * hidden
                        let here = step * block + place
                        unsafe retreat(
                            gates + row * width, squashed: blocks.squashedCells + here,
                            previous: blocks.previousCells + here, outputGradient: blocks.outputGradient + here,
                            hiddenGradient: dh + place, cellGradient: dc + place, count: hidden)
                    }
                    let w = unsafe parameters + recurrentWeights.lowerBound
                    if rows == 1 {
                        unsafe BLAS.gemv(rows: width, columns: hidden, w, transposed: true, gates, into: dh)
                    } else {
                        unsafe BLAS.gemm(rows: rows, columns: hidden, inner: width, gates, w, into: dh)
                    }
                    guard let resets = unsafe resets else { continue }
                    for row in 0..<rows where unsafe resets[step * rows + row] {
                        unsafe (dh + row * hidden).update(repeating: 0, count: hidden)
                        unsafe (dc + row * hidden).update(repeating: 0, count: hidden)
                    }
                }
            }
            if let gradients = unsafe gradients {
                unsafe BLAS.gemm(
                    rows: width, columns: inputs, inner: count, blocks.gates, transposedA: true, x,
                    into: gradients + inputWeights.lowerBound)
                unsafe BLAS.gemm(
                    rows: width, columns: hidden, inner: count, blocks.gates, transposedA: true,
                    blocks.previousHidden, into: gradients + recurrentWeights.lowerBound)
                let bias = unsafe gradients + inputBiases.lowerBound
                unsafe bias.update(repeating: 0, count: width)
                for row in 0..<count {
                    for k in 0..<width { unsafe bias[k] += blocks.gates[row * width + k] }
                }
                unsafe (gradients + recurrentBiases.lowerBound).update(from: bias, count: width)
            }
            if let inputGradient = unsafe inputGradient {
                let w = unsafe parameters + inputWeights.lowerBound
                unsafe BLAS.gemm(
                    rows: count, columns: inputs, inner: width, blocks.gates, w, into: inputGradient)
            }
        }
    }

    /// gates [rows × 4·hidden] += x·Wᵀ.
    @unsafe
    private func addProduct(
        _ x: UnsafePointer<Float>, _ w: UnsafePointer<Float>, rows: Int, inner: Int,
        into gates: UnsafeMutablePointer<Float>
    ) {
        if rows == 1 {
            unsafe BLAS.gemv(rows: 4 * hidden, columns: inner, w, x, beta: 1, into: gates)
        } else {
            unsafe BLAS.gemm(
                rows: rows, columns: 4 * hidden, inner: inner, x, w, transposedB: true, beta: 1, into: gates)
        }
    }
}

/// The state of `rows` rows between two steps, each [rows × hidden], row-major.
public struct LSTMState: Sendable, Equatable {
    /// h, what the layer last put out.
    public var hidden: [Float]
    /// c, the memory itself.
    public var cell: [Float]

    /// Zeros: the state before an episode's first step, and the gradient of a loss that does not see a state.
    public init(rows: Int, hidden: Int) {
        precondition(rows > 0 && hidden > 0, "a state has rows and units")
        self.hidden = [Float](repeating: 0, count: rows * hidden)
        cell = self.hidden
    }

    /// Everything becomes 0.
    public mutating func clear() {
        for i in hidden.indices { hidden[i] = 0 }
        for i in cell.indices { cell[i] = 0 }
    }

    /// Row `row` becomes 0: an episode starts there. `units` is the layer's `hidden`.
    public mutating func clear(row: Int, hidden units: Int) {
        for i in row * units..<(row + 1) * units { (hidden[i], cell[i]) = (0, 0) }
    }

    /// Copies row `other` of `state` to row `row`. `units` is the layer's `hidden`.
    public mutating func copyRow(_ other: Int, of state: LSTMState, to row: Int, hidden units: Int) {
        for k in 0..<units {
            hidden[row * units + k] = state.hidden[other * units + k]
            cell[row * units + k] = state.cell[other * units + k]
        }
    }

    /// There may be room for more: the rows in use are packed at the start.
    func holds(rows: Int, hidden units: Int) -> Bool { hidden.count >= rows * units && cell.count >= rows * units }

    @unsafe
    fileprivate mutating func withPointers(
        _ body: (UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>) -> Void
    ) {
        unsafe hidden.withUnsafeMutableBufferPointer { h in
            unsafe cell.withUnsafeMutableBufferPointer { c in
                guard let h = h.baseAddress, let c = c.baseAddress else { return }
                unsafe body(h, c)
            }
        }
    }
}

/// What a recurrent layer's passes over up to `steps` × `rows` rows keep: the gates, the states and the outputs.
public struct LSTMWorkspace: Sendable {
    /// Rows in all steps together for which there is room.
    public let capacity: Int
    private let layer: LSTM
    private var values: [Float]

    public init(_ layer: LSTM, steps: Int, rows: Int) {
        precondition(steps > 0 && rows > 0, "a workspace has room for a row")
        capacity = steps * rows
        self.layer = layer
        values = [Float](repeating: 0, count: capacity * 9 * layer.hidden)
    }

    /// Where each block starts: the rows in use are packed at its start.
    @unsafe
    package struct Blocks {
        /// i, f, g, o [4·hidden] of each row; in the backward pass, the gradients at what went into them.
        package let gates: UnsafeMutablePointer<Float>
        /// tanh c', and h', the layer's outputs.
        package let squashedCells: UnsafeMutablePointer<Float>
        package let outputs: UnsafeMutablePointer<Float>
        /// h and c that each step began with, after any reset.
        package let previousHidden: UnsafeMutablePointer<Float>
        package let previousCells: UnsafeMutablePointer<Float>
        /// ∂loss/∂outputs, for the caller to write before a backward pass.
        package let outputGradient: UnsafeMutablePointer<Float>
    }

    @unsafe
    package mutating func withBlocks(_ body: (Blocks) -> Void) {
        let size = capacity * layer.hidden
        unsafe values.withUnsafeMutableBufferPointer { values in
            guard let start = values.baseAddress else { return }
            unsafe body(
                Blocks(
                    gates: start, squashedCells: start + 4 * size, outputs: start + 5 * size,
                    previousHidden: start + 6 * size, previousCells: start + 7 * size,
                    outputGradient: start + 8 * size))
        }
    }

    func check(_ layer: LSTM, steps: Int, rows: Int) {
        precondition(steps > 0 && rows > 0 && steps * rows <= capacity, "steps and rows fit the workspace")
        precondition(layer == self.layer, "the workspace was made for this layer")
    }
}

// The loops of one row and step: no branch, no call, few streams, so that each is vectorised.

@unsafe
private func squashGates(_ gates: UnsafeMutablePointer<Float>, _ count: Int) {
    for k in 0..<2 * count { unsafe gates[k] = logistic(gates[k]) }
    for k in 2 * count..<3 * count { unsafe gates[k] = hyperbolicTangent(gates[k]) }
    for k in 3 * count..<4 * count { unsafe gates[k] = logistic(gates[k]) }
}

/// c ← f·c + i·g and h ← o·tanh c; also keeps tanh c.
@unsafe
private func advance(
    _ gates: UnsafePointer<Float>, cells: UnsafeMutablePointer<Float>, squashed: UnsafeMutablePointer<Float>,
    outputs: UnsafeMutablePointer<Float>, count: Int
) {
    let (i, f, g, o) = unsafe (gates, gates + count, gates + 2 * count, gates + 3 * count)
    for k in 0..<count {
        let cell = unsafe f[k] * cells[k] + i[k] * g[k]
        unsafe cells[k] = cell
        unsafe squashed[k] = hyperbolicTangent(cell)
    }
    for k in 0..<count { unsafe outputs[k] = o[k] * squashed[k] }
}

/// From the gradients at h' and c' to those at the gates' inputs, which replace the gates, and at c, in `cellGradient`.
@unsafe
private func retreat(
    _ gates: UnsafeMutablePointer<Float>, squashed: UnsafePointer<Float>, previous: UnsafePointer<Float>,
    outputGradient: UnsafePointer<Float>, hiddenGradient: UnsafePointer<Float>,
    cellGradient: UnsafeMutablePointer<Float>, count: Int
) {
    let (i, f, g, o) = unsafe (gates, gates + count, gates + 2 * count, gates + 3 * count)
    for k in 0..<count {
        let dh = unsafe hiddenGradient[k] + outputGradient[k]
        let (open, tanh) = unsafe (o[k], squashed[k])
        unsafe o[k] = dh * tanh * open * (1 - open)
        unsafe cellGradient[k] += dh * open * (1 - tanh * tanh)
    }
    for k in 0..<count {
        let (dc, input, candidate, forget) = unsafe (cellGradient[k], i[k], g[k], f[k])
        unsafe i[k] = dc * candidate * input * (1 - input)
        unsafe g[k] = dc * input * (1 - candidate * candidate)
        unsafe f[k] = dc * previous[k] * forget * (1 - forget)
        unsafe cellGradient[k] = dc * forget
    }
}
