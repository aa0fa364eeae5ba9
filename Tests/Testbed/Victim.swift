internal import ChildProcesses
internal import Foundation
internal import Glibc

/// A server of ours as a process of its own, so that its memory is its own too.
final class Victim: Sendable {
    private let process: ChildProcess
    let port: Int

    /// Starts `rpc-testbed serve` with these options.
    init(_ options: [String]) async throws {
        process = try ChildProcess(
            Self.executable, ["serve"] + options, environment: nil, input: .held, output: .collected)
        guard let line = await process.line(where: { $0.hasPrefix("listening port=") }),
            let port = Int(line.dropFirst("listening port=".count))
        else { throw Failure(reason: "the server did not start: \(process.text)") }
        self.port = port
    }

    struct Failure: Error { let reason: String }

    /// This program.
    static let executable = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""

    /// A line of /proc/…/status in KiB: VmRSS is what is resident now, VmHWM the most there ever was.
    func memory(_ name: String) -> Int {
        guard let file = unsafe fopen("/proc/\(process.processID)/status", "r") else { return -1 }
        defer { unsafe fclose(file) }
        var line = [CChar](repeating: 0, count: 512)
        while unsafe fgets(&line, 512, file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard text.hasPrefix(name + ":") else { continue }
            return Int(text.split(whereSeparator: { $0 == " " || $0 == "\t" })[1]) ?? -1
        }
        return -1
    }

    /// Forgets the peak so far.
    func resetPeak() {
        guard let file = unsafe fopen("/proc/\(process.processID)/clear_refs", "w") else { return }
        unsafe fputs("5", file)
        unsafe fclose(file)
    }

    /// Ends it gently. Returns whether that went well, and what it had to say.
    func end() async -> (isGood: Bool, text: String) {
        process.signal(SIGTERM)
        let code = await process.end()
        return (code == 0, process.text)
    }
}
