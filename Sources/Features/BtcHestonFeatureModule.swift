internal import Indicators
internal import Kernels
internal import MarketData

/// The reference market as everybody's context: its Heston fit, its surface, its perpetual, its moves.
///
/// One instance, bound to the reference, serves all symbols: at an alt coin's bar it answers as of that instant.
struct BtcHestonFeatureModule: FeatureModule {
    private var fits: AsOfSlot<HestonFit>
    private var surface: AsOfSlot<SurfaceSummary>
    private var perpetual: PerpetualInputs
    private var close: AsOfSlot<Double>
    private var bars = Machines()
    private let barsPerYear: Double

    /// What is computed from the reference's bars.
    private struct Machines: Restorable {
        var logReturn = LogReturn()
        var roc1 = RateOfChange(1)
        var roc10 = RateOfChange(10)
        var realised30 = RealisedVolatility(30)
        var realised240 = RealisedVolatility(240)

        mutating func update(_ bar: Bar) {
            roc1.update(bar.close)
            roc10.update(bar.close)
            guard let change = logReturn.update(bar.close) else { return }
            realised30.update(change)
            realised240.update(change)
        }

        func save(to writer: inout StateWriter) {
            logReturn.save(to: &writer)
            roc1.save(to: &writer)
            roc10.save(to: &writer)
            realised30.save(to: &writer)
            realised240.save(to: &writer)
        }

        mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
            try logReturn.restore(from: &reader)
            try roc1.restore(from: &reader)
            try roc10.restore(from: &reader)
            try realised30.restore(from: &reader)
            try realised240.restore(from: &reader)
        }
    }

    init(_ configuration: FeatureConfiguration) {
        fits = AsOfSlot(tolerance: configuration.surfaceTolerance)
        surface = AsOfSlot(tolerance: configuration.surfaceTolerance)
        perpetual = PerpetualInputs(configuration)
        close = AsOfSlot(tolerance: configuration.interval * Int64(configuration.barTolerance))
        barsPerYear = 1 / configuration.interval.years
    }

    var definitions: [FeatureDefinition] {
        HestonColumns.definitions("btc_heston", of: "the reference's surface") + [
            .init("btc_heston.fit_rmse", "root-mean-square error of the newest fit", unit: "volatility"),
            .init("btc_heston.atm_iv_short", "volatility at k = 0, shortest maturity", unit: "volatility_per_year"),
            .init("btc_heston.atm_iv_long", "volatility at k = 0, longest maturity", unit: "volatility_per_year"),
            .init("btc_heston.smile_slope", "(iv(k+) - iv(k-))/(k+ - k-) around k = 0, maturity nearest 0.1 y"),
            .init("btc_heston.term_slope", "(atm_iv_long - atm_iv_short)/(sqrt(tau long) - sqrt(tau short))"),
            .init(
                "btc_heston.variance_risk_premium", "atm_iv_short^2 - realized_vol_240^2 x bars a year (365 days)",
                unit: "variance", warmUp: 240),
        ] + PerpetualInputs.definitions("btc_heston") + [
            .init("btc_heston.return_1", "C/C[1] - 1 of the reference", warmUp: 1),
            .init("btc_heston.return_10", "C/C[10] - 1 of the reference", warmUp: 10),
            .init(
                "btc_heston.realized_vol_30", "sqrt(mean of squared log returns, 30) of the reference", unit: "per_bar",
                warmUp: 30),
            .init(
                "btc_heston.realized_vol_240", "sqrt(mean of squared log returns, 240) of the reference",
                unit: "per_bar", warmUp: 240),
        ]
    }

    mutating func observe(_ input: FeatureInput, eventTime: Timestamp, knownAt: Timestamp) {
        perpetual.observe(input, eventTime: eventTime, knownAt: knownAt)
        switch input {
        case .bar(let bar):
            bars.update(bar)
            close.offer(bar.close, eventTime: bar.closeTime, knownAt: knownAt)
        case .restart: bars = Machines()
        case .fit(let fit): fits.offer(fit, eventTime: eventTime, knownAt: knownAt)
        case .surface(let summary): surface.offer(summary, eventTime: eventTime, knownAt: knownAt)
        default: break
        }
    }

    mutating func write(at now: Timestamp, to sink: inout FeatureSink) {
        HestonColumns.write(fits, at: now, to: &sink)
        sink.put("fit_rmse", fits.reading(at: now).map(\.rmse))
        // A surface that came but lacks the cells has no value for that column: undefined, not missing.
        let summary = surface.reading(at: now)
        let short = summary.flatMap { Known($0.atmShort, or: .undefined) }
        sink.put("atm_iv_short", short)
        sink.put("atm_iv_long", summary.flatMap { Known($0.atmLong, or: .undefined) })
        sink.put("smile_slope", summary.flatMap { Known($0.smileSlope, or: .undefined) })
        sink.put("term_slope", summary.flatMap { Known($0.termSlope, or: .undefined) })
        // Bars count only while the reference trades: its moves of an hour ago are not its moves now.
        let alive = close.reading(at: now)
        func move(_ value: Double?) -> Known<Double> { alive.flatMap { _ in Known(value, or: .warmUp) } }
        let slow = move(bars.realised240.value)
        let premium = short.flatMap { implied in slow.map { implied * implied - $0 * $0 * barsPerYear } }
        sink.put("variance_risk_premium", premium)
        perpetual.write(at: now, to: &sink)
        sink.put("return_1", move(bars.roc1.value))
        sink.put("return_10", move(bars.roc10.value))
        sink.put("realized_vol_30", move(bars.realised30.value))
        sink.put("realized_vol_240", slow)
    }

    func save(to writer: inout StateWriter) {
        fits.save(to: &writer)
        surface.save(to: &writer)
        perpetual.save(to: &writer)
        close.save(to: &writer)
        bars.save(to: &writer)
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try fits.restore(from: &reader)
        try surface.restore(from: &reader)
        try perpetual.restore(from: &reader)
        try close.restore(from: &reader)
        try bars.restore(from: &reader)
    }
}
