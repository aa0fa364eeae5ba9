internal import NeuralNetworks
internal import Policies

/// Policy `recurrent` in training: a minibatch is the whole sequences of some environments.
struct RecurrentLearner: Learner {
    var policy: RecurrentPolicy
    let units: Int
    let unitsPerMinibatch: Int
    /// The memory of every environment's episode, now and at the rollout's start.
    private var actorState: LSTMState
    private var criticState: LSTMState
    private var actorStart: LSTMState
    private var criticStart: LSTMState
    /// For a look ahead that does not count: of all environments, and of one.
    private var aheadState: LSTMState
    private var finalState: LSTMState
    /// Truncated episodes of this rollout whose final value is known.
    private var finalCount = 0
    private var stepActor: RecurrentWorkspace
    private var stepCritic: RecurrentWorkspace

    /// The minibatch [steps × environments of it]: its rows in the rollout, their observations, and where an episode
    /// starts.
    private var rows: [Int] = []
    private var batch: [Float]
    private var resets: [Bool] = []
    private var batchActorState: LSTMState
    private var batchCriticState: LSTMState
    private var stateGradient: LSTMState
    private var actorWorkspace: RecurrentWorkspace
    private var criticWorkspace: RecurrentWorkspace
    private let steps: Int
    private var hidden: Int { policy.architecture.hidden }

    init(_ policy: RecurrentPolicy, environments: Int, configuration: PPOConfiguration) {
        self.policy = policy
        steps = configuration.stepsPerEnvironment
        units = environments
        unitsPerMinibatch = min(max(configuration.minibatchSize / steps, 1), environments)
        let hidden = policy.architecture.hidden
        actorState = LSTMState(rows: environments, hidden: hidden)
        (criticState, actorStart, criticStart, aheadState) = (actorState, actorState, actorState, actorState)
        finalState = LSTMState(rows: 1, hidden: hidden)
        stepActor = RecurrentWorkspace(policy.actor, steps: 1, rows: environments)
        stepCritic = RecurrentWorkspace(policy.critic, steps: 1, rows: environments)
        batch = [Float](repeating: 0, count: steps * unitsPerMinibatch * policy.observationSize)
        batchActorState = LSTMState(rows: unitsPerMinibatch, hidden: hidden)
        (batchCriticState, stateGradient) = (batchActorState, batchActorState)
        actorWorkspace = RecurrentWorkspace(policy.actor, steps: steps, rows: unitsPerMinibatch)
        criticWorkspace = RecurrentWorkspace(policy.critic, steps: steps, rows: unitsPerMinibatch)
    }

    var parameters: [Float] {
        get { policy.parameters }
        // Not a copy: the optimiser writes in place.
        _modify { yield &policy.parameters }
    }
    var logStd: Range<Int> { policy.logStd }

    // MARK: Rollout

    mutating func begin() {
        (actorStart, criticStart) = (actorState, criticState)
        finalCount = 0
    }

    /// The critic goes along: its memory has to see every step too.
    mutating func decide(_ t: Int, _ rollout: inout Rollout) {
        let environments = rollout.environments
        policy.actor.forward(
            rollout.observations, firstRow: t * environments, steps: 1, rows: environments,
            parameters: policy.parameters, state: &actorState, workspace: &stepActor)
        policy.critic.forward(
            rollout.observations, firstRow: t * environments, steps: 1, rows: environments,
            parameters: policy.parameters, state: &criticState, workspace: &stepCritic)
        for index in 0..<environments {
            for k in 0..<rollout.actionSize {
                rollout.means[index * rollout.actionSize + k] = stepActor.output(index, k)
            }
            rollout.values[t * environments + index] = stepCritic.output(index)
        }
    }

    /// A truncated episode's final observation is worth what the critic, with its memory of that episode, says. After
    /// an episode's end the memory is empty.
    mutating func follow(_ t: Int, _ rollout: inout Rollout) {
        while finalCount < rollout.finalRows.count {
            let row = rollout.finalRows[finalCount]
            finalState.copyRow(row % rollout.environments, of: criticState, to: 0, hidden: hidden)
            policy.critic.forward(
                rollout.finalObservations, firstRow: finalCount, steps: 1, rows: 1, parameters: policy.parameters,
                state: &finalState, workspace: &stepCritic)
            rollout.nextValues[row] = stepCritic.output(0)
            finalCount += 1
        }
        for index in 0..<rollout.environments {
            let row = t * rollout.environments + index
            guard rollout.terminated[row] || rollout.truncated[row] else { continue }
            actorState.clear(row: index, hidden: hidden)
            criticState.clear(row: index, hidden: hidden)
        }
    }

