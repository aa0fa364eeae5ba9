internal import Kernels
internal import NeuralNetworks
public import Policies

/// Proximal policy optimisation with the clipped surrogate (Schulman et al. 2017), on several environments.
///
/// How to read it: `iterate` is one iteration; it calls `collect` (act in all environments, N at a time through one
/// matrix product), `estimate` (values, advantages, returns) and `update` (epochs of shuffled minibatches), which
/// calls `actorGradients` and `criticGradients`, the two losses. Rows are [step × environment], row-major throughout.
///
/// One seed gives the same bits on one machine and BLAS kernel with one BLAS thread. Between iterations
/// `checkpoint()` holds everything: a training resumed from it goes on bit for bit as if undisturbed.
public struct PPOTrainer<E: Environment>: Sendable {
    public let configuration: PPOConfiguration
    /// As trained so far.
    public internal(set) var policy: MLPPolicy
    /// Iterations and environment steps done.
    public internal(set) var iteration = 0
    public internal(set) var steps = 0
    var optimiser: Adam
    var random: RandomGenerator
    var slots: [EnvironmentSlot<E>]

    private let observationSize: Int
    private let actionSize: Int
    /// Steps in a rollout: stepsPerEnvironment × environments.
    private let rolloutSize: Int
    /// What each step saw; behind the rollout's rows, a block of the environments' present observations.
    var observations: [Float]
    /// The actions before and after the tanh [rolloutSize × actionSize].
    private var preSquash: [Float]
    private var actions: [Float]
    /// ln π of each action's Gaussian before the tanh: the tanh's part cancels in every ratio.
    private var logProbabilities: [Float]
    private var rewards: [Float]
    private var terminated: [Bool]
    private var truncated: [Bool]
    /// The final observations of truncated episodes, and the steps that they follow.
    private var finalObservations: [Float] = []
    private var finalSteps: [Int] = []
    /// V of each row of `observations`, and of what each step led to.
    private var values: [Float]
    private var nextValues: [Float]
    private var advantages: [Float]
    private var returns: [Float]

    private var order: [Int]
    private var batch: [Float]
    private var gradients: [Float]
    private var actorWorkspace: MLPWorkspace
    private var criticWorkspace: MLPWorkspace

    /// Prepares a training of `policy` and resets the environments, each with a generator of its own drawn from
    /// `seed`. Throws `configuration` for a bad field, no environment, or sizes that do not fit the policy, and
    /// `environmentNotFinite`.
    public init(
        _ policy: MLPPolicy, environments: [E], configuration: PPOConfiguration = .init(), seed: UInt64
    ) throws(LearningError) {
        var random = RandomGenerator(seed: seed)
        let slots = environments.map { EnvironmentSlot($0, random: RandomGenerator(seed: random.next())) }
        try self.init(policy, slots: slots, configuration: configuration, random: random)
        for index in slots.indices {
            withObservation(rolloutSize + index) { slots, row in slots[index].reset(into: &row) }
        }
        if let row = firstNotFinite(from: rolloutSize) { throw .environmentNotFinite(environment: row, step: 0) }
    }

