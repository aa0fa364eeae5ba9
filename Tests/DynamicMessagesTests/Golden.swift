import Testing
internal import Foundation
internal import RPC
internal import VommaProto

@testable import DynamicMessages

/// Messages as another implementation translates them: Golden/make-golden.py says how they were made.
struct Golden: Sendable, CustomTestStringConvertible {
    enum Kind: String {
        /// Bytes and JSON are each other's translation.
        case both
        /// The JSON gives the bytes.
        case read
        /// The JSON has no wire form.
        case refuse
    }
    let kind: Kind
    let label: String
    let type: String
    let bytes: [UInt8]
    let json: String

    var testDescription: String { label }

    static func of(_ kind: Kind) -> [Golden] { all.filter { $0.kind == kind } }

    static let all: [Golden] = rows("golden.txt").compactMap { columns in
        guard columns.count == 5, let kind = Kind(rawValue: columns[0]) else { return nil }
        return Golden(kind: kind, label: columns[1], type: columns[2], bytes: bytes(hex: columns[3]), json: columns[4])
    }

    /// The types of all cases.
    static let pool: DescriptorPool = {
        var pool = DescriptorPool()
        do {
            try pool.add(fileDescriptor: FileDescriptors.vommaTestingV1Testing.serializedBytes)
            for columns in rows("descriptors.txt") { try pool.add(fileDescriptor: bytes(hex: columns[1])) }
        } catch {
            Issue.record(error)
        }
        return pool
    }()

    private static func rows(_ name: String) -> [[String]] {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden/\(name)")
        guard let text = try? String(contentsOf: file, encoding: .utf8) else { return [] }
        // By bytes: a text may begin with a character that combines with the tab.
        return text.utf8.split(separator: UInt8(ascii: "\n")).filter { $0.first != UInt8(ascii: "#") }.map { line in
            let columns = line.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
            return columns.map { String(decoding: $0, as: UTF8.self) }
        }
    }

    private static func bytes(hex: String) -> [UInt8] {
        let digits = hex.utf8.map { $0 < 58 ? $0 - 48 : $0 - 87 }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    /// The bytes as the generated code writes them again, maps by key; types that have none: the bytes, sorted, which
    /// says nothing about the order of fields.
    func canonical(_ bytes: [UInt8]) throws -> [UInt8] {
        switch type {
        case TestingEverything.protoName: try TestingEverything(serializedBytes: bytes).serializedBytes()
        case TestingTree.protoName: try TestingTree(serializedBytes: bytes).serializedBytes()
        case TestingAwkward.protoName: try TestingAwkward(serializedBytes: bytes).serializedBytes()
        default: bytes.sorted()
        }
    }
}

extension JSONDocument {
    /// Members by name, and numbers as Swift writes them: two texts of one value are the same then.
    var canonical: JSONDocument {
        switch self {
        case .number(let text): .number(Double(text).map { "\($0)" } ?? text)
        case .array(let elements): .array(elements.map(\.canonical))
        case .object(let members):
            .object(
                members.map { Member($0.name, $0.value.canonical) }.sorted {
                    $0.name.utf8.lexicographicallyPrecedes($1.name.utf8)
                })
        default: self
        }
    }
}
