internal import Kernels

/// Positions as sines and cosines of geometrically spaced wavelengths (Vaswani et al. 2017, section 3.5): a number
/// added to each input of a network that does not know the order of its rows.
///
///     P[t, 2i] = sin(t/10000^{2i/size}),   P[t, 2i + 1] = cos(t/10000^{2i/size})
///
/// Returns [length × size], row-major; computed in double precision. An odd `size` ends with a sine.
public func sinusoidalPositions(length: Int, size: Int) -> [Float] {
    precondition(length > 0 && size > 0, "positions have a length and a size")
    var result = [Float](repeating: 0, count: length * size)
    for t in 0..<length {
        for k in 0..<size {
            let angle = Double(t) / pow(10_000, Double(k / 2 * 2) / Double(size))
            result[t * size + k] = Float(k % 2 == 0 ? sin(angle) : cos(angle))
        }
    }
    return result
}
