internal import Policies
internal import Storage
internal import Trading

/// A policy ready to decide, with everything that its states must agree with.
struct LoadedPolicy: Sendable {
    let name: String
    let version: Int64
    let sha256: String
    let schemaVersion: String
    let normaliserID: String
    let layout: ObservationLayout
    /// In the order of the schema.
    let featureNames: [String]
    let policy: Policy
    /// At work, with an empty memory: copies share what was packed for speed when it was loaded.
    let running: RunningPolicy

    /// Throws `PolicyLoadError` for a model that does not fit its own schema, `PolicyError` for bytes that are none.
    init(_ model: ModelRepository.Model, checkpoint: [UInt8], pool: ConnectionPool) async throws {
        let title = "\(model.name) version \(model.version)"
        guard let schemaVersion = model.schemaVersion, let normaliserID = model.normaliserID else {
            throw PolicyLoadError.unusable(model: title, reason: "no schema or no normaliser is stored with it")
        }
        let names = try await pool.withConnection { try FeatureRepository.schema(schemaVersion, on: $0) }
        guard let names else {
            throw PolicyLoadError.unusable(model: title, reason: "its schema \(schemaVersion) is not registered")
        }
        let file = try PolicyFile(safetensors: checkpoint)
        let policy = file.policy
        // A policy that says something else than when it was trained, or always the same, does not get to decide.
        try file.golden?.verify(policy)
        let layout = ObservationLayout(window: policy.window, featureCount: names.count)
        guard policy.featureCount == names.count, layout.count == policy.observationSize else {
            throw PolicyLoadError.unusable(
                model: title, reason: "it sees \(policy.observationSize) numbers, its schema gives \(layout.count)")
        }
        name = model.name
        version = model.version
        sha256 = model.sha256
        self.schemaVersion = schemaVersion
        self.normaliserID = normaliserID
        self.layout = layout
        featureNames = names
        self.policy = policy
        running = RunningPolicy(policy)
    }
}

/// Why a model can't serve.
enum PolicyLoadError: Error, CustomStringConvertible {
    case unusable(model: String, reason: String)

    var description: String {
        switch self {
        case .unusable(let model, let reason): "\(model) cannot serve: \(reason)"
        }
    }
}
