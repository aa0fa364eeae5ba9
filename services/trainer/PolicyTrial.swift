internal import Evaluation
internal import Policies
internal import Trading

/// A policy run over bars that it has not seen, with what its heads said.
struct PolicyTrial {
    private(set) var result: BacktestResult
    /// At each decision.
    private(set) var actions: [Double] = []
    private(set) var values: [Double] = []
    /// Observations evenly spaced over the run, [rows × size].
    private var sample: [Float] = []
    private var sampleCount = 0

    private static let sampleLimit = 256

    /// Throws what the backtest and the policy throw.
    init(_ policy: Policy, _ backtest: Backtest, on series: MarketSeries, span: Range<Int>) throws {
        var runner = RunningPolicy(policy)
        var failure: PolicyError?
        var (actions, values): ([Double], [Double]) = ([], [])
        var (sample, sampleCount): ([Float], Int) = ([], 0)
        let stride = max(1, span.count / Self.sampleLimit)
        result = try backtest.run(on: series, span: span) { observation, context in
            do throws(PolicyError) {
                let decision = try runner.decide(observation)
                actions.append(Double(decision.action))
                values.append(Double(decision.value))
                if context.row % stride == 0, sampleCount < Self.sampleLimit {
                    for index in 0..<observation.count { sample.append(observation[index]) }
                    sampleCount += 1
                }
                return Double(decision.action)
            } catch {
                failure = failure ?? error
                return nil
            }
        }
        if let failure { throw failure }
        (self.actions, self.values, self.sample, self.sampleCount) = (actions, values, sample, sampleCount)
    }

    /// What is known of the policy's heads. The policy's should foretell the next bar's return; the value's, the
    /// discounted returns of the account to come.
    /// Throws `JobError.badData` for a policy that does not say what its values are of.
    func evidence(_ policy: Policy) throws(JobError) -> [HeadEvidence] {
        let norms = policy.gradientNorms(observations: sample, rows: sampleCount)
        func gradients(_ head: String) -> [(layer: String, norm: Double)] {
            norms.filter { $0.head == head }.map { ($0.layer, $0.norm) }
        }
        let curve = result.curve
        let next = actions.indices.map { curve[$0 + 1].price / curve[$0].price - 1 }
        guard let discount = policy.metadata["gamma"].flatMap(Double.init),
            let scale = policy.metadata["reward_scale"].flatMap(Double.init)
        else {
            throw .badData("the policy does not say its discount and its rewards' scale: it is older. Train it anew")
        }
        var future = [Double](repeating: 0, count: actions.count)
        var sum = 0.0
        for index in actions.indices.reversed() {
            sum = scale * (curve[index + 1].equity / curve[index].equity - 1) + discount * sum
            future[index] = sum
        }
        return [
            HeadEvidence(
                name: "policy", outputs: actions, gradients: gradients("policy"),
                effect: Self.share(actions) { abs($0 - $1) > 0.01 }, truth: next),
            // What training does with a value is to weigh actions by how much better than it they went.
            HeadEvidence(
                name: "value", outputs: values, gradients: gradients("value"),
                effect: Self.share(values, future) { ($2 > $0) != ($2 > $1) }, truth: future),
        ]
    }

    /// The share of values for which something holds of the value and the mean of all.
    private static func share(_ values: [Double], _ holds: (Double, Double) -> Bool) -> Double {
        share(values, values) { value, mean, _ in holds(value, mean) }
    }

    private static func share(
        _ values: [Double], _ others: [Double], _ holds: (Double, Double, Double) -> Bool
    ) -> Double {
        guard !values.isEmpty else { return 0 }
        let mean = values.reduce(0, +) / Double(values.count)
        let found = zip(values, others).count { holds($0, mean, $1) }
        return Double(found) / Double(values.count)
    }
}

extension Backtest {
    /// Runs a policy's deterministic decisions. Throws what the session throws, and `PolicyError`.
    func run(_ policy: Policy, on series: MarketSeries, span: Range<Int>) throws -> BacktestResult {
        try PolicyTrial(policy, self, on: series, span: span).result
    }
}
