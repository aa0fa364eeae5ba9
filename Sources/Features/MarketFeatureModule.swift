internal import Indicators
internal import MarketData

/// The named columns of a market in their own units: the bar and the book as they are, TA-Lib's indicators as TA-Lib
/// gives them, and events. For reports and other programs; a network is shown none of the levels.
struct MarketFeatureModule: FeatureModule {
    private var bars = Machines()
    private var book: AsOfSlot<BookTop>

    init(_ configuration: FeatureConfiguration) {
        book = AsOfSlot(tolerance: configuration.bookTolerance)
    }

    mutating func observe(_ input: FeatureInput, eventTime: Timestamp, knownAt: Timestamp) {
        switch input {
        case .bar(let bar): bars.update(bar)
        case .restart: bars = Machines()
        case .book(let top): book.offer(top, eventTime: eventTime, knownAt: knownAt)
        default: break
        }
    }

    var definitions: [FeatureDefinition] {
        func level(_ name: String, _ formula: String, _ unit: String, _ warmUp: Int = 0) -> FeatureDefinition {
            .init("market.\(name)", formula, unit: unit, warmUp: warmUp, isLevel: true)
        }
        return [
            level("timestamp", "the bar's close, since 1970 UTC", "milliseconds"),
            level("price", "last trade: the bar's close", "quote"), level("volume", "V", "base"),
            level("open", "O", "quote"), level("high", "H", "quote"), level("low", "L", "quote"),
            level("close", "C", "quote"),
            level("bid_price", "best bid of the newest book", "quote"),
            level("ask_price", "best ask of the newest book", "quote"),
            level("bid_volume", "size at the best bid of the newest book", "base"),
            level("ask_volume", "size at the best ask of the newest book", "base"),
            level("spread", "ask - bid of the newest book", "quote"),
            .init(
                "market.order_imbalance", "(bid volume - ask volume)/(sum) of the newest book", bounds: -1...1),
            .init("market.rsi_14", "TA-Lib RSI(14)", unit: "percent", warmUp: 14, bounds: 0...100),
            level("macd", "TA-Lib MACD(12,26,9)", "quote", 33),
            level("macd_signal", "TA-Lib MACD signal(12,26,9)", "quote", 33),
            level("ema_9", "TA-Lib EMA(9)", "quote", 8), level("ema_21", "TA-Lib EMA(21)", "quote", 20),
            level("sma_50", "TA-Lib SMA(50)", "quote", 49),
            level("bollinger_upper", "TA-Lib BBANDS(20,2) upper", "quote", 19),
            level("bollinger_lower", "TA-Lib BBANDS(20,2) lower", "quote", 19),
            level("atr_14", "TA-Lib ATR(14)", "quote", 14),
            .init("market.adx", "TA-Lib ADX(14)", unit: "percent", warmUp: 27, bounds: 0...100),
            .init("market.cci_20", "TA-Lib CCI(20)", warmUp: 19),
            level("tenkan", "Ichimoku conversion line, (highest H + lowest L)/2 of 9", "quote", 8),
            level("kijun", "Ichimoku base line, (highest H + lowest L)/2 of 26", "quote", 25),
            level("senkou_a", "Ichimoku span A of 26 bars ago, (tenkan + kijun)/2", "quote", 51),
            level("senkou_b", "Ichimoku span B of 26 bars ago, (highest H + lowest L)/2 of 52", "quote", 77),
            level("vwap", "sum TP V/sum V since 00:00 UTC, TP = (H+L+C)/3", "quote"),
            .init(
                "market.event_spike_volume", "1: V > mean + 2 std (population) of the 20 bars before", warmUp: 20,
                bounds: 0...1),
            .init("market.event_breakout", "1: C > highest H of the 20 bars before", warmUp: 20, bounds: 0...1),
            .init(
                "market.event_reversal",
                "1: C > H[1], where L[1] was the lowest of 10; -1: C < L[1], where H[1] was the highest of 10",
                warmUp: 10, bounds: -1...1),
            .init(
                "market.trend_direction", "1: EMA(9) > EMA(21) and C > SMA(50); -1: both below; 0: neither",
                warmUp: 49, bounds: -1...1),
            .init(
                "market.momentum_shift",
                "1: MACD crosses above its signal or RSI(14) above 30; -1: MACD below it or RSI below 70; 0: both, none",
                warmUp: 34, bounds: -1...1),
            .init(
                "market.pattern_match", "number of the candle pattern that ends here: see CandlePattern", warmUp: 6,
                bounds: 0...15),
        ]
    }

