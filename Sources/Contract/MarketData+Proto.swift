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
        return MarketData.MarketEvent(
            sequence: sequence, exchange: exchange, symbol: symbol,
            eventTime: Timestamp(microseconds: eventTimeMicroseconds),
            knownAt: Timestamp(microseconds: knownAtMicroseconds), payload: try payload.domain())
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
                    bidPrice: top.bidPrice, askPrice: top.askPrice, bidVolume: top.bidVolume, askVolume: top.askVolume))
        case .surface(let surface): return .surface(try surface.domain())
        case .fundingRate(let funding):
            return .fundingRate(
                MarketData.FundingRate(
                    rate: funding.rate, interval: Interval(microseconds: funding.intervalMicroseconds)))
        case .openInterest(let interest):
            return .openInterest(MarketData.OpenInterest(quantity: interest.quantity, notional: interest.notional))
        case .fearGreed(let value): return .fearGreed(value)
        case .message(let message):
            return .message(Message(id: message.messageID, source: message.source, text: message.text))
        case .trade, .liquidation, .bookDepth:
            throw .invalid(field: "payload", reason: "is of a kind that this version does not handle")
        }
    }
}

extension VommaProto.Bar {
    public init(_ bar: MarketData.Bar) {
        self.init(
            openTimeMicroseconds: bar.openTime.microseconds, intervalMicroseconds: bar.interval.microseconds,
            open: bar.open, high: bar.high, low: bar.low, close: bar.close, volume: bar.volume)
    }

    public func domain() throws(ContractError) -> MarketData.Bar {
        guard intervalMicroseconds > 0 else { throw .invalid(field: "bar.interval", reason: "is not positive") }
        return MarketData.Bar(
            openTime: Timestamp(microseconds: openTimeMicroseconds),
            interval: Interval(microseconds: intervalMicroseconds), open: open, high: high, low: low, close: close,
            volume: volume)
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
    public func domain() throws(ContractError) -> ImpliedVolatilitySurface {
        let count = logMoneyness.count * tau.count
        guard count > 0 else { throw .missing(field: "surface.log_moneyness or surface.tau") }
        guard impliedVolatility.count == count else {
            throw .invalid(
                field: "surface.implied_volatility", reason: "has \(impliedVolatility.count) values for a grid of \(count)")
        }
        guard cells.count == count else {
            throw .invalid(field: "surface.cells", reason: "has \(cells.count) values for a grid of \(count)")
        }
        guard forwards.count == tau.count else {
            throw .invalid(field: "surface.forwards", reason: "has \(forwards.count) values for \(tau.count) maturities")
        }
        for (name, grid) in [("log_moneyness", logMoneyness), ("tau", tau)] {
            for index in grid.indices {
                guard grid[index].isFinite, index == 0 || grid[index] > grid[index - 1] else {
                    throw .invalid(field: "surface.\(name)[\(index)]", reason: "is not finite and increasing")
                }
            }
        }
        guard let shortest = tau.first, shortest > 0 else { throw .invalid(field: "surface.tau[0]", reason: "is not positive") }
        guard spot.isFinite, spot > 0 else { throw .invalid(field: "surface.spot", reason: "is not a positive price") }
        var marks: [ImpliedVolatilitySurface.Cell] = []
        marks.reserveCapacity(count)
        for index in 0..<count {
            let mark = try cells[index].domain(at: index)
            let value = impliedVolatility[index]
            guard mark == .missing || (value > 0 && value <= 10) else {
                throw .invalid(
                    field: "surface.implied_volatility[\(index)]",
                    reason: "(k = \(logMoneyness[index / tau.count]), tau = \(tau[index % tau.count])) is not in (0, 10]")
            }
            marks.append(mark)
        }
        for index in forwards.indices where !(forwards[index].isFinite && forwards[index] > 0) {
            throw .invalid(field: "surface.forwards[\(index)]", reason: "is not a positive price")
        }
        return ImpliedVolatilitySurface(
            logMoneyness: logMoneyness, tau: tau, impliedVolatility: impliedVolatility, cells: marks, spot: spot,
            forwards: forwards, method: method)
    }
}

extension VommaProto.OptionChain {
    public func domain() throws(ContractError) -> MarketData.OptionChain {
        var converted: [MarketData.OptionQuote] = []
        converted.reserveCapacity(quotes.count)
        for (index, quote) in quotes.enumerated() {
            let kind: MarketData.OptionQuote.Kind
            switch quote.kind {
            case .call: kind = .call
            case .put: kind = .put
            case .unspecified, .unrecognized: throw .invalid(field: "chain.quotes[\(index)].kind", reason: "is unspecified")
            }
            guard quote.strike.isFinite, quote.strike > 0 else {
                throw .invalid(field: "chain.quotes[\(index)].strike", reason: "is not a positive price")
            }
            guard quote.underlyingPrice.isFinite, quote.underlyingPrice > 0 else {
                throw .invalid(field: "chain.quotes[\(index)].underlying_price", reason: "is not a positive price")
            }
            converted.append(
                MarketData.OptionQuote(
                    instrument: quote.instrument, kind: kind, strike: quote.strike,
                    expiry: Timestamp(microseconds: quote.expiryMicroseconds), underlyingPrice: quote.underlyingPrice,
                    bidPriceCoin: quote.bidPriceCoin, askPriceCoin: quote.askPriceCoin,
                    markPriceCoin: quote.markPriceCoin, markVolatility: quote.markVolatility,
                    openInterest: quote.openInterest, volume: quote.volume))
        }
        return MarketData.OptionChain(
            currency: currency, snapshotTime: Timestamp(microseconds: snapshotTimeMicroseconds), indexPrice: indexPrice,
            quotes: converted)
    }
}
