/// One listed European option at one instant, as the exchange quoted it, in units that need no knowledge of the wire:
/// volatilities are absolute (0.65 is 65 %), `*Coin` prices are in the underlying coin (Deribit's inverse options).
public struct OptionQuote: Sendable, Equatable {
    public enum Kind: String, Sendable, Codable { case call, put }

    /// The exchange's own name, `BTC-27MAR26-90000-C`.
    public var instrument: String
    public var kind: Kind
    /// In USD.
    public var strike: Double
    /// The instant of expiry: 08:00 UTC of its day on Deribit.
    public var expiry: Timestamp
    /// The forward for this expiry at the time of the quote, in USD.
    public var underlyingPrice: Double
    /// `nil` where nobody bid or offered. In coin.
    public var bidPriceCoin: Double?
    public var askPriceCoin: Double?
    public var markPriceCoin: Double?
    /// Absolute.
    public var markVolatility: Double?
    /// In coin.
    public var openInterest: Double?
    /// 24 hours, in coin.
    public var volume: Double?

    public init(
        instrument: String, kind: Kind, strike: Double, expiry: Timestamp, underlyingPrice: Double,
        bidPriceCoin: Double? = nil, askPriceCoin: Double? = nil, markPriceCoin: Double? = nil,
        markVolatility: Double? = nil, openInterest: Double? = nil, volume: Double? = nil
    ) {
        self.instrument = instrument
        self.kind = kind
        self.strike = strike
        self.expiry = expiry
        self.underlyingPrice = underlyingPrice
        self.bidPriceCoin = bidPriceCoin
        self.askPriceCoin = askPriceCoin
        self.markPriceCoin = markPriceCoin
        self.markVolatility = markVolatility
        self.openInterest = openInterest
        self.volume = volume
    }
}

/// All listed options of one currency in one snapshot.
public struct OptionChain: Sendable, Equatable {
    /// `BTC`, `ETH`.
    public var currency: String
    /// The start of the polling run: times to expiry count from here.
    public var snapshotTime: Timestamp
    /// The spot index in USD.
    public var indexPrice: Double
    public var quotes: [OptionQuote]

    public init(currency: String, snapshotTime: Timestamp, indexPrice: Double, quotes: [OptionQuote]) {
        self.currency = currency
        self.snapshotTime = snapshotTime
        self.indexPrice = indexPrice
        self.quotes = quotes
    }
}

/// Implied volatilities on a fixed grid: the input of every inversion.
///
/// Arrays are `[logMoneyness.count × tau.count]`, row-major in k: cell (i, j) stands at `i * tau.count + j`.
public struct ImpliedVolatilitySurface: Sendable, Equatable {
    /// Where a cell's value comes from. Only `missing` cells carry no volatility (their value is NaN).
    public enum Cell: UInt8, Sendable, Codable { case missing = 0, observed, interpolated, extrapolated, stale }

    /// ln(K/F(T)), increasing.
    public var logMoneyness: [Double]
    /// Years to expiry, ACT/365, increasing.
    public var tau: [Double]
    /// Absolute volatilities.
    public var impliedVolatility: [Double]
    public var cells: [Cell]
    /// In USD.
    public var spot: Double
    /// The forward of each maturity, in USD.
    public var forwards: [Double]
    /// How it was built: `svi`, `spline`, `nearest`, `model`.
    public var method: String

    /// The grid of the inverse network: K_POINTS.
    public static let standardLogMoneyness = [-0.4, -0.2, 0, 0.2, 0.4]
    /// T_POINTS, in years.
    public static let standardTau = [0.05, 0.1, 0.25, 0.5, 1, 2]

    public init(
        logMoneyness: [Double], tau: [Double], impliedVolatility: [Double], cells: [Cell], spot: Double,
        forwards: [Double], method: String
    ) {
        precondition(impliedVolatility.count == logMoneyness.count * tau.count, "one volatility a cell")
        precondition(cells.count == impliedVolatility.count, "one mark a cell")
        precondition(forwards.count == tau.count, "one forward a maturity")
        self.logMoneyness = logMoneyness
        self.tau = tau
        self.impliedVolatility = impliedVolatility
        self.cells = cells
        self.spot = spot
        self.forwards = forwards
        self.method = method
    }

    /// The volatility of cell (i, j); `nil` where the cell is missing.
    public subscript(k: Int, t: Int) -> Double? {
        let index = k * tau.count + t
        return cells[index] == .missing ? nil : impliedVolatility[index]
    }
}
