import Testing
internal import VommaProto

/// What the standard allows and protobuf-c does not do by itself (https://protobuf.dev/programming-guides/encoding).
@Suite("Odd messages")
struct OddMessageTests {
    @Test("A known field of another wire type is an unknown field", arguments: [
        [0x08, 1],  // a_double: a number
        [0x0D, 1, 2, 3, 4],  // a_double: four bytes
        [0x1A, 1, 7],  // an_int32: packed, but it is no list
        [0x6A, 1, 1],  // a_bool: bytes
        [0x69, 1, 0, 0, 0, 0, 0, 0, 0],  // a_bool: eight bytes
        [0x70, 1],  // a_string: a number
        [0x88, 1, 5],  // number: a number where a message is expected
        [0xA8, 1, 5],  // doubles: a number in a list of doubles
        [0x8D, 2, 1, 0, 0, 0],  // bools: four bytes
        [0x90, 2, 3],  // strings: a number
        [0xA8, 2, 3],  // numbers: a number in a list of messages
        [0xE8, 3, 1],  // doubles_by_name: a number in a map
        [0xA0, 3, 9],  // chosen_string: a number, no choice
        [0x13, 0x08, 1, 0x14],  // a_float: a group
    ] as [[UInt8]])
    func wrongWireType(field: [UInt8]) throws {
        let before: [UInt8] = [0x18, 5]  // an_int32
        let after: [UInt8] = [0x72, 1, 0x61]  // a_string
        let message = try TestingEverything(serializedBytes: before + field + after)
        var known = message
        known.unknownFields = UnknownFields()
        #expect(known == TestingEverything(anInt32: 5, aString: "a"))
        #expect(message.unknownFields.bytes == field)
        #expect(try message.serializedBytes() == before + after + field)
        // Within a map's value, too.
        let entry = [0x12, UInt8(field.count)] + field
        let keys = try TestingEveryKey(serializedBytes: [0x62, UInt8(entry.count)] + entry)
        #expect(keys.byString[""]?.unknownFields.bytes == field)
    }

    @Test("Unknown fields keep their order, whatever made them unknown")
    func order() throws {
        // 1000: a number; a_double as a number; a group 1001 with a group in it; a_double as four bytes.
        let parts: [[UInt8]] = [
            [0xC0, 0x3E, 1], [0x08, 1], [0xCB, 0x3E, 0x08, 1, 0x13, 0x0A, 1, 0, 0x14, 0xCC, 0x3E], [0x0D, 1, 2, 3, 4],
        ]
        let bytes = Array(parts.joined())
        let message = try TestingEverything(serializedBytes: bytes)
        #expect(message.unknownFields.bytes == bytes)
        #expect(try message.serializedBytes() == bytes)
        #expect(try TestingEverything(serializedBytes: message.serializedBytes()) == message)
    }

    @Test("In a list of numbers packed and single elements mix, however it is declared")
    func packedAndNot() throws {
        // int32s (packed) and unpacked (not): one alone, two packed, one alone; bools likewise.
        let packed = try TestingEverything(serializedBytes: [0xB8, 1, 1, 0xBA, 1, 2, 2, 3, 0xB8, 1, 4])
        #expect(packed.int32s == [1, 2, 3, 4])
        let unpacked = try TestingEverything(serializedBytes: [0xB0, 2, 1, 0xB2, 2, 2, 2, 3, 0xB0, 2, 4])
        #expect(unpacked.unpacked == [1, 2, 3, 4])
        let bools = try TestingEverything(serializedBytes: [0x88, 2, 1, 0x8A, 2, 3, 0, 0x80, 1, 0x88, 2, 0])
        #expect(bools.bools == [true, false, true, false])
    }

