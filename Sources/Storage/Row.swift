/// One row of a result, valid as long as it is held. Columns are read by position (fast) or by name.
public struct Row: Sendable {
    let result: QueryResult
    let index: Int

    public var columnCount: Int { result.columnCount }

    /// The value of a column. Throws `decoding` for NULL where `T` is not optional, for a column of another type, and
    /// for a position or name that the result has not.
    public func get<T: PostgresDecodable>(_ column: Int, as type: T.Type = T.self) throws(StorageError) -> T {
        guard column >= 0, column < result.columnCount else {
            throw .decoding(column: "#\(column)", reason: "the result has \(columnCount) columns")
        }
        let columnType = result.type(of: column)
        guard T.canDecode(columnType) else {
            throw .decoding(
                column: result.name(of: column), reason: "type \(columnType.oid) can't be read as \(T.self)")
        }
        return try result.withCell(row: index, column: column) { (cell) throws(StorageError) in
            guard let cell else {
                guard let null = T.valueOfNull else {
                    throw .decoding(column: result.name(of: column), reason: "NULL")
                }
                return null
            }
            guard let value = T(binary: cell, type: columnType) else {
                throw .decoding(column: result.name(of: column), reason: "not a value of \(T.self)")
            }
            return value
        }
    }

    public func get<T: PostgresDecodable>(_ column: String, as type: T.Type = T.self) throws(StorageError) -> T {
        guard let index = result.index(of: column) else {
            throw .decoding(column: column, reason: "no such column in the result")
        }
        return try get(index)
    }

    /// Lends the raw bytes of a column, for conversions in bulk; `nil` is NULL.
    func withBytes<R>(_ column: Int, _ body: (RawSpan?) throws(StorageError) -> R) throws(StorageError) -> R {
        try result.withCell(row: index, column: column, body)
    }
}

extension QueryResult {
    func all<T>(_ decode: (Row) throws(StorageError) -> T) throws(StorageError) -> [T] {
        var values: [T] = []
        values.reserveCapacity(rowCount)
        for index in 0..<rowCount { values.append(try decode(Row(result: self, index: index))) }
        return values
    }

    func optional<T>(_ decode: (Row) throws(StorageError) -> T) throws(StorageError) -> T? {
        guard rowCount <= 1 else { throw .unexpectedRowCount(rowCount) }
        return rowCount == 0 ? nil : try decode(Row(result: self, index: 0))
    }

    func one<T>(_ decode: (Row) throws(StorageError) -> T) throws(StorageError) -> T {
        guard rowCount == 1 else { throw .unexpectedRowCount(rowCount) }
        return try decode(Row(result: self, index: 0))
    }
}
