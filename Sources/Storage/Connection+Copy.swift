internal import MarketData

/// Writes rows of a binary COPY. Lent by `Connection.copyIn`; memory is bounded by one buffer of 64 KiB and one row.
public struct CopyWriter: ~Copyable {
    @inlinable static var bufferSize: Int { 65_536 }

    private let link: ServerLink
    private let columns: [String]
    @usableFromInline
    let types: [PostgresType]
    private let timeout: Duration
    @usableFromInline
    var buffer = BinaryWriter()
    @usableFromInline
    var rows = 0
    public var rowCount: Int { rows }

    init(link: ServerLink, columns: [String], types: [PostgresType], timeout: Duration) {
        self.link = link
        self.columns = columns
        self.types = types
        self.timeout = timeout
        buffer.reserve(Self.bufferSize + 4096)
        // Signature, flags, length of the header's extension.
        buffer.append(contentsOf: Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00])
        buffer.append(Int32(0))
        buffer.append(Int32(0))
    }

    /// Adds one row: a value a column, in the order of the columns that were named, each of exactly the column's type
    /// (COPY converts nothing). Throws `encoding` for a value of another type.
    @inlinable
    public mutating func row<each V: PostgresEncodable>(_ values: repeat each V) throws(StorageError) {
        var count = 0
        for type in repeat (each V).postgresType {
            guard count < types.count, types[count] == type else { throw misfit(type, count) }
            count += 1
        }
        guard count == types.count else { throw misfit(nil, count) }
        buffer.append(Int16(truncatingIfNeeded: count))
        for value in repeat each values { buffer.appendField(value) }
        rows += 1
        if buffer.bytes.count >= Self.bufferSize { try flush() }
    }

    /// Why a row does not fit; `nil` where it ended before its columns did.
    @usableFromInline
    func misfit(_ type: PostgresType?, _ index: Int) -> StorageError {
        guard let type, index < types.count else {
            return .encoding(column: "#\(index)", reason: "another number of values than \(types.count) columns")
        }
        return .encoding(
            column: columns[index], reason: "type \(type.oid) for a column of type \(types[index].oid)")
    }

    mutating func finish() throws(StorageError) {
        buffer.append(Int16(-1))
        try flush()
    }

    @usableFromInline
    mutating func flush() throws(StorageError) {
        try link.putCopy(buffer.bytes, until: .now + timeout)
        buffer.removeAllBytes()
    }
}

extension Connection {
    /// Loads rows by binary COPY, the fastest way in: all of them, or none if `body` or the server fails. A row whose
    /// key exists fails the whole (`constraintViolation`): use `upsert` methods where rows may be there already.
    /// Returns the number of rows.
    @discardableResult
    public func copyIn(
        _ table: String, columns: [String], _ body: (inout CopyWriter) throws -> Void
    ) throws -> Int {
        let link = try usableLink()
        let target = try Self.quotedList(table, columns)
        let types = try columnTypes(target.table, target.columns)
        let sql = "COPY \(target.table) (\(target.columns)) FROM STDIN (FORMAT binary)"
        let wasInTransaction = link.isInTransaction
        try begin(sql, link)
        let isAlone = !wasInTransaction
        var writer = CopyWriter(link: link, columns: columns, types: types, timeout: configuration.statementTimeout)
        isCopying = true
        defer { isCopying = false }
        do {
            try body(&writer)
            try writer.finish()
        } catch {
            // The caller's error counts; the server throws away what it got. If that fails, the connection goes.
            do {
                guard !link.isBroken else { throw error }
                try link.endCopy(failure: "given up by the client", until: .now + .seconds(5))
                while try link.nextAnswer(sql: sql, until: .now + .seconds(5), interruptible: false) != nil {}
            } catch { link.markBroken() }
            throw error
        }
        try link.endCopy(failure: nil, until: deadline)
        do throws(StorageError) {
            return try finish(sql, until: deadline)?.affectedRowCount ?? 0
        } catch {
            throw isAlone ? link.unknownIfLost(error) : error
        }
    }

    /// Reads all rows of a table's columns, or those whose `range.column` is in `range.from ..< range.to`, by binary
    /// COPY: the fastest way out. Rows come in no order; each is lent to `body`. Nothing is buffered beyond what the
    /// socket holds: while `body` is at work the server waits. Returns the number of rows.
    ///
    /// An error of `body` or of the server leaves the connection usable. Throws `decoding` for bytes that are no COPY.
    @discardableResult
    public func copyOut(
        _ table: String, columns: [String], range: CopyRange? = nil, _ body: (CopyRow) throws -> Void
    ) throws -> Int {
        let link = try usableLink()
        let target = try Self.quotedList(table, columns)
        let types = try columnTypes(target.table, target.columns)
        var select = "SELECT \(target.columns) FROM \(target.table)"
        if let range {
            // COPY takes no parameters: the limits are texts of our own making.
            let column = try Identifier(range.column)
            select += " WHERE \(column) >= \(Identifier.literal(range.from.description))::timestamptz"
                + " AND \(column) < \(Identifier.literal(range.to.description))::timestamptz"
        }
        let sql = "COPY (\(select)) TO STDOUT (FORMAT binary)"
        try begin(sql, link)
        isCopying = true
        defer { isCopying = false }
        var decoder = CopyDecoder(columns: columns, types: types)
        var count = 0
        do {
            while try link.takeCopy(until: deadline, { decoder.append($0) }) {
                while let row = try decoder.next() {
                    count += 1
                    try body(row)
                }
            }
        } catch {
            do {
                guard !link.isBroken else { throw error }
                try link.abandonCopy(until: .now + .seconds(5))
            } catch { link.markBroken() }
            throw error
        }
        try finish(sql, until: deadline)
        try decoder.finish()
        return count
    }

    /// Sends a COPY and waits until it has begun.
    private func begin(_ sql: String, _ link: ServerLink) throws(StorageError) {
        try link.sendScript(sql)
        while let answer = try link.nextAnswer(sql: sql, until: deadline, interruptible: true) {
            switch answer {
            case .copyIn, .copyOut: return
            case .failure(let fault):
                while try link.nextAnswer(sql: sql, until: deadline, interruptible: false) != nil {}
                throw StorageError(fault)
            default: break
            }
        }
        throw .misuse("COPY did not begin")
    }

    /// The types of a table's columns, asked for once a connection: binary COPY reads bytes as whatever the column is.
    private func columnTypes(_ table: String, _ columns: String) throws(StorageError) -> [PostgresType] {
        let key = "\(table) (\(columns))"
        if let known = copyTypes[key] { return known }
        let types = try run("SELECT \(columns) FROM \(table) LIMIT 0", []).columnTypes
        copyTypes[key] = types
        return types
    }

    private static func quotedList(
        _ table: String, _ columns: [String]
    ) throws(StorageError) -> (table: String, columns: String) {
        guard !columns.isEmpty else { throw .encoding(column: "identifier", reason: "no columns") }
        var quoted: [String] = []
        for column in columns { quoted.append(try Identifier(column).description) }
        return (try Identifier(table).description, quoted.joined(separator: ", "))
    }
}
