import Features
import Kernels
import MarketData

/// A random market of BTC and one alt coin, with everything that the engine can be told, holes and late arrivals
/// included; and the driver that plays the part of the feature-service.
struct TestMarket {
    /// 2026-02-02T00:00Z, a Monday.
    static let start = Timestamp(seconds: 1_769_990_400)
    static let alt = Instrument("SUIUSDT", perpetual: "SUIUSDT_PERP")
    static let bitcoin = Instrument("BTCUSDT", perpetual: "BTCUSDT_PERP", options: "BTC")
    static let configuration: FeatureConfiguration = {
        var configuration = FeatureConfiguration(traded: [alt, bitcoin], reference: bitcoin)
        configuration.includesPseudoHeston = true
        configuration.modules = FeatureModuleKind.allCases
        return configuration
    }()

    var events: [MarketEvent] = []

    /// `gaps`: with missing bars, short and long, late ones, flat ones and ones without trades.
    init(bars count: Int, seed: UInt64, gaps: Bool = true) {
        var random = RandomGenerator(seed: seed)
        for symbol in ["BTCUSDT", "SUIUSDT", "BTCUSDT_PERP", "SUIUSDT_PERP"] {
            var price = symbol.hasPrefix("BTC") ? 80_000.0 : 1.5
            var index = 0
            while index < count {
                if gaps, random.uniform() < 0.01 { index += 1 + random.index(below: random.uniform() < 0.2 ? 60 : 4) }
                let open = price
                let flat = gaps && random.uniform() < 0.1
                if !flat { price *= exp(0.001 * random.normal()) }
                let bar = Bar(
                    openTime: Self.start + .minutes(Int64(index)), interval: .minutes(1), open: open,
                    high: max(open, price) * (flat ? 1 : 1 + 0.0005 * random.uniform()),
                    low: min(open, price) * (flat ? 1 : 1 - 0.0005 * random.uniform()), close: price,
                    volume: gaps && random.uniform() < 0.05 ? 0 : exp(random.normal()))
                let delay = gaps ? Interval.milliseconds(Int64(random.index(below: 900))) : nil
                add(symbol, at: bar.closeTime, delay: delay, .bar(bar))
                if !symbol.hasSuffix("PERP"), random.uniform() < 0.9 {
                    let width = random.uniform() < 0.05 ? -1.0 : 1
                    add(
                        symbol, at: bar.closeTime,
                        .bookTop(
                            BookTop(
                                bidPrice: price * (1 - 1e-4 * width), askPrice: price * (1 + 1e-4 * width),
                                bidVolume: random.uniform(), askVolume: random.uniform())))
                }
                index += 1
            }
        }
        // The slow inputs begin two days before, so that everything is there at the first bar.
        var minute: Int64 = -2880
        while minute < Int64(count) {
            let time = Self.start + .minutes(minute)
            for symbol in ["BTCUSDT", "SUIUSDT"] {
                if minute % 480 == 0 {
                    add(symbol, at: time, .fundingRate(FundingRate(rate: 1e-4 * random.normal(), interval: .hours(8))))
                }
                if minute % 240 == 0 {
                    let interest = OpenInterest(quantity: exp(10 + 0.1 * random.normal()), notional: nil)
                    add(symbol, at: time, delay: .minutes(5), .openInterest(interest))
                }
            }
            if minute % 240 == 0 {
                add("BTC", at: time, delay: .minutes(20), .surface(Self.surface(&random)))
                // An alt coin's pseudo-surface stands for its fit (see `run`).
                add("SUIUSDT", at: time, delay: .minutes(20), .surface(Self.surface(&random)))
            }
            if minute % 1440 == 0 { add("", at: time, delay: .hours(1), .fearGreed(100 * random.uniform())) }
            if minute % 40 == 0 {
                let symbol = random.uniform() < 0.5 ? "" : "SUIUSDT"
                let id = String(random.index(below: 1 << 20))
                let message = Message(id: id, source: "test", text: "text")
                add(symbol, at: time, .message(message))
                if random.uniform() < 0.2 { add(symbol, at: time, .message(message)) }
            }
            minute += 40
        }
        addTicks(count, seed: seed)
        events = EventMerger.merge([events])
    }

