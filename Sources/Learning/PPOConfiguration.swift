public import NeuralNetworks

/// The hyper-parameters of PPO. Defaults are Schulman et al. 2017 (table 3) or Andrychowicz et al. 2021 ("What matters
/// in on-policy reinforcement learning?") where they differ for the better; the sizes are the house's.
public struct PPOConfiguration: Sendable, Equatable {
    /// Steps of each environment in a rollout, ≥ 1. With 16 environments the default makes rollouts of 2048.
    public var stepsPerEnvironment = 128
    /// Iterations (a rollout and its update) of the whole training, ≥ 1: the learning rate's schedule ends there.
    public var totalIterations = 500
    /// Steps in a minibatch, ≥ 2. The last one of an epoch has what is left.
    public var minibatchSize = 256
    /// Passes over a rollout, ≥ 1.
    public var epochs = 4
    /// By progress of iterations.
    public var learningRate = Schedule.linear(from: 3e-4, to: 0)
    /// Discount a step, in (0, 1].
    public var gamma: Float = 0.99
    /// λ of generalised advantage estimation, in [0, 1]: 0 trusts the critic, 1 the returns.
    public var gaeLambda: Float = 0.95
    /// ε of the clipped surrogate, > 0.
    public var clipRange: Float = 0.2
    /// Also clips the value's change to ± this, in units of scaled reward; `nil` does not, which is usually better.
    public var valueClipRange: Float?
    /// Weight of the value's loss ½(V − return)², ≥ 0.
    public var valueCoefficient: Float = 0.5
    /// Weight of the squashed Gaussian's entropy, ≥ 0. 0 also saves its computation.
    public var entropyCoefficient: Float = 0
    /// Factor on the learning rate of the log standard deviations, > 0. Adam moves each parameter by about the learning
    /// rate a minibatch; a mean, which all weights move together, goes much farther, so that with 1 a policy that pays
    /// for its own noise learns to avoid it by saturating the tanh before it learns to make less of it.
    public var logStdRate: Float = 1
    /// Shifts and scales each minibatch's advantages to mean 0 and standard deviation 1.
    public var normalisesAdvantages = true
    /// An update stops before the first minibatch on which the estimated KL divergence from the rollout's policy
    /// exceeds 1.5 × this; `nil` never stops.
    public var targetKL: Float? = 0.02
    /// Limit of the Euclidean norm of all gradients together, > 0.
    public var maximumGradientNorm: Float = 0.5
    /// Rewards are multiplied by this before learning, > 0; metrics report them as they were. Returns of the order of 1
    /// learn best.
    public var rewardScale: Float = 1
    /// β₁, β₂, ε and weight decay of the optimiser. ε is 1e-5, as in the reference implementations of PPO.
    public var adam: Adam.Configuration = {
        var configuration = Adam.Configuration()
        configuration.epsilon = 1e-5
        return configuration
    }()

    public init() {}

