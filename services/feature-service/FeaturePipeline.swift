internal import Contract
internal import Features
internal import Logging
internal import MarketData
internal import RPC
internal import ServiceKit
internal import Storage
internal import VommaProto

/// Follows one stream after the other: events in, vectors stored and published.
///
/// A batch is whatever has arrived. Its vectors, and from time to time the engine's state, are stored in one
/// transaction, and only then published to subscribers. The state is saved every `checkpointInterval` events and at the
/// stream's end; what follows the last saved state is computed again after a crash, to the same bits.
struct FeaturePipeline: Sendable {
    let pool: ConnectionPool
    let tails: StreamTails<FeatureRepository.Vector>
    let stage: StageMetrics
    let gateway: MarketGatewayClient
    let inverter: HestonInverterClient
    let regimes: RegimeSentimentClient
    let consumer: String
    let terms: FeatureTerms
    let schema: FeatureSchema
    let log: Logger

    /// Events between two saved states.
    private static let checkpointInterval: UInt64 = 512

    func follow(_ stream: EventRepository.Stream) async throws {
        let tail = try await tails.tail(of: stream.name)
        let saved = try await pool.withConnection { connection in
            try ConsumerRepository.progress(of: consumer, stream: stream.name, on: connection)
        }
        var fold = try FeatureFold(
            stream, saved, terms, schema: schema, inverter: inverter, regimes: regimes, log: log)
        if saved != nil, fold.sequence == 0 {
            // A saved state never goes back; one that is of no use any more has to go.
            try await pool.withConnection { connection in
                try ConsumerRepository.reset(consumer, stream: stream.name, on: connection)
            }
        }
        let last = UInt64(stream.lastSequence ?? .max)
        if fold.sequence >= last {
            tail.finish()
            return
        }
        let request = SubscribeRequest(stream: stream.name, fromSequence: fold.sequence + 1)
        let events = gateway.subscribe(request, options: CallOptions(waitForReady: true))
        let reader = BatchReader<VommaProto.MarketEvent>(stage: stage)
        var checkpointed = fold.sequence
        var newest: FeatureRepository.Vector?
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await reader.pump(events) }
            defer { group.cancelAll() }
            while let batch = try await reader.nextBatch() {
                let rows = try await fold.take(batch)
                let checkpoint = try fold.sequence - checkpointed >= Self.checkpointInterval ? fold.checkpoint() : nil
                if checkpoint != nil { checkpointed = fold.sequence }
                try await store(rows, fold.takeFits(), checkpoint, after: newest, stream: stream.name)
                newest = rows.last ?? newest
                tail.publish(rows.map { (UInt64($0.sequence), $0) })
            }
            // The saved state says with its sequence that the stream has been read to its end.
            fold.sequence = last
            try await store([], [], try fold.checkpoint(), after: newest, stream: stream.name)
            tail.finish()
        }
    }

    /// Commits what a batch has brought; `previous` is the last vector stored before.
    ///
    /// Vectors alone do not wait for the disk: a commit with a state or a fit takes them along. Until then a crash of
    /// the database server can take them, newest first, which need not show here: the connection is opened anew when
    /// it is next used. So the vector before must still be there, or the fold begins again from its saved state, and
    /// computes the same bits. Throws `unavailable` then.
    private func store(
        _ rows: [FeatureRepository.Vector], _ fits: [StoredFit], _ checkpoint: ConsumerRepository.Progress?,
        after previous: FeatureRepository.Vector?, stream: String
    ) async throws {
        if rows.isEmpty, fits.isEmpty, checkpoint == nil { return }
        let durability: Durability = fits.isEmpty && checkpoint == nil ? .deferred : .immediate
        try await pool.withTransaction(durability: durability) { connection in
            if let previous {
                let isThere = try connection.queryOne(
                    """
                    SELECT EXISTS (SELECT FROM features
                                   WHERE stream = $1 AND symbol = $2 AND bar_time = $3 AND schema_version = $4)
                    """, [stream, previous.symbol, previous.barTime, schema.version]
                ) { (row) throws(StorageError) in try row.get(0, as: Bool.self) }
                guard isThere else {
                    throw StorageError.unavailable(
                        "a crash of the server took the vector of event \(previous.sequence)")
                }
            }
            try FeatureRepository.insert(rows, stream: stream, schema: schema.version, on: connection)
            for fit in fits {
                try OptionRepository.insert(
                    [fit.fit], exchange: fit.exchange, currency: fit.currency, on: connection)
            }
            if let checkpoint {
                try ConsumerRepository.save(checkpoint, consumer: consumer, stream: stream, on: connection)
            }
        }
    }
}
