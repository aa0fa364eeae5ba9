/// One candle of trades: `openTime ≤ t < openTime + interval`. Known from its close, never before.
public struct Bar: Sendable, Equatable {
    public var openTime: Timestamp
    public var interval: Interval
    /// Prices in the quote currency (USDT).
    public var open: Double
    public var high: Double
    public var low: Double
    public var close: Double
    /// Traded amount in base units; 0 is a real value: nobody traded.
    public var volume: Double

    public init(
        openTime: Timestamp, interval: Interval, open: Double, high: Double, low: Double, close: Double, volume: Double
    ) {
        self.openTime = openTime
        self.interval = interval
        self.open = open
        self.high = high
        self.low = low
        self.close = close
        self.volume = volume
    }

    /// The instant from which the bar is known.
    public var closeTime: Timestamp { openTime + interval }
}

/// The best bid and ask at one instant: prices in the quote currency, sizes in base units.
public struct BookTop: Sendable, Equatable {
    public var bidPrice: Double
    public var askPrice: Double
    public var bidVolume: Double
    public var askVolume: Double

    public init(bidPrice: Double, askPrice: Double, bidVolume: Double, askVolume: Double) {
        self.bidPrice = bidPrice
        self.askPrice = askPrice
        self.bidVolume = bidVolume
        self.askVolume = askVolume
    }
}
