// What benchmarks/learning/compare.py and controls.py run, one thread. Each command prints one JSON object.
//   learning-bench pendulum <seed> <steps> <minibatch>
//                                             PPO on the pendulum: mean return of 100 fresh episodes, steps a second
//   learning-bench inference <file>           decisions of a 1280-128-128 policy: microseconds at batch 1 and 64, and
//                                             the outputs of the first row; the policy goes to <file>
//   learning-bench controls positive <seed>   PPO where the optimum is known: what it earns of it on fresh draws
//   learning-bench controls negative <seed> <reward>
//                                             PPO where there is nothing to know: its exposure, and whether the
//                                             model would be accepted; <reward> is defaults or minutes
import Foundation
import Kernels
import Learning
import NeuralNetworks
import Policies

func seconds(_ body: () throws -> Void) rethrows -> Double {
    let clock = ContinuousClock()
    let start = clock.now
    try body()
    let duration = (clock.now - start).components
    return Double(duration.seconds) + Double(duration.attoseconds) * 1e-18
}

/// PPO as stable-baselines3's tuned settings for this world have it (discount, λ, epochs, learning rate, network),
/// with rollouts of 8 × 256 steps.
func train(_ seed: UInt64, steps: Int, minibatch: Int) throws -> (policy: MLPPolicy, steps: Int, seconds: Double) {
    let environments = 8
    var configuration = PPOConfiguration()
    configuration.stepsPerEnvironment = 256
    configuration.totalIterations = max(1, steps / (environments * configuration.stepsPerEnvironment))
    configuration.minibatchSize = minibatch
    configuration.epochs = 10
    configuration.learningRate = .linear(from: 1e-3, to: 0)
    configuration.gamma = 0.9
    configuration.gaeLambda = 0.95
    configuration.targetKL = nil
    // Discounted costs of up to 160 become returns of the order of 10.
    configuration.rewardScale = 0.1
    var random = RandomGenerator(seed: seed)
    let policy = MLPPolicy(.init(observationSize: 3, hidden: [64, 64]), random: &random)
    var trainer = try PPOTrainer(
        policy, environments: Array(repeating: Pendulum(), count: environments), configuration: configuration,
        seed: seed)
    let time = try seconds { while !trainer.isFinished { _ = try trainer.iterate() } }
    return (trainer.policy, trainer.steps, time)
}

/// Of the deterministic policy, over 100 episodes that the training has not seen.
func meanReturn(_ policy: MLPPolicy) throws -> Double {
    var runner = PolicyRunner(policy)
    var random = RandomGenerator(seed: 1_000_003)
    var world = Pendulum()
    var observation = [Float](repeating: 0, count: world.observationSize)
    var sum = 0.0
    for _ in 0..<100 {
        var row = observation.mutableSpan
        world.reset(&random, observation: &row)
        var isOver = false
        while !isOver {
            let action = [try runner.decide(observation.span).action]
            var row = observation.mutableSpan
            let result = world.step(action.span, observation: &row)
            sum += Double(result.reward)
            isOver = result.truncated
        }
    }
    return sum / 100
}

func inference(_ path: String) throws {
    var random = RandomGenerator(seed: 5)
    let policy = MLPPolicy(.init(observationSize: 1280, hidden: [128, 128]), random: &random)
    try Data(policy.safetensors()).write(to: URL(filePath: path))
    let observations = (0..<64 * 1280).map { _ in Float(random.normal()) }
    var runner = PolicyRunner(policy)
    let first = Array(observations[..<1280])
    var decision = try runner.decide(first.span)
    var single = Double.infinity
    for _ in 0..<20 {
        let time = try seconds { for _ in 0..<500 { decision = try runner.decide(first.span) } }
        single = min(single, time / 500)
    }
    var batch = Double.infinity
    var decisions: [PolicyDecision] = []
    for _ in 0..<20 {
        let time = try seconds { for _ in 0..<50 { decisions = try runner.decide(batch: observations.span) } }
        batch = min(batch, time / 50)
    }
    let outputs = "\"mean\": \(decision.mean), \"value\": \(decision.value), \"last_value\": \(decisions[63].value)"
    let row = first.map { "\($0)" }.joined(separator: ",")
    let last = observations.suffix(1280).map { "\($0)" }.joined(separator: ",")
    let times = "\"single_us\": \(single * 1e6), \"batch_us\": \(batch * 1e6)"
    print("{\(times), \(outputs), \"first\": [\(row)], \"last\": [\(last)]}")
}

func main() throws {
    let arguments = CommandLine.arguments
    BLAS.adaptToProcessor()
    BLAS.setThreadCount(1)
    if arguments.count == 5, arguments[1] == "pendulum", let seed = UInt64(arguments[2]),
        let steps = Int(arguments[3]), let minibatch = Int(arguments[4])
    {
        let trained = try train(seed, steps: steps, minibatch: minibatch)
        let rate = Double(trained.steps) / trained.seconds
        print("{\"return\": \(try meanReturn(trained.policy)), \"rate\": \(rate), \"steps\": \(trained.steps)}")
    } else if arguments.count == 3, arguments[1] == "inference" {
        try inference(arguments[2])
    } else if arguments.count == 4, arguments[1...2] == ["controls", "positive"], let seed = UInt64(arguments[3]) {
        print(try PositiveControl.run(seed: seed).json)
    } else if arguments.count == 5, arguments[1...2] == ["controls", "negative"], let seed = UInt64(arguments[3]),
        let reward = NegativeControl.Reward(rawValue: arguments[4])
    {
        print(try NegativeControl.run(seed: seed, reward: reward).json)
    } else {
        print("usage: learning-bench pendulum <seed> <steps> <minibatch> | inference <file>")
        print("       learning-bench controls positive <seed> | controls negative <seed> defaults|minutes")
        exit(2)
    }
}

try main()
