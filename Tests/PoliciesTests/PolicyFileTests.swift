import Kernels
import NeuralNetworks
import Testing

@testable import Policies

@Suite struct PolicyFileTests {
    private static let policy = {
        var random = RandomGenerator(seed: 11)
        var policy = MLPPolicy(
            .init(observationSize: 7, hidden: [8, 5], window: 2, featureCount: 2),
            metadata: ["normaliser_id": "n-1"], random: &random)
        for i in policy.parameters.indices { policy.parameters[i] += Float(random.normal()) * 0.2 }
        return policy
    }()

    private static let observations = {
        var random = RandomGenerator(seed: 12)
        return (0..<4 * 7).map { _ in Float(random.normal()) }
    }()

    private func file(_ change: (inout MLPPolicy) -> Void = { _ in }) throws -> PolicyFile {
        var policy = Self.policy
        let golden = try GoldenInputs(.mlp(policy), observations: Self.observations)
        change(&policy)
        return PolicyFile(.mlp(policy), normaliser: [1, 2, 3], golden: golden)
    }

    @Test("normaliser and golden inputs travel with the policy, and a file without them is read")
    func roundTrip() throws {
        let file = try file()
        let loaded = try PolicyFile(safetensors: file.safetensors())
        #expect(loaded == file && loaded.safetensors() == file.safetensors())
        try loaded.golden?.verify(loaded.policy)
        let bare = try PolicyFile(safetensors: Self.policy.safetensors())
        #expect(bare == PolicyFile(.mlp(Self.policy)))
        // Whoever wants the policy alone finds it in either.
        #expect(try MLPPolicy(safetensors: file.safetensors()) == Self.policy)
        #expect(throws: PolicyError.observationSize(expected: 14, found: 7)) {
            try GoldenInputs(.mlp(Self.policy), observations: Array(Self.observations[..<7]))
        }
    }

    @Test("a head that says something else than it did is named") func changed() throws {
        for (head, index) in [("policy", Self.policy.actor.layers[2].biases), ("value", Self.policy.critic.layers[2].biases)] {
            let file = try file { $0.parameters[index.lowerBound] += 0.01 }
            do throws(PolicyError) {
                try file.golden?.verify(file.policy)
                Issue.record("a changed head passed")
            } catch {
                guard case .headWrong(head, 0, _, _) = error else {
                    Issue.record("\(error)")
                    continue
                }
            }
        }
    }

    @Test("a head that always says the same is named") func dead() throws {
        for (head, layer) in [("policy", Self.policy.actor.layers[2]), ("value", Self.policy.critic.layers[2])] {
            var policy = Self.policy
            for i in layer.weights { policy.parameters[i] = 0 }
            let golden = try GoldenInputs(.mlp(policy), observations: Self.observations)
            #expect(throws: PolicyError.headDead(head: head)) { try golden.verify(.mlp(policy)) }
        }
    }

    @Test("damaged golden inputs are refused") func damage() throws {
        func load(_ change: (inout Safetensors) -> Void) throws(PolicyError) -> PolicyFile {
            var safetensors = (try? Safetensors(bytes: file().safetensors())) ?? Safetensors(tensors: [])
            change(&safetensors)
            return try PolicyFile(safetensors: safetensors.bytes())
        }
        func replace(_ name: String, _ tensor: Tensor) -> (inout Safetensors) -> Void {
            { file in file.tensors = file.tensors.map { $0.name == name ? tensor : $0 } }
        }
        _ = try load { _ in }
        #expect(throws: PolicyError.self) { try load(replace("golden.actions", Tensor("golden.actions", [1]))) }
        #expect(throws: PolicyError.self) { try load(replace("golden.values", Tensor("golden.values", [1, 2]))) }
        #expect(throws: PolicyError.self) { try load(replace("normaliser", Tensor("normaliser", [1]))) }
        #expect(throws: PolicyError.self) { try load { $0.tensors.removeAll { $0.name == "golden.values" } } }
    }

    @Test("gradient norms are finite differences', and 0 where nothing can be learnt any more") func gradients() throws {
        let rows = 4
        let found = Self.policy.gradientNorms(observations: Self.observations, rows: rows)
        #expect(found.map(\.layer) == ["actor.0", "actor.1", "actor.2", "critic.0", "critic.1", "critic.2"])
        func sum(_ policy: MLPPolicy, _ network: MLP) -> Double {
            var workspace = MLPWorkspace(network, capacity: rows)
            network.forward(Self.observations, rows: rows, parameters: policy.parameters, workspace: &workspace)
            return (0..<rows).reduce(0) { $0 + ($1 % 2 == 0 ? 1 : -0.5) * Double(workspace.output($1)) }
        }
        for (network, offset) in [(Self.policy.actor, 0), (Self.policy.critic, 3)] {
            for (index, layer) in network.layers.enumerated() {
                var squares = 0.0
                for i in layer.weights.lowerBound..<layer.biases.upperBound {
                    var (up, down) = (Self.policy, Self.policy)
                    up.parameters[i] += 1.0 / 128
                    down.parameters[i] -= 1.0 / 128
                    let slope = (sum(up, network) - sum(down, network)) * 64
                    squares += slope * slope
                }
                #expect(abs(squares.squareRoot() / found[offset + index].norm - 1) < 2e-3, "\(offset + index)")
            }
        }
        var cut = Self.policy
        for i in cut.actor.layers[1].weights { cut.parameters[i] = 0 }
        let norms = cut.gradientNorms(observations: Self.observations, rows: rows)
        #expect(norms[0].norm == 0 && norms[2].norm > 0 && norms[3].norm > 0)
    }

    private static let recurrent = {
        var random = RandomGenerator(seed: 13)
        var policy = RecurrentPolicy(
            .init(observationSize: 7, encoded: 6, hidden: 5, window: 2, featureCount: 2), random: &random)
        for i in policy.parameters.indices { policy.parameters[i] += Float(random.normal()) * 0.2 }
        return policy
    }()

    @Test("a policy with memory travels the same way, and is known by what it says one after the other")
    func withMemory() throws {
        let policy = Policy.recurrent(Self.recurrent)
        #expect(policy.kind == "recurrent" && policy.memorySize == 20 && policy.window == 2)
        let file = PolicyFile(policy, golden: try GoldenInputs(policy, observations: Self.observations))
        let loaded = try PolicyFile(safetensors: file.safetensors())
        #expect(loaded == file)
        try loaded.golden?.verify(loaded.policy)
        var running = RunningPolicy(policy)
        var runner = RecurrentRunner(Self.recurrent)
        for (index, action) in (file.golden?.actions ?? []).enumerated() {
            let observation = Self.observations.span.extracting(index * 7..<(index + 1) * 7)
            #expect(try running.decide(observation) == runner.decide(observation))
            #expect(runner.actions[0] == action && running.memory == runner.state)
        }
        // Its memory can be put back, and forgotten.
        let memory = running.memory
        let first = Self.observations.span.extracting(0..<7)
        let next = try running.decide(first)
        try running.restore(memory)
        #expect(try running.decide(first) == next)
        try running.restore([])
        #expect(try running.decide(first).action == file.golden?.actions[0])
        #expect(throws: PolicyError.stateSize(expected: 20, found: 3)) { try running.restore([1, 2, 3]) }
        var without = RunningPolicy(.mlp(Self.policy))
        #expect(throws: PolicyError.stateSize(expected: 0, found: 3)) { try without.restore([1, 2, 3]) }
        #expect(without.memory.isEmpty)
        #expect(throws: PolicyError.unsupported(kind: "other", format: "1")) {
            var file = policy.file
            file.metadata["vomma.kind"] = "other"
            return try Policy(safetensors: file.bytes())
        }
    }

    @Test("what an observation contributes to a remembering policy's action is its gradient, by finite differences")
    func explanation() throws {
        var running = RunningPolicy(.recurrent(Self.recurrent))
        _ = try running.decide(Self.observations.span.extracting(0..<7))
        let memory = running.memory
        let second = Array(Self.observations[7..<14])
        let (decision, contributions) = try running.explain(second.span)
        for index in 0..<7 {
            var sides: [Float] = []
            for step in [1.0 / 128, -1.0 / 128] as [Float] {
                var moved = second
                moved[index] += step
                try running.restore(memory)
                sides.append(try running.decide(moved.span).action)
            }
            let slope = (sides[0] - sides[1]) * 64
            #expect(abs(slope * second[index] - contributions[index]) < 2e-3, "\(index)")
        }
        try running.restore(memory)
        #expect(try running.decide(second.span) == decision)
    }

    @Test("learning reaches every part of a policy with memory; a head without weights cuts it off") func reach() {
        let found = Policy.recurrent(Self.recurrent).gradientNorms(observations: Self.observations, rows: 4)
        let parts = ["encoder", "lstm", "head"]
        #expect(found.map(\.layer) == ["actor", "critic"].flatMap { name in parts.map { "\(name).\($0)" } })
        #expect(found.allSatisfy { $0.norm > 0 })
        var cut = Self.recurrent
        for i in cut.critic.head.weights { cut.parameters[i] = 0 }
        let norms = Policy.recurrent(cut).gradientNorms(observations: Self.observations, rows: 4)
        #expect(norms[3].norm == 0 && norms[4].norm == 0 && norms[5].norm > 0 && norms[0].norm > 0)
    }
}
