import Kernels
import Learning
import NeuralNetworks
import Policies

/// A world with a known optimum is solved: PPO in a market with predictable returns and transaction costs, judged by
/// the closed form's objective on draws that it has not seen.
enum PositiveControl {
    struct Result {
        /// Mean discounted objectives of an episode from its start, over the same draws, and what the formula expects.
        var learnt: Double
        var optimal: Double
        var expected: Double
        /// Of `learnt` − `optimal`, paired.
        var standardError: Double
        var steps: Int
        var seconds: Double

        var json: String {
            """
            {"learnt": \(learnt), "optimal": \(optimal), "expected": \(expected), \
            "standard_error": \(standardError), "steps": \(steps), "seconds": \(seconds)}
            """
        }
    }

    /// Large rollouts and a short λ, because a period's luck is ten times what can be foreseen of it: per update many
    /// periods, and of each only what its own few successors tell.
    static var configuration: PPOConfiguration {
        var configuration = PPOConfiguration()
        configuration.stepsPerEnvironment = 256
        configuration.totalIterations = 200
        configuration.minibatchSize = 1024
        configuration.learningRate = .linear(from: 1e-3, to: 0)
        configuration.gamma = Float(1 - PredictableMarket.Parameters().discountRate)
        configuration.gaeLambda = 0.5
        configuration.targetKL = nil
        // Values are near 6.
        configuration.rewardScale = 0.2
        return configuration
    }

    static func run(seed: UInt64) throws -> Result {
        let market = PredictableMarket()
        var random = RandomGenerator(seed: seed)
        // A fifth of the greatest position is one standard deviation of the best policy's.
        let policy = MLPPolicy(
            .init(observationSize: market.observationSize, hidden: [64, 64]), initialStandardDeviation: 0.2,
            random: &random)
        var trainer = try PPOTrainer(
            policy, environments: Array(repeating: market, count: 32), configuration: configuration,
            seed: random.next())
        let time = try seconds { while !trainer.isFinished { _ = try trainer.iterate() } }
        return try judge(trainer.policy, seed: 1_000_003 + seed, steps: trainer.steps, seconds: time)
    }

    /// The deterministic policy and the closed form in twin markets. 400 periods leave 3e-4 of the objective out.
    private static func judge(_ policy: MLPPolicy, seed: UInt64, steps: Int, seconds: Double) throws -> Result {
        let episodes = 2000
        var market = PredictableMarket(episodeLength: 400)
        var twin = market
        let optimum = PredictableMarket.Optimum(market.parameters)
        var (random, same) = (RandomGenerator(seed: seed), RandomGenerator(seed: seed))
        var runner = PolicyRunner(policy)
        var seen = [Float](repeating: 0, count: market.observationSize)
        var (learnt, optimal, squares) = (0.0, 0.0, 0.0)
        for _ in 0..<episodes {
            var row = seen.mutableSpan
            twin.reset(&same, observation: &row)
            market.reset(&random, observation: &row)
            var (mine, best, weight) = (0.0, 0.0, 1.0)
            for _ in 0..<market.episodeLength {
                let action = [try runner.decide(row.span).action]
                mine += weight * Double(market.step(action.span, observation: &row).reward)
                best += weight * twin.trade(to: optimum.position(from: twin.position, factors: twin.factors))
                weight *= 1 - market.parameters.discountRate
            }
            learnt += mine
            optimal += best
            squares += (mine - best) * (mine - best)
        }
        let n = Double(episodes)
        let difference = (learnt - optimal) / n
        return Result(
            learnt: learnt / n, optimal: optimal / n, expected: optimum.meanValue,
            standardError: ((squares / n - difference * difference) / n).squareRoot(), steps: steps, seconds: seconds)
    }
}
