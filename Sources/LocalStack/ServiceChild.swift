internal import Foundation
internal import Synchronization

/// One service as a child process on this machine. Its output goes to a log file; its standard input is held open by
/// us, so that it ends when we do. It has a process group of its own: a Ctrl-C on the terminal is ours to handle.
///
/// On posix_spawn and waitpid, not Foundation's `Process`: that learns of a child's end through a socket which another
/// child, started at the same moment, may inherit and hold open.
public final class ServiceChild: Sendable {
    public let name: ServiceName
    public let port: Int
    private let executable: String
    private let environment: [String: String]
    private let logFile: String

    private struct State {
        /// Of the process that runs; `nil` before the first start and once its end has been collected.
        var processID: pid_t?
        /// Our end of its standard input.
        var input: CInt = -1
        var startCount = 0
    }
    private let state = Mutex(State())

    init(name: ServiceName, port: Int, executable: String, environment: [String: String], logFile: String) {
        self.name = name
        self.port = port
        self.executable = executable
        self.environment = environment
        self.logFile = logFile
    }

    deinit { state.withLock { if $0.input >= 0 { close($0.input) } } }

    /// How often it has been started.
    public var startCount: Int { state.withLock { $0.startCount } }
    public var isRunning: Bool { processID != nil }
    /// The running process's id.
    public var processID: Int32? { state.withLock { Self.collect(&$0) } }
    /// Where its output goes.
    public var logPath: String { logFile }

    /// The id of the process if it still runs; an ended one is collected. `blocking` waits for the end.
    @discardableResult
    private static func collect(_ state: inout State, blocking: Bool = false) -> pid_t? {
        guard let processID = state.processID else { return nil }
        var status: CInt = 0
        while true {
            let result = unsafe waitpid(processID, &status, blocking ? 0 : WNOHANG)
            if result == 0 { return processID }
            if result < 0, errno == EINTR { continue }
            // Ended, or not ours to wait for any more.
            state.processID = nil
            close(state.input)
            state.input = -1
            return nil
        }
    }

    /// Starts it, or again after it has ended.
    func start() throws(LocalStackError) {
        try state.withLock { state throws(LocalStackError) in
            if Self.collect(&state) != nil { return }
            let (processID, input) = try spawn()
            state.processID = processID
            state.input = input
            state.startCount += 1
        }
    }

    private func spawn() throws(LocalStackError) -> (pid_t, input: CInt) {
        func fail(_ what: String) -> LocalStackError {
            .cannotStart(service: name.rawValue, reason: "\(what) (\(unsafe String(cString: strerror(errno))))")
        }
        var ends: [CInt] = [-1, -1]
        // Sockets rather than a pipe, because they can be made closed-on-exec in one step: no sibling inherits our end.
        let kind = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
        guard unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw fail("no socket can be made") }
        defer { close(ends[0]) }

        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        unsafe posix_spawn_file_actions_addopen(&actions, 1, logFile, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        unsafe posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        unsafe sigemptyset(&none)
        var all = sigset_t()
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        unsafe posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

        let arguments = unsafe [strdup(executable), nil]
        let variables = unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") } + [nil]
        defer { unsafe (arguments + variables).forEach { unsafe free($0) } }
        var processID = pid_t()
        let failure = unsafe posix_spawn(&processID, executable, &actions, &attributes, arguments, variables)
        guard failure == 0 else {
            close(ends[1])
            errno = failure
            throw fail(executable)
        }
        return (processID, ends[1])
    }

    /// SIGKILL, as a crash would; returns when the process is gone.
    public func kill() {
        state.withLock { state in
            guard let processID = Self.collect(&state) else { return }
            _ = Foundation.kill(processID, SIGKILL)
            Self.collect(&state, blocking: true)
        }
    }

    /// SIGTERM: it drains and ends.
    func terminate() {
        state.withLock { state in
            guard let processID = Self.collect(&state) else { return }
            _ = Foundation.kill(processID, SIGTERM)
        }
    }

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
    /// The data folder can't be made or written.
    case badDataFolder(path: String, reason: String)

    public var description: String {
        switch self {
        case .cannotStart(let service, let reason):
            "\(service) cannot be started: \(reason). Build it with `make build`."
        case .ended(let service, let output): "\(service) ended by itself:\n\(output)"
        case .notReady(let service, let output): "\(service) is not serving in time. Its last words:\n\(output)"
        case .badDataFolder(let path, let reason): "the data folder \(path) cannot be used: \(reason)"
        }
    }
}
