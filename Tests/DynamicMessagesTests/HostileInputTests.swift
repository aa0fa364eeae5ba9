import Testing
internal import Kernels
internal import VommaProto

@testable import DynamicMessages

@Suite struct HostileInputTests {
    private static let pool = Golden.pool

    @Test(
        "Damaged messages are read or refused; what is read has one wire form and one JSON",
        arguments: [1, 2, 3] as [UInt64])
    func damagedMessages(seed: UInt64) throws {
        var random = RandomGenerator(seed: seed)
        let rows = Golden.of(.both).filter { !$0.bytes.isEmpty && $0.bytes.count < 1500 }
        var refused = 0
        for _ in 0..<600 {
            let row = rows[random.index(below: rows.count)]
            var bytes = row.bytes
            for _ in 0...random.index(below: 3) { Self.damage(&bytes, &random) }
            do throws(DynamicMessageError) {
                let text = try Self.pool.decode(bytes, as: row.type).text()
                let again = try Self.pool.encode(try JSONDocument(parsing: text), as: row.type)
                let once = try Self.pool.decode(again, as: row.type)
                #expect(once.text() == text, "seed \(seed), \(row.label): \(bytes)")
            } catch {
                guard case .malformedMessage = error else {
                    Issue.record("seed \(seed), \(row.label): \(error), \(bytes)")
                    continue
                }
                refused += 1
            }
        }
        #expect(refused > 60 && refused < 540, "\(refused) of 600 refused: the fuzzer tests one side only")
    }

    @Test("Damaged JSON is read or refused")
    func damagedJSON() throws {
        var random = RandomGenerator(seed: 4)
        let rows = Golden.all.filter { $0.json.utf8.count < 1500 }
        var refused = 0
        for _ in 0..<1000 {
            let row = rows[random.index(below: rows.count)]
            var text = Array(row.json.utf8)
            for _ in 0...random.index(below: 3) { Self.damage(&text, &random) }
            do throws(DynamicMessageError) {
                for json in try JSONDocument.sequence(parsing: text) {
                    let bytes = try Self.pool.encode(json, as: row.type)
                    _ = try Self.pool.decode(bytes, as: row.type)
                }
            } catch {
                switch error {
                case .malformedJSON, .unfitJSON: refused += 1
                default: Issue.record("\(row.label): \(error), \(String(decoding: text, as: UTF8.self))")
                }
            }
        }
        #expect(refused > 100 && refused < 990, "\(refused) of 1000 refused: the fuzzer tests one side only")
    }

    @Test("Damaged descriptors are read or refused, and whatever is read can be used")
    func damagedDescriptors() {
        var random = RandomGenerator(seed: 5)
        let file = FileDescriptors.vommaTestingV1Testing.serializedBytes
        let messages = Golden.of(.both).filter { $0.type == TestingEverything.protoName }
        var refused = 0
        for _ in 0..<100 {
            var bytes = file
            for _ in 0...random.index(below: 3) { Self.damage(&bytes, &random) }
            do throws(DynamicMessageError) {
                var pool = DescriptorPool()
                try pool.add(fileDescriptor: bytes)
                _ = pool.text(describing: TestingEverything.protoName)
                let row = messages[random.index(below: messages.count)]
                _ = try pool.decode(row.bytes, as: row.type)
            } catch {
                refused += 1
            }
        }
        #expect(refused > 10, "\(refused) of 100 refused: the fuzzer damages too little")
    }

    @Test("Nesting has a limit, both ways and in JSON")
    func depth() throws {
        func nested(_ levels: Int) -> JSONDocument {
            (0..<levels).reduce(.object([])) { inner, _ in .object([.init("left", inner)]) }
        }
        let deepest = try Self.pool.encode(nested(100), as: TestingTree.protoName)
        #expect(try Self.pool.decode(deepest, as: TestingTree.protoName) == nested(100))
        #expect(throws: DynamicMessageError.self) { try Self.pool.encode(nested(101), as: TestingTree.protoName) }
        var writer = WireWriter()
        writer.message(2, deepest)
        #expect(throws: DynamicMessageError.self) { try Self.pool.decode(writer.bytes, as: TestingTree.protoName) }
        for opening in ["[", "{\"a\":"] {
            let text = String(repeating: opening, count: 100_000)
            #expect(throws: DynamicMessageError.self) { try JSONDocument(parsing: text) }
        }
        // Marks of groups, open and never closed: skipped without recursion.
        let groups = [UInt8](repeating: 0x7B, count: 1_000_000)
        #expect(throws: DynamicMessageError.malformedMessage(path: "", reason: WireFault.unmatchedGroup.reason)) {
            try Self.pool.decode(groups, as: TestingTree.protoName)
        }
    }

    @Test(
        "Malformed bytes are named, with the path",
        arguments: [
            ([0x08], "malformed message: the bytes end within a field"),
            ([0x08] + Array(repeating: 0xFF, count: 10), "malformed message: a number of more than 64 bits"),
            ([0x00], "malformed message: 0 is no field tag"),
            ([0x0F, 0x00], "malformed message: 15 is no field tag"),
            ([0x12, 0x05, 0x08], "malformed message: the bytes end within a field"),
            ([0x1A, 0x00, 0x1A, 0x01, 0x08], "malformed message at children[1]: the bytes end within a field"),
            ([0x22, 0x05, 0x0A, 0x01, 0x61, 0x12, 0x07], "malformed message at byName: the bytes end within a field"),
            ([0x32, 0x01, 0xFF], "malformed message at name: a string that is not UTF-8"),
            ([0x0B, 0x14], "malformed message: a group that does not end, or ends without having begun"),
        ] as [([UInt8], String)])
    func malformed(bytes: [UInt8], message: String) {
        do {
            let json = try Self.pool.decode(bytes, as: TestingTree.protoName)
            Issue.record("read as \(json.text())")
        } catch {
            #expect(error.description == message)
        }
    }

    private static func damage(_ bytes: inout [UInt8], _ random: inout RandomGenerator) {
        guard !bytes.isEmpty else { return bytes.append(UInt8(random.index(below: 256))) }
        let position = random.index(below: bytes.count)
        switch random.index(below: 5) {
        case 0: bytes[position] ^= 1 << UInt8(random.index(below: 8))
        case 1: bytes[position] = [0, 1, 0x7F, 0x80, 0xFF][random.index(below: 5)]
        case 2: bytes.removeSubrange(position...)
        case 3: bytes.insert(UInt8(random.index(below: 256)), at: position)
        default:
            let start = random.index(below: bytes.count)
            bytes.insert(contentsOf: bytes[start..<min(bytes.count, start + 12)], at: position)
        }
    }
}
