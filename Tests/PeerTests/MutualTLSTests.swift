import ChildProcesses
import Foundation
import TestKit
import Testing

/// A service under mutual TLS, as its container's health check and Python's grpcio meet it.
@Suite(.timeLimit(.minutes(2)))
struct MutualTLSTests {
    private let certificates: TestCertificates

    init() async throws { certificates = try await TestCertificates() }

    private func variables(_ identity: String?, trusting authority: String? = "ca") -> [String: String] {
        var variables: [String: String] = [:]
        if let identity {
            variables["VOMMA_TLS_CERTIFICATE"] = certificates.path("\(identity).pem")
            variables["VOMMA_TLS_KEY"] = certificates.path("\(identity).key")
        }
        if let authority { variables["VOMMA_TLS_AUTHORITY"] = certificates.path("\(authority).pem") }
        return variables
    }

    /// `vomma status --address`, with these variables alone.
    private func status(_ port: Int, _ variables: [String: String]) async throws -> (exitCode: Int32, output: String) {
        let (exitCode, output) = try await ChildProcess.run(
            Bundle.main.bundleURL.appending(path: "vomma").path, ["status", "--address", "127.0.0.1:\(port)"],
            environment: variables)
        return (exitCode, output)
    }

    @Test("vomma status finds it with a certificate of the authority, and tells others why not; vomma call likewise")
    func healthCheck() async throws {
        let service = try ServiceUnderTest("heston-inverter-service", environment: variables("server"))
        let port = try await service.port()
        let good = try await status(port, variables("client"))
        #expect(good.exitCode == 0 && good.output.contains("SERVING"), "\(good.output)")
        // A service's own certificate does for its own health check.
        #expect(try await status(port, variables("server")).exitCode == 0)
        for (who, words) in [
            (variables(nil), "demands a client certificate"), (variables("foreign"), "does not trust the authority"),
            (variables("client", trusting: "foreign-ca"), "authority that we trust"), ([:], "the server speaks TLS"),
        ] {
            let bad = try await status(port, who)
            #expect(bad.exitCode == 1 && bad.output.contains(words), "\(bad.output)")
        }
        let call = try await ChildProcess.run(
            Bundle.main.bundleURL.appending(path: "vomma").path,
            ["call", "localhost:\(port)", "grpc.health.v1.Health/Check"], environment: variables("client"))
        #expect(call.status == 0 && call.output.contains("SERVING"), "\(call.output)")
        service.terminate()
        #expect(await service.end().exitCode == 0)
    }

    @Test("certificates that cannot be used end the process with 78 and are named, beside the other faults")
    func badConfiguration() async throws {
        var bad = variables("server")
        bad["VOMMA_TLS_KEY"] = certificates.path("client.key")
        bad["VOMMA_LOG_LEVEL"] = "loud"
        let end = try await ServiceUnderTest("heston-inverter-service", environment: bad).end()
        #expect(end.exitCode == 78)
        for text in ["client.key is not that of the certificate", "VOMMA_LOG_LEVEL is “loud”"] {
            #expect(end.output.contains(text), "\(end.output)")
        }
        let status = try await status(1, ["VOMMA_TLS_AUTHORITY": "/no/such.pem"])
        #expect(status.exitCode == 64 && status.output.contains("/no/such.pem cannot be read"), "\(status.output)")
    }

    // MARK: - Python's grpcio

    private static let script = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../Peers/tls.py").standardizedFileURL.path
    private static let python = ProcessInfo.processInfo.environment["VOMMA_PYTHON"] ?? "/usr/bin/python3"
    private static let environment = ["PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"]

    @Test("grpcio as the client: let in by name and by address with our authority's certificate, and else not")
    func foreignClient() async throws {
        let service = try ServiceUnderTest("heston-inverter-service", environment: variables("server"))
        let (exitCode, output) = try await ChildProcess.run(
            Self.python, [Self.script, "client", certificates.folder, "\(try await service.port())"],
            environment: Self.environment)
        #expect(exitCode == 0, "\(output)")
        #expect(output.split(separator: "\n").count { $0.hasPrefix("ok ") } == 5, "\(output)")
        service.terminate()
        #expect(await service.end().exitCode == 0)
    }

    @Test("grpcio as the server lets us in with our authority's certificate, and else not")
    func foreignServer() async throws {
        let server = try ChildProcess(
            Self.python, [Self.script, "server", certificates.folder], environment: Self.environment, input: .held,
            output: .collected)
        let line = try #require(await server.line { $0.contains("listening") }, "it ended: \(server.text)")
        let port = try #require(line.split(separator: "port=").last.flatMap { Int($0.prefix { $0.isNumber }) })
        let good = try await status(port, variables("client"))
        #expect(good.exitCode == 0 && good.output.contains("SERVING"), "\(good.output)")
        for who in [variables(nil), variables("foreign"), variables("client", trusting: "foreign-ca"), [:]] {
            let bad = try await status(port, who)
            #expect(bad.exitCode == 1 && bad.output.contains("unavailable"), "\(bad.output)")
        }
        server.closeInput()
        _ = await server.end()
    }
}
