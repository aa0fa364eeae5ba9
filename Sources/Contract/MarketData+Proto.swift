public import MarketData
public import VommaProto

// The domain's types and their wire forms, in one place for all services. Reading checks what the wire can't: a value
// that no correct sender would write is a typed error that names the field, never a default.

/// Why a message is no such thing as it claims to be.
public enum ContractError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A field that must be there is not.
    case missing(field: String)
    /// A field's value is out of its domain.
    case invalid(field: String, reason: String)

    public var description: String {
        switch self {
        case .missing(let field): "\(field) is missing"
        case .invalid(let field, let reason): "\(field) \(reason)"
        }
    }
}

extension VommaProto.MarketEvent {
    /// The wire form of an event of `stream`; `publishedAt` is the wall clock.
    public init(_ event: MarketData.MarketEvent, stream: String, publishedAt: Timestamp? = nil) {
        self.init(
            stream: stream, sequence: event.sequence, exchange: event.exchange, symbol: event.symbol,
            eventTimeMicroseconds: event.eventTime.microseconds, knownAtMicroseconds: event.knownAt.microseconds,
            publishedAtMicroseconds: publishedAt?.microseconds ?? 0, payload: Payload(event.payload))
    }

    /// The event itself. Throws for payloads that are absent, or of a kind that this version does not know.
    public func domain() throws(ContractError) -> MarketData.MarketEvent {
        guard let payload else { throw .missing(field: "payload") }
        let eventTime = try time(eventTimeMicroseconds, "event_time")
        let knownAt = try time(knownAtMicroseconds, "known_at")
        guard knownAt >= eventTime else { throw .invalid(field: "known_at", reason: "is before event_time") }
        return MarketData.MarketEvent(
            sequence: sequence, exchange: exchange, symbol: symbol, eventTime: eventTime, knownAt: knownAt,
            payload: try payload.domain())
    }
}

extension VommaProto.MarketEvent.Payload {
    init(_ payload: MarketData.MarketEvent.Payload) {
        switch payload {
        case .bar(let bar): self = .bar(VommaProto.Bar(bar))
        case .bookTop(let top):
            self = .bookTop(
                VommaProto.BookTop(
                    bidPrice: top.bidPrice, askPrice: top.askPrice, bidVolume: top.bidVolume, askVolume: top.askVolume))
        case .bookDepth(let depth):
            self = .bookDepth(
                VommaProto.BookDepth(
                    bidPrices: depth.bidPrices, bidVolumes: depth.bidVolumes, askPrices: depth.askPrices,
                    askVolumes: depth.askVolumes))
        case .trade(let trade):
            self = .trade(
                VommaProto.PublicTrade(
                    tradeID: trade.id, price: trade.price, quantity: trade.quantity, buyerMaker: !trade.isBuy))
        case .surface(let surface): self = .surface(Surface(surface))
        case .fundingRate(let funding):
            self = .fundingRate(
                VommaProto.FundingRate(rate: funding.rate, intervalMicroseconds: funding.interval.microseconds))
        case .openInterest(let interest):
            self = .openInterest(VommaProto.OpenInterest(quantity: interest.quantity, notional: interest.notional))
        case .fearGreed(let value): self = .fearGreed(value)
        case .message(let message):
            self = .message(TextMessage(source: message.source, messageID: message.id, text: message.text))
        }
    }

    func domain() throws(ContractError) -> MarketData.MarketEvent.Payload {
        switch self {
        case .bar(let bar): return .bar(try bar.domain())
        case .bookTop(let top):
            return .bookTop(
                MarketData.BookTop(
                    bidPrice: try price(top.bidPrice, "book_top.bid_price"),
                    askPrice: try price(top.askPrice, "book_top.ask_price"),
                    bidVolume: try amount(top.bidVolume, "book_top.bid_volume"),
                    askVolume: try amount(top.askVolume, "book_top.ask_volume")))
        case .surface(let surface): return .surface(try surface.domain())
        case .fundingRate(let funding):
            guard abs(funding.rate) < 1 else {
                throw .invalid(field: "funding_rate.rate", reason: "is not a fraction between -1 and 1")
            }
            return .fundingRate(
                MarketData.FundingRate(
                    rate: funding.rate, interval: try interval(funding.intervalMicroseconds, "funding_rate.interval")))
        case .openInterest(let interest):
            return .openInterest(
                MarketData.OpenInterest(
                    quantity: try amount(interest.quantity, "open_interest.quantity"),
                    notional: try interest.notional.map { value throws(ContractError) in
                        try amount(value, "open_interest.notional")
                    }))
        case .fearGreed(let value):
            guard value >= 0, value <= 100 else { throw .invalid(field: "fear_greed", reason: "is not in 0 … 100") }
            return .fearGreed(value)
        case .message(let message):
            return .message(Message(id: message.messageID, source: message.source, text: message.text))
        case .bookDepth(let depth): return .bookDepth(try depth.domain())
        case .trade(let trade):
            return .trade(
                MarketData.PublicTrade(
                    id: trade.tradeID, price: try price(trade.price, "trade.price"),
                    quantity: try amount(trade.quantity, "trade.quantity"), isBuy: !trade.buyerMaker))
        case .liquidation:
            throw .invalid(field: "payload", reason: "is of a kind that this version does not handle")
        }
    }
}

