import Foundation
import Kernels

@testable import NeuralNetworks

/// Golden/layers.safetensors, which PyTorch wrote: see Tests/Peers/make_layers.py.
enum Golden {
    private static let file: Result<Safetensors, any Error> = Result {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/layers.safetensors")
        return try Safetensors(bytes: [UInt8](try Data(contentsOf: url)))
    }

    static func floats(_ name: String) throws -> [Float] {
        guard case .float32(let values) = try file.get().tensor(name).elements else {
            throw NeuralNetworkError.tensorMismatch(name: name, expected: "F32", found: "another type")
        }
        return values
    }

    static func integers(_ name: String) throws -> [Int] {
        switch try file.get().tensor(name).elements {
        case .int64(let values): return values.map(Int.init)
        case .uint8(let values): return values.map(Int.init)
        default: throw NeuralNetworkError.tensorMismatch(name: name, expected: "integers", found: "another type")
        }
    }

    /// The largest difference, relative to the largest number expected; infinite when the counts differ.
    static func error(_ values: [Float], _ expected: [Float]) -> Float {
        guard values.count == expected.count else { return .infinity }
        var (worst, largest) = (Float(0), Float.leastNormalMagnitude)
        for (value, wanted) in zip(values, expected) {
            // NaN differs from everything.
            if !(abs(value - wanted) <= worst) { worst = value.isNaN ? .infinity : abs(value - wanted) }
            largest = max(largest, abs(wanted))
        }
        return worst / largest
    }
}

/// A layer with the sizes of its golden case, as one function: what it puts out for `x`, and what it makes of the
/// gradient `dy` at its outputs.
struct LayerCase: Sendable, CustomStringConvertible {
    typealias Passes = (y: [Float], dParameters: [Float], dx: [Float])

    let name: String
    /// Parameters and gradients are whole flat vectors, the layer's slice `padding` numbers from their start.
    let run: @Sendable (_ parameters: [Float], _ x: [Float], _ dy: [Float], inout [Float]) -> (y: [Float], dx: [Float])
    static let padding = 3
    static let untouched: Float = -99

    var description: String { name }

    /// Both passes; `nil` when the layer wrote outside its slice of the gradients.
    func passes(parameters: [Float], x: [Float], dy: [Float]) -> Passes? {
        let around = [Float](repeating: 0.5, count: Self.padding)
        var gradients = [Float](repeating: Self.untouched, count: parameters.count + 2 * Self.padding)
        let (y, dx) = run(around + parameters + around, x, dy, &gradients)
        let outside = gradients.prefix(Self.padding) + gradients.suffix(Self.padding)
        guard outside.allSatisfy({ $0 == Self.untouched }) else { return nil }
        return (y, Array(gradients.dropFirst(Self.padding).dropLast(Self.padding)), dx)
    }
}

extension LayerCase {
    static let all: [LayerCase] =
        [linear("linear", rows: 5), linear("linear-row", rows: 1), layerNorm, softmax, gelu]
        + [Activation.tanh, .relu, .sigmoid].map(activation)
        + [lstm("lstm", steps: 7, rows: 3), lstm("lstm-resets", steps: 7, rows: 3), lstm("lstm-row", steps: 5, rows: 1)]
        + [
            convolution("none", width: 3, dilation: 1, .none), convolution("same", width: 3, dilation: 2, .same),
            convolution("causal", width: 3, dilation: 4, .causal),
            convolution("causal-even", width: 2, dilation: 1, .causal),
        ]
        + [
            pool("max-pool", width: 2, isMaximum: true), pool("max-pool-overlapping", width: 3, isMaximum: true),
            pool("average-pool", width: 2, isMaximum: false),
            pool("average-pool-overlapping", width: 3, isMaximum: false),
        ]
        + [attention("attention", isCausal: false), attention("attention-causal", isCausal: true)]

    private static func zeros(_ count: Int) -> [Float] { [Float](repeating: 0, count: count) }

    private static func linear(_ name: String, rows: Int) -> LayerCase {
        LayerCase(name: name) { parameters, x, dy, gradients in
            let layer = Linear(inputs: 4, outputs: 3, offset: padding)
            var (y, dx) = (zeros(dy.count), zeros(x.count))
            unsafe layer.forward(x, rows: rows, parameters: parameters, into: &y)
            unsafe layer.parameterGradients(x, outputGradient: dy, rows: rows, into: &gradients)
            unsafe layer.inputGradient(outputGradient: dy, rows: rows, parameters: parameters, into: &dx)
            return (y, dx)
        }
    }

    private static func activation(_ kind: Activation) -> LayerCase {
        LayerCase(name: kind.rawValue) { _, x, dy, _ in
            var (y, dx) = (x, dy)
            unsafe kind.apply(&y, count: y.count)
            unsafe kind.applyDerivative(outputs: y, gradient: &dx, count: y.count)
            return (y, dx)
        }
    }

    private static let gelu = LayerCase(name: "gelu") { _, x, dy, _ in
        var (y, dx) = (zeros(x.count), dy)
        unsafe GELU.forward(x, count: x.count, into: &y)
        unsafe GELU.applyDerivative(inputs: x, gradient: &dx, count: x.count)
        return (y, dx)
    }

