/// One step of an account, in numbers relative to equity, so that no reward depends on the coin's price or the
/// account's size.
public struct RewardInput: Sendable, Equatable {
    /// At the close before and after the step, in the quote currency.
    public var equityBefore: Double
    public var equityAfter: Double
    /// The capital with which the episode began.
    public var initialEquity: Double
    /// Notional traded in the step, in the quote currency.
    public var tradedNotional: Double
    /// Equity over its highest value of the episode − 1: not positive.
    public var drawdown: Double
    /// |position|·price over equity after the step.
    public var leverage: Double

    public init(
        equityBefore: Double, equityAfter: Double, initialEquity: Double, tradedNotional: Double, drawdown: Double,
        leverage: Double
    ) {
        self.equityBefore = equityBefore
        self.equityAfter = equityAfter
        self.initialEquity = initialEquity
        self.tradedNotional = tradedNotional
        self.drawdown = drawdown
        self.leverage = leverage
    }
}

/// The parts of a reward as they enter the sum: weighted, penalties negative.
public struct RewardTerms: Sendable, Equatable {
    public var profit = 0.0
    public var turnover = 0.0
    public var drawdown = 0.0
    public var leverage = 0.0
    public var volatility = 0.0

    public init() {}

    public var total: Double { profit + turnover + drawdown + leverage + volatility }

    public static func += (a: inout RewardTerms, b: RewardTerms) {
        a.profit += b.profit
        a.turnover += b.turnover
        a.drawdown += b.drawdown
        a.leverage += b.leverage
        a.volatility += b.volatility
    }
}

