internal import Foundation
internal import LocalStack
internal import Storage

/// Resident memory of the services while a stream goes through them: whether it grows with the number of bars.
struct MemoryRecord {
    struct Service: Codable {
        var name: String
        /// Megabytes, at each of `vectors`.
        var megabytes: [Double]
    }

    struct Stored: Codable {
        /// Feature vectors (one a symbol and bar) computed at each sample.
        var vectors: [UInt64]
        var services: [Service]
    }

    private let children: [(name: String, process: Int32)]
    private var stored: Stored

    init(_ stack: LocalStack) {
        children = stack.children.compactMap { child in child.processID.map { (child.name.rawValue, $0) } }
        stored = Stored(vectors: [], services: children.map { Service(name: $0.name, megabytes: []) })
    }

    /// Takes one sample; a process that is gone gives none.
    mutating func sample(_ vectors: UInt64) {
        let sizes = children.map { Self.residentMegabytes($0.process) }
        guard !sizes.contains(nil) else { return }
        stored.vectors.append(vectors)
        for (index, size) in sizes.enumerated() { stored.services[index].megabytes.append(size ?? 0) }
    }

    /// Stores the samples, unless the stream had been computed before and there was nothing to see.
    func store(key: String, pool: ConnectionPool) async throws {
        guard stored.vectors.count >= 3 else { return }
        let json = JSON(String(decoding: try JSONEncoder().encode(stored), as: UTF8.self))
        try await pool.withConnection { try SettingsRepository.set(key, json, on: $0) }
    }

    /// VmRSS of a process; `nil` when there is none of this number.
    private static func residentMegabytes(_ process: Int32) -> Double? {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") }),
            let kilobytes = line.split(separator: " ").compactMap({ Double($0) }).first
        else { return nil }
        return kilobytes / 1024
    }
}
