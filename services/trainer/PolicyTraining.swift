internal import Evaluation
internal import Learning
internal import NeuralNetworks
internal import Policies
internal import Trading

/// A training and the choice of the best policy that it passes through: everything that a killed job needs to go on,
/// bit for bit.
///
/// After every `validationInterval` iterations, and after the last, the policy trades the validation span without
/// exploration. The one with the greatest net return is kept; of equals the one that trades less, then the earlier one.
struct PolicyTraining {
    /// What one validation found.
    struct Validation: Equatable {
        var iteration: Int
        var netReturn: Double
        /// Traded over mean equity.
        var turnover: Double
        /// Of one bar; `nil` where the account never moved. Not compared: it is what trials are counted with.
        var sharpe: Double?

        init(iteration: Int, _ result: BacktestResult) {
            let statistics = result.statistics
            self.init(
                iteration: iteration, netReturn: statistics.totalReturn, turnover: statistics.relativeTurnover,
                sharpe: PerformanceStatistics.sharpe(result.returns))
        }

        init(iteration: Int, netReturn: Double, turnover: Double, sharpe: Double?) {
            self.iteration = iteration
            self.netReturn = netReturn
            self.turnover = turnover
            self.sharpe = sharpe
        }

        func isBetter(than other: Validation) -> Bool {
            netReturn != other.netReturn ? netReturn > other.netReturn : turnover < other.turnover
        }
    }

    private(set) var trainer: AnyTrainer
    private(set) var best: (policy: Policy, validation: Validation)?
    /// Policies that were tried on the validation span: what a deflated Sharpe ratio has to count.
    private(set) var trials = 0
    private let validationInterval: Int

    /// Begins, with a new policy of the environment's size.
    init(
        _ environment: TradingEnvironment, _ settings: TrainingSettings, featureCount: Int, seed: UInt64,
        metadata: [String: String]
    ) throws(LearningError) {
        trainer = try AnyTrainer(environment, settings, featureCount: featureCount, seed: seed, metadata: metadata)
        validationInterval = settings.validationInterval
    }

    var isFinished: Bool { trainer.isFinished }
    /// Of the iterations, 0 … 1.
    var progress: Double { trainer.progress }

    /// One iteration, and a validation if it is due: `validate` runs a policy on the validation span.
    mutating func iterate(
        validate: (Policy) throws -> BacktestResult
    ) throws -> (metrics: PPOMetrics, validation: Validation?) {
        let metrics = try trainer.iterate()
        guard trainer.isFinished || trainer.iteration % validationInterval == 0 else { return (metrics, nil) }
        let result = try validate(trainer.policy)
        let found = Validation(iteration: trainer.iteration, result)
        trials += 1
        if best.map({ found.isBetter(than: $0.validation) }) ?? true { best = (trainer.policy, found) }
        return (metrics, found)
    }

    // MARK: Checkpoint

    private static let kind = "ppo-job-2"

    func checkpoint() -> [UInt8] {
        func bytes(_ name: String, _ bytes: [UInt8]) -> Tensor {
            Tensor(name, shape: [bytes.count], .uint8(bytes))
        }
        var tensors = [
            bytes("trainer", trainer.checkpoint()),
            Tensor("trials", shape: [1], .int64([Int64(trials)])),
        ]
        if let best {
            tensors.append(bytes("best.policy", best.policy.safetensors()))
            tensors.append(Tensor("best.iteration", shape: [1], .int64([Int64(best.validation.iteration)])))
            let scores = [best.validation.netReturn, best.validation.turnover, best.validation.sharpe ?? .nan]
            tensors.append(Tensor("best.scores", shape: [3], .float64(scores)))
        }
        return Safetensors(metadata: ["kind": Self.kind], tensors: tensors).bytes()
    }

    /// Why a checkpoint is not one of this training.
    struct Unusable: Error, CustomStringConvertible {
        var reason: String
        var description: String { reason }
    }

    /// Goes on from a checkpoint of the same job, with the same data. Throws `Unusable`.
    init(
        resuming checkpoint: [UInt8], _ environment: TradingEnvironment, _ settings: TrainingSettings,
        metadata: [String: String]
    ) throws(Unusable) {
        do {
            let file = try Safetensors(bytes: checkpoint)
            guard file.metadata["kind"] == Self.kind else { throw Unusable(reason: "of another kind") }
            guard case .uint8(let state) = try file.tensor("trainer").elements,
                case .int64(let trials) = try file.tensor("trials").elements, trials.count == 1, trials[0] >= 0
            else { throw Unusable(reason: "wrong element types") }
            trainer = try AnyTrainer(resuming: state, environment, settings)
            // Schema, normaliser and spans stand here: the same data, or none of it.
            guard trainer.policy.metadata == metadata else { throw Unusable(reason: "made with other data") }
            self.trials = Int(trials[0])
            validationInterval = settings.validationInterval
            if file.tensors.contains(where: { $0.name == "best.policy" }) {
                guard case .uint8(let bytes) = try file.tensor("best.policy").elements,
                    case .int64(let iteration) = try file.tensor("best.iteration").elements, iteration.count == 1,
                    case .float64(let scores) = try file.tensor("best.scores").elements, scores.count == 3
                else { throw Unusable(reason: "wrong element types") }
                let validation = Validation(
                    iteration: Int(iteration[0]), netReturn: scores[0], turnover: scores[1],
                    sharpe: scores[2].isNaN ? nil : scores[2])
                best = (try Policy(safetensors: bytes), validation)
            }
        } catch let error as Unusable {
            throw error
        } catch {
            throw Unusable(reason: "\(error)")
        }
    }
}
