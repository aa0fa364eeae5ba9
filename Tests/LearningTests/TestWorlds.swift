import Kernels
import Learning

/// One step, then over: the best action is 0.6·s for the state s seen, at reward 0.
struct Bandit: Environment {
    let observationSize = 2
    let actionSize = 1
    private var state: Float = 0

    mutating func reset(_ random: inout RandomGenerator, observation: inout MutableSpan<Float>) {
        state = Float(random.uniform(-1, 1))
        observation[0] = state
        observation[1] = 1
    }

    mutating func step(_ action: Span<Float>, observation: inout MutableSpan<Float>) -> StepResult {
        let error = action[0] - 0.6 * state
        return StepResult(reward: -error * error, terminated: true)
    }
}

/// Linear-quadratic control: x' = x + ½a + noise, reward −(x² + ½a²), watched for 20 steps. Without the bound on the
/// action, which never binds near the optimum, the best is a = −gain·x with the gain of the scalar Riccati equation.
///
/// Seen are 4x, so that its spread is near 1, and a 1: without it a network whose biases start at 0 is odd in x, and
/// takes long to find the even value function.
struct Regulator: Environment {
    let observationSize = 2
    let actionSize = 1
    private var x: Float = 0
    private var time = 0
    private var noise = RandomGenerator(seed: 0)

    /// p = 1 + p − (½p)²/(½ + ¼p), solved for p; gain = ½p/(½ + ¼p).
    static var gain: Double {
        var p = 1.0
        for _ in 0..<200 { p = 1 + p - (0.5 * p) * (0.5 * p) / (0.5 + 0.25 * p) }
        return 0.5 * p / (0.5 + 0.25 * p)
    }

    mutating func reset(_ random: inout RandomGenerator, observation: inout MutableSpan<Float>) {
        noise = RandomGenerator(seed: random.next())
        x = Float(random.uniform(-0.7, 0.7))
        time = 0
        observation[0] = 4 * x
        observation[1] = 1
    }

    mutating func step(_ action: Span<Float>, observation: inout MutableSpan<Float>) -> StepResult {
        let reward = -(x * x + 0.5 * action[0] * action[0])
        x += 0.5 * action[0] + 0.05 * Float(noise.normal())
        time += 1
        observation[0] = 4 * x
        observation[1] = 1
        return StepResult(reward: reward, truncated: time == 20)
    }
}

/// A market without edge: independent returns of mean 0, seen only once they are past; costs on each change of
/// position, which is closed at the end. The best is to stay out.
struct NoEdgeMarket: Environment {
    let observationSize = 3
    let actionSize = 1
    private var position: Float = 0
    private var time = 0
    private var noise = RandomGenerator(seed: 0)

    mutating func reset(_ random: inout RandomGenerator, observation: inout MutableSpan<Float>) {
        noise = RandomGenerator(seed: random.next())
        position = 0
        time = 0
        observation[0] = Float(noise.normal())
        observation[1] = Float(noise.normal())
        observation[2] = 0
    }

    mutating func step(_ action: Span<Float>, observation: inout MutableSpan<Float>) -> StepResult {
        time += 1
        let isLast = time == 8
        let traded = abs(action[0] - position) + (isLast ? abs(action[0]) : 0)
        position = action[0]
        let change = Float(noise.normal())
        observation[1] = observation[0]
        observation[0] = change
        observation[2] = position
        // Volatility 1 % and cost 0.5 % of what is traded, in units of 1 %.
        return StepResult(reward: position * change - 0.5 * traded, terminated: isLast)
    }
}

/// Gives a bad number after `steps` steps: as reward, or in the observation.
struct Faulty: Environment {
    let observationSize = 2
    let actionSize = 1
    var steps: Int
    let isReward: Bool

    mutating func reset(_ random: inout RandomGenerator, observation: inout MutableSpan<Float>) {
        observation[0] = steps == 0 ? .nan : 0
        observation[1] = 0
    }

    mutating func step(_ action: Span<Float>, observation: inout MutableSpan<Float>) -> StepResult {
        steps -= 1
        observation[0] = steps == 0 && !isReward ? .infinity : 0
        return StepResult(reward: steps == 0 && isReward ? .nan : 0, truncated: steps % 3 == 0)
    }
}

/// A sign is shown in the first of five steps, and pays in the last: the reward there is sign × action. Without memory
/// the best is 0 on average, with it 1.
struct Recall: Environment {
    let observationSize = 3
    let actionSize = 1
    private var sign: Float = 1
    private var time = 0

    mutating func reset(_ random: inout RandomGenerator, observation: inout MutableSpan<Float>) {
        sign = random.uniform() < 0.5 ? -1 : 1
        time = 0
        observation[0] = sign
        observation[1] = 1
        observation[2] = 0
    }

    mutating func step(_ action: Span<Float>, observation: inout MutableSpan<Float>) -> StepResult {
        time += 1
        observation[0] = 0
        observation[1] = 0
        observation[2] = time == 4 ? 1 : 0
        return StepResult(reward: time == 5 ? sign * action[0] : 0, terminated: time == 5)
    }
}
