internal import Features
internal import MarketData
internal import RPC
internal import ServiceKit
internal import Storage
internal import VommaProto

/// The RPC face of feature-service.
struct FeatureServer: FeatureService {
    let pool: ConnectionPool
    let tails: StreamTails<FeatureRepository.Vector>
    let schema: FeatureSchema
    let consumer: String

    /// Rows read from the database at once.
    private static let page = 1000

    func describeSchema(
        _ request: DescribeSchemaRequest, context: CallContext
    ) async throws -> DescribeSchemaResponse {
        DescribeSchemaResponse(
            schemaVersion: schema.version, names: schema.names, window: Int32(StateBuffer.defaultWindow),
            columns: schema.definitions.map { column in
                FeatureColumn(
                    name: column.name, formula: column.formula, unit: column.unit, warmUp: Int32(column.warmUp),
                    lowerBound: column.bounds?.lowerBound, upperBound: column.bounds?.upperBound,
                    isLevel: column.isLevel)
            })
    }

    func compute(
        _ request: ComputeRequest, responses: ResponseWriter<ComputeProgress>, context: CallContext
    ) async throws {
        let stream = try await requireStream(request.stream)
        let last = UInt64(stream.lastSequence ?? 0)
        let tail = try await tails.tail(of: stream.name)
        var next: UInt64 = 1
        while true {
            let saved = try await pool.withConnection { connection in
                try ConsumerRepository.progress(of: consumer, stream: stream.name, on: connection)
            }
            let counts = try FeatureFold.counts(saved)
            let sequence = UInt64(saved?.sequence ?? 0)
            try await responses.write(
                ComputeProgress(
                    stream: stream.name, sequence: sequence, lastSequence: last, vectors: counts.vectors,
                    surfacesInverted: counts.inverted, surfacesRefused: counts.refused))
            if sequence >= last { return }
            // Wait for something new, then look again: at most a few reports a second.
            next = max(next, sequence + 1)
            if case .rows(let rows) = try await tail.next(from: next, limit: 4096), let newest = rows.last {
                next = UInt64(newest.sequence) + 1
            }
            try await Task.sleep(for: .milliseconds(250))
        }
    }

    func getFeatures(
        _ request: GetFeaturesRequest, responses: ResponseWriter<FeatureBlock>, context: CallContext
    ) async throws {
        _ = try await requireStream(request.stream)
        // Only where there are vectors: a request may name any times.
        let stored = try await pool.withConnection { [schema] connection in
            try FeatureRepository.span(
                stream: request.stream, schema: schema.version, symbol: request.symbol, on: connection)
        }
        guard let stored else { return }
        let from = max(Timestamp(microseconds: request.fromMicroseconds), stored.lowerBound)
        let to = min(
            Timestamp(microseconds: request.toMicroseconds),
            Timestamp(microseconds: stored.upperBound.microseconds + 1))
        let day = Int(Interval.days(1).microseconds)
        let days = stride(from: from.microseconds, to: to.microseconds, by: day).map { microseconds in
            let start = Timestamp(microseconds: microseconds)
            return start..<min(to, start + .days(1))
        }
        // A day at a time: a long span is not held in memory. Two are read while one is sent, for PostgreSQL takes
        // longer over its arrays than we do.
        try await withThrowingTaskGroup(of: (Int, FeatureRepository.Block).self) { group in
            var begun = 0
            func begin() {
                guard begun < days.count else { return }
                let index = begun
                begun += 1
                group.addTask { (index, try await read(request, days[index].lowerBound, days[index].upperBound)) }
            }
            for _ in 0..<2 { begin() }
            var early: [Int: FeatureRepository.Block] = [:]
            for index in days.indices {
                while early[index] == nil {
                    guard let (place, block) = try await group.next() else { return }
                    early[place] = block
                }
                begin()
                if let block = early.removeValue(forKey: index) { try await send(block, of: request, to: responses) }
            }
        }
    }

    private func read(
        _ request: GetFeaturesRequest, _ from: Timestamp, _ to: Timestamp
    ) async throws -> FeatureRepository.Block {
        try await pool.withConnection { [schema] connection in
            try FeatureRepository.block(
                stream: request.stream, schema: schema.version, symbol: request.symbol, from: from, to: to,
                on: connection)
        }
    }

    /// In messages of half a megabyte.
    private func send(
        _ block: FeatureRepository.Block, of request: GetFeaturesRequest, to responses: ResponseWriter<FeatureBlock>
    ) async throws {
        let width = schema.count
        let validWidth = (width + 7) / 8
        let rows = max(1, 524_288 / (8 * width))
        for first in stride(from: 0, to: block.count, by: rows) {
            let range = first..<min(block.count, first + rows)
            try await responses.write(
                FeatureBlock(
                    stream: request.stream, symbol: request.symbol, schemaVersion: schema.version,
                    barTimesMicroseconds: block.barTimes[range].map(\.microseconds),
                    sequences: block.sequences[range].map { UInt64($0) }, closes: Array(block.closes[range]),
                    values: Array(block.values[range.lowerBound * width..<range.upperBound * width]),
                    valid: Array(block.valid[range.lowerBound * validWidth..<range.upperBound * validWidth])))
        }
    }

