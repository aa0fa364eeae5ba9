import Features
import Indicators
import Kernels
import MarketData
import Testing

@Suite("Feature values")
struct FeatureValueTests {
    static let start = TestMarket.start

    /// Feeds single events by hand.
    struct Bench {
        var engine: FeatureEngine
        var sequence: UInt64 = 0

        init(_ change: (inout FeatureConfiguration) -> Void = { _ in }) throws {
            var configuration = FeatureConfiguration(traded: [TestMarket.alt], reference: TestMarket.bitcoin)
            change(&configuration)
            engine = try FeatureEngine(configuration)
        }

        @discardableResult
        mutating func feed(
            _ symbol: String, _ time: Timestamp, _ payload: MarketEvent.Payload, knownAt: Timestamp? = nil
        ) throws -> FeatureVector? {
            sequence += 1
            return try engine.update(
                MarketEvent(
                    sequence: sequence, exchange: "test", symbol: symbol, eventTime: time, knownAt: knownAt ?? time,
                    payload: payload))
        }

        @discardableResult
        mutating func bar(
            _ symbol: String, _ minute: Int64, close: Double = 2, volume: Double = 1
        ) throws -> FeatureVector? {
            let bar = Bar(
                openTime: FeatureValueTests.start + .minutes(minute), interval: .minutes(1), open: close, high: close,
                low: close, close: close, volume: volume)
            return try feed(symbol, bar.closeTime, .bar(bar))
        }

        func value(_ name: String, _ vector: FeatureVector?) throws -> Double {
            let vector = try #require(vector)
            return try #require(try vector.value(name, in: engine.schema), "\(name)")
        }

        func absence(_ name: String, _ vector: FeatureVector?) throws -> Absence? {
            try #require(vector).absence(name, in: engine.schema)
        }
    }

    @Test("Columns equal their formulas, computed anew from the bars")
    func formulas() throws {
        let market = TestMarket(bars: 300, seed: 12, gaps: false)
        let schema = try FeatureEngine(TestMarket.configuration).schema
        let vector = try #require(try TestMarket.run(market.events).last { $0.symbol == "SUIUSDT" })
        func bars(_ symbol: String) -> [Bar] {
            market.events.compactMap { event in
                if case .bar(let bar) = event.payload, event.symbol == symbol { return bar }
                return nil
            }
        }
        func returns(_ bars: [Bar]) -> [Double] { zip(bars.dropFirst(), bars).map { log($0.close / $1.close) } }
        func rms(_ values: ArraySlice<Double>) -> Double {
            (values.reduce(0) { $0 + $1 * $1 } / Double(values.count)).squareRoot()
        }
        let (own, bitcoin) = (bars("SUIUSDT"), bars("BTCUSDT"))
        let (y, x) = (returns(own).suffix(60), returns(bitcoin).suffix(60))
        let (meanX, meanY) = (x.reduce(0, +) / 60, y.reduce(0, +) / 60)
        let covariance = zip(x, y).reduce(0) { $0 + ($1.0 - meanX) * ($1.1 - meanY) }
        let variance = x.reduce(0) { $0 + ($1 - meanX) * ($1 - meanX) }
        let last = own[299]
        let surface = try #require(
            market.events.last { event in
                if case .surface = event.payload { return event.symbol == "BTC" }
                return false
            })
        guard case .surface(let grid) = surface.payload else { return }
        let implied = try #require(grid[2, 0])
        let (right, left) = (try #require(grid[3, 1]), try #require(grid[1, 1]))
        let realised = rms(returns(bitcoin).suffix(240))
        // The perpetual's bar comes after the spot's: the newest common bar is the one before.
        let basis = bars("SUIUSDT_PERP")[298].close / own[298].close - 1
        let expected: [String: Double] = [
            "generic.log_return_1": log(last.close / own[298].close),
            "generic.roc_20": last.close / own[279].close - 1,
            "generic.realized_vol_30": rms(returns(own).suffix(30)),
            "generic.vol_ratio": rms(returns(own).suffix(10)) / rms(returns(own).suffix(60)),
            "generic.body_ratio": (last.close - last.open) / (last.high - last.low),
            "generic.sma_50": last.close / (own.suffix(50).reduce(0) { $0 + $1.close } / 50) - 1,
            // The bar closes at 05:00 of a Monday.
            "generic.hour_sin": sin(2 * .pi * 5 / 24), "generic.hour_cos": cos(2 * .pi * 5 / 24),
            "generic.weekday_sin": sin(2 * .pi * 5 / 168), "generic.weekday_cos": cos(2 * .pi * 5 / 168),
            "shitcoin.beta_60": covariance / variance,
            "shitcoin.relative_return_10": last.close / own[289].close - bitcoin[299].close / bitcoin[289].close,
            "shitcoin.basis": basis,
            "shitcoin.return_mean_60": meanY,
            "btc_heston.return_10": bitcoin[299].close / bitcoin[289].close - 1,
            "btc_heston.atm_iv_short": implied,
            "btc_heston.smile_slope": (right - left) / 0.4,
            "btc_heston.variance_risk_premium": implied * implied - realised * realised * 365 * 1440,
            "btc_heston.kappa": 1 + grid.impliedVolatility[0],
            "btc_heston.rho": -grid.impliedVolatility[3],
        ]
        for (name, value) in expected {
            let ours = try #require(try vector.value(name, in: schema), "\(name)")
            #expect(abs(ours - value) <= 1e-9 * max(abs(value), 1e-3), "\(name): \(ours), expected \(value)")
        }
    }

