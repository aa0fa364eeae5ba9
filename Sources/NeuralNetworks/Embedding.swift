/// A table of vectors, one an index: a layer for what has a kind and no size. Its parameters are a slice of a flat
/// vector: the table [count × size], row-major.
public struct Embedding: Sendable, Equatable {
    /// Indices from 0 to `count` − 1, and numbers in each vector; both positive.
    public let count: Int
    public let size: Int
    /// Where the table starts in the flat parameter vector.
    public let offset: Int

    public init(count: Int, size: Int, offset: Int) {
        precondition(count > 0 && size > 0 && offset >= 0, "an embedding has vectors and numbers in them")
        (self.count, self.size, self.offset) = (count, size, offset)
    }

    /// The slice of the flat vector that holds the table.
    public var table: Range<Int> { offset..<offset + count * size }

    /// y [indices × size], the vectors of `indices`. Traps for an index outside the table.
    @unsafe
    package func forward(
        _ indices: [Int], parameters: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>
    ) {
        for (row, index) in indices.enumerated() {
            precondition(index >= 0 && index < count, "an index is in the table")
            unsafe (y + row * size).update(from: parameters + offset + index * size, count: size)
        }
    }

    /// Writes ∂loss/∂table to its slice of `gradients`, from ∂loss/∂y: the sum of each index's rows, in their order.
    @unsafe
    package func parameterGradients(
        _ indices: [Int], outputGradient: UnsafePointer<Float>, into gradients: UnsafeMutablePointer<Float>
    ) {
        let target = unsafe gradients + offset
        unsafe target.update(repeating: 0, count: count * size)
        for (row, index) in indices.enumerated() {
            precondition(index >= 0 && index < count, "an index is in the table")
            let (sum, dy) = unsafe (target + index * size, outputGradient + row * size)
            for k in 0..<size { unsafe sum[k] += dy[k] }
        }
    }
}
