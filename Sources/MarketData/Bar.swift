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

/// The book down to some depth, best first: prices in the quote currency, sizes in base units.
public struct BookDepth: Sendable, Equatable {
    public var bidPrices: [Double]
    public var bidVolumes: [Double]
    public var askPrices: [Double]
    public var askVolumes: [Double]

    public init(bidPrices: [Double], bidVolumes: [Double], askPrices: [Double], askVolumes: [Double]) {
        self.bidPrices = bidPrices
        self.bidVolumes = bidVolumes
        self.askPrices = askPrices
        self.askVolumes = askVolumes
    }

    /// As many sizes as prices, each finite, the prices positive.
    public var isSound: Bool {
        bidPrices.count == bidVolumes.count && askPrices.count == askVolumes.count
            && (bidPrices + askPrices).allSatisfy { $0 > 0 && $0.isFinite }
            && (bidVolumes + askVolumes).allSatisfy { $0 >= 0 && $0.isFinite }
    }
}

/// One public trade.
public struct PublicTrade: Sendable, Equatable {
    /// The exchange's number, ascending within a symbol.
    public var id: Int64
    public var price: Double
    /// In base units.
    public var quantity: Double
    /// The seller's order rested in the book: the trade was a purchase.
    public var isBuy: Bool

    public init(id: Int64, price: Double, quantity: Double, isBuy: Bool) {
        self.id = id
        self.price = price
        self.quantity = quantity
        self.isBuy = isBuy
    }
}
