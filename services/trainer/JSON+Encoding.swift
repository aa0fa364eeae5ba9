internal import Foundation
internal import MarketData
internal import Storage

/// The model that a job has made, as its result names it.
struct ModelReference: Encodable {
    var name: String
    var version: Int64
    var sha256: String

    init(_ model: ModelRepository.Model) {
        name = model.name
        version = model.version
        sha256 = model.sha256
    }
}

extension JSON {
    /// A value as JSON: keys in snake_case, sorted. Numbers must be finite.
    init(encoding value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        self.init(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// Where a model comes from: its job and that job's whole specification.
    static func lineage(of job: JobRepository.Job) -> JSON {
        JSON(#"{"job_id":\#(job.id),"kind":"\#(job.kind)","spec":\#(job.spec.text)}"#)
    }
}

extension JSON {
    /// Whether the text is one complete JSON object.
    var isObject: Bool {
        if case .object? = JSONValue(Array(text.utf8).span) { true } else { false }
    }
}
