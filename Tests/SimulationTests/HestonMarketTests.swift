import Heston
import Kernels
import MarketData
import Testing

@testable import Simulation

@Suite("Simulated Heston market")
struct HestonMarketTests {
    private static func configuration(days: Int = 2, chainMinutes: Int = 0, seed: UInt64 = 7)
        -> HestonMarket.Configuration
    {
        var configuration = HestonMarket.Configuration()
        configuration.days = days
        configuration.chainMinutes = chainMinutes
        configuration.seed = seed
        return configuration
    }

    @Test("One seed, the same market; chains do not move prices; another seed, another market")
    func deterministic() throws {
        let without = try HestonMarket.generate(Self.configuration(days: 1))
        let with = try HestonMarket.generate(Self.configuration(days: 1, chainMinutes: 720))
        let again = try HestonMarket.generate(Self.configuration(days: 1, chainMinutes: 720))
        #expect(with.history.sources == again.history.sources && with.history.chains == again.history.chains)
        #expect(with.history.sources == without.history.sources && with.truth == without.truth)
        #expect(with.history.chains.count == 2 && without.history.chains.isEmpty)
        let other = try HestonMarket.generate(Self.configuration(days: 1, seed: 8))
        #expect(other.truth.last?.spot != with.truth.last?.spot)
    }

    @Test("Bars pass the validator, join without gaps, and agree with the truth; events merge in order")
    func consistent() throws {
        let configuration = Self.configuration(days: 1)
        let market = try HestonMarket.generate(configuration)
        for symbol in configuration.symbols {
            let bars = market.bars(symbol)
            #expect(bars.count == 1440)
            var validator = BarValidator(.init(interval: .minutes(1)))
            for bar in bars { try validator.check(bar) }
            #expect(zip(bars, bars.dropFirst()).allSatisfy { $0.close == $1.open && $0.closeTime == $1.openTime })
            #expect(bars.count { $0.high > max($0.open, $0.close) && $0.low < min($0.open, $0.close) } > 1300)
            #expect(market.perpetual[symbol]?.count == 1440)
        }
        for (bar, state) in zip(market.bars("BTCUSDT"), market.truth) {
            #expect(bar.closeTime == state.time && abs(bar.close - state.spot) <= 0.0051)
        }

        // The streaming merger refuses sources out of order; bars come last among what is known at one instant.
        var merger = EventMerger(market.history.sources.map { AnyIterator($0.makeIterator()) })
        var counts: [String: Int] = [:]
        while let event = try merger.next() {
            #expect(event.eventTime <= event.knownAt)
            switch event.payload {
            case .bar: counts["bar", default: 0] += 1
            case .bookTop(let book):
                counts["book", default: 0] += 1
                #expect(book.bidPrice > 0 && book.askPrice > book.bidPrice && book.bidVolume > 0 && book.askVolume > 0)
            case .fundingRate(let funding):
                counts["funding", default: 0] += 1
                #expect(abs(funding.rate) <= 0.003 && funding.interval == .hours(8))
                #expect(event.eventTime == event.eventTime.floored(to: .hours(8)))
            case .openInterest(let interest):
                counts["interest", default: 0] += 1
                #expect(interest.quantity > 0)
            default: Issue.record("an event of no simulated kind")
            }
        }
        #expect(counts == ["bar": 2880, "book": 2880, "funding": 6, "interest": 576])
    }

