internal import Contract
internal import Foundation
internal import MarketData
internal import RPC
internal import Simulation
internal import Storage
internal import Trading
internal import VommaProto

/// The RPC face of market-gateway.
struct GatewayServer: MarketGatewayService {
    let pool: ConnectionPool
    let loader: HistoryLoader
    let streams: StreamBuilder
    let subscriptions = Subscriptions()

    /// Events read from the database at once.
    private static let page = 500

    func loadHistory(
        _ request: LoadHistoryRequest, responses: ResponseWriter<LoadProgress>, context: CallContext
    ) async throws {
        let span = try Self.span(request.fromMicroseconds, request.toMicroseconds)
        do {
            let folder = try HistoryFolder(directory: request.directory)
            let symbols = request.symbols.isEmpty ? folder.symbols() : request.symbols
            guard !symbols.isEmpty else {
                throw RPCStatus(.notFound, "no 1-minute bars in \(request.directory): see docs/data.md for the layout")
            }
            try await loader.load(
                folder: folder, symbols: symbols, currencies: request.currencies, span: span
            ) { try await responses.write($0) }
        } catch let error as MarketDataError {
            throw RPCStatus(.failedPrecondition, "\(error)")
        }
    }

    func simulate(
        _ request: SimulateRequest, responses: ResponseWriter<LoadProgress>, context: CallContext
    ) async throws {
        let span = try Self.span(request.fromMicroseconds, request.toMicroseconds)
        let exchange = request.exchange.isEmpty ? "simulation" : request.exchange
        let length = span.upperBound - span.lowerBound
        let market: SimulatedMarket
        do {
            switch request.simulator {
            case .heston:
                var configuration = HestonMarket.Configuration()
                configuration.exchange = exchange
                configuration.start = span.lowerBound
                configuration.days = Int(length.microseconds / Interval.days(1).microseconds)
                configuration.seed = request.seed
                if request.chainIntervalMicroseconds > 0 {
                    configuration.chainMinutes = Int(request.chainIntervalMicroseconds / 60_000_000)
                }
                market = try HestonMarket.generate(configuration)
            case .gbm:
                var configuration = GBMMarket.Configuration()
                configuration.exchange = exchange
                configuration.start = span.lowerBound
                configuration.steps = Int(length.microseconds / Interval.minutes(1).microseconds)
                configuration.seed = request.seed
                if request.chainIntervalMicroseconds > 0 {
                    configuration.surfaceEvery = Int(request.chainIntervalMicroseconds / 60_000_000)
                }
                market = try GBMMarket.generate(configuration)
            case .unspecified, .unrecognized:
                throw RPCStatus(.invalidArgument, "simulator is to be GBM or HESTON")
            }
        } catch let error as SimulationError {
            throw RPCStatus(.invalidArgument, "\(error)")
        }
        try await loader.load(market, exchange: exchange) { try await responses.write($0) }
    }

    func createStream(_ request: CreateStreamRequest, context: CallContext) async throws -> StreamInfo {
        guard !request.stream.isEmpty else { throw RPCStatus(.invalidArgument, "stream has no name") }
        guard !request.symbols.isEmpty else { throw RPCStatus(.invalidArgument, "symbols is empty") }
        if let stranger = request.tradedSymbols.first(where: { !request.symbols.contains($0) }) {
            throw RPCStatus(.invalidArgument, "\(stranger) is to be traded but is not among the symbols")
        }
        guard request.paceMicroseconds >= 0 else { throw RPCStatus(.invalidArgument, "pace_microseconds is negative") }
        let span = try Self.span(request.fromMicroseconds, request.toMicroseconds)
        let tradeFrom = Timestamp(microseconds: max(request.tradeFromMicroseconds, request.fromMicroseconds))
        guard tradeFrom < span.upperBound else {
            throw RPCStatus(.invalidArgument, "trade_from is not before the end of the span")
        }
        let settings = request.accountSettingsJSON.isEmpty ? "{}" : request.accountSettingsJSON
        do {
            // What is wrong with the terms is said now, not when the account is opened.
            let terms = try JSONDecoder().decode(AccountSettings.self, from: Data(settings.utf8))
            let rules = try request.tradedSymbols.map { try InstrumentRules.simulated($0, price: 1) }
            let session = try terms.session(account: request.stream, instruments: rules)
            if !rules.isEmpty { _ = try TradingSession(session) }
        } catch {
            throw RPCStatus(.invalidArgument, "account_settings_json: \(error)")
        }
        let built = try await streams.create(
            EventRepository.Stream(
                name: request.stream, exchange: request.exchange, symbols: request.symbols,
                currencies: request.currencies, from: span.lowerBound, to: span.upperBound,
                tradedSymbols: request.tradedSymbols, tradeFrom: tradeFrom,
                pace: Interval(microseconds: request.paceMicroseconds), settings: JSON(settings)))
        var info = StreamInfo(built.stream)
        info.bars = built.bars
        info.surfaces = built.surfaces
        info.refusedChains = built.refusedChains
        info.refusals = built.refusals
        return info
    }

    func closeStream(_ request: CloseStreamRequest, context: CallContext) async throws -> StreamInfo {
        _ = try await requireStream(request.stream)
        let name = request.stream
        try await pool.withConnection { try EventRepository.setState(.closed, of: name, on: $0) }
        return StreamInfo(try await requireStream(name))
    }

    func listStreams(_ request: ListStreamsRequest, context: CallContext) async throws -> ListStreamsResponse {
        let streams = try await pool.withConnection { try EventRepository.streams(on: $0) }
        return ListStreamsResponse(streams: streams.map(StreamInfo.init))
    }