    @Test("Slow inputs: missing, there, changed, and stale from just beyond the tolerance")
    func tolerances() throws {
        var bench = try Bench()
        let funding = "shitcoin.funding_rate"
        #expect(try bench.absence(funding, bench.bar("SUIUSDT", 0)) == .missingInput)
        try bench.feed("SUIUSDT", Self.start + .minutes(1), .fundingRate(FundingRate(rate: 1e-4, interval: .hours(4))))
        var vector = try bench.bar("SUIUSDT", 1)
        #expect(try bench.value(funding, vector) == 2e-4)
        #expect(try bench.absence("shitcoin.funding_change", vector) == .warmUp)
        #expect(try bench.absence("btc_heston.funding_rate", vector) == .missingInput)
        try bench.feed("SUIUSDT", Self.start + .hours(4), .fundingRate(FundingRate(rate: 3e-4, interval: .hours(8))))
        vector = try bench.bar("SUIUSDT", 16 * 60 - 1)
        #expect(abs(try bench.value("shitcoin.funding_change", vector) - 1e-4) < 1e-18)
        // Known at 04:00, 12 hours: 16:00 is the last minute it counts.
        #expect(try bench.value(funding, vector) == 3e-4)
        #expect(try bench.absence(funding, bench.bar("SUIUSDT", 16 * 60)) == .staleInput)
        // A settlement found later that is older than the newest changes nothing; one much later is no change of 12 h.
        try bench.feed(
            "SUIUSDT", Self.start + .hours(3), .fundingRate(FundingRate(rate: 9e-4, interval: .hours(8))),
            knownAt: Self.start + .minutes(16 * 60 + 1))
        #expect(try bench.absence(funding, bench.bar("SUIUSDT", 16 * 60 + 1)) == .staleInput)
        try bench.feed("SUIUSDT", Self.start + .hours(20), .fundingRate(FundingRate(rate: 5e-4, interval: .hours(8))))
        vector = try bench.bar("SUIUSDT", 20 * 60)
        #expect(try bench.value(funding, vector) == 5e-4)
        #expect(try bench.absence("shitcoin.funding_change", vector) == .staleInput)
    }

