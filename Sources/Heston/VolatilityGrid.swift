internal import Kernels

/// The model's implied volatilities on a fixed grid, for one set of parameters after the other: after the first,
/// nothing is allocated. One grid serves one thread; threads have one each.
public struct VolatilityGrid: ~Copyable, Sendable {
    /// ln(K/F(τ)).
    public let logMoneyness: [Double]
    /// Years.
    public let tau: [Double]
    public let accuracy: HestonPricer.Accuracy
    /// Undiscounted out-of-the-money prices, as fractions of the forward, at or below this are taken to tell nothing.
    public let informationFloor: Double
    /// Of the last evaluation, absolute, `[log-moneyness × tau]`, row-major; NaN where the price tells nothing.
    public private(set) var volatilities: [Double]
    /// Of each maturity.
    private let strikes: [Strikes]
    /// e^(−k/2) by log-moneyness, 1/√τ by maturity.
    private let inverseScale: [Double]
    private let inverseRootTau: [Double]
    /// Four cells each, in order of the evaluation: maturity by maturity.
    private var problems: [NormalisedBlack.Problems]
    private var engine: SliceEngine

    /// Throws `invalidArgument` for points or accuracy outside their domains. The floor is at least 100 tolerances.
    public init(
        logMoneyness: [Double], tau: [Double], accuracy: HestonPricer.Accuracy = .reference,
        informationFloor: Double = 0
    ) throws(HestonError) {
        for k in logMoneyness { try require("logMoneyness", k, "finite, within ±20") { abs($0) <= 20 } }
        for years in tau { try require("tau", years, "> 0, at most 100") { $0 > 0 && $0 <= 100 } }
        try accuracy.validate()
        self.logMoneyness = logMoneyness
        self.tau = tau
        self.accuracy = accuracy
        engine = SliceEngine(accuracy)
        self.informationFloor = max(informationFloor, 100 * accuracy.tolerance)
        let count = logMoneyness.count * tau.count
        volatilities = [Double](repeating: .nan, count: count)
        strikes = tau.map { Strikes(logMoneyness: logMoneyness, tau: $0) }
        inverseScale = logMoneyness.map { exp(-0.5 * $0) }
        inverseRootTau = tau.map { 1 / $0.squareRoot() }
        problems = .init(repeating: .init(magnitude: .zero, beta: .zero), count: (count + 7) / 8 * 2)
        for place in 0..<count {
            problems[place >> 2].magnitude[place & 3] = abs(logMoneyness[place % logMoneyness.count])
        }
    }

    /// Fills `volatilities`. Throws `invalidArgument`, `accuracyNotReached`; they are then the ones before.
    public mutating func evaluate(_ parameters: HestonParameters) throws(HestonError) {
        try parameters.validate()
        engine.plan(parameters, strikes, derivatives: false)
        let points = logMoneyness.count
        for t in tau.indices {
            try engine.price(parameters, strikes, t)
            for k in 0..<points {
                let place = t * points + k
                let price = engine.prices[k]
                // No volatility gives a price of zero: the answer is NaN.
                problems[place >> 2].beta[place & 3] = price > informationFloor ? price * inverseScale[k] : 0
            }
        }
        for pair in stride(from: 0, to: problems.count, by: 2) {
            var (first, second) = (problems[pair], problems[pair + 1])
            NormalisedBlack.solve(&first, &second)
            problems[pair].total = first.total
            problems[pair + 1].total = second.total
        }
        for t in tau.indices {
            for k in 0..<points {
                let place = t * points + k
                volatilities[k * tau.count + t] = problems[place >> 2].total[place & 3] * inverseRootTau[t]
            }
        }
    }
}
