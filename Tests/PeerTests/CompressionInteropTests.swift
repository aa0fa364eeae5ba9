import RPC
import ServiceKit
import Synchronization
import Testing
import VommaProto

/// The interop cases with compression, each way. A peer's library hides what was compressed; what travelled shows it.
@Suite(.timeLimit(.minutes(5)))
struct CompressionInteropTests {
    /// The most that one call has sent each way, as it travelled.
    private final class Largest: ServerInterceptor, ServerCallHooks, ClientInterceptor, ClientCallHooks {
        private let largest = Mutex((request: 0, response: 0))

        var request: Int { largest.withLock { $0.request } }
        var response: Int { largest.withLock { $0.response } }

        func hooks(for method: MethodDescription) -> any ServerCallHooks { self }
        func hooks(for path: String) -> any ClientCallHooks { self }
        func progress(_ traffic: CallTraffic) {}
        func end(_ context: CallContext, _ status: RPCStatus, _ summary: CallSummary) { count(summary.traffic) }
        func end(_ call: OutgoingCall, _ status: RPCStatus, _ summary: CallSummary) { count(summary.traffic) }

        private func count(_ traffic: CallTraffic) {
            largest.withLock {
                $0.request = max($0.request, traffic.requestByteCount)
                $0.response = max($0.response, traffic.responseByteCount)
            }
        }
    }

    @Test("grpcio's client compresses, our server too: all the cases, and little that travels", arguments: [false, true])
    func foreignClient(compresses: Bool) async throws {
        let largest = Largest()
        try await InteropTests.withServer(
            .ours,
            configure: {
                $0.compression = compresses ? .gzip(fromByteCount: 100) : .identity
                $0.interceptors = [largest]
            }
        ) { port in
            try await InteropTests.judge(port, options: InteropTests.limit + ["--gzip"])
        }
        // Among the requests and the responses are some of 4 MB.
        #expect(largest.request < 1_000_000)
        #expect((largest.response < 1_000_000) == compresses, "\(largest.response)")
    }

    @Test("client_compressed_unary, server_compressed_unary, and both in streams", arguments: InteropTests.Server.allCases)
    func ourClient(server: InteropTests.Server) async throws {
        let largest = Largest()
        try await InteropTests.withChannel(
            server, configureServer: { $0.compression = .gzip },
            configure: {
                $0.compression = .gzip
                $0.interceptors = [largest]
            }
        ) { channel in
            let client = TestingInteropClient(channel)
            // grpcio's server is told by this, ours by its configuration.
            let options = CallOptions(timeout: .seconds(60), metadata: ["x-compress": "gzip"])
            let answer = try await client.unaryCall(
                TestingUnaryRequest(responseSize: 314_159, payload: InteropTests.zeros(271_828)), options: options)
            #expect(answer.payload == InteropTests.zeros(314_159) && answer.requestSize == 271_828)

            let total = try await client.streamingInputCall(options: options) { requests in
                for size in [27_182, 8, 1828, 45_904] {
                    try await requests.write(TestingInputRequest(payload: InteropTests.zeros(size)))
                }
            }
            #expect(total.totalSize == 74_922)

            let order = InteropTests.order([31_415, 9, 2653, 92_653])
            var sizes: [Int?] = []
            for try await answer in client.streamingOutputCall(order, options: options) {
                sizes.append(answer.payload?.body.count)
            }
            #expect(sizes == [31_415, 9, 2653, 92_653])

            let call = client.fullDuplexCall(options: options)
            var responses = call.responses.makeAsyncIterator()
            for (asked, sent) in [(31_415, 27_182), (9, 8), (2653, 1828), (58_979, 45_904)] {
                try await call.requests.write(InteropTests.order([asked], payload: InteropTests.zeros(sent)))
                let answer = try await responses.next()
                #expect(answer?.payload == InteropTests.zeros(asked))
            }
            call.requests.finish()
            let last = try await responses.next()
            #expect(last == nil)
        }
        #expect(largest.request < 5000 && largest.response < 5000, "\(largest.request), \(largest.response)")
        // Nothing at all would be little too.
        #expect(largest.request > 100 && largest.response > 100)
    }

    @Test("VOMMA_RPC_COMPRESSION: a service's responses, and what goes to services", arguments: ["none", "gzip"])
    func variable(value: String) async throws {
        let variables = ["VOMMA_RPC_COMPRESSION": value]
        let service = try ServiceUnderTest("heston-inverter-service", environment: variables)
        var settings = Settings(environment: variables)
        let peers = PeerSettings(&settings)
        try settings.validate()
        let largest = Largest()
        var configuration = RPCChannelConfiguration()
        configuration.interceptors = [largest]
        let channel = peers.channel(
            to: [Address(host: "127.0.0.1", port: try await service.port())], configuration: configuration,
            log: InteropTests.silent)
        // 1,000 equal prices: 8 kB of request and of response, unless they are compressed.
        let response = try await HestonInverterClient(channel).price(
            PriceRequest(
                parameters: HestonParameters(kappa: 2, theta: 0.25, sigma: 0.8, rho: -0.5, v0: 0.3), spot: 100,
                strikes: [Double](repeating: 100, count: 1000), tau: [0.25]))
        #expect(response.prices.count == 1000 && Set(response.prices).count == 1)
        #expect((largest.request < 1000) == (value == "gzip") && (largest.response < 1000) == (value == "gzip"))
        await channel.close()
        service.closeInput()
        #expect(await service.end().exitCode == 0)
    }
}
