import Foundation
import Synchronization
import Testing

/// A service of this package as a child process on a free port. It ends with us, because we hold its standard input.
final class ServiceUnderTest: Sendable {
    private let process: Process
    private let input = Pipe()
    private let collected: Collected
    private let ended = AsyncStream<Int32>.makeStream()

    /// Starts it with these variables and arguments; its exit code and output tell how that went.
    init(_ name: String, environment: [String: String] = [:], arguments: [String] = []) throws {
        // Tests and services are built into one folder.
        let executable = Bundle.main.bundleURL.appending(path: name)
        try #require(FileManager.default.isExecutableFile(atPath: executable.path), "\(executable.path) is not there")
        let pipe = Pipe()
        process = Process()
        process.executableURL = executable
        process.arguments = arguments
        process.environment = ["VOMMA_PORT": "0", "VOMMA_EXIT_WITH_STDIN": "yes"].merging(environment) { $1 }
        process.standardInput = input
        process.standardOutput = pipe
        process.standardError = pipe
        collected = Collected(pipe)
        let continuation = ended.continuation
        process.terminationHandler = { continuation.yield($0.terminationStatus) }
        try process.run()
    }

    var processID: Int32 { process.processIdentifier }
    var output: String { collected.text }

    /// The port it says it listens on.
    func port() async throws -> Int {
        let line = try #require(await collected.line { $0.contains("listening") }, "it ended: \(output)")
        let digits = try #require(line.split(separator: "port=").last).prefix { $0.isNumber }
        return try #require(Int(digits), "no port in “\(line)”")
    }

    /// SIGTERM, as from an operator.
    func terminate() { process.terminate() }

    /// Closes its standard input, as a parent's death does.
    func closeInput() { try? input.fileHandleForWriting.close() }

    /// Waits for its end: the exit code, and all that it wrote.
    func end() async -> (exitCode: Int32?, output: String) {
        for await code in ended.stream {
            await collected.untilEnd()
            return (code, output)
        }
        return (nil, output)
    }

    deinit { if process.isRunning { process.terminate() } }
}

/// All that comes out of a pipe.
final class Collected: Sendable {
    private let bytes = Mutex<[UInt8]>([])
    private let lines = AsyncStream<String>.makeStream()

    init(_ pipe: Pipe) {
        pipe.fileHandleForReading.readabilityHandler = { [self] handle in
            let data = handle.availableData
            if data.isEmpty {
                handle.readabilityHandler = nil
                lines.continuation.finish()
                return
            }
            let complete = bytes.withLock { bytes in
                let start = bytes.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
                bytes.append(contentsOf: data)
                guard let end = bytes.lastIndex(of: UInt8(ascii: "\n")), end >= start else { return "" }
                return String(decoding: bytes[start..<end], as: UTF8.self)
            }
            for line in complete.split(separator: "\n") { lines.continuation.yield(String(line)) }
        }
    }

    var text: String { bytes.withLock { String(decoding: $0, as: UTF8.self) } }

    /// The first line for which `isWanted` holds; `nil` when there is none up to the end.
    func line(_ isWanted: (String) -> Bool) async -> String? {
        for await line in lines.stream where isWanted(line) { return line }
        return nil
    }

    func untilEnd() async {
        for await _ in lines.stream {}
    }
}