    @Test("Fits, surfaces and fear & greed keep their own tolerances; a late fit waits for its time")
    func fits() throws {
        var bench = try Bench()
        func fit(_ known: Timestamp, kappa: Double) -> HestonFit {
            HestonFit(
                symbol: "BTC", eventTime: known, knownAt: known, kappa: kappa, theta: 0.2, sigma: 0.5, rho: -0.5,
                v0: 0.3, rmse: 0.01)
        }
        try bench.engine.apply(fit(Self.start, kappa: 2))
        try bench.engine.apply(fit(Self.start + .minutes(2), kappa: 3))
        try bench.feed("", Self.start, .fearGreed(75))
        var vector = try bench.bar("SUIUSDT", 0)
        #expect(try bench.value("btc_heston.kappa", vector) == 2)
        #expect(try bench.absence("btc_heston.kappa_change", vector) == .warmUp)
        #expect(try bench.absence("btc_heston.atm_iv_short", vector) == .missingInput)
        #expect(try bench.value("sentiment.fear_greed", vector) == 0.5)
        vector = try bench.bar("SUIUSDT", 1)
        #expect(try bench.value("btc_heston.kappa", vector) == 3)
        #expect(try bench.value("btc_heston.kappa_change", vector) == 1)
        vector = try bench.bar("SUIUSDT", 24 * 60 + 1)
        #expect(try bench.value("btc_heston.kappa", vector) == 3)
        vector = try bench.bar("SUIUSDT", 24 * 60 + 2)
        #expect(try bench.absence("btc_heston.kappa", vector) == .staleInput)
        #expect(try bench.value("sentiment.fear_greed", vector) == 0.5)
        #expect(try bench.absence("sentiment.fear_greed", bench.bar("SUIUSDT", 48 * 60)) == .staleInput)
    }

    @Test("Sentiment decays, a repeated message counts once, and another symbol's does not count")
    func sentiment() throws {
        var bench = try Bench()
        #expect(try bench.absence("sentiment.score", bench.bar("SUIUSDT", 0)) == .missingInput)
        func message(_ id: String, _ symbol: String, _ minute: Int64, _ score: Double) throws {
            let time = Self.start + .minutes(minute)
            try bench.feed(symbol, time, .message(Message(id: id, source: "s", text: "t")))
            try bench.engine.apply(
                SentimentScore(
                    messageID: id, source: "s", symbol: symbol, eventTime: time, knownAt: time, score: score))
        }
        try message("a", "", 1, -1)
        try message("b", "SUIUSDT", 61, 1)
        try message("b", "SUIUSDT", 61, 1)
        try message("c", "BTCUSDT", 61, 1)
        let vector = try bench.bar("SUIUSDT", 60)
        // One hour is the score's half-life: weights 1/2 and 1. Two half-lives of the rate: 1 + 1/4 messages.
        #expect(abs(try bench.value("sentiment.score", vector) - 1.0 / 3) < 1e-12)
        #expect(abs(try bench.value("sentiment.message_rate", vector) - 1.25 * log(2.0) / 30) < 1e-12)
        let later = try bench.bar("SUIUSDT", 61 + 24 * 60)
        #expect(try bench.absence("sentiment.score", later) == .staleInput)
        #expect(try bench.absence("sentiment.message_rate", later) == .staleInput)
    }

    @Test("A book: sound, broken, stale; a market that does not move has undefined columns, not zeros")
    func booksAndFlat() throws {
        var bench = try Bench()
        #expect(try bench.absence("generic.spread", bench.bar("SUIUSDT", 0)) == .missingInput)
        let book = BookTop(bidPrice: 1.99, askPrice: 2.01, bidVolume: 3, askVolume: 1)
        try bench.feed("SUIUSDT", Self.start + .minutes(2), .bookTop(book))
        var vector = try bench.bar("SUIUSDT", 1)
        #expect(abs(try bench.value("generic.spread", vector) - 0.01) < 1e-12)
        #expect(try bench.value("generic.order_imbalance", vector) == 0.5)
        let crossed = BookTop(bidPrice: 2.01, askPrice: 1.99, bidVolume: 3, askVolume: 1)
        try bench.feed("SUIUSDT", Self.start + .minutes(3), .bookTop(crossed))
        #expect(try bench.absence("generic.spread", bench.bar("SUIUSDT", 2)) == .brokenBook)
        for minute in 3..<70 as Range<Int64> { vector = try bench.bar("SUIUSDT", minute, volume: 0) }
        #expect(try bench.absence("generic.spread", vector) == .staleInput)
        let flat = [
            "rsi_14", "mfi_14", "stoch_k", "bollinger_position", "vol_ratio", "volume_zscore_30", "vwap_dist_60",
            "obv_slope_20", "close_position", "volume_ratio_20",
        ]
        for name in flat {
            #expect(try bench.absence("generic." + name, vector) == .undefined, "\(name)")
        }
        #expect(try bench.absence("regime.probability_0", vector) == .undefined)
        #expect(try bench.value("generic.roc_5", vector) == 0)
    }