    /// Checks and allocates. The present observations are left at 0.
    init(
        _ policy: MLPPolicy, slots: [EnvironmentSlot<E>], configuration: PPOConfiguration, random: RandomGenerator
    ) throws(LearningError) {
        try configuration.validate()
        guard !slots.isEmpty else { throw .configuration(field: "environments", reason: "are none") }
        let environments = slots.map(\.environment)
        guard environments.allSatisfy({ $0.observationSize == policy.observationSize }) else {
            throw .configuration(field: "observationSize", reason: "of an environment is not the policy's")
        }
        guard environments.allSatisfy({ $0.actionSize == policy.actionSize }) else {
            throw .configuration(field: "actionSize", reason: "of an environment is not the policy's")
        }
        let count = configuration.stepsPerEnvironment * slots.count
        let capacity = max(slots.count, min(configuration.minibatchSize, count))
        self.configuration = configuration
        self.policy = policy
        self.slots = slots
        self.random = random
        optimiser = Adam(parameterCount: policy.parameterCount, configuration: configuration.adam)
        observationSize = policy.observationSize
        actionSize = policy.actionSize
        rolloutSize = count
        observations = [Float](repeating: 0, count: (count + slots.count) * policy.observationSize)
        preSquash = [Float](repeating: 0, count: count * policy.actionSize)
        actions = preSquash
        logProbabilities = [Float](repeating: 0, count: count)
        rewards = logProbabilities
        terminated = [Bool](repeating: false, count: count)
        truncated = terminated
        values = [Float](repeating: 0, count: count + slots.count)
        nextValues = logProbabilities
        advantages = logProbabilities
        returns = logProbabilities
        order = Array(0..<count)
        batch = [Float](repeating: 0, count: capacity * policy.observationSize)
        gradients = [Float](repeating: 0, count: policy.parameterCount)
        actorWorkspace = MLPWorkspace(policy.actor, capacity: capacity)
        criticWorkspace = MLPWorkspace(policy.critic, capacity: capacity)
    }

    /// Whether all iterations of the configuration are done. More may follow, at the schedule's last learning rate.
    public var isFinished: Bool { iteration >= configuration.totalIterations }

    /// One rollout and one update. Throws `environmentNotFinite` or `diverged`: then go back to a checkpoint, or end.
    public mutating func iterate() throws(LearningError) -> PPOMetrics {
        var metrics = PPOMetrics()
        try collect(&metrics)
        estimate(&metrics)
        try update(&metrics)
        iteration += 1
        metrics.iteration = iteration
        metrics.steps = steps
        return metrics
    }

    // MARK: Rollout

    /// Acts for `stepsPerEnvironment` steps in every environment, and fills the rollout.
    private mutating func collect(_ metrics: inout PPOMetrics) throws(LearningError) {
        let environments = slots.count
        copyPresentObservationsToFront()
        finalObservations.removeAll(keepingCapacity: true)
        finalSteps.removeAll(keepingCapacity: true)
        var (rewardSum, actionSum, entropySum) = (0.0, 0.0, 0.0)
        var (returnSum, lengthSum) = (0.0, 0)
        for t in 0..<configuration.stepsPerEnvironment {
            let rows = t * environments..<(t + 1) * environments
            policy.actor.forward(
                observations, firstRow: rows.lowerBound, rows: environments, parameters: policy.parameters,
                workspace: &actorWorkspace)
            for (index, row) in rows.enumerated() {
                entropySum -= act(index: index, row: row)
                let result = step(index: index, row: row)
                let place = row * actionSize..<(row + 1) * actionSize
                for k in place { actionSum += Double(abs(actions[k])) }
                rewardSum += Double(result.reward)
                rewards[row] = result.reward * configuration.rewardScale
                terminated[row] = result.terminated
                truncated[row] = result.truncated && !result.terminated
                guard result.terminated || result.truncated else { continue }
                metrics.episodes += 1
                returnSum += slots[index].episodeReturn
                lengthSum += slots[index].episodeLength
                if truncated[row] {
                    let start = (row + environments) * observationSize
                    finalObservations.append(contentsOf: observations[start..<start + observationSize])
                    finalSteps.append(row)
                }
                withObservation(row + environments) { slots, row in slots[index].reset(into: &row) }
            }
        }
        steps += rolloutSize
        try checkFinite()
        metrics.meanReward = Float(rewardSum / Double(rolloutSize))
        metrics.meanAbsoluteAction = Float(actionSum / Double(rolloutSize * actionSize))
        metrics.entropy = Float(entropySum / Double(rolloutSize))
        if metrics.episodes > 0 {
            metrics.meanEpisodeReturn = Float(returnSum / Double(metrics.episodes))
            metrics.meanEpisodeLength = Float(lengthSum) / Float(metrics.episodes)
        }
    }

