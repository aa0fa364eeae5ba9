import ChildProcesses
import Foundation
import Testing

@testable import RPC

/// Foreign clients judge a server of ours. Needs a Python with grpcio: `VOMMA_PYTHON=/path/to/python swift test`.
@Suite(.timeLimit(.minutes(3)), .enabled(if: ProcessInfo.processInfo.environment["VOMMA_PYTHON"] != nil))
struct PeerTests {
    private static let methods: [RPCMethod] = [
        .unary("/peer.Echo/Unary") { (request: Raw, _) in request },
        .serverStreaming("/peer.Echo/Stream") { (request: Raw, writer: ResponseWriter<Raw>, _) in
            while true { try await writer.write(request) }
        },
        .bidirectional("/peer.Echo/Bidi") { (requests: RequestStream<Raw>, writer: ResponseWriter<Raw>, _) in
            for try await request in requests { try await writer.write(request) }
        },
        .clientStreaming("/peer.Echo/Collect") { (requests: RequestStream<Raw>, _) in
            var byteCount = 0
            for try await request in requests { byteCount += request.bytes.count }
            return Raw(bytes: Array(String(byteCount).utf8))
        },
        .unary("/peer.Echo/Fail") { (_: Raw, context) -> Raw in
            context.setTrailingMetadata(["t": "1"])
            throw RPCStatus(.notFound, "nö €")
        },
        .unary("/peer.Echo/Hang") { (request: Raw, _) -> Raw in
            _ = await OneShot<Void>().wait()
            return request
        },
    ]

    @Test("Python's grpcio finds a gRPC server: see Tests/Peers/rpc/check.py")
    func grpcio() async throws {
        let python = try #require(ProcessInfo.processInfo.environment["VOMMA_PYTHON"])
        let script = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../Peers/rpc/check.py").standardizedFileURL
        try await withServer(Self.methods) { server, _ in
            let (result, text) = try await ChildProcess.run(
                python, [script.path, String(try await server.boundPort)])
            #expect(result == 0, "\(text)")
        }
    }
}

/// Any bytes at all.
private struct Raw: RPCMessage {
    var bytes: [UInt8]

    init(bytes: [UInt8]) { self.bytes = bytes }
    init(serializedBytes bytes: RawSpan) { self.bytes = unsafe bytes.withUnsafeBytes { unsafe Array($0) } }
    func serializedBytes() -> [UInt8] { bytes }
}
