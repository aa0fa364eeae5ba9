import RPC
import Testing
import VommaProto

@testable import ServiceKit

/// Answers with so many bytes.
private struct LongAnswers: RPCService {
    let serviceName = "test.Long"
    let methods = [
        RPCMethod.unary("/test.Long/Answer") { (request: HealthCheckRequest, _) -> HealthCheckRequest in
            HealthCheckRequest(service: String(repeating: "x", count: Int(request.service) ?? 0))
        }
    ]
}

@Suite(.timeLimit(.minutes(1))) struct PeerSettingsTests {
    private static func answer(_ byteCount: Int, _ channel: RPCChannel) async throws -> Int {
        let answer: HealthCheckRequest = try await channel.unary(
            "/test.Long/Answer", HealthCheckRequest(service: "\(byteCount)"))
        return answer.service.utf8.count
    }

    @Test("a channel to a peer takes responses as long as the requests that a service takes, by the same key")
    func longestResponse() async throws {
        try await withServer([LongAnswers()]) { server, _ in
            let address = Address(host: "127.0.0.1", port: try await server.boundPort)
            // Longer than what gRPC's clients take.
            let usual = PeerSettings().channel(to: [address], log: quiet)
            #expect(try await Self.answer(5 << 20, usual) == 5 << 20)
            await usual.close()

            var settings = Settings(environment: ["VOMMA_RPC_MAX_MESSAGE_BYTES": "2000"])
            let common = CommonSettings(&settings, port: 1, needsDatabase: false)
            try settings.validate()
            let limited = common.peers.channel(to: [address], log: quiet)
            #expect(try await Self.answer(1990, limited) == 1990)
            let refusal = await thrown { _ = try await Self.answer(2000, limited) } as? RPCStatus
            #expect(refusal?.code == .resourceExhausted && refusal?.message.contains("2000") == true)
            await limited.close()
            #expect(common.server.maxMessageByteCount == 2000)
        }
    }

    @Test("a key with two readers is described once, and so is what is wrong with it")
    func twoReaders() {
        var settings = Settings(environment: ["VOMMA_RPC_MAX_MESSAGE_BYTES": "many"])
        _ = CommonSettings(&settings, port: 1, needsDatabase: false)
        #expect(settings.faults.count == 1, "\(settings.faults)")
        #expect(settings.descriptions.count { $0.variable == "VOMMA_RPC_MAX_MESSAGE_BYTES" } == 1)
    }
}
