internal import Contract
internal import Heston
internal import Logging
internal import MarketData
internal import RPC
internal import Storage
internal import VommaProto

/// Turns stored history into a stream: reads every kind of the span, builds surfaces from the chains, merges all by the
/// time from which it was known, numbers it and stores it.
///
/// The outcome is a function of the stored history, so a builder that was killed is continued by doing it all again and
/// storing what is missing.
struct StreamBuilder: Sendable {
    let pool: ConnectionPool
    let log: Logger

    private static let chunk = 5000

    struct Built {
        var stream: EventRepository.Stream
        var bars: UInt64 = 0
        var surfaces: UInt64 = 0
        var refusedChains: UInt64 = 0
        var refusals: [String] = []
    }

    /// Creates and builds the stream, or finds the same one built. Throws ALREADY_EXISTS for another one of its name,
    /// FAILED_PRECONDITION when the span holds no bars of a symbol.
    func create(_ wanted: EventRepository.Stream) async throws -> Built {
        let name = wanted.name
        let known = try await pool.withConnection { try EventRepository.stream(name, on: $0) }
        if let known { try Self.require(known, sameAs: wanted) }
        var built = Built(stream: wanted)
        // Before the stream is stored: one that can't be built leaves its name free.
        let events = try await events(of: wanted, &built)
        let stored = try await pool.withConnection { try EventRepository.create(wanted, on: $0) }
        try Self.require(stored, sameAs: wanted)
        built.stream = stored
        guard stored.state == .building else { return built }
        let next = try await pool.withConnection { try EventRepository.nextSequence(of: name, on: $0) }
        for start in stride(from: Int(next) - 1, to: events.count, by: Self.chunk) {
            let part = try events[start..<min(start + Self.chunk, events.count)].map { event in
                EventRepository.Event(
                    sequence: Int64(event.sequence), knownAt: event.knownAt,
                    payload: try VommaProto.MarketEvent(event, stream: name).serializedBytes())
            }
            try await pool.withConnection { connection in
                _ = try EventRepository.append(part, to: name, on: connection)
            }
        }
        built.stream = try await pool.withConnection { connection in
            try EventRepository.setState(.active, of: name, on: connection)
            return try EventRepository.stream(name, on: connection) ?? stored
        }
        log.info("stream built", metadata: ["stream": "\(name)", "events": "\(events.count)"])
        return built
    }

    private static func require(_ stored: EventRepository.Stream, sameAs wanted: EventRepository.Stream) throws {
        var same = wanted
        same.state = stored.state
        same.lastSequence = stored.lastSequence
        same.settings = stored.settings
        guard stored == same else {
            throw RPCStatus(.alreadyExists, "there is another stream “\(wanted.name)”: choose a new name")
        }
    }

