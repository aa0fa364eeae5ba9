/// Everything that can go wrong between a correct program and its database.
///
/// `description` is fit for any log: it never holds SQL, keys, values or passwords. `debugDescription` does.
public enum StorageError: Error, Sendable, Equatable {
    /// The URL or a setting can't be used. Wrong whatever the server's state: fix the configuration.
    case invalidConfiguration(String)
    /// The server answered and refused us: unknown database or role, wrong password. Fix the configuration.
    case rejected(sqlState: String, message: String)
    /// The URL demands an encrypted or verified connection, and the server does not offer TLS or shows a certificate
    /// that is not trusted. Fix the configuration, or find out who answers there.
    case insecure(String)
    /// The server has no connection left for us (53300). Retried by the pool for as long as a caller may wait.
    case tooManyConnections
    /// No server could be reached, or it went away before the work was committed. Retry later (`pool.retrying`).
    case unavailable(String)
    /// The connection broke before the answer to a COMMIT, or to a statement outside of a transaction: the work is
    /// either entirely stored or not at all. Repeat it if it is idempotent, as every write of this project is.
    case outcomeUnknown(String)
    /// A deadline passed. `acquire`: all connections stayed busy; `statement`: the server or the network was too slow.
    case timeout(Deadline)
    /// More callers are waiting for a connection than the pool's `maximumWaiters`. Slow down.
    case tooManyWaiters(limit: Int)
    /// The calling task was cancelled; its statement was cancelled on the server and its transaction rolled back.
    case cancelled
    /// The pool was closed.
    case closed
    /// A unique, foreign key, check, exclusion or not-null constraint refused a row. `constraint` is its name, or the
    /// column's for not-null.
    case constraintViolation(constraint: String, fault: ServerFault)
    /// Concurrent transactions kept colliding (40001, 40P01) for all the tries that were allowed.
    case serializationFailure(tries: Int)
    /// This role has no right to do that: a service does more than its role allows, or the schema is out of date and
    /// its owner has to migrate it.
    case notPermitted(ServerFault)
    /// The server's disk is full, or a limit of temporary files is reached (53100, 53400): make room, then retry.
    case diskFull(ServerFault)
    /// A table, column or function does not exist: migrations have not run, or the binary is newer than the schema.
    case undefinedObject(ServerFault)
    /// Any other error the server reported.
    case server(ServerFault)
    /// A value can't be read as the type that was asked for, or is NULL where none is allowed.
    case decoding(column: String, reason: String)
    /// A value can't be written to the column that it was given for, or an identifier can't be one.
    case encoding(column: String, reason: String)
    /// A query that must return one row returned another number.
    case unexpectedRowCount(Int)
    /// A call that the connection's state forbids: a nested transaction, a statement while copying.
    case misuse(String)
    /// An applied migration differs from the one in this binary: its file was edited after it was merged.
    case migrationChanged(number: Int, name: String)
    /// The database has a migration that this binary does not know: the binary is older than the schema.
    case schemaNewer(number: Int, name: String)
    /// The embedded migration files are not numbered 0001, 0002, … without gaps.
    case badMigrationFiles(String)
    /// The lease that a write was made under is not ours any more: someone else owns the job. Stop working on it.
    case fenced(String)
    /// Events were to be appended behind a hole: the stream's next sequence is `expected`.
    case sequenceGap(expected: Int64, got: Int64)
    /// Something is stored under this key already, with other content, and may not change.
    case conflict(String)
    /// No PostgreSQL server programs were found in these places. Install them, or give a database URL.
    case missingServer(searched: [String])
    /// The private cluster could not be prepared, started or stopped.
    case cluster(String)
    /// The C library could not allocate.
    case outOfMemory

    public enum Deadline: Sendable, Equatable { case acquire, statement }

    /// Whether the same call can succeed later without anybody's doing: the server is away, or busy.
    public var isRetryable: Bool {
        switch self {
        case .unavailable, .outcomeUnknown, .serializationFailure, .tooManyConnections: true
        default: false
        }
    }

    /// The server's five-character code, where it gave one.
    public var sqlState: String? {
        switch self {
        case .constraintViolation(_, let fault), .undefinedObject(let fault), .notPermitted(let fault),
            .diskFull(let fault), .server(let fault):
            fault.sqlState
        case .tooManyConnections: "53300"
        case .rejected(let sqlState, _): sqlState
        default: nil
        }
    }
}