    /// Draws the action of `row` from the actor's output `index`; returns ln π of the squashed action.
    private mutating func act(index: Int, row: Int) -> Double {
        var (base, squashed) = (Float(0), 0.0)
        for k in 0..<actionSize {
            let mean = actorWorkspace.output(index, k)
            let logStd = policy.parameters[policy.logStd.lowerBound + k]
            let u = mean + exp(logStd) * Float(random.normal())
            preSquash[row * actionSize + k] = u
            actions[row * actionSize + k] = hyperbolicTangent(u)
            base += SquashedGaussian.baseLogProbability(u, mean: mean, logStd: logStd)
            squashed += Double(SquashedGaussian.logProbability(u, mean: mean, logStd: logStd))
        }
        logProbabilities[row] = base
        return squashed
    }

    /// Takes the action of `row` in environment `index`; what follows is seen in the next step's row.
    private mutating func step(index: Int, row: Int) -> StepResult {
        let action = row * actionSize..<(row + 1) * actionSize
        let next = (row + slots.count) * observationSize..<(row + slots.count + 1) * observationSize
        return unsafe actions.withUnsafeBufferPointer { actions in
            unsafe observations.withUnsafeMutableBufferPointer { observations in
                var observation = unsafe MutableSpan(_unsafeElements: observations.extracting(next))
                return unsafe slots[index].step(
                    Span(_unsafeElements: actions.extracting(action)), into: &observation)
            }
        }
    }

    // MARK: Values, advantages, returns

    private mutating func estimate(_ metrics: inout PPOMetrics) {
        let environments = slots.count
        let rows = rolloutSize + environments
        for start in stride(from: 0, to: rows, by: criticWorkspace.capacity) {
            let count = min(criticWorkspace.capacity, rows - start)
            policy.critic.forward(
                observations, firstRow: start, rows: count, parameters: policy.parameters,
                workspace: &criticWorkspace)
            for i in 0..<count { values[start + i] = criticWorkspace.output(i) }
        }
        for row in 0..<rolloutSize { nextValues[row] = values[row + environments] }
        // Where an episode was truncated, the row behind already shows the next episode: its final one counts.
        for (index, row) in finalSteps.enumerated() {
            policy.critic.forward(
                finalObservations, firstRow: index, rows: 1, parameters: policy.parameters,
                workspace: &criticWorkspace)
            nextValues[row] = criticWorkspace.output(0)
        }
        generalisedAdvantages(
            rewards: rewards, values: values, nextValues: nextValues, terminated: terminated, truncated: truncated,
            environments: environments, gamma: configuration.gamma, gaeLambda: configuration.gaeLambda,
            into: &advantages)
        for row in 0..<rolloutSize { returns[row] = advantages[row] + values[row] }
        metrics.explainedVariance = explainedVariance(values, targets: returns)
    }

    // MARK: Update

    private mutating func update(_ metrics: inout PPOMetrics) throws(LearningError) {
        let progress = Double(iteration) / Double(configuration.totalIterations)
        metrics.learningRate = configuration.learningRate.value(at: progress)
        // From the same order each time: the last iteration's would be one more thing to keep in a checkpoint.
        for i in 0..<rolloutSize { order[i] = i }
        epochs: for _ in 0..<configuration.epochs {
            for i in stride(from: rolloutSize - 1, to: 0, by: -1) { order.swapAt(i, random.index(below: i + 1)) }
            for start in stride(from: 0, to: rolloutSize, by: configuration.minibatchSize) {
                let rows = start..<min(start + configuration.minibatchSize, rolloutSize)
                gather(rows)
                let divergence = actorGradients(rows, &metrics)
                metrics.approximateKL += divergence
                metrics.minibatches += 1
                if let target = configuration.targetKL, divergence > 1.5 * target {
                    metrics.stoppedEarly = true
                    break epochs
                }
                criticGradients(rows, &metrics)
                let norm = clipGlobalNorm(&gradients, limit: configuration.maximumGradientNorm)
                guard norm.isFinite else { throw .diverged(iteration: iteration) }
                metrics.gradientNorm += norm
                let before = policy.logStd.map { policy.parameters[$0] }
                optimiser.step(&policy.parameters, gradients: gradients, learningRate: metrics.learningRate)
                let bounds = MLPPolicy.logStdBounds
                for (i, old) in zip(policy.logStd, before) {
                    let value = policy.parameters[i]
                    let moved = value + (configuration.logStdRate - 1) * (value - old)
                    policy.parameters[i] = min(max(moved, bounds.lowerBound), bounds.upperBound)
                }
            }
        }
        let count = Float(max(metrics.minibatches, 1))
        metrics.policyLoss /= count
        metrics.approximateKL /= count
        metrics.clipFraction /= count
        // A minibatch that stops the update has no step, so no value loss and no norm.
        let updates = Float(max(metrics.minibatches - (metrics.stoppedEarly ? 1 : 0), 1))
        metrics.valueLoss /= updates
        metrics.gradientNorm /= updates
        metrics.standardDeviation =
            policy.logStd.reduce(0) { $0 + exp(policy.parameters[$1]) } / Float(policy.logStd.count)
    }

