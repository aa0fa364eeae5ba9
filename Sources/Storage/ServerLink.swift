internal import CLibPQ
internal import Glibc

/// One libpq connection in non-blocking mode, with every wait in one place: `wait`. Owns the `PGconn`; used on its
/// connection's thread only, which may sleep here.
@safe final class ServerLink {
    private let handle: OpaquePointer
    private let interrupt: Interrupt
    private(set) var isBroken = false

    /// Opens a connection. Throws `unavailable` where waiting can help, `rejected` where it can't, `timeout`,
    /// `cancelled`.
    init(_ configuration: StorageConfiguration, interrupt: Interrupt) throws(StorageError) {
        let keywords = configuration.keywords
        let strings = unsafe keywords.map { unsafe (strdup($0.0), strdup($0.1)) }
        defer {
            unsafe strings.forEach { name, value in
                unsafe free(name)
                unsafe free(value)
            }
        }
        let names = unsafe strings.map { unsafe UnsafePointer($0.0) } + [nil]
        let values = unsafe strings.map { unsafe UnsafePointer($0.1) } + [nil]
        guard let handle = unsafe PQconnectStartParams(names, values, 1) else { throw .outOfMemory }
        unsafe self.handle = handle
        self.interrupt = interrupt
        try connect(deadline: .now + configuration.connectTimeout)
        unsafe PQsetnonblocking(handle, 1)
        // Notices are the server's chatter (table exists already): they go nowhere.
        unsafe PQsetNoticeProcessor(handle, { _, _ in }, nil)
    }

    deinit { unsafe PQfinish(handle) }

    private func connect(deadline: ContinuousClock.Instant) throws(StorageError) {
        // With the code in the message we need not understand the server's language.
        unsafe PQsetErrorVerbosity(handle, PQERRORS_VERBOSE)
        var phase = PGRES_POLLING_WRITING
        while unsafe PQstatus(handle) != CONNECTION_BAD {
            switch phase {
            case PGRES_POLLING_OK:
                unsafe PQsetErrorVerbosity(handle, PQERRORS_DEFAULT)
                return
            case PGRES_POLLING_READING:
                try wait(for: POLLIN, until: deadline, onDeadline: .unavailable("no answer from the server in time"))
            case PGRES_POLLING_WRITING:
                try wait(for: POLLOUT, until: deadline, onDeadline: .unavailable("no answer from the server in time"))
            default: throw connectionFailure
            }
            if interrupt.isRequested { throw .cancelled }
            phase = unsafe PQconnectPoll(handle)
        }
        throw connectionFailure
    }

    /// Why no connection was made, from a message like `FATAL:  3D000: database "x" does not exist`.
    private var connectionFailure: StorageError {
        let message = unsafe PQerrorMessage(handle).map { unsafe String(cString: $0) } ?? ""
        for severity in message.split(separator: ":") {
            let word = severity.drop { $0 == " " }
            guard word.utf8.count == 5, word.utf8.allSatisfy({ (48...57).contains($0) || (65...90).contains($0) })
            else {
                continue
            }
            let state = String(word)
            guard state != "FATAL", state != "PANIC" else { continue }
            switch state.prefix(2) {
            case "53": return state == "53300" ? .tooManyConnections : .unavailable("server answered \(state)")
            case "28", "3D", "42", "22": return .rejected(sqlState: state, message: message)
            default: return .unavailable("server answered \(state)")
            }
        }
        // libpq's own words, in English: no locale is ever set here. They name no secret.
        let isInsecure = ["certificate", "does not support SSL", "private key", "unknown ca"].contains {
            message.contains($0)
        }
        if isInsecure { return .insecure(String(message.split(separator: "\n").first ?? "")) }
        return .unavailable("no connection to the server could be made")
    }

    // MARK: State

    /// Whether a transaction is open, failed ones included.
    var isInTransaction: Bool {
        switch unsafe PQtransactionStatus(handle) {
        case PQTRANS_INTRANS, PQTRANS_INERROR, PQTRANS_ACTIVE: true
        default: false
        }
    }

