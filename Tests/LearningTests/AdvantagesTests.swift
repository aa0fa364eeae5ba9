import Kernels
import Testing

@testable import Learning

@Suite struct AdvantagesTests {
    /// Computed by hand with γ = ½, λ = ½: δ = (1, 1.5, −1, 5), the last truncated with V = 4; the third terminated.
    @Test("Four steps by hand: termination cuts the value, truncation only the sum")
    func byHand() {
        var advantages = [Float](repeating: 0, count: 4)
        generalisedAdvantages(
            rewards: [1, 2, 1, 4], values: [1, 2, 2, 1], nextValues: [2, 3, 100, 4],
            terminated: [false, false, true, false], truncated: [false, false, false, true], environments: 1,
            gamma: 0.5, gaeLambda: 0.5, into: &advantages)
        // A₃ = 4 + ½·4 − 1; A₂ = 1 − 2; A₁ = 2 + 1.5 − 2 + ¼·A₂; A₀ = 1 + 1 − 1 + ¼·A₁.
        #expect(advantages == [1.3125, 1.25, -1, 5])
    }

    @Test("Equal the defining double sum on random rollouts of several environments")
    func againstDefinition() {
        var random = RandomGenerator(seed: 21)
        for _ in 0..<20 {
            let (steps, environments) = (1 + random.index(below: 12), 1 + random.index(below: 3))
            let count = steps * environments
            func numbers() -> [Float] { (0..<count).map { _ in Float(random.normal()) } }
            let (rewards, values, nextValues) = (numbers(), numbers(), numbers())
            let terminated = (0..<count).map { _ in random.uniform() < 0.2 }
            let truncated = (0..<count).map { _ in random.uniform() < 0.2 }
            let (gamma, lambda) = (random.uniform(0.5, 1), random.uniform())
            var advantages = [Float](repeating: 0, count: count)
            generalisedAdvantages(
                rewards: rewards, values: values, nextValues: nextValues, terminated: terminated,
                truncated: truncated, environments: environments, gamma: Float(gamma), gaeLambda: Float(lambda),
                into: &advantages)
            for start in 0..<count {
                var (sum, weight, t) = (0.0, 1.0, start)
                while t < count {
                    let next = terminated[t] ? 0 : Double(nextValues[t])
                    sum += weight * (Double(rewards[t]) + gamma * next - Double(values[t]))
                    if terminated[t] || truncated[t] { break }
                    weight *= gamma * lambda
                    t += environments
                }
                #expect(abs(Double(advantages[start]) - sum) < 2e-5)
            }
        }
    }

    @Test("Explained variance is 1, 0, negative or absent where it should be")
    func explained() throws {
        let targets: [Float] = [1, 2, 3, 6]
        #expect(explainedVariance([2, 3, 4, 7], targets: targets) == 1)
        #expect(try abs(#require(explainedVariance([5, 5, 5, 5], targets: targets))) < 1e-6)
        #expect(try #require(explainedVariance([6, 3, 2, 1], targets: targets)) < 0)
        #expect(explainedVariance([1, 2], targets: [3, 3]) == nil)
    }
}
