internal import Kernels
internal import NeuralNetworks

/// A policy of any kind that can be trained, stored and served.
public enum Policy: Sendable, Equatable {
    case mlp(MLPPolicy)
    case recurrent(RecurrentPolicy)

    /// `mlp`, `recurrent`.
    public var kind: String {
        switch self {
        case .mlp: MLPPolicy.kind
        case .recurrent: RecurrentPolicy.kind
        }
    }

    public var observationSize: Int {
        switch self {
        case .mlp(let policy): policy.observationSize
        case .recurrent(let policy): policy.observationSize
        }
    }

    /// The observation's layout: rows of features, and features in a row.
    public var window: Int {
        switch self {
        case .mlp(let policy): policy.window
        case .recurrent(let policy): policy.window
        }
    }

    public var featureCount: Int {
        switch self {
        case .mlp(let policy): policy.featureCount
        case .recurrent(let policy): policy.featureCount
        }
    }

    public var metadata: [String: String] {
        switch self {
        case .mlp(let policy): policy.metadata
        case .recurrent(let policy): policy.metadata
        }
    }

    /// Numbers that it remembers from one decision to the next; 0 for a policy without memory.
    public var memorySize: Int {
        switch self {
        case .mlp: 0
        case .recurrent(let policy): 4 * policy.architecture.hidden
        }
    }

    /// The policy alone as a safetensors file; `PolicyFile` has what travels with it.
    public func safetensors() -> [UInt8] { file.bytes() }

    var file: Safetensors {
        switch self {
        case .mlp(let policy): policy.file
        case .recurrent(let policy): policy.file
        }
    }

    /// The policy as an ONNX model: see the kinds.
    public func onnx() -> [UInt8] {
        switch self {
        case .mlp(let policy): policy.onnx()
        case .recurrent(let policy): policy.onnx()
        }
    }

    /// Reads a file of any kind. Throws what the kinds throw, and `unsupported` for one that is not known.
    public init(safetensors bytes: [UInt8]) throws(PolicyError) {
        let file: Safetensors
        do { file = try Safetensors(bytes: bytes) } catch { throw .checkpoint(error) }
        switch file.metadata["vomma.kind"] {
        case RecurrentPolicy.kind: self = .recurrent(try RecurrentPolicy(safetensors: bytes))
        default: self = .mlp(try MLPPolicy(safetensors: bytes))
        }
    }

    /// How far learning reaches: by head (`policy`, `value`) and layer, from input to output, the norm of the
    /// derivatives of Σ w·answer by the layer's parameters, w = 1 and −½ by turns over `rows` observations [rows ×
    /// observationSize], each from an empty memory. 0 is a layer that no training will ever change again.
    public func gradientNorms(
        observations: [Float], rows: Int
    ) -> [(head: String, layer: String, norm: Double)] {
        switch self {
        case .mlp(let policy): policy.gradientNorms(observations: observations, rows: rows)
        case .recurrent(let policy): policy.gradientNorms(observations: observations, rows: rows)
        }
    }
}

/// A policy at work: decisions one after the other, with the memory of those before where the policy has one. A value
/// with scratch memory, for one symbol of one stream.
public struct RunningPolicy: Sendable {
    /// One of them: optionals, because their buffers can be worked on in place, and an enum's would be copied.
    private var mlp: PolicyRunner?
    private var recurrent: RecurrentRunner?

    public init(_ policy: Policy) {
        switch policy {
        case .mlp(let policy): mlp = PolicyRunner(policy)
        case .recurrent(let policy): recurrent = RecurrentRunner(policy)
        }
    }

    /// The deterministic action: what is traded. Throws `observationSize` or `observationNotFinite`.
    public mutating func decide(_ observation: Span<Float>) throws(PolicyError) -> PolicyDecision {
        if let decision = try mlp?.decide(observation) { return decision }
        guard let decision = try recurrent?.decide(observation) else { Self.hasOne() }
        return decision
    }

    /// The decision with what each input contributed to its action: see `PolicyRunner.explain`. Of a policy with memory
    /// it is what this observation adds to what is remembered.
    public mutating func explain(
        _ observation: Span<Float>
    ) throws(PolicyError) -> (decision: PolicyDecision, contributions: [Float]) {
        if let answer = try mlp?.explain(observation) { return answer }
        guard let answer = try recurrent?.explain(observation) else { Self.hasOne() }
        return answer
    }

    /// What it remembers; empty for a policy without memory. To be kept over a restart.
    public var memory: [Float] { recurrent?.state ?? [] }

    /// Goes on from what `memory` returned; an empty one forgets everything. Throws `stateSize` or `stateNotFinite`.
    public mutating func restore(_ memory: [Float]) throws(PolicyError) {
        guard recurrent != nil else {
            guard memory.isEmpty else { throw .stateSize(expected: 0, found: memory.count) }
            return
        }
        if memory.isEmpty { recurrent?.reset() } else { try recurrent?.restore(memory) }
    }

    private static func hasOne() -> Never { preconditionFailure("a running policy has a runner") }
}
