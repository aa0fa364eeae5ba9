import Kernels
import Learning

/// Pendulum swing-up with the standard dynamics (Gymnasium's Pendulum-v1): g = 10, m = 1, l = 1, Δt = 0.05, torque
/// within ±2, speed within ±8, 200 steps; reward −(θ² + 0.1·θ̇² + 0.001·torque²) of the state before the step, with θ
/// within ±π and 0 upright.
struct Pendulum: Environment {
    let observationSize = 3
    let actionSize = 1
    private var angle = 0.0
    private var speed = 0.0
    private var time = 0

    mutating func reset(_ random: inout RandomGenerator, observation: inout MutableSpan<Float>) {
        angle = random.uniform(-Double.pi, Double.pi)
        speed = random.uniform(-1, 1)
        time = 0
        show(&observation)
    }

    mutating func step(_ action: Span<Float>, observation: inout MutableSpan<Float>) -> StepResult {
        let torque = 2 * Double(max(-1, min(1, action[0])))
        let turned = angle - 2 * .pi * (angle / (2 * .pi)).rounded()
        let cost = turned * turned + 0.1 * speed * speed + 0.001 * torque * torque
        speed = max(-8, min(8, speed + (15 * sin(angle) + 3 * torque) * 0.05))
        angle += speed * 0.05
        time += 1
        show(&observation)
        return StepResult(reward: Float(-cost), truncated: time == 200)
    }

    /// The speed over its bound, so that all three are within ±1.
    private func show(_ observation: inout MutableSpan<Float>) {
        observation[0] = Float(cos(angle))
        observation[1] = Float(sin(angle))
        observation[2] = Float(speed / 8)
    }
}