    mutating func evaluate(_ rollout: inout Rollout) {
        let (environments, size) = (rollout.environments, rollout.size)
        aheadState = criticState
        policy.critic.forward(
            rollout.observations, firstRow: size, steps: 1, rows: environments, parameters: policy.parameters,
            state: &aheadState, workspace: &stepCritic)
        for index in 0..<environments { rollout.values[size + index] = stepCritic.output(index) }
        for row in 0..<size where !rollout.truncated[row] {
            rollout.nextValues[row] = rollout.values[row + environments]
        }
    }

    // MARK: Update

    mutating func gather(_ units: ArraySlice<Int>, _ rollout: Rollout) {
        let (environments, size) = (rollout.environments, rollout.observationSize)
        rows.removeAll(keepingCapacity: true)
        resets.removeAll(keepingCapacity: true)
        for t in 0..<steps {
            for unit in units {
                let row = t * environments + unit
                rows.append(row)
                let before = row - environments
                resets.append(t > 0 && (rollout.terminated[before] || rollout.truncated[before]))
            }
        }
        unsafe batch.withUnsafeMutableBufferPointer { target in
            unsafe rollout.observations.withUnsafeBufferPointer { source in
                guard let target = target.baseAddress, let source = source.baseAddress else { return }
                for (i, row) in rows.enumerated() {
                    unsafe (target + i * size).update(from: source + row * size, count: size)
                }
            }
        }
        for (place, unit) in units.enumerated() {
            batchActorState.copyRow(unit, of: actorStart, to: place, hidden: hidden)
            batchCriticState.copyRow(unit, of: criticStart, to: place, hidden: hidden)
        }
    }

    mutating func actorGradients(
        _ rollout: Rollout, _ configuration: PPOConfiguration, _ gradients: inout [Float],
        _ metrics: inout PPOMetrics
    ) -> Float {
        let count = rows.count / steps
        policy.actor.forward(
            batch, steps: steps, rows: count, resets: resets, parameters: policy.parameters, state: &batchActorState,
            workspace: &actorWorkspace)
        let divergence = rollout.actorLoss(
            rows[...], configuration, parameters: policy.parameters, logStd: policy.logStd,
            workspace: &actorWorkspace, gradients: &gradients, &metrics)
        stateGradient.clear()
        policy.actor.backward(
            batch, steps: steps, rows: count, resets: resets, parameters: policy.parameters,
            stateGradient: &stateGradient, workspace: &actorWorkspace, gradients: &gradients)
        return divergence
    }

    mutating func criticGradients(
        _ rollout: Rollout, _ configuration: PPOConfiguration, _ gradients: inout [Float],
        _ metrics: inout PPOMetrics
    ) {
        let count = rows.count / steps
        policy.critic.forward(
            batch, steps: steps, rows: count, resets: resets, parameters: policy.parameters,
            state: &batchCriticState, workspace: &criticWorkspace)
        rollout.criticLoss(rows[...], configuration, workspace: &criticWorkspace, &metrics)
        stateGradient.clear()
        policy.critic.backward(
            batch, steps: steps, rows: count, resets: resets, parameters: policy.parameters,
            stateGradient: &stateGradient, workspace: &criticWorkspace, gradients: &gradients)
    }

    // MARK: Checkpoint

    static let kind = "recurrent-ppo-checkpoint-1"
    var policyBytes: [UInt8] { policy.safetensors() }

    /// The memory of the running episodes.
    var tensors: [Tensor] {
        [("actor", actorState), ("critic", criticState)].flatMap { name, state in
            [
                Tensor("\(name).hidden", shape: [units, hidden], .float32(state.hidden)),
                Tensor("\(name).cell", shape: [units, hidden], .float32(state.cell)),
            ]
        }
    }

    mutating func restore(_ file: Checkpoint) throws(LearningError) {
        let count = units * hidden
        actorState.hidden = try file.floats("actor.hidden", count: count)
        actorState.cell = try file.floats("actor.cell", count: count)
        criticState.hidden = try file.floats("critic.hidden", count: count)
        criticState.cell = try file.floats("critic.cell", count: count)
    }
}
