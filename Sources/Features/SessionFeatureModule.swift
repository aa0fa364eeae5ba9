internal import Indicators
internal import MarketData

/// Which part of the world was at work when a bar opened, and how the market has moved since the newest session opened.
struct SessionFeatureModule: FeatureModule {
    private var logReturn = LogReturn()
    private var volatility = SessionVolatility()
    private var openTime: Timestamp?
    private var value: Double?

    var definitions: [FeatureDefinition] {
        TradingSession.allCases.map { session in
            FeatureDefinition(
                "session.\(session)", "1: the bar opens between \(session.hours.lowerBound):00 and "
                    + "\(session.hours.upperBound):00 UTC", bounds: 0...1)
        } + [
            .init(
                "session.volatility",
                "sqrt(mean of squared log returns) of bars opened since 00:00, 07:00, 13:00 or 21:00 UTC, from 5",
                unit: "per_bar", warmUp: 5)
        ]
    }

    mutating func observe(_ input: FeatureInput, eventTime: Timestamp, knownAt: Timestamp) {
        switch input {
        case .bar(let bar):
            openTime = bar.openTime
            value = logReturn.update(bar.close).flatMap { volatility.update($0, openTime: bar.openTime) }
        case .restart:
            logReturn = LogReturn()
            volatility = SessionVolatility()
        default: break
        }
    }

    private static let names: [StaticString] = ["asia", "europe", "us"]

    mutating func write(at now: Timestamp, to sink: inout FeatureSink) {
        for (name, session) in zip(Self.names, TradingSession.allCases) {
            sink.put(name, openTime.map { session.contains($0) ? 1 : 0 })
        }
        sink.put("volatility", value)
    }

    func save(to writer: inout StateWriter) {
        logReturn.save(to: &writer)
        volatility.save(to: &writer)
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try logReturn.restore(from: &reader)
        try volatility.restore(from: &reader)
    }
}
