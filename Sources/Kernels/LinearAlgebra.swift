/// Small dense solvers: systems of a few unknowns, where a call to BLAS costs more than the work. Row-major.
public enum SmallMatrix {
    /// Solves A·x = b for a symmetric positive definite `matrix` `[n × n]` by Cholesky factorisation.
    ///
    /// `nil` where a pivot is not positive (relative to its diagonal, 1e-15): A is singular or indefinite to rounding.
    public static func solvePositiveDefinite(_ matrix: [Double], _ rightSide: [Double]) -> [Double]? {
        guard let factor = cholesky(matrix, count: rightSide.count) else { return nil }
        return substitute(factor, rightSide)
    }

    /// The inverse of a symmetric positive definite `matrix` `[n × n]`; `nil` as for `solvePositiveDefinite`.
    public static func inversePositiveDefinite(_ matrix: [Double], count n: Int) -> [Double]? {
        guard let factor = cholesky(matrix, count: n) else { return nil }
        var inverse = [Double](repeating: 0, count: n * n)
        var unit = [Double](repeating: 0, count: n)
        for column in 0..<n {
            unit[column] = 1
            let solution = substitute(factor, unit)
            unit[column] = 0
            for row in 0..<n { inverse[row * n + column] = solution[row] }
        }
        return inverse
    }

    /// The eigenvalues of a symmetric `matrix` `[n × n]`, ascending, by cyclic Jacobi rotations (at most 50 sweeps).
    public static func symmetricEigenvalues(_ matrix: [Double], count n: Int) -> [Double] {
        precondition(matrix.count == n * n, "n² elements")
        var a = matrix
        for _ in 0..<50 {
            var offDiagonal = 0.0
            var diagonal = 0.0
            for i in 0..<n {
                diagonal += a[i * n + i] * a[i * n + i]
                for j in 0..<n where j != i { offDiagonal += a[i * n + j] * a[i * n + j] }
            }
            guard offDiagonal > 1e-32 * diagonal else { break }
            for p in 0..<n {
                for q in (p + 1)..<max(n, p + 1) where a[p * n + q] != 0 {
                    let theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q])
                    let t = (theta < 0 ? -1.0 : 1) / (abs(theta) + (theta * theta + 1).squareRoot())
                    let c = 1 / (t * t + 1).squareRoot()
                    let s = t * c
                    for k in 0..<n {
                        let (x, y) = (a[k * n + p], a[k * n + q])
                        a[k * n + p] = c * x - s * y
                        a[k * n + q] = s * x + c * y
                    }
                    for k in 0..<n {
                        let (x, y) = (a[p * n + k], a[q * n + k])
                        a[p * n + k] = c * x - s * y
                        a[q * n + k] = s * x + c * y
                    }
                }
            }
        }
        return (0..<n).map { a[$0 * n + $0] }.sorted()
    }

    private static func cholesky(_ matrix: [Double], count n: Int) -> [Double]? {
        precondition(matrix.count == n * n, "n² elements")
        var factor = [Double](repeating: 0, count: n * n)
        for row in 0..<n {
            for column in 0...row {
                var sum = matrix[row * n + column]
                for k in 0..<column { sum -= factor[row * n + k] * factor[column * n + k] }
                if row == column {
                    guard sum > 1e-15 * matrix[row * n + row] else { return nil }
                    factor[row * n + row] = sum.squareRoot()
                } else {
                    factor[row * n + column] = sum / factor[column * n + column]
                }
            }
        }
        return factor
    }

    private static func substitute(_ factor: [Double], _ rightSide: [Double]) -> [Double] {
        let n = rightSide.count
        var x = rightSide
        for row in 0..<n {
            for k in 0..<row { x[row] -= factor[row * n + k] * x[k] }
            x[row] /= factor[row * n + row]
        }
        for row in stride(from: n - 1, through: 0, by: -1) {
            for k in (row + 1)..<max(n, row + 1) { x[row] -= factor[k * n + row] * x[k] }
            x[row] /= factor[row * n + row]
        }
        return x
    }
}
