import Kernels
import NeuralNetworks
import Policies
import Testing

@testable import Learning

private func policy(_ inputs: Int, encoded: Int = 5, hidden: Int = 4, seed: UInt64) -> RecurrentPolicy {
    var random = RandomGenerator(seed: seed)
    return RecurrentPolicy(.init(observationSize: inputs, encoded: encoded, hidden: hidden), random: &random)
}

/// All options on, so that resuming and the gradients cover them. 13 steps do not divide an episode: each sequence
/// begins inside one.
private func everything(_ iterations: Int, _ change: (inout PPOConfiguration) -> Void = { _ in }) -> PPOConfiguration {
    var configuration = PPOConfiguration()
    configuration.totalIterations = iterations
    configuration.stepsPerEnvironment = 13
    configuration.minibatchSize = 30
    configuration.entropyCoefficient = 0.01
    configuration.valueClipRange = 0.2
    configuration.targetKL = 0.01
    configuration.adam.weightDecay = 0.01
    configuration.rewardScale = 0.5
    configuration.learningRate = .cosine(from: 3e-3, to: 1e-4)
    change(&configuration)
    return configuration
}

private func prepared<E: Environment>(
    _ environments: [E], _ configuration: PPOConfiguration, seed: UInt64
) throws -> PPO<E, RecurrentLearner> {
    var random = RandomGenerator(seed: seed)
    let slots = environments.map { EnvironmentSlot($0, random: RandomGenerator(seed: random.next())) }
    var training = PPO<E, RecurrentLearner>(
        RecurrentLearner(policy(2, seed: seed), environments: slots.count, configuration: configuration), slots: slots,
        observationSize: 2, actionSize: 1, configuration: configuration, random: random)
    try training.start()
    return training
}

/// Serial: OpenBLAS's thread count belongs to the process.
@Suite(.serialized) struct RecurrentPPOTests {
    init() { BLAS.setThreadCount(1) }

    @Test("What was seen four steps ago is remembered; without memory the same world stays at chance")
    func memory() throws {
        var configuration = PPOConfiguration()
        configuration.totalIterations = 50
        configuration.stepsPerEnvironment = 18
        configuration.minibatchSize = 72
        configuration.learningRate = .linear(from: 1e-2, to: 1e-3)
        configuration.targetKL = nil
        configuration.gamma = 0.95
        let environments = [Recall](repeating: Recall(), count: 16)
        var trainer = try RecurrentPPOTrainer(
            policy(3, encoded: 8, hidden: 8, seed: 1), environments: environments, configuration: configuration,
            seed: 1)
        var last = PPOMetrics()
        while !trainer.isFinished { last = try trainer.iterate() }
        // 16 environments make 4 minibatches of 4, in each of 4 epochs.
        #expect(last.minibatches == 16 && last.steps == 50 * 288 && last.meanEpisodeLength == 5)
        var (random, same) = (RandomGenerator(seed: 9), RandomGenerator(seed: 9))
        var runner = RecurrentRunner(trainer.policy)
        let learnt = try runner.evaluate(in: Recall(), episodes: 200, random: &random)
        #expect(learnt.meanReturn > 0.9 && learnt.steps == 1000, "\(learnt.meanReturn)")

        var memoryless = try PPOTrainer(
            MLPPolicy(.init(observationSize: 3, hidden: [8, 8]), random: &random), environments: environments,
            configuration: configuration, seed: 1)
        while !memoryless.isFinished { _ = try memoryless.iterate() }
        var plain = PolicyRunner(memoryless.policy)
        // Four standard errors of 200 signs.
        let chance = try plain.evaluate(in: Recall(), episodes: 200, random: &same).meanReturn
        #expect(abs(chance) < 0.29, "\(chance)")
    }

