internal import Kernels

/// Linear layers of the same inputs as one product, their weights copied into the order in which it reads them: for
/// networks that are asked often and do not change. A row's outputs are the same bits in a batch of any size.
public struct PackedLinear: Sendable {
    public let inputs: Int
    /// Outputs of all layers, one after the other, and their number rounded up to whole vectors: the width of a row.
    public let outputs: Int
    public let width: Int
    /// From `start` on, which is where the memory is aligned. Never written again: it stays where it is.
    private let weights: [Float]
    private let start: Int
    /// [width], 0 after the last output.
    private let biases: [Float]

    /// Traps when the layers are none or differ in inputs.
    public init(_ layers: [Linear], parameters: [Float]) {
        precondition(!layers.isEmpty && layers.allSatisfy { $0.inputs == layers[0].inputs }, "layers of one input")
        let inputs = layers[0].inputs
        let outputs = layers.reduce(0) { $0 + $1.outputs }
        let panel = PackedLayers.panelWidth
        let width = (outputs + panel - 1) / panel * panel
        var weights = [Float](repeating: 0, count: inputs * width + PackedLayers.alignment / 4)
        let start = unsafe weights.withUnsafeMutableBufferPointer { buffer in
            let address = Int(bitPattern: buffer.baseAddress)
            return (PackedLayers.alignment - address % PackedLayers.alignment) % PackedLayers.alignment / 4
        }
        var biases = [Float](repeating: 0, count: width)
        var column = 0
        for layer in layers {
            for output in 0..<layer.outputs {
                biases[column] = parameters[layer.biases.lowerBound + output]
                let first = start + column / panel * panel * inputs + column % panel
                let row = layer.weights.lowerBound + output * inputs
                for input in 0..<inputs { weights[first + panel * input] = parameters[row + input] }
                column += 1
            }
        }
        (self.inputs, self.outputs, self.width) = (inputs, outputs, width)
        (self.weights, self.start, self.biases) = (weights, start, biases)
    }

    /// y [rows × width], from x [rows × inputs], whose rows are `stride` numbers apart. `backwards` reads the weights
    /// from the end, with the same result: calls that alternate find a part of them in the cache.
    @unsafe
    package func forward(
        _ x: UnsafePointer<Float>, stride: Int, rows: Int, into y: UnsafeMutablePointer<Float>, backwards: Bool = false
    ) {
        unsafe biases.withUnsafeBufferPointer { biases in
            guard let biases = biases.baseAddress else { return }
            for row in 0..<rows { unsafe (y + row * width).update(from: biases, count: width) }
        }
        unsafe weights.withUnsafeBufferPointer { weights in
            guard let weights = weights.baseAddress else { return }
            unsafe PackedLayers.multiply(
                x, stride: stride, rows: rows, weights + start, inputs: inputs,
                panels: width / PackedLayers.panelWidth, into: y, backwards: backwards)
        }
    }
}

extension Activation {
    /// As `apply`, for a count of whole vectors: tanh is 16 lanes at once where the processor has them.
    @unsafe
    package func applyToVectors(_ values: UnsafeMutablePointer<Float>, count: Int) {
        switch self {
        case .tanh: unsafe PackedLayers.tanh(values, vectors: count / PackedLayers.panelWidth)
        case .identity, .relu, .sigmoid: unsafe apply(values, count: count)
        }
    }
}
