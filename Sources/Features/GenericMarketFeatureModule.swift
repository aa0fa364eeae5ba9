internal import Indicators
internal import Kernels
internal import MarketData

/// Columns of any market, from its own bars and book: returns, volatility, momentum, trend, volume, candle, time.
///
/// All are free of the price's scale. Percent-like oscillators are brought to about [−1, 1] or [0, 1].
struct GenericMarketFeatureModule: FeatureModule {
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
        [
            .init("generic.log_return_1", "ln(C/C[1])", warmUp: 1),
            .init("generic.roc_5", "C/C[5] - 1", warmUp: 5),
            .init("generic.roc_10", "C/C[10] - 1", warmUp: 10),
            .init("generic.roc_20", "C/C[20] - 1", warmUp: 20),
            .init("generic.realized_vol_10", "sqrt(mean of squared log returns, 10)", unit: "per_bar", warmUp: 10),
            .init("generic.realized_vol_30", "sqrt(mean of squared log returns, 30)", unit: "per_bar", warmUp: 30),
            .init("generic.realized_vol_60", "sqrt(mean of squared log returns, 60)", unit: "per_bar", warmUp: 60),
            .init("generic.parkinson_vol_20", "sqrt(sum ln(H/L)^2/(4 ln2 20))", unit: "per_bar", warmUp: 19),
            .init("generic.vol_ratio", "realized_vol_10/realized_vol_60", warmUp: 60, bounds: 0...6.0.squareRoot()),
            .init("generic.atr_14", "TA-Lib ATR(14)/C", warmUp: 14),
            .init("generic.rsi_14", "TA-Lib RSI(14)/50 - 1", warmUp: 14, bounds: -1...1),
            .init("generic.macd", "TA-Lib MACD(12,26,9)/C", warmUp: 33),
            .init("generic.macd_signal", "TA-Lib MACD signal(12,26,9)/C", warmUp: 33),
            .init("generic.macd_hist", "TA-Lib MACD histogram(12,26,9)/C", warmUp: 33),
            .init("generic.stoch_k", "TA-Lib STOCH(14,3,3) slow K/50 - 1", warmUp: 17, bounds: -1...1),
            .init("generic.stoch_d", "TA-Lib STOCH(14,3,3) slow D/50 - 1", warmUp: 17, bounds: -1...1),
            .init("generic.cci_20", "TA-Lib CCI(20)/100", warmUp: 19),
            .init("generic.mfi_14", "TA-Lib MFI(14)/50 - 1", warmUp: 14, bounds: -1...1),
            .init("generic.ema_9", "C/TA-Lib EMA(9) - 1", warmUp: 8),
            .init("generic.ema_21", "C/TA-Lib EMA(21) - 1", warmUp: 20),
            .init("generic.sma_50", "C/TA-Lib SMA(50) - 1", warmUp: 49),
            .init("generic.ema_slope_21", "EMA(21)/EMA(21)[1] - 1", unit: "per_bar", warmUp: 21),
            .init("generic.adx_14", "TA-Lib ADX(14)/100", warmUp: 27, bounds: 0...1),
            .init("generic.bollinger_position", "(C - middle)/(upper - middle), TA-Lib BBANDS(20,2)", warmUp: 19),
            .init("generic.bollinger_width", "(upper - lower)/middle, TA-Lib BBANDS(20,2)", warmUp: 19),
            .init("generic.volume_zscore_30", "(V - mean V)/std V, 30, population", warmUp: 29),
            .init("generic.volume_ratio_20", "ln((V + m/100)/(1.01 m)), m = mean V of 20", warmUp: 19),
            .init("generic.vwap_dist_60", "C/(sum TP V/sum V) - 1, 60, TP = (H+L+C)/3", warmUp: 59),
            .init(
                "generic.obv_slope_20", "sum of V signed by the close's change/sum V, 20", warmUp: 20, bounds: -1...1),
            .init("generic.close_position", "(2C - H - L)/(H - L)", bounds: -1...1),
            .init("generic.body_ratio", "(C - O)/(H - L)", bounds: -1...1),
            .init("generic.upper_shadow", "(H - max(O, C))/(H - L)", bounds: 0...1),
            .init("generic.lower_shadow", "(min(O, C) - L)/(H - L)", bounds: 0...1),
            .init("generic.spread", "(ask - bid)/mid of the newest book"),
            .init("generic.order_imbalance", "(bid volume - ask volume)/(sum) of the newest book", bounds: -1...1),
            .init("generic.hour_sin", "sin(2 pi t/24 h), t = UTC time of day of the close", bounds: -1...1),
            .init("generic.hour_cos", "cos(2 pi t/24 h), t = UTC time of day of the close", bounds: -1...1),
            .init("generic.weekday_sin", "sin(2 pi d/7), d = days from Monday 00:00 UTC to the close", bounds: -1...1),
            .init("generic.weekday_cos", "cos(2 pi d/7), d = days from Monday 00:00 UTC to the close", bounds: -1...1),
        ]
    }

    mutating func write(at now: Timestamp, to sink: inout FeatureSink) {
        bars.write(to: &sink)
        writeBook(at: now, to: &sink)
        writeTime(to: &sink)
    }

    private mutating func writeBook(at now: Timestamp, to sink: inout FeatureSink) {
        let top = book.reading(at: now).flatMap { $0.isSound ? Known.value($0) : .absent(.brokenBook) }
        sink.put("spread", top.flatMap { Known($0.relativeSpread, or: .brokenBook) })
        sink.put("order_imbalance", top.flatMap { Known($0.orderImbalance, or: .undefined) })
    }

    private mutating func writeTime(to sink: inout FeatureSink) {
        var clock = ClockFace()
        if let close = bars.closeTime { clock.turn(to: close) }
        sink.put("hour_sin", clock.hourSine)
        sink.put("hour_cos", clock.hourCosine)
        sink.put("weekday_sin", clock.weekdaySine)
        sink.put("weekday_cos", clock.weekdayCosine)
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

extension GenericMarketFeatureModule {
    /// Everything that is computed from bars, and the newest results: they live until the next bar, and are not saved,
    /// because a vector is written right after its bar.
    fileprivate struct Machines: Restorable {
        private var logReturn = LogReturn()
        private var roc5 = RateOfChange(5)
        private var roc10 = RateOfChange(10)
        private var roc20 = RateOfChange(20)
        private var realised10 = RealisedVolatility(10)
        private var realised30 = RealisedVolatility(30)
        private var realised60 = RealisedVolatility(60)
        private var parkinson = ParkinsonVolatility(20)
        private var classic: ClassicIndicators
        private var ema21 = ExponentialMovingAverage(21)
        private var volume30 = RollingDeviation(30)
        private var volume20 = RollingSum(20)
        private var vwap = VolumeWeightedDistance(60)
        private var balance = VolumeBalance(20)

        private var bar: Bar?
        private var change: Double?
        private var parkinsonValue: Double?
        private var slope: Double?
        private var vwapValue: Double?
        private var balanceValue: Double?

        init() {
            var periods = ClassicIndicators.Periods()
            periods.ema = 9
            classic = ClassicIndicators(periods)
        }

        var closeTime: Timestamp? { bar?.closeTime }

        mutating func update(_ bar: Bar) {
            self.bar = bar
            let close = bar.close
            change = logReturn.update(close)
            roc5.update(close)
            roc10.update(close)
            roc20.update(close)
            if let change {
                realised10.update(change)
                realised30.update(change)
                realised60.update(change)
            }
            parkinsonValue = parkinson.update(bar)
            classic.update(bar)
            let oldAverage = ema21.value
            ema21.update(close)
            slope = if let oldAverage, let newAverage = ema21.value { newAverage / oldAverage - 1 } else { nil }
            volume30.update(bar.volume)
            volume20.update(bar.volume)
            vwapValue = vwap.update(bar)
            balanceValue = balance.update(bar)
        }

        mutating func write(to sink: inout FeatureSink) {
            let close = bar?.close ?? .nan
            let values = classic.values
            sink.put("log_return_1", change)
            sink.put("roc_5", roc5.value)
            sink.put("roc_10", roc10.value)
            sink.put("roc_20", roc20.value)
            sink.put("realized_vol_10", realised10.value)
            sink.put("realized_vol_30", realised30.value)
            sink.put("realized_vol_60", realised60.value)
            sink.put("parkinson_vol_20", parkinsonValue)
            sink.put("vol_ratio", Self.ratio(realised10.value, realised60.value), isWarm: realised60.isWarm)
            sink.put("atr_14", values.atr.map { $0 / close })
            let strength = classic.isRSIFlat ? nil : values.rsi
            sink.put("rsi_14", strength.map { $0 / 50 - 1 }, isWarm: values.rsi != nil)
            sink.put("macd", values.macd.map { $0.line / close })
            sink.put("macd_signal", values.macd.map { $0.signal / close })
            sink.put("macd_hist", values.macd.map { $0.histogram / close })
            let stochastic = classic.isStochasticFlat ? nil : values.stochastic
            sink.put("stoch_k", stochastic.map { $0.k / 50 - 1 }, isWarm: values.stochastic != nil)
            sink.put("stoch_d", stochastic.map { $0.d / 50 - 1 }, isWarm: values.stochastic != nil)
            sink.put("cci_20", values.cci.map { $0 / 100 })
            let money = classic.isMFIFlat ? nil : values.mfi
            sink.put("mfi_14", money.map { $0 / 50 - 1 }, isWarm: values.mfi != nil)
            sink.put("ema_9", values.ema.map { close / $0 - 1 })
            sink.put("ema_21", ema21.value.map { close / $0 - 1 })
            sink.put("sma_50", values.sma.map { close / $0 - 1 })
            sink.put("ema_slope_21", slope)
            sink.put("adx_14", values.adx.map { $0 / 100 })
            sink.put("bollinger_position", bandPosition(close), isWarm: values.bollinger != nil)
            sink.put("bollinger_width", values.bollinger.map { ($0.upper - $0.lower) / $0.middle })
            sink.put("volume_zscore_30", volume30.zScore, isWarm: volume30.isWarm)
            sink.put("volume_ratio_20", volumeRatio(), isWarm: volume20.isWarm)
            sink.put("vwap_dist_60", vwapValue, isWarm: vwap.isWarm)
            sink.put("obv_slope_20", balanceValue, isWarm: balance.isWarm)
            writeCandle(to: &sink)
        }

        private static func ratio(_ numerator: Double?, _ denominator: Double?) -> Double? {
            guard let numerator, let denominator, denominator > 0 else { return nil }
            return numerator / denominator
        }

        private mutating func bandPosition(_ close: Double) -> Double? {
            guard let band = classic.values.bollinger, band.upper > band.middle else { return nil }
            return (close - band.middle) / (band.upper - band.middle)
        }

        private mutating func volumeRatio() -> Double? {
            guard let bar, volume20.isWarm, volume20.sum > 0 else { return nil }
            let mean = volume20.sum / 20
            return log((bar.volume + mean / 100) / (1.01 * mean))
        }

        private mutating func writeCandle(to sink: inout FeatureSink) {
            guard let bar, bar.high > bar.low else {
                for name: StaticString in ["close_position", "body_ratio", "upper_shadow", "lower_shadow"] {
                    sink.put(name, nil, isWarm: bar != nil)
                }
                return
            }
            let range = bar.high - bar.low
            sink.put("close_position", ((bar.close - bar.low) - (bar.high - bar.close)) / range)
            sink.put("body_ratio", (bar.close - bar.open) / range)
            sink.put("upper_shadow", (bar.high - max(bar.open, bar.close)) / range)
            sink.put("lower_shadow", (min(bar.open, bar.close) - bar.low) / range)
        }

        func save(to writer: inout StateWriter) {
            logReturn.save(to: &writer)
            roc5.save(to: &writer)
            roc10.save(to: &writer)
            roc20.save(to: &writer)
            realised10.save(to: &writer)
            realised30.save(to: &writer)
            realised60.save(to: &writer)
            parkinson.save(to: &writer)
            classic.save(to: &writer)
            ema21.save(to: &writer)
            volume30.save(to: &writer)
            volume20.save(to: &writer)
            vwap.save(to: &writer)
            balance.save(to: &writer)
        }

        mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
            try logReturn.restore(from: &reader)
            try roc5.restore(from: &reader)
            try roc10.restore(from: &reader)
            try roc20.restore(from: &reader)
            try realised10.restore(from: &reader)
            try realised30.restore(from: &reader)
            try realised60.restore(from: &reader)
            try parkinson.restore(from: &reader)
            try classic.restore(from: &reader)
            try ema21.restore(from: &reader)
            try volume30.restore(from: &reader)
            try volume20.restore(from: &reader)
            try vwap.restore(from: &reader)
            try balance.restore(from: &reader)
        }
    }
}
