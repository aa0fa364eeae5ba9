internal import Kernels
import Testing
internal import VommaProto

@Suite("Hostile bytes")
struct HostileBytesTests {
    @Test("Every prefix of a message is read or refused, as its last field says")
    func truncated() throws {
        let bytes = try Golden.bytes("tree")
        for count in bytes.indices {
            do {
                let message = try TestingTree(serializedBytes: Array(bytes[..<count]))
                // A cut between two fields leaves a message: what was read is written again.
                #expect(try message.serializedBytes().count <= count)
            } catch let error as MessageError {
                #expect(error == .malformed(message: "vomma.testing.v1.Tree"))
            }
        }
    }

    @Test("Nesting stops at 100 levels, in every way that a message can contain itself")
    func depth() throws {
        // left: 2, children: 3, by_name: 4 (whose entry's value is field 2, a level of its own), chosen: 5.
        for tag: UInt8 in [0x12, 0x1A, 0x2A] {
            #expect(throws: Never.self) { try TestingTree(serializedBytes: Self.nested(100, tag: tag)) }
            #expect(throws: MessageError.tooDeep(message: "vomma.testing.v1.Tree", limit: 100)) {
                try TestingTree(serializedBytes: Self.nested(101, tag: tag))
            }
        }
        // A bomb of 100,000 levels would overflow the stack of a reader without a limit.
        let bomb = Self.nested(100_000, tag: 0x12)
        #expect(throws: MessageError.tooDeep(message: "vomma.testing.v1.Forest", limit: 100)) {
            try TestingForest(serializedBytes: [0x0A] + Self.varint(bomb.count) + bomb)
        }
        // As an unknown field it is only bytes.
        let unknown = [0x12] + Self.varint(bomb.count) + bomb
        #expect(try TestingNothing(serializedBytes: unknown).serializedBytes() == unknown)
    }

    @Test("A value that is nested too deep isn't written")
    func depthOfValues() throws {
        var tree = TestingTree()
        for _ in 0..<100 { tree = TestingTree(left: tree) }
        #expect(try TestingTree(serializedBytes: tree.serializedBytes()) == tree)
        let deeper = TestingTree(children: [tree])
        #expect(throws: MessageError.tooDeep(message: "vomma.testing.v1.Tree", limit: 100)) {
            try deeper.serializedBytes()
        }
    }

    @Test("What no message may hold is refused", arguments: [
        [0x00, 0x00],  // field number 0
        [0x0B], [0x0C], [0x0E, 0],  // groups, and a wire type that isn't one
        [0x09, 0, 0, 0],  // a double cut short
        [0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],  // an integer of 11 bytes
        [0x7A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F],  // 4 GiB of bytes to come
        [0xAA, 1, 7, 0, 0, 0, 0, 0, 0, 0],  // seven bytes of packed doubles
    ] as [[UInt8]])
    func malformed(bytes: [UInt8]) {
        #expect(throws: MessageError.malformed(message: "vomma.testing.v1.Everything")) {
            try TestingEverything(serializedBytes: bytes)
        }
    }

    @Test("Strings must be UTF-8, wherever they are", arguments: [
        ([0x72, 2, 0xC3, 0x28], "a_string"),
        ([0x92, 2, 1, 0xFF], "strings"),
        ([0xD2, 2, 3, 0xED, 0xA0, 0x80], "maybe_string"),  // a surrogate
        ([0xA2, 3, 2, 0xC0, 0x80], "chosen_string"),  // an overlong NUL
        ([0xEA, 3, 3, 0x0A, 1, 0x80], "doubles_by_name.key"),
        ([0xBA, 4, 3, 0x12, 1, 0xFE], "Inner.name"),
    ] as [([UInt8], String)])
    func invalidUTF8(bytes: [UInt8], field: String) {
        #expect(throws: MessageError.invalidUTF8(field: "vomma.testing.v1.Everything.\(field)")) {
            try TestingEverything(serializedBytes: bytes)
        }
    }

    @Test("A small message that unpacks to much is refused; a long list of plain ones is not")
    func memory() throws {
        // 2 bytes each on the wire, an empty Tree each in memory.
        let bomb = [UInt8](repeating: 0, count: 2_000_000).indices.map { UInt8($0 % 2 == 0 ? 0x1A : 0) }
        #expect(throws: MessageError.tooLarge(message: "vomma.testing.v1.Tree", byteCount: 2_000_000)) {
            try TestingTree(serializedBytes: bomb)
        }
        let plain = TestingTree(children: (0..<10_000).map { TestingTree(value: $0) })
        #expect(try TestingTree(serializedBytes: plain.serializedBytes()).children.count == 10_000)
        let numbers = TestingEverything(unpacked: Array(repeating: 1, count: 100_000))
        #expect(try TestingEverything(serializedBytes: numbers.serializedBytes()) == numbers)
    }

    @Test("Damaged messages are read or refused, and what is read has one wire form", arguments: [1, 2, 3] as [UInt64])
    func fuzz(seed: UInt64) throws {
        var random = RandomGenerator(seed: seed)
        var refused = 0
        for _ in 0..<1500 {
            let row = Golden.all[random.index(below: Golden.all.count)]
            var bytes = row.bytes
            for _ in 0...random.index(below: 3) { Self.damage(&bytes, &random) }
            do {
                let once = try row.type.roundTrip(bytes)
                #expect(try row.type.roundTrip(once) == once, "seed \(seed), \(row.label): \(bytes)")
            } catch is MessageError {
                refused += 1
            }
        }
        #expect(refused > 150 && refused < 1350, "\(refused) of 1500 refused: the fuzzer tests one side only")
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

    /// Empty trees, one within another.
    private static func nested(_ levels: Int, tag: UInt8) -> [UInt8] {
        // From the inside out, reversed: lengths are known once what they measure is written.
        var reversed: [UInt8] = []
        for _ in 0..<levels { reversed += (varint(reversed.count).reversed() + [tag]) }
        return reversed.reversed()
    }

    private static func varint(_ value: Int) -> [UInt8] {
        var value = value
        var result: [UInt8] = []
        while value >= 0x80 {
            result.append(UInt8(value & 0x7F) | 0x80)
            value >>= 7
        }
        return result + [UInt8(value)]
    }
}