    /// Throws `LearningError.configuration` for the first field out of its documented range.
    public func validate() throws(LearningError) {
        func require(_ holds: Bool, _ field: String, _ reason: String) throws(LearningError) {
            if !holds { throw .configuration(field: field, reason: reason) }
        }
        func positive(_ x: Float) -> Bool { x > 0 && x.isFinite }
        func notNegative(_ x: Float) -> Bool { x >= 0 && x.isFinite }
        try require(stepsPerEnvironment >= 1, "stepsPerEnvironment", "is below 1")
        try require(totalIterations >= 1, "totalIterations", "is below 1")
        try require(minibatchSize >= 2, "minibatchSize", "is below 2")
        try require(epochs >= 1, "epochs", "is below 1")
        let rates = [learningRate.value(at: 0), learningRate.value(at: 1)]
        try require(rates.allSatisfy(notNegative), "learningRate", "is negative or not finite")
        try require(gamma > 0 && gamma <= 1, "gamma", "is outside (0, 1]")
        try require(gaeLambda >= 0 && gaeLambda <= 1, "gaeLambda", "is outside [0, 1]")
        try require(positive(clipRange), "clipRange", "is not positive")
        try require(valueClipRange.map(positive) ?? true, "valueClipRange", "is not positive")
        try require(notNegative(valueCoefficient), "valueCoefficient", "is negative")
        try require(notNegative(entropyCoefficient), "entropyCoefficient", "is negative")
        try require(positive(logStdRate), "logStdRate", "is not positive")
        try require(targetKL.map(positive) ?? true, "targetKL", "is not positive")
        try require(positive(maximumGradientNorm), "maximumGradientNorm", "is not positive")
        try require(positive(rewardScale), "rewardScale", "is not positive")
        try require(adam.beta1 >= 0 && adam.beta1 < 1, "adam.beta1", "is outside [0, 1)")
        try require(adam.beta2 >= 0 && adam.beta2 < 1, "adam.beta2", "is outside [0, 1)")
        try require(positive(adam.epsilon), "adam.epsilon", "is not positive")
        try require(notNegative(adam.weightDecay), "adam.weightDecay", "is negative")
    }

    /// Every field by name, as text that differs when the field does: a checkpoint keeps it, and refuses another.
    var fields: [String: String] {
        [
            "stepsPerEnvironment": "\(stepsPerEnvironment)", "totalIterations": "\(totalIterations)",
            "minibatchSize": "\(minibatchSize)", "epochs": "\(epochs)", "learningRate": "\(learningRate)",
            "gamma": "\(gamma)", "gaeLambda": "\(gaeLambda)", "clipRange": "\(clipRange)",
            "valueClipRange": "\(valueClipRange ?? 0)", "valueCoefficient": "\(valueCoefficient)",
            "entropyCoefficient": "\(entropyCoefficient)", "logStdRate": "\(logStdRate)",
            "normalisesAdvantages": "\(normalisesAdvantages)",
            "targetKL": "\(targetKL ?? 0)", "maximumGradientNorm": "\(maximumGradientNorm)",
            "rewardScale": "\(rewardScale)", "adam.beta1": "\(adam.beta1)", "adam.beta2": "\(adam.beta2)",
            "adam.epsilon": "\(adam.epsilon)", "adam.weightDecay": "\(adam.weightDecay)",
        ]
    }
}

/// How one iteration went. Losses and the like are means over its minibatches.
public struct PPOMetrics: Sendable, Equatable {
    /// Iterations and environment steps done, this one included.
    public var iteration = 0
    public var steps = 0
    /// Episodes that ended in this rollout, and the means of their undiscounted returns (before `rewardScale`) and
    /// lengths; `nil` when none ended.
    public var episodes = 0
    public var meanEpisodeReturn: Float?
    public var meanEpisodeLength: Float?
    /// What those returns were made of, by the environment's names, means an episode.
    public var meanEpisodeTerms: [String: Float] = [:]
    /// Mean reward a step of this rollout, before `rewardScale`.
    public var meanReward: Float = 0
    /// Mean |action| taken, exploration included.
    public var meanAbsoluteAction: Float = 0
    /// Mean standard deviation before the tanh, after the update.
    public var standardDeviation: Float = 0
    /// −mean of ln π(a|s) over the rollout: an unbiased estimate of the squashed policy's entropy.
    public var entropy: Float = 0
    public var policyLoss: Float = 0
    public var valueLoss: Float = 0
    /// Mean of (ratio − 1) − ln ratio: an estimate of KL(old ‖ new) that is never negative.
    public var approximateKL: Float = 0
    /// Share of samples whose ratio left the clip range.
    public var clipFraction: Float = 0
    /// How well the critic, before the update, predicted the returns; `nil` for constant returns.
    public var explainedVariance: Float?
    /// Norm of the gradients before clipping.
    public var gradientNorm: Float = 0
    public var learningRate: Float = 0
    /// Minibatches used, and whether the KL divergence stopped the update early.
    public var minibatches = 0
    public var stoppedEarly = false
}
