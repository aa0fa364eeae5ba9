internal import Logging
internal import MarketData
internal import RPC
internal import ServiceKit
internal import Storage
internal import VommaProto

/// Follows the states of one stream after the other: decisions stored, then published.
///
/// The fold's only state is the exposure decided last, and what a policy with memory remembers, saved with every batch.
/// A promotion takes effect at a batch's border; a model with another normaliser asks feature-service anew.
struct DecisionPipeline: Sendable {
    let pool: ConnectionPool
    let models: LiveModel<LoadedPolicy>
    let tails: StreamTails<DecisionRepository.Decision>
    let stage: StageMetrics
    let features: FeatureClient
    let consumer: String
    let log: Logger

    func follow(_ stream: EventRepository.Stream) async throws {
        let tail = try await tails.tail(of: stream.name)
        let last = UInt64(stream.lastSequence ?? .max)
        while true {
            let saved = try await pool.withConnection { connection in
                try ConsumerRepository.progress(of: consumer, stream: stream.name, on: connection)
            }
            let sequence = UInt64(saved?.sequence ?? 0)
            if sequence >= last {
                tail.finish()
                return
            }
            guard let model = models.current else {
                throw RPCStatus(.unavailable, "no policy has been promoted yet")
            }
            let checkpoint = try saved.map { try PolicyCheckpoint(serializedBytes: $0.state) } ?? PolicyCheckpoint()
            try await follow(stream, with: model, after: saved?.sequence, last: last, checkpoint, tail)
        }
    }

    /// Until the stream's end, or until a model is promoted that needs other states.
    private func follow(
        _ stream: EventRepository.Stream, with model: LoadedPolicy, after saved: Int64?, last: UInt64,
        _ state: PolicyCheckpoint, _ tail: StreamTail<DecisionRepository.Decision>
    ) async throws {
        var decider = Decider(model)
        var checkpoint = state
        var saved = saved
        let request = StreamStatesRequest(
            stream: stream.name, fromSequence: UInt64(saved ?? 0) + 1, normaliserID: model.normaliserID,
            schemaVersion: model.schemaVersion)
        let states = features.streamStates(request, options: CallOptions(waitForReady: true))
        let reader = BatchReader<State>(capacity: 256, stage: stage)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await reader.pump(states) }
            defer { group.cancelAll() }
            while let batch = try await reader.nextBatch() {
                if let promoted = models.current, promoted.version != decider.model.version {
                    // States normalised otherwise are asked for from the first that has no decision.
                    guard promoted.normaliserID == model.normaliserID, promoted.schemaVersion == model.schemaVersion
                    else { return }
                    decider = Decider(promoted)
                }
                var rows: [DecisionRepository.Decision] = []
                for state in batch {
                    // Another version's memory means nothing.
                    let known = checkpoint.memory[state.symbol]
                    var memory = known?.modelVersion == decider.model.version ? known?.values ?? [] : []
                    let decision = try decider.decide(
                        state, previousExposure: checkpoint.previousExposure[state.symbol] ?? 0, memory: &memory)
                    checkpoint.memory[state.symbol] =
                        memory.isEmpty ? nil : PolicyMemory(modelVersion: decider.model.version, values: memory)
                    if let exposure = decision.targetExposure { checkpoint.previousExposure[state.symbol] = exposure }
                    rows.append(try DecisionRepository.Decision(decision))
                }
                let newest = rows.last?.sequence ?? 0
                try await store(rows, checkpoint, after: saved, through: newest, stream: stream.name, .deferred)
                saved = newest
                tail.publish(rows.map { (UInt64($0.sequence), $0) })
            }
            // The last commit takes all earlier ones to the disk with it.
            try await store([], checkpoint, after: saved, through: Int64(last), stream: stream.name, .immediate)
        }
    }

    /// Commits decisions and where the fold stands behind them; `previous` is where it was saved last.
    ///
    /// A deferred commit can be lost when the database server crashes, which need not show here: the connection is
    /// opened anew when it is next used. So what this commit builds upon must still be there, or the fold begins again
    /// from what is, and decides once more, to the same bits. Throws `unavailable` then.
    private func store(
        _ rows: [DecisionRepository.Decision], _ checkpoint: PolicyCheckpoint, after previous: Int64?,
        through sequence: Int64, stream: String, _ durability: Durability
    ) async throws {
        let progress = ConsumerRepository.Progress(sequence: sequence, state: try checkpoint.serializedBytes())
        try await pool.withTransaction(durability: durability) { connection in
            let stored = try ConsumerRepository.progress(of: consumer, stream: stream, on: connection)?.sequence
            if stored ?? 0 < previous ?? 0 {
                throw StorageError.unavailable("a crash of the server took the decisions behind event \(stored ?? 0)")
            }
            if !rows.isEmpty { try DecisionRepository.insert(rows, stream: stream, on: connection) }
            try ConsumerRepository.save(progress, consumer: consumer, stream: stream, on: connection)
        }
    }
}
