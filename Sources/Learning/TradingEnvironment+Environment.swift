public import Trading

/// Trading one symbol's history is an environment: an episode is a function of its start, which `reset` draws, and of
/// the actions since.
extension TradingEnvironment: Environment {
    /// Profit and each penalty, as `RewardTerms` has them: a sum of shares of equity a step.
    public var episodeTerms: [(name: String, sum: Double)] {
        let terms = episode.terms
        return [
            ("profit", terms.profit), ("turnover", terms.turnover), ("drawdown", terms.drawdown),
            ("leverage", terms.leverage), ("volatility", terms.volatility),
        ]
    }

    public mutating func step(_ action: Span<Float>, observation: inout MutableSpan<Float>) -> StepResult {
        let step: Step = step(action, observation: &observation)
        return StepResult(reward: step.reward, terminated: step.terminated, truncated: step.truncated)
    }
}
