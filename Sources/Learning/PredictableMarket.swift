public import Kernels

/// A market whose returns can be predicted and whose trades cost: the world of Gârleanu, Pedersen 2013, "Dynamic
/// Trading with Predictable Returns and Transaction Costs" (Journal of Finance 68(6)), section I, with one asset. Its
/// best policy is known in closed form (`Optimum`), so that it shows how near to it a learner comes.
///
///     r_{t+1} = B·f_t + u_{t+1},   f_{t+1} = (1 − Φ)f_t + ε_{t+1}
///     maximise E Σ_t (1 − ρ)^{t+1}(x_t·r_{t+1} − ½γΣx_t²) − (1 − ρ)^t·½Λ(x_t − x_{t−1})²
///
/// A step is a period: seen are f_t and x_{t−1}, the action is x_t as a share of the greatest position, the reward is
/// the period's term without the factor (1 − ρ)^t. The discount γ of a learner must therefore be 1 − ρ. Episodes start
/// without a position, with factors of their stationary distribution, and are truncated, never terminated.
///
/// Reproducible as an environment must be; copies are independent of each other.
public struct PredictableMarket: Environment, Equatable {
    /// One signal that predicts returns: independent of the others, of stationary variance ω²/(1 − (1 − φ)²).
    public struct Factor: Sendable, Equatable {
        /// B: price change a period for each unit of the factor, in the quote currency.
        public var loading: Double
        /// φ: the share of its value that it loses a period, in (0, 1]. The half-life is −ln 2/ln(1 − φ) periods.
        public var meanReversion: Double
        /// ω: standard deviation of ε, positive.
        public var shock: Double

        public init(loading: Double, meanReversion: Double, shock: Double) {
            self.loading = loading
            self.meanReversion = meanReversion
            self.shock = shock
        }

        /// Of variance 1.
        public static func unit(loading: Double, meanReversion: Double) -> Factor {
            let kept = 1 - meanReversion
            return Factor(loading: loading, meanReversion: meanReversion, shock: (1 - kept * kept).squareRoot())
        }

        public var variance: Double { shock * shock / (1 - (1 - meanReversion) * (1 - meanReversion)) }
    }

    /// The defaults are of no real market: a fast and a slow signal of equal strength that explain 4 % of the variance
    /// of a period's return, and costs at which a quarter of the way to the aim is best traded a period.
    public struct Parameters: Sendable, Equatable {
        /// One or more.
        public var factors = [
            Factor.unit(loading: 0.15, meanReversion: 0.3), Factor.unit(loading: 0.15, meanReversion: 0.05),
        ]
        /// Σ: variance of u, the part of a period's price change that nobody can know, quote currency².
        public var variance = 1.0
        /// γ: of risk, a unit of quote currency.
        public var riskAversion = 0.1
        /// Λ: a trade of Δ units costs ½ΛΔ² of the quote currency.
        public var tradingCost = 1.0
        /// ρ, a period, in (0, 1).
        public var discountRate = 0.02

        public init() {}
    }

    public let parameters: Parameters
    /// The position, in units of the asset, that action 1 means.
    public let greatestPosition: Double
    /// Periods until an episode is truncated.
    public let episodeLength: Int

    /// Observed are the factors over their standard deviations, the position over `positionUnit`, and a 1: without it
    /// a network whose biases start at 0 is odd in all inputs, and takes long to find the even value function.
    public var observationSize: Int { parameters.factors.count + 2 }
    public var actionSize: Int { 1 }
    /// A fifth of the greatest position.
    public var positionUnit: Double { greatestPosition / 5 }

    /// As they stand now. Between episodes, of the last one.
    public private(set) var factors: [Double]
    public private(set) var position = 0.0
    private var time = 0
    private var noise = RandomGenerator(seed: 0)

    /// `greatestPosition` is by default five standard deviations of the best policy's position: its bound does not
    /// bind. Traps on parameters out of their ranges.
    public init(_ parameters: Parameters = .init(), greatestPosition: Double? = nil, episodeLength: Int = 200) {
        precondition(!parameters.factors.isEmpty && episodeLength >= 1, "a market has a factor, an episode a step")
        precondition(
            parameters.factors.allSatisfy { $0.meanReversion > 0 && $0.meanReversion <= 1 && $0.shock > 0 },
            "a factor reverts to its mean, and moves")
        let positive = [parameters.variance, parameters.riskAversion, parameters.tradingCost, parameters.discountRate]
        precondition(positive.allSatisfy { $0 > 0 } && parameters.discountRate < 1, "positive parameters")
        self.parameters = parameters
        self.greatestPosition =
            greatestPosition ?? 5 * Optimum(parameters).stationaryPositionVariance.squareRoot()
        precondition(self.greatestPosition > 0, "there is a position to take")
        self.episodeLength = episodeLength
        factors = Array(repeating: 0, count: parameters.factors.count)
    }

    public mutating func reset(_ random: inout RandomGenerator, observation: inout MutableSpan<Float>) {
        noise = RandomGenerator(seed: random.next())
        for (index, factor) in parameters.factors.enumerated() {
            factors[index] = factor.variance.squareRoot() * noise.normal()
        }
        position = 0
        time = 0
        show(&observation)
    }

    public mutating func step(_ action: Span<Float>, observation: inout MutableSpan<Float>) -> StepResult {
        let reward = trade(to: Double(max(-1, min(1, action[0]))) * greatestPosition)
        show(&observation)
        return StepResult(reward: Float(reward), truncated: time >= episodeLength)
    }

    /// One period with the position `target`, in units of the asset: what a step does. Returns its reward in full
    /// precision.
    public mutating func trade(to target: Double) -> Double {
        let kept = 1 - parameters.discountRate
        let traded = target - position
        position = target
        time += 1
        var change = parameters.variance.squareRoot() * noise.normal()
        for (index, factor) in parameters.factors.enumerated() {
            change += factor.loading * factors[index]
            factors[index] = (1 - factor.meanReversion) * factors[index] + factor.shock * noise.normal()
        }
        let risk = 0.5 * parameters.riskAversion * parameters.variance * target * target
        return kept * (target * change - risk) - 0.5 * parameters.tradingCost * traded * traded
    }

    private func show(_ observation: inout MutableSpan<Float>) {
        for (index, factor) in parameters.factors.enumerated() {
            observation[index] = Float(factors[index] / factor.variance.squareRoot())
        }
        observation[factors.count] = Float(position / positionUnit)
        observation[factors.count + 1] = 1
    }
}
