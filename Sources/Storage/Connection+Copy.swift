/// Writes rows of a binary COPY. Lent by `Connection.copyIn`; memory is bounded by one buffer of 64 KiB and one row.
public struct CopyWriter: ~Copyable {
    static let bufferSize = 65_536

    private let link: ServerLink
    private let columns: [String]
    private let types: [PostgresType]
    private let timeout: Duration
    private var buffer = BinaryWriter()
    public private(set) var rowCount = 0

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
            try check(type, count)
            count += 1
        }
        try begin(count: count)
        for value in repeat each values { append(value) }
        try end()
    }

    @usableFromInline
    func check(_ type: PostgresType, _ index: Int) throws(StorageError) {
        guard index < types.count else { throw .encoding(column: "#\(index)", reason: "\(types.count) columns") }
        guard types[index] == type else {
            throw .encoding(column: columns[index], reason: "type \(type.oid) for a column of type \(types[index].oid)")
        }
    }

    @usableFromInline
    mutating func begin(count: Int) throws(StorageError) {
        guard count == types.count else {
            throw .encoding(column: "#\(count)", reason: "\(count) values for \(types.count) columns")
        }
        buffer.append(Int16(count))
    }

    @inlinable
    mutating func append(_ value: some PostgresEncodable) { field(value) }

    @usableFromInline
    mutating func field(_ value: some PostgresEncodable) { buffer.appendField(value) }

    @usableFromInline
    mutating func end() throws(StorageError) {
        rowCount += 1
        if buffer.bytes.count >= Self.bufferSize { try flush() }
    }

    mutating func finish() throws(StorageError) {
        buffer.append(Int16(-1))
        try flush()
    }

    private mutating func flush() throws(StorageError) {
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
        try link.sendScript(sql)
        var isReady = false
        while let answer = try link.nextAnswer(sql: sql, until: deadline, interruptible: true) {
            if case .copyIn = answer {
                isReady = true
                break
            }
            if case .failure(let fault) = answer {
                _ = try? finish(sql, until: deadline)
                throw StorageError(fault)
            }
        }
        guard isReady else { throw StorageError.misuse("COPY did not begin") }
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
        return try finish(sql, until: deadline)?.affectedRowCount ?? 0
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
