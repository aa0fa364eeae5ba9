internal import CSpawn
internal import Dispatch
internal import Foundation
internal import NIOConcurrencyHelpers

/// Another program as a child of this process: started, signalled, waited for, each of its ends told once.
///
/// On posix_spawn and waitid, not Foundation's `Process`: that learns of a child's end through a socket which another
/// child, started at the same moment, may inherit and hold open. A child inherits its three standard streams and no
/// other descriptor. It has a process group of its own, so that a Ctrl-C on the terminal is ours to handle, and
/// starts with no signal blocked or ignored.
///
/// The object may be dropped: the child goes on, and is still collected when it ends. A held input closes with it.
public final class ChildProcess: Sendable {
    /// What the child's standard input is.
    public enum Input: Sendable {
        /// Empty: /dev/null.
        case none
        /// Open until `closeInput()` or the end of this object or of this process, however that ends.
        case held
    }

    /// Where standard output and standard error go, together.
    public enum Output: Sendable {
        /// Appended to this file.
        case file(String)
        /// Kept in memory, read by a thread as it comes: `text`, `line(where:)`. `end()` waits until whoever
        /// inherited it has closed it too. It is a socket to the child, which can't open it anew as /dev/stderr.
        case collected
        /// Kept in an unnamed file and read from there: for programs that leave a daemon behind, which would hold
        /// a pipe open for ever. At most its first 64 KiB are told, after the end.
        case unnamedFile
    }

    public let processID: Int32
    private let reaper: Reaper
    private let collector: OutputCollector?
    private let unnamedFile: Descriptor?
    private let input: Descriptor?

    /// Starts `executable`, a path. `environment` `nil`: ours.
    /// - Throws: `ChildProcessError` when there is no such program, or no descriptor or process is left.
    public init(
        _ executable: String, _ arguments: [String] = [], environment: [String: String]? = nil, input: Input = .none,
        output: Output
    ) throws(ChildProcessError) {
        func fail(_ code: CInt = errno) -> ChildProcessError {
            .cannotStart(executable: executable, reason: unsafe String(cString: strerror(code)))
        }
        var actions = SpawnActions()
        var theirs: [Descriptor] = []
        switch input {
        case .none:
            self.input = nil
            actions.open(0, "/dev/null", O_RDONLY)
        case .held:
            guard let (ours, theirEnd) = Descriptor.pair() else { throw fail() }
            self.input = ours
            theirs.append(theirEnd)
            actions.duplicate(theirEnd.number, to: 0)
        }
        var readEnd: Descriptor?
        switch output {
        case .file(let path):
            unnamedFile = nil
            actions.open(1, path, O_WRONLY | O_CREAT | O_APPEND)
        case .collected:
            unnamedFile = nil
            guard let (ours, theirEnd) = Descriptor.pair() else { throw fail() }
            readEnd = ours
            theirs.append(theirEnd)
            actions.duplicate(theirEnd.number, to: 1)
        case .unnamedFile:
            let path = "/tmp/vomma-output-\(UUID().uuidString)"
            let file = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
            guard file >= 0 else { throw fail() }
            unsafe _ = unlink(path)
            unnamedFile = Descriptor(file)
            actions.duplicate(file, to: 1)
        }
        actions.duplicate(1, to: 2)

        var processID = pid_t()
        let failure = actions.spawn(&processID, executable, arguments, environment)
        guard failure == 0 else { throw fail(failure) }
        self.processID = processID
        reaper = Reaper(processID)
        collector = readEnd.map { OutputCollector($0) }
        for descriptor in theirs { descriptor.close() }
    }

    public var isRunning: Bool { reaper.status == nil }

    /// Sends a signal; nothing happens when it has ended already.
    public func signal(_ number: Int32) { reaper.signal(number) }

    /// Closes a held standard input, as our own end would.
    public func closeInput() { input?.close() }

    /// Waits for its end: the exit code, or 128 + the signal's number. Output that was collected is then complete.
    @discardableResult
    public func end() async -> Int32 {
        let status = await withCheckedContinuation { continuation in
            reaper.whenEnded { continuation.resume(returning: $0) }
        }
        await collector?.untilClosed()
        return status
    }

