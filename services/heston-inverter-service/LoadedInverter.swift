internal import HestonInverse
internal import ServiceKit
internal import Storage

/// An inverse network from the registry, ready to answer.
struct LoadedInverter: Sendable {
    let name: String
    let version: Int64
    let sha256: String
    let inverter: SharedInverter

    var model: InverseModel { inverter.model }
    /// As answers name it: `heston_inverse-3`.
    var title: String { "\(name)-\(version)" }

    init(_ record: ModelRepository.Model, bytes: [UInt8]) throws {
        (name, version, sha256) = (record.name, record.version, record.sha256)
        inverter = SharedInverter(try InverseModel(safetensors: bytes))
    }
}