    @Test("A long hole starts the indicators anew, a short one does not; a reference that stopped is stale")
    func gaps() throws {
        var bench = try Bench()
        for minute in 0..<80 as Range<Int64> {
            try bench.bar("BTCUSDT", minute, close: 100 + sin(Double(minute)))
            try bench.bar("SUIUSDT", minute, close: 2 + 0.01 * cos(Double(minute)))
        }
        var vector = try bench.bar("SUIUSDT", 110)
        #expect(try bench.absence("generic.roc_20", vector) == nil)
        #expect(try bench.absence("shitcoin.beta_60", vector) == .staleInput)
        #expect(try bench.absence("btc_heston.return_1", vector) == .staleInput)
        vector = try bench.bar("SUIUSDT", 142)
        #expect(try bench.absence("generic.roc_20", vector) == .warmUp)
        #expect(try bench.absence("generic.log_return_1", vector) == .warmUp)
        try bench.bar("BTCUSDT", 143)
        vector = try bench.bar("SUIUSDT", 143)
        #expect(try bench.absence("generic.log_return_1", vector) == nil)
        #expect(try bench.absence("btc_heston.return_1", vector) == .warmUp)
        #expect(try bench.absence("shitcoin.beta_60", vector) == .warmUp)
    }

    @Test("The regime: probabilities, time in state, and what is no posterior")
    func regime() throws {
        var bench = try Bench()
        var vectors: [FeatureVector] = []
        let states = [0, 0, 0, 2, 2, 1]
        for minute in 0..<36 as Range<Int64> {
            let time = Self.start + .minutes(minute)
            let close = 2 + 0.1 * sin(Double(minute))
            let bar = Bar(
                openTime: time, interval: .minutes(1), open: close, high: close, low: close, close: close, volume: 1)
            let event = MarketEvent(
                exchange: "test", symbol: "SUIUSDT", eventTime: bar.closeTime, knownAt: bar.closeTime,
                payload: .bar(bar))
            let pending = try #require(try bench.engine.ingest(event))
            #expect((pending.regimeObservation == nil) == (minute < 30))
            var posterior = RegimePosterior(symbol: "SUIUSDT", barTime: pending.barTime, probabilities: [0.1, 0.1, 0.1])
            #expect(throws: FeatureError.self) { try bench.engine.complete(pending, regime: posterior) }
            if minute >= 30 { posterior.probabilities[states[Int(minute) - 30]] = 0.8 }
            let wrong = RegimePosterior(symbol: "SUIUSDT", barTime: time, probabilities: [1, 0, 0])
            #expect(throws: FeatureError.self) { try bench.engine.complete(pending, regime: wrong) }
            vectors.append(try bench.engine.complete(pending, regime: minute < 30 ? nil : posterior))
        }
        #expect(try bench.absence("regime.probability_0", vectors[29]) == .warmUp)
        #expect(try bench.value("regime.probability_0", vectors[30]) == 0.8)
        let times = try vectors[30...].map { try bench.value("regime.time_in_state", $0) }
        #expect(times == [0, 1, 2, 0, 1, 0].map { log1p($0) })
    }

