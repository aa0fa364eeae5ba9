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
        let (exitCode, output) = try await Self.run(
            python,
            [
                Self.peers.appending(path: "foreign_client.py").path, "\(port)", "\(service.processID)",
                Self.reference.path,
            ])
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

    /// Runs a program to its end: its exit code and all that it wrote.
    private static func run(_ program: String, _ arguments: [String]) async throws -> (exitCode: Int32, output: String)
    {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(filePath: program)
        process.arguments = arguments
        process.standardOutput = pipe
        process.standardError = pipe
        // What Python might find in the surroundings must not decide this.
        process.environment = ["PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"]
        let output = Collected(pipe)
        let ended = AsyncStream<Int32>.makeStream()
        process.terminationHandler = { ended.continuation.yield($0.terminationStatus) }
        try process.run()
        for await code in ended.stream {
            await output.untilEnd()
            return (code, output.text)
        }
        process.terminate()
        throw CancellationError()
    }
}
