public import Kernels
internal import NeuralNetworks

/// The inverse network: a surface in, Heston's parameters and the surface itself out.
///
///     surface [cells × 2] → conv 3×3 → conv 3×3 → linear layers → z ─┬→ five heads: a parameter and its uncertainty
///                                                                   └→ surface head: the surface again [cells]
///
/// ReLU between the layers. All numbers are standardised (`InverseScaling`); a cell is two channels, its logarithm of
/// total variance (0 where it is missing) and whether it is there (1 or 0). There is no pooling: of 5 × 6 cells, none
/// is to spare. Like `MLP` a description only: the parameters are a flat vector, what a pass leaves is in a
/// `NetworkWorkspace`.
public struct InverseNetwork: Sendable, Equatable {
    /// What is chosen; widths are positive, `channels` multiples of 16.
    public struct Architecture: Sendable, Equatable, Codable {
        /// Of the two convolutions.
        public var channels = [16, 16]
        /// Of the linear layers before z, and z's own at the end.
        public var trunk = [192, 128]
        /// Of each head's hidden layer.
        public var head = 32
        /// Of the surface head's hidden layer.
        public var surface = 64
        public init() {}
    }

    public let architecture: Architecture
    /// Of the grid: log-moneyness, maturities.
    public let rows: Int
    public let columns: Int
    public let parameterCount: Int
    let first: Convolution
    let second: Convolution
    let trunk: [Linear]
    /// The hidden layers of the five heads, beside each other.
    let heads: Linear
    /// W [5 × 2 × head], then b [5 × 2]: of each head its two outputs.
    let answers: Range<Int>
    let surfaceHidden: Linear
    let surface: Linear

    /// Outputs of the heads a row: value and logarithm of the standard deviation, by parameter.
    static let answerCount = 10

    /// Traps on widths that are no widths.
    public init(_ architecture: Architecture = .init(), grid: SurfaceGrid = .standard) {
        let channels = architecture.channels
        precondition(
            channels.count == 2 && channels.allSatisfy { $0 > 0 && $0 % 16 == 0 }, "channels come in sixteens")
        precondition(!architecture.trunk.isEmpty, "there is a layer z")
        self.architecture = architecture
        (rows, columns) = (grid.logMoneyness.count, grid.tau.count)
        first = Convolution(inputs: 2, outputs: channels[0], rows: rows, columns: columns, offset: 0)
        second = Convolution(
            inputs: channels[0], outputs: channels[1], rows: rows, columns: columns, offset: first.biases.upperBound)
        var next = second.biases.upperBound
        func linear(_ inputs: Int, _ outputs: Int) -> Linear {
            let layer = Linear(inputs: inputs, outputs: outputs, offset: next)
            next = layer.biases.upperBound
            return layer
        }
        var width = rows * columns * channels[1]
        var trunk: [Linear] = []
        for outputs in architecture.trunk {
            trunk.append(linear(width, outputs))
            width = outputs
        }
        self.trunk = trunk
        heads = linear(width, 5 * architecture.head)
        answers = next..<(next + Self.answerCount * (architecture.head + 1))
        next = answers.upperBound
        surfaceHidden = linear(width, architecture.surface)
        surface = linear(architecture.surface, rows * columns)
        parameterCount = next
    }

    public var cells: Int { rows * columns }
    var code: Int { heads.inputs }
    /// What the heads alone are made of: frozen in the training on real surfaces.
    var headParameters: Range<Int> { heads.offset..<answers.upperBound }

    /// Weights as He et al. (2015) draw them for ReLU, N(0, 2/inputs); those of the outputs a tenth of that; biases 0.
    public func initialParameters(_ random: inout RandomGenerator) -> [Float] {
        var parameters = [Float](repeating: 0, count: parameterCount)
        func fill(_ range: Range<Int>, inputs: Int, gain: Double = 1) {
            let scale = gain * (2 / Double(inputs)).squareRoot()
            for i in range { parameters[i] = Float(scale * random.normal()) }
        }
        fill(first.weights, inputs: 9 * first.inputs)
        fill(second.weights, inputs: 9 * second.inputs)
        for layer in trunk { fill(layer.weights, inputs: layer.inputs) }
        fill(heads.weights, inputs: code)
        fill(answers.lowerBound..<answers.upperBound - Self.answerCount, inputs: architecture.head, gain: 0.1)
        fill(surfaceHidden.weights, inputs: code)
        fill(surface.weights, inputs: architecture.surface, gain: 0.1)
        return parameters
    }

