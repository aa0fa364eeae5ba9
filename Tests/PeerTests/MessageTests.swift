import ChildProcesses
import Foundation
import Kernels
import RPC
import Testing
import VommaProto

/// Our messages beside Google's protobuf for Python: what either accepts the other does, and both read the same.
@Suite(.timeLimit(.minutes(5)))
struct MessageTests {
    private static let types: [String: any ProtoMessage.Type] = [
        "Everything": TestingEverything.self, "EveryKey": TestingEveryKey.self, "Tree": TestingTree.self,
        "Nothing": TestingNothing.self, "OldEverything": TestingOldEverything.self,
    ]

    @Test("Random and hostile messages, made by either side: see Tests/Peers/messages.py")
    func agreement() async throws {
        let given = ProcessInfo.processInfo.environment["VOMMA_TEST_SEED"].flatMap(UInt64.init)
        let seed = given ?? .random(in: 0..<1 << 31)
        let folder = FileManager.default.temporaryDirectory.appending(path: "vomma-messages-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try Data(FileDescriptors.vommaTestingV1Testing.serializedBytes).write(to: folder.appending(path: "descriptor"))

        var wire = HostileWire(seed: seed)
        let names = Self.types.keys.sorted()
        let made = (0..<3000).map { "\(names[$0 % names.count]) \(Self.hex(wire.message(depth: 3)))" }
        let answers = try await Self.ask(made, seed: seed, more: 3000, in: folder)
        var accepted: [(question: String, answer: Substring, ours: String)] = []
        for answer in answers {
            let parts = answer.split(separator: " ")
            let type = try #require(Self.types[String(parts[0])])
            let ours = try? type.init(serializedBytes: Self.bytes(parts[1])).serializedBytes()
            // A text that a later one replaces is not checked by us.
            if parts[2] == "text" { continue }
            let question = "seed \(seed): \(parts[0]) \(parts[1])"
            // Of a tag's fifth byte Google's C++ drops what is beyond 32 bits; to us it is no field number.
            if ours == nil, Self.mayHoldLongTag(Self.bytes(parts[1])) { continue }
            guard let ours, parts[2] != "refused" else {
                #expect(ours == nil && parts[2] == "refused", "\(question): ours \(ours.map(Self.hex) ?? "refused")")
                continue
            }
            accepted.append((question, parts[2], "\(parts[0]) \(Self.hex(ours))"))
        }
        let refusedCount = answers.count - accepted.count
        #expect(accepted.count > 1000 && refusedCount > 1000, "\(refusedCount) refused: one side only is tested")

        // What we have written means to them what they read.
        let again = try await Self.ask(accepted.map(\.ours), seed: seed, more: 0, in: folder)
        try #require(again.count == accepted.count)
        for (one, other) in zip(accepted, again) {
            #expect(other.split(separator: " ").last == one.answer, "\(one.question): ours \(one.ours)")
        }
    }

    /// The answers of messages.py.
    private static func ask(
        _ questions: [String], seed: UInt64, more: Int, in folder: URL
    ) async throws -> [Substring] {
        let files = ["descriptor", "cases", "answers"].map { folder.appending(path: $0) }
        try Data(questions.map { $0 + "\n" }.joined().utf8).write(to: files[1])
        let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Peers/messages.py")
        let (exitCode, output) = try await ChildProcess.run(
            ProcessInfo.processInfo.environment["VOMMA_PYTHON"] ?? "/usr/bin/python3",
            [script.standardizedFileURL.path] + files.map(\.path) + ["\(seed)", "\(more)"],
            environment: ["PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"])
        try #require(exitCode == 0, "\(output)")
        return try String(contentsOf: files[2], encoding: .utf8).split(separator: "\n")
    }

    private static func mayHoldLongTag(_ bytes: [UInt8]) -> Bool {
        bytes.indices.dropFirst(4).contains {
            (0x10..<0x80).contains(bytes[$0]) && bytes[$0 - 4..<$0].allSatisfy { $0 >= 0x80 }
        }
    }

    private static func hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }

    private static func bytes(_ hex: Substring) -> [UInt8] {
        guard hex != "empty" else { return [] }
        let digits = hex.utf8.map { $0 < 58 ? $0 - 48 : $0 - 87 }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}

/// Draws fields of any number and wire type, most of them well-formed: few fit the message that they are read as.
private struct HostileWire {
    private var random: RandomGenerator

    init(seed: UInt64) { random = RandomGenerator(seed: seed) }

    mutating func message(depth: Int) -> [UInt8] {
        var result: [UInt8] = []
        for _ in 0..<random.index(below: 6) { result += field(depth: depth) }
        return result
    }

    private mutating func field(depth: Int) -> [UInt8] {
        let number = [6, 12, 24, 75].randomIndex(&random)
        let tag = { (type: Int) in Self.varint(UInt64(number << 3 | type)) }
        switch random.index(below: 40) {
        case 0: return tag(4)
        case 1: return tag(6 + random.index(below: 2))
        case 2: return Self.varint(UInt64(random.index(below: 8)))
        case 3..<6: return tag(3) + message(depth: depth - 1) + tag(4)
        case 6..<14: return tag(0) + number64()
        case 14..<18: return tag(1) + bytes(8)
        case 18..<22: return tag(5) + bytes(4)
        default:
            let content = depth > 0 && random.index(below: 4) > 0 ? message(depth: depth - 1) : text()
            return tag(2) + Self.varint(UInt64(content.count)) + content
        }
    }

    /// A varint, sometimes longer than it need be.
    private mutating func number64() -> [UInt8] {
        let value = UInt64(random.index(below: 1 << 30)) << UInt64(random.index(below: 40))
        var result = Self.varint(random.index(below: 2) == 0 ? value : UInt64(random.index(below: 3)))
        if random.index(below: 8) == 0 {
            result[result.count - 1] |= 0x80
            result += [UInt8](repeating: 0x80, count: random.index(below: 10)) + [0]
        }
        return result
    }

    private mutating func text() -> [UInt8] {
        random.index(below: 6) == 0 ? bytes(random.index(below: 9)) : Array("aé€".utf8.prefix(random.index(below: 7)))
    }

    private mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(random.index(below: 256)) }
    }

    private static func varint(_ value: UInt64) -> [UInt8] {
        var value = value
        var result: [UInt8] = []
        while value >= 0x80 {
            result.append(UInt8(value & 0x7F) | 0x80)
            value >>= 7
        }
        return result + [UInt8(value)]
    }
}

extension [Int] {
    /// A number from 1 to one of these.
    fileprivate func randomIndex(_ random: inout RandomGenerator) -> Int {
        1 + random.index(below: self[random.index(below: count)])
    }
}
