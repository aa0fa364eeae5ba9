import Kernels
import NeuralNetworks
import Policies
import Testing

/// A small policy whose weights are large enough that nothing is near 0.
private func smallPolicy(actionSize: Int = 1, seed: UInt64 = 1) -> RecurrentPolicy {
    var random = RandomGenerator(seed: seed)
    var policy = RecurrentPolicy(
        .init(observationSize: 5, actionSize: actionSize, encoded: 6, hidden: 4, window: 1, featureCount: 2),
        metadata: ["schema_version": "12"], random: &random)
    for i in policy.parameters.indices where !policy.logStd.contains(i) {
        policy.parameters[i] += Float(random.normal()) * 0.3
    }
    return policy
}

private func observations(_ count: Int, seed: UInt64 = 4) -> [[Float]] {
    var random = RandomGenerator(seed: seed)
    return (0..<count).map { _ in (0..<5).map { _ in Float(random.normal()) } }
}

@Suite struct RecurrentPolicyTests {
    @Test("A stored policy comes back bit for bit, with PyTorch's names and its metadata", arguments: [1, 3])
    func roundTrip(actionSize: Int) throws {
        let policy = smallPolicy(actionSize: actionSize)
        let bytes = policy.safetensors()
        let loaded = try RecurrentPolicy(safetensors: bytes)
        #expect(loaded == policy && loaded.safetensors() == bytes)
        #expect(loaded.metadata == ["schema_version": "12"] && loaded.featureCount == 2)
        let file = try Safetensors(bytes: bytes)
        #expect(try file.tensor("actor.encoder.weight").shape == [6, 5])
        #expect(try file.tensor("critic.lstm.weight_ih_l0").shape == [16, 6])
        #expect(try file.tensor("actor.lstm.weight_hh_l0").shape == [16, 4])
        #expect(try file.tensor("actor.lstm.bias_hh_l0").shape == [16])
        #expect(try file.tensor("actor.head.bias").shape == [actionSize])
        #expect(file.tensors.reduce(0) { $0 + $1.elements.count } == policy.parameterCount)
    }

    @Test("Every changed tensor or metadatum that matters is refused, with its cause")
    func refusals() throws {
        let good = try Safetensors(bytes: smallPolicy().safetensors())
        func load(_ change: (inout Safetensors) -> Void) throws(PolicyError) -> RecurrentPolicy {
            var file = good
            change(&file)
            return try RecurrentPolicy(safetensors: file.bytes())
        }
        #expect(throws: PolicyError.unsupported(kind: "mlp", format: "1")) {
            try load { $0.metadata["vomma.kind"] = "mlp" }
        }
        #expect(throws: PolicyError.unsupported(kind: "recurrent", format: "2")) {
            try load { $0.metadata["vomma.format"] = "2" }
        }
        for key in ["observation_size", "action_size", "encoded", "hidden", "window", "feature_count"] {
            let bad = ["-1", "x", "", "1e3", "9223372036854775807", "134217729"]
            for value in key == "feature_count" ? bad : bad + ["0"] {
                #expect(throws: PolicyError.metadata(key: "vomma.\(key)", value: value)) {
                    try load { $0.metadata["vomma.\(key)"] = value }
                }
            }
            #expect(throws: PolicyError.metadata(key: "vomma.\(key)", value: nil)) {
                try load { $0.metadata["vomma.\(key)"] = nil }
            }
        }
        // Within the limits one by one, and larger than the file together.
        for key in ["observation_size", "action_size", "encoded", "hidden"] {
            #expect {
                try load { $0.metadata["vomma.\(key)"] = "134217728" }
            } throws: {
                if case .metadata("vomma.hidden", _) = $0 as? PolicyError { true } else { false }
            }
        }
        // Consistent metadata of another size than the tensors'.
        #expect(throws: PolicyError.self) { try load { $0.metadata["vomma.hidden"] = "3" } }
        for index in good.tensors.indices {
            let tensor = good.tensors[index]
            #expect(throws: PolicyError.checkpoint(.missingTensor(name: tensor.name))) {
                try load { $0.tensors.remove(at: index) }
            }
            var values = [Float](repeating: 0, count: tensor.elements.count)
            values[0] = .infinity
            #expect {
                try load { $0.tensors[index] = Tensor(tensor.name, shape: tensor.shape, .float32(values)) }
            } throws: {
                if case .parameterNotFinite = $0 as? PolicyError { true } else { false }
            }
        }
    }

    @Test("No change of bytes traps: each is read or refused")
    func fuzz() {
        let bytes = smallPolicy().safetensors()
        var random = RandomGenerator(seed: 12)
        var refused = 0
        for _ in 0..<1000 {
            var changed = bytes
            if random.index(below: 4) == 0 {
                changed.removeLast(random.index(below: changed.count))
            } else {
                for _ in 0...random.index(below: 3) {
                    changed[random.index(below: 1600)] = UInt8(random.index(below: 256))
                }
            }
            do { _ = try RecurrentPolicy(safetensors: changed).safetensors() } catch { refused += 1 }
        }
        #expect(refused > 300)
    }
}

