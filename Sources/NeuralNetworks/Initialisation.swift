public import Kernels

/// A random matrix [rows × columns], row-major, whose shorter side's vectors are orthogonal with norm `gain`.
///
/// Gaussian vectors orthonormalised in double precision by Gram–Schmidt, twice over each, which is enough (Giraud et
/// al. 2005): the distribution is Haar's. A vector that loses its length, of probability 0, is drawn again.
public func orthogonalMatrix(rows: Int, columns: Int, gain: Float, random: inout RandomGenerator) -> [Float] {
    let count = min(rows, columns)
    let length = max(rows, columns)
    var basis = [Double](repeating: 0, count: count * length)
    for i in 0..<count {
        var norm = 0.0
        while norm < 1e-6 {
            for k in 0..<length { basis[i * length + k] = random.normal() }
            for _ in 0..<2 {
                for j in 0..<i {
                    var dot = 0.0
                    for k in 0..<length { dot += basis[i * length + k] * basis[j * length + k] }
                    for k in 0..<length { basis[i * length + k] -= dot * basis[j * length + k] }
                }
            }
            norm = 0
            for k in 0..<length { norm += basis[i * length + k] * basis[i * length + k] }
            norm = norm.squareRoot()
        }
        for k in 0..<length { basis[i * length + k] /= norm }
    }
    var matrix = [Float](repeating: 0, count: rows * columns)
    for i in 0..<count {
        for k in 0..<length {
            let place = rows <= columns ? i * columns + k : k * columns + i
            matrix[place] = gain * Float(basis[i * length + k])
        }
    }
    return matrix
}
