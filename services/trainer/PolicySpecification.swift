internal import Learning
internal import MarketData
internal import NeuralNetworks
internal import Trading

/// What a policy is trained with, whatever it is trained on. See docs/jobs.md.
struct TrainingSettings: Equatable {
    /// Width of the layer before the memory, and units of it.
    struct Memory: Equatable {
        var encoded: Int
        var hidden: Int
    }

    /// Of the model that is registered. Default `policy`.
    var name: String
    var stream: String
    /// Must be the stream's, where given.
    var exchange: String?
    var symbol: String
    /// Left out behind each span; `nil`, the default: what features remember, and the bar that a reward looks ahead.
    var embargo: Interval?
    var seed: UInt64
    /// Trainings, of `seed` and the numbers after it.
    var seeds: Int
    /// Environment steps of one training; rounded up to whole iterations. Default 200,000.
    var totalSteps: Int
    /// Of a policy without memory: widths of the hidden layers. Default 64 and 64.
    var hidden: [Int]
    /// Of a policy with memory, whose kind has been asked for.
    var memory: Memory?
    /// Rows of features in an observation. Default 16, which is what feature-service sends.
    var window: Int
    /// Default 16.
    var environments: Int
    /// Default 512.
    var episodeLength: Int
    /// Iterations between two validations; 0, the default: 16 in the whole training.
    var validateEvery: Int
    /// Before the tanh, at the beginning. Default 0.6.
    var initialStandardDeviation: Float
    var algorithm: PPOConfiguration
    var reward: RewardEngine.Configuration
    /// Default: the stream's.
    var account: AccountSettings?

    /// `isRecurrent`: the job's kind says so, or leaves it to the field `policy`.
    init(_ reader: inout SpecificationReader, isRecurrent: Bool? = nil, defaultSeeds: Int) throws {
        name = try reader.text("name", default: "policy")
        stream = try reader.text("stream")
        exchange = try reader.optional("exchange", as: String.self)
        symbol = try reader.text("symbol")
        embargo = try reader.optional("embargo_minutes", as: Int64.self).map { minutes in
            guard (0...1_000_000).contains(minutes) else {
                throw reader.fault("embargo_minutes", "is \(minutes), outside 0 … 1000000")
            }
            return .minutes(minutes)
        }
        seed = try reader.field("seed", default: 1)
        seeds = try reader.number("seeds", default: defaultSeeds, in: 1...32)
        totalSteps = try reader.number("total_steps", default: 200_000, in: 1...1_000_000_000)
        let kinds = PolicyKind.allCases
        let kind = try isRecurrent.map { $0 ? .recurrent : .mlp } ?? reader.choice("policy", default: .mlp, of: kinds)
        if kind == .recurrent {
            memory = Memory(
                encoded: try reader.number("encoded", default: 64, in: 1...4096),
                hidden: try reader.number("memory", default: 64, in: 1...4096))
            hidden = [1]
        } else {
            hidden = try reader.field("hidden", default: [64, 64])
        }
        window = try reader.number("window", default: 16, in: 1...256)
        environments = try reader.number("environments", default: 16, in: 1...256)
        episodeLength = try reader.number("episode_length", default: 512, in: 1...1_000_000)
        validateEvery = try reader.number("validate_every", default: 0, in: 0...1_000_000)
        initialStandardDeviation = try reader.number("initial_standard_deviation", default: 0.6, in: 0.01...7)
        algorithm = try PPOConfiguration(&reader)
        reward = try reader.optional("reward", as: RewardSpecification.self)?.configuration ?? .init()
        account = try reader.account("account")
        guard (1...8).contains(hidden.count), hidden.allSatisfy({ (1...4096).contains($0) }) else {
            throw reader.fault("hidden", "is not one to eight widths of 1 … 4096")
        }
        guard seed <= .max - UInt64(seeds) else { throw reader.fault("seed", "leaves no numbers for “seeds” after it") }
        let rollout = environments * algorithm.stepsPerEnvironment
        algorithm.totalIterations = (totalSteps + rollout - 1) / rollout
    }

    /// Iterations between two validations.
    var validationInterval: Int { validateEvery > 0 ? validateEvery : max(1, algorithm.totalIterations / 16) }
}

/// What a network looks at: the window alone, or also what it remembers.
enum PolicyKind: String, CaseIterable { case mlp, recurrent }

/// What a job of kind `policy.recurrent-ppo` is to do: as `policy.ppo`, with a policy that remembers.
struct RecurrentPolicySpecification: Decodable {
    var policy: PolicySpecification

    init(from decoder: any Decoder) throws { policy = try PolicySpecification(decoder, isRecurrent: true) }
}

