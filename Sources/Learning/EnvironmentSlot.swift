internal import Kernels

/// One environment of a training with its own generator, and what is needed to bring it back to where it stands: the
/// generator at the last reset, and the actions since.
struct EnvironmentSlot<E: Environment>: Sendable {
    private(set) var environment: E
    private(set) var random: RandomGenerator
    private(set) var randomAtReset: RandomGenerator
    /// [steps since reset × actionSize].
    private(set) var actions: [Float] = []
    /// Sum of the episode's rewards so far, not discounted, and its steps.
    private(set) var episodeReturn = 0.0
    private(set) var episodeLength = 0

    init(_ environment: E, random: RandomGenerator) {
        self.environment = environment
        self.random = random
        randomAtReset = random
    }

    mutating func reset(into observation: inout MutableSpan<Float>) {
        randomAtReset = random
        environment.reset(&random, observation: &observation)
        actions.removeAll(keepingCapacity: true)
        episodeReturn = 0
        episodeLength = 0
    }

    mutating func step(_ action: Span<Float>, into observation: inout MutableSpan<Float>) -> StepResult {
        for k in 0..<action.count { actions.append(action[k]) }
        let result = environment.step(action, observation: &observation)
        episodeReturn += Double(result.reward)
        episodeLength += 1
        return result
    }

    /// Starts from `randomAtReset` and takes `actions` again; leaves the last observation in `observation`.
    init(
        replaying environment: E, randomAtReset: RandomGenerator, actions: [Float], into observation: inout [Float]
    ) {
        self.init(environment, random: randomAtReset)
        var span = observation.mutableSpan
        reset(into: &span)
        let size = environment.actionSize
        for start in stride(from: 0, to: actions.count, by: size) {
            _ = step(actions.span.extracting(start..<start + size), into: &span)
        }
    }
}