    /// The actor's loss on the rows `order[rows]`, gathered in `batch`, with its gradients; returns the estimated KL
    /// divergence. With ρ = π(a|s)/π_old(a|s) and the normalised advantage A:
    ///
    ///     loss = −mean min(ρA, clip(ρ, 1 ± ε)·A) − entropyCoefficient·mean entropy
    private mutating func actorGradients(_ rows: Range<Int>, _ metrics: inout PPOMetrics) -> Float {
        let count = rows.count
        let weight = 1 / Float(count)
        let (shift, scale) = advantageNormalisation(rows)
        policy.actor.forward(batch, rows: count, parameters: policy.parameters, workspace: &actorWorkspace)
        for i in policy.logStd { gradients[i] = 0 }
        var (loss, divergence, clipped) = (Float(0), Float(0), 0)
        for i in 0..<count {
            let row = order[rows.lowerBound + i]
            let advantage = (advantages[row] - shift) * scale
            var logProbability: Float = 0
            for k in 0..<actionSize {
                logProbability += SquashedGaussian.baseLogProbability(
                    preSquash[row * actionSize + k], mean: actorWorkspace.output(i, k),
                    logStd: policy.parameters[policy.logStd.lowerBound + k])
            }
            let logRatio = logProbability - logProbabilities[row]
            let ratio = exp(logRatio)
            let surrogate = ratio * advantage
            let limited = min(max(ratio, 1 - configuration.clipRange), 1 + configuration.clipRange) * advantage
            loss -= min(surrogate, limited) * weight
            divergence += (ratio - 1 - logRatio) * weight
            if abs(ratio - 1) > configuration.clipRange { clipped += 1 }
            // Where the minimum is the clipped term, it is constant in the parameters.
            let byLogProbability = surrogate <= limited ? -surrogate * weight : 0
            for k in 0..<actionSize {
                let mean = actorWorkspace.output(i, k)
                let place = policy.logStd.lowerBound + k
                let logStd = policy.parameters[place]
                let slope = SquashedGaussian.logProbabilityGradient(
                    preSquash[row * actionSize + k], mean: mean, logStd: logStd)
                var (byMean, byLogStd) = (byLogProbability * slope.mean, byLogProbability * slope.logStd)
                if configuration.entropyCoefficient > 0 {
                    let entropy = SquashedGaussian.entropy(mean: mean, logStd: logStd)
                    byMean -= configuration.entropyCoefficient * weight * entropy.mean
                    byLogStd -= configuration.entropyCoefficient * weight * entropy.logStd
                    loss -= configuration.entropyCoefficient * weight * entropy.value
                }
                actorWorkspace.setOutputGradient(byMean, i, k)
                gradients[place] += byLogStd
            }
        }
        metrics.policyLoss += loss
        metrics.clipFraction += Float(clipped) * weight
        policy.actor.backward(
            batch, rows: count, parameters: policy.parameters, workspace: &actorWorkspace,
            gradients: &gradients)
        return divergence
    }

