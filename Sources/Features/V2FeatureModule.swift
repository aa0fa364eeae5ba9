internal import Indicators
internal import Kernels
internal import MarketData

/// The feature set `v2`: 53 numbers of a market's own bars, all free of the price's scale.
///
/// 46 come from its five families (volatility, momentum, trend, volume, candle structure); the seven more are the time
/// of day and of the week, CCI 20, the place within the Bollinger bands, and the distance to Ichimoku's base line.
struct V2FeatureModule: FeatureModule {
    private var bars = Machines()

    mutating func observe(_ input: FeatureInput, eventTime: Timestamp, knownAt: Timestamp) {
        switch input {
        case .bar(let bar): bars.update(bar)
        case .restart: bars = Machines()
        default: break
        }
    }

    static let averages = [5, 10, 20, 50, 100]

    var definitions: [FeatureDefinition] {
        func column(
            _ name: String, _ formula: String, _ warmUp: Int = 0, unit: String = "1",
            _ bounds: ClosedRange<Double>? = nil
        ) -> FeatureDefinition { .init("v2.feat_\(name)", formula, unit: unit, warmUp: warmUp, bounds: bounds) }
        let volatility = [
            column("atr", "TA-Lib ATR(14)/C", 14),
            column("realized_vol_10", "sqrt(mean of squared log returns, 10)", 10, unit: "per_bar"),
            column("realized_vol_20", "sqrt(mean of squared log returns, 20)", 20, unit: "per_bar"),
            column("realized_vol_50", "sqrt(mean of squared log returns, 50)", 50, unit: "per_bar"),
            column("parkinson_vol_10", "sqrt(sum ln(H/L)^2/(4 ln2 10))", 9, unit: "per_bar"),
            column("parkinson_vol_20", "sqrt(sum ln(H/L)^2/(4 ln2 20))", 19, unit: "per_bar"),
            column("vol_ratio", "realized_vol_10/realized_vol_50", 50, 0...5.0.squareRoot()),
        ]
        let momentum = [7, 14, 21].map { column("rsi_\($0)", "TA-Lib RSI(\($0))/50 - 1", $0, -1...1) }
            + [1, 5, 10, 20].map { column("roc_\($0)", "C/C[\($0)] - 1", $0) } + [
                column("macd", "TA-Lib MACD(12,26,9)/C", 33),
                column("macd_signal", "TA-Lib MACD signal(12,26,9)/C", 33),
                column("macd_hist", "TA-Lib MACD histogram(12,26,9)/C", 33),
                column("stoch_14", "TA-Lib STOCH(14,3,3) slow K/50 - 1", 17, -1...1),
                column("stoch_21", "TA-Lib STOCH(21,3,3) slow K/50 - 1", 24, -1...1),
            ]
        let trend = Self.averages.map { column("ema_\($0)", "TA-Lib EMA(\($0))/C", $0 - 1) }
            + Self.averages.map {
                column("dist_ema_\($0)", "(C - EMA(\($0)))/ATR(14)", max(14, $0 - 1), unit: "average_true_ranges")
            } + [
                column("ema_slope_20", "EMA(20)/EMA(20)[1] - 1", 20, unit: "per_bar"),
                column("ema_slope_50", "EMA(50)/EMA(50)[1] - 1", 50, unit: "per_bar"),
                column("adx", "TA-Lib ADX(14)/100", 27, 0...1),
                column(
                    "trend_score",
                    "(sign(C - EMA(20)) + sign(EMA(20) - EMA(50)) + sign(EMA(50) - EMA(100)))/3 min(1, ADX(14)/50)", 99,
                    -1...1),
            ]
        let volume = [10, 20, 50].map { column("volume_ratio_\($0)", "V/mean V of \($0)", $0 - 1) } + [
            column("vwap_dist", "C/(sum TP V/sum V) - 1, 20, TP = (H+L+C)/3", 19),
            column("obv_slope", "sum of V signed by the close's change/sum V, 20", 20, -1...1),
            column("mfv_sum_20", "sum V((C-L) - (H-C))/(H-L)/sum V, 20", 19, -1...1),
        ]
        let candle = [
            column("close_position", "(C - L)/(H - L)", 0, 0...1),
            column("body_ratio", "|C - O|/(H - L)", 0, 0...1),
            column("upper_shadow", "(H - max(O, C))/(H - L)", 0, 0...1),
            column("lower_shadow", "(min(O, C) - L)/(H - L)", 0, 0...1),
            column("candle_dir", "sign(C - O)", 0, -1...1),
            column("consecutive", "closes in a row up (or -down)/10, within -1 ... 1", 1, -1...1),
            column("gap", "O/C[1] - 1", 1),
        ]
        let more = [
            column("hour_sin", "sin(2 pi t/24 h), t = UTC time of day of the close", 0, -1...1),
            column("hour_cos", "cos(2 pi t/24 h), t = UTC time of day of the close", 0, -1...1),
            column("weekday_sin", "sin(2 pi d/7), d = days from Monday 00:00 UTC to the close", 0, -1...1),
            column("weekday_cos", "cos(2 pi d/7), d = days from Monday 00:00 UTC to the close", 0, -1...1),
            column("cci_20", "TA-Lib CCI(20)/100", 19),
            column("bollinger_position", "(C - lower)/(upper - lower), TA-Lib BBANDS(20,2)", 19),
            column("dist_kijun", "C/((highest H + lowest L)/2 of 26) - 1", 25),
        ]
        return volatility + momentum + trend + volume + candle + more
    }

