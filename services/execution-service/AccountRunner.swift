internal import Contract
internal import Foundation
internal import Logging
internal import MarketData
internal import RPC
internal import ServiceKit
internal import Storage
internal import Trading
internal import VommaProto

/// Trades one stream after the other on its paper account: bars and decisions in, orders, fills and equity stored.
///
/// Bar n is booked, then decision n is awaited and acted on, then bar n + 1 follows: the outcome does not depend on
/// which message came first. An order is stored and committed before it is sent. Everything else is stored a batch at a
/// time, with the session's state, in one transaction; after a crash the batch is repeated from the saved state, to the
/// same orders with the same ids.
struct AccountRunner: Sendable {
    let pool: ConnectionPool
    let tails: StreamTails<TradingRepository.Equity>
    let stage: StageMetrics
    let switches: KillSwitches
    let gateway: MarketGatewayClient
    let policy: PolicyClient
    let consumer: String
    let log: Logger

    /// Bars booked between two commits when there are many to catch up with.
    private static let batch = 256

    func follow(_ stream: EventRepository.Stream) async throws {
        let tail = try await tails.tail(of: stream.name)
        let last = UInt64(stream.lastSequence ?? .max)
        let saved = try await pool.withConnection { connection in
            try ConsumerRepository.progress(of: consumer, stream: stream.name, on: connection)
        }
        var book = try await openBook(stream, saved)
        if book.sequence >= last {
            tail.finish()
            return
        }
        try await switches.prepare(account: stream.name)
        let bars = gateway.subscribe(
            SubscribeRequest(stream: stream.name, fromSequence: book.sequence + 1, onlyBarsOf: stream.tradedSymbols),
            options: CallOptions(waitForReady: true))
        let decisions = policy.streamDecisions(
            StreamDecisionsRequest(stream: stream.name, fromSequence: book.sequence + 1),
            options: CallOptions(waitForReady: true))
        let barReader = BatchReader<VommaProto.MarketEvent>(stage: stage)
        let decisionReader = BatchReader<VommaProto.Decision>(stage: stage)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await barReader.pump(bars) }
            group.addTask { await decisionReader.pump(decisions) }
            defer { group.cancelAll() }
            var queue = DecisionQueue(decisionReader)
            while let events = try await barReader.nextBatch(limit: Self.batch) {
                for event in events {
                    if let mode = switches.pending(for: stream.name) { try book.set(mode) }
                    let closeTime = try book.take(event)
                    guard closeTime >= stream.tradeFrom else { continue }
                    // Nothing has to be waited for with unstored results: what is known is visible while we wait. But
                    // the bar is not done with before its decision is: a restart has to begin with it again.
                    if !queue.hasNext, book.hasUnstored {
                        try await storeRows(book.unstored, stream, tail)
                        book.stored()
                    }
                    let decision = try await queue.next(for: event.sequence)
                    if let order = try book.plan(decision) {
                        // Committed, with what came before it, before the exchange can hear of it.
                        try await storeRows(book.unstored, stream, tail)
                        book.orderStored(at: .now)
                        try book.send(order)
                    }
                }
                try await store(&book, stream, tail)
            }
            book.sequence = last
            try await store(&book, stream, tail)
        }
        tail.finish()
    }

    private func openBook(
        _ stream: EventRepository.Stream, _ saved: ConsumerRepository.Progress?
    ) async throws -> AccountBook {
        let settings = try JSONDecoder().decode(AccountSettings.self, from: Data(stream.settings.text.utf8))
        let stored = try await pool.withConnection { connection in
            try InstrumentRepository.instruments(exchange: stream.exchange, at: stream.from, on: connection)
        }
        var rules: [InstrumentRules] = []
        for symbol in stream.tradedSymbols {
            guard let instrument = stored.first(where: { $0.symbol == symbol }) else {
                throw RPCStatus(.failedPrecondition, "no trading rules are stored for \(symbol) on \(stream.exchange)")
            }
            rules.append(try InstrumentRules(instrument))
        }
        return try AccountBook(account: stream.name, settings: settings, rules: rules, saved: saved)
    }

    /// Commits rows without the session's state: after a crash they are made, and stored, once more.
    private func storeRows(
        _ rows: BookRows, _ stream: EventRepository.Stream, _ tail: StreamTail<TradingRepository.Equity>
    ) async throws {
        try await pool.withTransaction { connection in try rows.write(account: stream.name, on: connection) }
        tail.publish(rows.equity.map { (UInt64($0.sequence), $0) })
    }

    /// Commits rows and the session's state behind a bar that is done with.
    private func store(
        _ book: inout AccountBook, _ stream: EventRepository.Stream, _ tail: StreamTail<TradingRepository.Equity>
    ) async throws {
        try book.checkInvariants()
        let rows = book.unstored
        let progress = ConsumerRepository.Progress(sequence: Int64(book.sequence), state: try book.checkpoint())
        try await pool.withTransaction { connection in
            try rows.write(account: stream.name, on: connection)
            try ConsumerRepository.save(progress, consumer: consumer, stream: stream.name, on: connection)
        }
        book.stored()
        tail.publish(rows.equity.map { (UInt64($0.sequence), $0) })
    }
}

/// Decisions in the order of their bars, one for each.
private struct DecisionQueue {
    private let reader: BatchReader<VommaProto.Decision>
    private var waiting: ArraySlice<VommaProto.Decision> = []

    init(_ reader: BatchReader<VommaProto.Decision>) { self.reader = reader }

    /// Whether the next decision is here already.
    var hasNext: Bool { !waiting.isEmpty }

    /// The decision of this bar. Throws ABORTED when another one, or none, follows: the streams do not fit together.
    mutating func next(for sequence: UInt64) async throws -> VommaProto.Decision {
        while true {
            if let decision = waiting.popFirst() {
                if decision.sequence < sequence { continue }
                guard decision.sequence == sequence else {
                    throw RPCStatus(.aborted, "bar \(sequence) has no decision, the next is of \(decision.sequence)")
                }
                return decision
            }
            guard let batch = try await reader.nextBatch() else {
                throw RPCStatus(.unavailable, "the decisions ended before bar \(sequence)")
            }
            waiting = batch[...]
        }
    }
}
