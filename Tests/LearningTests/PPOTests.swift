import Kernels
import NeuralNetworks
import Policies
import Testing

@testable import Learning

private func policy(_ inputs: Int, hidden: [Int] = [16], seed: UInt64) -> MLPPolicy {
    var random = RandomGenerator(seed: seed)
    return MLPPolicy(
        .init(observationSize: inputs, hidden: hidden), random: &random)
}

private func configuration(iterations: Int, steps: Int, _ change: (inout PPOConfiguration) -> Void = { _ in })
    -> PPOConfiguration
{
    var configuration = PPOConfiguration()
    configuration.totalIterations = iterations
    configuration.stepsPerEnvironment = steps
    configuration.minibatchSize = 128
    configuration.learningRate = .linear(from: 1e-2, to: 0)
    configuration.targetKL = nil
    change(&configuration)
    return configuration
}

/// Serial: OpenBLAS's thread count belongs to the process.
@Suite(.serialized) struct PPOTests {
    init() { BLAS.setThreadCount(1) }

    @Test("A bandit with a known best action is solved")
    func bandit() throws {
        var trainer = try PPOTrainer(
            policy(2, seed: 1), environments: [Bandit](repeating: Bandit(), count: 8),
            configuration: configuration(iterations: 30, steps: 32), seed: 1)
        var metrics: [PPOMetrics] = []
        while !trainer.isFinished { metrics.append(try trainer.iterate()) }
        var runner = PolicyRunner(trainer.policy)
        for s: Float in [-0.9, -0.5, 0, 0.4, 0.9] {
            let action = try runner.decide([s, 1].span).action
            #expect(abs(action - 0.6 * s) < 0.08, "state \(s)")
        }
        let (first, last) = (metrics[0], metrics[metrics.count - 1])
        #expect(last.meanReward > 0.3 * first.meanReward && last.standardDeviation < first.standardDeviation)
        #expect(last.entropy < first.entropy && last.episodes == 256 && last.meanEpisodeLength == 1)
        #expect(last.steps == 30 * 256 && last.iteration == 30 && last.minibatches == 8)
        #expect(metrics.allSatisfy { $0.approximateKL >= 0 && $0.gradientNorm > 0 && $0.clipFraction <= 1 })
    }

    @Test("Linear-quadratic control comes within 5 % of the Riccati optimum")
    func regulator() throws {
        let training = configuration(iterations: 60, steps: 40) {
            $0.gamma = 0.95
            $0.minibatchSize = 160
        }
        var trainer = try PPOTrainer(
            policy(2, seed: 2), environments: [Regulator](repeating: Regulator(), count: 16),
            configuration: training, seed: 2)
        var metrics = PPOMetrics()
        while !trainer.isFinished { metrics = try trainer.iterate(); }
        #expect(try #require(metrics.explainedVariance) > 0.5)

        var (random, same) = (RandomGenerator(seed: 77), RandomGenerator(seed: 77))
        var runner = PolicyRunner(trainer.policy)
        let learnt = try runner.evaluate(in: Regulator(), episodes: 60, random: &random).meanReturn
        var (world, observation, best) = (Regulator(), [Float(0), 0], 0.0)
        for _ in 0..<60 {
            var span = observation.mutableSpan
            world.reset(&same, observation: &span)
            for _ in 0..<20 {
                let action = [Float(max(-1, min(1, -Regulator.gain * Double(span[0]) / 4)))]
                best += Double(world.step(action.span, observation: &span).reward) / 60
            }
        }
        // Both are negative: costs.
        #expect(learnt > 1.05 * best && learnt < 0.9 * best, "learnt \(learnt), optimal \(best)")
    }

    @Test("In a market without edge, with costs, it learns to stay out", arguments: [3, 4])
    func noEdge(seed: UInt64) throws {
        let training = configuration(iterations: 40, steps: 64) { $0.minibatchSize = 256 }
        var trainer = try PPOTrainer(
            policy(3, seed: seed), environments: [NoEdgeMarket](repeating: NoEdgeMarket(), count: 16),
            configuration: training, seed: seed)
        while !trainer.isFinished { _ = try trainer.iterate() }
        var random = RandomGenerator(seed: 5)
        var runner = PolicyRunner(trainer.policy)
        let result = try runner.evaluate(in: NoEdgeMarket(), episodes: 100, random: &random)
        #expect(result.meanAbsoluteAction < 0.05)
        #expect(result.steps == 800)
    }