    // MARK: Passes

    /// Computes answers and, with `surface`, reconstructions of the workspace's first `count` rows.
    func forward(_ w: NetworkWorkspace, count: Int, parameters: [Float], surface needsSurface: Bool = true) {
        precondition(count > 0 && count <= w.capacity && w.network == self, "the workspace fits")
        precondition(parameters.count == parameterCount, "the parameters are this network's")
        unsafe parameters.withUnsafeBufferPointer { buffer in
            guard let p = buffer.baseAddress else { return }
            let inside = first.inside(first.outputs)
            for row in 0..<count {
                let middle = unsafe w.middle + row * first.bordered(first.outputs)
                unsafe first.forward(
                    w.input + row * first.bordered(2), parameters: p, into: middle + inside.origin,
                    stride: inside.stride, rectified: true)
                unsafe second.forward(
                    middle, parameters: p, into: w.flat + row * cells * second.outputs,
                    stride: columns * second.outputs, rectified: true)
            }
            var from = unsafe w.flat
            for (index, layer) in trunk.enumerated() {
                let to = unsafe w.trunk[index]
                unsafe layer.forward(from, rows: count, parameters: p, into: to)
                unsafe Self.rectify(to, count * layer.outputs)
                unsafe from = to
            }
            unsafe heads.forward(from, rows: count, parameters: p, into: w.heads)
            unsafe Self.rectify(w.heads, count * heads.outputs)
            unsafe answer(w, count, p)
            guard needsSurface else { return }
            unsafe surfaceHidden.forward(from, rows: count, parameters: p, into: w.surfaceHidden)
            unsafe Self.rectify(w.surfaceHidden, count * surfaceHidden.outputs)
            unsafe surface.forward(w.surfaceHidden, rows: count, parameters: p, into: w.surface)
        }
    }

    /// Writes (does not add) ∂loss/∂parameters to `gradients`, from the loss's gradients by answers and surfaces that
    /// stand in the workspace, after a `forward` of the same rows.
    func backward(_ w: NetworkWorkspace, count: Int, parameters: [Float], gradients: inout [Float]) {
        precondition(gradients.count == parameterCount && parameters.count == parameterCount, "one gradient each")
        unsafe parameters.withUnsafeBufferPointer { parameterBuffer in
            unsafe gradients.withUnsafeMutableBufferPointer { gradientBuffer in
                guard let p = parameterBuffer.baseAddress, let g = gradientBuffer.baseAddress else { return }
                let code = unsafe w.trunk[trunk.count - 1]
                let (codeGradient, other) = unsafe (w.gradients[trunk.count], w.scratch)
                unsafe answerGradient(w, count, p, g)
                unsafe Self.mask(w.headGradient, by: w.heads, count * heads.outputs)
                unsafe heads.parameterGradients(code, outputGradient: w.headGradient, rows: count, into: g)
                unsafe heads.inputGradient(
                    outputGradient: w.headGradient, rows: count, parameters: p, into: codeGradient)
                unsafe surface.parameterGradients(
                    w.surfaceHidden, outputGradient: w.surfaceGradient, rows: count, into: g)
                unsafe surface.inputGradient(
                    outputGradient: w.surfaceGradient, rows: count, parameters: p, into: w.surfaceHiddenGradient)
                unsafe Self.mask(w.surfaceHiddenGradient, by: w.surfaceHidden, count * surfaceHidden.outputs)
                unsafe surfaceHidden.parameterGradients(
                    code, outputGradient: w.surfaceHiddenGradient, rows: count, into: g)
                unsafe surfaceHidden.inputGradient(
                    outputGradient: w.surfaceHiddenGradient, rows: count, parameters: p, into: other)
                for i in 0..<(count * self.code) { unsafe codeGradient[i] += other[i] }
                for index in trunk.indices.reversed() {
                    let layer = trunk[index]
                    let (dy, dx) = unsafe (w.gradients[index + 1], w.gradients[index])
                    unsafe Self.mask(dy, by: w.trunk[index], count * layer.outputs)
                    let x = unsafe index == 0 ? w.flat : w.trunk[index - 1]
                    unsafe layer.parameterGradients(x, outputGradient: dy, rows: count, into: g)
                    unsafe layer.inputGradient(outputGradient: dy, rows: count, parameters: p, into: dx)
                }
                unsafe convolutionGradients(w, count, p, g)
            }
        }
    }

