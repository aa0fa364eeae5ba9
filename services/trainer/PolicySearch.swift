internal import Evaluation
internal import Features
internal import Learning
internal import NeuralNetworks
internal import Policies
internal import Trading

/// Trainings of several seeds, one after the other, each stopped by the same span: the candidates for a selection.
///
/// A value, with everything that a killed job needs to go on, bit for bit.
struct PolicySearch {
    /// The best policy of one training.
    struct Candidate {
        var seed: UInt64
        var policy: Policy
        var validation: PolicyTraining.Validation
        /// Policies of this training that were tried.
        var trials: Int
        /// Environment steps and iterations that its training took.
        var steps: Int
        var iterations: Int
    }

    /// What one iteration gave.
    struct Step {
        var seed: UInt64
        var metrics: PPOMetrics
        var validation: PolicyTraining.Validation?
    }

    private(set) var finished: [Candidate] = []
    private(set) var training: PolicyTraining
    private let settings: TrainingSettings
    private let data: TrainingData

    init(_ settings: TrainingSettings, _ data: TrainingData) throws(LearningError) {
        self.settings = settings
        self.data = data
        training = try Self.training(settings, data, seed: settings.seed)
    }

    private static func training(
        _ settings: TrainingSettings, _ data: TrainingData, seed: UInt64
    ) throws(LearningError) -> PolicyTraining {
        try PolicyTraining(
            data.environment, settings, featureCount: data.normaliser.count, seed: seed,
            metadata: data.metadata(seed: seed))
    }

    var isFinished: Bool { finished.count == settings.seeds }
    var seed: UInt64 { settings.seed + UInt64(min(finished.count, settings.seeds - 1)) }
    /// 0 … 1.
    var progress: Double {
        isFinished ? 1 : (Double(finished.count) + training.progress) / Double(settings.seeds)
    }
    var message: String {
        let total = settings.algorithm.totalIterations
        let iteration = "iteration \(training.trainer.iteration) of \(total)"
        return settings.seeds == 1 ? iteration : "seed \(seed), \(iteration)"
    }
    /// Policies that have been tried.
    var trials: Int { finished.reduce(isFinished ? 0 : training.trials) { $0 + $1.trials } }

    /// One iteration; a training that ends with it hands over to the next seed's. Throws `Implausible` for a validation
    /// that cannot be true, and what the backtest throws.
    mutating func iterate() throws -> Step {
        let seed = seed
        let (metrics, validation) = try training.iterate { policy in
            let result = try data.backtest.run(policy, on: data.series, span: data.validation)
            try PlausibilityGuard.check(result)
            return result
        }
        if training.isFinished {
            guard let best = training.best else { throw JobError.badData("no version of the policy was validated") }
            finished.append(
                Candidate(
                    seed: seed, policy: best.policy, validation: best.validation, trials: training.trials,
                    steps: training.trainer.steps, iterations: training.trainer.iteration))
            if !isFinished { training = try Self.training(settings, data, seed: self.seed) }
        }
        return Step(seed: seed, metrics: metrics, validation: validation)
    }

    // MARK: Checkpoint

    private static let kind = "policy-search-1"

    func checkpoint() -> [UInt8] {
        func bytes(_ name: String, _ bytes: [UInt8]) -> Tensor { Tensor(name, shape: [bytes.count], .uint8(bytes)) }
        var tensors = [bytes("training", training.checkpoint())]
        for (index, candidate) in finished.enumerated() {
            let validation = candidate.validation
            tensors.append(bytes("policy.\(index)", candidate.policy.safetensors()))
            let counts = [validation.iteration, candidate.trials, candidate.steps, candidate.iterations]
            tensors.append(Tensor("counts.\(index)", shape: [4], .int64(counts.map(Int64.init))))
            tensors.append(
                Tensor(
                    "scores.\(index)", shape: [3],
                    .float64([validation.netReturn, validation.turnover, validation.sharpe ?? .nan])))
        }
        return Safetensors(metadata: ["kind": Self.kind, "finished": "\(finished.count)"], tensors: tensors).bytes()
    }

    /// Goes on from a checkpoint of the same job, with the same data. Throws `PolicyTraining.Unusable`.
    init(
        resuming checkpoint: [UInt8], _ settings: TrainingSettings, _ data: TrainingData
    ) throws(PolicyTraining.Unusable) {
        self.settings = settings
        self.data = data
        do {
            let file = try Safetensors(bytes: checkpoint)
            guard file.metadata["kind"] == Self.kind,
                let count = file.metadata["finished"].flatMap({ Int($0) }), (0...settings.seeds).contains(count),
                case .uint8(let state) = try file.tensor("training").elements
            else { throw PolicyTraining.Unusable(reason: "of another kind") }
            let seed = settings.seed + UInt64(min(count, settings.seeds - 1))
            training = try PolicyTraining(
                resuming: state, data.environment, settings, metadata: data.metadata(seed: seed))
            for index in 0..<count {
                guard case .uint8(let bytes) = try file.tensor("policy.\(index)").elements,
                    case .int64(let counts) = try file.tensor("counts.\(index)").elements, counts.count == 4,
                    case .float64(let scores) = try file.tensor("scores.\(index)").elements, scores.count == 3
                else { throw PolicyTraining.Unusable(reason: "wrong element types") }
                finished.append(
                    Candidate(
                        seed: settings.seed + UInt64(index), policy: try Policy(safetensors: bytes),
                        validation: .init(
                            iteration: Int(counts[0]), netReturn: scores[0], turnover: scores[1],
                            sharpe: scores[2].isNaN ? nil : scores[2]),
                        trials: Int(counts[1]), steps: Int(counts[2]), iterations: Int(counts[3])))
            }
        } catch let error as PolicyTraining.Unusable {
            throw error
        } catch {
            throw PolicyTraining.Unusable(reason: "\(error)")
        }
    }
}
