internal import Kernels

/// How far the volatilities of parameters are from given ones, with the gradient: a loss for whoever guesses
/// parameters. It keeps its buffers; one loss serves one thread.
public struct RepricingLoss: ~Copyable, Sendable {
    private var problem: CalibrationProblem
    /// Quotes that count.
    public var count: Int { problem.usedCount }

    /// As a calibration of these quotes. Throws `invalidArgument`; `tooFewCells` where no quote carries information.
    public init(
        _ quotes: [CalibrationQuote], accuracy: HestonPricer.Accuracy = .calibration
    ) throws(HestonError) {
        let problem = try CalibrationProblem(quotes, accuracy: accuracy)
        guard problem.usedCount > 0 else { throw .tooFewCells(usable: 0, needed: 1) }
        self.problem = problem
    }

    /// The weighted mean square of model − given volatility, and its derivatives by the five parameters; `nil` where
    /// the pricer refuses.
    public mutating func evaluate(
        _ parameters: HestonParameters
    ) -> (meanSquare: Double, gradient: HestonGradient)? {
        guard let cost = problem.evaluate(parameters) else { return nil }
        var identity = [Double](repeating: 0, count: 25)
        for i in 0..<5 { identity[i * 6] = 1 }
        let scale = 2 / problem.totalWeight
        let g = problem.normalEquations(identity).gradient
        return (
            scale * cost,
            HestonGradient(
                kappa: scale * g[0], theta: scale * g[1], sigma: scale * g[2], rho: scale * g[3], v0: scale * g[4])
        )
    }
}