/// Turns each step of an account into a reward and its terms.
///
///     r = equity′/equity − 1
///     reward = profitScale·r − turnoverPenalty·traded/equity − drawdownPenalty·max(0, −drawdown)
///            − leveragePenalty·leverage − volatilityPenalty·max(0, realised volatility − targetVolatility)
///
/// Realised volatility is the sample standard deviation of the last `volatilityWindow` values of r (a step's, not
/// annualised), 0 before there are two. The defaults are the project's specification; note what they say: 0.05 of
/// leverage a *step* outweighs any return of a one-minute bar, so a policy trained with them on short bars rightly
/// learns to stay out. Scale `leveragePenalty` and `drawdownPenalty` with the bar's interval.
public struct RewardEngine: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        /// (equity′ − equity) / initial capital, and nothing else.
        case simple
        /// The formula above.
        case composite
        /// Moody, Saffell 1998, "Reinforcement Learning for Trading", eq. 8: what the step adds to the Sharpe ratio of
        /// exponentially weighted moments. The penalties of `composite` still apply.
        case differentialSharpe
        /// The same for the downside deviation ratio, their eq. 13 and 14: only losses count as risk.
        case differentialSortino
    }

    public struct Configuration: Sendable, Equatable {
        public var kind: Kind
        public var profitScale: Double
        public var turnoverPenalty: Double
        public var drawdownPenalty: Double
        public var leveragePenalty: Double
        public var volatilityPenalty: Double
        /// Of one step's returns.
        public var targetVolatility: Double
        /// Steps, 2 … 10,000. Default 20.
        public var volatilityWindow: Int
        /// η of the differential ratios: the weight of the newest step, in (0, 1). Default 0.01.
        public var adaptationRate: Double

        public init(
            kind: Kind = .composite, profitScale: Double = 1, turnoverPenalty: Double = 0.001,
            drawdownPenalty: Double = 0.1, leveragePenalty: Double = 0.05, volatilityPenalty: Double = 0.05,
            targetVolatility: Double = 0.02, volatilityWindow: Int = 20, adaptationRate: Double = 0.01
        ) {
            self.kind = kind
            self.profitScale = profitScale
            self.turnoverPenalty = turnoverPenalty
            self.drawdownPenalty = drawdownPenalty
            self.leveragePenalty = leveragePenalty
            self.volatilityPenalty = volatilityPenalty
            self.targetVolatility = targetVolatility
            self.volatilityWindow = volatilityWindow
            self.adaptationRate = adaptationRate
        }

        public static let simple = Configuration(kind: .simple)
    }

    public let configuration: Configuration
    /// The last returns, a ring: `count` of them are valid, `next` is where the next one goes.
    private var returns: [Double]
    private var count = 0
    private var next = 0
    /// Exponentially weighted mean of r, and of r² (Sharpe) or min(r, 0)² (Sortino).
    private var firstMoment = 0.0
    private var secondMoment = 0.0

    public init(_ configuration: Configuration = .init()) throws(TradingError) {
        guard (2...10_000).contains(configuration.volatilityWindow) else {
            throw .invalidConfiguration(reason: "volatilityWindow must be in 2 ... 10000")
        }
        guard configuration.adaptationRate > 0, configuration.adaptationRate < 1 else {
            throw .invalidConfiguration(reason: "adaptationRate must be in (0, 1)")
        }
        let weights = [
            configuration.profitScale, configuration.turnoverPenalty, configuration.drawdownPenalty,
            configuration.leveragePenalty, configuration.volatilityPenalty, configuration.targetVolatility,
        ]
        guard weights.allSatisfy({ $0 >= 0 && $0.isFinite }) else {
            throw .invalidConfiguration(reason: "reward weights must be finite and not negative")
        }
        self.configuration = configuration
        returns = Array(repeating: 0, count: configuration.volatilityWindow)
    }

    /// Forgets the episode. Keeps its memory.
    public mutating func reset() {
        (count, next) = (0, 0)
        (firstMoment, secondMoment) = (0, 0)
    }

    /// The terms of one step. O(volatilityWindow) without allocation. Equity before the step must be positive.
    public mutating func reward(_ step: RewardInput) -> RewardTerms {
        precondition(step.equityBefore > 0, "a ruined account has no relative profit: the episode has ended")
        var terms = RewardTerms()
        if configuration.kind == .simple {
            terms.profit = (step.equityAfter - step.equityBefore) / step.initialEquity
            return terms
        }
        let r = step.equityAfter / step.equityBefore - 1
        remember(r)
        switch configuration.kind {
        case .simple, .composite: terms.profit = configuration.profitScale * r
        case .differentialSharpe: terms.profit = configuration.profitScale * differentialSharpe(r)
        case .differentialSortino: terms.profit = configuration.profitScale * differentialSortino(r)
        }
        terms.turnover = -configuration.turnoverPenalty * step.tradedNotional / step.equityBefore
        terms.drawdown = -configuration.drawdownPenalty * max(0, -step.drawdown)
        terms.leverage = -configuration.leveragePenalty * step.leverage
        let excess = realisedVolatility - configuration.targetVolatility
        terms.volatility = -configuration.volatilityPenalty * max(0, excess)
        return terms
    }

    /// Sample standard deviation of the last returns, of one step; 0 before there are two.
    public var realisedVolatility: Double {
        guard count > 1 else { return 0 }
        var mean = 0.0
        for index in 0..<count { mean += returns[index] }
        mean /= Double(count)
        var squares = 0.0
        for index in 0..<count { squares += (returns[index] - mean) * (returns[index] - mean) }
        return (squares / Double(count - 1)).squareRoot()
    }

    private mutating func remember(_ r: Double) {
        returns[next] = r
        next = next + 1 == returns.count ? 0 : next + 1
        count = min(count + 1, returns.count)
    }

    // D = (B·ΔA − A·ΔB/2) / (B − A²)^{3/2}, ΔA = r − A, ΔB = r² − B, A and B before the step. While the moments hold no
    // variance (the first step, a flat account) the ratio is not defined, and the step is worth 0.
    private mutating func differentialSharpe(_ r: Double) -> Double {
        let (a, b) = (firstMoment, secondMoment)
        let (deltaA, deltaB) = (r - a, r * r - b)
        firstMoment += configuration.adaptationRate * deltaA
        secondMoment += configuration.adaptationRate * deltaB
        let variance = b - a * a
        guard variance > 1e-16 else { return 0 }
        return (b * deltaA - 0.5 * a * deltaB) / (variance * variance.squareRoot())
    }

    // r > 0: (r − A/2)/DD; otherwise (DD²·(r − A/2) − A·r²/2)/DD³, with DD² the weighted mean of min(r, 0)².
    private mutating func differentialSortino(_ r: Double) -> Double {
        let (a, square) = (firstMoment, secondMoment)
        let loss = min(r, 0)
        firstMoment += configuration.adaptationRate * (r - a)
        secondMoment += configuration.adaptationRate * (loss * loss - square)
        guard square > 1e-16 else { return 0 }
        let deviation = square.squareRoot()
        if r > 0 { return (r - 0.5 * a) / deviation }
        return (square * (r - 0.5 * a) - 0.5 * a * r * r) / (square * deviation)
    }
}
