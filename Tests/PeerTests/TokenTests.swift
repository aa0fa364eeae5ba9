import ChildProcesses
import Foundation
import Testing

/// A service that demands tokens, as Python's grpcio and `vomma` meet it.
@Suite(.timeLimit(.minutes(2)))
final class TokenTests {
    private let folder: URL
    private var tokens: String { folder.appending(path: "tokens").path }

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "tokens-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    private static func vomma(
        _ arguments: String..., environment: [String: String] = [:]
    ) async throws -> (status: Int32, output: String) {
        try await ChildProcess.run(
            Bundle.main.bundleURL.appending(path: "vomma").path, arguments, environment: environment)
    }

    /// Made by `vomma token new`; the token is also in a file of that name.
    private func token(_ name: String) async throws -> (text: String, line: String) {
        let (status, output) = try await Self.vomma("token", "new", name)
        #expect(status == 0, "\(output)")
        let text = try #require(output.firstMatch(of: /(?m)^vomma_[0-9a-f]{48}$/), "\(output)").0
        let line = try #require(output.split(separator: "\n").first { $0.hasPrefix("\(name) ") }, "\(output)")
        let isMade = FileManager.default.createFile(
            atPath: folder.appending(path: name).path, contents: Data((text + "\n").utf8),
            attributes: [.posixPermissions: 0o600])
        #expect(isMade)
        return (String(text), String(line))
    }

    private func write(_ lines: String...) throws {
        try ("# who may call\n" + lines.joined(separator: "\n") + "\n").write(
            toFile: tokens, atomically: true, encoding: .utf8)
    }

    @Test("grpcio and vomma get in with a token, and without are told to send one; health is open; no token is logged")
    func calls() async throws {
        let (alice, bob) = (try await token("alice"), try await token("bob"))
        try write(alice.line)
        let service = try ServiceUnderTest(
            "heston-inverter-service", environment: ["VOMMA_TOKENS_FILE": tokens, "VOMMA_LOG_LEVEL": "debug"])
        let port = try await service.port()

        let script = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../Peers/token_client.py").standardizedFileURL.path
        let python = try await ChildProcess.run(
            InteropTests.python, [script, "\(port)", alice.text], environment: InteropTests.environment)
        #expect(python.status == 0, "\(python.output)")
        #expect(python.output.split(separator: "\n").count { $0.hasPrefix("ok ") } == 20, "\(python.output)")

        func list(_ name: String?) async throws -> (status: Int32, output: String) {
            try await Self.vomma(
                "call", "127.0.0.1:\(port)", "--list",
                environment: name.map { ["VOMMA_TOKEN_FILE": folder.appending(path: $0).path] } ?? [:])
        }
        let known = try await list("alice")
        #expect(known.status == 0 && known.output.contains("vomma.v1.HestonInverter"), "\(known.output)")
        for name in [nil, "bob"] {
            let stranger = try await list(name)
            #expect(stranger.status == 1 && stranger.output.hasPrefix("UNAUTHENTICATED: "), "\(stranger.output)")
            #expect(stranger.output.contains("authorization: Bearer <token>"), "\(stranger.output)")
        }
        let health = try await Self.vomma("status", "--address", "127.0.0.1:\(port)")
        #expect(health.status == 0, "\(health.output)")

        // A file that cannot be used changes nothing; the next one does, without a restart.
        try write(bob.text)
        try await service.logged("changed token file cannot be used")
        #expect(try await list("alice").status == 0)
        try write(bob.line)
        try await service.logged("token file read again")
        #expect(try await list("bob").status == 0)
        #expect(try await list("alice").status == 1)

        service.terminate()
        let end = await service.end()
        #expect(end.exitCode == 0, "\(end.output)")
        #expect(end.output.contains("caller=alice") && end.output.contains("caller=bob"))
        #expect(!end.output.contains(alice.text) && !end.output.contains(bob.text))
    }

    @Test("a service whose token would go in plain text to another machine does not start; vomma call likewise")
    func plainText() async throws {
        _ = try await token("alice")
        let file = ["VOMMA_TOKEN_FILE": folder.appending(path: "alice").path]
        let words = ["calls to 192.0.2.1:1 would show the token in plain text", "VOMMA_TLS_AUTHORITY"]
        let end = try await ServiceUnderTest(
            "policy-service",
            environment: file.merging([
                "VOMMA_FEATURE_SERVICE": "127.0.0.1:1,192.0.2.1:1", "VOMMA_DATABASE_URL": "postgresql://nowhere/vomma",
                "VOMMA_LOG_LEVEL": "loud",
            ]) { $1 }
        ).end()
        #expect(end.exitCode == 78)
        for text in words + ["VOMMA_LOG_LEVEL is “loud”"] { #expect(end.output.contains(text), "\(end.output)") }
        for arguments in [["call", "192.0.2.1:1", "--list"], ["status", "--address", "192.0.2.1:1"]] {
            let refused = try await ChildProcess.run(
                Bundle.main.bundleURL.appending(path: "vomma").path, arguments, environment: file)
            #expect(refused.status == 64, "\(refused.output)")
            for text in words { #expect(refused.output.contains(text), "\(refused.output)") }
        }
    }

    @Test("a service whose token every user of the machine can read does not start; vomma call likewise")
    func exposed() async throws {
        _ = try await token("alice")
        let path = folder.appending(path: "alice").path
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        let words = "\(path) holds a secret that every user of this machine can get at (mode 0644): chmod 600 \(path)"
        let end = try await ServiceUnderTest("heston-inverter-service", environment: ["VOMMA_TOKEN_FILE": path]).end()
        #expect(end.exitCode == 78 && end.output.contains(words), "\(end.output)")
        let call = try await Self.vomma("call", "127.0.0.1:1", "--list", environment: ["VOMMA_TOKEN_FILE": path])
        #expect(call.status == 64 && call.output.contains(words), "\(call.output)")
    }

    @Test("a token's name has a place in a line")
    func names() async throws {
        let bad = try await Self.vomma("token", "new", "two words")
        #expect(bad.status == 64 && bad.output.contains("“two words” is no name"), "\(bad.output)")
    }
}