/// What a job of kind `policy.ppo` is to do: train a policy on stored features. See docs/jobs.md.
struct PolicySpecification: Decodable, Equatable {
    var settings: TrainingSettings
    /// Trained on: bars that close in `trainFrom ..< trainTo`.
    var trainFrom: Timestamp
    var trainTo: Timestamp
    /// Each training stops by it: bars that close from the embargo's end to here.
    var validateTo: Timestamp
    /// One of the trainings is selected by it: bars that close from the next embargo's end to here. `nil`: there is
    /// one training, and nothing to select.
    var selectTo: Timestamp?

    init(from decoder: any Decoder) throws { try self.init(decoder, isRecurrent: false) }

    init(_ decoder: any Decoder, isRecurrent: Bool) throws {
        var reader = try SpecificationReader(decoder)
        trainFrom = try reader.time("train_from")
        trainTo = try reader.time("train_to")
        validateTo = try reader.time("validate_to")
        selectTo = try reader.optionalTime("select_to")
        settings = try TrainingSettings(&reader, isRecurrent: isRecurrent, defaultSeeds: selectTo == nil ? 1 : 3)
        try reader.finish()
        let embargo = settings.embargo ?? .minutes(0)
        if trainFrom >= trainTo { throw reader.fault("train_to", "is not after “train_from”") }
        if trainTo + embargo >= validateTo {
            throw reader.fault("validate_to", "is not after “train_to” and the embargo")
        }
        if let selectTo, validateTo + embargo >= selectTo {
            throw reader.fault("select_to", "is not after “validate_to” and the embargo")
        }
        if selectTo == nil, settings.seeds > 1 {
            throw reader.fault("select_to", "is missing: a span of its own selects among \(settings.seeds) seeds")
        }
    }
}

extension PPOConfiguration {
    /// The algorithm's fields of a specification; the number of iterations is left to the caller.
    fileprivate init(_ reader: inout SpecificationReader) throws {
        self.init()
        stepsPerEnvironment = try reader.number("steps_per_environment", default: 128, in: 1...65_536)
        minibatchSize = try reader.number("minibatch_size", default: 256, in: 2...65_536)
        epochs = try reader.number("epochs", default: 4, in: 1...100)
        learningRate = .linear(from: try reader.number("learning_rate", default: 3e-4, in: 0...1), to: 0)
        gamma = try reader.number("gamma", default: 0.99, in: 0.001...1)
        gaeLambda = try reader.number("gae_lambda", default: 0.95, in: 0...1)
        clipRange = try reader.number("clip_range", default: 0.2, in: 0.001...10)
        entropyCoefficient = try reader.number("entropy_coefficient", default: 0, in: 0...10)
        logStdRate = try reader.number("log_std_rate", default: 1, in: 0.001...1000)
        targetKL = try reader.number("target_kl", default: 0.02, in: 1e-6...100)
        // A minute's return is of the order of 1e-3: with this factor discounted sums are of the order of 1.
        rewardScale = try reader.number("reward_scale", default: 100, in: 1e-6...1e6)
    }
}

/// The reward's fields: RewardEngine's, with its defaults.
private struct RewardSpecification: Decodable {
    var configuration = RewardEngine.Configuration()

    private static let kinds: [String: RewardEngine.Kind] = [
        "simple": .simple, "composite": .composite, "differential_sharpe": .differentialSharpe,
        "differential_sortino": .differentialSortino,
    ]

    init(from decoder: any Decoder) throws {
        var reader = try SpecificationReader(decoder)
        let kind = try reader.text("kind", default: "composite")
        guard let known = Self.kinds[kind] else {
            throw reader.fault("kind", "is “\(kind)”, none of \(Self.kinds.keys.sorted().joined(separator: ", "))")
        }
        let defaults = configuration
        configuration.kind = known
        configuration.profitScale = try reader.number("profit_scale", default: defaults.profitScale, in: 0...1e6)
        configuration.turnoverPenalty = try reader.number(
            "turnover_penalty", default: defaults.turnoverPenalty, in: 0...1e6)
        configuration.drawdownPenalty = try reader.number(
            "drawdown_penalty", default: defaults.drawdownPenalty, in: 0...1e6)
        configuration.leveragePenalty = try reader.number(
            "leverage_penalty", default: defaults.leveragePenalty, in: 0...1e6)
        configuration.volatilityPenalty = try reader.number(
            "volatility_penalty", default: defaults.volatilityPenalty, in: 0...1e6)
        configuration.targetVolatility = try reader.number(
            "target_volatility", default: defaults.targetVolatility, in: 0...1e6)
        configuration.volatilityWindow = try reader.number(
            "volatility_window", default: defaults.volatilityWindow, in: 2...10_000)
        configuration.adaptationRate = try reader.number(
            "adaptation_rate", default: defaults.adaptationRate, in: 1e-6...0.999_999)
        try reader.finish()
    }
}
