/// Layer normalisation (Ba, Kiros, Hinton 2016): each row is shifted and scaled to mean 0 and variance 1, then scaled
/// and shifted by parameters.
///
///     x̂ = (x − mean)/√(variance + epsilon),   y = gain·x̂ + bias
///
/// The variance is the mean squared deviation, as PyTorch's. The parameters are a slice of a flat vector: gain [size],
/// then bias [size]. Statistics are summed in double precision.
public struct LayerNorm: Sendable, Equatable {
    /// Numbers in a row, positive.
    public let size: Int
    /// Added to the variance, > 0, so that a constant row becomes 0 and not NaN.
    public let epsilon: Float
    /// Where the gain starts in the flat parameter vector.
    public let offset: Int

    public init(size: Int, epsilon: Float = 1e-5, offset: Int) {
        precondition(size > 0 && epsilon > 0 && offset >= 0, "a normalised row has numbers, and epsilon is positive")
        (self.size, self.epsilon, self.offset) = (size, epsilon, offset)
    }

    /// The slices of the flat vector that hold gain and bias. They start at 1 and 0.
    public var gain: Range<Int> { offset..<offset + size }
    public var bias: Range<Int> { gain.upperBound..<gain.upperBound + size }

    /// y from x, both [rows × size]. Keeps x̂ [rows × size] and 1/√(variance + epsilon) [rows] for the backward pass.
    @unsafe
    package func forward(
        _ x: UnsafePointer<Float>, rows: Int, parameters: UnsafePointer<Float>,
        normalised: UnsafeMutablePointer<Float>, scales: UnsafeMutablePointer<Float>,
        into y: UnsafeMutablePointer<Float>
    ) {
        let (gain, bias) = unsafe (parameters + self.gain.lowerBound, parameters + self.bias.lowerBound)
        for row in 0..<rows {
            let (x, z, y) = unsafe (x + row * size, normalised + row * size, y + row * size)
            var (sum, squares) = (0.0, 0.0)
            for k in 0..<size { sum += unsafe Double(x[k]) }
            let mean = Float(sum / Double(size))
            for k in 0..<size {
                let deviation = unsafe x[k] - mean
                unsafe z[k] = deviation
                squares += Double(deviation) * Double(deviation)
            }
            let scale = 1 / (Float(squares / Double(size)) + epsilon).squareRoot()
            unsafe scales[row] = scale
            for k in 0..<size {
                let value = unsafe z[k] * scale
                unsafe z[k] = value
                unsafe y[k] = value * gain[k] + bias[k]
            }
        }
    }

    /// Writes ∂loss/∂gain and ∂loss/∂bias, summed over the rows, to their slices of `gradients`, and ∂loss/∂x, from
    /// ∂loss/∂y. With d = ∂loss/∂y·gain and means over the row:
    ///
    ///     ∂loss/∂x = (d − mean d − x̂·mean(d·x̂))/√(variance + epsilon)
    @unsafe
    package func backward(
        normalised: UnsafePointer<Float>, scales: UnsafePointer<Float>, outputGradient: UnsafePointer<Float>,
        rows: Int, parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>,
        into dx: UnsafeMutablePointer<Float>
    ) {
        let gain = unsafe parameters + self.gain.lowerBound
        let (dGain, dBias) = unsafe (gradients + self.gain.lowerBound, gradients + bias.lowerBound)
        unsafe dGain.update(repeating: 0, count: 2 * size)
        for row in 0..<rows {
            let (z, dy, dx) = unsafe (normalised + row * size, outputGradient + row * size, dx + row * size)
            var (sum, product) = (0.0, 0.0)
            for k in 0..<size {
                unsafe dGain[k] += dy[k] * z[k]
                unsafe dBias[k] += dy[k]
                let d = unsafe dy[k] * gain[k]
                sum += Double(d)
                product += unsafe Double(d) * Double(z[k])
            }
            let (mean, slope) = (Float(sum / Double(size)), Float(product / Double(size)))
            let scale = unsafe scales[row]
            for k in 0..<size { unsafe dx[k] = (dy[k] * gain[k] - mean - z[k] * slope) * scale }
        }
    }
}
