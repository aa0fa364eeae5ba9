import Logging
import NIOConcurrencyHelpers
import Testing

@testable import RPC

/// Notes what each hook sees, under a name.
private struct Recording: ServerInterceptor, ClientInterceptor {
    let name: String
    let notes: NIOLockedValueBox<[String]>
    var refusal: RPCStatus?
    var ended = Counter()

    func hooks(for method: MethodDescription) -> any ServerCallHooks {
        notes.withLockedValue { $0.append("\(name) hooks \(method.path) \(method.service)") }
        return Hooks(recording: self)
    }

    func hooks(for path: String) -> any ClientCallHooks {
        notes.withLockedValue { $0.append("\(name) hooks \(path)") }
        return Hooks(recording: self)
    }

    struct Hooks: ServerCallHooks, ClientCallHooks {
        let recording: Recording
        /// By `progress`, since the last end: a path's hooks see one call after the other here.
        private let told = NIOLockedValueBox(CallTraffic())

        init(recording: Recording) { self.recording = recording }

        private func note(_ text: String) {
            recording.notes.withLockedValue { $0.append("\(recording.name) \(text)") }
        }

        func begin(_ context: inout CallContext) -> RPCStatus? {
            note("begin \(context.path) \(context.metadata["x-key"] ?? "-")")
            context[Recording.self] = "from \(recording.name)"
            return recording.refusal
        }

        func begin(_ call: inout OutgoingCall) -> RPCStatus? {
            note("begin \(call.path)")
            call.metadata.append(contentsOf: ["x-key": recording.name])
            return recording.refusal
        }

        func progress(_ traffic: CallTraffic) {
            told.withLockedValue { told in
                told.requestCount += traffic.requestCount
                told.requestByteCount += traffic.requestByteCount
                told.responseCount += traffic.responseCount
                told.responseByteCount += traffic.responseByteCount
            }
        }

        func end(_ context: CallContext, _ status: RPCStatus, _ summary: CallSummary) { end(status, summary) }
        func end(_ call: OutgoingCall, _ status: RPCStatus, _ summary: CallSummary) { end(status, summary) }

        private func end(_ status: RPCStatus, _ summary: CallSummary) {
            let traffic = summary.traffic
            note(
                "end \(status) \(traffic.requestCount)/\(traffic.requestByteCount) "
                    + "\(traffic.responseCount)/\(traffic.responseByteCount)\(summary.hasBegun ? "" : " unbegun")")
            // What was told already, when the connection's second was over, is not told again.
            let toldOfCall = told.withLockedValue { told in
                defer { told = CallTraffic() }
                return told
            }
            #expect(toldOfCall == traffic - summary.unreported)
            recording.ended.increment()
        }
    }
}

extension Recording: CallContextKey { typealias Value = String }

private let echo = RPCMethod.unary("/test.Service/Echo") { (request: Blob, context) -> Blob in
    request.text == "value" ? Blob(context[Recording.self] ?? "none") : request
}

