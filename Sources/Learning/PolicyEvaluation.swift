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
        try run(&self, in: environment, episodes: episodes, random: &random)
    }
}

extension RecurrentRunner {
    /// As `PolicyRunner`'s; each episode begins without memory.
    public mutating func evaluate(
        in environment: some Environment, episodes: Int, random: inout RandomGenerator
    ) throws(PolicyError) -> PolicyEvaluation {
        try run(&self, in: environment, episodes: episodes, random: &random)
    }
}

/// What an evaluation needs of a runner.
private protocol Runner {
    var actions: [Float] { get }
    mutating func reset()
    mutating func decide(_ observation: Span<Float>) throws(PolicyError) -> PolicyDecision
}

extension PolicyRunner: Runner {
    /// Nothing to forget.
    fileprivate func reset() {}
}

extension RecurrentRunner: Runner {}

private func run<R: Runner>(
    _ runner: inout R, in environment: some Environment, episodes: Int, random: inout RandomGenerator
) throws(PolicyError) -> PolicyEvaluation {
    precondition(episodes > 0, "an evaluation has an episode")
    var environment = environment
    var observation = [Float](repeating: 0, count: environment.observationSize)
    var (returns, steps, actionSum) = ([Double](), 0, 0.0)
    for _ in 0..<episodes {
        var first = observation.mutableSpan
        environment.reset(&random, observation: &first)
        runner.reset()
        var (sum, isOver) = (0.0, false)
        while !isOver {
            let decision = try runner.decide(observation.span)
            let actions = runner.actions
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
