public import MarketData

extension BookTop {
    /// Both sides quoted, finite, positive and not crossed: a book that features may be computed from.
    public var isSound: Bool {
        bidPrice > 0 && askPrice.isFinite && askPrice >= bidPrice
            && bidVolume >= 0 && askVolume >= 0 && bidVolume.isFinite && askVolume.isFinite
    }

    /// (ask − bid)/mid; 0.0001 is 1 basis point. `nil` for a book that is not sound.
    public var relativeSpread: Double? { isSound ? 2 * (askPrice - bidPrice) / (askPrice + bidPrice) : nil }

    /// (bid volume − ask volume)/(bid volume + ask volume), within [−1, 1]. `nil` for an empty book or one not sound.
    public var orderImbalance: Double? {
        guard isSound, bidVolume + askVolume > 0 else { return nil }
        return (bidVolume - askVolume) / (bidVolume + askVolume)
    }
}
