import Testing
internal import VommaProto

@Suite("Messages")
struct MessageTests {
    @Test("Google's bytes survive reading and writing, to the bit", arguments: Golden.all)
    func golden(row: Golden) throws {
        let again = try row.type.roundTrip(row.bytes)
        #expect(again == row.bytes)
    }

    @Test("All golden rows were read")
    func goldenIsComplete() { #expect(Golden.all.count == 57) }

    @Test("Messages made in Swift have Google's bytes")
    func written() throws {
        let smallest = TestingEverything(
            aDouble: .leastNonzeroMagnitude, aFloat: .leastNonzeroMagnitude, anInt32: .min, anInt64: .min,
            aSint32: .min, aSint64: .min, anSfixed32: .min, anSfixed64: .min, colour: .negative,
            number: .init(value: .min))
        #expect(try smallest.serializedBytes() == Golden.bytes("smallest"))
        let negative = TestingEverything(
            aDouble: -0.0, aFloat: -0.0, doubles: [-0.0, 0], floats: [-0.0], maybeDouble: -0.0,
            choice: .chosenDouble(-0.0))
        #expect(try negative.serializedBytes() == Golden.bytes("negative zero"))
        let nul = TestingEverything(
            aString: "a\0b", strings: ["\0", "", "x\0"], maybeString: "\0\0", choice: .chosenString("c\0d"),
            doublesByName: ["k\0ey": 1], inner: .init(name: "\0"))
        #expect(try nul.serializedBytes() == Golden.bytes("inner NUL"))
        let zeros = TestingEverything(
            number: .init(), maybeDouble: 0, maybeString: "", maybeBytes: [], maybeColour: .unspecified,
            maybeNumber: .init(), maybeInt64: 0, maybeBool: false, inner: .init())
        #expect(try zeros.serializedBytes() == Golden.bytes("present zeros"))
        let maps = TestingEverything(
            doublesByName: ["zz": 0, "b": 1.5, "a": -0.0, "é": 2, "𝄞": 3],
            stringsByNumber: [0: ""], coloursByBool: [true: .unspecified],
            numbersByName: ["": .init()], bytesByID: [.max: [0]])
        #expect(try maps.serializedBytes() == Golden.bytes("map defaults"))
        let enums = TestingEverything(
            colour: .unrecognized(77), colours: [.unspecified, .red, .negative, .unrecognized(99)],
            maybeColour: .unrecognized(-1), choice: .chosenColour(.unrecognized(12345)))
        #expect(try enums.serializedBytes() == Golden.bytes("unknown enum"))
    }

    @Test("Google's bytes read as the values they were made of")
    func read() throws {
        let largest = try TestingEverything(serializedBytes: Golden.bytes("largest"))
        #expect(largest.aDouble == .greatestFiniteMagnitude && largest.aFloat == .greatestFiniteMagnitude)
        #expect(largest.anInt32 == .max && largest.aUint64 == .max && largest.anSfixed32 == .max && largest.aBool)
        #expect(largest.aString == "κθσρ 𝄞" && largest.someBytes == Array(0...255))
        #expect(largest.colour == .green && largest.number?.value == .max && largest.maybeDouble == nil)
        let odd = try TestingEverything(serializedBytes: Golden.bytes("not finite"))
        #expect(odd.aDouble.isNaN && odd.aFloat == .infinity && odd.doubles[2] == -.infinity && odd.floats[1].isNaN)
        let nothing = try TestingEverything(serializedBytes: Golden.bytes("chosen nothing"))
        #expect(nothing.choice == .chosenNothing(TestingNothing()))
        let bulk = try TestingEverything(serializedBytes: Golden.bytes("bulk"))
        #expect(bulk.doubles == (0..<300).map { Double($0) * 0.1 } && bulk.int32s == Array(-50..<50))
        #expect(bulk.bools == (0..<50).map { $0 % 3 == 0 } && bulk.numbers.map(\.value) == Array(-20..<20))
        let tree = try TestingTree(serializedBytes: Golden.bytes("tree"))
        #expect(tree.left?.left?.left == TestingTree(value: 1, other: .name("leaf")))
        #expect(tree.byName["z"]?.byName[""] == TestingTree() && tree.children.count == 3)
        #expect(tree.other == .chosen(TestingTree(other: .chosen(TestingTree(other: .name(""))))))
        let awkward = try TestingAwkward(serializedBytes: Golden.bytes("awkward"))
        #expect(awkward.`default` == 1 && awkward.`class` == 4 && awkward.unknownFields_ == 7 && awkward.url == "15")
        #expect(awkward.`protocol` == .register(17) && awkward.choice == .union(19) && awkward.template == 0)
        #expect(awkward.`operator` == ["+": 1, "-": -1] && awkward.event == .eventValue(.init(self_: "23")))
    }

    @Test("Values are values: writing to a copy of a recursive message leaves the original")
    func copies() {
        let original = TestingTree(value: 1, left: TestingTree(value: 2))
        var copy = original
        copy.left?.value = 3
        copy.left?.left = original
        #expect(original.left?.value == 2 && original.left?.left == nil && copy.left?.left == original)
        copy.left = nil
        #expect(copy.left == nil && original.left != nil)
    }

    @Test("Unknown fields survive an older version, and are equal after it")
    func unknownFields() throws {
        for row in Golden.all where row.type == TestingEverything.self {
            let new = try TestingEverything(serializedBytes: row.bytes)
            let old = try TestingOldEverything(serializedBytes: row.bytes)
            #expect(old.aDouble.bitPattern == new.aDouble.bitPattern && old.aString == new.aString)
            // The older one writes its own fields first and the unknown ones after: the same message in another order.
            let again = try TestingEverything(serializedBytes: old.serializedBytes())
            #expect(try again.serializedBytes() == row.bytes, "\(row.label)")
            #expect(again.unknownFields.isEmpty)
            let twice = try TestingOldEverything(serializedBytes: old.serializedBytes())
            #expect(twice.unknownFields == old.unknownFields)
        }
        // Even a message without a field of its own keeps all.
        let bytes = try Golden.bytes("bulk")
        #expect(try TestingNothing(serializedBytes: bytes).serializedBytes() == bytes)
    }

    @Test("Fields in any order, split or repeated, mean what the standard says")
    func mergedAndSplit() throws {
        // number: 17; doubles: 21 (packed, then one alone); a_string: 14 twice: the last one holds.
        let bytes: [UInt8] =
            [0x72, 1, 0x61, 0xAA, 1, 8, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0xA9, 1, 0, 0, 0, 0, 0, 0, 0, 0x40]
            + [0x72, 1, 0x62, 0x8A, 1, 0, 0x8A, 1, 2, 8, 5]
        let message = try TestingEverything(serializedBytes: bytes)
        #expect(message.aString == "b" && message.doubles == [1, 2] && message.number?.value == 5)
        // Of a oneof, the last member on the wire holds.
        let chosen = try TestingEverything(serializedBytes: [0xA2, 3, 1, 0x61, 0xB0, 3, 1])
        #expect(chosen.choice == .chosenBool(true))
    }

    @Test("Map entries are written by key: numbers by value, texts by their UTF-8 bytes")
    func mapOrder() throws {
        let numbers = TestingEverything(stringsByNumber: [7: "", -1: "", 0: "", .min: "", .max: ""])
        let entries = try numbers.serializedBytes()
        let expected: [Int32] = [.min, -1, 0, 7, .max]
        let parts = try expected.map { try TestingEverything(stringsByNumber: [$0: ""]).serializedBytes() }
        #expect(entries == Array(parts.joined()))
        let texts = TestingEverything(doublesByName: ["b": 0, "": 0, "é": 0, "a\0": 0, "a": 0, "𝄞": 0])
        let inOrder = try ["", "a", "a\0", "b", "é", "𝄞"].map {
            try TestingEverything(doublesByName: [$0: 0]).serializedBytes()
        }
        #expect(try texts.serializedBytes() == Array(inOrder.joined()))
    }

    @Test("Large arrays pass whole")
    func largeArrays() throws {
        let doubles = (0..<200_000).map { Double($0) / 7 }
        let message = TestingEverything(someBytes: Array(repeating: 7, count: 1_000_000), doubles: doubles)
        let bytes = try message.serializedBytes()
        #expect(bytes.count == (1 + 3 + 1_000_000) + (2 + 3 + 1_600_000))
        #expect(try TestingEverything(serializedBytes: bytes) == message)
    }

    @Test("Enums: names without prefix, aliases, unknown numbers")
    func enums() {
        #expect(TestingColour.allCases.map(\.rawValue) == [0, 1, 2, -3])
        #expect(TestingColour(rawValue: 9) == .unrecognized(9) && TestingColour.unrecognized(9).rawValue == 9)
        #expect(TestingAliased.alsoFirst == .first && TestingAliased(rawValue: 2) == ._2d)
        #expect(HealthHealthCheckIsNamedOnce.name == "HealthCheckResponse")
    }

    private enum HealthHealthCheckIsNamedOnce { static let name = "\(HealthCheckResponse.self)" }
}
