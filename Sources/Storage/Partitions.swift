public import MarketData

/// Monthly range partitions (UTC) of time-series tables: `bars` has `bars_p2026_03` for March 2026.
extension Connection {
    /// Makes the monthly partitions of `table` that cover `from ..< to` (at least the month of `from`) where they are
    /// missing; returns how many were made. Idempotent, and safe when several processes do it at once.
    ///
    /// Throws `encoding` for more than 1200 months, or years outside 1 … 9999.
    @discardableResult
    public func ensurePartitions(_ table: String, from: Timestamp, to: Timestamp) throws(StorageError) -> Int {
        var wanted: [(name: Identifier, month: Month)] = []
        var month = Month(containing: from)
        repeat {
            guard wanted.count < 1200, (1...9998).contains(month.year) else {
                throw .encoding(column: table, reason: "months outside of what can be partitioned")
            }
            wanted.append((try Identifier("\(table)_p\(month.label)"), month))
            month = month.next
        } while month.start < to
        guard !wanted.allSatisfy({ knownPartitions.contains($0.name.name) }) else { return 0 }
        let known = Set(try partitions(of: table))
        defer { if knownPartitions.count > 4096 { knownPartitions = [] } }
        let missing = wanted.filter { !known.contains($0.name.name) }
        guard !missing.isEmpty else {
            knownPartitions.formUnion(wanted.map(\.name.name))
            return 0
        }
        // A function of the schema's owner makes them: a service's role need not have the right to.
        return try inTransaction { () throws(StorageError) in
            var made = 0
            for (_, month) in missing {
                let isNew = try queryOne(
                    "SELECT ensure_partition($1, $2, $3)",
                    [table, Int32(clamping: month.year), Int32(clamping: month.number)]
                ) { (row) throws(StorageError) in try row.get(0, as: Bool.self) }
                if isNew { made += 1 }
            }
            return made
        }
    }

    /// Drops the partitions of `table` whose whole month is before `limit`: retention. Returns their names.
    @discardableResult
    public func dropPartitions(_ table: String, before limit: Timestamp) throws(StorageError) -> [String] {
        let parent = try Identifier(table)
        return try locked("partitions of \(table)") { () throws(StorageError) in
            var dropped: [String] = []
            knownPartitions = []
            for name in try partitions(of: table) {
                guard let month = Month(label: name.dropFirst(table.count + 2)), month.next.start <= limit else {
                    continue
                }
                let partition = try Identifier(name)
                try script("ALTER TABLE \(parent) DETACH PARTITION \(partition); DROP TABLE \(partition)")
                dropped.append(name)
            }
            return dropped
        }
    }

    /// Makes the partitions that hold these instants; free of cost once they are known.
    func ensurePartitions(_ table: String, covering instants: some Sequence<Timestamp>) throws(StorageError) {
        var first: Timestamp?
        var last: Timestamp?
        for instant in instants {
            first = min(first ?? instant, instant)
            last = max(last ?? instant, instant)
        }
        guard let first, let last else { return }
        try ensurePartitions(table, from: first, to: last + .init(microseconds: 1))
    }

    /// The names of a table's partitions, in order.
    public func partitions(of table: String) throws(StorageError) -> [String] {
        try query(
            """
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = to_regclass($1) ORDER BY 1
            """, [try Identifier(table).description]
        ) { (row) throws(StorageError) in try row.get(0) }
    }

    /// Runs `body` while this database's lock of that name is ours, in the open transaction or in one of its own.
    func locked<R>(_ name: String, _ body: () throws(StorageError) -> R) throws(StorageError) -> R {
        try inTransaction { () throws(StorageError) in
            try execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [name])
            return try body()
        }
    }
}

/// A calendar month in UTC.
struct Month: Equatable {
    var year: Int64
    /// 1 … 12.
    var number: Int64

    init(containing instant: Timestamp) {
        let text = instant.description.split(separator: "T")[0]
        let fields = text.split(separator: "-", omittingEmptySubsequences: true)
        year = Int64(fields[0]) ?? 0
        number = Int64(fields[1]) ?? 1
    }

    /// Reads `2026_03`.
    init?(label: some StringProtocol) {
        let fields = label.split(separator: "_")
        guard fields.count == 2, let year = Int64(fields[0]), let number = Int64(fields[1]), (1...12).contains(number)
        else { return nil }
        self.year = year
        self.number = number
    }

    var label: String { Self.pad(year, 4) + "_" + Self.pad(number, 2) }
    var next: Month {
        var month = self
        month.number += 1
        if month.number > 12 {
            month.number = 1
            month.year += 1
        }
        return month
    }
    /// Its first instant.
    var start: Timestamp { Timestamp("\(Self.pad(year, 4))-\(Self.pad(number, 2))-01") ?? Timestamp(seconds: 0) }

    private static func pad(_ number: Int64, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}