@Suite("Interceptors") struct InterceptorTests {
    @Test("Server hooks run in order at the beginning, in reverse at the end, and see what came and went")
    func serverOrder() async throws {
        let notes = NIOLockedValueBox<[String]>([])
        let ended = Counter()
        try await withServer(
            [echo],
            configure: {
                $0.interceptors = [
                    Recording(name: "a", notes: notes, ended: ended), Recording(name: "b", notes: notes, ended: ended),
                ]
            }
        ) { server, channel in
            let options = CallOptions(metadata: ["x-key": "1"])
            let answer: Blob = try await channel.unary("/test.Service/Echo", Blob("value"), options: options)
            #expect(answer.text == "from b")
            await ended.reached(2)
            let unknown = await status { _ = try await channel.unary("/test.Service/None", Blob("")) as Blob }
            #expect(unknown == RPCStatus(.unimplemented, "unknown method"))
            await ended.reached(4)
            // No gRPC at all.
            _ = try await Probe.request(
                port: try await server.boundPort, [(":path", "/test.Service/Echo"), ("content-type", "text/html")],
                body: [])
            await ended.reached(6)
        }
        #expect(
            notes.withLockedValue { $0 } == [
                "a hooks  ", "b hooks  ", "a hooks /test.Service/Echo test.Service",
                "b hooks /test.Service/Echo test.Service",
                "a begin /test.Service/Echo 1", "b begin /test.Service/Echo 1", "b end ok 1/5 1/6", "a end ok 1/5 1/6",
                "a begin  -", "b begin  -", "b end unimplemented: unknown method 0/0 0/0",
                "a end unimplemented: unknown method 0/0 0/0",
                "b end internal: content-type is not application/grpc 0/0 0/0 unbegun",
                "a end internal: content-type is not application/grpc 0/0 0/0 unbegun",
            ])
    }

    @Test("A refused call never reaches its handler, whatever its kind")
    func serverRefusal() async throws {
        let notes = NIOLockedValueBox<[String]>([])
        let ended = Counter()
        let handled = Counter()
        let unary = RPCMethod.unary("/test.Service/Echo") { (request: Blob, _) -> Blob in
            handled.increment()
            return request
        }
        let both = RPCMethod.bidirectional("/test.Service/Both") {
            (requests: RequestStream<Blob>, responses: ResponseWriter<Blob>, _) in
            handled.increment()
        }
        let refusal = RPCStatus(.permissionDenied, "not you", metadata: ["why": "because"])
        try await withServer(
            [unary, both],
            configure: {
                $0.interceptors = [
                    Recording(name: "a", notes: notes, refusal: refusal, ended: ended),
                    Recording(name: "b", notes: notes),
                ]
            }
        ) { _, channel in
            let first = await status { _ = try await channel.unary("/test.Service/Echo", Blob("x")) as Blob }
            #expect(first == refusal)
            let call = channel.bidirectional("/test.Service/Both", request: Blob.self, response: Blob.self)
            let second = await status { for try await _ in call.responses {} }
            #expect(second == refusal)
            await ended.reached(2)
        }
        #expect(handled.value == 0)
        #expect(notes.withLockedValue { notes in notes.filter { $0.contains("b ") && !$0.contains("hooks") } } == [])
    }

    @Test("Client hooks are made once a path, add metadata, see every end, and may refuse")
    func client() async throws {
        let notes = NIOLockedValueBox<[String]>([])
        let ended = Counter()
        let seen = NIOLockedValueBox<[String]>([])
        let method = RPCMethod.unary("/test.Service/Echo") { (request: Blob, context) -> Blob in
            seen.withLockedValue { $0.append(context.metadata["x-key"] ?? "-") }
            if request.bytes.isEmpty { throw RPCStatus(.notFound, "nothing") }
            return request
        }
        try await withServer(
            [method],
            configureChannel: { $0.interceptors = [Recording(name: "c", notes: notes, ended: ended)] }
        ) { _, channel in
            let _: Blob = try await channel.unary("/test.Service/Echo", Blob("four"))
            _ = await status { _ = try await channel.unary("/test.Service/Echo", Blob("")) as Blob }
            await ended.reached(2)
        }
        #expect(seen.withLockedValue { $0 } == ["c", "c"])
        #expect(
            notes.withLockedValue { $0 } == [
                "c hooks /test.Service/Echo", "c begin /test.Service/Echo", "c end ok 1/4 1/4",
                "c begin /test.Service/Echo", "c end notFound: nothing 1/0 0/0",
            ])
        let refusal = RPCStatus(.failedPrecondition, "no token yet")
        try await withServer(
            [method],
            configureChannel: { $0.interceptors = [Recording(name: "c", notes: notes, refusal: refusal)] }
        ) { _, channel in
            let refused = await status { _ = try await channel.unary("/test.Service/Echo", Blob("four")) as Blob }
            #expect(refused == refusal)
            let stream: ResponseStream<Blob> = channel.serverStreaming("/test.Service/Echo", Blob("four"))
            #expect(await status { for try await _ in stream {} } == refusal)
        }
        #expect(seen.withLockedValue { $0.count } == 2)
    }

    @Test("Every call ends once for its hooks: cancelled, out of time, or with its connection")
    func ends() async throws {
        let statuses = NIOLockedValueBox<[StatusCode]>([])
        let ended = Counter()
        let hanging = Counter()
        let hang = RPCMethod.unary("/test.Service/Hang") { (request: Blob, _) -> Blob in
            hanging.increment()
            try await Task.sleep(for: .seconds(3600))
            return request
        }
        try await withServer(
            [hang],
            configure: {
                $0.interceptors = [
                    OnEnd { _, status in
                        statuses.withLockedValue { $0.append(status.code) }
                        ended.increment()
                    }
                ]
            }
        ) { server, channel in
            let task = Task { try await channel.unary("/test.Service/Hang", Blob("")) as Blob }
            await hanging.reached(1)
            task.cancel()
            await ended.reached(1)
            _ = try await Probe.request(
                port: try await server.boundPort, [(":path", "/test.Service/Hang"), ("grpc-timeout", "1m")],
                body: frame([]))
            await ended.reached(2)
            // The second call may have ended before its handler began.
            let begun = hanging.value
            let last = Task { try await channel.unary("/test.Service/Hang", Blob("")) as Blob }
            await hanging.reached(begun + 1)
            await channel.close()
            _ = await last.result
            await ended.reached(3)
        }
        #expect(statuses.withLockedValue { $0 } == [.cancelled, .deadlineExceeded, .cancelled])
    }
}

