internal import Kernels
internal import MarketData

/// What one symbol's market shows beside its price: volume, book, perpetual, funding, open interest.
struct SymbolStreams {
    private(set) var perpetual: [Double] = []
    private let exchange: String
    private let symbol: String
    private let halfSpread: Double
    private let decimals: Int
    /// Base units a minute at the median.
    private let typicalVolume: Double
    private var bars: [MarketEvent] = []
    private var books: [MarketEvent] = []
    private var funding: [MarketEvent] = []
    private var interest: [MarketEvent] = []
    private var volumeRandom: RandomGenerator
    private var bookRandom: RandomGenerator
    private var basisRandom: RandomGenerator
    private var interestRandom: RandomGenerator
    private var premium = 0.0
    private var premiumSum = 0.0
    private var premiumCount = 0.0
    private var logInterest: Double
    private var trend = 0.0

    init(_ configuration: HestonMarket.Configuration, index: Int) {
        exchange = configuration.exchange
        symbol = configuration.symbols[index]
        decimals = configuration.priceDecimals[index]
        halfSpread = configuration.halfSpreadBasisPoints[index] * 1e-4
        // About 1 million in the quote currency a minute for the first, a tenth for the second.
        typicalVolume = (index == 0 ? 1e6 : 1e5) / configuration.startPrices[index]
        let seed = configuration.seed &+ UInt64(index) &* 0x9E37_79B9_7F4A_7C15
        volumeRandom = Stream.volumes.generator(seed: seed)
        bookRandom = Stream.books.generator(seed: seed)
        basisRandom = Stream.basis.generator(seed: seed)
        interestRandom = Stream.openInterest.generator(seed: seed)
        logInterest = log(typicalVolume * 8000)
        let minutes = configuration.days * 1440
        bars.reserveCapacity(minutes)
        books.reserveCapacity(minutes)
        perpetual.reserveCapacity(minutes)
    }

    var sources: [[MarketEvent]] { [bars, books, funding, interest].filter { !$0.isEmpty } }

    /// Takes a minute's price. `variance`: per year; `premium`: to which the perpetual's premium reverts.
    mutating func add(_ builder: BarBuilder, variance: Double, premium target: Double) {
        let deviation = (variance * Interval.minutes(1).years).squareRoot()
        var bar = builder.bar(volume: 0, decimals: decimals)
        let move = builder.logReturn
        // Volume comes with moves: log-normal around a level that a two-sigma minute doubles.
        let surprise = min(6, abs(move) / deviation)
        bar.volume = typicalVolume * exp(0.6 * volumeRandom.normal()) * (0.5 + 0.75 * surprise)
        let time = bar.closeTime
        bars.append(MarketEvent(bar: bar, exchange: exchange, symbol: symbol))

        // The spread widens with volatility (40 % is calm); the side towards which the price moved is thinner.
        let unit = pow(10, Double(decimals))
        let half = bar.close * halfSpread * max(0.5, variance.squareRoot() / 0.4)
        let bid = max(1, ((bar.close - half) * unit).rounded(.down)) / unit
        let lean = 0.3 * max(-2, min(2, move / deviation))
        let size = typicalVolume / 30
        books.append(
            event(
                .bookTop(
                    .init(
                        bidPrice: bid, askPrice: max(((bar.close + half) * unit).rounded(.up), bid * unit + 1) / unit,
                        bidVolume: size * exp(0.7 * bookRandom.normal() + lean),
                        askVolume: size * exp(0.7 * bookRandom.normal() - lean))), time, knownAt: time))

        // The premium reverts in about four hours and follows the trend a little.
        trend += (move - trend) / 240
        premium += (target + 0.5 * trend - premium) / 240 + 1.5e-5 * basisRandom.normal()
        perpetual.append(bar.close * (1 + premium))
        premiumSum += premium
        premiumCount += 1
        if time == time.floored(to: .hours(8)) {
            // Binance's rule: average premium plus the interest of 0.01 %, clamped to ±0.05 % of it.
            let average = premiumSum / premiumCount
            let rate = average + max(-0.0005, min(0.0005, 0.0001 - average))
            funding.append(
                event(
                    .fundingRate(.init(rate: max(-0.003, min(0.003, rate)), interval: .hours(8))), time, knownAt: time))
            premiumSum = 0
            premiumCount = 0
        }

        // Positions are opened in trends and slowly closed; a violent minute closes some at once.
        let level = log(typicalVolume * 8000)
        logInterest += (level - logInterest) / 5000 + 0.05 * abs(trend) - (surprise > 4 ? 0.01 : 0)
            + 0.0008 * interestRandom.normal()
        if time == time.floored(to: .minutes(5)) {
            let quantity = exp(logInterest)
            interest.append(
                event(
                    .openInterest(.init(quantity: quantity, notional: quantity * bar.close)), time,
                    knownAt: KnownTimes.openInterest(time)))
        }
    }

    private func event(_ payload: MarketEvent.Payload, _ time: Timestamp, knownAt: Timestamp) -> MarketEvent {
        MarketEvent(exchange: exchange, symbol: symbol, eventTime: time, knownAt: knownAt, payload: payload)
    }
}
