import Testing
internal import VommaProto

@testable import DynamicMessages

@Suite struct DescriptorTests {
    @Test("Every proto of ours is read, with its services and the types that they use")
    func ownProtos() throws {
        var pool = DescriptorPool()
        for file in FileDescriptors.all { try pool.add(fileDescriptor: file.serializedBytes) }
        #expect(pool.missingFiles.isEmpty && pool.fileCount == FileDescriptors.all.count)
        for name in FileDescriptors.all.flatMap(\.services) {
            let service = try #require(pool.service(named: name))
            #expect(!service.methods.isEmpty)
            for method in service.methods {
                #expect(pool.message(named: method.requestType) != nil)
                #expect(pool.message(named: method.responseType) != nil)
            }
        }
        let test = try #require(pool.service(named: "vomma.testing.v1.Test"))
        #expect(test.methods.map(\.name) == ["Echo", "Count", "Sum", "Accumulate"])
        #expect(test.methods.map(\.requestIsStream) == [false, false, true, true])
        #expect(test.methods.map(\.responseIsStream) == [false, true, false, true])
        let known = test.methods.map(\.name)
        #expect(throws: DynamicMessageError.unknownMethod(service: test.fullName, method: "None", known: known)) {
            try test.method(named: "None")
        }
        let everything = try #require(pool.message(named: TestingEverything.protoName))
        #expect(everything.field(named: "a_double")?.hasPresence == false)
        #expect(everything.field(named: "maybeInt64")?.hasPresence == true)
        #expect(everything.field(named: "doubles")?.isPacked == true)
        #expect(everything.field(named: "unpacked")?.isPacked == false)
    }

    @Test("Described in the proto language: a service with its types, maps and choices")
    func text() throws {
        let pool = Golden.pool
        #expect(
            pool.text(describing: "vomma.testing.v1.Tree") == """
                message vomma.testing.v1.Tree {
                  int32 value = 1;
                  vomma.testing.v1.Tree left = 2;
                  repeated vomma.testing.v1.Tree children = 3;
                  map<string, vomma.testing.v1.Tree> by_name = 4;
                  oneof other {
                    vomma.testing.v1.Tree chosen = 5;
                    string name = 6;
                  }
                }
                """)
        let service = try #require(pool.text(describing: "vomma.testing.v1.Test"))
        let number = "stream vomma.testing.v1.Number"
        #expect(service.contains("  rpc Accumulate(\(number)) returns (\(number));\n"))
        #expect(service.contains("\n\nmessage vomma.testing.v1.Nothing {}\n\n"))
        #expect(service.contains("  optional int64 maybe_int64 = 46;\n"))
        #expect(service.contains("enum vomma.testing.v1.Colour {\n  COLOUR_UNSPECIFIED = 0;\n"))
        #expect(!service.contains("Entry"))
        #expect(pool.text(describing: "vomma.testing.v1.None") == nil)
    }

    /// A file as descriptor.proto numbers its parts:
    /// message M { repeated int32 list = 1; M inner = 2; int32 plain = 3; }
    private static func file(syntax: String, options: [UInt8] = []) -> [UInt8] {
        func text(_ text: String) -> WireScalar { .bytes(Array(text.utf8)) }
        func field(_ name: String, number: UInt64, label: UInt64, type: UInt64) -> [UInt8] {
            var field = WireWriter()
            field.field(1, text(name))
            field.field(3, .varint(number))
            field.field(4, .varint(label))
            field.field(5, .varint(type))
            if type == 11 { field.field(6, text(".p.M")) }
            return field.bytes
        }
        var message = WireWriter()
        message.field(1, text("M"))
        message.message(2, field("list", number: 1, label: 3, type: 5))
        message.message(2, field("inner", number: 2, label: 1, type: 11))
        message.message(2, field("plain", number: 3, label: 1, type: 5))
        var file = WireWriter()
        file.field(1, text("m.proto"))
        file.field(2, text("p"))
        file.message(4, message.bytes)
        file.message(8, options)
        file.field(12, text(syntax))
        return file.bytes
    }

    private static let json = #"{"list":[1,2],"inner":{"list":[3]},"plain":0}"#

    @Test("Each syntax has its wire form; editions set it by features")
    func syntaxes() throws {
        // FeatureSet { field_presence: IMPLICIT, repeated_field_encoding: EXPANDED, message_encoding: DELIMITED }
        let features: [UInt8] = [0x92, 0x03, 6, 0x08, 2, 0x18, 2, 0x28, 2]
        for (syntax, options, expected) in [
            ("proto2", [], [0x08, 1, 0x08, 2, 0x12, 2, 0x08, 3, 0x18, 0]),
            ("proto3", [], [0x0A, 2, 1, 2, 0x12, 3, 0x0A, 1, 3]),
            ("editions", [], [0x0A, 2, 1, 2, 0x12, 3, 0x0A, 1, 3, 0x18, 0]),
            ("editions", features, [0x08, 1, 0x08, 2, 0x13, 0x08, 3, 0x14]),
        ] as [(String, [UInt8], [UInt8])] {
            var pool = DescriptorPool()
            try pool.add(fileDescriptor: Self.file(syntax: syntax, options: options))
            let bytes = try pool.encode(JSONDocument(parsing: Self.json), as: "p.M")
            #expect(bytes == expected, "\(syntax)")
            let hasPresence = expected.suffix(2) == [0x18, 0]
            let back = hasPresence ? Self.json : #"{"list":[1,2],"inner":{"list":[3]}}"#
            #expect(try pool.decode(bytes, as: "p.M").text() == back, "\(syntax)")
        }
    }

    @Test("A file that is damaged adds nothing; a type that is missing is named")
    func faults() throws {
        var pool = DescriptorPool()
        let damaged = Array(Self.file(syntax: "proto3").dropLast()) + [0xFF]
        #expect(throws: DynamicMessageError.self) { try pool.add(fileDescriptor: damaged) }
        #expect(throws: DynamicMessageError.malformedDescriptor(reason: "a file without a name")) {
            try pool.add(fileDescriptor: [])
        }
        #expect(pool.fileCount == 0)
        try pool.add(fileDescriptor: FileDescriptors.vommaV1Heston.serializedBytes)
        #expect(pool.missingFiles == ["vomma/v1/market.proto"])
        #expect(throws: DynamicMessageError.unknownType(name: "vomma.v1.Surface")) {
            try pool.encode(JSONDocument(parsing: #"{"surface":{}}"#), as: "vomma.v1.InvertRequest")
        }
    }
}
