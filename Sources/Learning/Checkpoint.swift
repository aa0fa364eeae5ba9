internal import Kernels
internal import NeuralNetworks

/// A training's checkpoint as it is read: a safetensors file of one kind of training and one configuration.
struct Checkpoint {
    private let file: Safetensors

    /// Throws `checkpoint`, or `checkpointMismatch` for another kind or configuration.
    init(_ bytes: [UInt8], kind: String, configuration: PPOConfiguration) throws(LearningError) {
        do { file = try Safetensors(bytes: bytes) } catch { throw .checkpoint(error) }
        try Self.require(file.metadata["kind"] ?? "", is: kind, field: "kind")
        for (field, value) in configuration.fields.sorted(by: { $0.key < $1.key }) {
            try Self.require(file.metadata["configuration.\(field)"] ?? "", is: value, field: field)
        }
    }

    func policyBytes() throws(LearningError) -> [UInt8] {
        try read("policy") { if case .uint8(let bytes) = $0 { bytes } else { nil } }
    }

    /// Of the given count, or of any.
    func floats(_ name: String, count: Int?) throws(LearningError) -> [Float] {
        let values: [Float] = try read(name) { if case .float32(let values) = $0 { values } else { nil } }
        if let count { try Self.require("\(values.count)", is: "\(count)", field: name) }
        return values
    }

    /// None is negative.
    func integers(_ name: String, count: Int) throws(LearningError) -> [Int] {
        let values: [Int64] = try read(name) { if case .int64(let values) = $0 { values } else { nil } }
        try Self.require("\(values.count)", is: "\(count)", field: name)
        guard values.allSatisfy({ $0 >= 0 }) else {
            throw .checkpointMismatch(field: name, expected: "natural numbers", found: "\(values)")
        }
        return values.map(Int.init)
    }

    func generators(_ name: String, count: Int) throws(LearningError) -> [RandomGenerator] {
        let words: [UInt64] = try read(name) { if case .uint64(let values) = $0 { values } else { nil } }
        try Self.require("\(words.count)", is: "\(6 * count)", field: name)
        var result: [RandomGenerator] = []
        for index in 0..<count {
            guard let generator = RandomGenerator(state: Array(words[6 * index..<6 * index + 6])) else {
                throw .checkpointMismatch(field: name, expected: "a generator's state", found: "other words")
            }
            result.append(generator)
        }
        return result
    }

    static func require(_ found: String, is expected: String, field: String) throws(LearningError) {
        guard found == expected else {
            throw .checkpointMismatch(field: field, expected: expected, found: found)
        }
    }

    private func read<T>(_ name: String, _ elements: (Tensor.Elements) -> [T]?) throws(LearningError) -> [T] {
        let tensor: Tensor
        do { tensor = try file.tensor(name) } catch { throw .checkpoint(error) }
        guard let values = elements(tensor.elements) else {
            throw .checkpointMismatch(field: name, expected: "\([T].self)", found: "another element type")
        }
        return values
    }
}

/// Checkpoints: everything that the next iteration depends on, as a safetensors file. Environments are not stored but
/// replayed: the generator at the episode's start and the actions since, checked against the observation stored.
extension PPO {
    /// The whole state between two iterations: equal bytes for equal states.
    func checkpoint() -> [UInt8] {
        var metadata = ["kind": L.kind]
        for (field, value) in configuration.fields { metadata["configuration.\(field)"] = value }
        let policyBytes = learner.policyBytes
        let actionCounts = slots.map { Int64($0.actions.count) }
        let actions = slots.flatMap(\.actions)
        let present = Array(rollout.observations.suffix(slots.count * rollout.observationSize))
        return Safetensors(
            metadata: metadata,
            tensors: [
                Tensor(
                    "counters", shape: [3],
                    .int64([Int64(iteration), Int64(steps), Int64(optimiser.stepCount)])),
                Tensor("random", shape: [6], .uint64(random.state)),
                Tensor("environments.random", shape: [slots.count, 6], .uint64(slots.flatMap(\.random.state))),
                Tensor(
                    "environments.random_at_reset", shape: [slots.count, 6],
                    .uint64(slots.flatMap(\.randomAtReset.state))),
                Tensor("environments.action_counts", shape: [slots.count], .int64(actionCounts)),
                Tensor("environments.actions", actions),
                Tensor("environments.observations", present),
                Tensor("adam.first", optimiser.firstMoment),
                Tensor("adam.second", optimiser.secondMoment),
                Tensor("policy", shape: [policyBytes.count], .uint8(policyBytes)),
            ] + learner.tensors
        ).bytes()
    }

    /// Takes over what `checkpoint()` wrote, but for the policy: that is there already, and its environments as they
    /// were given. Throws `checkpoint`, `checkpointMismatch` or `environmentChanged`.
    mutating func restore(_ file: Checkpoint) throws(LearningError) {
        let (environments, size) = (slots.map(\.environment), rollout.observationSize)
        let counters = try file.integers("counters", count: 3)
        random = try file.generators("random", count: 1)[0]
        let current = try file.generators("environments.random", count: environments.count)
        let atReset = try file.generators("environments.random_at_reset", count: environments.count)
        let counts = try file.integers("environments.action_counts", count: environments.count)
        let present = try file.floats("environments.observations", count: environments.count * size)
        let actions = try file.floats("environments.actions", count: nil)
        var total = 0
        for count in counts {
            guard count % rollout.actionSize == 0, count <= actions.count - total else {
                throw .checkpointMismatch(
                    field: "environments.actions", expected: "\(counts)", found: "\(actions.count)")
            }
            total += count
        }
        try Checkpoint.require("\(actions.count)", is: "\(total)", field: "environments.actions")
        try learner.restore(file)

        var start = 0
        for (index, environment) in environments.enumerated() {
            var observation = [Float](repeating: 0, count: size)
            slots[index] = EnvironmentSlot(
                replaying: environment, randomAtReset: atReset[index],
                actions: Array(actions[start..<start + counts[index]]), into: &observation)
            start += counts[index]
            let expected = present[index * size..<(index + 1) * size]
            guard slots[index].random == current[index],
                expected.elementsEqual(observation, by: { $0.bitPattern == $1.bitPattern })
            else { throw .environmentChanged(environment: index) }
        }
        let all = rollout.observations.count
        rollout.observations.replaceSubrange(all - present.count..<all, with: present)
        (iteration, steps) = (counters[0], counters[1])
        optimiser = Adam(
            configuration: configuration.adam, stepCount: counters[2],
            firstMoment: try file.floats("adam.first", count: learner.parameters.count),
            secondMoment: try file.floats("adam.second", count: learner.parameters.count))
    }
}