    @Test("Values follow each episode's memory: reset at its start, bootstrapped from its final observation")
    func values() throws {
        let environments = [Regulator](repeating: Regulator(), count: 3)
        var training = try prepared(environments, everything(2), seed: 7)
        // Runners that see what the environments showed, one after the other.
        var runners = environments.map { _ in RecurrentRunner(training.learner.policy) }
        var truncations = 0
        for _ in 0..<4 {
            var metrics = PPOMetrics()
            try training.collect(&metrics)
            training.estimate(&metrics)
            let rollout = training.rollout
            func observation(_ row: Int) -> [Float] { Array(rollout.observations[2 * row..<2 * row + 2]) }
            for row in 0..<rollout.size {
                let index = row % 3
                let seen = observation(row)
                let value = try runners[index].decide(seen.span).value
                #expect(abs(value - rollout.values[row]) < 1e-5)
                var ahead = runners[index]
                var next = observation(row + 3)
                if let place = rollout.finalRows.firstIndex(of: row) {
                    next = Array(rollout.finalObservations[2 * place..<2 * place + 2])
                    runners[index].reset()
                    truncations += 1
                }
                let nextValue = try ahead.decide(next.span).value
                #expect(abs(nextValue - rollout.nextValues[row]) < 1e-5, "row \(row)")
            }
            // Whole sequences, with the same parameters, say again what the single steps said.
            for units in [[2, 1], [0]] {
                var (learner, again) = (training.learner, PPOMetrics())
                var gradients = [Float](repeating: 0, count: learner.parameters.count)
                learner.gather(units[...], rollout)
                let divergence = learner.actorGradients(rollout, training.configuration, &gradients, &again)
                learner.criticGradients(rollout, training.configuration, &gradients, &again)
                let errors = (0..<rollout.size).filter { units.contains($0 % 3) }.map {
                    (rollout.values[$0] - rollout.returns[$0]) * (rollout.values[$0] - rollout.returns[$0])
                }
                #expect(abs(divergence) < 1e-8 && again.clipFraction == 0)
                #expect(abs(again.valueLoss - 0.5 * errors.reduce(0, +) / Float(errors.count)) < 1e-5)
            }
        }
        // 52 steps of episodes of 20.
        #expect(truncations == 6)
    }