    @Test("Groups are unknown fields, whole and bounded in depth; unbalanced ones are refused")
    func groups() throws {
        for bytes in [[0x0B, 0x0C], [0xA3, 0x06, 0x0D, 1, 2, 3, 4, 0xA4, 0x06]] as [[UInt8]] {
            #expect(try TestingNothing(serializedBytes: bytes).serializedBytes() == bytes)
            #expect(try TestingTree(serializedBytes: bytes).serializedBytes() == bytes)
        }
        func groups(_ levels: Int) -> [UInt8] {
            [UInt8](repeating: 0x3B, count: levels) + [UInt8](repeating: 0x3C, count: levels)
        }
        #expect(try TestingNothing(serializedBytes: groups(100)).serializedBytes() == groups(100))
        #expect(throws: MessageError.tooDeep(message: "vomma.testing.v1.Nothing", limit: 100)) {
            try TestingNothing(serializedBytes: groups(101))
        }
        #expect(throws: MessageError.tooDeep(message: "vomma.testing.v1.Tree", limit: 100)) {
            try TestingTree(serializedBytes: groups(100_000))
        }
        // In a message the groups have what it leaves of the depth.
        let within: [UInt8] = [0x12, 0xC8, 1] + groups(100)
        #expect(throws: MessageError.tooDeep(message: "vomma.testing.v1.Tree", limit: 100)) {
            try TestingTree(serializedBytes: within)
        }
        // Without an end, with the end of another, ended twice, ended by the end of its message, a fault inside.
        for bytes in [[0x0B], [0x0B, 0x14], [0x0B, 0x0C, 0x0C], [0x12, 1, 0x3B, 0x3C], [0x3B, 0, 0, 0x3C], [0x3B, 0x3E]]
            as [[UInt8]]
        {
            #expect(throws: MessageError.malformed(message: "vomma.testing.v1.Tree"), "\(bytes)") {
                try TestingTree(serializedBytes: bytes)
            }
        }
    }

    @Test("Numbers that no field has are refused, also where fields are unknown", arguments: [
        [0x80, 0x80, 0x80, 0x80, 0x10, 1],  // 2²⁹, a number
        [0xFA, 0xFF, 0xFF, 0xFF, 0x7F, 2, 8, 1],  // 2³²−1
        [0x80, 0, 1],  // 0 in two bytes
        [0x88, 0x80, 0x80, 0x80, 0x80, 0, 1],  // 1 in six
        [0x3B, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 0x3C],  // in a group
    ] as [[UInt8]])
    func illegalNumbers(field: [UInt8]) throws {
        #expect(throws: MessageError.malformed(message: "vomma.testing.v1.Nothing")) {
            try TestingNothing(serializedBytes: field)
        }
        let length = UInt8(field.count)
        #expect(throws: MessageError.self) { try TestingTree(serializedBytes: [0x12, length] + field) }
        // Beside an odd field, and in a map's entry.
        #expect(throws: MessageError.self) { try TestingEverything(serializedBytes: [0x08, 1] + field) }
        #expect(throws: MessageError.self) { try TestingEverything(serializedBytes: [0xEA, 3, length] + field) }
        // The largest that there is.
        let largest: [UInt8] = [0xF8, 0xFF, 0xFF, 0xFF, 0x0F, 1]
        #expect(try TestingNothing(serializedBytes: largest).serializedBytes() == largest)
    }

    @Test("Occurrences of a message where one is expected are read as one")
    func merging() throws {
        // left: value 1, name "a", unknown 1000; left again: value 0, unknown 1001, a value of the wrong type.
        let first: [UInt8] = [0x08, 1, 0x32, 1, 0x61, 0xC0, 0x3E, 1]
        let second: [UInt8] = [0x08, 0, 0xC8, 0x3E, 2, 0x0D, 1, 2, 3, 4]
        let bytes = [0x12, UInt8(first.count)] + first + [0x08, 9, 0x12, UInt8(second.count)] + second
        let tree = try TestingTree(serializedBytes: bytes)
        // A zero that comes later replaces what was there; protobuf-c keeps the one.
        #expect(tree.value == 9 && tree.left?.value == 0 && tree.left?.other == .name("a"))
        #expect(tree.left?.unknownFields.bytes == [0xC0, 0x3E, 1, 0xC8, 0x3E, 2, 0x0D, 1, 2, 3, 4])
        // Deeper: lists grow, single messages merge again.
        let child: [UInt8] = [0x1A, 2, 8, 1]
        let nested = [0x12, 4] + child
        let twice = [0x12, UInt8(nested.count)] + nested + [0x12, UInt8(nested.count)] + nested
        let deep = try TestingTree(serializedBytes: twice)
        #expect(deep.left?.left?.children.map(\.value) == [1, 1])
    }

    @Test("A message that is a oneof's choice merges with itself, not across another choice")
    func mergedChoices() throws {
        func number(_ value: UInt8) -> [UInt8] { [0xC2, 3, 2, 8, value] }  // chosen_number
        let unknown: [UInt8] = [0xC2, 3, 3, 0xC0, 0x3E, 1]
        let merged = try TestingEverything(serializedBytes: unknown + number(7))
        guard case .chosenNumber(let choice) = merged.choice else { return #expect(Bool(false), "\(merged)") }
        #expect(choice.value == 7 && choice.unknownFields.bytes == [0xC0, 0x3E, 1])
        let bool: [UInt8] = [0xB0, 3, 1]
        let across = try TestingEverything(serializedBytes: unknown + bool + number(7))
        #expect(across.choice == .chosenNumber(TestingNumber(value: 7)))
        #expect(try TestingEverything(serializedBytes: number(7) + number(8) + bool).choice == .chosenBool(true))
        // A choice of the wrong wire type is no choice.
        let wrong: [UInt8] = [0xB5, 3, 0, 0, 0, 0]
        guard case .chosenNumber(let kept) = try TestingEverything(serializedBytes: unknown + wrong + number(7)).choice
        else { return #expect(Bool(false)) }
        #expect(kept == choice)
        // What another choice replaces is still read: it must be whole.
        #expect(throws: MessageError.self) {
            try TestingEverything(serializedBytes: [0xC2, 3, 1, 8] + bool + number(7) + number(8))
        }
        // Of a map's value too: numbers_by_name, "k", the value twice.
        let entry: [UInt8] = [0x0A, 1, 0x6B, 0x12, 3, 0xC0, 0x3E, 1, 0x12, 2, 8, 5]
        let map = try TestingEverything(serializedBytes: [0x82, 4, UInt8(entry.count)] + entry)
        #expect(map.numbersByName["k"]?.value == 5)
        #expect(map.numbersByName["k"]?.unknownFields.bytes == [0xC0, 0x3E, 1])
    }

    @Test("More fields than protobuf-c notes on its stack, with and without one to merge")
    func manyFields() throws {
        let many = [UInt8]((0..<40).map { [0x1A, 2, 8, UInt8($0)] }.joined())
        let plain = try TestingEverything(serializedBytes: Self.numbers(40))
        #expect(plain.numbers.map(\.value) == (0..<40).map(Int64.init))
        let merged = try TestingTree(serializedBytes: [0x12, 2, 8, 1] + many + [0x12, 3, 0xC0, 0x3E, 1])
        #expect(merged.children.count == 40 && merged.left?.value == 1 && merged.left?.unknownFields.isEmpty == false)
        let number = try TestingEverything(
            serializedBytes: [0x8A, 1, 2, 8, 5] + Self.numbers(40) + [0x8A, 1, 3, 0xC0, 0x3E, 1])
        #expect(number.number?.value == 5 && number.number?.unknownFields.isEmpty == false)
    }

    private static func numbers(_ count: Int) -> [UInt8] {
        [UInt8]((0..<count).map { [0xAA, 2, 2, 8, UInt8($0)] }.joined())
    }

    @Test("Numbers: any bool but zero is true, integers are cut to their size, ten bytes are the most")
    func numbers() throws {
        let ten: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]
        for value in [[2], [0x80, 1], [0x80, 0x80, 0x80, 0x80, 0x10], ten] as [[UInt8]] {
            let message = try TestingEverything(serializedBytes: [0x68] + value)
            #expect(message.aBool)
            #expect(try message.serializedBytes() == [0x68, 1])
            #expect(try TestingEverything(serializedBytes: [0xB0, 3] + value).choice == .chosenBool(true))
            #expect(try TestingEverything(serializedBytes: [0xF8, 2] + value).maybeBool == true)
        }
        #expect(try TestingEverything(serializedBytes: [0x68, 0x80, 0x80, 0]).aBool == false)
        #expect(try TestingEverything(serializedBytes: [0x18] + ten).anInt32 == -1)
        // 2³² + 5 in an int32, a uint32 and an enum.
        let large: [UInt8] = [0x85, 0x80, 0x80, 0x80, 0x10]
        let cut = try TestingEverything(serializedBytes: [0x18] + large + [0x28] + large + [0x80, 1] + large)
        #expect(cut.anInt32 == 5 && cut.aUint32 == 5 && cut.colour == .unrecognized(5))
        let eleven = ten.dropLast() + [0x81, 0]
        #expect(throws: MessageError.malformed(message: "vomma.testing.v1.Everything")) {
            try TestingEverything(serializedBytes: [0x18] + eleven)
        }
    }

    @Test("Maps of every type of key")
    func keys() throws {
        let message = TestingEveryKey(
            byInt32: [.min: 1, 0: -0.0, .max: .infinity], byInt64: [.min: 1, .max: -0.0],
            byUint32: [0: false, .max: true], byUint64: [.max: .min, 1: .max], bySint32: [.min: .max, -1: 0],
            bySint64: [.min: .min, .max: .max], byFixed32: [.max: "z\u{301}", 0: ""],
            byFixed64: [.max: [0, 255], 0: []], bySfixed32: [.min: .red, 1: .unrecognized(99)],
            bySfixed64: [.min: TestingNumber(value: 1), 0: TestingNumber()],
            byBool: [false: TestingTree(value: 1), true: TestingTree(left: TestingTree())],
            byString: ["": TestingEverything(), "k": TestingEverything(aBool: true, doublesByName: ["x": 1])])
        let bytes = try message.serializedBytes()
        let again = try TestingEveryKey(serializedBytes: bytes)
        #expect(again == message)
        #expect(again.byInt32[0]?.sign == .minus)
        #expect(try again.serializedBytes() == bytes)
        // An entry may lack its key, its value or both.
        for field in 1...12 as ClosedRange<UInt8> {
            let empty = try TestingEveryKey(serializedBytes: [field << 3 | 2, 0])
            #expect(try empty.serializedBytes().count > 2, "field \(field)")
        }
        #expect(try TestingEveryKey(serializedBytes: [0x5A, 0]).byBool == [false: TestingTree()])
    }

    @Test("2 GiB are refused, read or written, before any of it is touched")
    func tooLarge() throws {
        let count = Int(Int32.max) + 1
        // Never written to: pages that don't exist.
        let huge = unsafe [UInt8](unsafeUninitializedCapacity: count) { _, initialized in initialized = count }
        #expect(throws: MessageError.tooLarge(message: "vomma.testing.v1.Tree", byteCount: count)) {
            try TestingTree(serializedBytes: huge)
        }
        let message = TestingEverything(someBytes: huge)
        #expect(throws: MessageError.tooLarge(message: "vomma.testing.v1.Everything", byteCount: count)) {
            try message.serializedBytes()
        }
    }
}
