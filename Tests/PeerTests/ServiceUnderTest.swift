import ChildProcesses
import Foundation
import Testing

/// A service of this package as a child process on a free port. It ends with us, because we hold its standard input.
final class ServiceUnderTest: Sendable {
    private let process: ChildProcess

    /// Starts it with these variables and arguments; its exit code and output tell how that went.
    init(_ name: String, environment: [String: String] = [:], arguments: [String] = []) throws {
        // Tests and services are built into one folder.
        process = try ChildProcess(
            Bundle.main.bundleURL.appending(path: name).path, arguments,
            environment: ["VOMMA_PORT": "0", "VOMMA_EXIT_WITH_STDIN": "yes"].merging(environment) { $1 },
            input: .held, output: .collected)
    }

    var processID: Int32 { process.processID }

    /// The port it says it listens on.
    func port() async throws -> Int {
        let line = try #require(await process.line { $0.contains("listening") }, "it ended: \(process.text)")
        let digits = try #require(line.split(separator: "port=").last).prefix { $0.isNumber }
        return try #require(Int(digits), "no port in “\(line)”")
    }

    /// Waits until its log holds `text`, which may have come before the port.
    func logged(_ text: String) async throws {
        if process.text.contains(text) { return }
        _ = try #require(await process.line { $0.contains(text) }, "it ended: \(process.text)")
    }

    /// SIGTERM, as from an operator.
    func terminate() { process.signal(SIGTERM) }

    /// Closes its standard input, as a parent's death does.
    func closeInput() { process.closeInput() }

    /// Waits for its end: the exit code, and all that it wrote.
    func end() async -> (exitCode: Int32, output: String) {
        let exitCode = await process.end()
        return (exitCode, process.text)
    }

    deinit { process.signal(SIGTERM) }
}
