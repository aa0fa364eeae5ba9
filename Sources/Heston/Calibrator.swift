internal import Kernels
public import MarketData

/// Fits Heston's parameters to implied volatilities by Levenberg–Marquardt with the analytic gradient.
///
/// Residuals are differences of implied volatility, √weight·(model − market); where the model's price at a trial point
/// carries no volatility information, the difference of prices over the market's vega instead, which is the same to
/// first order. A trial point that the pricer refuses counts as uphill: the step is shortened. Damping after Nielsen
/// 1999 ("Damping parameter in Marquardt's method"). Deterministic: equal inputs give equal bits.
public struct Calibrator: Sendable {
    /// Inclusive, positive but for rho's. Wide: chains with smiles of a few days are fitted best with kappa at 15 to
    /// 150 and sigma at 5 to 60 (recorded Bitcoin and Ether), and a descent along a bound takes twice the steps.
    public struct Bounds: Sendable, Equatable {
        public var kappa = 0.01...300.0
        public var theta = 1e-4...4.0
        public var sigma = 0.01...100.0
        public var rho = -0.995...0.995
        public var v0 = 1e-4...4.0
        public init() {}

        func validate() throws(HestonError) {
            for (name, range) in [("kappa", kappa), ("theta", theta), ("sigma", sigma), ("v0", v0)] {
                try require("bounds.\(name)", range.lowerBound, "> 0, below the upper") {
                    $0 > 0 && $0 < range.upperBound
                }
                try require("bounds.\(name)", range.upperBound, "at most 1000") { $0 <= 1000 }
            }
            try require("bounds.rho", rho.lowerBound, "> -1, below the upper") { $0 > -1 && $0 < rho.upperBound }
            try require("bounds.rho", rho.upperBound, "< 1") { $0 < 1 }
        }
    }

    public struct Configuration: Sendable, Equatable {
        public var bounds = Bounds()
        /// Keeps 2κθ ≥ σ². Off: markets rarely respect it.
        public var enforcesFeller = false
        /// LM steps per start, accepted or not.
        public var maximumIterations = 80
        /// Starting points: one guessed from the surface, then fixed ones. 1…6.
        public var starts = 3
        /// A fit from the warm start at or below this is taken without trying other starts. Absolute volatility.
        public var acceptedRootMeanSquare = 0.02
        /// The weight of extrapolated cells beside 1 for the others. Default 0: fit what the market says.
        public var extrapolatedWeight = 0.0
        public var accuracy = HestonPricer.Accuracy.calibration
        public init() {}
    }

    public let configuration: Configuration

    /// Throws `invalidArgument` for bounds or options outside their domains.
    public init(_ configuration: Configuration = .init()) throws(HestonError) {
        try configuration.bounds.validate()
        try require("maximumIterations", Double(configuration.maximumIterations), "1…10000") {
            $0 >= 1 && $0 <= 10000
        }
        try require("starts", Double(configuration.starts), "1…6") { $0 >= 1 && $0 <= 6 }
        try require("extrapolatedWeight", configuration.extrapolatedWeight, "0…1") { $0 >= 0 && $0 <= 1 }
        self.configuration = configuration
    }

    /// Fits the cells of a surface. Missing cells are left out, extrapolated ones have `extrapolatedWeight`, stale ones
    /// count in full (the builder refuses what is too old).
    public func calibrate(
        _ surface: ImpliedVolatilitySurface, warmStart: HestonParameters? = nil
    ) throws(HestonError) -> Calibration {
        var quotes: [CalibrationQuote] = []
        quotes.reserveCapacity(surface.cells.count)
        for (i, k) in surface.logMoneyness.enumerated() {
            for (t, tau) in surface.tau.enumerated() {
                let index = i * surface.tau.count + t
                let weight: Double =
                    switch surface.cells[index] {
                    case .missing: 0
                    case .extrapolated: configuration.extrapolatedWeight
                    case .observed, .interpolated, .stale: 1
                    }
                quotes.append(
                    .init(
                        logMoneyness: k, tau: tau, impliedVolatility: surface.impliedVolatility[index],
                        weight: weight))
            }
        }
        return try calibrate(quotes, warmStart: warmStart)
    }