extension VommaProto.BookDepth {
    func domain() throws(ContractError) -> MarketData.BookDepth {
        guard bidPrices.count == bidVolumes.count, askPrices.count == askVolumes.count else {
            throw .invalid(field: "book_depth", reason: "has not as many volumes as prices")
        }
        for value in bidPrices { _ = try price(value, "book_depth.bid_prices") }
        for value in askPrices { _ = try price(value, "book_depth.ask_prices") }
        for value in bidVolumes { _ = try amount(value, "book_depth.bid_volumes") }
        for value in askVolumes { _ = try amount(value, "book_depth.ask_volumes") }
        return MarketData.BookDepth(
            bidPrices: bidPrices, bidVolumes: bidVolumes, askPrices: askPrices, askVolumes: askVolumes)
    }
}

extension VommaProto.Bar {
    public init(_ bar: MarketData.Bar) {
        self.init(
            openTimeMicroseconds: bar.openTime.microseconds, intervalMicroseconds: bar.interval.microseconds,
            open: bar.open, high: bar.high, low: bar.low, close: bar.close, volume: bar.volume)
    }

    /// The bar, when it is one: prices positive, open and close between low and high, and a volume of at least 0.
    public func domain() throws(ContractError) -> MarketData.Bar {
        let bar = MarketData.Bar(
            openTime: try time(openTimeMicroseconds, "bar.open_time"),
            interval: try interval(intervalMicroseconds, "bar.interval"), open: try price(open, "bar.open"),
            high: try price(high, "bar.high"), low: try price(low, "bar.low"), close: try price(close, "bar.close"),
            volume: try amount(volume, "bar.volume"))
        guard low <= high else { throw .invalid(field: "bar.low", reason: "is above bar.high") }
        guard open >= low, open <= high else { throw .invalid(field: "bar.open", reason: "is outside low … high") }
        guard close >= low, close <= high else { throw .invalid(field: "bar.close", reason: "is outside low … high") }
        return bar
    }
}

extension SurfaceCell {
    init(_ cell: ImpliedVolatilitySurface.Cell) {
        switch cell {
        case .missing: self = .missing
        case .observed: self = .observed
        case .interpolated: self = .interpolated
        case .extrapolated: self = .extrapolated
        case .stale: self = .stale
        }
    }

    func domain(at index: Int) throws(ContractError) -> ImpliedVolatilitySurface.Cell {
        switch self {
        case .missing: return .missing
        case .observed: return .observed
        case .interpolated: return .interpolated
        case .extrapolated: return .extrapolated
        case .stale: return .stale
        case .unspecified, .unrecognized: throw .invalid(field: "surface.cells[\(index)]", reason: "is unspecified")
        }
    }
}

extension Surface {
    public init(_ surface: ImpliedVolatilitySurface) {
        self.init(
            logMoneyness: surface.logMoneyness, tau: surface.tau, impliedVolatility: surface.impliedVolatility,
            cells: surface.cells.map(SurfaceCell.init), spot: surface.spot, forwards: surface.forwards,
            method: surface.method)
    }