    func streamFeatures(
        _ request: StreamFeaturesRequest, responses: ResponseWriter<VommaProto.FeatureVector>, context: CallContext
    ) async throws {
        let stream = try await requireStream(request.stream)
        try await forEachRow(of: stream.name, from: request.fromSequence, symbols: []) { row in
            try await responses.write(message(row, stream: stream.name))
        }
    }

    func streamStates(
        _ request: StreamStatesRequest, responses: ResponseWriter<VommaProto.State>, context: CallContext
    ) async throws {
        let stream = try await requireStream(request.stream)
        guard request.schemaVersion == schema.version else {
            throw RPCStatus(
                .failedPrecondition,
                "schema \(request.schemaVersion) was asked for, this service computes \(schema.version)")
        }
        let stored = try await pool.withConnection { try FeatureRepository.normaliser(request.normaliserID, on: $0) }
        guard let stored else { throw RPCStatus(.notFound, "no normaliser \(request.normaliserID) is stored") }
        let normaliser = try Normaliser(bytes: stored.bytes)
        var builder = try StateBuilder(schema, normaliser)
        for symbol in stream.tradedSymbols {
            let count = builder.window - 1
            let before = try await pool.withConnection { [schema] connection in
                try FeatureRepository.lastVectors(
                    stream: stream.name, schema: schema.version, symbol: symbol,
                    before: Int64(clamping: request.fromSequence), count: count, on: connection)
            }
            for row in before { _ = try builder.append(vector(row)) }
        }
        try await forEachRow(of: stream.name, from: request.fromSequence, symbols: stream.tradedSymbols) { row in
            let state = try builder.append(vector(row))
            guard row.barTime >= stream.tradeFrom else { return }
            try await responses.write(
                VommaProto.State(
                    stream: stream.name, symbol: state.symbol, barTimeMicroseconds: state.barTime.microseconds,
                    sequence: state.sequence, schemaVersion: state.schemaVersion, normaliserID: state.normaliserID,
                    window: Int32(state.window), values: state.values, mask: state.mask, filled: Int32(state.filled),
                    close: state.close, publishedAtMicroseconds: row.publishedAt?.microseconds ?? 0,
                    sentAtMicroseconds: Timestamp.now.microseconds))
        }
    }

    // MARK: Rows from storage, then as they come

    private func forEachRow(
        of stream: String, from first: UInt64, symbols: [String],
        _ body: (FeatureRepository.Vector) async throws -> Void
    ) async throws {
        let tail = try await tails.tail(of: stream)
        var next = max(first, 1)
        while true {
            switch try await tail.next(from: next, limit: Self.page) {
            case .finished: return
            case .rows(let rows):
                for row in rows where symbols.isEmpty || symbols.contains(row.symbol) { try await body(row) }
                next = UInt64(rows.last?.sequence ?? Int64(next)) + 1
            case .behind(let through):
                let rows = try await pool.withConnection { [schema, next] connection in
                    try FeatureRepository.vectors(
                        stream: stream, schema: schema.version, from: Int64(next), limit: Self.page, on: connection)
                }
                for row in rows where symbols.isEmpty || symbols.contains(row.symbol) { try await body(row) }
                next = rows.count == Self.page ? UInt64(rows.last?.sequence ?? 0) + 1 : through + 1
            }
        }
    }

    private func requireStream(_ name: String) async throws -> EventRepository.Stream {
        let found = try await EventRepository.stream(name, in: pool)
        guard let stream = found else { throw RPCStatus(.notFound, "no stream “\(name)”") }
        guard stream.state != .building else { throw RPCStatus(.unavailable, "the stream “\(name)” is being built") }
        return stream
    }

    private func vector(_ row: FeatureRepository.Vector) throws -> Features.FeatureVector {
        try Features.FeatureVector(
            symbol: row.symbol, barTime: row.barTime, knownAt: row.barTime, sequence: UInt64(row.sequence),
            close: row.close,
            schemaVersion: schema.version, values: row.values, validity: row.valid, schema: schema)
    }

    private func message(_ row: FeatureRepository.Vector, stream: String) -> VommaProto.FeatureVector {
        VommaProto.FeatureVector(
            stream: stream, symbol: row.symbol, barTimeMicroseconds: row.barTime.microseconds,
            sequence: UInt64(row.sequence),
            schemaVersion: schema.version, values: row.values, valid: row.valid, close: row.close,
            publishedAtMicroseconds: row.publishedAt?.microseconds ?? 0)
    }
}
