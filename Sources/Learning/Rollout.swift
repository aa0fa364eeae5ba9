internal import Kernels
internal import NeuralNetworks

/// What a training saw and did in one rollout, [steps × environments] row-major, and what it makes of that.
struct Rollout: Sendable {
    let steps: Int
    let environments: Int
    let observationSize: Int
    let actionSize: Int
    /// What each step saw; behind the rollout's rows, a block of the environments' present observations.
    var observations: [Float]
    /// The actor's outputs for the step being taken [environments × actionSize].
    var means: [Float]
    /// The actions before and after the tanh [size × actionSize].
    private(set) var preSquash: [Float]
    private var actions: [Float]
    /// ln π of each action's Gaussian before the tanh: the tanh's part cancels in every ratio.
    private(set) var logProbabilities: [Float]
    private var rewards: [Float]
    private(set) var terminated: [Bool]
    private(set) var truncated: [Bool]
    /// The final observations of truncated episodes, and the rows of the steps that they follow.
    private(set) var finalObservations: [Float] = []
    private(set) var finalRows: [Int] = []
    /// V of each row of `observations`, and of what each step led to.
    var values: [Float]
    var nextValues: [Float]
    private(set) var advantages: [Float]
    private(set) var returns: [Float]
    private var sums = Sums()

    private struct Sums {
        var (reward, action, entropy, episodeReturn) = (0.0, 0.0, 0.0, 0.0)
        var (episodes, episodeLength) = (0, 0)
        /// Of the episodes that ended, by the environment's names.
        var terms: [String: Double] = [:]
    }

    init(steps: Int, environments: Int, observationSize: Int, actionSize: Int) {
        (self.steps, self.environments) = (steps, environments)
        (self.observationSize, self.actionSize) = (observationSize, actionSize)
        let count = steps * environments
        observations = [Float](repeating: 0, count: (count + environments) * observationSize)
        means = [Float](repeating: 0, count: environments * actionSize)
        preSquash = [Float](repeating: 0, count: count * actionSize)
        actions = preSquash
        logProbabilities = [Float](repeating: 0, count: count)
        rewards = logProbabilities
        terminated = [Bool](repeating: false, count: count)
        truncated = terminated
        values = [Float](repeating: 0, count: count + environments)
        nextValues = logProbabilities
        advantages = logProbabilities
        returns = logProbabilities
    }

    /// Steps of all environments.
    var size: Int { steps * environments }

    /// Starts with the environments' present observations, and no sums.
    mutating func begin() {
        let start = size * observationSize
        for i in 0..<environments * observationSize { observations[i] = observations[start + i] }
        finalObservations.removeAll(keepingCapacity: true)
        finalRows.removeAll(keepingCapacity: true)
        sums = Sums()
    }

    /// Resets an environment, whose first observation becomes that of `row`.
    mutating func reset<E: Environment>(_ slot: inout EnvironmentSlot<E>, row: Int) {
        let range = row * observationSize..<(row + 1) * observationSize
        unsafe observations.withUnsafeMutableBufferPointer { all in
            var span = unsafe MutableSpan(_unsafeElements: all.extracting(range))
            slot.reset(into: &span)
        }
    }

    /// Step `t` of all environments, with actions drawn around `means` with the given log standard deviations. An
    /// episode that ends is followed by the next one's first observation.
    mutating func advance<E: Environment>(
        _ t: Int, _ slots: inout [EnvironmentSlot<E>], logStd: ArraySlice<Float>, rewardScale: Float,
        random: inout RandomGenerator
    ) {
        for index in 0..<environments {
            let row = t * environments + index
            sums.entropy -= act(index, row, logStd, &random)
            let result = step(&slots[index], row)
            for k in row * actionSize..<(row + 1) * actionSize { sums.action += Double(abs(actions[k])) }
            sums.reward += Double(result.reward)
            rewards[row] = result.reward * rewardScale
            terminated[row] = result.terminated
            truncated[row] = result.truncated && !result.terminated
            guard result.terminated || result.truncated else { continue }
            sums.episodes += 1
            sums.episodeReturn += slots[index].episodeReturn
            sums.episodeLength += slots[index].episodeLength
            for term in slots[index].environment.episodeTerms { sums.terms[term.name, default: 0] += term.sum }
            if truncated[row] {
                let start = (row + environments) * observationSize
                finalObservations.append(contentsOf: observations[start..<start + observationSize])
                finalRows.append(row)
            }
            reset(&slots[index], row: row + environments)
        }
    }

