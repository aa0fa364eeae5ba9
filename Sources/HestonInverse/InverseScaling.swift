internal import Heston
internal import Kernels

/// Between market and network: one space of inputs for synthetic and real surfaces, fitted once on the training set,
/// stored with the network, and the only way in.
///
/// A cell is ln(σ²τ), less its mean over the training set, over its standard deviation. A parameter is ln κ, ln θ,
/// ln σ, artanh ρ or ln v₀, likewise: whatever the network says is a parameter.
public struct InverseScaling: Sendable, Equatable {
    public let grid: SurfaceGrid
    /// By cell, of ln(σ²τ).
    public let cellMean: [Float]
    public let cellDeviation: [Float]
    /// In the project's order, of the transformed parameters.
    public let parameterMean: [Double]
    public let parameterDeviation: [Double]
    private let logTau: [Double]

    /// Answers are held within these, those of `Calibrator`: where a network guesses on, a calibration can still start.
    static let bounds = Calibrator.Bounds()

    init(
        grid: SurfaceGrid, cellMean: [Float], cellDeviation: [Float], parameterMean: [Double],
        parameterDeviation: [Double]
    ) {
        self.grid = grid
        self.cellMean = cellMean
        self.cellDeviation = cellDeviation
        self.parameterMean = parameterMean
        self.parameterDeviation = parameterDeviation
        logTau = grid.tau.map { log($0) }
    }

    /// Fitted on the first `count` surfaces. A cell that none of them has gets mean 0 and deviation 1.
    init(_ data: SurfaceDataset, count: Int) {
        let grid = data.generator.grid
        let cells = grid.count
        var moments = [Moments](repeating: .init(), count: cells + 5)
        for row in 0..<count {
            for cell in 0..<cells {
                let volatility = data.volatilities[row * cells + cell]
                guard !volatility.isNaN else { continue }
                moments[cell].add(log(volatility * volatility * grid.tau[cell % grid.tau.count]))
            }
            for i in 0..<5 { moments[cells + i].add(Self.transform(data.parameters[row * 5 + i], i)) }
        }
        self.init(
            grid: grid, cellMean: moments[..<cells].map { Float($0.mean) },
            cellDeviation: moments[..<cells].map { Float($0.deviation) },
            parameterMean: moments[cells...].map(\.mean), parameterDeviation: moments[cells...].map(\.deviation))
    }

    /// Mean and deviation of a stream (Welford 1962).
    private struct Moments {
        var count = 0.0
        var mean = 0.0
        var squares = 0.0
        mutating func add(_ x: Double) {
            count += 1
            let before = x - mean
            mean += before / count
            squares += before * (x - mean)
        }
        var deviation: Double { count > 1 && squares > 0 ? (squares / count).squareRoot() : 1 }
    }

    // MARK: Surfaces

    /// Writes a surface's standardised cells; NaN where one is missing.
    @unsafe
    func standardise(_ volatilities: UnsafePointer<Double>, into cells: UnsafeMutablePointer<Float>) {
        let columns = grid.tau.count
        for cell in 0..<grid.count {
            let volatility = unsafe volatilities[cell]
            let logarithm = 2 * log(volatility) + logTau[cell % columns]
            unsafe cells[cell] = (Float(logarithm) - cellMean[cell]) / cellDeviation[cell]
        }
    }

    /// The volatility of a standardised cell.
    func volatility(_ value: Float, cell: Int) -> Double {
        let logarithm = Double(value * cellDeviation[cell] + cellMean[cell])
        return exp(0.5 * (logarithm - logTau[cell % grid.tau.count]))
    }

    // MARK: Parameters

    /// Standardised targets.
    func standardise(_ parameters: HestonParameters) -> [Float] {
        parameters.array.enumerated().map { index, value in
            Float((Self.transform(value, index) - parameterMean[index]) / parameterDeviation[index])
        }
    }

    /// The parameters of standardised values, within `bounds`.
    @unsafe
    func parameters(_ values: UnsafePointer<Float>, stride: Int) -> HestonParameters {
        func free(_ i: Int) -> Double {
            unsafe parameterMean[i] + parameterDeviation[i] * Double(values[i * stride])
        }
        func positive(_ i: Int, _ range: ClosedRange<Double>) -> Double {
            min(max(exp(free(i)), range.lowerBound), range.upperBound)
        }
        let bounds = Self.bounds
        let rho = min(max(tanh(free(3)), bounds.rho.lowerBound), bounds.rho.upperBound)
        return HestonParameters(
            kappa: positive(0, bounds.kappa), theta: positive(1, bounds.theta), sigma: positive(2, bounds.sigma),
            rho: rho, v0: positive(4, bounds.v0))
    }

    /// ∂parameter/∂standardised value, in the project's order, at such parameters.
    func slopes(_ p: HestonParameters) -> [Double] {
        zip([p.kappa, p.theta, p.sigma, 1 - p.rho * p.rho, p.v0], parameterDeviation).map { $0 * $1 }
    }

    static func transform(_ value: Double, _ index: Int) -> Double {
        index == 3 ? 0.5 * log((1 + value) / (1 - value)) : log(value)
    }
}
