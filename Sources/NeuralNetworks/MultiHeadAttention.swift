internal import Kernels

/// Self-attention with several heads (Vaswani et al. 2017, section 3.2): every step of a sequence looks at every other,
/// or, causal, at those up to itself.
///
///     (Q, K, V) = x·W_inᵀ + b_in;   z = softmax(Q·Kᵀ/√d)·V in each head, d = size/heads;   y = z·W_outᵀ + b_out
///
/// The parameters are a slice of a flat vector, as PyTorch stores `nn.MultiheadAttention`'s: W_in [3·size × size] with
/// the blocks Q, K, V, b_in [3·size], W_out [size × size], b_out [size].
public struct MultiHeadAttention: Sendable, Equatable {
    /// Numbers in a step, and the heads that share them; `heads` divides `size`.
    public let size: Int
    public let heads: Int
    public let isCausal: Bool
    /// Where W_in starts in the flat parameter vector.
    public let offset: Int

    public init(size: Int, heads: Int, isCausal: Bool, offset: Int) {
        precondition(size > 0 && heads > 0 && size % heads == 0 && offset >= 0, "the heads share the size equally")
        (self.size, self.heads, self.isCausal, self.offset) = (size, heads, isCausal, offset)
    }

    /// The maps before and after the heads, with their slices of the flat vector.
    public var input: Linear { Linear(inputs: size, outputs: 3 * size, offset: offset) }
    public var output: Linear { Linear(inputs: size, outputs: size, offset: input.biases.upperBound) }
    private var headSize: Int { size / heads }

    /// y [rows × length × size] from x of the same shape. `workspace` keeps what the backward pass needs.
    @unsafe
    package func forward(
        _ x: UnsafePointer<Float>, rows: Int, length: Int, parameters: UnsafePointer<Float>,
        workspace: inout AttentionWorkspace, into y: UnsafeMutablePointer<Float>
    ) {
        workspace.check(self, rows: rows, length: length)
        let (count, block, square) = (rows * length, length * headSize, length * length)
        unsafe workspace.withBlocks { blocks in
            unsafe input.forward(x, rows: count, parameters: parameters, into: blocks.joined)
            unsafe scatter(blocks.joined, rows: rows, length: length, parts: 3, into: blocks.heads)
            for index in 0..<rows * heads {
                let q = unsafe blocks.heads + index * block
                let (k, v) = unsafe (q + count * size, q + 2 * count * size)
                let scores = unsafe blocks.scores + index * square
                unsafe BLAS.gemm(
                    rows: length, columns: length, inner: headSize, alpha: 1 / Float(headSize).squareRoot(), q, k,
                    transposedB: true, into: scores)
                if isCausal {
                    for step in 0..<length {
                        for other in step + 1..<max(length, step + 1) {
                            unsafe scores[step * length + other] = -.infinity
                        }
                    }
                }
                unsafe Softmax.forward(scores, rows: length, columns: length, into: scores)
                unsafe BLAS.gemm(
                    rows: length, columns: headSize, inner: length, scores, v, into: blocks.mixed + index * block)
            }
            unsafe gather(blocks.mixed, rows: rows, length: length, parts: 1, into: blocks.context)
            unsafe output.forward(blocks.context, rows: count, parameters: parameters, into: y)
        }
    }

    /// Writes ∂loss/∂parameters to this layer's slice of `gradients`, and ∂loss/∂x, for the `x` and sizes of the last
    /// `forward`, from ∂loss/∂y. The workspace's record is used up.
    @unsafe
    package func backward(
        _ x: UnsafePointer<Float>, outputGradient: UnsafePointer<Float>, rows: Int, length: Int,
        parameters: UnsafePointer<Float>, workspace: inout AttentionWorkspace,
        gradients: UnsafeMutablePointer<Float>, into dx: UnsafeMutablePointer<Float>
    ) {
        workspace.check(self, rows: rows, length: length)
        let (count, block, square) = (rows * length, length * headSize, length * length)
        let scale = 1 / Float(headSize).squareRoot()
        unsafe workspace.withBlocks { blocks in
            unsafe output.parameterGradients(
                blocks.context, outputGradient: outputGradient, rows: count, into: gradients)
            unsafe output.inputGradient(
                outputGradient: outputGradient, rows: count, parameters: parameters, into: blocks.context)
            unsafe scatter(blocks.context, rows: rows, length: length, parts: 1, into: blocks.mixed)
            for index in 0..<rows * heads {
                let q = unsafe blocks.heads + index * block
                let (k, v) = unsafe (q + count * size, q + 2 * count * size)
                let dq = unsafe blocks.headGradients + index * block
                let (dk, dv) = unsafe (dq + count * size, dq + 2 * count * size)
                let (scores, mixed) = unsafe (blocks.scores + index * square, blocks.mixed + index * block)
                unsafe BLAS.gemm(
                    rows: length, columns: headSize, inner: length, scores, transposedA: true, mixed, into: dv)
                let dScores = unsafe blocks.scoreGradient
                unsafe BLAS.gemm(
                    rows: length, columns: length, inner: headSize, mixed, v, transposedB: true, into: dScores)
                unsafe Softmax.applyDerivative(outputs: scores, gradient: dScores, rows: length, columns: length)
                unsafe BLAS.gemm(
                    rows: length, columns: headSize, inner: length, alpha: scale, dScores, k, into: dq)
                unsafe BLAS.gemm(
                    rows: length, columns: headSize, inner: length, alpha: scale, dScores, transposedA: true, q,
                    into: dk)
            }
            unsafe gather(blocks.headGradients, rows: rows, length: length, parts: 3, into: blocks.joined)
            unsafe input.parameterGradients(x, outputGradient: blocks.joined, rows: count, into: gradients)
            unsafe input.inputGradient(
                outputGradient: blocks.joined, rows: count, parameters: parameters, into: dx)
        }
    }

