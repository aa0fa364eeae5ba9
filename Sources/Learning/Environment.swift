public import Kernels

/// What one step gave. `terminated` and `truncated` are not the same: see their comments.
public struct StepResult: Sendable, Equatable {
    public let reward: Float
    /// The episode truly ended: there is no reward after this, so the value of the state reached is 0.
    public let terminated: Bool
    /// We stopped watching (time limit, end of data): the state reached has a value, which the learner estimates.
    public let truncated: Bool

    public init(reward: Float, terminated: Bool = false, truncated: Bool = false) {
        (self.reward, self.terminated, self.truncated) = (reward, terminated, truncated)
    }
}

/// A world that an agent acts in, with Gymnasium's meaning of reset and step.
///
/// An episode must be a function of the generator at `reset` and the actions since: whatever randomness its steps
/// need is drawn, or a generator split off, in `reset`. A training is resumed by replaying the current episode.
/// Data that all copies share (a market's history) belongs in an array or a class that never changes.
public protocol Environment: Sendable {
    /// Numbers in an observation, and components of an action; both positive and constant.
    var observationSize: Int { get }
    var actionSize: Int { get }
    /// What the reward was made of since the episode's start, by name, for the learner's metrics; mostly empty. The
    /// names are always the same.
    var episodeTerms: [(name: String, sum: Double)] { get }

    /// Starts an episode and writes its first observation: all `observationSize` numbers, finite.
    mutating func reset(_ random: inout RandomGenerator, observation: inout MutableSpan<Float>)

    /// Acts, each component in [−1, 1], and writes the observation that follows: at an episode's end its final one.
    /// After a result that is terminated or truncated only `reset` is called.
    mutating func step(_ action: Span<Float>, observation: inout MutableSpan<Float>) -> StepResult
}

extension Environment {
    public var episodeTerms: [(name: String, sum: Double)] { [] }
}