    private func events(
        of stream: EventRepository.Stream, _ built: inout Built
    ) async throws -> [MarketData.MarketEvent] {
        let venue = Venue(stream.exchange)
        let span = stream.from..<stream.to
        // A value counts by when it was known: read from before the span what became known within it.
        let earlier = stream.from - .days(3)
        var sources: [[MarketData.MarketEvent]] = []
        for symbol in stream.symbols {
            let bars = try await pool.withConnection { connection in
                try BarRepository.bars(
                    exchange: venue.spot, symbol: symbol, interval: .minutes(1), from: stream.from - .minutes(1),
                    to: stream.to, on: connection)
            }
            let events = bars.map { MarketData.MarketEvent(bar: $0, exchange: venue.spot, symbol: symbol) }
                .filter { span.contains($0.knownAt) }
            guard !events.isEmpty else {
                throw RPCStatus(
                    .failedPrecondition,
                    "no 1-minute bars of \(symbol) on \(venue.spot) are stored from \(stream.from) to \(stream.to)")
            }
            built.bars += UInt64(events.count)
            sources.append(events)
            let (tops, funding, interest) = try await pool.withConnection { connection in
                (
                    try MarketHistoryRepository.bookTops(
                        exchange: venue.spot, symbol: symbol, from: earlier, to: stream.to, on: connection),
                    try MarketHistoryRepository.fundingRates(
                        exchange: venue.futures, symbol: symbol, from: earlier, to: stream.to, on: connection),
                    try MarketHistoryRepository.openInterest(
                        exchange: venue.futures, symbol: symbol, from: earlier, to: stream.to, on: connection)
                )
            }
            sources.append(Self.events(tops, venue.spot, symbol, span) { .bookTop($0) })
            sources.append(Self.events(funding, venue.futures, symbol, span) { .fundingRate($0) })
            sources.append(Self.events(interest, venue.futures, symbol, span) { .openInterest($0) })
        }
        let (fearGreed, messages) = try await pool.withConnection { connection in
            (
                try MarketHistoryRepository.fearGreed(from: earlier, to: stream.to, on: connection),
                try MarketHistoryRepository.messages(from: earlier, to: stream.to, on: connection)
            )
        }
        sources.append(Self.events(fearGreed, "", "", span) { .fearGreed($0) })
        sources.append(Self.events(messages, "", "", span) { .message($0) })
        for currency in stream.currencies {
            sources.append(try await surfaces(venue.options, currency, from: earlier, span: span, &built))
        }
        return EventMerger.merge(sources)
    }

    private static func events<T: Sendable & Equatable>(
        _ rows: [Dated<T>], _ exchange: String, _ symbol: String, _ span: Range<Timestamp>,
        _ payload: (T) -> MarketData.MarketEvent.Payload
    ) -> [MarketData.MarketEvent] {
        rows.filter { span.contains($0.knownAt) }.map { row in
            MarketData.MarketEvent(
                exchange: exchange, symbol: symbol, eventTime: row.eventTime, knownAt: row.knownAt,
                payload: payload(row.value))
        }
    }

    /// Builds a surface from every stored chain, stores it, and returns the events. A chain that gives none is counted
    /// with its reason.
    private func surfaces(
        _ exchange: String, _ currency: String, from: Timestamp, span: Range<Timestamp>, _ built: inout Built
    ) async throws -> [MarketData.MarketEvent] {
        let chains = try await pool.withConnection { connection in
            try OptionRepository.chains(
                exchange: exchange, currency: currency, from: from, to: span.upperBound, on: connection)
        }
        // Surfaces that came as such, not from chains: a simulator's. Those built below are stored under other methods.
        let given = try await pool.withConnection { connection in
            try OptionRepository.surfaces(
                exchange: exchange, currency: currency, from: from, to: span.upperBound, on: connection)
        }
        var events = given.filter { $0.value.method == "model" && span.contains($0.knownAt) }.map { row in
            MarketData.MarketEvent(
                exchange: exchange, symbol: currency, eventTime: row.eventTime, knownAt: row.knownAt,
                payload: .surface(row.value))
        }
        let builder = try SurfaceBuilder()
        for chain in chains {
            let knownAt = KnownTimes.chain(snapshotTime: chain.snapshotTime)
            guard span.contains(knownAt) else { continue }
            do throws(HestonError) {
                let result = try builder.build(chain)
                events.append(
                    MarketData.MarketEvent(
                        exchange: exchange, symbol: currency, eventTime: chain.snapshotTime, knownAt: knownAt,
                        payload: .surface(result.surface)))
            } catch {
                built.refusedChains += 1
                if built.refusals.count < 10 { built.refusals.append("\(chain.snapshotTime): \(error)") }
            }
            await Task.yield()
        }
        built.surfaces += UInt64(events.count)
        let stored = events
        try await pool.withTransaction { connection in
            for event in stored {
                guard case .surface(let surface) = event.payload else { continue }
                try OptionRepository.insert(
                    Dated(eventTime: event.eventTime, knownAt: event.knownAt, value: surface), exchange: exchange,
                    currency: currency, on: connection)
            }
        }
        return EventMerger.sorted(events)
    }
}
