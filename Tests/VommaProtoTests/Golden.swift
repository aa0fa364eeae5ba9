import Testing
internal import Foundation
internal import RPC
internal import VommaProto

/// Messages as another implementation encodes them: Golden/make-golden.py says how they were made.
struct Golden: Sendable, CustomTestStringConvertible {
    let label: String
    let type: any ProtoMessage.Type
    let bytes: [UInt8]

    var testDescription: String { label }

    static let all: [Golden] = {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden/golden.csv")
        guard let text = try? String(contentsOf: file, encoding: .utf8) else { return [] }
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { line in
            let parts = line.split(separator: ",", omittingEmptySubsequences: false)
            guard parts.count == 3, let type = types.first(where: { $0.protoName == parts[1] }) else { return nil }
            return Golden(label: String(parts[0]), type: type, bytes: bytes(hex: parts[2]))
        }
    }()

    private static let types: [any ProtoMessage.Type] = [
        TestingEverything.self, TestingNothing.self, TestingTree.self, TestingForest.self, TestingAwkward.self,
        ReflectionServerReflectionResponse.self,
    ]

    static func bytes(_ label: String) throws -> [UInt8] {
        guard let row = all.first(where: { $0.label == label }) else { throw Missing(label: label) }
        return row.bytes
    }

    struct Missing: Error { let label: String }

    private static func bytes(hex: Substring) -> [UInt8] {
        let digits = hex.utf8.map { $0 < 58 ? $0 - 48 : $0 - 87 }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}

extension ProtoMessage {
    /// Reads and writes: what a round trip makes of the bytes.
    static func roundTrip(_ bytes: [UInt8]) throws -> [UInt8] { try Self(serializedBytes: bytes).serializedBytes() }
}
