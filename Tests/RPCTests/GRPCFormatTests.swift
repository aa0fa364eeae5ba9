import Testing

@testable import RPC

@Suite struct GRPCFormatTests {
    @Test("Any chunking of a stream gives the same messages", arguments: 0..<20 as Range<UInt64>)
    func deframing(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let messages = (0..<Int.random(in: 1...12, using: &random)).map { _ in
            (0..<[0, 1, 4, 5, 6, 300].randomElement(using: &random)!).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
        }
        let wire = messages.flatMap { frame($0) }
        var deframer = Deframer(maxMessageByteCount: 300)
        var received: [[UInt8]] = []
        var rest = wire[...]
        while !rest.isEmpty {
            let piece = Array(rest.prefix(Int.random(in: 1...40, using: &random)))
            rest = rest.dropFirst(piece.count)
            try deframer.append(piece) { received.append($0) }
            #expect(deframer.isBetweenMessages || !rest.isEmpty)
        }
        #expect(received == messages)
        #expect(deframer.isBetweenMessages)
    }

    @Test("A message over the limit, a compressed one and a bad flag are refused by their prefix alone")
    func refusedPrefixes() {
        func code(_ prefix: [UInt8]) -> StatusCode? {
            var deframer = Deframer(maxMessageByteCount: 10)
            do throws(RPCStatus) {
                try deframer.append(prefix) { _ in }
                return nil
            } catch {
                return error.code
            }
        }
        #expect(code([0, 0, 0, 0, 10]) == nil)
        #expect(code([0, 0, 0, 0, 11]) == .resourceExhausted)
        #expect(code([0, 0xFF, 0xFF, 0xFF, 0xFF]) == .resourceExhausted)
        #expect(code([1, 0, 0, 0, 1]) == .internal)
        #expect(code([2, 0, 0, 0, 1]) == .internal)
    }

    @Test("Credit: all of it comes back, and what waits unread holds its own")
    func credit() throws {
        var inbound = InboundMessages(maxMessageByteCount: 1000)
        let first = frame(Array(repeating: 1, count: 100))
        // Half a message, nothing before it: credited at once, so that a message may exceed the window.
        #expect(try inbound.receive(first[..<50]) == 50)
        // Complete: it waits, and holds the second half's credit.
        #expect(try inbound.receive(first[50...]) == 0)
        let second = frame([2, 3])
        #expect(try inbound.receive(second[...]) == 0)
        let taken = try inbound.take()
        let last = try inbound.take()
        #expect(last?.message == [2, 3])
        #expect((taken?.credit ?? 0) + (last?.credit ?? 0) == 55 + 7)
        #expect(inbound.count == 0)
    }

