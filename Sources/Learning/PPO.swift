internal import Kernels
internal import NeuralNetworks
internal import Policies

/// Proximal policy optimisation with the clipped surrogate (Schulman et al. 2017), on several environments: what
/// `PPOTrainer` and `RecurrentPPOTrainer` run, each with its own kind of policy.
///
/// How to read it: `iterate` is one iteration; it calls `collect` (act in all environments, all at a time through one
/// matrix product), `estimate` (values, advantages, returns) and `update` (epochs of shuffled minibatches). The losses
/// are in Rollout+Losses.swift, the passes of the networks in MLPLearner.swift and RecurrentLearner.swift. Rows are
/// [step × environment], row-major throughout.
///
/// One seed gives the same bits on one machine and BLAS kernel with one BLAS thread. Between iterations
/// `checkpoint()` holds everything: a training resumed from it goes on bit for bit as if undisturbed.
struct PPO<E: Environment, L: Learner>: Sendable {
    let configuration: PPOConfiguration
    var learner: L
    /// Iterations and environment steps done.
    var iteration = 0
    var steps = 0
    var optimiser: Adam
    var random: RandomGenerator
    var slots: [EnvironmentSlot<E>]
    var rollout: Rollout
    private var order: [Int]
    private var gradients: [Float]
    /// Before an optimiser's step.
    private var logStdBefore: [Float]

    /// Checks and allocates. The present observations are left at 0.
    init(
        _ learner: L, slots: [EnvironmentSlot<E>], observationSize: Int, actionSize: Int,
        configuration: PPOConfiguration, random: RandomGenerator
    ) {
        self.configuration = configuration
        self.learner = learner
        self.slots = slots
        self.random = random
        optimiser = Adam(parameterCount: learner.parameters.count, configuration: configuration.adam)
        rollout = Rollout(
            steps: configuration.stepsPerEnvironment, environments: slots.count, observationSize: observationSize,
            actionSize: actionSize)
        order = Array(0..<learner.units)
        gradients = [Float](repeating: 0, count: learner.parameters.count)
        logStdBefore = [Float](repeating: 0, count: learner.logStd.count)
    }

    /// Throws `configuration` for a bad field, no environment, or sizes that do not fit the policy's.
    static func validate(
        _ configuration: PPOConfiguration, _ environments: [E], observationSize: Int, actionSize: Int
    ) throws(LearningError) {
        try configuration.validate()
        guard !environments.isEmpty else { throw .configuration(field: "environments", reason: "are none") }
        guard environments.allSatisfy({ $0.observationSize == observationSize }) else {
            throw .configuration(field: "observationSize", reason: "of an environment is not the policy's")
        }
        guard environments.allSatisfy({ $0.actionSize == actionSize }) else {
            throw .configuration(field: "actionSize", reason: "of an environment is not the policy's")
        }
    }

    /// Resets the environments for the first rollout. Throws `environmentNotFinite`.
    mutating func start() throws(LearningError) {
        for index in slots.indices { rollout.reset(&slots[index], row: rollout.size + index) }
        if let row = rollout.firstNotFinite(from: rollout.size) {
            throw .environmentNotFinite(environment: row, step: 0)
        }
    }

    /// One rollout and one update.
    mutating func iterate() throws(LearningError) -> PPOMetrics {
        var metrics = PPOMetrics()
        try collect(&metrics)
        estimate(&metrics)
        try update(&metrics)
        iteration += 1
        metrics.iteration = iteration
        metrics.steps = steps
        return metrics
    }

    /// Acts for `stepsPerEnvironment` steps in every environment, and fills the rollout.
    mutating func collect(_ metrics: inout PPOMetrics) throws(LearningError) {
        rollout.begin()
        learner.begin()
        for t in 0..<configuration.stepsPerEnvironment {
            learner.decide(t, &rollout)
            rollout.advance(
                t, &slots, logStd: learner.parameters[learner.logStd], rewardScale: configuration.rewardScale,
                random: &random)
            learner.follow(t, &rollout)
        }
        try rollout.checkFinite(from: steps)
        steps += rollout.size
        rollout.report(&metrics)
    }

    mutating func estimate(_ metrics: inout PPOMetrics) {
        learner.evaluate(&rollout)
        rollout.estimate(gamma: configuration.gamma, gaeLambda: configuration.gaeLambda)
        metrics.explainedVariance = explainedVariance(rollout.values, targets: rollout.returns)
    }

    private mutating func update(_ metrics: inout PPOMetrics) throws(LearningError) {
        let progress = Double(iteration) / Double(configuration.totalIterations)
        metrics.learningRate = configuration.learningRate.value(at: progress)
        // From the same order each time: the last iteration's would be one more thing to keep in a checkpoint.
        for i in order.indices { order[i] = i }
        epochs: for _ in 0..<configuration.epochs {
            for i in stride(from: order.count - 1, to: 0, by: -1) { order.swapAt(i, random.index(below: i + 1)) }
            for start in stride(from: 0, to: order.count, by: learner.unitsPerMinibatch) {
                let units = order[start..<min(start + learner.unitsPerMinibatch, order.count)]
                learner.gather(units, rollout)
                let divergence = learner.actorGradients(rollout, configuration, &gradients, &metrics)
                metrics.approximateKL += divergence
                metrics.minibatches += 1
                if let target = configuration.targetKL, divergence > 1.5 * target {
                    metrics.stoppedEarly = true
                    break epochs
                }
                learner.criticGradients(rollout, configuration, &gradients, &metrics)
                let norm = clipGlobalNorm(&gradients, limit: configuration.maximumGradientNorm)
                guard norm.isFinite else { throw .diverged(iteration: iteration) }
                metrics.gradientNorm += norm
                for (k, i) in learner.logStd.enumerated() { logStdBefore[k] = learner.parameters[i] }
                optimiser.step(&learner.parameters, gradients: gradients, learningRate: metrics.learningRate)
                let bounds = MLPPolicy.logStdBounds
                for (i, old) in zip(learner.logStd, logStdBefore) {
                    let value = learner.parameters[i]
                    let moved = value + (configuration.logStdRate - 1) * (value - old)
                    learner.parameters[i] = min(max(moved, bounds.lowerBound), bounds.upperBound)
                }
            }
        }
        average(&metrics)
    }

    /// From sums over the minibatches to means.
    private func average(_ metrics: inout PPOMetrics) {
        let count = Float(max(metrics.minibatches, 1))
        metrics.policyLoss /= count
        metrics.approximateKL /= count
        metrics.clipFraction /= count
        // A minibatch that stops the update has no step, so no value loss and no norm.
        let updates = Float(max(metrics.minibatches - (metrics.stoppedEarly ? 1 : 0), 1))
        metrics.valueLoss /= updates
        metrics.gradientNorm /= updates
        metrics.standardDeviation =
            learner.logStd.reduce(0) { $0 + exp(learner.parameters[$1]) } / Float(learner.logStd.count)
    }
}
