import Kernels
import NeuralNetworks
import Policies
import Testing

/// A small policy that sees two rows of two features, two mask cells and the previous exposure; its weights large
/// enough that nothing is near 0.
private func smallPolicy(actionSize: Int = 1, seed: UInt64 = 1) -> MLPPolicy {
    var random = RandomGenerator(seed: seed)
    var policy = MLPPolicy(
        .init(observationSize: 7, actionSize: actionSize, hidden: [8, 5], window: 2, featureCount: 2),
        metadata: ["schema_version": "12", "normaliser_id": "n-1"], random: &random)
    for i in policy.parameters.indices where !policy.logStd.contains(i) {
        policy.parameters[i] += Float(random.normal()) * 0.3
    }
    return policy
}

private let observation: [Float] = [0.3, -1.2, 0.5, 1.1, 0, -0.4, 0.8]

@Suite struct MLPPolicyTests {
    @Test("A stored policy comes back bit for bit, with its metadata", arguments: [1, 3])
    func roundTrip(actionSize: Int) throws {
        let policy = smallPolicy(actionSize: actionSize)
        let bytes = policy.safetensors()
        let loaded = try MLPPolicy(safetensors: bytes)
        #expect(loaded == policy)
        #expect(loaded.safetensors() == bytes)
        #expect(loaded.window == 2 && loaded.featureCount == 2)
        let names = try Safetensors(bytes: bytes).tensors.map(\.name)
        #expect(names.contains("actor.0.weight") && names.contains("critic.2.bias") && names.contains("log_std"))
    }

    @Test("The first means are near 0, and sigma is the one asked for")
    func initialPolicy() throws {
        var random = RandomGenerator(seed: 3)
        let policy = MLPPolicy(
            .init(observationSize: 7), initialStandardDeviation: 0.5, random: &random)
        var runner = PolicyRunner(policy)
        let decision = try runner.decide(observation.span)
        #expect(abs(decision.mean) < 0.05 && abs(decision.standardDeviation - 0.5) < 1e-6)
        #expect(policy.architecture.hidden == [128, 128])
        #expect(policy.parameterCount == (7 * 128 + 128 + 128 * 128 + 128 + 128 + 1) * 2 + 1)
    }

    @Test("Every changed tensor or metadatum that matters is refused, with its cause")
    func refusals() throws {
        let good = try Safetensors(bytes: smallPolicy().safetensors())
        func load(_ change: (inout Safetensors) -> Void) throws(PolicyError) -> MLPPolicy {
            var file = good
            change(&file)
            return try MLPPolicy(safetensors: file.bytes())
        }
        #expect(throws: PolicyError.unsupported(kind: "cnn", format: "1")) {
            try load { $0.metadata["vomma.kind"] = "cnn" }
        }
        #expect(throws: PolicyError.unsupported(kind: "mlp", format: "9")) {
            try load { $0.metadata["vomma.format"] = "9" }
        }
        for (key, values) in [
            "vomma.observation_size": ["0", "-2", "x", "", "1e3", "8", "9223372036854775807", "99999999"],
            "vomma.window": ["0", "x"], "vomma.feature_count": ["-1", ""], "vomma.action_size": ["0"],
            "vomma.hidden": ["8,0", "8,x", "134217728,134217728"], "vomma.activation": ["gelu"],
        ] {
            for value in values {
                #expect(throws: PolicyError.self, "\(key) = \(value)") { try load { $0.metadata[key] = value } }
            }
            #expect(throws: PolicyError.self, "no \(key)") { try load { $0.metadata[key] = nil } }
        }
        // Consistent metadata of another size than the tensors'.
        #expect(throws: PolicyError.self) { try load { $0.metadata["vomma.hidden"] = "8,6" } }
        for index in good.tensors.indices {
            #expect(throws: PolicyError.checkpoint(.missingTensor(name: good.tensors[index].name))) {
                try load { $0.tensors.remove(at: index) }
            }
        }
        #expect(throws: PolicyError.self) {
            try load {
                let elements = Tensor.Elements.float32(.init(repeating: .nan, count: 56))
                $0.tensors[0] = Tensor($0.tensors[0].name, shape: [8, 7], elements)
            }
        }
        #expect(throws: PolicyError.self) { try MLPPolicy(safetensors: [1, 2, 3]) }
    }
}

@Suite struct PolicyRunnerTests {
    @Test("The decision is the network's: mean, action, density, confidence")
    func decide() throws {
        let policy = smallPolicy()
        var runner = PolicyRunner(policy)
        let decision = try runner.decide(observation.span)
        var workspace = MLPWorkspace(policy.actor, capacity: 1)
        policy.actor.forward(observation, rows: 1, parameters: policy.parameters, workspace: &workspace)
        var critic = MLPWorkspace(policy.critic, capacity: 1)
        policy.critic.forward(observation, rows: 1, parameters: policy.parameters, workspace: &critic)
        let (mean, sigma) = (Double(workspace.output(0)), Double(decision.standardDeviation))
        // The same sums in another order.
        #expect(abs(decision.mean - workspace.output(0)) < 2e-6 && abs(decision.value - critic.output(0)) < 2e-6)
        #expect(abs(Double(decision.action) - tanh(mean)) < 1e-6)
        #expect(abs(Double(decision.confidence) - Normal.cumulative(abs(mean) / sigma)) < 1e-6)
        // At the mean the Gaussian's density is 1/(σ√2π), divided by 1 − a².
        let density = 1 / (sigma * (2 * Double.pi).squareRoot()) / (1 - tanh(mean) * tanh(mean))
        #expect(abs(Double(decision.logProbability) - log(density)) < 1e-4)
        #expect(abs(mean) > 0.01)
    }

