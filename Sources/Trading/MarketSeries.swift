public import MarketData

/// The bars of one symbol and the normalised features known at each bar's close. Shared, not copied: immutable.
public final class MarketSeries: Sendable {
    public let symbol: String
    public let bars: [Bar]
    /// D; 0 for a series of bars alone.
    public let featureCount: Int
    /// `[bars × featureCount]`, row-major; 0 where missing. Row t uses nothing after the close of bar t: that is the
    /// maker's promise, which no code here can check.
    public let features: [Float]
    /// `[bars × featureCount]`, row-major: 1 valid, 0 missing.
    public let mask: [UInt8]

    /// Throws `invalidSeries` when lengths do not fit, times do not increase, intervals differ, a price is no price, a
    /// feature is not finite, or a missing one is not 0.
    public init(
        symbol: String, bars: [Bar], featureCount: Int = 0, features: [Float] = [], mask: [UInt8] = []
    ) throws(TradingError) {
        func check(_ holds: Bool, _ reason: @autoclosure () -> String) throws(TradingError) {
            if !holds { throw .invalidSeries(reason: reason()) }
        }
        try check(!bars.isEmpty, "no bars")
        try check(featureCount >= 0, "featureCount is negative")
        try check(features.count == bars.count * featureCount, "features are not [bars × featureCount]")
        try check(mask.count == features.count, "mask is not [bars × featureCount]")
        for (index, bar) in bars.enumerated() {
            try check(index == 0 || bar.openTime > bars[index - 1].openTime, "time does not increase at bar \(index)")
            try check(bar.interval == bars[0].interval, "another interval at bar \(index)")
            let isBar = bar.low > 0 && bar.low <= min(bar.open, bar.close) && bar.high >= max(bar.open, bar.close)
            try check(isBar && bar.high < .infinity && bar.volume >= 0, "bar \(index) is none")
        }
        for index in features.indices where !(features[index].isFinite && (mask[index] == 1 || features[index] == 0)) {
            throw .invalidSeries(reason: "feature \(index % featureCount) of bar \(index / featureCount)")
        }
        try check(mask.allSatisfy { $0 <= 1 }, "mask cells are 0 or 1")
        self.symbol = symbol
        self.bars = bars
        self.featureCount = featureCount
        self.features = features
        self.mask = mask
    }

    public var count: Int { bars.count }
    public var interval: Interval { bars[0].interval }

    /// Writes the observation at the close of bar `row`: it reads rows row − window + 1 … row. Traps when the series
    /// does not have them, or when the layout has another `featureCount`.
    public func observe(
        _ row: Int, _ layout: ObservationLayout, previousExposure: Float, into observation: inout MutableSpan<Float>
    ) {
        precondition(layout.featureCount == featureCount, "the layout is made for other features")
        precondition(row >= layout.window - 1 && row < count, "an observation needs a whole window of rows")
        let (features, mask) = (features, mask)
        let end = (row + 1) * featureCount
        layout.write(
            values: features.span.extracting(end - layout.window * featureCount..<end),
            mask: mask.span.extracting(end - featureCount..<end), previousExposure: previousExposure,
            into: &observation)
    }
}
