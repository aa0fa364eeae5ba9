internal import Kernels
internal import Learning
internal import Policies
internal import Trading

/// Proximal policy optimisation of either kind of policy.
enum AnyTrainer {
    case mlp(PPOTrainer<TradingEnvironment>, totalIterations: Int)
    case recurrent(RecurrentPPOTrainer<TradingEnvironment>, totalIterations: Int)

    /// Begins, with a new policy drawn from `seed`.
    init(
        _ environment: TradingEnvironment, _ settings: TrainingSettings, featureCount: Int, seed: UInt64,
        metadata: [String: String]
    ) throws(LearningError) {
        var random = RandomGenerator(seed: seed)
        let environments = Array(repeating: environment, count: settings.environments)
        let (size, deviation) = (environment.layout.count, settings.initialStandardDeviation)
        switch settings.memory {
        case nil:
            let policy = MLPPolicy(
                .init(
                    observationSize: size, hidden: settings.hidden, window: settings.window, featureCount: featureCount
                ), initialStandardDeviation: deviation, metadata: metadata, random: &random)
            self = .mlp(
                try PPOTrainer(
                    policy, environments: environments, configuration: settings.algorithm, seed: random.next()),
                totalIterations: settings.algorithm.totalIterations)
        case .some(let memory):
            let policy = RecurrentPolicy(
                .init(
                    observationSize: size, encoded: memory.encoded, hidden: memory.hidden, window: settings.window,
                    featureCount: featureCount), initialStandardDeviation: deviation, metadata: metadata,
                random: &random)
            self = .recurrent(
                try RecurrentPPOTrainer(
                    policy, environments: environments, configuration: settings.algorithm, seed: random.next()),
                totalIterations: settings.algorithm.totalIterations)
        }
    }

    /// Goes on from what `checkpoint()` returned, with the same data.
    init(
        resuming bytes: [UInt8], _ environment: TradingEnvironment, _ settings: TrainingSettings
    ) throws(LearningError) {
        let environments = Array(repeating: environment, count: settings.environments)
        let total = settings.algorithm.totalIterations
        if settings.memory == nil {
            self = .mlp(
                try PPOTrainer(resuming: bytes, environments: environments, configuration: settings.algorithm),
                totalIterations: total)
        } else {
            self = .recurrent(
                try RecurrentPPOTrainer(resuming: bytes, environments: environments, configuration: settings.algorithm),
                totalIterations: total)
        }
    }

    var policy: Policy {
        switch self {
        case .mlp(let trainer, _): .mlp(trainer.policy)
        case .recurrent(let trainer, _): .recurrent(trainer.policy)
        }
    }

    /// Iterations and environment steps done.
    var iteration: Int {
        switch self {
        case .mlp(let trainer, _): trainer.iteration
        case .recurrent(let trainer, _): trainer.iteration
        }
    }

    var steps: Int {
        switch self {
        case .mlp(let trainer, _): trainer.steps
        case .recurrent(let trainer, _): trainer.steps
        }
    }

    private var totalIterations: Int {
        switch self {
        case .mlp(_, let total), .recurrent(_, let total): total
        }
    }

    var isFinished: Bool { iteration >= totalIterations }
    /// Of the iterations, 0 … 1.
    var progress: Double { Double(iteration) / Double(totalIterations) }

    /// One rollout and one update.
    mutating func iterate() throws(LearningError) -> PPOMetrics {
        // Taken out while it works, so that its buffers are not copied.
        switch consume self {
        case .mlp(var trainer, let total):
            defer { self = .mlp(trainer, totalIterations: total) }
            return try trainer.iterate()
        case .recurrent(var trainer, let total):
            defer { self = .recurrent(trainer, totalIterations: total) }
            return try trainer.iterate()
        }
    }

    func checkpoint() -> [UInt8] {
        switch self {
        case .mlp(let trainer, _): trainer.checkpoint()
        case .recurrent(let trainer, _): trainer.checkpoint()
        }
    }
}
