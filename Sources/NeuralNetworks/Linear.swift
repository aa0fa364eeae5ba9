internal import Kernels

/// The affine map y = x·Wᵀ + b, its parameters a slice of a network's flat vector: W [outputs × inputs] row-major, as
/// PyTorch stores it, then b [outputs].
public struct Linear: Sendable, Equatable {
    /// Numbers of inputs and outputs of one row, both positive.
    public let inputs: Int
    public let outputs: Int
    /// Where W starts in the flat parameter vector.
    public let offset: Int

    public init(inputs: Int, outputs: Int, offset: Int) {
        precondition(inputs > 0 && outputs > 0 && offset >= 0, "a linear layer has positive sizes")
        (self.inputs, self.outputs, self.offset) = (inputs, outputs, offset)
    }

    /// The slices of the flat vector that hold W and b.
    public var weights: Range<Int> { offset..<offset + inputs * outputs }
    public var biases: Range<Int> { weights.upperBound..<weights.upperBound + outputs }

    /// y [rows × outputs] from x [rows × inputs]. One row is a matrix–vector product: the weights are then read once,
    /// and OpenBLAS need not pack them.
    @unsafe
    package func forward(
        _ x: UnsafePointer<Float>, rows: Int, parameters: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>
    ) {
        let w = unsafe parameters + offset
        let b = unsafe w + inputs * outputs
        for row in 0..<rows { unsafe (y + row * outputs).update(from: b, count: outputs) }
        if rows == 1 {
            unsafe BLAS.gemv(rows: outputs, columns: inputs, w, x, beta: 1, into: y)
        } else {
            unsafe BLAS.gemm(rows: rows, columns: outputs, inner: inputs, x, w, transposedB: true, beta: 1, into: y)
        }
    }

    /// Writes ∂loss/∂W and ∂loss/∂b, summed over the rows, to their slices of `gradients`, from ∂loss/∂y.
    @unsafe
    package func parameterGradients(
        _ x: UnsafePointer<Float>, outputGradient: UnsafePointer<Float>, rows: Int,
        into gradients: UnsafeMutablePointer<Float>
    ) {
        let dw = unsafe gradients + offset
        let db = unsafe dw + inputs * outputs
        unsafe BLAS.gemm(rows: outputs, columns: inputs, inner: rows, outputGradient, transposedA: true, x, into: dw)
        unsafe db.update(repeating: 0, count: outputs)
        for row in 0..<rows {
            let dy = unsafe outputGradient + row * outputs
            for i in 0..<outputs { unsafe db[i] += dy[i] }
        }
    }

    /// Writes ∂loss/∂x [rows × inputs], from ∂loss/∂y.
    @unsafe
    package func inputGradient(
        outputGradient: UnsafePointer<Float>, rows: Int, parameters: UnsafePointer<Float>,
        into dx: UnsafeMutablePointer<Float>
    ) {
        let w = unsafe parameters + offset
        if rows == 1 {
            unsafe BLAS.gemv(rows: outputs, columns: inputs, w, transposed: true, outputGradient, into: dx)
        } else {
            unsafe BLAS.gemm(rows: rows, columns: inputs, inner: outputs, outputGradient, w, into: dx)
        }
    }
}