    /// The surface, when its arrays fit together, its grid increases and every present cell is a volatility in (0, 10].
    /// Missing cells are NaN, whatever the sender put there.
    public func domain() throws(ContractError) -> ImpliedVolatilitySurface {
        let count = logMoneyness.count * tau.count
        guard count > 0 else { throw .missing(field: "surface.log_moneyness or surface.tau") }
        guard impliedVolatility.count == count else {
            throw .invalid(
                field: "surface.implied_volatility",
                reason: "has \(impliedVolatility.count) values for a grid of \(count)")
        }
        guard cells.count == count else {
            throw .invalid(field: "surface.cells", reason: "has \(cells.count) values for a grid of \(count)")
        }
        guard forwards.count == tau.count else {
            throw .invalid(
                field: "surface.forwards", reason: "has \(forwards.count) values for \(tau.count) maturities")
        }
        for (name, grid) in [("log_moneyness", logMoneyness), ("tau", tau)] {
            for index in grid.indices {
                guard grid[index].isFinite, index == 0 || grid[index] > grid[index - 1] else {
                    throw .invalid(field: "surface.\(name)[\(index)]", reason: "is not finite and increasing")
                }
            }
        }
        guard let shortest = tau.first, shortest > 0 else {
            throw .invalid(field: "surface.tau[0]", reason: "is not positive")
        }
        _ = try price(spot, "surface.spot")
        var marks: [ImpliedVolatilitySurface.Cell] = []
        marks.reserveCapacity(count)
        for index in 0..<count {
            let mark = try cells[index].domain(at: index)
            let value = impliedVolatility[index]
            guard mark == .missing || (value > 0 && value <= 10) else {
                throw .invalid(
                    field: "surface.implied_volatility[\(index)]",
                    reason:
                        "(k = \(logMoneyness[index / tau.count]), tau = \(tau[index % tau.count])) is not in (0, 10]")
            }
            marks.append(mark)
        }
        for index in forwards.indices { _ = try price(forwards[index], "surface.forwards[\(index)]") }
        var volatility = impliedVolatility
        for index in 0..<count where marks[index] == .missing { volatility[index] = .nan }
        return ImpliedVolatilitySurface(
            logMoneyness: logMoneyness, tau: tau, impliedVolatility: volatility, cells: marks, spot: spot,
            forwards: forwards, method: method)
    }
}

extension VommaProto.OptionChain {
    /// The chain, when its times, index and forwards are such. What its quotes are worth is for the surface's builder.
    public func domain() throws(ContractError) -> MarketData.OptionChain {
        let snapshotTime = try time(snapshotTimeMicroseconds, "chain.snapshot_time")
        var converted: [MarketData.OptionQuote] = []
        converted.reserveCapacity(quotes.count)
        for (index, quote) in quotes.enumerated() {
            let kind: MarketData.OptionQuote.Kind
            switch quote.kind {
            case .call: kind = .call
            case .put: kind = .put
            case .unspecified, .unrecognized:
                throw .invalid(field: "chain.quotes[\(index)].kind", reason: "is unspecified")
            }
            converted.append(
                MarketData.OptionQuote(
                    instrument: quote.instrument, kind: kind,
                    strike: try price(quote.strike, "chain.quotes[\(index)].strike"),
                    expiry: try time(quote.expiryMicroseconds, "chain.quotes[\(index)].expiry"),
                    underlyingPrice: try price(quote.underlyingPrice, "chain.quotes[\(index)].underlying_price"),
                    bidPriceCoin: quote.bidPriceCoin, askPriceCoin: quote.askPriceCoin,
                    markPriceCoin: quote.markPriceCoin, markVolatility: quote.markVolatility,
                    openInterest: quote.openInterest, volume: quote.volume))
        }
        return MarketData.OptionChain(
            currency: currency, snapshotTime: snapshotTime, indexPrice: try price(indexPrice, "chain.index_price"),
            quotes: converted)
    }
}

// MARK: Values

/// Times and intervals within this many microseconds (36,500 years) of 0 can be added and subtracted without overflow.
private let reach: Int64 = 1 << 60

private func time(_ microseconds: Int64, _ field: @autoclosure () -> String) throws(ContractError) -> Timestamp {
    guard (-reach...reach).contains(microseconds) else {
        throw .invalid(field: field(), reason: "is no time of this world")
    }
    return Timestamp(microseconds: microseconds)
}

private func interval(_ microseconds: Int64, _ field: @autoclosure () -> String) throws(ContractError) -> Interval {
    guard microseconds > 0, microseconds <= reach else {
        throw .invalid(field: field(), reason: "is not positive, or endless")
    }
    return Interval(microseconds: microseconds)
}

private func price(_ value: Double, _ field: @autoclosure () -> String) throws(ContractError) -> Double {
    guard value > 0, value.isFinite else { throw .invalid(field: field(), reason: "is not a positive price") }
    return value
}

private func amount(_ value: Double, _ field: @autoclosure () -> String) throws(ContractError) -> Double {
    guard value >= 0, value.isFinite else {
        throw .invalid(field: field(), reason: "is not a finite number of at least 0")
    }
    return value
}