    /// As `end()`, but blocks the calling thread, and does not wait for collected output.
    @discardableResult
    public func waitUntilEnd() -> Int32 {
        let semaphore = DispatchSemaphore(value: 0)
        reaper.whenEnded { _ in semaphore.signal() }
        semaphore.wait()
        return reaper.status ?? 0
    }

    /// What it has written so far; "" where that goes to a named file.
    public var text: String {
        if let collector { return collector.text }
        return unnamedFile?.contents(upTo: 65_536) ?? ""
    }

    /// The first line, of those not asked for before, that fits; `nil` when its output ends without one. Only for
    /// collected output. One caller at a time.
    public func line(where fits: (String) -> Bool) async -> String? { await collector?.line(where: fits) }

    /// Runs a program to its end.
    public static func run(
        _ executable: String, _ arguments: [String] = [], environment: [String: String]? = nil
    ) async throws(ChildProcessError) -> (status: Int32, output: String) {
        let child = try ChildProcess(executable, arguments, environment: environment, output: .collected)
        let status = await child.end()
        return (status, child.text)
    }
}

/// Why there is no child.
public enum ChildProcessError: Error, Sendable, Equatable, CustomStringConvertible {
    /// No such program, no right to run it, or the system is out of processes, descriptors or memory.
    case cannotStart(executable: String, reason: String)

    public var description: String {
        switch self {
        case .cannotStart(let executable, let reason): "\(executable) could not be started: \(reason)"
        }
    }
}

/// Waits for one child on a thread of its own. Until it is collected its number belongs to it, so a signal can't hit
/// another process.
private final class Reaper: Sendable {
    private struct State {
        var status: Int32?
        var callbacks: [@Sendable (Int32) -> Void] = []
    }
    private let processID: pid_t
    private let state = NIOLockedValueBox(State())

    init(_ processID: pid_t) {
        self.processID = processID
        Thread.detachNewThread { self.run() }
    }

    var status: Int32? { state.withLockedValue { $0.status } }

    func signal(_ number: Int32) {
        state.withLockedValue { state in
            if state.status == nil { _ = kill(processID, number) }
        }
    }

    /// Calls back once: at its end, or at once.
    func whenEnded(_ callback: @escaping @Sendable (Int32) -> Void) {
        let status = state.withLockedValue { state in
            if state.status == nil { state.callbacks.append(callback) }
            return state.status
        }
        if let status { callback(status) }
    }

    private func run() {
        var information = unsafe siginfo_t()
        while unsafe waitid(P_PID, id_t(processID), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {}
        let (status, callbacks) = state.withLockedValue { state in
            var raw: CInt = 0
            while unsafe waitpid(processID, &raw, 0) < 0, errno == EINTR {}
            let signal = raw & 0x7F
            let status = signal == 0 ? (raw >> 8) & 0xFF : 128 + signal
            state.status = status
            defer { state.callbacks = [] }
            return (status, state.callbacks)
        }
        for callback in callbacks { callback(status) }
    }
}

/// What comes out of a pipe, read by a thread of its own until its end.
private final class OutputCollector: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        /// Where the next line to be asked for begins.
        var lineStart = 0
        var isClosed = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }
    private let state = NIOLockedValueBox(State())

    init(_ pipe: Descriptor) {
        Thread.detachNewThread { self.run(pipe) }
    }

    var text: String { state.withLockedValue { String(decoding: $0.bytes, as: UTF8.self) } }

    func untilClosed() async {
        while !state.withLockedValue({ $0.isClosed }) { await change { $0.isClosed } }
    }

    func line(where fits: (String) -> Bool) async -> String? {
        while true {
            let (line, isClosed) = state.withLockedValue { state -> (String?, Bool) in
                guard let end = state.bytes[state.lineStart...].firstIndex(of: UInt8(ascii: "\n")) else {
                    return (nil, state.isClosed)
                }
                defer { state.lineStart = end + 1 }
                return (String(decoding: state.bytes[state.lineStart..<end], as: UTF8.self), false)
            }
            if let line {
                if fits(line) { return line }
            } else if isClosed {
                return nil
            } else {
                await change { $0.isClosed || $0.bytes[$0.lineStart...].contains(UInt8(ascii: "\n")) }
            }
        }
    }

    /// Waits for the next bytes or the end, unless `holds` already.
    private func change(unless holds: @Sendable (State) -> Bool) async {
        await withCheckedContinuation { continuation in
            let isReady = state.withLockedValue { state in
                let isReady = holds(state)
                if !isReady { state.waiters.append(continuation) }
                return isReady
            }
            if isReady { continuation.resume() }
        }
    }

    private func run(_ pipe: Descriptor) {
        while true {
            let chunk = pipe.read(upTo: 65_536)
            let waiters = state.withLockedValue { state in
                state.bytes += chunk
                state.isClosed = chunk.isEmpty
                defer { state.waiters = [] }
                return state.waiters
            }
            for waiter in waiters { waiter.resume() }
            if chunk.isEmpty { return }
        }
    }
}