    @Test(
        "A batch gives each observation's own decision, bit for bit, at every width and number of rows",
        arguments: [[], [1], [8, 5], [16, 16], [40, 24], [130, 7, 33]], [Activation.tanh, .relu])
    func batch(hidden: [Int], activation: Activation) throws {
        var random = RandomGenerator(seed: 11)
        for (inputs, actionSize) in [(1, 1), (7, 2), (77, 1), (130, 20)] {
            let policy = MLPPolicy(
                .init(observationSize: inputs, actionSize: actionSize, hidden: hidden, activation: activation),
                random: &random)
            var (runner, single) = (PolicyRunner(policy), PolicyRunner(policy))
            let count = 150
            let observations = (0..<count * inputs).map { _ in Float(random.normal()) }
            var (actor, critic) = (
                MLPWorkspace(policy.actor, capacity: count), MLPWorkspace(policy.critic, capacity: count)
            )
            policy.actor.forward(observations, rows: count, parameters: policy.parameters, workspace: &actor)
            policy.critic.forward(observations, rows: count, parameters: policy.parameters, workspace: &critic)
            for rows in [1, 2, 3, 7, 8, 9, 64, 65, 150] {
                let decisions = try runner.decide(batch: observations.span.extracting(0..<rows * inputs))
                #expect(decisions.count == rows)
                for row in 0..<rows {
                    let alone = try single.decide(observations.span.extracting(row * inputs..<(row + 1) * inputs))
                    #expect(decisions[row] == alone)
                    #expect(abs(alone.mean - actor.output(row)) < 1e-5)
                    #expect(abs(alone.value - critic.output(row)) < 2e-5 * max(1, abs(alone.value)))
                    for k in 0..<actionSize {
                        #expect(abs(single.actions[k] - hyperbolicTangent(actor.output(row, k))) < 1e-5)
                    }
                }
                #expect(runner.actions == single.actions)
            }
        }
    }

    @Test("A batch of no whole observations, or with a number that is not finite, is refused; an empty one is empty")
    func badBatches() throws {
        var runner = PolicyRunner(smallPolicy())
        var batch = [Float](repeating: 0.5, count: 7 * 70)
        #expect(throws: PolicyError.observationSize(expected: 7, found: 6)) {
            try runner.decide(batch: Array(batch.dropLast()).span)
        }
        batch[7 * 66 + 3] = -.infinity
        #expect(throws: PolicyError.observationNotFinite(index: 7 * 66 + 3)) { try runner.decide(batch: batch.span) }
        #expect(try runner.decide(batch: [Float]().span).isEmpty)
    }

    @Test("Drawn actions have the stated distribution, and one seed draws the same")
    func sample() throws {
        var runner = PolicyRunner(smallPolicy(actionSize: 2))
        var (random, again) = (RandomGenerator(seed: 8), RandomGenerator(seed: 8))
        var copy = runner
        #expect(try runner.sample(observation.span, random: &random) == copy.sample(observation.span, random: &again))
        let mode = try runner.decide(observation.span)
        let n = 4000
        var (sum, squares, agreeing) = (0.0, 0.0, 0)
        for _ in 0..<n {
            let action = try runner.sample(observation.span, random: &random).action
            let u = atanh(Double(action))
            sum += u
            squares += u * u
            if (action > 0) == (mode.action > 0) { agreeing += 1 }
        }
        let (mean, sigma) = (Double(mode.mean), Double(mode.standardDeviation))
        // Four standard errors.
        let error = 4 / Double(n).squareRoot()
        #expect(abs(sum / Double(n) - mean) < error * sigma)
        #expect(abs((squares / Double(n) - (sum / Double(n)) * (sum / Double(n))).squareRoot() / sigma - 1) < error)
        #expect(abs(Double(agreeing) / Double(n) - Double(mode.confidence)) < error * 0.5)
        #expect(runner.actions.count == 2)
    }

    @Test("Contributions are gradient × input of the action, and sum by feature over the window")
    func explain() throws {
        var runner = PolicyRunner(smallPolicy(actionSize: 2))
        let (decision, contributions) = try runner.explain(observation.span)
        #expect(try decision == runner.decide(observation.span))
        for i in observation.indices {
            var (up, down) = (observation, observation)
            up[i] += 1e-2
            down[i] -= 1e-2
            let slope = try (runner.decide(up.span).action - runner.decide(down.span).action) / 2e-2
            #expect(abs(contributions[i] - slope * observation[i]) < 2e-4)
        }
        #expect(contributions[4] == 0 && contributions.contains { abs($0) > 0.01 })
        let sums = PolicyRunner.byFeature(contributions, window: 2, featureCount: 2)
        let first = contributions[0] + contributions[2] + contributions[4]
        let second = contributions[1] + contributions[3] + contributions[5]
        #expect(sums == [first, second, contributions[6]])
        #expect(PolicyRunner.byFeature([0.5], window: 16, featureCount: 0) == [0.5])
    }

    @Test("An observation of wrong size or with a number that is not finite is refused")
    func badObservations() {
        var runner = PolicyRunner(smallPolicy())
        #expect(throws: PolicyError.observationSize(expected: 7, found: 6)) {
            try runner.decide(Array(observation.dropLast()).span)
        }
        for value in [Float.nan, .infinity] {
            var bad = observation
            bad[2] = value
            #expect(throws: PolicyError.observationNotFinite(index: 2)) { try runner.decide(bad.span) }
        }
    }
}
