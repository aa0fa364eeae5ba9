public import Kernels
public import Policies

/// What a policy's deterministic actions earned over some episodes.
public struct PolicyEvaluation: Sendable, Equatable {
    /// Undiscounted sum of rewards of each episode, in order.
    public let returns: [Double]
    /// Steps of all episodes, and the mean |first action component| over them.
    public let steps: Int
    public let meanAbsoluteAction: Double

    public var meanReturn: Double { returns.reduce(0, +) / Double(returns.count) }
}

extension PolicyRunner {
    /// Runs `episodes` ≥ 1 episodes with `decide`'s actions. Throws `PolicyError` for sizes that do not fit and for
    /// observations that are not finite.
    public mutating func evaluate(
        in environment: some Environment, episodes: Int, random: inout RandomGenerator
    ) throws(PolicyError) -> PolicyEvaluation {
        precondition(episodes > 0, "an evaluation has an episode")
        var environment = environment
        var observation = [Float](repeating: 0, count: environment.observationSize)
        var (returns, steps, actionSum) = ([Double](), 0, 0.0)
        for _ in 0..<episodes {
            var first = observation.mutableSpan
            environment.reset(&random, observation: &first)
            var (sum, isOver) = (0.0, false)
            while !isOver {
                let decision = try decide(observation.span)
                var next = observation.mutableSpan
                let result = environment.step(actions.span, observation: &next)
                sum += Double(result.reward)
                actionSum += Double(abs(decision.action))
                steps += 1
                isOver = result.terminated || result.truncated
            }
            returns.append(sum)
        }
        return PolicyEvaluation(returns: returns, steps: steps, meanAbsoluteAction: actionSum / Double(steps))
    }
}
