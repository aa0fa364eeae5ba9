import Testing
internal import VommaProto

@testable import DynamicMessages

@Suite struct MappingTests {
    private static let pool = Golden.pool

    @Test("The golden data is there")
    func golden() {
        #expect(Golden.of(.both).count >= 60 && Golden.of(.read).count >= 12 && Golden.of(.refuse).count >= 35)
    }

    @Test("Bytes and JSON translate as Google's do", arguments: Golden.of(.both))
    func both(row: Golden) throws {
        let json = try JSONDocument(parsing: row.json)
        let decoded = try Self.pool.decode(row.bytes, as: row.type)
        #expect(decoded.canonical.text() == json.canonical.text())
        let encoded = try Self.pool.encode(json, as: row.type)
        #expect(try row.canonical(encoded) == row.canonical(row.bytes))
        #expect(try Self.pool.decode(encoded, as: row.type).canonical.text() == json.canonical.text())
    }

    @Test("JSON that people write is read as Google does", arguments: Golden.of(.read))
    func read(row: Golden) throws {
        let encoded = try Self.pool.encode(JSONDocument(parsing: row.json), as: row.type)
        #expect(try row.canonical(encoded) == row.canonical(row.bytes))
    }

    @Test("JSON that Google refuses is refused", arguments: Golden.of(.refuse))
    func refuse(row: Golden) {
        #expect(throws: DynamicMessageError.self) {
            try Self.pool.encode(JSONDocument(parsing: row.json), as: row.type)
        }
    }

    @Test(
        "Faults tell where they are",
        arguments: [
            (#"{"colours":["COLOUR_RED","BLUE"]}"#, "colours[1]: no value named BLUE in Colour"),
            (#"{"numbers":[{"value":1},{"walue":2}]}"#, "numbers[1]: no field named walue in Number"),
            (
                #"{"numbersByName":{"a\"b":{"value":"x"}}}"#,
                #"numbersByName["a\"b"].value: "x" where an integer is expected"#
            ),
            (#"{"walue":2}"#, "no field named walue in Everything"),
            (#"{"an_int32":2147483648}"#, "an_int32: 2147483648 is beyond -2147483648 … 2147483647"),
            (#"{"anInt32":0.5}"#, "anInt32: 0.5 where an integer is expected"),
            (#"{"inner":[]}"#, "inner: an array where an object (Inner) is expected"),
            (#"{"stringsByNumber":{"x":""}}"#, #"stringsByNumber["x"]: "x" where an integer is expected"#),
            (
                #"{"chosenBool":true,"chosenString":""}"#,
                "chosenBool and chosenString exclude each other: set one of choice"
            ),
            (#"{"aDouble":1,"a_double":1}"#, "aDouble is there twice, under two names"),
            (#"{"someBytes":"*"}"#, "someBytes: a string that is not base64"),
            (#"[]"#, "an array where an object (Everything) is expected"),
            (#"{"aDouble":"0x10"}"#, #"aDouble: "0x10" where a number is expected"#),
            ("{\"aDouble\":\n 1,}", "JSON, line 2, column 4: a name in quotes is expected"),
            (#"{"aDouble":01}"#, "JSON, line 1, column 12: a number has no leading zeros"),
            (
                #"{"aString":"\ud834"}"#,
                "JSON, line 1, column 13: an escape that JSON does not have, or half a surrogate pair"
            ),
            (
                "{\"aString\":\"\u{1}\"}",
                #"JSON, line 1, column 13: a control character in a string; write \n, \t or \u00XX"#
            ),
        ])
    func paths(json: String, message: String) {
        do {
            _ = try Self.pool.encode(JSONDocument(parsing: json), as: TestingEverything.protoName)
            Issue.record("\(json) is accepted")
        } catch {
            #expect("\(error)" == message)
        }
    }

    @Test("Where Google's library departs from the standard: the largest and smallest floats, durations of picoseconds")
    func departures() throws {
        let largest = try Self.pool.encode(
            JSONDocument(parsing: #"{"aFloat":3.4028234663852886e+38}"#), as: TestingEverything.protoName)
        #expect(try TestingEverything(serializedBytes: largest).aFloat == .greatestFiniteMagnitude)
        let smallest = try TestingEverything(aFloat: .leastNonzeroMagnitude).serializedBytes()
        #expect(try Self.pool.decode(smallest, as: TestingEverything.protoName).text() == #"{"aFloat":1e-45}"#)
        #expect(throws: DynamicMessageError.self) {
            try Self.pool.encode(JSONDocument(parsing: #"{"duration":"1.0000000001s"}"#), as: "golden.Known")
        }
    }

    @Test("Integers are exact, whatever the notation")
    func integers() throws {
        for (text, value) in [
            ("9223372036854775807", Int64.max), ("-9223372036854775808", .min), ("9.223372036854775807e18", .max),
            ("-0", 0), ("0e999999999999999999999", 0), ("1230e-1", 123), ("0.0001e4", 1),
        ] {
            let bytes = try Self.pool.encode(.object([.init("value", .number(text))]), as: TestingNumber.protoName)
            #expect(try TestingNumber(serializedBytes: bytes).value == value, "\(text)")
        }
        for text in ["9223372036854775808", "1e19", "1e999999999999999999999", "1e-1", "1e-999999999999999999999"] {
            #expect(throws: DynamicMessageError.self, "\(text)") {
                try Self.pool.encode(.object([.init("value", .number(text))]), as: TestingNumber.protoName)
            }
        }
    }

    @Test("Of repeated occurrences of a field the last counts; messages are merged, choices replaced")
    func merging() throws {
        func decode(_ build: (inout WireWriter) -> Void) throws -> String {
            var writer = WireWriter()
            build(&writer)
            return try Self.pool.decode(writer.bytes, as: TestingTree.protoName).text()
        }
        #expect(try decode { $0.field(1, .varint(1)); $0.field(1, .varint(2)) } == #"{"value":2}"#)
        #expect(
            try decode {
                $0.message(2, Self.tree(value: 1))
                $0.message(2, Self.tree(name: "n"))
            } == #"{"left":{"value":1,"name":"n"}}"#)
        #expect(
            try decode {
                $0.message(5, Self.tree(value: 1))
                $0.field(6, .bytes(Array("n".utf8)))
            } == #"{"name":"n"}"#)
        // A field with another wire type is unknown, and so are groups and numbers that nothing has.
        #expect(
            try decode {
                $0.field(1, .bytes([1]))
                $0.message(77, [8, 1, 0x13, 0x14], asGroup: true)
                $0.field(99, .fixed64(1))
                $0.field(2, .varint(1))
            } == "{}")
    }

    private static func tree(value: UInt64? = nil, name: String? = nil) -> [UInt8] {
        var writer = WireWriter()
        if let value { writer.field(1, .varint(value)) }
        if let name { writer.field(6, .bytes(Array(name.utf8))) }
        return writer.bytes
    }

    @Test("An Any of a type that nobody described keeps its bytes")
    func unknownAny() throws {
        let json = try JSONDocument(parsing: #"{"any":{"@type":"x/other.Type","@value":"CAE="}}"#)
        let bytes = try Self.pool.encode(json, as: "golden.Known")
        #expect(try Self.pool.decode(bytes, as: "golden.Known") == json)
        let reason = "the server does not describe the type other.Type"
        #expect(throws: DynamicMessageError.unfitJSON(path: "any", reason: reason)) {
            try Self.pool.encode(JSONDocument(parsing: #"{"any":{"@type":"x/other.Type","a":1}}"#), as: "golden.Known")
        }
    }

    @Test("Text: pretty and on one line, and several documents")
    func text() throws {
        let json = try JSONDocument(parsing: #"{"a":[1,2.50],"b":[{"c":"\u0007é"}],"d":{},"e":[]}"#)
        #expect(json.text() == #"{"a":[1,2.50],"b":[{"c":"\u0007é"}],"d":{},"e":[]}"#)
        #expect(
            json.text(pretty: true) == """
                {
                  "a": [1, 2.50],
                  "b": [
                    {
                      "c": "\\u0007é"
                    }
                  ],
                  "d": {},
                  "e": []
                }
                """)
        let several = try JSONDocument.sequence(parsing: #"{"a":1}{} 2"3" "#.utf8)
        #expect(several.map { $0.text() } == [#"{"a":1}"#, "{}", "2", #""3""#])
        #expect(try JSONDocument.sequence(parsing: " \n".utf8).isEmpty)
        #expect(throws: DynamicMessageError.self) { try JSONDocument(parsing: "{} {}") }
    }
}
