internal import NeuralNetworks

/// Observations whose answers are known, decided one after the other from an empty memory: whoever loads a policy can
/// tell that it says what it said when it was trained.
public struct GoldenInputs: Sendable, Equatable {
    /// [count × observationSize], in order.
    public var observations: [Float]
    /// The first component of the deterministic action, and the value, one each.
    public var actions: [Float]
    public var values: [Float]

    /// What differs more is another policy, or another machine's arithmetic gone wrong.
    static let tolerance: Float = 1e-4
    /// Answers that are nearer to each other are one: a head without life.
    static let leastSpread: Float = 1e-6

    /// The policy's own answers. Throws `observationSize` and `observationNotFinite`.
    public init(_ policy: Policy, observations: [Float]) throws(PolicyError) {
        let size = policy.observationSize
        guard observations.count >= 2 * size, observations.count % size == 0 else {
            throw .observationSize(expected: 2 * size, found: observations.count)
        }
        self.observations = observations
        (actions, values) = try Self.answers(policy, observations)
    }

    init(observations: [Float], actions: [Float], values: [Float]) {
        self.observations = observations
        self.actions = actions
        self.values = values
    }

    /// Throws `headWrong` for a head that answers otherwise than it did, `headDead` for one that always says the same.
    public func verify(_ policy: Policy) throws(PolicyError) {
        let found = try Self.answers(policy, observations)
        for (head, expected, answers) in [("policy", actions, found.actions), ("value", values, found.values)] {
            for (index, pair) in zip(expected, answers).enumerated() {
                let scale = max(1, abs(pair.0))
                guard abs(pair.0 - pair.1) <= Self.tolerance * scale else {
                    throw .headWrong(head: head, input: index, expected: pair.0, found: pair.1)
                }
            }
            guard let low = answers.min(), let high = answers.max(), high - low > Self.leastSpread else {
                throw .headDead(head: head)
            }
        }
    }

    private static func answers(
        _ policy: Policy, _ observations: [Float]
    ) throws(PolicyError) -> (actions: [Float], values: [Float]) {
        var runner = RunningPolicy(policy)
        var (actions, values): ([Float], [Float]) = ([], [])
        let size = policy.observationSize
        for start in stride(from: 0, to: observations.count, by: size) {
            let answer = try runner.decide(observations.span.extracting(start..<start + size))
            actions.append(answer.action)
            values.append(answer.value)
        }
        return (actions, values)
    }
}

/// A trained policy as the registry keeps it, in one safetensors file: the network, what its observations are
/// normalised by, and golden inputs. Files without the last two are read as well.
public struct PolicyFile: Sendable, Equatable {
    public var policy: Policy
    /// The bytes of the normaliser whose id stands in the metadata (`Features.Normaliser`).
    public var normaliser: [UInt8]?
    public var golden: GoldenInputs?

    public init(_ policy: Policy, normaliser: [UInt8]? = nil, golden: GoldenInputs? = nil) {
        self.policy = policy
        self.normaliser = normaliser
        self.golden = golden
    }

    /// Equal bytes for equal content.
    public func safetensors() -> [UInt8] {
        var file = policy.file
        if let normaliser {
            file.tensors.append(Tensor("normaliser", shape: [normaliser.count], .uint8(normaliser)))
        }
        if let golden {
            let shape = [golden.actions.count, policy.observationSize]
            file.tensors += [
                Tensor("golden.observations", shape: shape, .float32(golden.observations)),
                Tensor("golden.actions", golden.actions), Tensor("golden.values", golden.values),
            ]
        }
        return file.bytes()
    }

    /// Throws what `Policy(safetensors:)` throws. Golden inputs are read, not verified.
    public init(safetensors bytes: [UInt8]) throws(PolicyError) {
        let file: Safetensors
        do { file = try Safetensors(bytes: bytes) } catch { throw .checkpoint(error) }
        policy = try Policy(safetensors: bytes)
        let names = Set(file.tensors.map(\.name))
        do throws(NeuralNetworkError) {
            if names.contains("normaliser") {
                guard case .uint8(let bytes) = try file.tensor("normaliser").elements else {
                    throw .tensorMismatch(name: "normaliser", expected: "U8", found: "another type")
                }
                normaliser = bytes
            }
            if names.contains("golden.observations") {
                let count = try file.tensor("golden.actions").elements.count
                guard count >= 2 else {
                    throw .tensorMismatch(name: "golden.actions", expected: "two or more", found: "\(count)")
                }
                golden = GoldenInputs(
                    observations: try file.floats("golden.observations", shape: [count, policy.observationSize]),
                    actions: try file.floats("golden.actions", shape: [count]),
                    values: try file.floats("golden.values", shape: [count]))
            }
        } catch { throw .checkpoint(error) }
    }
}
