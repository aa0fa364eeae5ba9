import Evaluation
import Kernels
import Learning
import MarketData
import NeuralNetworks
import Policies
import Simulation
import Trading

/// A world without edge earns nothing: PPO on a geometric Brownian motion without drift, with the exchange's rules and
/// all costs that the house charges, started with 19.99 USDT. The right policy stays out.
enum NegativeControl {
    /// What a seed's policy does after the training, on bars that neither it nor its normaliser saw.
    struct Result {
        /// Mean |target| of its decisions, and mean |position|·price/equity of the account.
        var target: Double
        var exposure: Double
        var verdict: Verdict
        var steps: Int
        var seconds: Double

        var json: String {
            """
            {"target": \(target), "exposure": \(exposure), "net_return": \(verdict.netReturn), \
            "trades": \(verdict.trades), "max_drawdown": \(verdict.maxDrawdown), \
            "probability_of_profit": \(verdict.probabilityOfProfit), "deflated_sharpe": \(verdict.deflatedSharpe), \
            "accepted": \(verdict.isAccepted), "steps": \(steps), "seconds": \(seconds)}
            """
        }
    }

    /// Which penalties the reward has: the engine's own, or those that docs/jobs.md gives for one-minute bars. With
    /// the latter nothing but costs and a trace of drawdown speaks against a position.
    enum Reward: String {
        case defaults, minutes

        var configuration: RewardEngine.Configuration {
            switch self {
            case .defaults: .init()
            case .minutes: .init(drawdownPenalty: 0.001, leveragePenalty: 0)
            }
        }
    }

    /// Seeds that are judged side by side: what a deflated Sharpe ratio has to count.
    static let trials = 20
    /// A perpetual future: it can be wrong on both sides.
    private static let symbol = "XRPUSDT"
    private static let window = 16
    private static let lags = [1, 5, 15, 60]
    private static let training = 0..<40_000
    /// After an hour's embargo, which is what the features remember: two weeks.
    private static let test = 40_060..<60_220

    /// As a job of kind `ppo` that states nothing else, but with a bonus for entropy, and standard deviations that
    /// learn ten times as fast. docs/learning.md says why.
    static var configuration: PPOConfiguration {
        var configuration = PPOConfiguration()
        configuration.totalIterations = 200
        configuration.rewardScale = 100
        configuration.entropyCoefficient = 0.05
        configuration.logStdRate = 10
        return configuration
    }

    static func run(seed: UInt64, reward: Reward) throws -> Result {
        let series = try series(seed: seed)
        guard let rules = InstrumentRules.binancePerpetual(symbol) else { throw TradingError.unknownSymbol(symbol) }
        let session = try AccountSettings().session(account: "control", instruments: [rules])
        let environment = try TradingEnvironment(
            .init(session: session, reward: reward.configuration, window: window), series: series, span: training)
        var random = RandomGenerator(seed: seed)
        let policy = MLPPolicy(
            .init(
                observationSize: environment.observationSize, hidden: [64, 64], window: window,
                featureCount: series.featureCount), random: &random)
        var trainer = try PPOTrainer(
            policy, environments: Array(repeating: environment, count: 16), configuration: configuration,
            seed: random.next())
        let time = try seconds { while !trainer.isFinished { _ = try trainer.iterate() } }

        var runner = PolicyRunner(trainer.policy)
        let result = try Backtest(session: session, window: window).run(on: series, span: test) { observation, _ in
            // The layout is the environment's: it cannot be refused.
            (try? runner.decide(observation)).map { Double($0.action) }
        }
        let targets = result.targets.map { abs($0 ?? .nan) }
        return Result(
            target: targets.reduce(0, +) / Double(targets.count), exposure: result.statistics.averageExposure,
            verdict: Verdict(result, trials: trials, seed: seed), steps: trainer.steps, seconds: time)
    }

    /// One-minute bars of volatility 0.1 %, as of a large coin, with past log-returns as features: over 1, 5, 15 and 60
    /// bars, each in units of its standard deviation, which is taken from the training's bars alone.
    private static func series(seed: UInt64) throws -> MarketSeries {
        var market = GBMMarket.Configuration()
        (market.symbols, market.startPrices, market.priceDecimals) = ([symbol], [2], [4])
        market.volatilities = [0.001]
        market.steps = test.upperBound
        market.surfaceEvery = 0
        market.seed = seed
        let bars = try GBMMarket.generate(market).bars(symbol)
        let levels = bars.map { log($0.close) }
        let squares = training.dropFirst().reduce(0.0) {
            $0 + (levels[$1] - levels[$1 - 1]) * (levels[$1] - levels[$1 - 1])
        }
        let deviation = (squares / Double(training.count - 1)).squareRoot()
        var features: [Float] = []
        var mask: [UInt8] = []
        for row in bars.indices {
            for lag in lags {
                let move = row >= lag ? levels[row] - levels[row - lag] : 0
                features.append(Float(move / (deviation * Double(lag).squareRoot())))
                mask.append(row >= lag ? 1 : 0)
            }
        }
        return try MarketSeries(
            symbol: symbol, bars: bars, featureCount: lags.count, features: features, mask: mask)
    }
}

/// Whether a model would be accepted: every condition has to hold.
struct Verdict {
    var netReturn: Double
    var trades: Int
    var maxDrawdown: Double
    var probabilityOfProfit: Double
    /// 0 where it is not defined: a curve that does not move.
    var deflatedSharpe: Double

    /// `trials`: models tried on such data, this one included.
    init(_ result: BacktestResult, trials: Int, seed: UInt64) {
        let statistics = result.statistics
        var random = RandomGenerator(seed: seed)
        netReturn = statistics.totalReturn
        trades = statistics.roundTripCount
        maxDrawdown = statistics.maxDrawdown
        probabilityOfProfit = Significance.bootstrap(returns: result.returns, random: &random).probabilityOfProfit
        deflatedSharpe = Significance.deflatedSharpe(returns: result.returns, trials: trials) ?? 0
    }

    var isAccepted: Bool {
        netReturn > 0 && probabilityOfProfit >= 0.9 && maxDrawdown <= 0.25 && trades >= 30 && deflatedSharpe >= 0.95
    }
}
