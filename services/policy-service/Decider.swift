internal import Policies
internal import RPC
internal import Trading
internal import VommaProto

/// One policy's decisions, with its scratch memory: states in, decisions out. The same state, previous exposure and
/// memory give the same decision, bit for bit.
struct Decider {
    let model: LoadedPolicy
    private var runner: RunningPolicy
    private var observation: [Float]

    /// Reasons given with a decision.
    private static let reasonCount = 5

    init(_ model: LoadedPolicy) {
        self.model = model
        runner = model.running
        observation = Array(repeating: 0, count: model.layout.count)
    }

    /// `memory` is what the policy remembers of its decisions for this symbol, empty before the first; it is left as it
    /// is after this one. Throws INVALID_ARGUMENT for a state or a memory of a wrong shape, FAILED_PRECONDITION for a
    /// state made for another model.
    mutating func decide(
        _ state: State, previousExposure: Double, memory: inout [Float]
    ) throws -> VommaProto.Decision {
        try check(state)
        do throws(PolicyError) { try runner.restore(memory) } catch {
            throw RPCStatus(.invalidArgument, "memory: \(error)")
        }
        var decision = VommaProto.Decision(
            stream: state.stream, symbol: state.symbol, barTimeMicroseconds: state.barTimeMicroseconds,
            sequence: state.sequence, modelName: model.name, modelVersion: model.version, close: state.close,
            publishedAtMicroseconds: state.publishedAtMicroseconds, stateSentAtMicroseconds: state.sentAtMicroseconds)
        guard Int(state.filled) >= model.layout.window else {
            decision.abstained = "warm_up"
            return decision
        }
        let count = model.layout.featureCount
        let newest = Array(state.mask.suffix(count))
        // Taken out of `self` while it is lent to the runner, which is part of `self` too.
        var input: [Float] = []
        swap(&input, &observation)
        defer { swap(&input, &observation) }
        var target = input.mutableSpan
        model.layout.write(
            values: state.values.span, mask: newest.span, previousExposure: Float(previousExposure), into: &target)
        let (answer, contributions) = try runner.explain(input.span)
        memory = runner.memory
        decision.targetExposure = Double(answer.action)
        decision.value = Double(answer.value)
        decision.confidence = Double(answer.confidence)
        decision.reasons = reasons(contributions)
        return decision
    }

    private func check(_ state: State) throws {
        guard state.schemaVersion == model.schemaVersion else {
            throw RPCStatus(
                .failedPrecondition,
                "the state has schema \(state.schemaVersion), \(model.name) version \(model.version) needs \(model.schemaVersion)"
            )
        }
        guard state.normaliserID == model.normaliserID else {
            throw RPCStatus(
                .failedPrecondition,
                "the state was normalised by \(state.normaliserID), the model needs \(model.normaliserID)")
        }
        let cells = model.layout.window * model.layout.featureCount
        guard Int(state.window) == model.layout.window, state.values.count == cells, state.mask.count == cells else {
            throw RPCStatus(
                .invalidArgument,
                "a state has \(model.layout.window) × \(model.layout.featureCount) values and mask cells, this one \(state.values.count) and \(state.mask.count)"
            )
        }
        if let bad = state.values.firstIndex(where: { !$0.isFinite }) {
            throw RPCStatus(.invalidArgument, "state.values[\(bad)] is not finite")
        }
    }

    /// The features that moved the action most, over the whole window, largest first.
    private func reasons(_ contributions: [Float]) -> [Reason] {
        let sums = PolicyRunner.byFeature(
            contributions, window: model.layout.window, featureCount: model.layout.featureCount)
        return sums.indices.sorted { abs(sums[$0]) > abs(sums[$1]) }.prefix(Self.reasonCount).map { index in
            Reason(
                feature: index < model.featureNames.count
                    ? model.featureNames[index] : PolicyRunner.previousExposureName,
                contribution: Double(sums[index]))
        }
    }
}