    @Test("The room that is made for a message counts before it has come, and is in proportion to what has")
    func room() throws {
        var inbound = InboundMessages(maxMessageByteCount: 64 << 20)
        let message = [UInt8](repeating: 7, count: 8 << 20)
        let wire = frame(message)
        var come = 0
        while come < wire.count {
            let piece = wire[come..<min(come + 100_000, wire.count)]
            _ = try inbound.receive(piece)
            come += piece.count
            // Memory comes in pages.
            #expect(inbound.heldByteCount >= come - 5 && inbound.heldByteCount <= 4 * come + 16_384)
            if come == 100_000 { #expect(inbound.heldByteCount >= 3 * come) }
        }
        #expect(try inbound.take()?.message == message)
        #expect(inbound.heldByteCount == 0)
    }

    @Test("Timeouts: print, parse, never shorter, at most eight digits", arguments: 0..<200 as Range<UInt64>)
    func timeouts(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let magnitude = Int64(1) << Int64.random(in: 0...56, using: &random)
        let timeout = Duration.nanoseconds(Int64.random(in: 1...magnitude, using: &random))
        let text = GRPCTimeout.format(timeout)
        #expect(text.count <= 9)
        let parsed = try #require(GRPCTimeout.parse(text))
        #expect(parsed >= timeout)
        #expect(parsed <= timeout * 1.00001 + .nanoseconds(1))
    }

    @Test("Timeout examples")
    func timeoutExamples() {
        func parse(_ text: String) -> Duration? { GRPCTimeout.parse(Array(text.utf8)) }
        #expect(parse("100m") == .milliseconds(100))
        #expect(parse("2H") == .seconds(7200))
        #expect(parse("99999999H") == GRPCTimeout.longest)
        for bad in ["", "m", "5", "1x", "-1S", "1.5S", "123456789S", " 1S", "1 S"] {
            #expect(parse(bad) == nil, "\(bad)")
        }
        #expect(GRPCTimeout.format(.zero) == Array("1n".utf8))
        #expect(GRPCTimeout.format(.seconds(-3)) == Array("1n".utf8))
        #expect(GRPCTimeout.format(.milliseconds(250)) == Array("250000u".utf8))
    }

    @Test(
        "Status messages survive percent-encoding",
        arguments: [
            "", "plain ASCII, 100 % of it", "Zürich – 東京 📈", "tab\tand\nnewline", "%41 stays %41", "\u{1}", "e\u{301}",
        ])
    func percentEncoding(message: String) {
        let wire = PercentEncoding.encode(message)
        #expect(wire.allSatisfy { $0 >= 0x20 && $0 <= 0x7E })
        #expect(PercentEncoding.decode(wire) == message)
    }

    @Test("Broken percent-encoding is read as far as it goes; long messages are cut between characters")
    func brokenPercentEncoding() {
        #expect(PercentEncoding.decode("a%4".utf8) == "a%4")
        #expect(PercentEncoding.decode("%zz%E2%82".utf8) == "%zz\u{FFFD}")
        #expect(PercentEncoding.decode("%e2%82%ac".utf8) == "€")
        let long = PercentEncoding.encode(String(repeating: "é", count: 5000))
        #expect(long.count <= PercentEncoding.longestMessage)
        #expect(PercentEncoding.decode(long).allSatisfy { $0 == "é" })
    }

    @Test("Binary metadata survives base64, padded or not; lists are split")
    func base64() throws {
        var random = SeededGenerator(seed: 1)
        for count in 0...40 {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            let text = Base64.encode(bytes)
            #expect(Base64.decode(text) == bytes)
            #expect(Base64.decode(text + Array(repeating: 0x3D, count: (4 - text.count % 4) % 4)) == bytes)
        }
        #expect(Base64.decode("A".utf8) == nil)
        #expect(Base64.decode("AA=A".utf8) == nil)
        #expect(Base64.decode("A*".utf8) == nil)
        var metadata = Metadata()
        metadata.appendReceived(HeaderFields(["k-bin": "AQ,Ag=="]), 0)
        #expect(metadata.entries.map(\.value) == [.binary([1]), .binary([2])])
    }

    @Test("Metadata refuses what has no wire form")
    func metadataKeys() throws {
        var metadata: Metadata = ["X-Request-ID": "17"]
        #expect(metadata["x-request-id"] == "17")
        for key in ["", "a b", "grpc-timeout", ":path", "te", "ü"] {
            #expect(throws: RPCError.invalidMetadata(key: key)) { try metadata.append(key, "v") }
        }
        #expect(throws: RPCError.self) { try metadata.append("k", "ü") }
        #expect(throws: RPCError.self) { try metadata.append("k-bin", "text") }
        #expect(throws: RPCError.self) { try metadata.append("k", binary: [1]) }
        try metadata.append("k-bin", binary: [0, 255])
        #expect(metadata[binary: "k-bin"] == [0, 255])
    }

    @Test("Of a request's headers the application gets its own, one by one or all, and can add to them")
    func receivedMetadata() throws {
        let headers = HeaderFields([
            ":method": "POST", ":path": "/s/m", ":scheme": "http", ":authority": "a", "te": "trailers", "host": "a",
            "content-type": "application/grpc", "grpc-timeout": "1S", "grpc-encoding": "identity",
            "grpc-accept-encoding": "gzip", "content-length": "5", "connection": "close", "keep-alive": "1",
            "upgrade": "h2c", "proxy-connection": "close", "transfer-encoding": "chunked", "": "nameless",
            "x-tenant": "blue", "x-tenanu": "red", "raw-bin": "AQI", "x-tenant": "second", "bad-bin": "*",
        ])
        let head = RequestHead(headers, 0..<headers.count)
        #expect(head.refusal == nil)
        #expect(head.timeout == .seconds(1))
        var expected: Metadata = ["x-tenant": "blue", "x-tenanu": "red"]
        try expected.append("raw-bin", binary: [1, 2])
        try expected.append("x-tenant", "second")
        #expect(head.metadata == expected)
        #expect(head.metadata.hashValue == expected.hashValue)
        #expect(head.metadata["x-tenant"] == "blue")
        #expect(head.metadata["x-tenan"] == nil)
        #expect(head.metadata["raw-bin"] == nil)
        #expect(head.metadata[binary: "raw-bin"] == [1, 2])
        var more = head.metadata
        try more.append("k", "v")
        #expect(more.entries.count == 5)
        #expect(more["k"] == "v")
        more.appendReceived(headers, 17)
        #expect(more.entries.last == expected.entries.first)
        #expect(head.metadata.entries.count == 4)
    }

    @Test("Request heads that are refused, and how")
    func requestHeads() {
        func refusal(_ changes: KeyValuePairs<String, String>, omit: String = "") -> (Int, StatusCode)? {
            var headers = HeaderFields()
            let plain: KeyValuePairs = [
                ":method": "POST", ":path": "/s/m", "content-type": "application/grpc", "te": "trailers",
            ]
            for (name, value) in plain where name != omit && !changes.contains(where: { $0.key == name }) {
                headers.append(name, value.utf8)
            }
            for (name, value) in changes { headers.append(name, value.utf8) }
            return RequestHead(headers, 0..<headers.count).refusal.map { ($0.httpStatus, $0.status.code) }
        }
        #expect(refusal([:]) == nil)
        #expect(refusal(["content-type": "application/grpc+proto"]) == nil)
        #expect(refusal(["content-type": "application/grpc;charset=x"]) == nil)
        #expect(refusal(["content-type": "application/json"])! == (415, .internal))
        #expect(refusal(["content-type": "application/grpcx"])! == (415, .internal))
        #expect(refusal([:], omit: "content-type")! == (415, .internal))
        #expect(refusal([":method": "GET"])! == (405, .internal))
        #expect(refusal(["grpc-encoding": "deflate"])! == (200, .unimplemented))
        #expect(refusal(["grpc-encoding": "gzip"]) == nil)
        #expect(refusal(["grpc-encoding": "identity"]) == nil)
        #expect(refusal(["grpc-timeout": "soon"])! == (200, .internal))
    }

    @Test("Response heads: trailers-only, HTTP errors, interim answers, missing status")
    func responseHeads() {
        func run(_ blocks: [(KeyValuePairs<String, String>, Bool)]) -> [ResponseHeads.Action] {
            var heads = ResponseHeads()
            return blocks.map { pairs, endStream in
                let headers = HeaderFields(pairs)
                return heads.receive(headers, 0..<headers.count, endStream: endStream)
            }
        }
        let head: KeyValuePairs = [":status": "200", "content-type": "application/grpc"]
        #expect(
            run([(head, false), (["grpc-status": "0", "x": "y"], true)])
                == [.initialMetadata([:]), .finish(RPCStatus(.ok, metadata: ["x": "y"]))])
        #expect(
            run([
                (
                    [
                        ":status": "200", "content-type": "application/grpc", "grpc-status": "5",
                        "grpc-message": "n%C3%B6",
                    ], true
                )
            ])
                == [.finish(RPCStatus(.notFound, "nö"))])
        #expect(run([([":status": "100"], false), (head, false)]) == [.nothing, .initialMetadata([:])])
        #expect(run([([":status": "503"], false)]) == [.finish(RPCStatus(.unavailable, "HTTP status 503"))])
        #expect(
            run([([":status": "404", "content-type": "text/html"], true)])
                == [.finish(RPCStatus(.unimplemented, "HTTP status 404"))])
        #expect(
            run([([":status": "200", "content-type": "text/html"], false)])
                == [.finish(RPCStatus(.unknown, "content-type is not application/grpc"))])
        #expect(
            run([(head, false), (["x": "y"], true)])
                == [
                    .initialMetadata([:]),
                    .finish(RPCStatus(.internal, "trailers without grpc-status", metadata: ["x": "y"])),
                ])
        #expect(
            run([(head, false), (["grpc-status": "99"], true)])
                == [.initialMetadata([:]), .finish(RPCStatus(.unknown))])
    }

    @Test("Details that would overflow a client's headers stay behind; the status goes out")
    func longDetails() {
        for (byteCount, isSent) in [(0, true), (4096, true), (4097, false), (1 << 20, false)] {
            let status = RPCStatus(.notFound, "no", detailsBytes: [UInt8](repeating: 7, count: byteCount))
            for headers in [GRPCHeaders.trailers(status, [:]), GRPCHeaders.trailersOnly(status)] {
                var heads = ResponseHeads()
                guard case .finish(let came) = heads.receive(headers, 0..<headers.count, endStream: true) else {
                    Issue.record("no status")
                    continue
                }
                #expect(came.code == .notFound && came.message == "no")
                #expect(came.detailsBytes == (isSent ? status.detailsBytes : nil))
            }
        }
    }

    @Test("Back-off grows to its limit, stays within its jitter, and starts anew")
    func backoff() {
        var backoff = Backoff(initial: .milliseconds(100), longest: .seconds(1))
        #expect(backoff.next(random: 0) == .milliseconds(80))
        #expect(backoff.next(random: 0.5) == .milliseconds(160))
        for _ in 0..<10 { #expect(backoff.next(random: 0.999) <= .milliseconds(1200)) }
        #expect(backoff.next(random: 0.5) == .seconds(1))
        backoff.reset()
        #expect(backoff.next(random: 0.5) == .milliseconds(100))
    }

    @Test("The queue keeps order through any mix of appends and pops")
    func fifo() {
        var random = SeededGenerator(seed: 3)
        var queue = FIFO<Int>()
        var model: [Int] = []
        for value in 0..<2000 {
            if Bool.random(using: &random) || model.isEmpty {
                queue.append(value)
                model.append(value)
            } else {
                #expect(queue.popFirst() == model.removeFirst())
            }
            #expect(queue.count == model.count)
        }
    }
}

func frame(_ message: [UInt8]) -> [UInt8] {
    [0] + (0..<4).map { UInt8(truncatingIfNeeded: message.count >> (24 - 8 * $0)) } + message
}

extension Deframer {
    mutating func append(_ bytes: [UInt8], deliver: ([UInt8]) -> Void) throws(RPCStatus) {
        let result = unsafe bytes.withUnsafeBytes { input in
            Result { () throws(RPCStatus) in unsafe try append(input, deliver: deliver) }
        }
        try result.get()
    }
}

extension InboundMessages {
    mutating func receive(_ bytes: ArraySlice<UInt8>) throws -> Int {
        unsafe try bytes.withUnsafeBytes { unsafe try receive($0) }
    }
}