    mutating func write(at now: Timestamp, to sink: inout FeatureSink) { bars.write(to: &sink) }

    func save(to writer: inout StateWriter) { bars.save(to: &writer) }
    mutating func restore(from reader: inout StateReader) throws(IndicatorError) { try bars.restore(from: &reader) }
}

extension V2FeatureModule {
    /// The memory, and the newest results: they live until the next bar, and are not saved.
    fileprivate struct Machines: Restorable {
        private var classic: ClassicIndicators
        private var rsi7 = RelativeStrengthIndex(7)
        private var rsi21 = RelativeStrengthIndex(21)
        private var stochastic21 = StochasticOscillator(21)
        private var logReturn = LogReturn()
        private var realised10 = RealisedVolatility(10)
        private var realised20 = RealisedVolatility(20)
        private var realised50 = RealisedVolatility(50)
        private var parkinson10 = ParkinsonVolatility(10)
        private var parkinson20 = ParkinsonVolatility(20)
        private var change1 = RateOfChange(1)
        private var change5 = RateOfChange(5)
        private var change10 = RateOfChange(10)
        private var change20 = RateOfChange(20)
        private var ema5 = ExponentialMovingAverage(5)
        private var ema10 = ExponentialMovingAverage(10)
        private var ema50 = ExponentialMovingAverage(50)
        private var ema100 = ExponentialMovingAverage(100)
        private var volume10 = SimpleMovingAverage(10)
        private var volume20 = SimpleMovingAverage(20)
        private var volume50 = SimpleMovingAverage(50)
        private var vwap = VolumeWeightedDistance(20)
        private var balance = VolumeBalance(20)
        private var flow = ChaikinMoneyFlow(20)
        private var streak = Streak()
        private var base = RollingRange(26)
        private var previousClose: Double?
        private var previousAverage20: Double?

        private var bar: Bar?
        private var gap: Double?
        private var slope20: Double?
        private var slope50: Double?
        private var parkinsonValues: (ten: Double?, twenty: Double?)
        private var stochasticValue: Double?
        private var vwapValue: Double?
        private var balanceValue: Double?
        private var flowValue: Double?
        private var streakValue: Int?
        private var clock = ClockFace()

        /// EMA 20 is the classic set's.
        init() { classic = ClassicIndicators() }

        mutating func update(_ bar: Bar) {
            self.bar = bar
            let close = bar.close
            gap = previousClose.map { bar.open / $0 - 1 }
            previousClose = close
            classic.update(bar)
            slope20 = Self.ratio(classic.values.ema, previousAverage20).map { $0 - 1 }
            previousAverage20 = classic.values.ema
            _ = rsi7.update(close)
            _ = rsi21.update(close)
            stochasticValue = stochastic21.update(bar)?.k
            if let change = logReturn.update(close) {
                realised10.update(change)
                realised20.update(change)
                realised50.update(change)
            }
            let range = ParkinsonVolatility.squaredRange(bar)
            parkinsonValues = (parkinson10.update(squaredRange: range), parkinson20.update(squaredRange: range))
            change1.update(close)
            change5.update(close)
            change10.update(close)
            change20.update(close)
            ema5.update(close)
            ema10.update(close)
            let old50 = ema50.value
            ema50.update(close)
            slope50 = Self.ratio(ema50.value, old50).map { $0 - 1 }
            ema100.update(close)
            volume10.update(bar.volume)
            volume20.update(bar.volume)
            volume50.update(bar.volume)
            vwapValue = vwap.update(bar)
            balanceValue = balance.update(bar)
            flowValue = flow.update(bar)
            streakValue = streak.update(close)
            base.update(bar)
            clock.turn(to: bar.closeTime)
        }

        private static func ratio(_ numerator: Double?, _ denominator: Double?) -> Double? {
            guard let numerator, let denominator, denominator > 0 else { return nil }
            return numerator / denominator
        }

        mutating func write(to sink: inout FeatureSink) {
            writeVolatility(to: &sink)
            writeMomentum(to: &sink)
            writeTrend(to: &sink)
            writeVolume(to: &sink)
            writeCandle(to: &sink)
            writeMore(to: &sink)
        }

        private mutating func writeVolatility(to sink: inout FeatureSink) {
            let close = bar?.close ?? .nan
            sink.put("feat_atr", classic.values.atr.map { $0 / close })
            sink.put("feat_realized_vol_10", realised10.value)
            sink.put("feat_realized_vol_20", realised20.value)
            sink.put("feat_realized_vol_50", realised50.value)
            sink.put("feat_parkinson_vol_10", parkinsonValues.ten)
            sink.put("feat_parkinson_vol_20", parkinsonValues.twenty)
            sink.put("feat_vol_ratio", Self.ratio(realised10.value, realised50.value), isWarm: realised50.isWarm)
        }

        private mutating func writeMomentum(to sink: inout FeatureSink) {
            let close = bar?.close ?? .nan
            func strength(_ rsi: RelativeStrengthIndex) -> Double? { rsi.isFlat ? nil : rsi.value.map { $0 / 50 - 1 } }
            sink.put("feat_rsi_7", strength(rsi7), isWarm: rsi7.isWarm)
            let middle = classic.isRSIFlat ? nil : classic.values.rsi
            sink.put("feat_rsi_14", middle.map { $0 / 50 - 1 }, isWarm: classic.values.rsi != nil)
            sink.put("feat_rsi_21", strength(rsi21), isWarm: rsi21.isWarm)
            sink.put("feat_roc_1", change1.value)
            sink.put("feat_roc_5", change5.value)
            sink.put("feat_roc_10", change10.value)
            sink.put("feat_roc_20", change20.value)
            let macd = classic.values.macd
            sink.put("feat_macd", macd.map { $0.line / close })
            sink.put("feat_macd_signal", macd.map { $0.signal / close })
            sink.put("feat_macd_hist", macd.map { $0.histogram / close })
            let quick = classic.isStochasticFlat ? nil : classic.values.stochastic?.k
            sink.put("feat_stoch_14", quick.map { $0 / 50 - 1 }, isWarm: classic.values.stochastic != nil)
            let slow = stochastic21.isFlat ? nil : stochasticValue
            sink.put("feat_stoch_21", slow.map { $0 / 50 - 1 }, isWarm: stochastic21.isWarm)
        }

        private mutating func writeTrend(to sink: inout FeatureSink) {
            let close = bar?.close ?? .nan
            let reciprocal = 1 / close
            let averages = (ema5.value, ema10.value, classic.values.ema, ema50.value, ema100.value)
            sink.put("feat_ema_5", averages.0.map { $0 * reciprocal })
            sink.put("feat_ema_10", averages.1.map { $0 * reciprocal })
            sink.put("feat_ema_20", averages.2.map { $0 * reciprocal })
            sink.put("feat_ema_50", averages.3.map { $0 * reciprocal })
            sink.put("feat_ema_100", averages.4.map { $0 * reciprocal })
            // In a market that does not move a distance has no measure.
            let range = classic.values.atr
            let perRange = range.map { 1 / $0 }
            func distance(_ average: Double?) -> Double? {
                guard let average, let perRange else { return nil }
                return (close - average) * perRange
            }
            let hasRange = range != nil
            sink.put("feat_dist_ema_5", distance(averages.0), isWarm: hasRange)
            sink.put("feat_dist_ema_10", distance(averages.1), isWarm: hasRange)
            sink.put("feat_dist_ema_20", distance(averages.2), isWarm: hasRange && averages.2 != nil)
            sink.put("feat_dist_ema_50", distance(averages.3), isWarm: hasRange && averages.3 != nil)
            sink.put("feat_dist_ema_100", distance(averages.4), isWarm: hasRange && averages.4 != nil)
            sink.put("feat_ema_slope_20", slope20)
            sink.put("feat_ema_slope_50", slope50)
            sink.put("feat_adx", classic.values.adx.map { $0 * 0.01 })
            var score: Double?
            let strength = classic.values.adx
            if let fast = averages.2, let middle = averages.3, let slow = averages.4, let strength {
                // Equal averages differ by rounding.
                let rounding = 1e-12 * close
                func sign(_ difference: Double) -> Double {
                    difference > rounding ? 1 : difference < -rounding ? -1 : 0
                }
                score = (sign(close - fast) + sign(fast - middle) + sign(middle - slow)) / 3 * min(1, strength / 50)
            }
            sink.put("feat_trend_score", score)
        }

        private mutating func writeVolume(to sink: inout FeatureSink) {
            let volume = bar?.volume
            sink.put("feat_volume_ratio_10", Self.ratio(volume, volume10.value), isWarm: volume10.isWarm)
            sink.put("feat_volume_ratio_20", Self.ratio(volume, volume20.value), isWarm: volume20.isWarm)
            sink.put("feat_volume_ratio_50", Self.ratio(volume, volume50.value), isWarm: volume50.isWarm)
            sink.put("feat_vwap_dist", vwapValue, isWarm: vwap.isWarm)
            sink.put("feat_obv_slope", balanceValue, isWarm: balance.isWarm)
            sink.put("feat_mfv_sum_20", flowValue, isWarm: flow.isWarm)
        }

        private mutating func writeCandle(to sink: inout FeatureSink) {
            let isWarm = bar != nil
            var shape: (position: Double?, body: Double?, upper: Double?, lower: Double?)
            if let bar, bar.high > bar.low {
                let scale = 1 / (bar.high - bar.low)
                func share(_ part: Double) -> Double { min(1, max(0, part * scale)) }
                shape.position = share(bar.close - bar.low)
                shape.body = share(abs(bar.close - bar.open))
                shape.upper = share(bar.high - max(bar.open, bar.close))
                shape.lower = share(min(bar.open, bar.close) - bar.low)
            }
            sink.put("feat_close_position", shape.position, isWarm: isWarm)
            sink.put("feat_body_ratio", shape.body, isWarm: isWarm)
            sink.put("feat_upper_shadow", shape.upper, isWarm: isWarm)
            sink.put("feat_lower_shadow", shape.lower, isWarm: isWarm)
            sink.put("feat_candle_dir", bar.map { $0.close > $0.open ? 1 : $0.close < $0.open ? -1 : 0 })
            sink.put("feat_consecutive", streakValue.map { Double(max(-10, min(10, $0))) / 10 })
            sink.put("feat_gap", gap)
        }

        private mutating func writeMore(to sink: inout FeatureSink) {
            sink.put("feat_hour_sin", clock.hourSine)
            sink.put("feat_hour_cos", clock.hourCosine)
            sink.put("feat_weekday_sin", clock.weekdaySine)
            sink.put("feat_weekday_cos", clock.weekdayCosine)
            sink.put("feat_cci_20", classic.values.cci.map { $0 * 0.01 })
            let band = classic.values.bollinger
            let position = band.flatMap { band in
                bar.flatMap { Self.ratio($0.close - band.lower, band.upper - band.lower) }
            }
            sink.put("feat_bollinger_position", position, isWarm: band != nil)
            sink.put("feat_dist_kijun", base.value.flatMap { value in bar.map { $0.close / value.middle - 1 } })
        }

        func save(to writer: inout StateWriter) {
            classic.save(to: &writer)
            rsi7.save(to: &writer)
            rsi21.save(to: &writer)
            stochastic21.save(to: &writer)
            logReturn.save(to: &writer)
            realised10.save(to: &writer)
            realised20.save(to: &writer)
            realised50.save(to: &writer)
            parkinson10.save(to: &writer)
            parkinson20.save(to: &writer)
            change1.save(to: &writer)
            change5.save(to: &writer)
            change10.save(to: &writer)
            change20.save(to: &writer)
            ema5.save(to: &writer)
            ema10.save(to: &writer)
            ema50.save(to: &writer)
            ema100.save(to: &writer)
            volume10.save(to: &writer)
            volume20.save(to: &writer)
            volume50.save(to: &writer)
            vwap.save(to: &writer)
            balance.save(to: &writer)
            flow.save(to: &writer)
            streak.save(to: &writer)
            base.save(to: &writer)
            writer.write(previousClose)
            writer.write(previousAverage20)
        }

        mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
            try classic.restore(from: &reader)
            try rsi7.restore(from: &reader)
            try rsi21.restore(from: &reader)
            try stochastic21.restore(from: &reader)
            try logReturn.restore(from: &reader)
            try realised10.restore(from: &reader)
            try realised20.restore(from: &reader)
            try realised50.restore(from: &reader)
            try parkinson10.restore(from: &reader)
            try parkinson20.restore(from: &reader)
            try change1.restore(from: &reader)
            try change5.restore(from: &reader)
            try change10.restore(from: &reader)
            try change20.restore(from: &reader)
            try ema5.restore(from: &reader)
            try ema10.restore(from: &reader)
            try ema50.restore(from: &reader)
            try ema100.restore(from: &reader)
            try volume10.restore(from: &reader)
            try volume20.restore(from: &reader)
            try volume50.restore(from: &reader)
            try vwap.restore(from: &reader)
            try balance.restore(from: &reader)
            try flow.restore(from: &reader)
            try streak.restore(from: &reader)
            try base.restore(from: &reader)
            previousClose = try reader.readOptionalDouble()
            previousAverage20 = try reader.readOptionalDouble()
        }
    }
}