@Suite("Tracing") struct TracingTests {
    private static let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    @Test("traceparent is read and written as the standard says")
    func format() throws {
        let trace = try #require(TraceContext(traceparent: Self.example))
        #expect(trace.traceIDText == "4bf92f3577b34da6a3ce929d0e0e4736" && trace.spanIDText == "00f067aa0ba902b7")
        #expect(trace.flags == 1 && trace.traceparent == Self.example)
        let child = trace.child()
        #expect(child.traceID == trace.traceID && child.spanID != trace.spanID && child.flags == 1)
        #expect(TraceContext(traceparent: child.traceparent) == child)
        // A later version: what follows is not ours to understand, nor are its flags.
        let later = TraceContext(traceparent: "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what")
        #expect(later?.traceparent == Self.example)
        #expect(TraceContext.root() != TraceContext.root())
    }

    @Test(
        "A malformed traceparent counts as none",
        arguments: [
            "", "00", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
        ])
    func malformed(text: String) { #expect(TraceContext(traceparent: text) == nil) }

    @Test("A trace goes on through a handler's own calls, each with an id of its own")
    func propagation() async throws {
        let contexts = NIOLockedValueBox<[TraceContext?]>([])
        let channelBox = NIOLockedValueBox<RPCChannel?>(nil)
        let outer = RPCMethod.unary("/test.Service/Outer") { (request: Blob, context) -> Blob in
            contexts.withLockedValue { $0.append(context.trace) }
            #expect(CallContext.inheritedTrace == context.trace)
            guard let channel = channelBox.withLockedValue({ $0 }) else { return Blob("no channel") }
            return try await channel.unary("/test.Service/Inner", request)
        }
        let inner = RPCMethod.unary("/test.Service/Inner") { (request: Blob, context) -> Blob in
            contexts.withLockedValue { $0.append(context.trace) }
            return Blob(context.metadata["traceparent"] ?? "none")
        }
        try await withServer(
            [outer, inner], configure: { $0.interceptors = [ServerTracing()] },
            configureChannel: { $0.interceptors = [ClientTracing()] }
        ) { _, channel in
            channelBox.withLockedValue { $0 = channel }
            let options = CallOptions(metadata: ["traceparent": Self.example, "tracestate": "vendor=1"])
            let sent: Blob = try await channel.unary("/test.Service/Outer", Blob(""), options: options)
            let seen = contexts.withLockedValue { $0 }
            let first = try #require(seen[0])
            let second = try #require(seen[1])
            #expect(first.traceIDText == "4bf92f3577b34da6a3ce929d0e0e4736" && first.flags == 1)
            #expect(second.traceID == first.traceID && second.state == "vendor=1")
            let between = try #require(TraceContext(traceparent: sent.text))
            #expect(Set([first.spanID, second.spanID, between.spanID, 0x00f0_67aa_0ba9_02b7]).count == 4)

            // Nobody began a trace: the channel does.
            let root: Blob = try await channel.unary("/test.Service/Inner", Blob(""))
            #expect(TraceContext(traceparent: root.text) != nil)
            channelBox.withLockedValue { $0 = nil }
        }
    }
}

@Suite("Call log") struct ServerLoggingTests {
    /// Keeps what was logged.
    struct Keeper: LogHandler {
        let lines: NIOLockedValueBox<[String]>
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let fields = (event.metadata ?? [:]).filter { $0.key != "milliseconds" && $0.key != "peer" }
                .sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
            lines.withLockedValue { $0.append("\(event.level) \(event.message) " + fields.joined(separator: " ")) }
        }
    }

    private func lines(at level: Logger.Level) async throws -> [String] {
        let lines = NIOLockedValueBox<[String]>([])
        let log = Logger(label: "test") { _ in Keeper(lines: lines, logLevel: level) }
        let fail = RPCMethod.unary("/test.Service/Fail") { (request: Blob, _) -> Blob in
            if request.text == "ok" { return request }
            throw RPCStatus(.internal, "broken")
        }
        let ended = Counter()
        try await withServer(
            [fail], configure: { $0.interceptors = [OnEnd { _, _ in ended.increment() }, ServerLogging(log)] }
        ) { _, channel in
            let options = CallOptions(metadata: ["authorization": "Bearer hunter2hunter2"])
            _ = try await channel.unary("/test.Service/Fail", Blob("ok"), options: options) as Blob
            _ = await status { _ = try await channel.unary("/test.Service/Fail", Blob(""), options: options) as Blob }
            await ended.reached(2)
        }
        return lines.withLockedValue { $0 }
    }

    @Test("Each call is a line at debug, a bug of ours one at warning; no metadata is shown")
    func levels() async throws {
        let warning = "warning call ended message=broken path=/test.Service/Fail requests=1 responses=0 status=internal"
        let debug = "debug call ended path=/test.Service/Fail requests=1 responses=1 status=ok"
        #expect(try await lines(at: .info) == [warning])
        #expect(try await lines(at: .debug) == [debug, warning])
    }
}
