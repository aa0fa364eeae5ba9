internal import Compression
internal import DynamicMessages
internal import RPC
internal import VommaProto

extension FuzzTarget {
    static let compression = [
        FuzzTarget(
            name: "gzip",
            seeds: {
                [[1, 2, 3], [UInt8](repeating: 0, count: 900), Array("the price of an option ".utf8)].map {
                    Gzip.compressed($0 + $0 + $0) ?? $0
                }
            }, run: fuzzGzip)
    ]

    /// Whatever it is, no more than was asked for comes out; and what goes in comes back.
    @Sendable private static func fuzzGzip(_ input: [UInt8]) {
        if let bytes = try? Gzip.decompressed(input, maxByteCount: 2000) {
            precondition(bytes.count <= 2000, "more than the limit")
        }
        if let compressed = Gzip.compressed(input) {
            precondition(compressed.count < input.count, "longer than before")
            let again = try? Gzip.decompressed(compressed, maxByteCount: input.count)
            precondition(again == input, "gzip is not undone")
        }
    }

    static let messages = [
        FuzzTarget(name: "message", seeds: messageSeeds, run: fuzzMessages),
        FuzzTarget(name: "dynamic", seeds: messageSeeds, run: fuzzDynamic),
        FuzzTarget(name: "json", seeds: jsonSeeds, run: fuzzJSON),
        FuzzTarget(
            name: "descriptor", seeds: { [FileDescriptors.vommaTestingV1Testing.serializedBytes] },
            run: fuzzDescriptor),
    ]

    @Sendable private static func messageSeeds() throws -> [[UInt8]] {
        var all = TestingEverything(aDouble: 1.5, anInt32: -1, aString: "zürich", someBytes: [0, 255])
        all.doubles = [1, -0.0, .infinity]
        all.int32s = [-1, 0, 300]
        all.strings = ["", "a", "日本"]
        all.numbers = [TestingNumber(value: 1 << 40), TestingNumber()]
        all.doublesByName = ["a": 1, "": 2]
        all.numbersByName = ["n": TestingNumber(value: 3)]
        all.bytesByID = [9: [1, 2]]
        all.choice = .chosenString("x")
        let leaf = TestingTree(value: 1)
        let tree = TestingTree(
            value: 2, left: leaf, children: [leaf, TestingTree(left: leaf)], byName: ["k": leaf], other: .name("n"))
        return [try all.serializedBytes(), try tree.serializedBytes(), [0x0A, 2, 8, 1]]
    }

    /// What is read has one wire form.
    @Sendable private static func fuzzMessages(_ input: [UInt8]) {
        func check<Message: ProtoMessage>(_ type: Message.Type) {
            guard let message = try? unsafe Message(serializedBytes: input.span.bytes) else { return }
            guard let once = try? message.serializedBytes() else { preconditionFailure("read, but not written") }
            guard let again = try? unsafe Message(serializedBytes: once.span.bytes).serializedBytes() else {
                preconditionFailure("written, but not read")
            }
            precondition(once == again, "two wire forms")
        }
        check(TestingEverything.self)
        check(TestingTree.self)
        check(TestingForest.self)
        check(TestingAwkward.self)
    }

    private static let pool: DescriptorPool = {
        var pool = DescriptorPool()
        try? pool.add(fileDescriptor: FileDescriptors.vommaTestingV1Testing.serializedBytes)
        return pool
    }()

    /// What is read has one JSON, and that has one wire form.
    @Sendable private static func fuzzDynamic(_ input: [UInt8]) {
        for type in [TestingEverything.protoName, TestingTree.protoName] {
            guard let text = try? pool.decode(input, as: type).text() else { continue }
            guard let again = try? pool.encode(JSONDocument(parsing: text), as: type),
                let once = try? pool.decode(again, as: type)
            else { preconditionFailure("translated, but not back") }
            precondition(once.text() == text, "two translations")
        }
    }

    @Sendable private static func jsonSeeds() -> [[UInt8]] {
        [
            #"{"aDouble": 1.5e-3, "aString": "z\u00fc\n", "doubles": [1, "NaN"], "doublesByName": {"a": 1}}"#,
            #"{"value": 1, "left": {"children": [{}, {"name": "x"}]}} {"byName": {"k": {"value": -2}}}"#,
        ].map { Array($0.utf8) }
    }

    @Sendable private static func fuzzJSON(_ input: [UInt8]) {
        guard let documents = try? JSONDocument.sequence(parsing: input) else { return }
        for document in documents {
            guard let again = try? JSONDocument(parsing: document.text()) else {
                preconditionFailure("written, but not read")
            }
            precondition(again.text() == document.text(), "two texts")
            for type in [TestingEverything.protoName, TestingTree.protoName] {
                guard let bytes = try? pool.encode(document, as: type) else { continue }
                precondition((try? pool.decode(bytes, as: type)) != nil, "encoded, but not read")
            }
        }
    }

    @Sendable private static func fuzzDescriptor(_ input: [UInt8]) {
        var pool = DescriptorPool()
        guard (try? pool.add(fileDescriptor: input)) != nil else { return }
        for type in [TestingEverything.protoName, TestingTree.protoName, "vomma.testing.v1.Test"] {
            _ = pool.text(describing: type)
            _ = try? pool.decode([0x0A, 2, 8, 1, 0x12, 0], as: type)
        }
    }
}
