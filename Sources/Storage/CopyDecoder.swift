public import MarketData

/// Rows of `copyOut` by a time column: `from ..< to`.
public struct CopyRange: Sendable {
    public var column: String
    public var from: Timestamp
    public var to: Timestamp

    public init(column: String, from: Timestamp, to: Timestamp) {
        self.column = column
        self.from = from
        self.to = to
    }
}

/// One row of `Connection.copyOut`. Columns are read by position.
public struct CopyRow {
    fileprivate let bytes: [UInt8]
    fileprivate let fields: [Range<Int>?]
    fileprivate let columns: [String]
    fileprivate let types: [PostgresType]

    public var columnCount: Int { fields.count }

    /// The value of a column. Throws `decoding` for NULL where `T` is not optional, for a column of another type, and
    /// for a position that the row has not.
    public func get<T: PostgresDecodable>(_ column: Int, as type: T.Type = T.self) throws(StorageError) -> T {
        guard fields.indices.contains(column) else {
            throw .decoding(column: "#\(column)", reason: "the row has \(columnCount) columns")
        }
        guard T.canDecode(types[column]) else {
            throw .decoding(column: columns[column], reason: "type \(types[column].oid) can't be read as \(T.self)")
        }
        guard let range = fields[column] else {
            guard let null = T.valueOfNull else { throw .decoding(column: columns[column], reason: "NULL") }
            return null
        }
        guard let value = unsafe T(binary: bytes.span.bytes.extracting(range), type: types[column]) else {
            throw .decoding(column: columns[column], reason: "not a value of \(T.self)")
        }
        return value
    }
}

/// Takes a binary COPY apart as it comes, in pieces of any size: a pure machine, fit for bytes of any kind. Holds one
/// piece and one row at most.
package struct CopyDecoder {
    private enum State {
        /// Before the first row: signature, flags, and an extension that is skipped.
        case header
        case rows
        /// After the end marker; nothing may follow.
        case ended
    }

    /// No row of PostgreSQL's is larger; a length above it is no length.
    private static let maximumRowByteCount = 1 << 30

    private static let signature: [UInt8] = Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00]

    let columns: [String]
    let types: [PostgresType]
    private var bytes: [UInt8] = []
    private var offset = 0
    private var fields: [Range<Int>?] = []
    private var state = State.header

    package init(columns: [String], types: [PostgresType]) {
        self.columns = columns
        self.types = types
    }

    /// Takes the next piece; all rows that were complete have been asked for.
    package mutating func append(_ piece: RawSpan) {
        if offset == bytes.count { bytes.removeAll(keepingCapacity: true) } else { bytes.removeSubrange(..<offset) }
        offset = 0
        unsafe piece.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
    }

    /// The next row, or `nil` when more bytes are needed for it.
    package mutating func next() throws(StorageError) -> CopyRow? {
        if state == .header, try !readHeader() { return nil }
        guard state == .rows else {
            guard offset == bytes.count else { throw Self.damaged("bytes behind the end") }
            return nil
        }
        var cursor = offset
        guard let count = integer(Int16.self, at: &cursor) else { return nil }
        if count == -1 {
            offset = cursor
            state = .ended
            guard offset == bytes.count else { throw Self.damaged("bytes behind the end") }
            return nil
        }
        guard Int(count) == types.count else { throw Self.damaged("\(count) columns instead of \(types.count)") }
        fields.removeAll(keepingCapacity: true)
        for _ in 0..<Int(count) {
            guard let length = integer(Int32.self, at: &cursor) else { return nil }
            guard length >= -1, Int(length) <= Self.maximumRowByteCount - (cursor - offset) else {
                throw Self.damaged("a field of \(length) bytes")
            }
            guard length >= 0 else {
                fields.append(nil)
                continue
            }
            guard bytes.count - cursor >= Int(length) else { return nil }
            fields.append(cursor..<cursor + Int(length))
            cursor += Int(length)
        }
        offset = cursor
        return CopyRow(bytes: bytes, fields: fields, columns: columns, types: types)
    }

    /// Throws unless the end marker has come.
    package func finish() throws(StorageError) {
        guard state == .ended else { throw Self.damaged("no end") }
    }

    private mutating func readHeader() throws(StorageError) -> Bool {
        var cursor = offset
        let start = bytes[cursor...].prefix(Self.signature.count)
        guard Self.signature.starts(with: start) else { throw Self.damaged("no signature") }
        cursor += start.count
        guard start.count == Self.signature.count, let flags = integer(UInt32.self, at: &cursor),
            let extensionLength = integer(Int32.self, at: &cursor)
        else { return false }
        // The upper half are flags that change how rows are read, of which PostgreSQL 12 and later has none.
        guard flags >> 16 == 0 else { throw Self.damaged("unknown flags") }
        guard (0...65_536).contains(extensionLength) else { throw Self.damaged("a header of \(extensionLength) bytes") }
        guard bytes.count - cursor >= Int(extensionLength) else { return false }
        offset = cursor + Int(extensionLength)
        state = .rows
        return true
    }

    private func integer<I: FixedWidthInteger & BitwiseCopyable>(_ type: I.Type, at cursor: inout Int) -> I? {
        let width = MemoryLayout<I>.size
        guard bytes.count - cursor >= width else { return nil }
        defer { cursor += width }
        return unsafe I(bigEndian: bytes.span.bytes.unsafeLoadUnaligned(fromByteOffset: cursor, as: I.self))
    }

    private static func damaged(_ reason: String) -> StorageError { .decoding(column: "COPY", reason: reason) }
}
