internal import Kernels
internal import NeuralNetworks
internal import Policies

/// Checkpoints: everything that the next iteration depends on, as a safetensors file. Environments are not stored but
/// replayed: the generator at the episode's start and the actions since, checked against the observation stored.
extension PPOTrainer {
    private static var kind: String { "ppo-checkpoint-1" }

    /// The whole state between two iterations: equal bytes for equal states.
    public func checkpoint() -> [UInt8] {
        var metadata = ["kind": Self.kind]
        for (field, value) in configuration.fields { metadata["configuration.\(field)"] = value }
        let policyBytes = policy.safetensors()
        let actionCounts = slots.map { Int64($0.actions.count) }
        let actions = slots.flatMap(\.actions)
        let present = Array(observations.suffix(slots.count * policy.observationSize))
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
            ]
        ).bytes()
    }

    /// Continues a training from `checkpoint()`'s bytes, with environments and configuration as they were.
    ///
    /// Throws `checkpoint`, `policy`, `checkpointMismatch` (another configuration or number of environments),
    /// `environmentChanged`, or what the other initialiser throws. Replays each environment's current episode.
    public init(
        resuming bytes: [UInt8], environments: [E], configuration: PPOConfiguration
    ) throws(LearningError) {
        let file: Safetensors
        do { file = try Safetensors(bytes: bytes) } catch { throw .checkpoint(error) }
        try Self.require(file.metadata["kind"] ?? "", is: Self.kind, field: "kind")
        for (field, value) in configuration.fields.sorted(by: { $0.key < $1.key }) {
            try Self.require(file.metadata["configuration.\(field)"] ?? "", is: value, field: field)
        }
        let policy: MLPPolicy
        let policyBytes: [UInt8] = try Self.read(file, "policy") {
            if case .uint8(let bytes) = $0 { bytes } else { nil }
        }
        do { policy = try MLPPolicy(safetensors: policyBytes) } catch { throw .policy(error) }

        let counters = try Self.integers(file, "counters", count: 3)
        let random = try Self.generators(file, "random", count: 1)
        let current = try Self.generators(file, "environments.random", count: environments.count)
        let atReset = try Self.generators(file, "environments.random_at_reset", count: environments.count)
        let counts = try Self.integers(file, "environments.action_counts", count: environments.count)
        let present = try Self.floats(
            file, "environments.observations", count: environments.count * policy.observationSize)
        let actions = try Self.floats(file, "environments.actions", count: nil)
        var total = 0
        for count in counts {
            guard count % policy.actionSize == 0, count <= actions.count - total else {
                throw .checkpointMismatch(
                    field: "environments.actions", expected: "\(counts)", found: "\(actions.count)")
            }
            total += count
        }
        try Self.require("\(actions.count)", is: "\(total)", field: "environments.actions")

        // Sizes are checked before any environment runs on them.
        let idle = environments.map { EnvironmentSlot($0, random: RandomGenerator(seed: 0)) }
        try self.init(policy, slots: idle, configuration: configuration, random: random[0])
        var start = 0
        for (index, environment) in environments.enumerated() {
            var observation = [Float](repeating: 0, count: policy.observationSize)
            slots[index] = EnvironmentSlot(
                replaying: environment, randomAtReset: atReset[index],
                actions: Array(actions[start..<start + counts[index]]), into: &observation)
            start += counts[index]
            let expected = present[index * observation.count..<(index + 1) * observation.count]
            guard slots[index].random == current[index],
                expected.elementsEqual(observation, by: { $0.bitPattern == $1.bitPattern })
            else { throw .environmentChanged(environment: index) }
        }
        observations.replaceSubrange(observations.count - present.count..<observations.count, with: present)
        (iteration, steps) = (counters[0], counters[1])
        optimiser = Adam(
            configuration: configuration.adam, stepCount: counters[2],
            firstMoment: try Self.floats(file, "adam.first", count: policy.parameterCount),
            secondMoment: try Self.floats(file, "adam.second", count: policy.parameterCount))
    }

    private static func require(_ found: String, is expected: String, field: String) throws(LearningError) {
        guard found == expected else {
            throw .checkpointMismatch(field: field, expected: expected, found: found)
        }
    }

    private static func read<T>(
        _ file: Safetensors, _ name: String, _ elements: (Tensor.Elements) -> [T]?
    ) throws(LearningError) -> [T] {
        let tensor: Tensor
        do { tensor = try file.tensor(name) } catch { throw .checkpoint(error) }
        guard let values = elements(tensor.elements) else {
            throw .checkpointMismatch(field: name, expected: "\([T].self)", found: "another element type")
        }
        return values
    }

    private static func floats(_ file: Safetensors, _ name: String, count: Int?) throws(LearningError) -> [Float] {
        let values: [Float] = try read(file, name) { if case .float32(let values) = $0 { values } else { nil } }
        if let count { try require("\(values.count)", is: "\(count)", field: name) }
        return values
    }

    /// None is negative.
    private static func integers(_ file: Safetensors, _ name: String, count: Int) throws(LearningError) -> [Int] {
        let values: [Int64] = try read(file, name) { if case .int64(let values) = $0 { values } else { nil } }
        try require("\(values.count)", is: "\(count)", field: name)
        guard values.allSatisfy({ $0 >= 0 }) else {
            throw .checkpointMismatch(field: name, expected: "natural numbers", found: "\(values)")
        }
        return values.map(Int.init)
    }

    private static func generators(
        _ file: Safetensors, _ name: String, count: Int
    ) throws(LearningError) -> [RandomGenerator] {
        let words: [UInt64] = try read(file, name) { if case .uint64(let values) = $0 { values } else { nil } }
        try require("\(words.count)", is: "\(6 * count)", field: name)
        var result: [RandomGenerator] = []
        for index in 0..<count {
            guard let generator = RandomGenerator(state: Array(words[6 * index..<6 * index + 6])) else {
                throw .checkpointMismatch(field: name, expected: "a generator's state", found: "other words")
            }
            result.append(generator)
        }
        return result
    }
}
