import NIOConcurrencyHelpers
import Testing

@testable import RPC

private let echo = RPCMethod.unary("/test.Service/Echo") { (request: Blob, _) in request }

/// Answers each request of `n` with the numbers 1 … n.
private let count = RPCMethod.serverStreaming("/test.Service/Count") {
    (request: Blob, writer: ResponseWriter<Blob>, _) in
    for number in 0..<request.number { try await writer.write(Blob(number + 1)) }
}

private let sum = RPCMethod.clientStreaming("/test.Service/Sum") { (requests: RequestStream<Blob>, _) in
    var total = 0
    for try await request in requests { total += request.number }
    return Blob(total)
}

private let double = RPCMethod.bidirectional("/test.Service/Double") {
    (requests: RequestStream<Blob>, writer: ResponseWriter<Blob>, _) in
    for try await request in requests { try await writer.write(Blob(request.number * 2)) }
}

/// Never answers; counts its beginnings and its cancellations.
private func hang(_ begun: Counter, _ cancelled: Counter, path: String = "/test.Service/Hang") -> RPCMethod {
    .unary(path) { (_: Blob, _) -> Blob in
        let forever = OneShot<Void>()
        begun.increment()
        _ = await forever.wait()
        cancelled.increment()
        throw CancellationError()
    }
}

