import ChildProcesses
import Foundation
import InteropService
import Logging
import RPC
import Testing
import VommaProto

/// The cases of gRPC's own interoperability test, each way: our client and Python's grpcio, against our server and
/// grpcio's. Ours against ours and grpcio against grpcio judge the cases themselves.
@Suite(.timeLimit(.minutes(5)))
struct InteropTests {
    /// Whose server.
    enum Server: CaseIterable, Sendable { case ours, grpcio }

    // MARK: - grpcio's client

    @Test("grpcio's client: see Tests/Peers/rpc/interop_client.py", arguments: Server.allCases)
    func foreignClient(server: Server) async throws {
        try await Self.withServer(server) { port in
            try await Self.judge(port, options: server == .ours ? Self.limit : [])
        }
    }

    @Test("grpcio's client, while its connections age and end all the time")
    func agedConnections() async throws {
        try await Self.withServer(.ours, configure: { $0.maxConnectionAge = .milliseconds(100) }) { port in
            try await Self.judge(port, options: Self.limit)
        }
    }

    static let limit = ["--limit", "\(RPCServerConfiguration().maxMessageByteCount)"]

    /// Has grpcio's client judge the server on this port.
    static func judge(_ port: Int, options: [String]) async throws {
        let (exitCode, output) = try await ChildProcess.run(
            python, [script("interop_client.py"), "\(port)", try descriptor()] + options, environment: environment)
        #expect(exitCode == 0, "\(output)")
        // The client's own words, so that one that checks nothing cannot pass.
        #expect(output.split(separator: "\n").count { $0.hasPrefix("ok ") } > 80, "\(output)")
    }

    // MARK: - Our client

    @Test("empty_unary, large_unary", arguments: Server.allCases)
    func unary(server: Server) async throws {
        try await Self.withClient(server) { client in
            #expect(try await client.emptyCall(TestingInteropEmpty(), options: Self.soon) == TestingInteropEmpty())
            let answer = try await client.unaryCall(
                TestingUnaryRequest(responseSize: 314_159, payload: Self.zeros(271_828)), options: Self.soon)
            #expect(answer.payload == Self.zeros(314_159) && answer.requestSize == 271_828)
            let body = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let echoed = try await client.unaryCall(
                TestingUnaryRequest(payload: TestingInteropPayload(body: body)), options: Self.soon)
            #expect(echoed.payload?.body == body)
        }
    }

    @Test("client_streaming, server_streaming, ping_pong, empty_stream", arguments: Server.allCases)
    func streams(server: Server) async throws {
        try await Self.withClient(server) { client in
            let total = try await client.streamingInputCall(options: Self.soon) { requests in
                for size in [27_182, 8, 1828, 45_904] {
                    try await requests.write(TestingInputRequest(payload: Self.zeros(size)))
                }
            }
            #expect(total.totalSize == 74_922)

            var sizes: [Int?] = []
            let answers = client.streamingOutputCall(Self.order([31_415, 9, 2653, 58_979]), options: Self.soon)
            for try await answer in answers { sizes.append(answer.payload?.body.count) }
            #expect(sizes == [31_415, 9, 2653, 58_979])

            let call = client.fullDuplexCall(options: Self.soon)
            var responses = call.responses.makeAsyncIterator()
            for (asked, sent) in [(31_415, 27_182), (9, 8), (2653, 1828), (58_979, 45_904)] {
                try await call.requests.write(Self.order([asked], payload: Self.zeros(sent)))
                let answer = try await responses.next()
                #expect(answer?.payload == Self.zeros(asked))
            }
            call.requests.finish()
            let last = try await responses.next()
            #expect(last == nil)

            let empty = client.fullDuplexCall(options: Self.soon)
            empty.requests.finish()
            var nothing = empty.responses.makeAsyncIterator()
            let none = try await nothing.next()
            #expect(none == nil)
        }
    }

    @Test("A thousand messages each way; eight hundred calls at once", arguments: Server.allCases)
    func many(server: Server) async throws {
        try await Self.withClient(server) { client in
            let call = client.fullDuplexCall(options: Self.soon)
            async let received = call.responses.reduce(into: [Int]()) { $0.append($1.payload?.body.count ?? -1) }
            for number in 0..<1000 { try await call.requests.write(Self.order([number * 37 % 5000 + 1])) }
            call.requests.finish()
            #expect(try await received == (0..<1000).map { $0 * 37 % 5000 + 1 })

            let answers = try await withThrowingTaskGroup(of: Int32.self) { group in
                // grpcio's server drops calls at random once 1,000 wait.
                for number in 0..<800 {
                    group.addTask {
                        try await client.unaryCall(
                            TestingUnaryRequest(payload: Self.zeros(number)), options: Self.soon
                        ).requestSize
                    }
                }
                return try await group.reduce(into: Set<Int32>()) { $0.insert($1) }
            }
            #expect(answers == Set(0..<800))
        }
    }