    @Test("What no market can have is refused, and the engine is as if it had not come")
    func refused() throws {
        var bench = try Bench()
        for minute in 0..<40 as Range<Int64> {
            try bench.bar("SUIUSDT", minute, close: 2 + 0.1 * sin(Double(minute)))
        }
        let before = try bench.engine.save()
        let time = Self.start + .minutes(41)
        let good = Bar(openTime: time, interval: .minutes(1), open: 2, high: 3, low: 1, close: 2, volume: 1)
        func changed(_ change: (inout Bar) -> Void) -> MarketEvent.Payload {
            var bar = good
            change(&bar)
            return .bar(bar)
        }
        let bad: [(MarketEvent.Payload, Timestamp)] = [
            (.bar(good), time), (changed { $0.close = .nan }, good.closeTime),
            (changed { $0.open = .nan }, good.closeTime),
            (changed { $0.high = .nan }, good.closeTime), (changed { $0.volume = .nan }, good.closeTime),
            (changed { $0.low = 0 }, good.closeTime),
            (changed { $0.high = 1.5 }, good.closeTime), (changed { $0.volume = -1 }, good.closeTime),
            (changed { $0.high = .infinity }, good.closeTime),
            (changed { $0.interval = .minutes(5) }, good.closeTime + .hours(1)),
            (changed { $0.openTime = time - .minutes(2) }, good.closeTime),
            (changed { $0.openTime = .init(microseconds: 1 << 62) }, good.closeTime),
            (.fundingRate(FundingRate(rate: .nan, interval: .hours(8))), time),
            (.fundingRate(FundingRate(rate: 0.1, interval: .hours(0))), time),
            (.openInterest(OpenInterest(quantity: 0, notional: nil)), time), (.fearGreed(101), time),
            (.fearGreed(.nan), time), (.fearGreed(50), Timestamp(microseconds: 1 << 62)),
            (.fearGreed(50), Timestamp(microseconds: -1 << 62)),
            (.fearGreed(50), Self.start),
        ]
        for (payload, known) in bad {
            #expect(throws: FeatureError.self, "\(payload)") { try bench.feed("SUIUSDT", known, payload) }
        }
        #expect(throws: FeatureError.self) {
            try bench.feed("SUIUSDT", good.closeTime, .bar(good), knownAt: good.closeTime - .seconds(1))
        }
        let fit = HestonFit(
            symbol: "BTC", eventTime: time, knownAt: time, kappa: .nan, theta: 1, sigma: 1, rho: 0, v0: 1, rmse: 0)
        #expect(throws: FeatureError.self) { try bench.engine.apply(fit) }
        #expect(throws: FeatureError.self) {
            try bench.engine.apply(
                SentimentScore(messageID: "", source: "", symbol: "", eventTime: time, knownAt: time, score: 2))
        }
        #expect(try bench.engine.save() == before)
        // Symbols that nobody asked for are passed over.
        #expect(try bench.feed("DOGEUSDT", good.closeTime, .bar(good)) == nil)
        #expect(try bench.engine.save() == before)
    }

    @Test("Surfaces: interpolated at the money, and without what their cells lack")
    func surfaces() {
        func surface(_ k: [Double], _ values: [Double], _ cells: [ImpliedVolatilitySurface.Cell]) -> SurfaceSummary {
            SurfaceSummary(
                ImpliedVolatilitySurface(
                    logMoneyness: k, tau: [0.1, 0.4], impliedVolatility: values, cells: cells, spot: 1,
                    forwards: [1, 1], method: "model"))
        }
        let cells = [ImpliedVolatilitySurface.Cell](repeating: .observed, count: 4)
        let full = surface([-0.1, 0.3], [0.4, 0.5, 0.8, 0.9], cells)
        #expect(full.atmShort.map { abs($0 - 0.5) < 1e-12 } == true)
        #expect(full.atmLong.map { abs($0 - 0.6) < 1e-12 } == true)
        #expect(full.smileSlope.map { abs($0 - 1) < 1e-12 } == true)
        #expect(full.termSlope.map { abs($0 - 0.1 / (0.4.squareRoot() - 0.1.squareRoot())) < 1e-12 } == true)
        var holed = cells
        holed[0] = .missing
        let partial = surface([-0.1, 0.3], [.nan, 0.5, 0.8, 0.9], holed)
        #expect(partial.atmShort == partial.atmLong && partial.termSlope == nil && partial.smileSlope == nil)
        let none = surface([0.1, 0.3], [0.4, 0.5, 0.8, 0.9], cells)
        #expect(none == SurfaceSummary(atmShort: nil, atmLong: nil, smileSlope: nil, termSlope: nil))
    }
}
