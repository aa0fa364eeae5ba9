internal import Kernels

/// The states' densities, prepared: ln N(x; μ, Σ) = constant − ½|W(x − μ)|², W the inverse of Σ's Cholesky factor.
struct Emissions: Sendable {
    let stateCount: Int
    let dimension: Int
    private let isDiagonal: Bool
    private let means: [Double]
    /// `[states × d × d]`, lower triangular.
    private let whitening: [Double]
    private let constants: [Double]

    /// `nil` when a covariance is not positive definite.
    init?(_ model: GaussianHMM) {
        stateCount = model.stateCount
        dimension = model.dimension
        isDiagonal = model.covariance == .diagonal
        means = model.means
        let d = model.dimension
        var whitening = [Double](repeating: 0, count: model.covariances.count)
        var constants = [Double](repeating: 0, count: model.stateCount)
        for state in 0..<model.stateCount {
            let block = Array(model.covariances[state * d * d..<(state + 1) * d * d])
            guard let lower = cholesky(block, dimension: d) else { return nil }
            var logDeterminant = 0.0
            for i in 0..<d { logDeterminant += 2 * log(lower[i * d + i]) }
            constants[state] = -0.5 * (Double(d) * log(2 * Double.pi) + logDeterminant)
            // Forward substitution, column by column of the identity.
            for column in 0..<d {
                for i in column..<d {
                    var sum = i == column ? 1.0 : 0
                    for j in column..<i { sum -= lower[i * d + j] * whitening[(state * d + j) * d + column] }
                    whitening[(state * d + i) * d + column] = sum / lower[i * d + i]
                }
            }
        }
        guard constants.allSatisfy(\.isFinite), whitening.allSatisfy(\.isFinite) else { return nil }
        self.whitening = whitening
        self.constants = constants
    }

    /// Writes ln p(x | state) of the row of `observations` that starts at `offset`. Allocates nothing.
    @inline(__always)
    func logDensities(_ observations: Span<Double>, at offset: Int, into out: inout MutableSpan<Double>) {
        let d = dimension
        for state in 0..<stateCount {
            var distance = 0.0
            for i in 0..<d {
                let row = (state * d + i) * d
                var projected = 0.0
                for j in (isDiagonal ? i : 0)...i {
                    projected += whitening[row + j] * (observations[offset + j] - means[state * d + j])
                }
                distance += projected * projected
            }
            out[state] = constants[state] - 0.5 * distance
        }
    }
}

/// The lower Cholesky factor, row-major; `nil` when the matrix is not (numerically) positive definite.
func cholesky(_ matrix: [Double], dimension d: Int) -> [Double]? {
    var lower = [Double](repeating: 0, count: d * d)
    for i in 0..<d {
        for j in 0...i {
            var sum = matrix[i * d + j]
            for k in 0..<j { sum -= lower[i * d + k] * lower[j * d + k] }
            if i == j {
                // A pivot lost in the rounding of its diagonal element is no pivot.
                guard sum > 1e-13 * matrix[i * d + i], sum.isFinite else { return nil }
                lower[i * d + i] = sum.squareRoot()
            } else {
                lower[i * d + j] = sum / lower[j * d + j]
            }
        }
    }
    return lower
}

/// Checks the shape and that all is finite; returns the number of rows.
func rowCount(_ observations: [Double], dimension: Int) throws(RegimeError) -> Int {
    guard dimension > 0, observations.count % dimension == 0 else {
        throw .shapeMismatch(count: observations.count, dimension: dimension)
    }
    if let bad = observations.firstIndex(where: { !$0.isFinite }) {
        throw .nonFiniteObservation(row: bad / dimension, feature: bad % dimension)
    }
    return observations.count / dimension
}
