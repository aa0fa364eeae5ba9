internal import Kernels

/// A convolution along time: each output is a linear map of `width` inputs, `dilation` steps apart. With causal padding
/// an output sees nothing after its own step: the layer of a temporal convolutional network (Bai, Kolter, Koltun 2018).
///
/// Sequences are [length × channels], channels last, as windows of features are. The parameters are a slice of a flat
/// vector, as PyTorch stores `nn.Conv1d`'s: W [outputs × inputs × width] row-major, then b [outputs].
public struct Convolution1D: Sendable, Equatable {
    /// The zeros around a sequence.
    public enum Padding: Sendable, Equatable {
        /// None: the output is shorter by (width − 1)·dilation.
        case none
        /// As many on both sides as make the output as long as the input; for odd widths.
        case same
        /// All before the sequence: the output is as long as the input, and sees only the past and present.
        case causal
    }

    /// Channels in and out, and taps; all positive.
    public let inputs: Int
    public let outputs: Int
    public let width: Int
    /// Steps from one tap to the next, positive.
    public let dilation: Int
    public let padding: Padding
    /// Where W starts in the flat parameter vector.
    public let offset: Int

    public init(inputs: Int, outputs: Int, width: Int, dilation: Int = 1, padding: Padding, offset: Int) {
        precondition(inputs > 0 && outputs > 0 && width > 0 && offset >= 0, "a convolution has positive sizes")
        precondition(dilation > 0, "taps are steps apart")
        precondition(padding != .same || width % 2 == 1, "only an odd width has a middle")
        (self.inputs, self.outputs, self.width, self.dilation) = (inputs, outputs, width, dilation)
        (self.padding, self.offset) = (padding, offset)
    }

    /// The slices of the flat vector that hold W and b.
    public var weights: Range<Int> { offset..<offset + outputs * taps }
    public var biases: Range<Int> { weights.upperBound..<weights.upperBound + outputs }

    /// Steps of an output for inputs of `length` steps, which must be positive.
    public func outputLength(_ length: Int) -> Int { padding == .none ? length - (width - 1) * dilation : length }

    /// Numbers that `columns` of the passes must hold, for `rows` sequences of `length` steps.
    public func columnCount(rows: Int, length: Int) -> Int { rows * outputLength(length) * taps }

    /// y [rows × outputLength × outputs] from x [rows × length × inputs]. Leaves in `columns` the inputs that each
    /// output sees, [rows·outputLength × inputs × width], for the backward pass: one matrix product does the rest.
    @unsafe
    package func forward(
        _ x: UnsafePointer<Float>, rows: Int, length: Int, parameters: UnsafePointer<Float>,
        columns: UnsafeMutablePointer<Float>, into y: UnsafeMutablePointer<Float>
    ) {
        let steps = outputLength(length)
        precondition(rows > 0 && steps > 0, "a sequence is long enough for an output")
        for row in 0..<rows {
            let sequence = unsafe x + row * length * inputs
            for step in 0..<steps {
                let place = row * steps + step
                let column = unsafe columns + place * taps
                for tap in 0..<width {
                    let source = step + tap * dilation - paddingBefore
                    if source < 0 || source >= length {
                        for i in 0..<inputs { unsafe column[i * width + tap] = 0 }
                    } else {
                        let values = unsafe sequence + source * inputs
                        for i in 0..<inputs { unsafe column[i * width + tap] = values[i] }
                    }
                }
                unsafe (y + place * outputs).update(from: parameters + biases.lowerBound, count: outputs)
            }
        }
        unsafe BLAS.gemm(
            rows: rows * steps, columns: outputs, inner: taps, columns, parameters + offset, transposedB: true,
            beta: 1, into: y)
    }

    /// Writes ∂loss/∂W and ∂loss/∂b to their slices of `gradients`, and ∂loss/∂x to `dx` unless that is `nil`, from
    /// ∂loss/∂y and the last forward pass's `columns`, which are used up.
    @unsafe
    package func backward(
        outputGradient: UnsafePointer<Float>, rows: Int, length: Int, parameters: UnsafePointer<Float>,
        columns: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
        into dx: UnsafeMutablePointer<Float>?
    ) {
        let steps = outputLength(length)
        precondition(rows > 0 && steps > 0, "a sequence is long enough for an output")
        unsafe BLAS.gemm(
            rows: outputs, columns: taps, inner: rows * steps, outputGradient, transposedA: true, columns,
            into: gradients + offset)
        let db = unsafe gradients + biases.lowerBound
        unsafe db.update(repeating: 0, count: outputs)
        for place in 0..<rows * steps {
            for k in 0..<outputs { unsafe db[k] += outputGradient[place * outputs + k] }
        }
        guard let dx = unsafe dx else { return }
        unsafe BLAS.gemm(
            rows: rows * steps, columns: taps, inner: outputs, outputGradient, parameters + offset, into: columns)
        unsafe dx.update(repeating: 0, count: rows * length * inputs)
        for row in 0..<rows {
            let sequence = unsafe dx + row * length * inputs
            for step in 0..<steps {
                let column = unsafe columns + (row * steps + step) * taps
                for tap in 0..<width {
                    let source = step + tap * dilation - paddingBefore
                    guard source >= 0, source < length else { continue }
                    let target = unsafe sequence + source * inputs
                    for i in 0..<inputs { unsafe target[i] += column[i * width + tap] }
                }
            }
        }
    }

    private var taps: Int { inputs * width }

    private var paddingBefore: Int {
        switch padding {
        case .none: 0
        case .same: (width - 1) / 2 * dilation
        case .causal: (width - 1) * dilation
        }
    }
}
