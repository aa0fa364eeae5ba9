internal import Indicators
internal import Kernels
internal import MarketData

/// An alt coin's own character: the moments of its returns, its volume, its perpetual, and how it moves with the
/// reference; by configuration the parameters of its pseudo-surface (spec/heston.md §5).
///
/// For the reference itself the columns are there too: its beta to itself is 1.
struct ShitcoinFeatureModule: FeatureModule {
    private var own = Machines()
    private var pair = Pair()
    /// The newest bar that both it and the reference have: what tells whether the comparison is stale.
    private var common: AsOfSlot<Double>
    private var perpetual: PerpetualInputs
    private var pseudoFits: AsOfSlot<HestonFit>
    private let includesPseudoHeston: Bool

    /// What is computed from its own bars.
    private struct Machines: Restorable {
        var logReturn = LogReturn()
        var roc10 = RateOfChange(10)
        var realised60 = RealisedVolatility(60)
        var moments10 = RollingMoments(10)
        var moments60 = RollingMoments(60)
        var volume10 = RollingSum(10)
        var volume60 = RollingSum(60)

        /// Returns the log return.
        mutating func update(_ bar: Bar) -> Double? {
            roc10.update(bar.close)
            volume10.update(bar.volume)
            volume60.update(bar.volume)
            guard let change = logReturn.update(bar.close) else { return nil }
            realised60.update(change)
            moments10.update(change)
            moments60.update(change)
            return change
        }

        func save(to writer: inout StateWriter) {
            logReturn.save(to: &writer)
            roc10.save(to: &writer)
            realised60.save(to: &writer)
            moments10.save(to: &writer)
            moments60.save(to: &writer)
            volume10.save(to: &writer)
            volume60.save(to: &writer)
        }

        mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
            try logReturn.restore(from: &reader)
            try roc10.restore(from: &reader)
            try realised60.restore(from: &reader)
            try moments10.restore(from: &reader)
            try moments60.restore(from: &reader)
            try volume10.restore(from: &reader)
            try volume60.restore(from: &reader)
        }
    }

    /// What is computed from both markets' bars. They are compared bar by bar: whichever comes second makes the pair,
    /// so with the alt coin's bar first, its vector has the comparison as of the bar before.
    private struct Pair: Restorable {
        var referenceReturn = LogReturn()
        var referenceRoc10 = RateOfChange(10)
        var referenceRealised60 = RealisedVolatility(60)
        var comovement = RollingComovement(60)
        /// As of the newest common bar.
        var relativeReturn: Double?
        var relativeVolatility: Double?
        var isVolatilityWarm = false
        /// Log returns of the newest bars; NaN for a first bar.
        var ownLast: BarMark?
        var referenceLast: BarMark?

        mutating func updateReference(_ bar: Bar) {
            referenceRoc10.update(bar.close)
            let change = referenceReturn.update(bar.close)
            if let change { referenceRealised60.update(change) }
            referenceLast = BarMark(time: bar.closeTime, value: change ?? .nan)
        }

        /// The time of the pair that is complete now, if one is.
        mutating func match(_ own: inout Machines) -> Timestamp? {
            guard let mine = ownLast, let theirs = referenceLast, mine.time == theirs.time else { return nil }
            (ownLast, referenceLast) = (nil, nil)
            if mine.value.isFinite, theirs.value.isFinite { comovement.update(x: theirs.value, y: mine.value) }
            relativeReturn = nil
            if let a = own.roc10.value, let b = referenceRoc10.value { relativeReturn = a - b }
            relativeVolatility = nil
            if let a = own.realised60.value, let b = referenceRealised60.value, b > 0 { relativeVolatility = a / b }
            isVolatilityWarm = own.realised60.isWarm && referenceRealised60.isWarm
            return mine.time
        }

        func save(to writer: inout StateWriter) {
            referenceReturn.save(to: &writer)
            referenceRoc10.save(to: &writer)
            referenceRealised60.save(to: &writer)
            comovement.save(to: &writer)
            writer.write(relativeReturn)
            writer.write(relativeVolatility)
            writer.write(isVolatilityWarm)
            BarMark.save(ownLast, to: &writer)
            BarMark.save(referenceLast, to: &writer)
        }

        mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
            try referenceReturn.restore(from: &reader)
            try referenceRoc10.restore(from: &reader)
            try referenceRealised60.restore(from: &reader)
            try comovement.restore(from: &reader)
            relativeReturn = try reader.readOptionalDouble()
            relativeVolatility = try reader.readOptionalDouble()
            isVolatilityWarm = try reader.readBool()
            ownLast = try BarMark.restore(from: &reader)
            referenceLast = try BarMark.restore(from: &reader)
        }
    }

    init(_ configuration: FeatureConfiguration) {
        common = AsOfSlot(tolerance: configuration.interval * Int64(configuration.barTolerance))
        perpetual = PerpetualInputs(configuration)
        pseudoFits = AsOfSlot(tolerance: configuration.surfaceTolerance)
        includesPseudoHeston = configuration.includesPseudoHeston
    }

    var definitions: [FeatureDefinition] {
        [
            .init("shitcoin.return_mean_10", "mean of log returns, 10", unit: "per_bar", warmUp: 10),
            .init("shitcoin.return_mean_60", "mean of log returns, 60", unit: "per_bar", warmUp: 60),
            .init("shitcoin.return_vol_60", "population std of log returns, 60", unit: "per_bar", warmUp: 60),
            .init("shitcoin.return_skew_60", "m3/m2^1.5 of log returns, 60", warmUp: 60),
            .init("shitcoin.return_kurtosis_60", "m4/m2^2 - 3 of log returns, 60", warmUp: 60),
            .init("shitcoin.volume_trend", "ln(mean V of 10/mean V of 60)", warmUp: 59),
            .init("shitcoin.beta_60", "cov(own, reference)/var(reference) of log returns, 60 common bars", warmUp: 60),
            .init(
                "shitcoin.correlation_60", "correlation of log returns with the reference, 60 common bars", warmUp: 60,
                bounds: -1...1),
            .init("shitcoin.relative_return_10", "C/C[10] - C/C[10] of the reference, newest common bar", warmUp: 10),
            .init(
                "shitcoin.relative_vol_60", "realized_vol_60/realized_vol_60 of the reference, newest common bar",
                warmUp: 60),
        ] + PerpetualInputs.definitions("shitcoin")
            + (includesPseudoHeston ? HestonColumns.definitions("shitcoin", of: "its pseudo-surface") : [])
    }

    mutating func observe(_ input: FeatureInput, eventTime: Timestamp, knownAt: Timestamp) {
        perpetual.observe(input, eventTime: eventTime, knownAt: knownAt)
        switch input {
        case .bar(let bar):
            pair.ownLast = BarMark(time: bar.closeTime, value: own.update(bar) ?? .nan)
            match(knownAt)
        case .restart:
            own = Machines()
            pair.comovement = RollingComovement(60)
        case .referenceBar(let bar):
            pair.updateReference(bar)
            match(knownAt)
        case .referenceRestart: pair = Pair()
        case .fit(let fit): pseudoFits.offer(fit, eventTime: eventTime, knownAt: knownAt)
        default: break
        }
    }

    private mutating func match(_ knownAt: Timestamp) {
        if let time = pair.match(&own) { common.offer(0, eventTime: time, knownAt: knownAt) }
    }

    mutating func write(at now: Timestamp, to sink: inout FeatureSink) {
        sink.put("return_mean_10", own.moments10.mean)
        sink.put("return_mean_60", own.moments60.mean)
        sink.put("return_vol_60", own.moments60.standardDeviation)
        sink.put("return_skew_60", own.moments60.skewness, isWarm: own.moments60.isWarm)
        sink.put("return_kurtosis_60", own.moments60.kurtosis, isWarm: own.moments60.isWarm)
        let volumes = own.volume60.isWarm && own.volume10.sum > 0
        sink.put(
            "volume_trend", volumes ? log(6 * own.volume10.sum / own.volume60.sum) : nil, isWarm: own.volume60.isWarm)
        // With no common bar within the tolerance there is nothing to compare.
        let alive = common.reading(at: now)
        func compared(_ value: Double?, isWarm: Bool) -> Known<Double> {
            alive.flatMap { _ in Known(value, or: isWarm ? .undefined : .warmUp) }
        }
        sink.put("beta_60", compared(pair.comovement.beta, isWarm: pair.comovement.isWarm))
        sink.put("correlation_60", compared(pair.comovement.correlation, isWarm: pair.comovement.isWarm))
        sink.put("relative_return_10", compared(pair.relativeReturn, isWarm: false))
        sink.put("relative_vol_60", compared(pair.relativeVolatility, isWarm: pair.isVolatilityWarm))
        perpetual.write(at: now, to: &sink)
        if includesPseudoHeston { HestonColumns.write(pseudoFits, at: now, to: &sink) }
    }

    func save(to writer: inout StateWriter) {
        own.save(to: &writer)
        pair.save(to: &writer)
        common.save(to: &writer)
        perpetual.save(to: &writer)
        pseudoFits.save(to: &writer)
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try own.restore(from: &reader)
        try pair.restore(from: &reader)
        try common.restore(from: &reader)
        try perpetual.restore(from: &reader)
        try pseudoFits.restore(from: &reader)
    }
}
