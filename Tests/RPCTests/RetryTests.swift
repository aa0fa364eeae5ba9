import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing

@testable import RPC

@Suite(.timeLimit(.minutes(1))) struct RetryTests {
    // MARK: - Rules

    private func throttle(_ tokens: Int = 100) -> RetryThrottleState {
        var configuration = RetryThrottle()
        configuration.maxTokenCount = tokens
        return RetryThrottleState(configuration)
    }

    @Test("Pauses grow by the multiplier up to the longest, ±20 %; the attempts are counted")
    func pauses() {
        var policy = RetryPolicy()
        policy.maxAttemptCount = 5
        policy.initialBackoff = .seconds(1)
        policy.maxBackoff = .seconds(3)
        for (random, factor) in [(0.0, 0.8), (0.5, 1.0), (0.75, 1.1)] {
            var (state, throttle) = (RetryState(policy), throttle())
            for expected in [1.0, 2, 3, 3] {
                let pause = state.retry(after: RPCStatus(.unavailable), nil, &throttle, random: random)
                // Durations are multiplied in floating point.
                #expect(abs((pause ?? .zero) / .seconds(1) - expected * factor) < 1e-9)
            }
            #expect(state.retryCount == 4)
            #expect(state.retry(after: RPCStatus(.unavailable), nil, &throttle, random: random) == nil)
        }
        // No policy makes more than five.
        policy.maxAttemptCount = 100
        var (state, tokens) = (RetryState(policy), throttle())
        let count = (0..<10).count { _ in state.retry(after: RPCStatus(.unavailable), nil, &tokens, random: 0) != nil }
        #expect(count == 4)
    }

    @Test("Only the policy's codes are worth another attempt")
    func codes() {
        var policy = RetryPolicy()
        policy.codes = [.aborted]
        var throttle = throttle()
        for code in StatusCode.allCases {
            var state = RetryState(policy)
            let isRetried = state.retry(after: RPCStatus(code), nil, &throttle, random: 0) != nil
            #expect(isRetried == (code == .aborted))
        }
    }

    @Test("The server's word: another pause, or none of it")
    func pushback() {
        #expect(RetryPushback("0".utf8) == .after(.zero))
        #expect(RetryPushback("1500".utf8) == .after(.milliseconds(1500)))
        for text in ["-1", "x", "", "1.5", "99999999999999999999"] { #expect(RetryPushback(text.utf8) == .never) }
        var policy = RetryPolicy()
        policy.initialBackoff = .seconds(1)
        var (state, throttle) = (RetryState(policy), throttle())
        let failed = RPCStatus(.unavailable)
        #expect(state.retry(after: failed, nil, &throttle, random: 0.5) == .seconds(1))
        #expect(state.retry(after: failed, .after(.seconds(7)), &throttle, random: 0.5) == .seconds(7))
        // After it the series begins anew.
        #expect(state.retry(after: failed, nil, &throttle, random: 0.5) == .seconds(1))
        var other = RetryState(policy)
        #expect(other.retry(after: failed, .never, &throttle, random: 0.5) == nil)
    }

    @Test("No retries with half of the tokens or less; successes bring them back")
    func throttling() {
        var throttle = throttle(10)
        func retry() -> Bool {
            var state = RetryState(.idempotent)
            return state.retry(after: RPCStatus(.unavailable), nil, &throttle, random: 0) != nil
        }
        #expect((0..<10).map { _ in retry() } == Array(repeating: true, count: 4) + Array(repeating: false, count: 6))
        // 0 tokens now; 51 … 60 successes at 0.1 each are not more than half after one failure, 61 are.
        for _ in 0..<60 { throttle.succeeded() }
        #expect(!retry())
        for _ in 0..<11 { throttle.succeeded() }
        #expect(retry())
        for _ in 0..<1000 { throttle.succeeded() }
        #expect((0..<5).map { _ in retry() } == [true, true, true, true, false])
    }

    // MARK: - Calls

    /// Quick pauses, so that a test need not wait.
    private var policy: RetryPolicy {
        var policy = RetryPolicy()
        policy.initialBackoff = .milliseconds(1)
        policy.maxBackoff = .milliseconds(2)
        return policy
    }

    /// Fails so often with the status before it echoes; says which attempt it saw last.
    private func flaky(_ attempts: Counter, failures: Int, _ status: RPCStatus) -> [RPCMethod] {
        [
            .unary("/test.Service/Flaky") { (request: Blob, _) -> Blob in
                attempts.increment()
                guard attempts.value > failures else { throw status }
                return request
            },
            .clientStreaming("/test.Service/FlakyStream") { (requests: RequestStream<Blob>, _) -> Blob in
                attempts.increment()
                var text = ""
                for try await request in requests {
                    text += request.text
                    guard attempts.value > failures else { throw status }
                }
                return Blob(text)
            },
            .serverStreaming("/test.Service/FlakyResponses") { (request: Blob, writer: ResponseWriter<Blob>, _) in
                attempts.increment()
                if request.text == "late" { try await writer.write(Blob("first")) }
                guard attempts.value > failures else { throw status }
                try await writer.write(Blob("second"))
            },
        ]
    }

    @Test("An idempotent call is made again until it succeeds; others fail at once")
    func untilSuccess() async throws {
        let attempts = Counter()
        let options = CallOptions(retry: policy)
        try await withServer(flaky(attempts, failures: 3, RPCStatus(.unavailable, "busy"))) { _, channel in
            let answer: Blob = try await channel.unary("/test.Service/Flaky", Blob("x"), options: options)
            #expect(answer.text == "x" && attempts.value == 4)
        }
        let once = Counter()
        try await withServer(flaky(once, failures: 3, RPCStatus(.unavailable, "busy"))) { _, channel in
            let failed = await status { _ = try await channel.unary("/test.Service/Flaky", Blob("x")) as Blob }
            #expect(failed == RPCStatus(.unavailable, "busy") && once.value == 1)
        }
    }

    @Test("Attempts end: the last status is the call's; other codes are not tried again")
    func givesUp() async throws {
        let options = CallOptions(retry: policy)
        for (code, expected) in [(StatusCode.unavailable, 4), (.internal, 1)] {
            let attempts = Counter()
            try await withServer(flaky(attempts, failures: 100, RPCStatus(code, "no"))) { _, channel in
                let failed = await status {
                    _ = try await channel.unary("/test.Service/Flaky", Blob("x"), options: options) as Blob
                }
                #expect(failed == RPCStatus(code, "no") && attempts.value == expected)
            }
        }
    }

    @Test("The server sees how many attempts there were before")
    func previousAttempts() async throws {
        let seen = NIOLockedValueBox<[String]>([])
        // Read off the wire: gRPC's own headers are no metadata.
        try await withListener { channel in
            let recorder = HeaderRecorder(seen, loop: channel.eventLoop)
            if let recorder { try? channel.pipeline.syncOperations.addHandler(recorder) }
        } _: { port in
            let channel = RPCChannel(host: "127.0.0.1", port: port, log: quiet)
            let failed = await status {
                _ = try await channel.unary("/test.Service/Any", Blob("x"), options: CallOptions(retry: policy)) as Blob
            }
            #expect(failed.code == .unavailable)
            await channel.close()
        }
        #expect(seen.withLockedValue { $0 } == ["", "1", "2", "3"])
    }

    @Test("A stream of requests is sent again from its beginning, as long as it is kept")
    func requestStream() async throws {
        for (byteCount, isRetried) in [(10, true), (0, false)] {
            let attempts = Counter()
            let options = CallOptions(retry: policy)
            try await withServer(
                flaky(attempts, failures: 1, RPCStatus(.unavailable, "busy")),
                configureChannel: { $0.retryBufferByteCount = byteCount }
            ) { _, channel in
                let text = NIOLockedValueBox("")
                let outcome = await status {
                    let answer: Blob = try await channel.clientStreaming("/test.Service/FlakyStream", options: options) {
                        (writer: RequestWriter<Blob>) in
                        for letter in ["a", "b", "c"] { try await writer.write(Blob(letter)) }
                    }
                    text.withLockedValue { $0 = answer.text }
                }
                #expect(outcome.code == (isRetried ? .ok : .unavailable))
                #expect(text.withLockedValue { $0 } == (isRetried ? "abc" : ""))
                #expect(attempts.value == (isRetried ? 2 : 1))
            }
        }
    }

    @Test("Nothing is tried again once the server has begun to answer")
    func committed() async throws {
        for (request, expected, messages) in [("late", 1, ["first"]), ("early", 2, ["second"])] {
            let attempts = Counter()
            let options = CallOptions(retry: policy)
            try await withServer(flaky(attempts, failures: 1, RPCStatus(.unavailable, "busy"))) { _, channel in
                let seen = NIOLockedValueBox<[String]>([])
                let outcome = await status {
                    for try await message in channel.serverStreaming(
                        "/test.Service/FlakyResponses", Blob(request), options: options) as ResponseStream<Blob>
                    {
                        seen.withLockedValue { $0.append(message.text) }
                    }
                }
                #expect(outcome.code == (request == "late" ? .unavailable : .ok))
                #expect(seen.withLockedValue { $0 } == messages)
                #expect(attempts.value == expected)
            }
        }
    }

    @Test("The deadline covers all attempts, is the same for each, and ends a pause; so does cancellation")
    func deadline() async throws {
        let (timeouts, attempts) = (NIOLockedValueBox<[ContinuousClock.Instant?]>([]), Counter())
        let failing = RPCMethod.unary("/test.Service/Failing") { (_: Blob, context) -> Blob in
            timeouts.withLockedValue { $0.append(context.deadline) }
            attempts.increment()
            throw RPCStatus(.unavailable)
        }
        var slow = policy
        slow.initialBackoff = .seconds(3600)
        slow.maxBackoff = .seconds(3600)
        try await withServer([failing]) { [policy, slow] _, channel in
            let quickly = CallOptions(timeout: .seconds(3600), retry: policy)
            let first = await status {
                _ = try await channel.unary("/test.Service/Failing", Blob(""), options: quickly) as Blob
            }
            #expect(first.code == .unavailable)
            let seen = timeouts.withLockedValue { $0.compactMap { $0 } }
            #expect(seen.count == 4)
            // The header is rounded to its unit, 100 µs for an hour at the coarsest, and takes its time to arrive; a
            // deadline that began anew would still be at least as late as the pauses between the attempts.
            if let earliest = seen.min(), let latest = seen.max() { #expect(latest - earliest < .seconds(60)) }

            let brief = CallOptions(timeout: .milliseconds(50), retry: slow)
            let second = await status {
                _ = try await channel.unary("/test.Service/Failing", Blob(""), options: brief) as Blob
            }
            #expect(second.code == .deadlineExceeded)

            let attemptsBefore = attempts.value
            let caller = Task {
                await status {
                    _ = try await channel.unary("/test.Service/Failing", Blob(""), options: CallOptions(retry: slow))
                        as Blob
                }
            }
            await attempts.reached(attemptsBefore + 1)
            caller.cancel()
            #expect(await caller.value.code == .cancelled)
        }
    }

    @Test("A nested call that is retried keeps the outer call's deadline")
    func nested() async throws {
        let attempts = Counter()
        let deadlines = NIOLockedValueBox<[ContinuousClock.Instant]>([])
        let box = NIOLockedValueBox<RPCChannel?>(nil)
        let inner = RPCMethod.unary("/test.Service/Inner") { (request: Blob, context) -> Blob in
            attempts.increment()
            if let deadline = context.deadline { deadlines.withLockedValue { $0.append(deadline) } }
            guard attempts.value > 2 else { throw RPCStatus(.unavailable) }
            return request
        }
        let outer = RPCMethod.unary("/test.Service/Outer") { [policy] (request: Blob, _) -> Blob in
            guard let channel = box.withLockedValue({ $0 }) else { return Blob("no channel") }
            return try await channel.unary("/test.Service/Inner", request, options: CallOptions(retry: policy))
        }
        try await withServer([inner, outer]) { _, channel in
            box.withLockedValue { $0 = channel }
            let before = ContinuousClock.now
            let answer: Blob = try await channel.unary(
                "/test.Service/Outer", Blob("x"), options: CallOptions(timeout: .seconds(600)))
            #expect(answer.text == "x" && attempts.value == 3)
            let seen = deadlines.withLockedValue { $0 }
            #expect(seen.count == 3)
            for deadline in seen {
                // Ten minutes from the call, give or take what rounding and a slow machine add.
                #expect(deadline - before > .seconds(590) && deadline - before < .seconds(660))
            }
            box.withLockedValue { $0 = nil }
        }
    }
}

/// A server that answers every request with UNAVAILABLE, and notes how many attempts its client says there were.
private final class HeaderRecorder: HTTP2Connection {
    private let seen: NIOLockedValueBox<[String]>

    init?(_ seen: NIOLockedValueBox<[String]>, loop: any EventLoop) {
        self.seen = seen
        do {
            try super.init(.server, HTTP2Configuration(), keepAlive: KeepAliveConfiguration(), loop: loop, log: quiet)
        } catch {
            return nil
        }
    }

    override func handle(_ event: HTTP2Session.Event, input: UnsafeRawBufferPointer) {
        switch event {
        case .headers(let stream, let block):
            let attempts = block.fields.first { session.headers.nameIs($0, "grpc-previous-rpc-attempts") }
            let text = attempts.map { String(decoding: session.headers.value($0), as: UTF8.self) } ?? ""
            seen.withLockedValue { $0.append(text) }
            session.respond(stream, GRPCHeaders.trailersOnly(RPCStatus(.unavailable)), hasBody: false)
            scheduleFlush()
        case .closed(let stream, _): session.release(stream)
        default: break
        }
    }
}