    private static let softmax = LayerCase(name: "softmax") { _, x, dy, _ in
        var (y, dx) = (zeros(x.count), dy)
        unsafe Softmax.forward(x, rows: 4, columns: 7, into: &y)
        unsafe Softmax.applyDerivative(outputs: y, gradient: &dx, rows: 4, columns: 7)
        return (y, dx)
    }

    private static let layerNorm = LayerCase(name: "layer-norm") { parameters, x, dy, gradients in
        let layer = LayerNorm(size: 10, offset: padding)
        var (y, dx, normalised, scales) = (zeros(60), zeros(60), zeros(60), zeros(6))
        unsafe layer.forward(
            x, rows: 6, parameters: parameters, normalised: &normalised, scales: &scales, into: &y)
        unsafe layer.backward(
            normalised: normalised, scales: scales, outputGradient: dy, rows: 6, parameters: parameters,
            gradients: &gradients, into: &dx)
        return (y, dx)
    }

    /// Inputs are the sequence, h and c; outputs the sequence, and h and c after it.
    private static func lstm(_ name: String, steps: Int, rows: Int) -> LayerCase {
        let flags = ((try? Golden.integers("\(name).resets")) ?? []).map { $0 == 1 }
        return LayerCase(name: name) { parameters, x, dy, gradients in
            let layer = LSTM(inputs: 4, hidden: 5, offset: padding)
            // Room for more than is used.
            var workspace = LSTMWorkspace(layer, steps: steps + 1, rows: rows + 2)
            let (inputs, outputs, size) = (steps * rows * 4, steps * rows * 5, rows * 5)
            func state(_ values: [Float], from start: Int) -> LSTMState {
                var state = LSTMState(rows: rows, hidden: 5)
                state.hidden = Array(values[start..<start + size])
                state.cell = Array(values[start + size..<start + 2 * size])
                return state
            }
            var (states, stateGradient) = (state(x, from: inputs), state(dy, from: outputs))
            var (y, dx) = (zeros(outputs), zeros(inputs))
            unsafe flags.withUnsafeBufferPointer { flags in
                let resets = flags.isEmpty ? nil : flags.baseAddress
                unsafe layer.forward(
                    x, steps: steps, rows: rows, resets: resets, parameters: parameters, state: &states,
                    workspace: &workspace)
                unsafe workspace.withBlocks { blocks in
                    for i in 0..<outputs {
                        unsafe y[i] = blocks.outputs[i]
                        unsafe blocks.outputGradient[i] = dy[i]
                    }
                }
                unsafe layer.backward(
                    x, steps: steps, rows: rows, resets: resets, parameters: parameters,
                    stateGradient: &stateGradient, workspace: &workspace, gradients: &gradients,
                    inputGradient: &dx)
            }
            return (y + states.hidden + states.cell, dx + stateGradient.hidden + stateGradient.cell)
        }
    }

    private static func convolution(
        _ name: String, width: Int, dilation: Int, _ kind: Convolution1D.Padding
    ) -> LayerCase {
        LayerCase(name: "conv1d-\(name)") { parameters, x, dy, gradients in
            let layer = Convolution1D(
                inputs: 3, outputs: 4, width: width, dilation: dilation, padding: kind, offset: padding)
            var (y, dx, columns) = (zeros(dy.count), zeros(x.count), zeros(layer.columnCount(rows: 2, length: 20)))
            unsafe layer.forward(x, rows: 2, length: 20, parameters: parameters, columns: &columns, into: &y)
            unsafe layer.backward(
                outputGradient: dy, rows: 2, length: 20, parameters: parameters, columns: &columns,
                gradients: &gradients, into: &dx)
            return (y, dx)
        }
    }

    private static func pool(_ name: String, width: Int, isMaximum: Bool) -> LayerCase {
        LayerCase(name: name) { _, x, dy, _ in
            let layer = Pooling1D(width: width, stride: 2)
            var (y, dx) = (zeros(2 * layer.outputLength(12) * 3), zeros(x.count))
            if isMaximum {
                var places = [Int32](repeating: 0, count: y.count)
                unsafe layer.maximum(x, rows: 2, length: 12, channels: 3, places: &places, into: &y)
                unsafe layer.maximumGradient(
                    outputGradient: dy, rows: 2, length: 12, channels: 3, places: places, into: &dx)
            } else {
                unsafe layer.average(x, rows: 2, length: 12, channels: 3, into: &y)
                unsafe layer.averageGradient(outputGradient: dy, rows: 2, length: 12, channels: 3, into: &dx)
            }
            return (y, dx)
        }
    }

    private static func attention(_ name: String, isCausal: Bool) -> LayerCase {
        LayerCase(name: name) { parameters, x, dy, gradients in
            let layer = MultiHeadAttention(size: 8, heads: 2, isCausal: isCausal, offset: padding)
            var workspace = AttentionWorkspace(layer, rows: 4, length: 7)
            var (y, dx) = (zeros(x.count), zeros(x.count))
            unsafe layer.forward(x, rows: 3, length: 6, parameters: parameters, workspace: &workspace, into: &y)
            unsafe layer.backward(
                x, outputGradient: dy, rows: 3, length: 6, parameters: parameters, workspace: &workspace,
                gradients: &gradients, into: &dx)
            return (y, dx)
        }
    }
}