    @Test("cancel_after_begin, cancel_after_first_response, timeout_on_sleeping_server", arguments: Server.allCases)
    func endings(server: Server) async throws {
        try await Self.withClient(server) { client in
            let begun = client.fullDuplexCall(options: Self.soon)
            begun.responses.cancel()
            let cancelled = await status { for try await _ in begun.responses {} }
            #expect(cancelled.code == .cancelled)

            let call = client.fullDuplexCall(options: Self.soon)
            var responses = call.responses.makeAsyncIterator()
            try await call.requests.write(Self.order([31_415], payload: Self.zeros(27_182)))
            let first = try await responses.next()
            #expect(first?.payload == Self.zeros(31_415))
            call.responses.cancel()
            let ended = await status { for try await _ in call.responses {} }
            #expect(ended.code == .cancelled)

            let sleeping = client.fullDuplexCall(options: CallOptions(timeout: .milliseconds(1)))
            let late = await status {
                try await sleeping.requests.write(Self.order([9], interval: 50_000, payload: Self.zeros(27_182)))
                for try await _ in sleeping.responses {}
            }
            #expect(late.code == .deadlineExceeded)
            // The connection is as good as before.
            #expect(try await client.emptyCall(TestingInteropEmpty(), options: Self.soon) == TestingInteropEmpty())
        }
    }

    @Test("custom_metadata, text and binary, in head and trailers", arguments: Server.allCases)
    func metadata(server: Server) async throws {
        try await Self.withChannel(server) { channel in
            for bytes in [[], [0], [0xFB, 0xFF], [0x0A, 0x0B, 0x0A, 0x0B], [UInt8](0...255)] {
                var sent: Metadata = ["x-echo-initial": "test_initial_metadata_value"]
                try sent.append("x-echo-trailing-bin", binary: bytes)
                let options = CallOptions(timeout: .seconds(60), metadata: sent)
                let response: RPCResponse<TestingUnaryResponse> = try await channel.unaryWithMetadata(
                    "/vomma.testing.v1.Interop/UnaryCall", TestingUnaryRequest(responseSize: 3), options: options)
                #expect(response.initialMetadata["x-echo-initial"] == "test_initial_metadata_value")
                #expect(response.trailingMetadata[binary: "x-echo-trailing-bin"] == bytes)

                let stream = TestingInteropClient(channel).streamingOutputCall(Self.order([1, 2]), options: options)
                var count = 0
                for try await _ in stream { count += 1 }
                #expect(count == 2)
                #expect(await stream.initialMetadata["x-echo-initial"] == "test_initial_metadata_value")
                #expect(await stream.trailingMetadata[binary: "x-echo-trailing-bin"] == bytes)
            }
        }
    }

    @Test("status_code_and_message, special_status_message", arguments: Server.allCases)
    func statuses(server: Server) async throws {
        try await Self.withClient(server) { client in
            for code in StatusCode.allCases where code != .ok {
                for message in [
                    "test status message", "", "100 % %41 %zz",
                    "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n",
                ] {
                    let ordered = TestingInteropStatus(code: Int32(code.rawValue), message: message)
                    let unary = await status {
                        _ = try await client.unaryCall(TestingUnaryRequest(status: ordered), options: Self.soon)
                    }
                    #expect(unary.code == code && unary.message == message)
                    // After responses, and before any.
                    for sizes in [[], [5]] {
                        let request = Self.order(sizes, status: ordered)
                        var count = 0
                        let stream = await status {
                            for try await _ in client.streamingOutputCall(request, options: Self.soon) { count += 1 }
                        }
                        #expect(stream.code == code && stream.message == message && count == sizes.count)
                    }
                }
            }
        }
    }

    @Test("status_details: of a unary call and of a stream", arguments: Server.allCases)
    func details(server: Server) async throws {
        let violation = GoogleBadRequest.FieldViolation(field: "quotes[2].strike", description: "is “−1”")
        let sent = RPCStatus(
            .failedPrecondition, "nö", details: [GoogleBadRequest(fieldViolations: [violation]), GoogleHelp()])
        let ordered = TestingInteropStatus(
            code: Int32(sent.code.rawValue), message: sent.message, details: sent.detailsBytes ?? [])
        try await Self.withClient(server) { client in
            let unary = await status {
                _ = try await client.unaryCall(TestingUnaryRequest(status: ordered), options: Self.soon)
            }
            let stream = await status {
                let request = Self.order([5], status: ordered)
                for try await _ in client.streamingOutputCall(request, options: Self.soon) {}
            }
            for came in [unary, stream] {
                #expect(came.code == sent.code && came.message == sent.message && came.details == sent.details)
                #expect(came.detail(GoogleBadRequest.self)?.fieldViolations == [violation])
            }
        }
    }

