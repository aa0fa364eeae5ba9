internal import Kernels

/// Fits Heston's parameters to option prices by gradient descent with Adam (Kingma, Ba 2015, algorithm 1), the rate
/// falling along half a cosine.
///
/// The second method beside `Calibrator`, to learn from and to compare with: the loss is the weighted mean square of
/// the differences of undiscounted out-of-the-money prices, as fractions of the forward; the market's prices are made
/// from its volatilities by Black 1976. It walks through the same bounded numbers (`ParameterTransform`) on the same
/// analytic gradient, knows nothing of curvature, and so takes hundreds to thousands of steps along Heston's narrow
/// valleys where Levenberg–Marquardt takes five. Deterministic: equal inputs give equal bits.
public struct AdamCalibrator: Sendable {
    public struct Configuration: Sendable, Equatable {
        public var bounds = Calibrator.Bounds()
        /// Keeps 2κθ ≥ σ². Off: markets rarely respect it.
        public var enforcesFeller = false
        /// Divides each difference by the market's vega (at least a tenth of that at the money), so that all quotes
        /// speak of volatility. Without, long maturities at the money are nearly all of the loss.
        public var isVegaWeighted = true
        /// Of the first step, in the logistic units of `ParameterTransform`; the last one's is a thousandth of it.
        public var learningRate = 0.1
        /// 1…1,000,000. A step of 30 quotes takes some 25 µs.
        public var steps = 4000
        /// Steps between two points of the trajectory. The first and the last are always in it.
        public var recordingInterval = 50
        /// The descent ends where the loss's root is below: volatility if vega-weighted, else fractions of the forward.
        public var acceptedRootMeanSquare = 1e-7
        public var accuracy = HestonPricer.Accuracy.calibration
        public init() {}
    }

    /// One recorded step of a descent.
    public struct Point: Sendable, Equatable {
        /// Steps made before.
        public var step: Int
        /// The weighted mean square of the differences.
        public var loss: Double
        public var parameters: HestonParameters
    }

    public struct Result: Sendable, Equatable {
        /// As Levenberg–Marquardt reports, its errors in volatility included: at the point of least loss.
        public var calibration: Calibration
        /// The path there, in order; the loss need not fall at every step.
        public var trajectory: [Point]
    }

    public let configuration: Configuration

    /// Throws `invalidArgument` for bounds or options outside their domains.
    public init(_ configuration: Configuration = .init()) throws(HestonError) {
        try configuration.bounds.validate()
        try configuration.accuracy.validate()
        try require("learningRate", configuration.learningRate, "> 0, at most 1") { $0 > 0 && $0 <= 1 }
        try require("steps", Double(configuration.steps), "1…1000000") { $0 >= 1 && $0 <= 1e6 }
        try require("recordingInterval", Double(configuration.recordingInterval), ">= 1") { $0 >= 1 }
        try require("acceptedRootMeanSquare", configuration.acceptedRootMeanSquare, ">= 0") { $0 >= 0 }
        self.configuration = configuration
    }

    /// Decays of the gradient's mean and mean square, and what keeps the division from 0. Less than the paper's 0.999
    /// and 1e-8: squared gradients fall by sixteen orders on the way, and a mean that remembers the first of them for
    /// thousands of steps stops the walk.
    private static let (beta1, beta2, epsilon) = (0.9, 0.99, 1e-18)
    /// Times the pricer may refuse a point before the descent ends with the best so far.
    private static let mostRefusals = 20

    /// Fits a list of quotes, from `start` or the guess that `Calibrator` starts from.
    ///
    /// - Throws: `invalidArgument` for quotes of positive weight outside their domains; `tooFewCells` for fewer than
    ///   five that carry information; `calibrationFailed` when the pricer refuses the start.
    public func calibrate(
        _ quotes: [CalibrationQuote], start: HestonParameters? = nil
    ) throws(HestonError) -> Result {
        try start?.validate()
        var problem = try CalibrationProblem(quotes, accuracy: configuration.accuracy)
        guard problem.usedCount >= 5 else { throw .tooFewCells(usable: problem.usedCount, needed: 5) }
        let transform = ParameterTransform(bounds: configuration.bounds, feller: configuration.enforcesFeller)
        let (descent, trajectory) = descend(&problem, transform, from: start ?? problem.startingPoints()[0])
        guard let descent else { throw .calibrationFailed(starts: 1) }
        return Result(calibration: try problem.report(descent, start: 0, of: quotes), trajectory: trajectory)
    }

    private func descend(
        _ problem: inout CalibrationProblem, _ transform: ParameterTransform, from start: HestonParameters
    ) -> (Calibrator.Descent?, [Point]) {
        let accepted = configuration.acceptedRootMeanSquare * configuration.acceptedRootMeanSquare
        var free = transform.free(start)
        var (mean, square) = ([Double](repeating: 0, count: 5), [Double](repeating: 0, count: 5))
        // Moments are younger than the descent where they were begun anew.
        var age = 0
        var (slowing, refusals) = (1.0, 0)
        var trajectory: [Point] = []
        var best: (point: Point, free: [Double])?
        func descent(_ steps: Int, _ termination: Calibration.Termination) -> Calibrator.Descent? {
            best.map { .init(parameters: $0.point.parameters, cost: 0, iterations: steps, termination: termination) }
        }
        for step in 0...configuration.steps {
            let (parameters, chain) = transform.parameters(free)
            guard let cost = problem.evaluate(parameters, configuration.isVegaWeighted ? .pricesOverVega : .prices)
            else {
                // Back to where it was best, and slower.
                refusals += 1
                guard let best, refusals <= Self.mostRefusals else {
                    return (descent(step, .pricerRefused), trajectory)
                }
                (free, age, slowing) = (best.free, 0, 0.5 * slowing)
                for i in 0..<5 { (mean[i], square[i]) = (0, 0) }
                continue
            }
            let point = Point(step: step, loss: 2 * cost / problem.totalWeight, parameters: parameters)
            let isLast = step == configuration.steps || point.loss <= accepted
            if isLast || step % configuration.recordingInterval == 0 { trajectory.append(point) }
            if best.map({ point.loss < $0.point.loss }) ?? true { best = (point, free) }
            if isLast { return (descent(step, point.loss <= accepted ? .exact : .iterations), trajectory) }
            let gradient = problem.normalEquations(chain).gradient
            let progress = Double(step) / Double(configuration.steps)
            let rate = slowing * configuration.learningRate * (1e-3 + 0.999 * 0.5 * (1 + cos(.pi * progress)))
            age += 1
            for i in 0..<5 {
                let g = 2 * gradient[i] / problem.totalWeight
                mean[i] = Self.beta1 * mean[i] + (1 - Self.beta1) * g
                square[i] = Self.beta2 * square[i] + (1 - Self.beta2) * g * g
                let unbiasedMean = mean[i] / (1 - pow(Self.beta1, Double(age)))
                let unbiasedSquare = square[i] / (1 - pow(Self.beta2, Double(age)))
                let move = rate * unbiasedMean / (unbiasedSquare.squareRoot() + Self.epsilon)
                // The logistic is flat beyond ±12.
                free[i] = min(max(free[i] - move, -12), 12)
            }
        }
        return (descent(configuration.steps, .iterations), trajectory)
    }
}