    @Test("The gradient of the whole loss equals finite differences", arguments: [nil, 0.05] as [Float?])
    func gradients(valueClipRange: Float?) throws {
        let configuration = everything(2) { $0.valueClipRange = valueClipRange }
        var training = try prepared([Regulator](repeating: Regulator(), count: 3), configuration, seed: 3)
        var metrics = PPOMetrics()
        // The second rollout begins inside episodes.
        for _ in 0..<2 {
            try training.collect(&metrics)
            training.estimate(&metrics)
        }
        // Away from the rollout's policy, so that ratios are not 1 and some are clipped.
        var random = RandomGenerator(seed: 5)
        for i in training.learner.parameters.indices {
            training.learner.parameters[i] += 0.1 * Float(random.normal())
        }
        let rollout = training.rollout
        func loss(_ learner: RecurrentLearner, _ gradients: inout [Float]) -> (loss: Double, clipped: Float) {
            var (learner, metrics) = (learner, PPOMetrics())
            learner.gather([2, 0], rollout)
            _ = learner.actorGradients(rollout, configuration, &gradients, &metrics)
            learner.criticGradients(rollout, configuration, &gradients, &metrics)
            let value = Double(configuration.valueCoefficient) * Double(metrics.valueLoss)
            return (Double(metrics.policyLoss) + value, metrics.clipFraction)
        }
        let count = training.learner.parameters.count
        var gradients = [Float](repeating: .nan, count: count)
        let clipped = loss(training.learner, &gradients).clipped
        #expect(clipped > 0.05 && clipped < 0.95 && gradients.allSatisfy { $0.isFinite })
        let scale = gradients.map(abs).max() ?? 1
        var scratch = gradients
        // Five points, h = 2⁻⁸: rounding of the loss, 1e-7, over h is 3e-5.
        let h: Float = 1 / 256
        for i in 0..<count {
            func at(_ h: Float) -> Double {
                var moved = training.learner
                moved.parameters[i] += h
                return loss(moved, &scratch).loss
            }
            let slope = Float((8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / Double(12 * h))
            #expect(abs(slope - gradients[i]) < 1e-3 * scale, "parameter \(i): \(slope), \(gradients[i])")
        }
    }

    @Test("One seed gives the same bits twice, another seed others")
    func determinism() throws {
        func train(_ seed: UInt64) throws -> ([UInt8], [PPOMetrics]) {
            var trainer = try RecurrentPPOTrainer(
                policy(2, seed: 1), environments: [Regulator](repeating: Regulator(), count: 5),
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
        // Five environments, two a minibatch: the last one of an epoch is smaller.
        let environments = [Regulator](repeating: Regulator(), count: 5)
        var trainer = try RecurrentPPOTrainer(
            policy(2, seed: 1), environments: environments, configuration: everything(5), seed: 4)
        var checkpoints = [trainer.checkpoint()]
        var metrics: [PPOMetrics] = []
        for _ in 0..<5 {
            metrics.append(try trainer.iterate())
            checkpoints.append(trainer.checkpoint())
        }
        for start in 0..<5 {
            var resumed = try RecurrentPPOTrainer(
                resuming: checkpoints[start], environments: environments, configuration: everything(5))
            #expect(resumed.iteration == start && resumed.checkpoint() == checkpoints[start])
            for next in start..<5 { #expect(try resumed.iterate() == metrics[next]) }
            #expect(resumed.checkpoint() == checkpoints[5], "from \(start)")
            #expect(resumed.policy == trainer.policy && resumed.isFinished)
        }
    }

    @Test("A checkpoint of another kind of training, or a broken one, is refused")
    func wrongCheckpoints() throws {
        let environments = [Regulator](repeating: Regulator(), count: 2)
        var trainer = try RecurrentPPOTrainer(
            policy(2, seed: 1), environments: environments, configuration: everything(5), seed: 4)
        _ = try trainer.iterate()
        let bytes = trainer.checkpoint()
        func resume<E: Environment>(_ bytes: [UInt8], _ environments: [E], _ iterations: Int = 5) throws {
            _ = try RecurrentPPOTrainer(
                resuming: bytes, environments: environments, configuration: everything(iterations))
        }
        let kinds = ("ppo-checkpoint-1", "recurrent-ppo-checkpoint-1")
        #expect(throws: LearningError.checkpointMismatch(field: "kind", expected: kinds.0, found: kinds.1)) {
            _ = try PPOTrainer(resuming: bytes, environments: environments, configuration: everything(5))
        }
        #expect(throws: LearningError.checkpointMismatch(field: "totalIterations", expected: "6", found: "5")) {
            try resume(bytes, environments, 6)
        }
        #expect(throws: LearningError.self) { try resume(bytes, environments + environments) }
        #expect(throws: LearningError.environmentChanged(environment: 0)) {
            try resume(bytes, [Faulty](repeating: Faulty(steps: 99, isReward: true), count: 2))
        }
        let good = try Safetensors(bytes: bytes)
        #expect(Set(good.tensors.map(\.name)).isSuperset(of: ["actor.hidden", "critic.cell"]))
        for index in good.tensors.indices {
            var file = good
            let tensor = file.tensors.remove(at: index)
            #expect(throws: LearningError.checkpoint(.missingTensor(name: tensor.name))) {
                try resume(file.bytes(), environments)
            }
            file.tensors.append(Tensor(tensor.name, shape: [1], .uint8([1])))
            #expect(throws: LearningError.self, "\(tensor.name)") { try resume(file.bytes(), environments) }
        }
        #expect(throws: LearningError.configuration(field: "environments", reason: "are none")) {
            try RecurrentPPOTrainer(policy(2, seed: 1), environments: [Bandit](), seed: 1)
        }
    }
}
