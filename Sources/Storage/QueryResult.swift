internal import CLibPQ

/// The rows of one statement. Owns a `PGresult`, which is never changed after libpq has handed it over: that is why
/// it may cross threads. The pointer never leaves this file.
@safe final class QueryResult: @unchecked Sendable {
    private let handle: OpaquePointer
    let rowCount: Int
    let columnCount: Int

    init(adopting result: OpaquePointer) {
        unsafe handle = result
        rowCount = unsafe Int(PQntuples(result))
        columnCount = unsafe Int(PQnfields(result))
    }

    deinit { unsafe PQclear(handle) }

    /// Rows that the statement inserted, updated, deleted or copied; 0 for statements that count none.
    var affectedRowCount: Int {
        guard let text = unsafe PQcmdTuples(handle) else { return 0 }
        return unsafe Int(String(cString: text)) ?? 0
    }

    /// What the server says it did: `INSERT 0 3`, `COMMIT`.
    var commandTag: String { unsafe PQcmdStatus(handle).map { unsafe String(cString: $0) } ?? "" }

    /// Lends the bytes of one cell to `body`: they can't outlive the call. `nil` is SQL NULL. Indices are in range:
    /// `Row` has checked them.
    func withCell<R, E: Error>(row: Int, column: Int, _ body: (RawSpan?) throws(E) -> R) throws(E) -> R {
        let (row, column) = (CInt(row), CInt(column))
        guard unsafe PQgetisnull(handle, row, column) == 0, let bytes = unsafe PQgetvalue(handle, row, column) else {
            return try body(nil)
        }
        let count = unsafe Int(PQgetlength(handle, row, column))
        return try unsafe body(RawSpan(_unsafeStart: bytes, byteCount: count))
    }

    func type(of column: Int) -> PostgresType { unsafe PostgresType(oid: PQftype(handle, CInt(column))) }
    var columnTypes: [PostgresType] { (0..<columnCount).map { type(of: $0) } }

    func name(of column: Int) -> String {
        unsafe PQfname(handle, CInt(column)).map { unsafe String(cString: $0) } ?? "#\(column)"
    }
    func index(of column: String) -> Int? { (0..<columnCount).first { name(of: $0) == column } }
}

/// What a `PGresult` means, and its conversion to our errors: the one place that knows libpq's codes.
enum ServerAnswer {
    case rows(QueryResult)
    case copyIn
    case copyOut
    case empty
    /// A pipeline's synchronisation point has been reached.
    case synchronised
    /// A statement of a pipeline that was not run, because one before it failed.
    case aborted
    case failure(ServerFault)
    /// The connection is gone.
    case fatal(String)

    static func take(_ result: OpaquePointer, sql: String) -> ServerAnswer {
        switch unsafe PQresultStatus(result) {
        case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_SINGLE_TUPLE:
            return unsafe .rows(QueryResult(adopting: result))
        case PGRES_COPY_IN:
            unsafe PQclear(result)
            return .copyIn
        case PGRES_COPY_OUT:
            unsafe PQclear(result)
            return .copyOut
        case PGRES_EMPTY_QUERY:
            unsafe PQclear(result)
            return .empty
        case PGRES_PIPELINE_SYNC:
            unsafe PQclear(result)
            return .synchronised
        case PGRES_PIPELINE_ABORTED:
            unsafe PQclear(result)
            return .aborted
        default:
            defer { unsafe PQclear(result) }
            func field(_ code: Character) -> String? {
                guard let ascii = code.asciiValue, let text = unsafe PQresultErrorField(result, CInt(ascii)) else {
                    return nil
                }
                return unsafe String(cString: text)
            }
            // Without a code the error is libpq's own: the connection broke. PG_DIAG_* are these letters.
            guard let state = field("C") else {
                return .fatal("the connection to the server was lost")
            }
            return .failure(
                ServerFault(
                    sqlState: state, message: field("M") ?? "", detail: field("D"), constraint: field("n"),
                    column: field("c"), table: field("t"), sql: sql))
        }
    }
}
