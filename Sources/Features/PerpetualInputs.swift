internal import Indicators
internal import Kernels
internal import MarketData

/// What a perpetual future tells about its coin: funding, open interest, basis. Shared by two modules.
///
/// The basis is that of the newest bar both markets have: closes of different minutes would measure the minute's move.
/// Whichever bar comes second makes it, so where the perpetual's comes after the spot's, the spot bar's vector has the
/// basis of the bar before.
struct PerpetualInputs: Restorable {
    private var funding: AsOfSlot<Double>
    private var openInterest: AsOfSlot<Double>
    private var basis: AsOfSlot<Double>
    private var spot: BarMark?
    private var perpetual: BarMark?

    init(_ configuration: FeatureConfiguration) {
        funding = AsOfSlot(tolerance: configuration.fundingTolerance)
        openInterest = AsOfSlot(tolerance: configuration.openInterestTolerance)
        basis = AsOfSlot(tolerance: configuration.interval * Int64(configuration.barTolerance))
    }

    static func definitions(_ module: String) -> [FeatureDefinition] {
        [
            .init("\(module).funding_rate", "newest settled funding, scaled to 8 h", unit: "per_8h"),
            .init("\(module).funding_change", "newest settled funding - the one before, scaled to 8 h", unit: "per_8h"),
            .init("\(module).open_interest_change", "ln(newest open interest/the one before), in coin"),
            .init("\(module).basis", "perpetual close/spot close - 1, newest common bar"),
        ]
    }

    mutating func observe(_ input: FeatureInput, eventTime: Timestamp, knownAt: Timestamp) {
        switch input {
        case .funding(let rate): funding.offer(rate, eventTime: eventTime, knownAt: knownAt)
        case .openInterest(let quantity): openInterest.offer(quantity, eventTime: eventTime, knownAt: knownAt)
        case .bar(let bar):
            spot = BarMark(time: bar.closeTime, value: bar.close)
            match(knownAt)
        case .perpetualBar(let bar):
            perpetual = BarMark(time: bar.closeTime, value: bar.close)
            match(knownAt)
        default: break
        }
    }

    private mutating func match(_ knownAt: Timestamp) {
        guard let spot, let perpetual, spot.time == perpetual.time else { return }
        basis.offer(perpetual.value / spot.value - 1, eventTime: spot.time, knownAt: knownAt)
    }

    mutating func write(at now: Timestamp, to sink: inout FeatureSink) {
        sink.put("funding_rate", funding.reading(at: now))
        sink.put("funding_change", funding.change(at: now).map { $0.new - $0.old })
        sink.put("open_interest_change", openInterest.change(at: now).map { log($0.new / $0.old) })
        sink.put("basis", basis.reading(at: now))
    }

    func save(to writer: inout StateWriter) {
        funding.save(to: &writer)
        openInterest.save(to: &writer)
        basis.save(to: &writer)
        BarMark.save(spot, to: &writer)
        BarMark.save(perpetual, to: &writer)
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try funding.restore(from: &reader)
        try openInterest.restore(from: &reader)
        try basis.restore(from: &reader)
        spot = try BarMark.restore(from: &reader)
        perpetual = try BarMark.restore(from: &reader)
    }
}

/// A number of one bar, waiting for the same bar of another market.
struct BarMark {
    var time: Timestamp
    var value: Double

    static func save(_ mark: BarMark?, to writer: inout StateWriter) {
        writer.write(mark != nil)
        guard let mark else { return }
        writer.write(mark.time.microseconds)
        writer.write(mark.value)
    }

    static func restore(from reader: inout StateReader) throws(IndicatorError) -> BarMark? {
        guard try reader.readBool() else { return nil }
        return BarMark(time: Timestamp(microseconds: try reader.readTime()), value: try reader.readDouble())
    }
}

/// Heston parameters of the newest fit and their changes. Shared by two modules.
enum HestonColumns {
    static func definitions(_ module: String, of what: String) -> [FeatureDefinition] {
        let units = ["per_year", "variance", "1", "1", "variance"]
        let names = ["kappa", "theta", "sigma", "rho", "v0"]
        let levels = zip(names, units).map { name, unit in
            FeatureDefinition("\(module).\(name)", "\(name) of the newest fit to \(what)", unit: unit)
        }
        let changes = zip(names, units).map { name, unit in
            FeatureDefinition("\(module).\(name)_change", "\(name) of the newest fit - of the fit before", unit: unit)
        }
        return levels + changes
    }

    static func write(_ fits: AsOfSlot<HestonFit>, at now: Timestamp, to sink: inout FeatureSink) {
        let fit = fits.reading(at: now)
        sink.put("kappa", fit.map(\.kappa))
        sink.put("theta", fit.map(\.theta))
        sink.put("sigma", fit.map(\.sigma))
        sink.put("rho", fit.map(\.rho))
        sink.put("v0", fit.map(\.v0))
        let change = fits.change(at: now)
        sink.put("kappa_change", change.map { $0.new.kappa - $0.old.kappa })
        sink.put("theta_change", change.map { $0.new.theta - $0.old.theta })
        sink.put("sigma_change", change.map { $0.new.sigma - $0.old.sigma })
        sink.put("rho_change", change.map { $0.new.rho - $0.old.rho })
        sink.put("v0_change", change.map { $0.new.v0 - $0.old.v0 })
    }
}