    func subscribe(
        _ request: SubscribeRequest, responses: ResponseWriter<VommaProto.MarketEvent>, context: CallContext
    ) async throws {
        let stream = try await requireStream(request.stream)
        switch stream.state {
        case .building: throw RPCStatus(.unavailable, "the stream “\(stream.name)” is being built")
        case .closed: throw RPCStatus(.failedPrecondition, "the stream “\(stream.name)” has been closed")
        case .active: break
        }
        let subscription = subscriptions.begin(stream.name)
        defer { subscriptions.end(subscription) }
        let only = Set(request.onlyBarsOf)
        var next = max(request.fromSequence, 1)
        var pace = Pace(stream.pace)
        while true {
            let page = try await pool.withConnection { [next] connection in
                try EventRepository.events(of: stream.name, from: Int64(next), limit: Self.page, on: connection)
            }
            for stored in page {
                var event = try VommaProto.MarketEvent(serializedBytes: stored.payload)
                if case .bar? = event.payload {
                    if !only.isEmpty, !only.contains(event.symbol) { continue }
                    try await pace.wait()
                } else if !only.isEmpty {
                    continue
                }
                let now = Timestamp.now
                event.publishedAtMicroseconds = now.microseconds
                try await responses.write(event)
                subscription.handedOn(stored.knownAt, at: now)
            }
            guard let last = page.last else { return }
            next = UInt64(last.sequence) + 1
        }
    }

    func getBars(
        _ request: GetBarsRequest, responses: ResponseWriter<BarRecord>, context: CallContext
    ) async throws {
        guard request.intervalMicroseconds > 0 else {
            throw RPCStatus(.invalidArgument, "interval_microseconds is not positive")
        }
        let span = try Self.span(request.fromMicroseconds, request.toMicroseconds)
        var from = span.lowerBound
        while from < span.upperBound {
            // A day at a time: a long span is not held in memory.
            let to = min(span.upperBound, from + .days(1))
            let bars = try await pool.withConnection { [from] connection in
                try BarRepository.bars(
                    exchange: request.exchange, symbol: request.symbol,
                    interval: Interval(microseconds: request.intervalMicroseconds), from: from, to: to, on: connection)
            }
            for bar in bars {
                try await responses.write(
                    BarRecord(exchange: request.exchange, symbol: request.symbol, bar: VommaProto.Bar(bar)))
            }
            from = to
        }
    }

    func getSurface(_ request: GetSurfaceRequest, context: CallContext) async throws -> GetSurfaceResponse {
        let asOf = Timestamp(microseconds: request.asOfMicroseconds)
        let stored = try await pool.withConnection { connection in
            try OptionRepository.surfaces(
                exchange: request.exchange, currency: request.currency, from: asOf - .days(7),
                to: asOf + Interval(microseconds: 1), on: connection)
        }
        guard let newest = stored.filter({ $0.knownAt <= asOf }).max(by: { $0.knownAt < $1.knownAt }) else {
            throw RPCStatus(
                .notFound, "no surface of \(request.currency) on \(request.exchange) was known in the week before \(asOf)")
        }
        return GetSurfaceResponse(
            surface: Surface(newest.value), eventTimeMicroseconds: newest.eventTime.microseconds,
            knownAtMicroseconds: newest.knownAt.microseconds)
    }

    func listInstruments(
        _ request: ListInstrumentsRequest, context: CallContext
    ) async throws -> ListInstrumentsResponse {
        let exchange = request.exchange.isEmpty ? nil : request.exchange
        let stored = try await pool.withConnection { try InstrumentRepository.instruments(exchange: exchange, on: $0) }
        return ListInstrumentsResponse(
            instruments: stored.map { one in
                VommaProto.Instrument(
                    exchange: one.exchange, symbol: one.symbol, base: one.base, quote: one.quote,
                    tickSize: one.tickSize.description, lotSize: one.lotSize.description,
                    minQuantity: one.minimumQuantity.description, minNotional: one.minimumNotional.description,
                    makerFee: one.makerFee, takerFee: one.takerFee, allowsShort: one.allowsShort,
                    maxQuantity: one.maximumQuantity.description, maxLeverage: one.maximumLeverage)
            })
    }

    private func requireStream(_ name: String) async throws -> EventRepository.Stream {
        let stream = try await EventRepository.stream(name, in: pool)
        guard let stream else { throw RPCStatus(.notFound, "no stream “\(name)”") }
        return stream
    }

    private static func span(_ from: Int64, _ to: Int64) throws -> Range<Timestamp> {
        guard from < to else { throw RPCStatus(.invalidArgument, "the span is empty: from is not before to") }
        return Timestamp(microseconds: from)..<Timestamp(microseconds: to)
    }
}

/// Keeps the smallest gap between two published bars.
private struct Pace {
    private let gap: Duration?
    private var due: ContinuousClock.Instant?

    init(_ gap: Interval) { self.gap = gap.microseconds > 0 ? .microseconds(gap.microseconds) : nil }

    mutating func wait() async throws {
        guard let gap else { return }
        let now = ContinuousClock.now
        let next = max(now, due ?? now)
        if next > now { try await Task.sleep(until: next, clock: .continuous) }
        due = next + gap
    }
}

extension StreamInfo {
    init(_ stream: EventRepository.Stream) {
        self.init(
            stream: stream.name, exchange: stream.exchange, symbols: stream.symbols, currencies: stream.currencies,
            fromMicroseconds: stream.from.microseconds, toMicroseconds: stream.to.microseconds,
            tradedSymbols: stream.tradedSymbols, tradeFromMicroseconds: stream.tradeFrom.microseconds,
            paceMicroseconds: stream.pace.microseconds, state: stream.state.rawValue,
            lastSequence: UInt64(stream.lastSequence ?? 0))
    }
}
