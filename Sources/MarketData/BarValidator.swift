internal import Kernels

/// Judges the bars of one series in the order in which they come: the same rules for files and for live streams.
public struct BarValidator: Sendable {
    public struct Configuration: Sendable, Equatable {
        /// The series' interval: opening times are multiples of it.
        public var interval: Interval
        /// A bar of which any price is farther than this from the last accepted close, as |ln ratio|, is quarantined;
        /// nil (the default) accepts any move, because real crashes exist: 2025-10-10 had a true minute of −41 %.
        /// When the next bar agrees with the quarantined one, the new level is taken as real.
        public var maximumJump: Double?

        public init(interval: Interval, maximumJump: Double? = nil) {
            self.interval = interval
            self.maximumJump = maximumJump
        }
    }

    private let configuration: Configuration
    private var last: Bar?
    private var doubtful: Bar?

    public init(_ configuration: Configuration) {
        precondition(configuration.interval.microseconds > 0, "a bar's interval is positive")
        self.configuration = configuration
    }

    /// Throws what is wrong with `bar`; `priceJump` means quarantine, everything else rejection. A good bar becomes the
    /// one that the next is compared with.
    public mutating func check(_ bar: Bar) throws(RowFault) {
        guard bar.open.isFinite, bar.high.isFinite, bar.low.isFinite, bar.close.isFinite, bar.volume.isFinite else {
            throw .nonFinite
        }
        guard bar.low > 0, bar.open > 0, bar.close > 0 else { throw .notPositive }
        guard bar.volume >= 0 else { throw .negativeVolume }
        guard bar.low <= bar.high else { throw .lowAboveHigh }
        guard bar.open >= bar.low, bar.open <= bar.high else { throw .openOutsideRange }
        guard bar.close >= bar.low, bar.close <= bar.high else { throw .closeOutsideRange }
        guard bar.openTime.microseconds % configuration.interval.microseconds == 0 else { throw .misaligned }
        if let last {
            if bar.openTime == last.openTime { throw bar == last ? .duplicate : .conflictingDuplicate }
            guard bar.openTime > last.openTime else { throw .timeBackwards }
            if let bound = configuration.maximumJump, Self.jump(from: last.close, to: bar) > bound {
                if let level = doubtful, bar.openTime > level.openTime, Self.jump(from: level.close, to: bar) <= bound {
                    // Two bars in a row at the new level: it is the market that moved.
                } else {
                    doubtful = bar
                    throw .priceJump
                }
            }
        }
        doubtful = nil
        last = bar
    }

    private static func jump(from close: Double, to bar: Bar) -> Double {
        max(abs(log(bar.high / close)), abs(log(bar.low / close)))
    }
}
