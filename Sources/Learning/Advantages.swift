/// Generalised advantage estimates (Schulman et al. 2016, equation 16), for steps [steps × environments], row-major.
///
///     δ_t = r_t + γ·V(s'_t) − V(s_t),   A_t = δ_t + γλ·A_{t+1}
///
/// `nextValues` are the values of the observation each step led to, before any reset. At a terminated step V(s'_t)
/// counts as 0; at a truncated one it counts in full (Pardo et al. 2018); after either the sum begins anew. A step that
/// is both is terminated. `advantages` has a place for each step. Traps when the counts differ.
public func generalisedAdvantages(
    rewards: [Float], values: [Float], nextValues: [Float], terminated: [Bool], truncated: [Bool],
    environments: Int, gamma: Float, gaeLambda: Float, into advantages: inout [Float]
) {
    let count = advantages.count
    precondition(environments > 0 && count % environments == 0, "whole steps of all environments")
    precondition(rewards.count == count && values.count >= count && nextValues.count == count, "a number a step")
    precondition(terminated.count == count && truncated.count == count, "a flag a step")
    for t in (0..<count).reversed() {
        let next = terminated[t] ? 0 : nextValues[t]
        let delta = rewards[t] + gamma * next - values[t]
        let isLast = terminated[t] || truncated[t] || t + environments >= count
        advantages[t] = delta + (isLast ? 0 : gamma * gaeLambda * advantages[t + environments])
    }
}

/// 1 − Var(targets − predictions)/Var(targets): 1 is perfect, 0 no better than the mean, and below it is worse. `nil`
/// for constant targets. The first `targets.count` predictions count.
func explainedVariance(_ predictions: [Float], targets: [Float]) -> Float? {
    func variance(_ value: (Int) -> Double) -> Double {
        var (mean, squares) = (0.0, 0.0)
        for i in 0..<targets.count {
            let delta = value(i) - mean
            mean += delta / Double(i + 1)
            squares += delta * (value(i) - mean)
        }
        return squares
    }
    let total = variance { Double(targets[$0]) }
    guard total > 0 else { return nil }
    return Float(1 - variance { Double(targets[$0]) - Double(predictions[$0]) } / total)
}
