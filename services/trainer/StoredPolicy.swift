internal import Features
internal import Foundation
internal import Policies
internal import Storage
internal import Trading

/// A policy from the registry with its own normaliser.
struct StoredPolicy: Sendable {
    let record: ModelRepository.Model
    let file: PolicyFile
    let normaliser: Normaliser
    var policy: Policy { file.policy }

    /// `version` 0 is the live one. Throws `JobError.badData` for a model that is not there or not whole.
    static func load(_ name: String, _ version: Int64, _ pool: ConnectionPool) async throws -> StoredPolicy {
        let (record, bytes) = try await pool.withConnection { connection in
            let record =
                version == 0
                ? try ModelRepository.live(name, on: connection)
                : try ModelRepository.models(name, on: connection).first { $0.version == version }
            let bytes = try record.flatMap { try ModelRepository.checkpoint(name, version: $0.version, on: connection) }
            return (record, bytes)
        }
        let title = version == 0 ? "live version of “\(name)”" : "version \(version) of “\(name)”"
        guard let record, let bytes else { throw JobError.badData("there is no \(title)") }
        guard let id = record.normaliserID, let schemaVersion = record.schemaVersion else {
            throw JobError.badData("the \(title) is no policy: it has no normaliser or no schema")
        }
        guard let stored = try await pool.withConnection({ try FeatureRepository.normaliser(id, on: $0) }) else {
            throw JobError.badData("the normaliser \(id) of the \(title) is not stored")
        }
        let file = try PolicyFile(safetensors: bytes)
        let policy = file.policy
        let normaliser = try Normaliser(bytes: stored.bytes)
        let layout = ObservationLayout(window: policy.window, featureCount: policy.featureCount)
        guard normaliser.id == id, normaliser.schemaVersion == schemaVersion, normaliser.count == policy.featureCount,
            layout.count == policy.observationSize
        else { throw JobError.badData("the \(title) and its normaliser do not fit together") }
        return StoredPolicy(record: record, file: file, normaliser: normaliser)
    }

    /// Throws `JobError.badData` unless the features are those that the policy was trained with.
    func require(_ schema: FeatureSchema) throws {
        guard schema.version == normaliser.schemaVersion else {
            throw JobError.badData(
                "the policy was trained with schema \(normaliser.schemaVersion), the features are of \(schema.version)")
        }
    }
}

extension AccountSettings {
    /// The terms on which the stream's account trades.
    init(of stream: EventRepository.Stream) throws {
        do { self = try JSONDecoder().decode(AccountSettings.self, from: Data(stream.settings.text.utf8)) } catch {
            throw JobError.badData("the settings of the stream “\(stream.name)” are not an account's: \(error)")
        }
    }
}
