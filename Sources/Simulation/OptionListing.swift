internal import Heston
internal import Kernels
internal import MarketData

/// The option market: what is listed at a time, and its quotes from the true state.
struct OptionListing {
    /// Errors of 1e-10 of the forward are far below the tick of 1e-4.
    private static let accuracy = HestonPricer.Accuracy(tolerance: 1e-10, maximumNodes: 1 << 15)
    /// Expiries nearer than this are not quoted: in the last hours the smile is a spike that no surface is built from.
    private static let minimumLife = Interval.hours(12)
    private static let strikesPerExpiry = 24

    private let configuration: HestonMarket.Configuration
    private var random: RandomGenerator

    init(_ configuration: HestonMarket.Configuration) {
        self.configuration = configuration
        random = Stream.chains.generator(seed: configuration.seed)
    }

    /// All quotes at `state`: mark prices and volatilities are the model's, bids and asks lie around them on the tick.
    mutating func chain(_ state: TrueState) throws(HestonError) -> OptionChain {
        let market = state.market(carry: configuration.carry)
        let pricer = try HestonPricer(state.parameters, market, accuracy: Self.accuracy)
        var quotes: [OptionQuote] = []
        for expiry in Self.expiries(at: state.time) {
            let tau = (expiry - state.time).years
            let forward = market.forward(tau: tau)
            let total = state.parameters.expectedTotalVariance(tau: tau).squareRoot()
            let strikes = Self.strikes(forward: forward, totalVolatility: total)
            // Out of the money only: the other side is parity.
            let contracts = strikes.map { strike in
                OptionContract(kind: strike >= forward ? .call : .put, strike: strike, tau: tau)
            }
            let values = try pricer.values(contracts, greeks: false)
            for (contract, value) in zip(contracts, values) {
                // A price within the pricer's error holds no volatility: not listed.
                guard value.price > 1000 * Self.accuracy.tolerance * forward,
                    let volatility = try? Black.impliedVolatility(
                        contract.kind, price: value.price, forward: forward, strike: contract.strike, tau: tau)
                else { continue }
                for kind in [OptionQuote.Kind.call, .put] {
                    let intrinsic = kind == .call ? forward - contract.strike : contract.strike - forward
                    let price = value.price + (kind == contract.kind ? 0 : intrinsic)
                    quotes.append(
                        quote(
                            kind, contract.strike, expiry, forward, coin: price / forward, volatility: volatility,
                            total: total))
                }
            }
        }
        return OptionChain(
            currency: configuration.currency, snapshotTime: state.time, indexPrice: state.spot, quotes: quotes)
    }

    private mutating func quote(
        _ kind: OptionQuote.Kind, _ strike: Double, _ expiry: Timestamp, _ forward: Double, coin: Double,
        volatility: Double, total: Double
    ) -> OptionQuote {
        // Half a volatility point (vega ≈ 0.4·√τ in coin at the money), a percent of the price, at least half a tick.
        let half = max(0.00005, 0.002 * total + 0.01 * coin) * (0.7 + 0.6 * random.uniform())
        // Deribit's ticks: 0.0001 coin below 0.005, 0.0005 above.
        let ticksPerCoin = coin < 0.005 ? 10_000.0 : 2000
        let bid = ((coin - half) * ticksPerCoin).rounded(.down) / ticksPerCoin
        let ask = max(1, ((coin + half) * ticksPerCoin).rounded(.up)) / ticksPerCoin
        let distance = log(strike / forward) / total
        let popularity = exp(-0.3 * distance * distance)
        return OptionQuote(
            instrument: OptionInstrument.name(
                currency: configuration.currency, expiry: expiry, strike: strike, kind: kind),
            kind: kind, strike: strike, expiry: expiry, underlyingPrice: forward,
            bidPriceCoin: bid > 0 ? bid : nil, askPriceCoin: ask, markPriceCoin: coin,
            markVolatility: volatility, openInterest: (1000 * popularity * random.uniform()).rounded(),
            volume: (100 * popularity * random.uniform()).rounded())
    }

    /// As Deribit lists: the next three days, four Fridays, three months' and four quarters' last Fridays, at 08:00
    /// UTC.
    static func expiries(at time: Timestamp) -> [Timestamp] {
        let today = time.floored(to: .days(1))
        var expiries: Set<Timestamp> = []
        for day in 0...3 { expiries.insert(today + .days(Int64(day)) + .hours(8)) }
        var fridays: [Timestamp] = []
        for day in 0..<400 {
            let date = today + .days(Int64(day))
            // 1970-01-01 was a Thursday.
            if (date.microseconds / 86_400_000_000) % 7 == 1 { fridays.append(date) }
        }
        for friday in fridays.prefix(4) { expiries.insert(friday + .hours(8)) }
        var months = 0
        var quarters = 0
        for friday in fridays where month(friday) != month(friday + .days(7)) {
            if months < 3 {
                months += 1
                expiries.insert(friday + .hours(8))
            }
            if quarters < 4, month(friday) % 3 == 0 {
                quarters += 1
                expiries.insert(friday + .hours(8))
            }
        }
        return expiries.filter { $0 - time >= minimumLife }.sorted()
    }

    private static func month(_ time: Timestamp) -> Int {
        // ISO 8601's sixth and seventh characters.
        Int(time.description.dropFirst(5).prefix(2)) ?? 0
    }

    /// Round numbers over ±4 standard deviations, at least ±8 % and at most ±120 % in logarithms.
    static func strikes(forward: Double, totalVolatility: Double) -> [Double] {
        let reach = min(1.2, max(0.08, 4 * totalVolatility))
        let low = forward * exp(-reach)
        let high = forward * exp(reach)
        // Equal steps in logarithms, each rounded to a number that is round for half its step.
        var strikes: [Double] = []
        for index in 0...strikesPerExpiry {
            let raw = low * exp(log(high / low) * Double(index) / Double(strikesPerExpiry))
            let step = niceStep(raw * reach / Double(strikesPerExpiry))
            let strike = (raw / step).rounded() * step
            if strike > 0, strikes.last ?? 0 < strike { strikes.append(strike) }
        }
        return strikes
    }

    /// The largest of 1, 2, 2.5, 5 times a power of ten that is not above `x`.
    private static func niceStep(_ x: Double) -> Double {
        let power = pow(10, floor(log10(x)))
        for factor in [5, 2.5, 2, 1] where factor * power <= x { return factor * power }
        return power
    }
}
