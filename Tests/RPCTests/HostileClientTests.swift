import InteropService
import NIOConcurrencyHelpers
import Testing

@testable import RPC

private let echo = RPCMethod.unary("/test.Service/Echo") { (request: Blob, _) in request }
private let big = RPCMethod.unary("/test.Service/Big") { (_: Blob, _) in Blob(count: 1 << 20) }

/// Clients that mean no good, and those that merely do not know the rules. Whole attacks are `make attack`'s.
@Suite(.timeLimit(.minutes(1))) struct HostileClientTests {
    @Test("Responses that nobody reads stop at the server's limit; others are served; it all comes back")
    func unreadResponses() async throws {
        try await withServer([echo, big], configure: { $0.maxHeldByteCount = 3 << 20 }) { server, channel in
            let port = try await server.boundPort
            let refused = OneShot<StatusCode?>()
            try await withThrowingTaskGroup(of: Void.self) { group in
                // Half of each response fits into its window; the other half is held: 6 MiB if all were.
                for _ in 0..<12 {
                    group.addTask {
                        let answer = try await Probe.request(
                            port: port, [(":path", "/test.Service/Big")], body: frame([]), consumes: false)
                        if answer.code != nil { refused.fire(answer.code) }
                    }
                }
                #expect(await refused.wait() == .resourceExhausted)
                let small: Blob = try await channel.unary("/test.Service/Echo", Blob("still here"))
                #expect(small.text == "still here")
                group.cancelAll()
            }
            try await Self.untilServed(channel)
        }
    }

    @Test("Messages that never end stop at the server's limit; others are served; it all comes back")
    func halfMessages() async throws {
        try await withServer([echo], configure: { $0.maxHeldByteCount = 3 << 20 }) { server, channel in
            let port = try await server.boundPort
            let refused = OneShot<StatusCode?>()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        let almost = [0] + Wire.number(2 << 20) + [UInt8](repeating: 1, count: (2 << 20) - 1)
                        let answer = try await Probe.request(port: port, body: almost, ends: false)
                        if answer.code != nil { refused.fire(answer.code) }
                    }
                }
                #expect(await refused.wait() == .resourceExhausted)
                let small: Blob = try await channel.unary("/test.Service/Echo", Blob("still here"))
                #expect(small.text == "still here")
                group.cancelAll()
            }
            try await Self.untilServed(channel)
        }
    }

    /// A call that the limit refuses as long as the hostile connections are not gone.
    private static func untilServed(_ channel: RPCChannel) async throws {
        while true {
            do {
                let answer: Blob = try await channel.unary("/test.Service/Echo", Blob(count: 1 << 20))
                #expect(answer.bytes.count == 1 << 20)
                return
            } catch let status as RPCStatus where status.code == .resourceExhausted {
                await Task.yield()
            }
        }
    }

    @Test("What a connection holds is counted in steps, and refused above the limit where much is held")
    func memoryShares() {
        let budget = MemoryBudget(limit: 2 * MemoryBudget.step)
        var (first, second) = (MemoryShare(budget), MemoryShare(budget))
        first.update(MemoryBudget.step - 1)
        #expect(budget.usedByteCount == 0)
        first.update(3 * MemoryBudget.step + 5)
        #expect(budget.usedByteCount == 3 * MemoryBudget.step)
        // The greedy connection gets nothing more, the other one only what is small.
        #expect(first.refuses(1))
        #expect(!second.refuses(MemoryBudget.step - 1) && second.refuses(MemoryBudget.step))
        second.update(MemoryBudget.step)
        first.update(0)
        #expect(budget.usedByteCount == MemoryBudget.step && !second.refuses(1 << 30))
    }

    @Test(
        "Requests that bend the rules: served, or refused as gRPC says",
        arguments: [
            ([("content-type", "application/grpc+proto")], "200", StatusCode.ok),
            ([("content-type", "application/grpc;v=1")], "200", .ok),
            ([("content-type", "application/grpc+json")], "415", .internal),
            ([("content-type", "")], "415", .internal),
            ([("grpc-timeout", "1H")], "200", .ok),
            ([("grpc-timeout", "")], "200", .internal),
            ([("grpc-timeout", "123456789S")], "200", .internal),
            ([("grpc-timeout", "-1S")], "200", .internal),
            ([("grpc-encoding", "identity")], "200", .ok),
            ([(":path", "/")], "200", .unimplemented),
            ([(":path", "//")], "200", .unimplemented),
            ([(":path", "/test.Service")], "200", .unimplemented),
            ([(":path", "/test.Service/")], "200", .unimplemented),
            ([(":path", "/test.Service/echo")], "200", .unimplemented),
            ([(":path", "/test.Service/Echo/")], "200", .unimplemented),
            ([(":path", "/test.Service/Echo?a=b")], "200", .unimplemented),
            ([("x-bad-bin", "*no base64*")], "200", .ok),
            ([("x-utf8", "zürich")], "200", .ok),
            ([(":method", "PUT")], "405", .internal),
        ] as [([(String, String)], String, StatusCode)])
    func bentRequests(changes: [(String, String)], httpStatus: String, code: StatusCode) async throws {
        try await withServer([echo]) { server, _ in
            let pairs = changes
            let answer = try await Probe.request(port: try await server.boundPort, pairs, body: frame([1]))
            #expect(answer.head[":status"] == httpStatus && answer.code == code, "\(answer)")
        }
    }

    @Test("Binary metadata: lists, repeated keys, padding; what is not base64 is left out")
    func binaryMetadata() async throws {
        let seen = NIOLockedValueBox(Metadata())
        let method = RPCMethod.unary("/test.Service/Meta") { (request: Blob, context) -> Blob in
            seen.withLockedValue { $0 = context.metadata }
            return request
        }
        try await withServer([method]) { server, _ in
            let answer = try await Probe.request(
                port: try await server.boundPort,
                [
                    (":path", "/test.Service/Meta"), ("a-bin", "AQ,Ag=="), ("a-bin", "AwQ"), ("b-bin", "!"),
                    ("c-bin", ""), ("text", "1"), ("text", "2"),
                ], body: frame([]))
            #expect(answer.code == .ok)
            let values = seen.withLockedValue { $0.entries }
            #expect(values.filter { $0.key == "a-bin" }.map(\.value) == [.binary([1]), .binary([2]), .binary([3, 4])])
            #expect(!values.contains { $0.key == "b-bin" })
            #expect(values.filter { $0.key == "c-bin" }.map(\.value) == [.binary([])])
            #expect(values.filter { $0.key == "text" }.map(\.value) == [.text("1"), .text("2")])
        }
    }

    @Test("RST_STREAM and HTTP statuses are gRPC's codes as its specification maps them")
    func mappings() {
        let resets: [(UInt32, StatusCode)] = [
            (0, .internal), (1, .internal), (2, .internal), (3, .internal), (4, .internal), (6, .internal),
            (7, .unavailable), (8, .cancelled), (9, .internal), (10, .internal), (11, .resourceExhausted),
            (12, .permissionDenied), (0xFFFF, .internal),
        ]
        for (code, status) in resets { #expect(StatusCode(resetCode: HTTP2ErrorCode(rawValue: code)) == status) }
        let statuses: [(Int, StatusCode)] = [
            (400, .internal), (401, .unauthenticated), (403, .permissionDenied), (404, .unimplemented),
            (429, .unavailable), (502, .unavailable), (503, .unavailable), (504, .unavailable), (500, .unknown),
            (200, .unknown), (302, .unknown), (0, .unknown),
        ]
        for (number, status) in statuses { #expect(StatusCode(httpStatus: number) == status) }
    }
}
