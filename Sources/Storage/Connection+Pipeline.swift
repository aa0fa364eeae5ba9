/// Many statements for one round trip, in libpq's pipeline mode.
extension Connection {
    /// Runs one statement for many rows of parameters, in pipeline mode: it is sent again and again without waiting for
    /// the answers. All of them or none, in the open transaction or in one of its own. Returns how many rows were
    /// changed in all.
    ///
    /// Every row has values of the same types. A fault's `statementIndex` says which row the server refused.
    /// For rows of scalars, one INSERT over `unnest` of arrays is faster still.
    @discardableResult
    public func executeBatch(_ sql: String, _ rows: [[any PostgresEncodable]]) throws(StorageError) -> Int {
        guard let first = rows.first else { return 0 }
        scratch.removeAll()
        for value in first { scratch.addParameter(value) }
        let types = scratch.types
        var changed = 0
        try pipelined(rows.count, distinct: [(sql, types)]) { index in
            (sql, types, rows[index])
        } answered: {
            changed += $1
        }
        return changed
    }

    /// Runs statements one after the other in pipeline mode: one round trip for all of them. All or none, in the open
    /// transaction or in one of its own. Returns how many rows each has changed; rows that they return are dropped.
    ///
    /// An error of the server's says in `fault.statementIndex` which statement it was; those behind it have not run.
    @discardableResult
    public func execute(_ batch: [Statement]) throws(StorageError) -> [Int] {
        guard !batch.isEmpty else { return [] }
        var types: [[UInt32]] = []
        var distinct: [(String, [UInt32])] = []
        for statement in batch {
            types.append(statement.parameters.map { type(of: $0).postgresType.oid })
            let isKnown = distinct.contains { $0.0 == statement.sql && $0.1 == types[types.count - 1] }
            if !isKnown { distinct.append((statement.sql, types[types.count - 1])) }
        }
        guard distinct.count <= configuration.maximumPreparedStatements else {
            throw .misuse("a batch of more different statements than a connection keeps")
        }
        var counts: [Int] = []
        try pipelined(batch.count, distinct: distinct) { index in
            (batch[index].sql, types[index], batch[index].parameters)
        } answered: {
            counts.append($1)
        }
        return counts
    }

    /// How many statements of a pipeline are sent between two looks at what has come back.
    private static let pipelineStride = 32

    private typealias Piece = (sql: String, types: [UInt32], parameters: [any PostgresEncodable])

    private func pipelined(
        _ count: Int, distinct: [(String, [UInt32])], _ piece: (Int) -> Piece, answered: (Int, Int) -> Void
    ) throws(StorageError) {
        let link = try usableLink()
        do throws(StorageError) {
            try pipelineOnce(count, distinct, link, piece, answered)
        } catch {
            guard ["0A000", "26000"].contains(error.sqlState ?? ""), !link.isInTransaction else { throw error }
            for (sql, types) in distinct { statements.forget(sql: sql, types: types) }
            try pipelineOnce(count, distinct, link, piece, answered)
        }
    }

    private func pipelineOnce(
        _ count: Int, _ distinct: [(String, [UInt32])], _ link: ServerLink, _ piece: (Int) -> Piece,
        _ answered: (Int, Int) -> Void
    ) throws(StorageError) {
        for (sql, types) in distinct { _ = try prepared(sql, types: types, link, until: deadline) }
        // Outside of a transaction, all that stands before the synchronisation point is one of its own.
        let isAlone = !link.isInTransaction
        var progress = PipelineProgress()
        var misfit: StorageError?
        try link.enterPipeline()
        for index in 0..<count {
            let (sql, types, parameters) = piece(index)
            scratch.removeAll()
            for parameter in parameters { scratch.addParameter(parameter) }
            guard scratch.types == types, let name = statements.name(sql: sql, types: types) else {
                misfit = .encoding(column: "batch", reason: "rows of different types")
                break
            }
            try link.sendExecute(name: name, scratch)
            guard index % Self.pipelineStride == Self.pipelineStride - 1 else { continue }
            try link.flush(until: deadline)
            try link.readAvailable()
            // Where nothing is outstanding libpq says "the end" again and again.
            while progress.answeredCount <= index, let answer = try link.takeAnswer(sql: sql) {
                progress.take(answer, answered)
            }
            if progress.fault != nil { break }
        }
        if misfit != nil {
            // Nothing of it may stay: a statement that fails ends the transaction.
            try link.sendFailure()
        }
        try link.sendSynchronisation()
        do throws(StorageError) {
            while !progress.isSynchronised {
                progress.take(
                    try link.nextAnswer(sql: piece(0).sql, until: deadline, interruptible: true), answered)
            }
            try link.exitPipeline()
        } catch {
            // A failed statement has stored nothing; at the commit, or without a word, nobody knows.
            let isUndecided = progress.fault == nil || progress.answeredCount >= count
            throw isAlone && isUndecided ? link.unknownIfLost(error) : error
        }
        if let misfit { throw misfit }
        if let fault = progress.fault { throw error(fault, deadline: leaseDeadline ?? .now + .seconds(1)) }
    }
}