    /// Fits a list of quotes.
    ///
    /// - Throws: `invalidArgument` for quotes of positive weight outside their domains; `tooFewCells` for fewer than
    ///   five that carry information; `calibrationFailed` when the pricer refuses every start.
    public func calibrate(
        _ quotes: [CalibrationQuote], warmStart: HestonParameters? = nil
    ) throws(HestonError) -> Calibration {
        try warmStart?.validate()
        var problem = try CalibrationProblem(quotes, accuracy: configuration.accuracy)
        guard problem.usedCount >= 5 else { throw .tooFewCells(usable: problem.usedCount, needed: 5) }
        var starts: [HestonParameters] = warmStart.map { [$0] } ?? []
        starts += problem.startingPoints().prefix(configuration.starts)
        let transform = ParameterTransform(bounds: configuration.bounds, feller: configuration.enforcesFeller)
        var best: (descent: Descent, start: Int)?
        for (index, start) in starts.enumerated() {
            guard let descent = descend(&problem, transform, from: start) else { continue }
            if best.map({ descent.cost < $0.descent.cost }) ?? true { best = (descent, index) }
            guard let leader = best?.descent else { continue }
            let error = (2 * leader.cost / problem.totalWeight).squareRoot()
            if error < 1e-7 { break }
            if warmStart != nil, index == 0, error <= configuration.acceptedRootMeanSquare { break }
        }
        guard let best else { throw .calibrationFailed(starts: starts.count) }
        return try problem.report(best.descent, start: best.start, of: quotes)
    }

    struct Descent {
        var parameters: HestonParameters
        var cost: Double
        var iterations: Int
        var termination: Calibration.Termination
    }

    private func descend(
        _ problem: inout CalibrationProblem, _ transform: ParameterTransform, from start: HestonParameters
    ) -> Descent? {
        var free = transform.free(start)
        var (parameters, chain) = transform.parameters(free)
        guard var current = problem.evaluate(parameters) else { return nil }
        var (normal, gradient) = problem.normalEquations(chain)
        var damping = 1e-3
        var growth = 2.0
        var refusals = 0
        func done(_ iterations: Int, _ termination: Calibration.Termination) -> Descent {
            Descent(parameters: parameters, cost: current, iterations: iterations, termination: termination)
        }
        for iteration in 0..<configuration.maximumIterations {
            if (2 * current / problem.totalWeight).squareRoot() < 1e-9 { return done(iteration, .exact) }
            let steepest = gradient.reduce(0) { max($0, abs($1)) }
            if steepest <= 1e-13 * problem.totalWeight { return done(iteration, .gradient) }
            var damped = normal
            for i in 0..<5 { damped[i * 6] += damping * max(normal[i * 6], 1e-9 * problem.totalWeight) }
            guard let step = SmallMatrix.solvePositiveDefinite(damped, gradient.map { -$0 }) else {
                damping *= growth
                growth *= 2
                if damping > 1e16 { return done(iteration, .step) }
                continue
            }
            // The logistic is flat beyond ±12: nothing is gained by walking on, and the way back is long.
            let trial = zip(free, step).map { min(max($0 + min(max($1, -2), 2), -12), 12) }
            let moved = zip(trial, free).reduce(0) { max($0, abs($1.0 - $1.1)) }
            if moved < 1e-10 { return done(iteration, refusals > 3 ? .pricerRefused : .step) }
            let (trialParameters, trialChain) = transform.parameters(trial)
            let cost = problem.evaluate(trialParameters)
            if cost == nil { refusals += 1 }
            // What the quadratic model promised: ½·step·(damping·D·step − gradient).
            var promised = 0.0
            for i in 0..<5 { promised += 0.5 * step[i] * ((damped[i * 6] - normal[i * 6]) * step[i] - gradient[i]) }
            guard let cost, cost < current, promised > 0 else {
                damping *= growth
                growth *= 2
                if damping > 1e16 { return done(iteration + 1, refusals > 3 ? .pricerRefused : .step) }
                continue
            }
            let ratio = (current - cost) / promised
            let fall = current - cost
            let previous = current
            (free, parameters, current) = (trial, trialParameters, cost)
            (normal, gradient) = problem.normalEquations(trialChain)
            refusals = 0
            let cube = 2 * ratio - 1
            damping = max(1e-12, damping * max(1.0 / 3, 1 - cube * cube * cube))
            growth = 2
            if fall < 1e-9 * previous { return done(iteration + 1, .cost) }
        }
        return done(configuration.maximumIterations, .iterations)
    }
}