    /// Realised against true variance, and the spot's move against its drift: both follow from the truth alone.
    @Test("The paths have the true variance and drift", arguments: [1, 2, 3])
    func statistics(seed: UInt64) throws {
        var configuration = Self.configuration(days: 6, seed: seed)
        configuration.stepsPerMinute = 1
        let market = try HestonMarket.generate(configuration)
        let bars = [market.bars("BTCUSDT"), market.bars("ALTUSDT")]
        let year = Interval.minutes(1).years
        var integrated = 0.0
        var expected = 0.0
        for state in market.truth {
            integrated += state.parameters.v0 * year
            expected += (configuration.regimes[state.regime].drift - 0.5 * state.parameters.v0) * year
        }
        let moves = bars.map { $0.map { log($0.close / $0.open) } }
        let realised = moves.map { $0.reduce(0) { $0 + $1 * $1 } }
        // 8,640 squared normals: a relative standard error of √(2/8640) = 1.5 %.
        #expect(abs(realised[0] / integrated - 1) < 0.06, "seed \(seed)")
        let z = (moves[0].reduce(0, +) - expected) / integrated.squareRoot()
        #expect(abs(z) < 4, "seed \(seed)")
        // Regressing the alt on Bitcoin gives beta back.
        let covariance = zip(moves[0], moves[1]).reduce(0) { $0 + $1.0 * $1.1 }
        #expect(abs(covariance / realised[0] - configuration.beta) < 0.1, "seed \(seed)")
        #expect(market.truth.allSatisfy { state in
            var own = configuration.regimes[state.regime].parameters
            own.v0 = state.parameters.v0
            return own == state.parameters && state.parameters.v0 > 0
        })
    }

    /// The stepper's own martingale test is in the Heston module; here, that nothing is lost or added around it.
    @Test("Drift reaches the price, and the alt coin gets beta without its convexity", arguments: [1, 2])
    func driftAndConvexity(seed: UInt64) throws {
        var configuration = Self.configuration(days: 1, seed: seed)
        configuration.stepsPerMinute = 1
        configuration.regimes = [configuration.regimes[2]]
        configuration.regimes[0].parameters = .init(kappa: 8, theta: 2.25, sigma: 4, rho: -0.6, v0: 2.25)
        configuration.regimes[0].drift = 90
        configuration.ownParameters = .init(kappa: 5, theta: 1e-4, sigma: 0.01, rho: 0, v0: 1e-4)
        configuration.beta = 3
        var path = try HestonPath(configuration)
        var moves = (0.0, 0.0)
        var integrated = 0.0
        for _ in 0..<1440 {
            let before = path.state.parameters.v0
            let (a, b) = path.minute()
            moves.0 += a.logReturn
            moves.1 += b.logReturn
            integrated += 0.5 * (before + path.state.parameters.v0) * Interval.minutes(1).years
        }
        // A day at 90 a year is 0.247, its deviation √(2.25/365) = 0.079.
        #expect(abs(moves.0 - 90.0 / 365 + 0.5 * integrated) < 4 * integrated.squareRoot())
        // ½·3·2·∫v is 0.018; the alt coin's own part has a deviation of 0.0005.
        let expected = 3 * moves.0 - 3 * integrated
        #expect(abs(moves.1 - expected) < 0.003)
    }

    @Test("Chains are the true surface: prices, volatilities, parity, book around the mark")
    func chains() throws {
        let configuration = Self.configuration(days: 1, chainMinutes: 480)
        let market = try HestonMarket.generate(configuration)
        #expect(market.history.chains.count == 3)
        let chain = try #require(market.history.chains.last)
        let state = try #require(market.truth(asOf: chain.snapshotTime))
        #expect(state.time == chain.snapshotTime && state.spot == chain.indexPrice)
        let carried = state.market(carry: configuration.carry)
        let pricer = try HestonPricer(state.parameters, carried)
        #expect(chain.quotes.count > 300)
        #expect(Set(chain.quotes.map(\.instrument)).count == chain.quotes.count)
        #expect(Set(chain.quotes.map(\.expiry)).count >= 9)
        for (index, quote) in chain.quotes.enumerated() {
            let parsed = try #require(OptionInstrument(quote.instrument))
            #expect(parsed.expiry == quote.expiry && parsed.strike == quote.strike && parsed.kind == quote.kind)
            let mark = try #require(quote.markPriceCoin)
            let volatility = try #require(quote.markVolatility)
            #expect(quote.bidPriceCoin ?? 0 <= mark && mark <= quote.askPriceCoin ?? 0)
            // A sample of them against the pricer at its best; its own promise is 1e-12, the chain's 1e-10.
            guard index % 9 == 0 else { continue }
            let tau = (quote.expiry - chain.snapshotTime).years
            #expect(abs(quote.underlyingPrice / carried.forward(tau: tau) - 1) < 1e-14)
            let price = try pricer.price(.init(kind: quote.kind, strike: quote.strike, tau: tau))
            #expect(abs(mark * quote.underlyingPrice - price) < 2e-10 * quote.underlyingPrice)
            let black = try Black.price(
                quote.kind, forward: quote.underlyingPrice, strike: quote.strike, tau: tau, volatility: volatility)
            #expect(abs(mark * quote.underlyingPrice - black) < 1e-9 * quote.underlyingPrice)
        }
        for pair in stride(from: 0, to: chain.quotes.count - 1, by: 2) {
            let (call, put) = (chain.quotes[pair], chain.quotes[pair + 1])
            #expect(call.kind == .call && put.kind == .put && call.strike == put.strike)
            let parity = (call.markPriceCoin ?? .nan) - (put.markPriceCoin ?? .nan)
            #expect(abs(parity - (1 - call.strike / call.underlyingPrice)) < 1e-12)
        }
    }

    @Test("Expiries are Deribit's: 08:00 UTC, Fridays beyond the third day, none about to end")
    func expiries() {
        for day in 0..<40 {
            let time = at("2026-01-01T03:00Z") + .days(Int64(day))
            let expiries = OptionListing.expiries(at: time)
            #expect(expiries == expiries.sorted() && Set(expiries).count == expiries.count)
            for expiry in expiries {
                #expect(expiry - time >= .hours(12))
                #expect(expiry.floored(to: .days(1)) + .hours(8) == expiry)
                // 2026-01-02 was a Friday.
                let days = (expiry - at("2026-01-02T08:00Z")).microseconds / 86_400_000_000
                #expect(days % 7 == 0 || expiry - time < .days(4))
            }
            #expect(expiries.contains(at("2026-06-26T08:00Z")) && expiries.contains(at("2026-09-25T08:00Z")))
        }
    }

    @Test("The regimes' shares of time follow from their durations")
    func regimes() throws {
        var configuration = Self.configuration(days: 30)
        configuration.stepsPerMinute = 1
        for index in 0..<3 { configuration.regimes[index].meanDuration = .minutes([60, 30, 15][index]) }
        var path = try HestonPath(configuration)
        var counts = [0.0, 0, 0]
        for _ in 0..<20_000 {
            _ = path.minute()
            counts[path.regime] += 1
        }
        // Any other with equal probability: shares are proportional to durations. About 570 stays, so 5 points are 3 σ.
        for (count, share) in zip(counts, [60.0 / 105, 30.0 / 105, 15.0 / 105] as [Double]) {
            #expect(abs(count / 20_000 - share) < 0.09)
        }
    }

    @Test("A bridge's extreme has its exact mean")
    func bridge() {
        var random = RandomGenerator(seed: 1)
        var sum = 0.0
        for _ in 0..<20_000 {
            let high = bridgeExtreme(0, 0, 1, sign: 1, u: 1 - random.uniform())
            let low = bridgeExtreme(0.3, -0.2, 0.5, sign: -1, u: 1 - random.uniform())
            sum += high
            #expect(high >= 0 && low <= -0.2)
        }
        // √(π/8), standard deviation √(½ − π/8) = 0.328: 0.0023 a standard error.
        #expect(abs(sum / 20_000 - (Double.pi / 8).squareRoot()) < 0.01)
    }

    @Test("Settings outside their domain are refused")
    func refusals() {
        func refused(_ change: (inout HestonMarket.Configuration) -> Void) -> Bool {
            var configuration = Self.configuration()
            change(&configuration)
            do {
                _ = try HestonMarket.generate(configuration)
                return false
            } catch {
                if case .invalidConfiguration = error { return true }
                return false
            }
        }
        #expect(refused { $0.days = 0 })
        #expect(refused { $0.symbols = ["A", "A"] })
        #expect(refused { $0.startPrices = [1, -.nan] })
        #expect(refused { $0.regimes = [] })
        #expect(refused { $0.regimes[1].parameters.rho = 1 })
        #expect(refused { $0.ownParameters.sigma = .infinity })
        #expect(refused { $0.start = Timestamp(microseconds: 1) })
        #expect(refused { $0.stepsPerMinute = 0 })
    }
}

private func at(_ text: String) -> Timestamp { Timestamp(text) ?? Timestamp(microseconds: .min) }