    @unsafe
    private func convolutionGradients(
        _ w: NetworkWorkspace, _ count: Int, _ p: UnsafePointer<Float>, _ g: UnsafeMutablePointer<Float>
    ) {
        unsafe Self.mask(w.gradients[0], by: w.flat, count * cells * second.outputs)
        let (outer, inner) = (second.inside(second.outputs), second.inside(second.inputs))
        let line = columns * second.outputs
        unsafe second.turn(p, into: w.turned)
        for row in 0..<count {
            let bordered = unsafe w.secondGradient + row * second.bordered(second.outputs)
            for i in 0..<rows {
                unsafe (bordered + outer.origin + i * outer.stride).update(
                    from: w.gradients[0] + (row * rows + i) * line, count: line)
            }
            unsafe second.inputGradient(
                bordered, turned: w.turned,
                into: w.firstGradient + row * first.bordered(first.outputs) + inner.origin, stride: inner.stride)
        }
        unsafe second.parameterGradients(w.middle, outputGradient: w.secondGradient, count: count, into: g)
        // The border's outputs are zero, and so will their gradients be.
        unsafe Self.mask(w.firstGradient, by: w.middle, count * first.bordered(first.outputs))
        unsafe first.parameterGradients(w.input, outputGradient: w.firstGradient, count: count, into: g)
    }

    /// Each head's two outputs from its own hidden layer.
    @unsafe
    private func answer(_ w: NetworkWorkspace, _ count: Int, _ p: UnsafePointer<Float>) {
        let width = architecture.head
        let weights = unsafe p + answers.lowerBound
        let biases = unsafe weights + Self.answerCount * width
        for row in 0..<count {
            for output in 0..<Self.answerCount {
                let hidden = unsafe w.heads + row * heads.outputs + output / 2 * width
                var sums = SIMD8<Float>()
                var rest = unsafe biases[output]
                var i = 0
                while i + 8 <= width {
                    for lane in 0..<8 { unsafe sums[lane] += weights[output * width + i + lane] * hidden[i + lane] }
                    i += 8
                }
                while i < width {
                    unsafe rest += weights[output * width + i] * hidden[i]
                    i += 1
                }
                unsafe w.answers[row * Self.answerCount + output] = rest + sums.sum()
            }
        }
    }

    @unsafe
    private func answerGradient(
        _ w: NetworkWorkspace, _ count: Int, _ p: UnsafePointer<Float>, _ g: UnsafeMutablePointer<Float>
    ) {
        let width = architecture.head
        let weights = unsafe p + answers.lowerBound
        let weightGradients = unsafe g + answers.lowerBound
        for i in answers { unsafe g[i] = 0 }
        for row in 0..<count {
            for head in 0..<5 {
                let hidden = unsafe w.heads + row * heads.outputs + head * width
                let hiddenGradient = unsafe w.headGradient + row * heads.outputs + head * width
                let (d0, d1) = unsafe (
                    w.answerGradient[row * Self.answerCount + 2 * head],
                    w.answerGradient[row * Self.answerCount + 2 * head + 1]
                )
                let (w0, w1) = unsafe (weights + 2 * head * width, weights + (2 * head + 1) * width)
                let (g0, g1) = unsafe (weightGradients + 2 * head * width, weightGradients + (2 * head + 1) * width)
                for i in 0..<width {
                    unsafe hiddenGradient[i] = d0 * w0[i] + d1 * w1[i]
                    unsafe g0[i] += d0 * hidden[i]
                    unsafe g1[i] += d1 * hidden[i]
                }
                unsafe weightGradients[Self.answerCount * width + 2 * head] += d0
                unsafe weightGradients[Self.answerCount * width + 2 * head + 1] += d1
            }
        }
    }

    /// NaN stays NaN.
    @unsafe
    private static func rectify(_ values: UnsafeMutablePointer<Float>, _ count: Int) {
        for i in 0..<count { unsafe values[i] = values[i] < 0 ? 0 : values[i] }
    }

    /// The gradient by what went into a ReLU, from that by what came out.
    @unsafe
    private static func mask(_ gradient: UnsafeMutablePointer<Float>, by outputs: UnsafePointer<Float>, _ count: Int) {
        for i in 0..<count { unsafe gradient[i] = outputs[i] > 0 ? gradient[i] : 0 }
    }

    @unsafe
    private static func mask(
        _ gradient: UnsafeMutablePointer<Float>, by outputs: UnsafeMutablePointer<Float>, _ count: Int
    ) {
        unsafe mask(gradient, by: UnsafePointer(outputs), count)
    }
}