/// A file descriptor that is closed once.
private final class Descriptor: Sendable {
    private let open: NIOLockedValueBox<CInt>

    init(_ number: CInt) { open = NIOLockedValueBox(number) }
    deinit { close() }

    /// -1 once closed.
    var number: CInt { open.withLockedValue { $0 } }

    /// Two connected ones. Sockets rather than a pipe, because they can be made closed-on-exec in one step: no
    /// sibling, started in between, inherits one. `nil` with `errno` set when none is left.
    static func pair() -> (Descriptor, Descriptor)? {
        var ends: [CInt] = [-1, -1]
        let kind = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
        guard unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0 else { return nil }
        return (Descriptor(ends[0]), Descriptor(ends[1]))
    }

    func close() {
        let number = open.withLockedValue { open in
            defer { open = -1 }
            return open
        }
        if number >= 0 { _ = Foundation.close(number) }
    }

    /// The next bytes; empty at the end, or where none can be read any more. Blocks.
    func read(upTo count: Int) -> [UInt8] {
        let number = number
        return unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            var result: Int
            repeat {
                result = unsafe Foundation.read(number, buffer.baseAddress, count)
            } while result < 0 && errno == EINTR
            filled = max(0, result)
        }
    }

    /// A file's first bytes, as text.
    func contents(upTo count: Int) -> String {
        let number = number
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = max(0, unsafe pread(number, buffer.baseAddress, count, 0))
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// What a child does between its birth and its program.
@safe private struct SpawnActions: ~Copyable {
    private var actions = unsafe posix_spawn_file_actions_t()

    init() { unsafe _ = posix_spawn_file_actions_init(&actions) }
    deinit {
        var actions = unsafe actions
        unsafe _ = posix_spawn_file_actions_destroy(&actions)
    }

    mutating func open(_ number: CInt, _ path: String, _ flags: CInt) {
        unsafe _ = posix_spawn_file_actions_addopen(&actions, number, path, flags, 0o644)
    }

    mutating func duplicate(_ number: CInt, to target: CInt) {
        unsafe _ = posix_spawn_file_actions_adddup2(&actions, number, target)
    }

    /// 0, or the error's number.
    mutating func spawn(
        _ processID: inout pid_t, _ executable: String, _ arguments: [String], _ environment: [String: String]?
    ) -> CInt {
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
        // Sockets of libraries that are not closed-on-exec: a child that holds one keeps its peer from seeing the end.
        unsafe posix_spawn_file_actions_addclosefrom_np(&actions, 3)
        let strings = unsafe ([executable] + arguments).map { unsafe strdup($0) } + [nil]
        defer { unsafe strings.forEach { unsafe free($0) } }
        guard let environment else {
            return unsafe posix_spawn(&processID, executable, &actions, &attributes, strings, environ)
        }
        let variables = unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") } + [nil]
        defer { unsafe variables.forEach { unsafe free($0) } }
        return unsafe posix_spawn(&processID, executable, &actions, &attributes, strings, variables)
    }
}