    /// Notices a server that went away while the connection was idle: its farewell makes the socket readable. One
    /// system call when all is well.
    func checkIdle() -> Bool {
        guard !isBroken else { return false }
        var descriptor = pollfd(fd: unsafe PQsocket(handle), events: Int16(POLLIN), revents: 0)
        guard unsafe poll(&descriptor, 1, 0) != 0 else { return true }
        if unsafe (PQconsumeInput(handle) == 0 || PQstatus(handle) != CONNECTION_OK) { isBroken = true }
        // libpq stays CONNECTION_OK on a farewell message; end of file follows it at once.
        if !isBroken, unsafe (poll(&descriptor, 1, 0) != 0 && PQconsumeInput(handle) == 0) { isBroken = true }
        return !isBroken
    }

    /// Gives the connection up: it is closed at the end of its lease.
    func markBroken() { isBroken = true }

    /// What the server stores of a password, made here, so that the password itself does not travel.
    func passwordVerifier(role: String, password: String) throws(StorageError) -> String {
        guard let text = unsafe PQencryptPasswordConn(handle, password, role, "scram-sha-256") else {
            throw .outOfMemory
        }
        defer { unsafe PQfreemem(text) }
        return unsafe String(cString: text)
    }

    var processIdentifier: Int32 { unsafe PQbackendPID(handle) }

    // MARK: Statements

    func sendPrepare(name: String, sql: String, types: [UInt32]) throws(StorageError) {
        try sent(unsafe PQsendPrepare(handle, name, sql, CInt(types.count), types))
    }

    /// All parameters and results are in binary.
    func sendExecute(name: String, _ parameters: borrowing BinaryWriter) throws(StorageError) {
        let count = parameters.fields.count
        let success = unsafe parameters.bytes.withUnsafeBytes { bytes in
            unsafe withUnsafeTemporaryAllocation(of: UnsafePointer<CChar>?.self, capacity: count + 1) { values in
                unsafe withUnsafeTemporaryAllocation(of: CInt.self, capacity: 2 * count + 1) { numbers in
                    for (index, field) in parameters.fields.enumerated() {
                        // An empty value needs an address too, any one: nil means NULL.
                        let base = unsafe bytes.baseAddress ?? UnsafeRawPointer(numbers.baseAddress)
                        unsafe values[index] = unsafe field.flatMap { range in
                            unsafe base.map { unsafe ($0 + range.lowerBound).assumingMemoryBound(to: CChar.self) }
                        }
                        unsafe numbers[index] = CInt(truncatingIfNeeded: field?.count ?? 0)
                        unsafe numbers[count + index] = 1
                    }
                    return unsafe PQsendQueryPrepared(
                        handle, name, CInt(count), values.baseAddress, numbers.baseAddress,
                        numbers.baseAddress.map { unsafe $0 + count }, 1)
                }
            }
        }
        try sent(success)
    }

    /// A text of one or more statements without parameters: our own commands and migrations.
    func sendScript(_ sql: String) throws(StorageError) {
        try sent(unsafe PQsendQuery(handle, sql))
    }

    /// From now on statements are sent without waiting for each answer.
    func enterPipeline() throws(StorageError) { try sent(unsafe PQenterPipelineMode(handle)) }
    func sendSynchronisation() throws(StorageError) { try sent(unsafe PQpipelineSync(handle)) }
    /// A statement that fails wherever it runs: it takes what was sent before it in the pipeline with it.
    func sendFailure() throws(StorageError) {
        try sent(unsafe PQsendQueryParams(handle, "given up by the client", 0, nil, nil, nil, nil, 1))
    }
    func exitPipeline() throws(StorageError) { try sent(unsafe PQexitPipelineMode(handle)) }

    /// The error of a statement outside of a transaction that was sent: when the connection broke before its answer,
    /// nobody knows whether it has run.
    func unknownIfLost(_ error: StorageError) -> StorageError {
        guard isBroken, case .unavailable(let reason) = error else { return error }
        return .outcomeUnknown(reason)
    }

    private func sent(_ success: CInt) throws(StorageError) {
        guard success == 1 else {
            isBroken = true
            throw .unavailable("the connection to the server was lost")
        }
    }

