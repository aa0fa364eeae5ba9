internal import ChildProcesses
internal import Foundation
internal import Synchronization

/// One service as a child process on this machine. Its output goes to a log file; its standard input is held open by
/// us, so that it ends when we do.
public final class ServiceChild: Sendable {
    public let name: ServiceName
    public let port: Int
    /// Where it serves its metrics: `GET /metrics`.
    public let metricsPort: Int
    private let executable: String
    private let environment: [String: String]
    private let logFile: String

    private struct State {
        /// The last one started; `nil` before the first start.
        var process: ChildProcess?
        var startCount = 0
    }
    private let state = Mutex(State())

    init(
        name: ServiceName, port: Int, metricsPort: Int, executable: String, environment: [String: String],
        logFile: String
    ) {
        self.name = name
        self.port = port
        self.metricsPort = metricsPort
        self.executable = executable
        self.environment = environment
        self.logFile = logFile
    }

    /// How often it has been started.
    public var startCount: Int { state.withLock { $0.startCount } }
    public var isRunning: Bool { processID != nil }
    /// The running process's id.
    public var processID: Int32? { running?.processID }
    /// Where its output goes.
    public var logPath: String { logFile }

    private var running: ChildProcess? {
        state.withLock { state in state.process.flatMap { $0.isRunning ? $0 : nil } }
    }

    /// Starts it, or again after it has ended.
    func start() throws(LocalStackError) {
        try state.withLock { state throws(LocalStackError) in
            if let process = state.process, process.isRunning { return }
            do {
                state.process = try ChildProcess(
                    executable, environment: environment, input: .held, output: .file(logFile))
            } catch {
                throw .cannotStart(service: name.rawValue, reason: "\(error)")
            }
            state.startCount += 1
        }
    }

    /// SIGKILL, as a crash would; returns when the process is gone.
    public func kill() {
        guard let process = running else { return }
        process.signal(SIGKILL)
        process.waitUntilEnd()
    }

    /// SIGTERM: it drains and ends.
    func terminate() { running?.signal(SIGTERM) }

    /// The last lines it wrote, for an error message.
    func lastOutput(lines: Int = 5) -> String {
        guard let text = try? String(contentsOfFile: logFile, encoding: .utf8) else { return "" }
        return text.split(separator: "\n").suffix(lines).joined(separator: "\n")
    }
}

/// Why the stack could not be run.
public enum LocalStackError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The executable is missing or can't be run: build it first (`make build`).
    case cannotStart(service: String, reason: String)
    /// It ended by itself; its last words are in `output`.
    case ended(service: String, output: String)
    /// It did not say SERVING in time.
    case notReady(service: String, output: String)
    /// The process or the system is out of sockets or ports.
    case noPort(reason: String)
    /// The data folder can't be made or written.
    case badDataFolder(path: String, reason: String)

    public var description: String {
        switch self {
        case .cannotStart(let service, let reason):
            "\(service) cannot be started: \(reason). Build it with `make build`."
        case .ended(let service, let output): "\(service) ended by itself:\n\(output)"
        case .notReady(let service, let output): "\(service) is not serving in time. Its last words:\n\(output)"
        case .noPort(let reason): "no free port could be reserved: \(reason)"
        case .badDataFolder(let path, let reason): "the data folder \(path) cannot be used: \(reason)"
        }
    }
}