    /// Draws the action of `row` around the means of environment `index`; returns ln π of the squashed action.
    private mutating func act(
        _ index: Int, _ row: Int, _ logStd: ArraySlice<Float>, _ random: inout RandomGenerator
    ) -> Double {
        var (base, squashed) = (Float(0), 0.0)
        for k in 0..<actionSize {
            let (mean, logStd) = (means[index * actionSize + k], logStd[logStd.startIndex + k])
            let u = mean + exp(logStd) * Float(random.normal())
            preSquash[row * actionSize + k] = u
            actions[row * actionSize + k] = hyperbolicTangent(u)
            base += SquashedGaussian.baseLogProbability(u, mean: mean, logStd: logStd)
            squashed += Double(SquashedGaussian.logProbability(u, mean: mean, logStd: logStd))
        }
        logProbabilities[row] = base
        return squashed
    }

    /// Takes the action of `row`; what follows is seen in the next step's row.
    private mutating func step<E: Environment>(_ slot: inout EnvironmentSlot<E>, _ row: Int) -> StepResult {
        let action = row * actionSize..<(row + 1) * actionSize
        let next = (row + environments) * observationSize..<(row + environments + 1) * observationSize
        return unsafe actions.withUnsafeBufferPointer { actions in
            unsafe observations.withUnsafeMutableBufferPointer { observations in
                var observation = unsafe MutableSpan(_unsafeElements: observations.extracting(next))
                return unsafe slot.step(Span(_unsafeElements: actions.extracting(action)), into: &observation)
            }
        }
    }

    /// Writes what was seen in this rollout: rewards, actions, entropy, episodes.
    func report(_ metrics: inout PPOMetrics) {
        metrics.meanReward = Float(sums.reward / Double(size))
        metrics.meanAbsoluteAction = Float(sums.action / Double(size * actionSize))
        metrics.entropy = Float(sums.entropy / Double(size))
        metrics.episodes = sums.episodes
        if sums.episodes > 0 {
            metrics.meanEpisodeReturn = Float(sums.episodeReturn / Double(sums.episodes))
            metrics.meanEpisodeLength = Float(sums.episodeLength) / Float(sums.episodes)
            metrics.meanEpisodeTerms = sums.terms.mapValues { Float($0 / Double(sums.episodes)) }
        }
    }

    /// Advantages and returns, from the rewards and the values.
    mutating func estimate(gamma: Float, gaeLambda: Float) {
        generalisedAdvantages(
            rewards: rewards, values: values, nextValues: nextValues, terminated: terminated, truncated: truncated,
            environments: environments, gamma: gamma, gaeLambda: gaeLambda, into: &advantages)
        for row in 0..<size { returns[row] = advantages[row] + values[row] }
    }

    /// Throws `environmentNotFinite` for the first bad number. `step` is the training's first of this rollout.
    func checkFinite(from step: Int) throws(LearningError) {
        if let row = rewards.firstIndex(where: { !$0.isFinite }) {
            throw .environmentNotFinite(environment: row % environments, step: step + row)
        }
        if let row = firstNotFinite(from: 0) {
            throw .environmentNotFinite(environment: row % environments, step: step + max(row - environments, 0))
        }
        if finalObservations.contains(where: { !$0.isFinite }) {
            throw .environmentNotFinite(environment: finalRows[0] % environments, step: step + size)
        }
    }

    /// The first row of observations from `row` on, counted from there, with a number that is not finite.
    func firstNotFinite(from row: Int) -> Int? {
        let start = row * observationSize
        return unsafe observations.withUnsafeBufferPointer { all in
            for i in start..<all.count where unsafe !all[i].isFinite { return (i - start) / observationSize }
            return nil
        }
    }
}