    @Test("unimplemented_method, unimplemented_service", arguments: Server.allCases)
    func unimplemented(server: Server) async throws {
        try await Self.withChannel(server) { channel in
            let method = await status {
                _ = try await TestingInteropClient(channel).unimplementedCall(
                    TestingInteropEmpty(), options: Self.soon)
            }
            #expect(method.code == .unimplemented)
            let service = await status {
                _ = try await TestingUnimplementedInteropClient(channel).unimplementedCall(
                    TestingInteropEmpty(), options: Self.soon)
            }
            #expect(service.code == .unimplemented)
        }
    }

    // MARK: - Requests

    /// A hung peer ends the test by a status, not by the suite's limit.
    static let soon = CallOptions(timeout: .seconds(60))

    static func zeros(_ count: Int) -> TestingInteropPayload {
        TestingInteropPayload(body: [UInt8](repeating: 0, count: count))
    }

    static func order(
        _ sizes: [Int], interval: Int64 = 0, payload: TestingInteropPayload? = nil, status: TestingInteropStatus? = nil
    ) -> TestingOutputRequest {
        let responses = sizes.map { TestingResponseParameters(size: Int32($0), intervalMicroseconds: interval) }
        return TestingOutputRequest(responses: responses, payload: payload, status: status)
    }

    // MARK: - Peers

    static let python = ProcessInfo.processInfo.environment["VOMMA_PYTHON"] ?? "/usr/bin/python3"
    // What Python might find in the surroundings must not decide this.
    static let environment = ["PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"]

    static func script(_ name: String) -> String {
        URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Peers/rpc/\(name)")
            .standardizedFileURL.path
    }

    /// A file with the contract, for who has no generated code.
    private static func descriptor() throws -> String {
        let file = FileManager.default.temporaryDirectory.appending(path: "vomma-interop-\(getpid()).pb")
        try Data(FileDescriptors.vommaTestingV1Interop.serializedBytes).write(to: file, options: .atomic)
        return file.path
    }

    private static func withClient(
        _ server: Server, _ body: @escaping @Sendable (TestingInteropClient) async throws -> Void
    ) async throws {
        try await withChannel(server) { try await body(TestingInteropClient($0)) }
    }

    static func withChannel(
        _ server: Server, configureServer: @escaping @Sendable (inout RPCServerConfiguration) -> Void = { _ in },
        configure: @escaping @Sendable (inout RPCChannelConfiguration) -> Void = { _ in },
        _ body: @escaping @Sendable (RPCChannel) async throws -> Void
    ) async throws {
        try await withServer(server, configure: configureServer) { port in
            var configuration = RPCChannelConfiguration()
            configure(&configuration)
            let channel = RPCChannel(host: "127.0.0.1", port: port, configuration: configuration, log: silent)
            do {
                try await body(channel)
            } catch {
                await channel.close()
                throw error
            }
            await channel.close()
        }
    }

    static let silent: Logger = {
        var log = Logger(label: "interop")
        log.logLevel = .critical
        return log
    }()

    static func withServer(
        _ server: Server, configure: (inout RPCServerConfiguration) -> Void = { _ in },
        _ body: @escaping @Sendable (Int) async throws -> Void
    ) async throws {
        switch server {
        case .ours:
            var configuration = RPCServerConfiguration()
            configure(&configuration)
            let server = RPCServer(configuration, services: [Interop()], log: silent)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await server.run() }
                try await body(try await server.boundPort)
                group.cancelAll()
                try await group.waitForAll()
            }
        case .grpcio:
            let process = try ChildProcess(
                python, [script("interop_server.py"), try descriptor()], environment: environment, input: .held,
                output: .collected)
            let line = try #require(await process.line { $0.hasPrefix("listening port=") }, "\(process.text)")
            do {
                try await body(try #require(Int(line.dropFirst("listening port=".count))))
            } catch {
                process.signal(SIGKILL)
                throw error
            }
            process.closeInput()
            #expect(await process.end() == 0, "\(process.text)")
        }
    }

    /// The status that the body throws; OK if it throws none.
    private func status(_ body: () async throws -> Void) async -> RPCStatus {
        do {
            try await body()
            return .ok
        } catch let status as RPCStatus {
            return status
        } catch {
            return RPCStatus(.unknown, "not a status: \(error)")
        }
    }
}
