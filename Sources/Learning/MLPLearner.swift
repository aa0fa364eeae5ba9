internal import NeuralNetworks
internal import Policies

/// Policy `mlp` in training: a minibatch is any steps of the rollout.
struct MLPLearner: Learner {
    var policy: MLPPolicy
    let units: Int
    let unitsPerMinibatch: Int
    private var batch: [Float]
    /// The rows of the minibatch.
    private var rows: [Int] = []
    private var actorWorkspace: MLPWorkspace
    private var criticWorkspace: MLPWorkspace

    init(_ policy: MLPPolicy, environments: Int, configuration: PPOConfiguration) {
        self.policy = policy
        units = configuration.stepsPerEnvironment * environments
        unitsPerMinibatch = configuration.minibatchSize
        let capacity = max(environments, min(configuration.minibatchSize, units))
        batch = [Float](repeating: 0, count: capacity * policy.observationSize)
        actorWorkspace = MLPWorkspace(policy.actor, capacity: capacity)
        criticWorkspace = MLPWorkspace(policy.critic, capacity: capacity)
    }

    var parameters: [Float] {
        get { policy.parameters }
        // Not a copy: the optimiser writes in place.
        _modify { yield &policy.parameters }
    }
    var logStd: Range<Int> { policy.logStd }

    // MARK: Rollout

    mutating func begin() {}

    mutating func decide(_ t: Int, _ rollout: inout Rollout) {
        policy.actor.forward(
            rollout.observations, firstRow: t * rollout.environments, rows: rollout.environments,
            parameters: policy.parameters, workspace: &actorWorkspace)
        for index in 0..<rollout.environments {
            for k in 0..<rollout.actionSize {
                rollout.means[index * rollout.actionSize + k] = actorWorkspace.output(index, k)
            }
        }
    }

    mutating func follow(_ t: Int, _ rollout: inout Rollout) {}

    mutating func evaluate(_ rollout: inout Rollout) {
        let environments = rollout.environments
        let rows = rollout.size + environments
        for start in stride(from: 0, to: rows, by: criticWorkspace.capacity) {
            let count = min(criticWorkspace.capacity, rows - start)
            policy.critic.forward(
                rollout.observations, firstRow: start, rows: count, parameters: policy.parameters,
                workspace: &criticWorkspace)
            for i in 0..<count { rollout.values[start + i] = criticWorkspace.output(i) }
        }
        for row in 0..<rollout.size { rollout.nextValues[row] = rollout.values[row + environments] }
        // Where an episode was truncated, the row behind already shows the next episode: its final one counts.
        for (index, row) in rollout.finalRows.enumerated() {
            policy.critic.forward(
                rollout.finalObservations, firstRow: index, rows: 1, parameters: policy.parameters,
                workspace: &criticWorkspace)
            rollout.nextValues[row] = criticWorkspace.output(0)
        }
    }

    // MARK: Update

    /// Copies the observations of the rows side by side into `batch`.
    mutating func gather(_ units: ArraySlice<Int>, _ rollout: Rollout) {
        rows.removeAll(keepingCapacity: true)
        rows.append(contentsOf: units)
        let size = rollout.observationSize
        unsafe batch.withUnsafeMutableBufferPointer { target in
            unsafe rollout.observations.withUnsafeBufferPointer { source in
                guard let target = target.baseAddress, let source = source.baseAddress else { return }
                for (i, row) in rows.enumerated() {
                    unsafe (target + i * size).update(from: source + row * size, count: size)
                }
            }
        }
    }

    mutating func actorGradients(
        _ rollout: Rollout, _ configuration: PPOConfiguration, _ gradients: inout [Float],
        _ metrics: inout PPOMetrics
    ) -> Float {
        policy.actor.forward(batch, rows: rows.count, parameters: policy.parameters, workspace: &actorWorkspace)
        let divergence = rollout.actorLoss(
            rows[...], configuration, parameters: policy.parameters, logStd: policy.logStd,
            workspace: &actorWorkspace, gradients: &gradients, &metrics)
        policy.actor.backward(
            batch, rows: rows.count, parameters: policy.parameters, workspace: &actorWorkspace,
            gradients: &gradients)
        return divergence
    }

    mutating func criticGradients(
        _ rollout: Rollout, _ configuration: PPOConfiguration, _ gradients: inout [Float],
        _ metrics: inout PPOMetrics
    ) {
        policy.critic.forward(batch, rows: rows.count, parameters: policy.parameters, workspace: &criticWorkspace)
        rollout.criticLoss(rows[...], configuration, workspace: &criticWorkspace, &metrics)
        policy.critic.backward(
            batch, rows: rows.count, parameters: policy.parameters, workspace: &criticWorkspace,
            gradients: &gradients)
    }

    // MARK: Checkpoint

    static let kind = "ppo-checkpoint-1"
    var policyBytes: [UInt8] { policy.safetensors() }
    var tensors: [Tensor] { [] }
    mutating func restore(_ file: Checkpoint) throws(LearningError) {}
}
