import ChildProcesses
import Foundation
import Testing

/// Python's grpcio judges a service process, with nothing of ours in its hands. `make deps` installs Debian's
/// python3-grpcio and python3-protobuf; VOMMA_PYTHON names another interpreter that has them.
@Suite(.timeLimit(.minutes(5)))
struct ForeignClientTests {
    private static let peers = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../Peers").standardizedFileURL
    private static let reference = peers.appending(path: "Golden/heston.csv")
    private static let shared = peers.appending(path: "../../../shared/reference/heston.csv").standardizedFileURL

    @Test("grpcio without .proto files finds heston-inverter-service right: see Tests/Peers/foreign_client.py")
    func foreignClient() async throws {
        let service = try ServiceUnderTest("heston-inverter-service")
        let port = try await service.port()
        let python = ProcessInfo.processInfo.environment["VOMMA_PYTHON"] ?? "/usr/bin/python3"
        let (exitCode, output) = try await ChildProcess.run(
            python,
            [
                Self.peers.appending(path: "foreign_client.py").path, "\(port)", "\(service.processID)",
                Self.reference.path,
            ],
            // What Python might find in the surroundings must not decide this.
            environment: ["PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"])
        #expect(exitCode == 0, "\(output)")
        // The client's own words, so that one that checks nothing cannot pass.
        #expect(output.split(separator: "\n").count { $0.hasPrefix("ok ") } > 55, "\(output)")
        service.closeInput()
        let end = await service.end()
        #expect(end.exitCode == 0, "the service did not end well: \(end.output)")
    }

    @Test(
        "the committed reference prices are those of the reference folder",
        .enabled(if: FileManager.default.fileExists(atPath: shared.path)))
    func referenceIsTheSame() throws {
        let committed = try String(contentsOf: Self.reference, encoding: .utf8).split(separator: "\n")
        let original = try String(contentsOf: Self.shared, encoding: .utf8).split(separator: "\n")
        #expect(committed.filter { !$0.hasPrefix("#") } == original)
    }
}