    /// Waits for the next result of what was sent; `nil` when there is none left. At `deadline`, or when interrupted,
    /// the server is asked to cancel, and its answer (an error, or the result if it was faster) is waited for.
    func nextAnswer(
        sql: String, until deadline: ContinuousClock.Instant, interruptible: Bool
    ) throws(StorageError) -> ServerAnswer? {
        var hasCancelled = false
        var limit = deadline
        while true {
            let pending = unsafe PQflush(handle)
            guard pending >= 0 else { throw lost() }
            guard unsafe PQisBusy(handle) == 1 else { break }
            let events = pending > 0 ? POLLIN | POLLOUT : POLLIN
            let wakeUp = try wait(for: events, until: limit, interruptible: interruptible && !hasCancelled)
            if wakeUp != .ready {
                guard !hasCancelled else {
                    isBroken = true
                    throw .timeout(.statement)
                }
                hasCancelled = true
                limit = .now + .seconds(5)
                cancel()
                continue
            }
            guard unsafe PQconsumeInput(handle) == 1 else { throw lost() }
        }
        guard let result = unsafe PQgetResult(handle) else { return nil }
        let answer = unsafe ServerAnswer.take(result, sql: sql)
        if case .fatal = answer { throw lost() }
        return answer
    }

    /// Sends what is still buffered, without an end of its own: whoever waits for answers has one. While the server
    /// does not take it, what the server says is read, so that the two can't wait for each other.
    func flush(until deadline: ContinuousClock.Instant) throws(StorageError) {
        while true {
            let pending = unsafe PQflush(handle)
            guard pending >= 0 else { throw lost() }
            guard pending > 0 else { return }
            try flushSome(until: deadline)
        }
    }

    /// Reads what has arrived, without waiting.
    func readAvailable() throws(StorageError) {
        guard unsafe PQconsumeInput(handle) == 1 else { throw lost() }
    }

    /// The next answer of those read: `.some(nil)` ends the answers of one statement of a pipeline, `nil` says that
    /// there is none yet.
    func takeAnswer(sql: String) throws(StorageError) -> ServerAnswer?? {
        guard unsafe PQisBusy(handle) == 0 else { return nil }
        guard let result = unsafe PQgetResult(handle) else { return .some(nil) }
        let answer = unsafe ServerAnswer.take(result, sql: sql)
        if case .fatal = answer { throw lost() }
        return answer
    }

    private func lost() -> StorageError {
        isBroken = true
        return .unavailable("the connection to the server was lost")
    }

    /// Asks the server, over a connection of its own, to stop what this one is doing.
    private func cancel() {
        guard let request = unsafe PQgetCancel(handle) else { return }
        var message = [CChar](repeating: 0, count: 256)
        unsafe PQcancel(request, &message, CInt(message.count))
        unsafe PQfreeCancel(request)
    }

    // MARK: COPY

    /// Sends one buffer, waiting while the server reads more slowly than we write.
    func putCopy(_ bytes: [UInt8], until deadline: ContinuousClock.Instant) throws(StorageError) {
        while true {
            let sent = unsafe bytes.withUnsafeBufferPointer { buffer in
                unsafe buffer.withMemoryRebound(to: CChar.self) {
                    unsafe PQputCopyData(handle, $0.baseAddress, CInt($0.count))
                }
            }
            guard sent >= 0 else { throw lost() }
            if sent == 1 { break }
            try flushSome(until: deadline)
        }
        // One buffer in flight at most: memory stays bounded by the caller's buffer size.
        try flush(until: deadline)
    }

    /// The next piece of a COPY from the server, lent to `body`; false at its end, where `nextAnswer` says how it
    /// ended. Nothing is read while `body` is at work: the server waits.
    func takeCopy(
        until deadline: ContinuousClock.Instant, _ body: (RawSpan) -> Void
    ) throws(StorageError) -> Bool {
        while true {
            var piece: UnsafeMutablePointer<CChar>?
            let count = unsafe PQgetCopyData(handle, &piece, 1)
            if count > 0, let piece = unsafe piece {
                unsafe body(RawSpan(_unsafeStart: piece, byteCount: Int(count)))
                unsafe PQfreemem(piece)
                return true
            }
            switch count {
            case 0:
                switch try wait(for: POLLIN, until: deadline, interruptible: true) {
                case .ready: guard unsafe PQconsumeInput(handle) == 1 else { throw lost() }
                case .deadline: throw .timeout(.statement)
                case .interrupted: throw .cancelled
                }
            // Ended, well or badly.
            case -1, -2: return false
            default: throw lost()
            }
        }
    }