    /// Trades, large ones among them, depths down to one level, and the best quotes between the bars.
    private mutating func addTicks(_ count: Int, seed: UInt64) {
        var random = RandomGenerator(seed: seed &+ 1 << 32)
        for symbol in ["BTCUSDT", "SUIUSDT"] {
            let middle = symbol.hasPrefix("BTC") ? 80_000.0 : 1.5
            for minute in 0..<Int64(count) {
                let time = Self.start + .minutes(minute)
                for second in [7, 23, 41] as [Int64] {
                    let price = middle * (1 + 1e-4 * random.normal())
                    let trade = PublicTrade(
                        id: minute * 60 + second, price: price, quantity: exp(2 * random.normal() + 3),
                        isBuy: random.uniform() < 0.5)
                    add(symbol, at: time + .seconds(second), .trade(trade))
                    let top = BookTop(
                        bidPrice: price * (1 - 1e-4), askPrice: price * (1 + 1e-4), bidVolume: random.uniform(),
                        askVolume: random.uniform())
                    add(symbol, at: time + .seconds(second + 3), .bookTop(top))
                }
                let levels = 1 + random.index(below: 4)
                let depth = BookDepth(
                    bidPrices: (1...levels).map { middle * (1 - 1e-4 * Double($0)) },
                    bidVolumes: (1...levels).map { _ in 900 * random.uniform() },
                    askPrices: (1...levels).map { middle * (1 + 1e-4 * Double($0)) },
                    askVolumes: (1...levels).map { _ in 900 * random.uniform() })
                add(symbol, at: time + .seconds(50), .bookDepth(depth))
            }
        }
    }

    private mutating func add(
        _ symbol: String, at time: Timestamp, delay: Interval? = nil, _ payload: MarketEvent.Payload
    ) {
        events.append(
            MarketEvent(
                exchange: "test", symbol: symbol, eventTime: time, knownAt: time + (delay ?? .seconds(0)),
                payload: payload))
    }

    static func surface(_ random: inout RandomGenerator) -> ImpliedVolatilitySurface {
        let count = 30
        let level = 0.4 + 0.3 * random.uniform()
        return ImpliedVolatilitySurface(
            logMoneyness: ImpliedVolatilitySurface.standardLogMoneyness, tau: ImpliedVolatilitySurface.standardTau,
            impliedVolatility: (0..<count).map { _ in level + 0.05 * random.uniform() },
            cells: (0..<count).map { $0 % 7 == 6 ? .extrapolated : .observed }, spot: 80_000,
            forwards: [Double](repeating: 80_000, count: 6), method: "model")
    }

    /// What the inverter would answer: any function of the surface alone will do.
    static func fit(_ event: MarketEvent, _ surface: ImpliedVolatilitySurface) -> HestonFit {
        let v = surface.impliedVolatility
        return HestonFit(
            symbol: event.symbol, eventTime: event.eventTime, knownAt: event.knownAt + .seconds(2), kappa: 1 + v[0],
            theta: v[1] * v[1], sigma: v[2], rho: -v[3], v0: v[4] * v[4], rmse: 0.01 * v[5])
    }

    static func score(_ event: MarketEvent, _ message: Message) -> SentimentScore {
        SentimentScore(
            messageID: message.id, source: message.source, symbol: event.symbol, eventTime: event.eventTime,
            knownAt: event.knownAt + .seconds(1), score: Double(Int(message.id) ?? 0) / Double(1 << 19) - 1)
    }

    static func posterior(_ pending: PendingVector) -> RegimePosterior? {
        guard let observation = pending.regimeObservation else { return nil }
        let weights = [1, exp(observation.logVolatility + 7), exp(observation.logVolumeRatio)]
        let sum = weights.reduce(0, +)
        return RegimePosterior(
            symbol: pending.symbol, barTime: pending.barTime, probabilities: weights.map { $0 / sum })
    }

    /// Feeds one event and what the other services would answer to it.
    static func step(_ engine: inout FeatureEngine, _ event: MarketEvent) throws -> FeatureVector? {
        let pending = try engine.ingest(event)
        switch event.payload {
        case .surface(let surface): try engine.apply(fit(event, surface))
        case .message(let message): try engine.apply(score(event, message))
        default: break
        }
        return try pending.map { try engine.complete($0, regime: posterior($0)) }
    }

    static func run(
        _ events: [MarketEvent], _ configuration: FeatureConfiguration = configuration
    ) throws -> [FeatureVector] {
        var engine = try FeatureEngine(configuration)
        return try events.compactMap { try step(&engine, $0) }
    }
}
