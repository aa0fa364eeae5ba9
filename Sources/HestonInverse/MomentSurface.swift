internal import Heston
internal import Kernels

/// What stands in for a volatility surface where nobody trades options: moments of returns over windows of minutes, as
/// a pseudo-surface [windows × 4] that the same network, scaling and training take.
///
/// A network that learns from it on simulated Heston paths gives five numbers that are called a **regime embedding**:
/// half an hour of returns tells how volatile it was and next to nothing of κ, θ, σ or ρ, as `EmbeddingQuality` says in
/// figures. They are features, not parameters to price with.
public enum MomentSurface {
    /// Minutes; the longest is how many returns are needed.
    public static let windows = [3, 10, 30]
    public static let returnCount = 30

    /// The rows are windows (the logarithm of their minutes), the columns moments 1 to 4.
    public static let grid = SurfaceGrid(logMoneyness: windows.map { log(Double($0)) }, tau: [1, 2, 3, 4])

    /// Moments are kept within this, so that a flat minute or a wild one is still a number.
    private static let limit = 5.9

    /// The pseudo-surface of the last 30 one-minute logarithmic returns, oldest first, `[3 × 4]`: e^(m/2) of
    ///
    /// - m₁, the mean over its standard error;
    /// - m₂ = ln of the variance a year;
    /// - m₃, the skewness;
    /// - m₄ = ln of the kurtosis (not less 3);
    ///
    /// NaN in a window whose returns are all equal. e^(m/2) is what the scaling turns back into m. Traps unless there
    /// are 30; returns that are not finite give NaN.
    public static func values(_ returns: [Double]) -> [Double] {
        precondition(returns.count == returnCount, "thirty returns")
        var result: [Double] = []
        for window in windows {
            let part = returns.suffix(window)
            let n = Double(window)
            let mean = part.reduce(0, +) / n
            var (m2, m3, m4) = (0.0, 0.0, 0.0)
            for x in part {
                let d = x - mean
                m2 += d * d
                m3 += d * d * d
                m4 += d * d * d * d
            }
            (m2, m3, m4) = (m2 / n, m3 / n, m4 / n)
            guard m2 > 1e-24, m2.isFinite else {
                result += [.nan, .nan, .nan, .nan]
                continue
            }
            let moments = [
                mean / (m2 / n).squareRoot(), log(m2 * minutesPerYear), m3 / (m2 * m2.squareRoot()),
                log(m4 / (m2 * m2)),
            ]
            result += moments.map { exp(0.5 * min(max($0, -limit), limit)) }
        }
        return result
    }

    static let minutesPerYear = 525_600.0
}

/// What a regime embedding knows of the parameters that made a path, on simulated paths it has not learnt from.
public struct EmbeddingQuality: Sendable, Equatable, Codable {
    public struct Parameter: Sendable, Equatable, Codable {
        public var name: String
        /// Median absolute error, in the parameter's unit.
        public var medianError: Double
        /// 1 − mean squared error/variance, of ln κ, ln θ, ln σ, artanh ρ, ln v: 0 knows no more than the average, 1
        /// knows all.
        public var skill: Double
        /// The share of paths whose error is within the network's own deviation.
        public var coverage: Double
    }

    public var count: Int
    public var parameters: [Parameter]
}

extension InverseModel {
    /// Judges an embedding by paths of another seed than its training's. Traps on surfaces of options.
    public func embeddingQuality(on data: SurfaceDataset) -> EmbeddingQuality {
        precondition(data.generator.kind == .paths && data.generator.grid == grid, "paths, by this network's moments")
        var inverter = Inverter(self)
        let cells = network.cells
        var (absolute, squares) = ([[Double]](repeating: [], count: 5), [Double](repeating: 0, count: 5))
        var (sums, squaredSums) = (squares, squares)
        var within = [Int](repeating: 0, count: 5)
        for row in 0..<data.count {
            inverter.invert(Array(data.volatilities[(row * cells)..<((row + 1) * cells)]))
            let answer = inverter.answer()
            let truth = Array(data.parameters[(row * 5)..<(row * 5 + 5)])
            for i in 0..<5 {
                let (found, exact) = (answer.parameters.array[i], truth[i])
                absolute[i].append(abs(found - exact))
                if abs(found - exact) <= answer.deviations[i] { within[i] += 1 }
                let target = InverseScaling.transform(exact, i)
                let e = InverseScaling.transform(found, i) - target
                squares[i] += e * e
                sums[i] += target
                squaredSums[i] += target * target
            }
        }
        let n = Double(data.count)
        return EmbeddingQuality(
            count: data.count,
            parameters: ["kappa", "theta", "sigma", "rho", "v0"].enumerated().map { i, name in
                let variance = squaredSums[i] - sums[i] * sums[i] / n
                return .init(
                    name: name, medianError: absolute[i].sorted()[data.count / 2], skill: 1 - squares[i] / variance,
                    coverage: Double(within[i]) / n)
            })
    }
}
