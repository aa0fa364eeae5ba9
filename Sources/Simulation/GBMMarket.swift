internal import Heston
internal import Kernels
public import MarketData

/// The dry-run market: two geometric Brownian motions with one step a bar, noise for everything else, and a surface
/// that is a formula. Nothing in it can be predicted: a policy that seems to earn here has found a fault in the
/// program.
public enum GBMMarket {
    public struct Configuration: Sendable, Equatable {
        public var exchange = "simulation"
        /// The first has options; its currency is the name without `USDT`.
        public var symbols = ["BTCUSDT", "ALTUSDT"]
        /// In the quote currency.
        public var startPrices = [50_000.0, 100]
        /// Of the log-return of one step (dt = 1), not annual. The price is a martingale.
        public var volatilities = [0.02, 0.05]
        /// Of prices, one a symbol. Many, because a step of 5 % a bar takes a price to very small numbers.
        public var priceDecimals = [8, 8]
        public var steps = 10_000
        public var start = Timestamp(seconds: 1_767_225_600)  // 2026-01-01
        /// Of the surface: base + 0.2·|k| + 0.1·ln(1 + T).
        public var baseVolatility = 0.5
        /// Steps from one surface to the next; 0 for none.
        public var surfaceEvery = 60
        public var seed: UInt64 = 123

        public init() {}
    }

    /// Draws the market. Same configuration, same bits. Throws `invalidConfiguration`.
    public static func generate(
        _ configuration: Configuration = .init()
    ) throws(SimulationError) -> SimulatedMarket {
        guard configuration.symbols.count == configuration.startPrices.count,
            configuration.symbols.count == configuration.volatilities.count, !configuration.symbols.isEmpty,
            configuration.symbols.count == configuration.priceDecimals.count
        else { throw .invalidConfiguration(rule: "a start price, a volatility and decimals for each symbol") }
        guard configuration.startPrices.allSatisfy({ $0 > 0 && $0.isFinite }),
            configuration.volatilities.allSatisfy({ $0 > 0 && $0 <= 1 }),
            configuration.priceDecimals.allSatisfy({ (0...12).contains($0) })
        else { throw .invalidConfiguration(rule: "positive prices, volatilities in (0, 1], 0 to 12 decimals") }
        guard (1...10_000_000).contains(configuration.steps), configuration.surfaceEvery >= 0 else {
            throw .invalidConfiguration(rule: "1 to 10,000,000 steps")
        }
        guard configuration.start.floored(to: .minutes(1)) == configuration.start else {
            throw .invalidConfiguration(rule: "a start at a full minute")
        }

        var market = SimulatedMarket(
            history: History(sources: [], chains: [], reports: [], absent: ["fear & greed index", "news"]), truth: [],
            perpetual: [:])
        for (index, symbol) in configuration.symbols.enumerated() {
            // Far apart, so that the next seed's first symbol is not this seed's second.
            let seed = configuration.seed &+ UInt64(index) &* 0x9E37_79B9_7F4A_7C15
            var path = Stream.firstPath.generator(seed: seed)
            var noise = Stream.volumes.generator(seed: seed)
            let sigma = configuration.volatilities[index]
            var level = log(configuration.startPrices[index])
            var bars: [MarketEvent] = []
            var funding: [MarketEvent] = []
            var interest: [MarketEvent] = []
            var surfaces: [MarketEvent] = []
            var perpetual: [Double] = []
            bars.reserveCapacity(configuration.steps)
            for step in 0..<configuration.steps {
                let openTime = configuration.start + .minutes(Int64(step))
                var builder = BarBuilder(openTime: openTime, open: level)
                level += sigma * path.normal() - 0.5 * sigma * sigma
                builder.move(to: level, deviation: sigma, using: &path)
                let bar = builder.bar(volume: exp(3 + noise.normal()), decimals: configuration.priceDecimals[index])
                let time = bar.closeTime
                bars.append(MarketEvent(bar: bar, exchange: configuration.exchange, symbol: symbol))
                perpetual.append(bar.close * (1 + 0.001 * noise.normal()))
                func event(_ payload: MarketEvent.Payload, knownAt: Timestamp) -> MarketEvent {
                    MarketEvent(
                        exchange: configuration.exchange, symbol: symbol, eventTime: time, knownAt: knownAt,
                        payload: payload)
                }
                let quantity = exp(10 + 0.1 * noise.normal())
                if step % 5 == 4 {
                    interest.append(
                        event(
                            .openInterest(.init(quantity: quantity, notional: quantity * bar.close)),
                            knownAt: KnownTimes.openInterest(time)))
                }
                let rate = 0.0001 + 0.0001 * noise.normal()
                if time == time.floored(to: .hours(8)) {
                    funding.append(event(.fundingRate(.init(rate: rate, interval: .hours(8))), knownAt: time))
                }
                if index == 0, configuration.surfaceEvery > 0, step % configuration.surfaceEvery == 0 {
                    surfaces.append(
                        event(.surface(surface(spot: bar.close, base: configuration.baseVolatility)), knownAt: time))
                }
            }
            market.perpetual[symbol] = perpetual
            market.history.sources += [bars, funding, interest, surfaces].filter { !$0.isEmpty }
        }
        return market
    }

    /// IV = base + 0.2·|k| + 0.1·ln(1 + T) on the standard grid, forwards at spot.
    static func surface(spot: Double, base: Double) -> ImpliedVolatilitySurface {
        let k = ImpliedVolatilitySurface.standardLogMoneyness
        let tau = ImpliedVolatilitySurface.standardTau
        let volatility = k.flatMap { k in tau.map { base + 0.2 * abs(k) + 0.1 * log(1 + $0) } }
        return ImpliedVolatilitySurface(
            logMoneyness: k, tau: tau, impliedVolatility: volatility,
            cells: volatility.map { _ in .observed }, spot: spot, forwards: tau.map { _ in spot }, method: "model")
    }
}