@Suite struct RecurrentRunnerTests {
    @Test("Decisions are the networks' on the whole sequence, and depend on what came before")
    func decide() throws {
        let policy = smallPolicy()
        let sequence = observations(7)
        var actor = RecurrentWorkspace(policy.actor, steps: 7, rows: 1)
        var critic = RecurrentWorkspace(policy.critic, steps: 7, rows: 1)
        var (actorState, criticState) = (LSTMState(rows: 1, hidden: 4), LSTMState(rows: 1, hidden: 4))
        let x = sequence.flatMap { $0 }
        policy.actor.forward(
            x, steps: 7, rows: 1, parameters: policy.parameters, state: &actorState, workspace: &actor)
        policy.critic.forward(
            x, steps: 7, rows: 1, parameters: policy.parameters, state: &criticState, workspace: &critic)
        var runner = RecurrentRunner(policy)
        for (step, observation) in sequence.enumerated() {
            let decision = try runner.decide(observation.span)
            #expect(abs(decision.mean - actor.output(step)) < 1e-6 && abs(decision.value - critic.output(step)) < 1e-6)
            #expect(abs(decision.action - tanh(decision.mean)) < 1e-6 && runner.actions == [decision.action])
            let sigma = Double(decision.standardDeviation)
            #expect(abs(Double(decision.confidence) - Normal.cumulative(abs(Double(decision.mean)) / sigma)) < 1e-6)
        }
        // Whole sequence or step by step, the state is the same but for rounding.
        #expect(zip(runner.state, actorState.hidden + actorState.cell).allSatisfy { abs($0 - $1) < 1e-6 })
        let start = sequence[0]
        let last = try runner.decide(start.span)
        runner.reset()
        #expect(runner.state.allSatisfy { $0 == 0 })
        let first = try runner.decide(start.span)
        #expect(abs(last.mean - first.mean) > 1e-3 && abs(last.value - first.value) > 1e-3)
    }

    @Test("A restored state goes on bit for bit")
    func restore() throws {
        let sequence = observations(9)
        var runner = RecurrentRunner(smallPolicy())
        for observation in sequence[..<5] { _ = try runner.decide(observation.span) }
        let state = runner.state
        var restored = RecurrentRunner(smallPolicy())
        try restored.restore(state)
        #expect(restored.state == state && state.count == 16)
        for observation in sequence[5...] {
            #expect(try restored.decide(observation.span) == runner.decide(observation.span))
        }
        #expect(throws: PolicyError.stateSize(expected: 16, found: 15)) { try restored.restore(Array(state[1...])) }
        var bad = state
        bad[9] = .nan
        let before = restored.state
        #expect(throws: PolicyError.stateNotFinite(index: 9)) { try restored.restore(bad) }
        #expect(restored.state == before)
    }

    @Test("Drawn actions have the stated distribution, and one seed draws the same")
    func sample() throws {
        var runner = RecurrentRunner(smallPolicy(actionSize: 2))
        var (random, again) = (RandomGenerator(seed: 8), RandomGenerator(seed: 8))
        let observation = observations(1)[0]
        var copy = runner
        #expect(try runner.sample(observation.span, random: &random) == copy.sample(observation.span, random: &again))
        runner.reset()
        let mode = try runner.decide(observation.span)
        var (sum, squares) = (0.0, 0.0)
        for _ in 0..<4000 {
            runner.reset()
            let z =
                (atanh(Double(try runner.sample(observation.span, random: &random).action)) - Double(mode.mean))
                / Double(mode.standardDeviation)
            sum += z
            squares += z * z
        }
        // Four standard errors.
        #expect(abs(sum / 4000) < 0.064 && abs(squares / 4000 - 1) < 0.09)
        #expect(runner.actions.count == 2)
    }

    @Test("A bad observation is refused, and leaves the memory alone")
    func badObservations() throws {
        var runner = RecurrentRunner(smallPolicy())
        let good = observations(1)[0]
        _ = try runner.decide(good.span)
        let state = runner.state
        #expect(throws: PolicyError.observationSize(expected: 5, found: 4)) {
            try runner.decide(Array(good.dropLast()).span)
        }
        for value in [Float.nan, .infinity] {
            var bad = good
            bad[2] = value
            #expect(throws: PolicyError.observationNotFinite(index: 2)) { try runner.decide(bad.span) }
        }
        #expect(runner.state == state && state.contains { $0 != 0 })
    }
}