    /// Gives a COPY from the server up, and waits until the connection is free again.
    func abandonCopy(until deadline: ContinuousClock.Instant) throws(StorageError) {
        cancel()
        while true {
            var piece: UnsafeMutablePointer<CChar>?
            let count = unsafe PQgetCopyData(handle, &piece, 1)
            if let piece = unsafe piece { unsafe PQfreemem(piece) }
            if count > 0 { continue }
            guard count == 0 else { break }
            try wait(for: POLLIN, until: deadline, onDeadline: .timeout(.statement), interruptible: false)
            guard unsafe PQconsumeInput(handle) == 1 else { throw lost() }
        }
        while try nextAnswer(sql: "", until: deadline, interruptible: false) != nil {}
    }

    private func flushSome(until deadline: ContinuousClock.Instant) throws(StorageError) {
        try wait(for: POLLIN | POLLOUT, until: deadline, onDeadline: .timeout(.statement), interruptible: true)
        guard unsafe PQconsumeInput(handle) == 1 else { throw lost() }
    }

    /// Ends a COPY; with a reason, the server throws the rows away.
    func endCopy(failure: String?, until deadline: ContinuousClock.Instant) throws(StorageError) {
        while true {
            let result = unsafe PQputCopyEnd(handle, failure)
            guard result >= 0 else { throw lost() }
            if result == 1 { return }
            try flushSome(until: deadline)
        }
    }

    // MARK: Notifications

    /// The next notification that has arrived, without waiting.
    func takeNotification() -> (channel: String, payload: String)? {
        guard let notification = unsafe PQnotifies(handle) else { return nil }
        defer { unsafe PQfreemem(notification) }
        return unsafe (String(cString: notification.pointee.relname), String(cString: notification.pointee.extra))
    }

    /// Sleeps until the server says something. Throws `unavailable` when the connection is gone.
    func waitForInput(until deadline: ContinuousClock.Instant) throws(StorageError) {
        switch try wait(for: POLLIN, until: deadline, interruptible: true) {
        case .interrupted: throw .cancelled
        case .deadline: return
        case .ready: guard unsafe PQconsumeInput(handle) == 1 else { throw lost() }
        }
    }

    // MARK: The one wait

    private enum WakeUp { case ready, deadline, interrupted }

    private func wait(
        for events: CInt, until deadline: ContinuousClock.Instant, onDeadline error: StorageError,
        interruptible: Bool = true
    ) throws(StorageError) {
        switch try wait(for: events, until: deadline, interruptible: interruptible) {
        case .ready: return
        case .deadline:
            isBroken = true
            throw error
        case .interrupted:
            isBroken = true
            throw .cancelled
        }
    }

    private func wait(
        for events: CInt, until deadline: ContinuousClock.Instant, interruptible: Bool
    ) throws(StorageError) -> WakeUp {
        let socket = unsafe PQsocket(handle)
        guard socket >= 0 else { throw lost() }
        var set = (
            pollfd(fd: socket, events: Int16(events), revents: 0),
            pollfd(fd: interruptible ? interrupt.descriptor : -1, events: Int16(POLLIN), revents: 0)
        )
        while true {
            let left = deadline - .now
            guard left > .zero else { return .deadline }
            let count = unsafe withUnsafeMutablePointer(to: &set) { pointer in
                unsafe pointer.withMemoryRebound(to: pollfd.self, capacity: 2) {
                    unsafe poll($0, 2, CInt(clamping: left.milliseconds))
                }
            }
            if count < 0, errno != EINTR { throw lost() }
            if count <= 0 { continue }
            if set.1.revents != 0 { return .interrupted }
            if set.0.revents != 0 { return .ready }
        }
    }
}