    mutating func write(at now: Timestamp, to sink: inout FeatureSink) {
        bars.writeRaw(to: &sink)
        writeBook(at: now, to: &sink)
        bars.writeIndicators(to: &sink)
        bars.writeEvents(to: &sink)
    }

    private mutating func writeBook(at now: Timestamp, to sink: inout FeatureSink) {
        let top = book.reading(at: now).flatMap { $0.isSound ? Known.value($0) : .absent(.brokenBook) }
        sink.put("bid_price", top.map(\.bidPrice))
        sink.put("ask_price", top.map(\.askPrice))
        sink.put("bid_volume", top.map(\.bidVolume))
        sink.put("ask_volume", top.map(\.askVolume))
        sink.put("spread", top.map { $0.askPrice - $0.bidPrice })
        sink.put("order_imbalance", top.flatMap { Known($0.orderImbalance, or: .undefined) })
    }

    func save(to writer: inout StateWriter) {
        bars.save(to: &writer)
        book.save(to: &writer)
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try bars.restore(from: &reader)
        try book.restore(from: &reader)
    }
}

extension MarketFeatureModule {
    /// Everything that is computed from bars. The newest results live until the next bar and are not saved, because a
    /// vector is written right after its bar.
    fileprivate struct Machines: Restorable {
        private var classic: ClassicIndicators
        private var ema21 = ExponentialMovingAverage(21)
        private var ichimoku = Ichimoku()
        private var session = SessionVWAP()
        private var events = MarketEvents()
        private var bar: Bar?
        private var vwap: Double?

        init() {
            var periods = ClassicIndicators.Periods()
            periods.ema = 9
            classic = ClassicIndicators(periods)
        }

        mutating func update(_ bar: Bar) {
            self.bar = bar
            classic.update(bar)
            ema21.update(bar.close)
            ichimoku.update(bar)
            vwap = session.update(bar)
            let values = classic.values
            events.update(
                bar, macd: values.macd, rsi: classic.isRSIFlat ? nil : values.rsi, ema9: values.ema,
                ema21: ema21.value, sma50: values.sma)
        }

        mutating func writeRaw(to sink: inout FeatureSink) {
            sink.put("timestamp", bar.map { Double($0.closeTime.microseconds) / 1000 })
            sink.put("price", bar?.close)
            sink.put("volume", bar?.volume)
            sink.put("open", bar?.open)
            sink.put("high", bar?.high)
            sink.put("low", bar?.low)
            sink.put("close", bar?.close)
        }

        mutating func writeIndicators(to sink: inout FeatureSink) {
            let values = classic.values
            sink.put("rsi_14", classic.isRSIFlat ? nil : values.rsi, isWarm: values.rsi != nil)
            sink.put("macd", values.macd?.line)
            sink.put("macd_signal", values.macd?.signal)
            sink.put("ema_9", values.ema)
            sink.put("ema_21", ema21.value)
            sink.put("sma_50", values.sma)
            sink.put("bollinger_upper", values.bollinger?.upper)
            sink.put("bollinger_lower", values.bollinger?.lower)
            sink.put("atr_14", values.atr)
            sink.put("adx", values.adx)
            sink.put("cci_20", values.cci)
            sink.put("tenkan", ichimoku.value.conversion)
            sink.put("kijun", ichimoku.value.base)
            sink.put("senkou_a", ichimoku.value.spanA)
            sink.put("senkou_b", ichimoku.value.spanB)
            sink.put("vwap", vwap, isWarm: bar != nil)
        }

        mutating func writeEvents(to sink: inout FeatureSink) {
            func number(_ value: Int?) -> Double? { value.map(Double.init) }
            func flag(_ value: Bool?) -> Double? { value.map { $0 ? 1 : 0 } }
            sink.put("event_spike_volume", flag(events.value.isVolumeSpike))
            sink.put("event_breakout", flag(events.value.isBreakout))
            sink.put("event_reversal", number(events.value.reversal))
            sink.put("trend_direction", number(events.value.trendDirection))
            sink.put("momentum_shift", number(events.value.momentumShift))
            sink.put("pattern_match", number(events.value.pattern?.rawValue))
        }

        func save(to writer: inout StateWriter) {
            classic.save(to: &writer)
            ema21.save(to: &writer)
            ichimoku.save(to: &writer)
            session.save(to: &writer)
            events.save(to: &writer)
        }

        mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
            try classic.restore(from: &reader)
            try ema21.restore(from: &reader)
            try ichimoku.restore(from: &reader)
            try session.restore(from: &reader)
            try events.restore(from: &reader)
        }
    }
}