    /// The critic's loss, valueCoefficient·mean ½(V − return)², with its gradients. With value clipping it is the
    /// larger of that and the same of V_old + clip(V − V_old).
    private mutating func criticGradients(_ rows: Range<Int>, _ metrics: inout PPOMetrics) {
        let count = rows.count
        let weight = 1 / Float(count)
        policy.critic.forward(batch, rows: count, parameters: policy.parameters, workspace: &criticWorkspace)
        for i in 0..<count {
            let row = order[rows.lowerBound + i]
            let value = criticWorkspace.output(i)
            var loss = RegressionLoss.squared(value, target: returns[row])
            if let range = configuration.valueClipRange {
                let change = value - values[row]
                let limited = RegressionLoss.squared(
                    values[row] + min(max(change, -range), range), target: returns[row])
                if limited.value > loss.value { loss = (limited.value, abs(change) < range ? limited.gradient : 0) }
            }
            metrics.valueLoss += loss.value * weight
            criticWorkspace.setOutputGradient(configuration.valueCoefficient * weight * loss.gradient, i)
        }
        policy.critic.backward(
            batch, rows: count, parameters: policy.parameters, workspace: &criticWorkspace,
            gradients: &gradients)
    }

    /// What to subtract from the rows' advantages, and then multiply by.
    private func advantageNormalisation(_ rows: Range<Int>) -> (shift: Float, scale: Float) {
        guard configuration.normalisesAdvantages, rows.count > 1 else { return (0, 1) }
        var (mean, squares) = (0.0, 0.0)
        for i in rows { mean += Double(advantages[order[i]]) }
        mean /= Double(rows.count)
        for i in rows {
            let deviation = Double(advantages[order[i]]) - mean
            squares += deviation * deviation
        }
        return (Float(mean), Float(1 / ((squares / Double(rows.count - 1)).squareRoot() + 1e-8)))
    }

    // MARK: Rows

    /// Lends row `row` of the observations to `body`, beside the environments.
    private mutating func withObservation(
        _ row: Int, _ body: (inout [EnvironmentSlot<E>], inout MutableSpan<Float>) -> Void
    ) {
        let range = row * observationSize..<(row + 1) * observationSize
        unsafe observations.withUnsafeMutableBufferPointer { all in
            var span = unsafe MutableSpan(_unsafeElements: all.extracting(range))
            body(&slots, &span)
        }
    }

    /// Copies the observations of the rows `order[rows]` side by side into `batch`.
    private mutating func gather(_ rows: Range<Int>) {
        let size = observationSize
        unsafe batch.withUnsafeMutableBufferPointer { target in
            unsafe observations.withUnsafeBufferPointer { source in
                guard let target = target.baseAddress, let source = source.baseAddress else { return }
                for (i, place) in rows.enumerated() {
                    unsafe (target + i * size).update(from: source + order[place] * size, count: size)
                }
            }
        }
    }

    private mutating func copyPresentObservationsToFront() {
        let count = slots.count * observationSize
        let start = rolloutSize * observationSize
        for i in 0..<count { observations[i] = observations[start + i] }
    }

    private func checkFinite() throws(LearningError) {
        let environments = slots.count
        if let row = rewards.firstIndex(where: { !$0.isFinite }) {
            throw .environmentNotFinite(
                environment: row % environments, step: steps - rolloutSize + row)
        }
        if let row = firstNotFinite(from: 0) {
            throw .environmentNotFinite(
                environment: row % environments, step: steps - rolloutSize + max(row - environments, 0))
        }
        if finalObservations.contains(where: { !$0.isFinite }) {
            throw .environmentNotFinite(environment: finalSteps[0] % environments, step: steps)
        }
    }

    /// The first row from `row` on, counted from there, with a number that is not finite.
    private func firstNotFinite(from row: Int) -> Int? {
        let start = row * observationSize
        return unsafe observations.withUnsafeBufferPointer { all in
            for i in start..<all.count where unsafe !all[i].isFinite { return (i - start) / observationSize }
            return nil
        }
    }
}
