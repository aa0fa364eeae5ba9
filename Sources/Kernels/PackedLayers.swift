internal import CSIMD

/// Affine layers whose weights were packed once, for networks that are asked often and do not change: nothing is
/// copied in a call, and the bits of a row are the same in a batch of any size and on any processor.
///
/// Panels of 16 outputs; in each, all inputs in turn, 16 weights an input. The pointer functions check nothing.
public enum PackedLayers {
    /// Outputs of a panel. The last panel's missing outputs have weights 0.
    public static let panelWidth = 16
    /// What the first weight's address must be a multiple of.
    public static let alignment = 64

    /// Whether this processor has registers of 512 bits, which halve the time and change no bit.
    public static let isWide = vomma_is_wide() != 0

    /// y [rows × panels·16] += x [rows × inputs]·weights; rows of `x` are `stride` numbers apart. `backwards` goes
    /// through the panels in the other order: who alternates finds a part of the weights in the cache.
    @unsafe @inline(__always)
    public static func multiply(
        _ x: UnsafePointer<Float>, stride: Int, rows: Int, _ weights: UnsafePointer<Float>, inputs: Int, panels: Int,
        into y: UnsafeMutablePointer<Float>, backwards: Bool = false,
        isWide: Bool = PackedLayers.isWide
    ) {
        unsafe vomma_layer(x, stride, rows, weights, inputs, panels, y, backwards ? 1 : 0, isWide ? 1 : 0)
    }

    /// Replaces `vectors`·16 values by their tanh, within 3 units in the last place; NaN stays NaN.
    @unsafe @inline(__always)
    public static func tanh(
        _ values: UnsafeMutablePointer<Float>, vectors: Int, isWide: Bool = PackedLayers.isWide
    ) {
        unsafe vomma_tanh(values, vectors, isWide ? 1 : 0)
    }

    /// Whether all values are finite.
    public static func areFinite(_ values: Span<Float>) -> Bool {
        unsafe values.withUnsafeBufferPointer { values in
            // The greatest magnitude as an integer: a loop that is vectorised, which one with an exit is not.
            var greatest: UInt32 = 0
            for unsafe value in unsafe values { greatest = max(greatest, value.bitPattern & 0x7fff_ffff) }
            return greatest < 0x7f80_0000
        }
    }
}
