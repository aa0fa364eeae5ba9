/// Something that happened in a market, with the two times every record carries: when it happened and from when it
/// could be known. Joins look backward on `knownAt`.
public struct MarketEvent: Sendable, Equatable {
    public enum Payload: Sendable, Equatable {
        case bar(Bar)
        case bookTop(BookTop)
        case bookDepth(BookDepth)
        case trade(PublicTrade)
        /// The surface of `symbol`'s option market, with the chain's size behind it.
        case surface(ImpliedVolatilitySurface)
        case fundingRate(FundingRate)
        case openInterest(OpenInterest)
        /// Crypto Fear & Greed index, 0 … 100.
        case fearGreed(Double)
        case message(Message)
    }

    /// Gap-free from 1 within its stream; 0 before the event has been put into a stream.
    public var sequence: UInt64
    /// `binance`, `deribit`, `simulation`, …
    public var exchange: String
    /// `BTCUSDT`; empty for what concerns the whole market (fear & greed, general news).
    public var symbol: String
    /// When it happened, by the exchange's clock: a bar's close, a funding's settlement.
    public var eventTime: Timestamp
    /// From when it could be known: receipt for live data, publication for history. Never before `eventTime`.
    public var knownAt: Timestamp
    public var payload: Payload

    public init(
        sequence: UInt64 = 0, exchange: String, symbol: String, eventTime: Timestamp, knownAt: Timestamp,
        payload: Payload
    ) {
        self.sequence = sequence
        self.exchange = exchange
        self.symbol = symbol
        self.eventTime = eventTime
        self.knownAt = knownAt
        self.payload = payload
    }
}

/// One settlement of a perpetual future's funding.
public struct FundingRate: Sendable, Equatable {
    /// Fraction of the notional paid by longs to shorts at this settlement; 0.0001 is 1 basis point.
    public var rate: Double
    /// Time since the previous settlement; not always 8 hours.
    public var interval: Interval

    public init(rate: Double, interval: Interval) {
        self.rate = rate
        self.interval = interval
    }
}

/// Open interest of a perpetual future.
public struct OpenInterest: Sendable, Equatable {
    /// In base units.
    public var quantity: Double
    /// In the quote currency, where the source gives it.
    public var notional: Double?

    public init(quantity: Double, notional: Double?) {
        self.quantity = quantity
        self.notional = notional
    }
}

/// A text about the market: news, a post, a headline.
public struct Message: Sendable, Equatable {
    /// Unique within its source; a repeated id is the same message.
    public var id: String
    public var source: String
    public var text: String

    public init(id: String, source: String, text: String) {
        self.id = id
        self.source = source
        self.text = text
    }
}