    /// From [rows × length × parts × heads × headSize] to [parts × rows × heads × length × headSize]: each head's steps
    /// side by side, so that its products are dense.
    @unsafe
    private func scatter(
        _ joined: UnsafePointer<Float>, rows: Int, length: Int, parts: Int, into target: UnsafeMutablePointer<Float>
    ) {
        visit(rows: rows, length: length, parts: parts) { from, to in
            unsafe (target + to).update(from: joined + from, count: headSize)
        }
    }

    /// The way back.
    @unsafe
    private func gather(
        _ scattered: UnsafePointer<Float>, rows: Int, length: Int, parts: Int,
        into target: UnsafeMutablePointer<Float>
    ) {
        visit(rows: rows, length: length, parts: parts) { to, from in
            unsafe (target + to).update(from: scattered + from, count: headSize)
        }
    }

    /// The places of each step's share of a head in both orders.
    @inline(__always)
    private func visit(rows: Int, length: Int, parts: Int, _ body: (Int, Int) -> Void) {
        for row in 0..<rows {
            for step in 0..<length {
                for part in 0..<parts {
                    for head in 0..<heads {
                        let joined = (((row * length + step) * parts + part) * heads + head) * headSize
                        let scattered = (((part * rows + row) * heads + head) * length + step) * headSize
                        body(joined, scattered)
                    }
                }
            }
        }
    }
}

/// What an attention's passes over up to `rows` sequences of up to `length` steps keep.
public struct AttentionWorkspace: Sendable {
    public let rows: Int
    public let length: Int
    private let layer: MultiHeadAttention
    private var values: [Float]

    public init(_ layer: MultiHeadAttention, rows: Int, length: Int) {
        precondition(rows > 0 && length > 0, "a workspace has room for a step")
        (self.rows, self.length, self.layer) = (rows, length, layer)
        let count = rows * length * layer.size
        values = [Float](repeating: 0, count: 11 * count + (rows * layer.heads + 1) * length * length)
    }

    @unsafe
    fileprivate struct Blocks {
        /// Q, K and V of each step, as the input's map gives them [3 × count], and by heads.
        let joined: UnsafeMutablePointer<Float>
        let heads: UnsafeMutablePointer<Float>
        let headGradients: UnsafeMutablePointer<Float>
        /// What the heads put out, by heads and by steps.
        let mixed: UnsafeMutablePointer<Float>
        let context: UnsafeMutablePointer<Float>
        /// The softmax of each head's scores [length × length], and the gradient of one of them.
        let scores: UnsafeMutablePointer<Float>
        let scoreGradient: UnsafeMutablePointer<Float>
    }

    @unsafe
    fileprivate mutating func withBlocks(_ body: (Blocks) -> Void) {
        let count = rows * length * layer.size
        let scores = rows * layer.heads * length * length
        unsafe values.withUnsafeMutableBufferPointer { values in
            guard let start = values.baseAddress else { return }
            unsafe body(
                Blocks(
                    joined: start, heads: start + 3 * count, headGradients: start + 6 * count,
                    mixed: start + 9 * count, context: start + 10 * count, scores: start + 11 * count,
                    scoreGradient: start + 11 * count + scores))
        }
    }

    func check(_ layer: MultiHeadAttention, rows: Int, length: Int) {
        precondition(rows > 0 && rows <= self.rows && length > 0 && length <= self.length, "sizes fit the workspace")
        precondition(layer == self.layer, "the workspace was made for this layer")
    }
}