/// What the server said about a failed statement. Texts can hold values of rows: they belong in no log.
public struct ServerFault: Sendable, Equatable {
    /// Five characters; PostgreSQL manual, appendix A.
    public var sqlState: String
    public var message: String
    public var detail: String?
    public var constraint: String?
    public var column: String?
    public var table: String?
    /// The statement that failed; empty where it is not known.
    public var sql: String
    /// Its place in the batch that was sent, from 0; as many as there are statements where the commit failed. `nil`
    /// where it was sent alone.
    public var statementIndex: Int?
}

extension StorageError {
    /// The case that a server's report belongs to.
    init(_ fault: ServerFault, timedOut: Bool = false) {
        switch fault.sqlState {
        case "40001", "40P01": self = .serializationFailure(tries: 1)
        case "57014": self = timedOut || fault.isStatementTimeout ? .timeout(.statement) : .cancelled
        case "53300": self = .tooManyConnections
        case "53100", "53400": self = .diskFull(fault)
        case "42501": self = .notPermitted(fault)
        case "57P01", "57P02", "57P03": self = .unavailable("server answered \(fault.sqlState)")
        case "42P01", "42703", "42883", "42704", "3F000": self = .undefinedObject(fault)
        case "23502": self = .constraintViolation(constraint: fault.column ?? "", fault: fault)
        case let state where state.hasPrefix("23"):
            self = .constraintViolation(constraint: fault.constraint ?? "", fault: fault)
        case let state where state.hasPrefix("08"): self = .unavailable("server answered \(state)")
        default: self = .server(fault)
        }
    }
}

extension ServerFault {
    /// 57014 is both a cancel request and `statement_timeout`; a pool connection tells them apart by whether it asked.
    fileprivate var isStatementTimeout: Bool { !message.contains("user request") }
}

extension StorageError: CustomStringConvertible, CustomDebugStringConvertible {
    public var description: String {
        switch self {
        case .invalidConfiguration(let reason): "invalid storage configuration: \(reason)"
        case .rejected(let state, _):
            switch state {
            case "3D000": "the server has no such database (3D000)"
            case "28P01", "28000": "the server refused this role or password (\(state))"
            default: "the server refused the connection (\(state))"
            }
        case .insecure(let reason): "no trusted connection to the database: \(reason)"
        case .tooManyConnections: "the server has no connection left (53300)"
        case .unavailable(let reason): "database unavailable: \(reason)"
        case .outcomeUnknown(let reason): "connection lost before the answer, outcome unknown: \(reason)"
        case .timeout(.acquire): "no database connection became free in time"
        case .timeout(.statement): "statement ran out of time"
        case .tooManyWaiters(let limit): "more than \(limit) callers wait for a database connection"
        case .cancelled: "cancelled"
        case .closed: "connection pool is closed"
        case .constraintViolation(let name, let fault): "constraint \(name) violated (\(fault.sqlState))"
        case .serializationFailure(let tries): "transaction collided with others, \(tries) tries"
        case .notPermitted(let fault): "this database role may not do that (\(fault.sqlState))"
        case .diskFull(let fault): "the database server's disk is full (\(fault.sqlState))"
        case .undefinedObject(let fault): "no such table, column or function (\(fault.sqlState))"
        case .server(let fault): "database error \(fault.sqlState)"
        case .decoding(let column, let reason): "column \(column): \(reason)"
        case .encoding(let column, let reason): "value for \(column): \(reason)"
        case .unexpectedRowCount(let count): "one row expected, \(count) came"
        case .misuse(let rule): "misuse: \(rule)"
        case .migrationChanged(let number, let name): "migration \(number) (\(name)) was edited after it was applied"
        case .schemaNewer(let number, let name): "schema has migration \(number) (\(name)), which this binary lacks"
        case .badMigrationFiles(let reason): "migration files: \(reason)"
        case .fenced(let what): "\(what) is leased by someone else"
        case .sequenceGap(let expected, let got): "sequence \(got) where \(expected) comes next"
        case .conflict(let what): "\(what) is stored already, with other content"
        case .missingServer(let searched):
            "no PostgreSQL server programs in \(searched.joined(separator: ", ")): install postgresql or give a URL"
        case .cluster(let reason): "private PostgreSQL: \(reason)"
        case .outOfMemory: "out of memory"
        }
    }

    public var debugDescription: String {
        switch self {
        case .constraintViolation(_, let fault), .undefinedObject(let fault), .notPermitted(let fault),
            .diskFull(let fault), .server(let fault):
            [description, fault.message, fault.detail, fault.sql.isEmpty ? nil : "in: " + fault.sql]
                .compactMap(\.self).joined(separator: "; ")
        case .rejected(_, let message): "\(description): \(message)"
        default: description
        }
    }
}
