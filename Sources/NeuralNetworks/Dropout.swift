public import Kernels

/// Dropout (Srivastava et al. 2014), inverted: in training each number is 0 with the given probability and else divided
/// by the probability of staying, so that nothing is to be done afterwards, when the layer is left out.
public struct Dropout: Sendable, Equatable {
    /// Probability of becoming 0, in [0, 1).
    public let probability: Float

    public init(probability: Float) {
        precondition(probability >= 0 && probability < 1, "a probability of dropping is in [0, 1)")
        self.probability = probability
    }

    /// Fills `mask` with factors, 0 or 1/(1 − probability), one draw each.
    public func draw(_ mask: inout [Float], random: inout RandomGenerator) {
        let scale = 1 / (1 - probability)
        for i in mask.indices { mask[i] = random.uniform() < Double(probability) ? 0 : scale }
    }

    /// Multiplies `values` by `mask`. Both passes: ∂loss/∂x is ∂loss/∂y times the same mask.
    @unsafe
    package func apply(_ mask: UnsafePointer<Float>, to values: UnsafeMutablePointer<Float>, count: Int) {
        for i in 0..<count { unsafe values[i] *= mask[i] }
    }
}
