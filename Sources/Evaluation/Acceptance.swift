public import Kernels
internal import MarketData
public import Trading

/// What a policy must show on bars that nobody has looked at, before it may trade: "profitable with less than 20 USD".
public struct AcceptanceCriteria: Sendable, Equatable {
    /// Days of the final block; fewer pass only where there are no more, which the verdict says.
    public var minimumDays = 60.0
    /// By block bootstrap.
    public var minimumProbabilityOfProfit = 0.9
    /// That the Sharpe ratio is better than the best of as many worthless models as were tried would show.
    public var minimumDeflatedSharpe = 0.5
    /// As a fraction of the highest equity before.
    public var maximumDrawdown = 0.25
    /// Finished ones: from no position to no position.
    public var minimumTrades = 30
    /// Histories that the bootstrap makes.
    public var bootstrapSamples = 2000

    public init() {}
}

/// The verdict on one policy.
public struct Acceptance: Sendable {
    public var criteria: AcceptanceCriteria
    /// In the order in which people ask.
    public var conditions: [Condition]
    public var heads: [HeadReport]
    public var bootstrap: BootstrapResult
    /// `nil` where it is not defined: no variance, or no trades.
    public var deflatedSharpe: Double?
    /// Policies that were tried to find this one, itself counted.
    public var trials: Int
    /// Of the final block.
    public var days: Double

    public var passed: Bool { conditions.allSatisfy(\.passed) }
    /// Names of what did not pass.
    public var failures: [String] { conditions.filter { !$0.passed }.map(\.name) }

    /// Judges a backtest over the final block.
    ///
    /// - Parameters:
    ///   - isAllThereIs: the block is everything behind the spans that the model was made with.
    ///   - trials: how many policies were tried, and the variance of their Sharpe ratios of one bar, where known.
    ///   - random: for bootstrap and permutations; the same generator, the same verdict.
    ///
    /// Throws `Implausible` instead of a verdict on what cannot be true. Traps on a block of fewer than ten bars, and
    /// on heads whose answers are not one a decision.
    public init(
        _ result: BacktestResult, heads evidence: [HeadEvidence], isAllThereIs: Bool,
        trials: (count: Int, sharpeVariance: Double?), criteria: AcceptanceCriteria = .init(),
        random: inout RandomGenerator
    ) throws(Implausible) {
        try PlausibilityGuard.check(result)
        self.criteria = criteria
        let statistics = result.statistics
        let returns = result.returns
        days = Double(returns.count) * result.interval.seconds / 86_400
        self.trials = max(1, trials.count)
        bootstrap = Significance.bootstrap(
            returns: returns, samples: criteria.bootstrapSamples, random: &random)
        deflatedSharpe = Significance.deflatedSharpe(
            returns: returns, trials: self.trials, trialSharpeVariance: trials.sharpeVariance)
        var heads: [HeadReport] = []
        for head in evidence { heads.append(HeadReport(head, random: &random)) }
        self.heads = heads

        var length = Condition("days out of sample", days, atLeast: criteria.minimumDays)
        if isAllThereIs, !length.passed {
            length.passed = true
            length.note = "fewer than \(criteria.minimumDays), but all there is"
        }
        let count = self.trials
        conditions = [
            length,
            Condition("net profit", statistics.totalReturn, above: 0, note: "after fees, spread, slippage and funding"),
            Condition(
                "probability of profit", bootstrap.probabilityOfProfit,
                atLeast: criteria.minimumProbabilityOfProfit,
                note: "of \(bootstrap.sampleCount) histories made of blocks of this one"),
            Condition(
                "deflated Sharpe ratio", deflatedSharpe, atLeast: criteria.minimumDeflatedSharpe,
                note: "probability that it is better than the best of \(count) worthless models"),
            Condition("max drawdown", statistics.maxDrawdown, atMost: criteria.maximumDrawdown),
            Condition("trades", Double(statistics.roundTripCount), atLeast: Double(criteria.minimumTrades)),
        ]
        for head in heads {
            for condition in head.conditions {
                var named = condition
                named.name = "head \(head.name): \(condition.name)"
                conditions.append(named)
            }
        }
    }
}

/// Whether a market can be traded with some capital at all.
public struct Tradability: Sendable, Equatable {
    public var symbol: String
    /// In the quote currency.
    public var price: Double
    /// The least that the exchange takes, in the quote currency at that price.
    public var minimumOrder: Double
    /// Lots in the largest position: the steps that exposure can be chosen in.
    public var steps: Int
    /// What buying and selling it once costs, as a fraction: fees, spread and slippage, of both ways.
    public var roundTripCost: Double
    public var isTradable: Bool

    /// `reserve` is the fraction of the capital that is never invested.
    public init(
        _ rules: InstrumentRules, price: Double, capital: Double, reserve: Double = 0.005,
        costs: ExecutionCosts = .init()
    ) {
        symbol = rules.symbol
        self.price = price
        let lot = rules.lotSize.double
        // Whole lots that reach both minima.
        let least = max(rules.minQuantity.double, rules.minNotional.double / price)
        minimumOrder = (least / lot - 1e-9).rounded(.up) * lot * price
        let budget = capital * (1 - reserve)
        steps = max(0, Int((budget / (price * lot) + 1e-9).rounded(.down)))
        roundTripCost =
            2 * (rules.takerFee + (costs.halfSpreadBasisPoints + costs.slippageBasisPoints) * 1e-4)
        isTradable = minimumOrder <= budget && steps >= 1
    }
}