@Suite(.timeLimit(.minutes(1))) struct LoopbackTests {
    @Test("All four kinds, on the event loop and on the pool", arguments: [HandlerExecution.eventLoop, .sharedPool])
    func kinds(execution: HandlerExecution) async throws {
        try await withServer([echo, count, sum, double], configure: { $0.execution = execution }) { _, channel in
            let answer: Blob = try await channel.unary("/test.Service/Echo", Blob("hello"))
            #expect(answer.text == "hello")
            let nothing: Blob = try await channel.unary("/test.Service/Echo", Blob(""))
            #expect(nothing.bytes.isEmpty)

            var numbers: [Int] = []
            for try await number in channel.serverStreaming("/test.Service/Count", Blob(500)) as ResponseStream<Blob> {
                numbers.append(number.number)
            }
            #expect(numbers == Array(1...500))
            let empty: ResponseStream<Blob> = channel.serverStreaming("/test.Service/Count", Blob(0))
            for try await _ in empty { Issue.record("no response was due") }

            let total: Blob = try await channel.clientStreaming("/test.Service/Sum") { (writer: RequestWriter<Blob>) in
                for number in 1...300 { try await writer.write(Blob(number)) }
            }
            #expect(total.number == 45_150)

            let call = channel.bidirectional("/test.Service/Double", request: Blob.self, response: Blob.self)
            var responses = call.responses.makeAsyncIterator()
            for number in 0..<100 {
                try await call.requests.write(Blob(number))
                let response = try await responses.next()
                #expect(response?.number == number * 2)
            }
            call.requests.finish()
            let last = try await responses.next()
            #expect(last == nil)
        }
    }

    @Test("Metadata of both kinds, both ways; status text and details of any content")
    func metadata() async throws {
        let method = RPCMethod.unary("/test.Service/Meta") { (request: Blob, context) -> Blob in
            var initial: Metadata = ["seen": context.metadata["x-text"] ?? "nothing"]
            try initial.append("back-bin", binary: context.metadata[binary: "x-bin"] ?? [])
            context.setInitialMetadata(initial)
            context.setTrailingMetadata(["trailing": "yes"])
            if request.text == "fail" {
                throw RPCStatus(.failedPrecondition, "nö 📉\n100 %", detailsBytes: [0, 1, 255], metadata: ["more": "1"])
            }
            return Blob("\(context.peer.hasPrefix("127.0.0.1:")) \(context.path)")
        }
        try await withServer([method]) { _, channel in
            var sent: Metadata = ["x-text": "a b"]
            try sent.append("x-bin", binary: [0, 200, 10])
            let options = CallOptions(metadata: sent)
            let response: RPCResponse<Blob> = try await channel.unaryWithMetadata(
                "/test.Service/Meta", Blob(""), options: options)
            #expect(response.message.text == "true /test.Service/Meta")
            #expect(response.initialMetadata["seen"] == "a b")
            #expect(response.initialMetadata[binary: "back-bin"] == [0, 200, 10])
            #expect(response.trailingMetadata["trailing"] == "yes")
            let failure = await status { _ = try await channel.unary("/test.Service/Meta", Blob("fail")) as Blob }
            #expect(failure.code == .failedPrecondition)
            #expect(failure.message == "nö 📉\n100 %")
            #expect(failure.detailsBytes == [0, 1, 255])
            #expect(failure.metadata["trailing"] == "yes" && failure.metadata["more"] == "1")
        }
    }

    @Test("Failures of handlers and messages are typed, and leak nothing")
    func failures() async throws {
        struct Secret: Error { let password = "hunter2" }
        struct Known: RPCStatusConvertible { let rpcStatus = RPCStatus(.notFound, "no such thing") }
        let method = RPCMethod.unary("/test.Service/Fail") { (request: Blob, _) -> Blob in
            switch request.text {
            case "secret": throw Secret()
            case "known": throw Known()
            case "malformed": return Blob([0xFF])
            case "big": return Blob(count: 5 << 20)
            default: throw CancellationError()
            }
        }
        let finished = NIOLockedValueBox<[String]>([])
        try await withServer(
            [method],
            configure: {
                $0.interceptors = [
                    OnEnd { path, status in finished.withLockedValue { $0.append("\(path) \(status.code)") } }
                ]
            }
        ) { _, channel in
            func fail(_ text: String) async -> RPCStatus {
                await status { _ = try await channel.unary("/test.Service/Fail", Blob(text)) as Blob }
            }
            #expect(await fail("secret") == RPCStatus(.unknown, "the handler failed"))
            #expect(await fail("known") == RPCStatus(.notFound, "no such thing"))
            #expect(await fail("malformed").code == .internal)
            #expect(await fail("big").code == .resourceExhausted)
            #expect(await fail("cancel").code == .cancelled)
            let malformed = await status { _ = try await channel.unary("/test.Service/Fail", Blob([0xFF])) as Blob }
            #expect(malformed == RPCStatus(.internal, "malformed message"))
            let big = await status { _ = try await channel.unary("/test.Service/Fail", Blob(count: 5 << 20)) as Blob }
            #expect(big.code == .resourceExhausted)
            let unknown = await status { _ = try await channel.unary("/test.Service/None", Blob("")) as Blob }
            #expect(unknown.code == .unimplemented)
        }
        let path = "/test.Service/Fail"
        // "big" and "malformed" are the client's failures: the server had answered.
        #expect(
            Set(finished.withLockedValue { $0 })
                == Set([
                    "\(path) unknown", "\(path) notFound", "\(path) ok", "\(path) cancelled", "\(path) internal",
                    "\(path) resourceExhausted", " unimplemented",
                ]))
    }

    @Test("Messages of megabytes, both ways, far beyond the windows")
    func bigMessages() async throws {
        try await withServer(
            [echo],
            configure: {
                $0.maxMessageByteCount = 8 << 20
                $0.http2.streamWindowByteCount = 65_535
            },
            configureChannel: {
                $0.maxMessageByteCount = 8 << 20
                $0.http2.streamWindowByteCount = 65_535
            }
        ) { _, channel in
            for byteCount in [65_530, 1 << 20, 8 << 20] {
                let message = Blob(repeating: 3, count: byteCount)
                let answer: Blob = try await channel.unary("/test.Service/Echo", message)
                #expect(answer == message)
            }
        }
    }

    @Test("A thousand calls at once")
    func concurrency() async throws {
        // All are in flight together: none is answered before the last has come.
        let arrived = Counter()
        let method = RPCMethod.unary("/test.Service/Meet") { (request: Blob, _) -> Blob in
            arrived.increment()
            await arrived.reached(1000)
            return request
        }
        try await withServer([method], configure: { $0.http2.maxConcurrentStreamCount = 1000 }) { _, channel in
            let answers = try await answers(channel, "/test.Service/Meet")
            #expect(answers == Set(0..<1000))
        }
    }

    @Test("More calls than a connection may have at once: the others wait for their turn")
    func moreThanStreams() async throws {
        try await withServer([echo], configure: { $0.http2.maxConcurrentStreamCount = 7 }) { _, channel in
            let answers = try await answers(channel, "/test.Service/Echo")
            #expect(answers == Set(0..<1000))
        }
    }

    /// Of a thousand calls, all begun at once.
    private func answers(_ channel: RPCChannel, _ path: String) async throws -> Set<Int> {
        try await withThrowingTaskGroup(of: Int.self) { group in
            for number in 0..<1000 {
                group.addTask { try await (channel.unary(path, Blob(number)) as Blob).number }
            }
            return try await group.reduce(into: Set<Int>()) { $0.insert($1) }
        }
    }

    @Test("A slow reader stops the server's writer")
    func responseBackPressure() async throws {
        let written = Counter()
        let flood = RPCMethod.serverStreaming("/test.Service/Flood") { (_: Blob, writer: ResponseWriter<Blob>, _) in
            for _ in 0..<1000 {
                try await writer.write(Blob(count: 10_000))
                written.increment()
            }
        }
        try await withServer(
            [flood, echo], configure: { $0.http2.writeHighWaterMark = 20_000 },
            configureChannel: { $0.http2.streamWindowByteCount = 65_535 }
        ) { _, channel in
            let stream: ResponseStream<Blob> = channel.serverStreaming("/test.Service/Flood", Blob(""))
            var iterator = stream.makeAsyncIterator()
            let first = try await iterator.next()
            #expect(first != nil)
            // Time for a writer that nothing stops: each round trip passes the same loops and connection.
            for _ in 0..<100 { _ = try await channel.unary("/test.Service/Echo", Blob("")) as Blob }
            // Window and queue hold 65,535 + 20,000 bytes; a message beside each, and the one that was read.
            #expect(written.value <= (65_535 + 20_000) / 10_005 + 4)
            var read = 1
            while try await iterator.next() != nil { read += 1 }
            #expect(read == 1000 && written.value == 1000)
        }
    }

    @Test("A slow handler stops the client's writer")
    func requestBackPressure() async throws {
        let gate = Counter()
        let written = Counter()
        let slow = RPCMethod.clientStreaming("/test.Service/Slow") { (requests: RequestStream<Blob>, _) in
            await gate.reached(1)
            var read = 0
            for try await _ in requests { read += 1 }
            return Blob(read)
        }
        try await withServer(
            [slow, echo], configure: { $0.http2.streamWindowByteCount = 65_535 },
            configureChannel: { $0.http2.writeHighWaterMark = 20_000 }
        ) { _, channel in
            async let total: Blob = channel.clientStreaming("/test.Service/Slow") { (writer: RequestWriter<Blob>) in
                for _ in 0..<1000 {
                    try await writer.write(Blob(count: 10_000))
                    written.increment()
                }
            }
            await written.reached(5)
            for _ in 0..<100 { _ = try await channel.unary("/test.Service/Echo", Blob("")) as Blob }
            #expect(written.value <= (65_535 + 20_000) / 10_005 + 4)
            gate.increment()
            let read = try await total
            #expect(read.number == 1000)
        }
    }

    @Test("A handler has nothing of those before it: neither their cancellation nor their context", arguments: [
        HandlerExecution.eventLoop, .sharedPool,
    ])
    func ownTask(execution: HandlerExecution) async throws {
        let (begun, cancelled) = (Counter(), Counter())
        let state = RPCMethod.unary("/test.Service/State") { (request: Blob, context) -> Blob in
            if request.text == "wait" { try await Task.sleep(for: .milliseconds(1)) }
            let deadline = CallContext.inheritedDeadline == context.deadline
            defer { if request.text == "end" { unsafe withUnsafeCurrentTask { unsafe $0?.cancel() } } }
            return Blob("\(Task.isCancelled) \(deadline) \(context.deadline != nil) \(context.metadata["n"] ?? "")")
        }
        try await withServer([hang(begun, cancelled), state], configure: { $0.execution = execution }) { _, channel in
            for round in 1...5 {
                let caller = Task {
                    await status { _ = try await channel.unary("/test.Service/Hang", Blob("")) as Blob }
                }
                await begun.reached(round)
                caller.cancel()
                #expect(await caller.value.code == .cancelled)
                await cancelled.reached(round)
                for (index, text) in ["", "end", "wait", "end", "wait", ""].enumerated() {
                    var options = CallOptions(metadata: ["n": "\(index)"])
                    if index % 2 == 0 { options.timeout = .seconds(100) }
                    let answer: Blob = try await channel.unary("/test.Service/State", Blob(text), options: options)
                    #expect(answer.text == "false true \(index % 2 == 0) \(index)")
                }
            }
            // More at once than tasks wait for more, twice.
            for _ in 0..<2 {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<50 {
                        group.addTask {
                            let answer: Blob = try await channel.unary("/test.Service/State", Blob("wait"))
                            #expect(answer.text == "false true false ")
                        }
                    }
                    try await group.waitForAll()
                }
            }
        }
    }

    @Test("Cancelling the caller cancels the handler; so does dropping the stream")
    func cancellation() async throws {
        let (begun, cancelled) = (Counter(), Counter())
        let endless = RPCMethod.serverStreaming("/test.Service/Endless") { (_: Blob, writer: ResponseWriter<Blob>, _) in
            do {
                while true { try await writer.write(Blob(count: 1000)) }
            } catch {
                cancelled.increment()
                throw error
            }
        }
        try await withServer([hang(begun, cancelled), endless]) { _, channel in
            let caller = Task { await status { _ = try await channel.unary("/test.Service/Hang", Blob("")) as Blob } }
            await begun.reached(1)
            caller.cancel()
            #expect(await caller.value.code == .cancelled)
            await cancelled.reached(1)

            do {
                let stream: ResponseStream<Blob> = channel.serverStreaming("/test.Service/Endless", Blob(""))
                var iterator = stream.makeAsyncIterator()
                let first = try await iterator.next()
                #expect(first != nil)
            }
            await cancelled.reached(2)
            let reader = Task {
                await status {
                    for try await _ in channel.serverStreaming("/test.Service/Hang", Blob("")) as ResponseStream<Blob> {
                    }
                }
            }
            await begun.reached(2)
            reader.cancel()
            #expect(await reader.value.code == .cancelled)
            await cancelled.reached(3)
        }
    }

    @Test("A call cancelled before it begins is never sent; a passed deadline likewise")
    func cancelledBeforeStart() async throws {
        let begun = Counter()
        try await withServer([hang(begun, Counter()), echo]) { _, channel in
            let caller = Task {
                unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
                return await status { _ = try await channel.unary("/test.Service/Hang", Blob("")) as Blob }
            }
            #expect(await caller.value.code == .cancelled)
            let late = await status {
                _ =
                    try await channel.unary("/test.Service/Hang", Blob(""), options: CallOptions(timeout: .zero))
                    as Blob
            }
            #expect(late.code == .deadlineExceeded)
            _ = try await channel.unary("/test.Service/Echo", Blob("")) as Blob
            #expect(begun.value == 0)
        }
    }

    @Test("Deadlines: the client's timer, the server's answer though the handler ignores it, and nested calls")
    func deadlines() async throws {
        let (cancelled, gate) = (Counter(), Counter())
        let finished = OneShot<StatusCode>()
        let stubborn = RPCMethod.unary("/test.Service/Stubborn") { (request: Blob, _) -> Blob in
            await withTaskCancellationHandler {
                await gate.reached(1)
            } onCancel: {
                cancelled.increment()
            }
            return request
        }
        let channelBox = NIOLockedValueBox<RPCChannel?>(nil)
        let outer = RPCMethod.unary("/test.Service/Outer") { (request: Blob, context) -> Blob in
            #expect(context.deadline != nil)
            // No timeout of its own: the outer call's ends it.
            guard let channel = channelBox.withLockedValue({ $0 }) else { return Blob("no channel") }
            return try await channel.unary("/test.Service/Inner", request)
        }
        let inner = RPCMethod.unary("/test.Service/Inner") { (request: Blob, context) -> Blob in
            Blob(context.deadline == nil ? "none" : "inherited")
        }
        try await withServer(
            [hang(Counter(), Counter()), stubborn, outer, inner],
            configure: {
                $0.interceptors = [
                    OnEnd { path, status in if path.hasSuffix("Stubborn") { finished.fire(status.code) } }
                ]
            }
        ) { server, channel in
            channelBox.withLockedValue { $0 = channel }
            let options = CallOptions(timeout: .milliseconds(20))
            let timedOut = await status {
                _ = try await channel.unary("/test.Service/Hang", Blob(""), options: options) as Blob
            }
            #expect(timedOut.code == .deadlineExceeded)

            // A client without a timer of its own sees the server's answer.
            let answer = try await Probe.request(
                port: try await server.boundPort, [(":path", "/test.Service/Stubborn"), ("grpc-timeout", "20m")],
                body: frame([]))
            #expect(answer.code == .deadlineExceeded)
            await cancelled.reached(1)
            #expect(await finished.wait() == .deadlineExceeded)
            gate.increment()

            let minute = CallOptions(timeout: .seconds(60))
            let nested: Blob = try await channel.unary("/test.Service/Outer", Blob(""), options: minute)
            #expect(nested.text == "inherited")
            let direct: Blob = try await channel.unary("/test.Service/Inner", Blob(""))
            #expect(direct.text == "none")
            channelBox.withLockedValue { $0 = nil }
        }
    }

    @Test("A passed deadline ends a stream whose responses nobody reads")
    func deadlineWithUnreadResponses() async throws {
        let failed = Counter()
        let flood = RPCMethod.serverStreaming("/test.Service/Flood") { (_: Blob, writer: ResponseWriter<Blob>, _) in
            let ended = await status { while true { try await writer.write(Blob(count: 100_000)) } }
            #expect(ended.code == .deadlineExceeded)
            failed.increment()
        }
        try await withServer([flood]) { server, _ in
            let answer = try await Probe.request(
                port: try await server.boundPort, [(":path", "/test.Service/Flood"), ("grpc-timeout", "50m")],
                body: frame([]), consumes: false)
            // A message was half sent, so that only a reset could come before the rest of it; or none was begun yet.
            #expect(answer.closed == .cancel || answer.code == .deadlineExceeded)
            await failed.reached(1)
        }
    }

    @Test(
        "Requests that are not gRPC as it should be",
        arguments: [
            ([("content-type", "text/html")], [UInt8](), "415", StatusCode.internal),
            ([(":method", "GET")], [], "405", .internal),
            ([("grpc-encoding", "deflate")], frame([1]), "200", .unimplemented),
            ([("grpc-timeout", "x")], frame([1]), "200", .internal),
            ([(":path", "/no/such")], frame([1]), "200", .unimplemented),
            ([], [], "200", .unimplemented),
            ([], frame([1]) + frame([2]), "200", .unimplemented),
            ([], [0, 0, 0, 0, 9, 1], "200", .internal),
            ([], [1, 0, 0, 0, 1, 1], "200", .internal),
            ([], [0, 0xFF, 0, 0, 0], "200", .resourceExhausted),
            ([], frame([0xFF]), "200", .internal),
            ([("x-big", String(repeating: "x", count: 20_000))], frame([1]), "431", .resourceExhausted),
        ] as [([(String, String)], [UInt8], String, StatusCode)])
    func badRequests(changes: [(String, String)], body: [UInt8], httpStatus: String, code: StatusCode) async throws {
        try await withServer([echo]) { server, _ in
            let pairs = changes
            let answer = try await Probe.request(port: try await server.boundPort, pairs, body: body)
            #expect(answer.head[":status"] == httpStatus)
            #expect(answer.code == code)
            if code == .unimplemented { #expect(answer.head["grpc-accept-encoding"] == "identity,gzip") }
        }
    }

    @Test("What is no gRPC client gets the reason as text, but for HEAD", arguments: ["GET", "PUT", "HEAD", "POST"])
    func textForPeople(method: String) async throws {
        try await withServer([echo]) { server, _ in
            let answer = try await Probe.request(
                port: try await server.boundPort, [(":method", method), ("content-type", "text/html")], body: [])
            #expect(answer.head[":status"] == (method == "POST" ? "415" : "405"))
            #expect(answer.code == .internal)
            let reason = method == "POST" ? "content-type is not application/grpc\n" : "gRPC is POST only\n"
            #expect(String(decoding: answer.data, as: UTF8.self) == (method == "HEAD" ? "" : reason))
            #expect(answer.head["content-type"]?.hasPrefix(method == "HEAD" ? "application/grpc" : "text/plain") == true)
        }
    }
}
