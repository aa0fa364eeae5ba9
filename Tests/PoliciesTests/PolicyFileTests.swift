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
        let golden = try GoldenInputs(policy, observations: Self.observations)
        change(&policy)
        return PolicyFile(policy, normaliser: [1, 2, 3], golden: golden)
    }

    @Test("normaliser and golden inputs travel with the policy, and a file without them is read")
    func roundTrip() throws {
        let file = try file()
        let loaded = try PolicyFile(safetensors: file.safetensors())
        #expect(loaded == file && loaded.safetensors() == file.safetensors())
        try loaded.golden?.verify(loaded.policy)
        let bare = try PolicyFile(safetensors: Self.policy.safetensors())
        #expect(bare == PolicyFile(Self.policy))
        // Whoever wants the policy alone finds it in either.
        #expect(try MLPPolicy(safetensors: file.safetensors()) == Self.policy)
        #expect(throws: PolicyError.observationSize(expected: 14, found: 7)) {
            try GoldenInputs(Self.policy, observations: Array(Self.observations[..<7]))
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
            let golden = try GoldenInputs(policy, observations: Self.observations)
            #expect(throws: PolicyError.headDead(head: head)) { try golden.verify(policy) }
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
}