    @Test("The standard deviation's own rate scales its step, and no other")
    func logStdRate() throws {
        func train(_ rate: Float) throws -> (before: [Float], after: [Float]) {
            let first = policy(2, seed: 1)
            let one = configuration(iterations: 1, steps: 16) {
                $0.epochs = 1
                $0.logStdRate = rate
            }
            var trainer = try PPOTrainer(
                first, environments: [Bandit](repeating: Bandit(), count: 8), configuration: one, seed: 1)
            #expect(try trainer.iterate().minibatches == 1)
            return (first.parameters, trainer.policy.parameters)
        }
        let (plain, fast) = (try train(1), try train(8))
        let place = policy(2, seed: 1).logStd.lowerBound
        for i in plain.after.indices where i != place { #expect(plain.after[i] == fast.after[i]) }
        let (slowStep, fastStep) = (plain.after[place] - plain.before[place], fast.after[place] - fast.before[place])
        #expect(abs(abs(slowStep) - 1e-2) < 1e-4 && abs(fastStep / slowStep - 8) < 1e-3)
    }

    /// All options on, so that resuming covers them.
    private func everything(_ iterations: Int) -> PPOConfiguration {
        configuration(iterations: iterations, steps: 13) {
            $0.minibatchSize = 20
            $0.entropyCoefficient = 0.01
            $0.logStdRate = 3
            $0.valueClipRange = 0.2
            $0.targetKL = 0.01
            $0.adam.weightDecay = 0.01
            $0.rewardScale = 0.5
            $0.learningRate = .cosine(from: 3e-3, to: 1e-4)
        }
    }

    @Test("One seed gives the same bits twice, another seed others")
    func determinism() throws {
        func train(_ seed: UInt64) throws -> ([UInt8], [PPOMetrics]) {
            var trainer = try PPOTrainer(
                policy(2, hidden: [7, 5], seed: 1), environments: [Regulator](repeating: Regulator(), count: 3),
                configuration: everything(4), seed: seed)
            var metrics: [PPOMetrics] = []
            for _ in 0..<4 { metrics.append(try trainer.iterate()) }
            return (trainer.checkpoint(), metrics)
        }
        let (first, second, other) = (try train(9), try train(9), try train(10))
        #expect(first == second)
        #expect(first.0 != other.0)
    }

    @Test("Resumed from any checkpoint, a training ends with the same bits as an undisturbed one")
    func resume() throws {
        let environments = [Regulator](repeating: Regulator(), count: 3)
        var trainer = try PPOTrainer(
            policy(2, hidden: [7, 5], seed: 1), environments: environments, configuration: everything(5), seed: 4)
        var checkpoints = [trainer.checkpoint()]
        var metrics: [PPOMetrics] = []
        // 13 steps do not divide 20: each checkpoint falls into running episodes.
        for _ in 0..<5 {
            metrics.append(try trainer.iterate())
            checkpoints.append(trainer.checkpoint())
        }
        for start in 0..<5 {
            var resumed = try PPOTrainer(
                resuming: checkpoints[start], environments: environments, configuration: everything(5))
            #expect(resumed.iteration == start && resumed.checkpoint() == checkpoints[start])
            for next in start..<5 { #expect(try resumed.iterate() == metrics[next]) }
            #expect(resumed.checkpoint() == checkpoints[5], "from \(start)")
            #expect(resumed.policy == trainer.policy && resumed.isFinished)
        }
    }

    @Test("A checkpoint of another training, or a broken one, is refused")
    func wrongCheckpoints() throws {
        let environments = [Regulator](repeating: Regulator(), count: 2)
        var trainer = try PPOTrainer(
            policy(2, hidden: [3], seed: 1), environments: environments, configuration: everything(5), seed: 4)
        _ = try trainer.iterate()
        let bytes = trainer.checkpoint()
        func resume<E: Environment>(_ bytes: [UInt8], _ environments: [E], _ iterations: Int = 5) throws {
            _ = try PPOTrainer(resuming: bytes, environments: environments, configuration: everything(iterations))
        }
        #expect(throws: LearningError.checkpointMismatch(field: "totalIterations", expected: "6", found: "5")) {
            try resume(bytes, environments, 6)
        }
        #expect(throws: LearningError.self) { try resume(bytes, environments + environments) }
        #expect(throws: LearningError.environmentChanged(environment: 0)) {
            try resume(bytes, [Faulty](repeating: Faulty(steps: 99, isReward: true), count: 2))
        }
        let reason = "of an environment is not the policy's"
        #expect(throws: LearningError.configuration(field: "observationSize", reason: reason)) {
            try resume(bytes, [NoEdgeMarket(), NoEdgeMarket()])
        }
        let good = try Safetensors(bytes: bytes)
        for index in good.tensors.indices {
            var file = good
            let tensor = file.tensors.remove(at: index)
            #expect(throws: LearningError.checkpoint(.missingTensor(name: tensor.name))) {
                try resume(file.bytes(), environments)
            }
            file.tensors.append(Tensor(tensor.name, shape: [1], .uint8([1])))
            #expect(throws: LearningError.self, "\(tensor.name)") { try resume(file.bytes(), environments) }
        }
        var random = RandomGenerator(seed: 6)
        var refused = 0
        for _ in 0..<150 {
            var changed = bytes
            changed[random.index(below: changed.count)] ^= UInt8(1 << random.index(below: 8))
            do { try resume(changed, environments) } catch { refused += 1 }
        }
        #expect(refused > 10)
    }

    @Test("Bad numbers from an environment stop the training, with the place", arguments: [true, false])
    func notFinite(isReward: Bool) throws {
        let environments = [Faulty(steps: 1000, isReward: true), Faulty(steps: 5, isReward: isReward)]
        var trainer = try PPOTrainer(
            policy(2, seed: 1), environments: environments, configuration: configuration(iterations: 2, steps: 8),
            seed: 1)
        let before = trainer.policy
        #expect {
            try trainer.iterate()
        } throws: {
            if case .environmentNotFinite(environment: 1, _) = $0 as? LearningError { true } else { false }
        }
        #expect(trainer.policy == before)
        #expect(throws: LearningError.environmentNotFinite(environment: 0, step: 0)) {
            try PPOTrainer(policy(2, seed: 1), environments: [Faulty(steps: 0, isReward: true)], seed: 1)
        }
    }

    @Test("A configuration out of range is refused by the field's name")
    func badConfigurations() {
        let changes: [(String, (inout PPOConfiguration) -> Void)] = [
            ("stepsPerEnvironment", { $0.stepsPerEnvironment = 0 }), ("totalIterations", { $0.totalIterations = 0 }),
            ("minibatchSize", { $0.minibatchSize = 1 }), ("epochs", { $0.epochs = 0 }),
            ("learningRate", { $0.learningRate = .constant(.nan) }), ("gamma", { $0.gamma = 1.01 }),
            ("gaeLambda", { $0.gaeLambda = -0.1 }), ("clipRange", { $0.clipRange = 0 }),
            ("valueClipRange", { $0.valueClipRange = -1 }), ("valueCoefficient", { $0.valueCoefficient = -1 }),
            ("entropyCoefficient", { $0.entropyCoefficient = .nan }), ("logStdRate", { $0.logStdRate = 0 }),
            ("targetKL", { $0.targetKL = 0 }),
            ("maximumGradientNorm", { $0.maximumGradientNorm = 0 }), ("rewardScale", { $0.rewardScale = 0 }),
            ("adam.beta1", { $0.adam.beta1 = 1 }), ("adam.epsilon", { $0.adam.epsilon = 0 }),
        ]
        for (field, change) in changes {
            var configuration = PPOConfiguration()
            change(&configuration)
            #expect {
                try PPOTrainer(policy(2, seed: 1), environments: [Bandit](), configuration: configuration, seed: 1)
            } throws: {
                if case .configuration(field, _) = $0 as? LearningError { true } else { false }
            }
        }
        #expect(throws: LearningError.configuration(field: "environments", reason: "are none")) {
            try PPOTrainer(policy(2, seed: 1), environments: [Bandit](), seed: 1)
        }
    }
}
