import Foundation
import Heston
import Kernels
import MarketData
import Testing

@Suite struct SurfaceBuilderTests {
    static let now = Timestamp("2026-02-01T12:00:00Z") ?? Timestamp(seconds: 0)

    /// A clean chain made from a model: its true volatility at each strike is known.
    static func chain(
        _ heston: HestonParameters, days: [Int64] = [7, 28, 60, 150, 330], width: Double = 0.5
    ) throws -> OptionChain {
        let spot = 80_000.0
        var quotes: [OptionQuote] = []
        for day in days {
            let expiry = (now + .days(day)).floored(to: .days(1)) + .hours(8)
            let tau = (expiry - now).years
            let market = Market(spot: spot, rate: 0.05)
            let forward = market.forward(tau: tau)
            let ks = Swift.stride(from: -width, through: width, by: 0.05).map { $0 }
            let surface = try HestonPricer(heston, market).surface(logMoneyness: ks, tau: [tau])
            for (i, k) in ks.enumerated() {
                guard let volatility = surface[i, 0] else { continue }
                for kind in [OptionQuote.Kind.call, .put] {
                    quotes.append(
                        OptionQuote(
                            instrument: "BTC-\(day)-\(i)-\(kind)", kind: kind, strike: forward * exp(k),
                            expiry: expiry, underlyingPrice: forward, bidPriceCoin: 0.01, askPriceCoin: 0.011,
                            markPriceCoin: 0.0105, markVolatility: volatility))
                }
            }
        }
        return OptionChain(currency: "BTC", snapshotTime: now, indexPrice: spot, quotes: quotes)
    }

    static let heston = HestonParameters(kappa: 2, theta: 0.35, sigma: 1.1, rho: -0.3, v0: 0.25)

    @Test("a model's chain gives its surface back: SVI within a few tenths of a point, marks where they belong")
    func model() throws {
        let result = try SurfaceBuilder().build(try Self.chain(Self.heston))
        let surface = result.surface
        let truth = try HestonPricer(Self.heston, Market(spot: 80_000, rate: 0.05)).surface()
        #expect(result.smiles.count == 5 && result.fitRootMeanSquare < 0.003)
        #expect(result.hygiene[.kept] + result.hygiene[.inTheMoney] == result.hygiene.total)
        #expect(result.arbitrage.calendarPairs == 0 && result.arbitrage.butterflyExpiries == 0)
        var inside = 0
        for index in surface.cells.indices where surface.cells[index] != .extrapolated {
            inside += 1
            #expect(abs(surface.impliedVolatility[index] - truth.impliedVolatility[index]) < 0.006, "cell \(index)")
        }
        // One and two years lie beyond the last expiry (330 days); of the 20 cells left, k = 0.4 at 0.05 years has no
        // quotes near: at one week the model's price there is below what a volatility can be read from.
        #expect(inside == 19, "\(surface.cells)")
        #expect(surface.cells[4] == .extrapolated && surface.cells[5] == .extrapolated)
        #expect(zip(surface.forwards, truth.forwards).allSatisfy { abs($0 / $1 - 1) < 1e-9 })
    }

    @Test("total variance is linear in time between expiries at constant k")
    func interpolation() throws {
        var configuration = SurfaceBuilder.Configuration()
        configuration.tau = [0.1, 0.12, 0.14]
        let result = try SurfaceBuilder(configuration).build(try Self.chain(Self.heston))
        for i in 0..<5 {
            let w = try (0..<3).map { t in
                let volatility = try #require(result.surface[i, t])
                return volatility * volatility * configuration.tau[t]
            }
            #expect(abs(w[1] - 0.5 * (w[0] + w[2])) < 1e-12)
        }
    }

    @Test("each quote's fate is counted")
    func hygiene() throws {
        var chain = try Self.chain(Self.heston)
        let clean = try SurfaceBuilder().build(chain)
        let template = chain.quotes[0]
        func add(_ change: (inout OptionQuote) -> Void) {
            var quote = template
            quote.kind = .call
            quote.strike = 1e6
            change(&quote)
            chain.quotes.append(quote)
        }
        // Expiry at 08:00 today is four hours ago.
        add { $0.expiry = Self.now - .hours(4) }
        add { $0.expiry = Self.now }
        add { $0.expiry = Self.now + .hours(20) }
        add { $0.markVolatility = nil }
        add { $0.markVolatility = 65 }
        add { $0.markVolatility = .nan }
        add { $0.bidPriceCoin = nil }
        add { $0.bidPriceCoin = nil; $0.askPriceCoin = nil }
        add { $0.bidPriceCoin = 0.02; $0.askPriceCoin = 0.01 }
        add { $0.underlyingPrice = .nan }
        add { $0.expiry = Self.now + .days(90) }
        let result = try SurfaceBuilder().build(chain)
        #expect(result.surface == clean.surface)
        let expected: [SurfaceBuilder.Fate: Int] = [
            .expired: 2, .expiringSoon: 1, .missingMark: 1, .implausibleMark: 2, .noBid: 1, .stale: 1, .crossed: 1,
            .invalid: 1, .sparseExpiry: 1,
        ]
        for (fate, count) in expected { #expect(result.hygiene[fate] == count, "\(fate)") }
        #expect(result.hygiene.total == chain.quotes.count && result.hygiene.fates.count == chain.quotes.count)
        // Each quote's own fate, in the chain's order.
        #expect(
            result.hygiene.fates.suffix(11) == [
                .expired, .expired, .expiringSoon, .missingMark, .implausibleMark, .implausibleMark, .noBid, .stale,
                .crossed, .invalid, .sparseExpiry,
            ])
        #expect(Array(result.hygiene.fates.dropLast(11)) == clean.hygiene.fates)
    }

    @Test("arbitrage in the quotes is measured")
    func arbitrage() throws {
        var chain = try Self.chain(Self.heston)
        let second = chain.quotes.map(\.expiry).sorted()[50]
        for i in chain.quotes.indices where chain.quotes[i].expiry > second + .days(20) {
            if chain.quotes[i].expiry < second + .days(40) { chain.quotes[i].markVolatility? *= 0.6 }
        }
        let result = try SurfaceBuilder().build(chain)
        #expect(result.arbitrage.calendarPairs == 1 && result.arbitrage.worstCalendar > 0.1)
        // This raw SVI is the standard counter-example (Gatheral, Jacquier 2014, example 3.1, after Axel Vogt).
        let vogt = SVI(a: -0.0410, b: 0.1331, rho: 0.3060, m: 0.3586, sigma: 0.4153)
        let worst = Swift.stride(from: -1.5, through: 1.5, by: 0.01).map { vogt.butterfly($0) }.min() ?? 0
        #expect(worst < -0.01)
    }

    @Test("sparse, old and meaningless chains are refused")
    func refusals() throws {
        let chain = try Self.chain(Self.heston)
        let builder = try SurfaceBuilder()
        #expect(throws: HestonError.chainTooSparse(quotes: 0, expiries: 0, needed: 2)) {
            var empty = chain
            empty.quotes = []
            return try builder.build(empty)
        }
        #expect(throws: HestonError.self) { try builder.build(try Self.chain(Self.heston, days: [28])) }
        #expect(throws: HestonError.staleChain(age: 172_800, allowed: 86_400)) {
            try builder.build(chain, asOf: Self.now + .days(2))
        }
        let aged = try builder.build(chain, asOf: Self.now + .hours(7))
        #expect(aged.surface.cells.allSatisfy { $0 == .stale })
        var broken = chain
        broken.indexPrice = .nan
        #expect(throws: HestonError.self) { try builder.build(broken) }
        var configuration = SurfaceBuilder.Configuration()
        configuration.tau = [0.5, 0.25]
        #expect(throws: HestonError.self) { try SurfaceBuilder(configuration) }
    }

    @Test("the nearest-instrument way takes quotes as they stand")
    func nearest() throws {
        var configuration = SurfaceBuilder.Configuration()
        configuration.method = .nearest
        let result = try SurfaceBuilder(configuration).build(try Self.chain(Self.heston))
        #expect(result.surface.method == "nearest")
        let quoted = Set(result.smiles.flatMap(\.quotedVolatility))
        #expect(result.surface.impliedVolatility.allSatisfy { quoted.contains($0) })
        #expect(result.surface.cells.contains(.observed) && result.surface.cells[5] == .extrapolated)
    }

    /// Deribit's marks are a smooth curve of their own: SVI follows them to about half a point (short expiries are the
    /// worst), and five Heston parameters follow the surface to about one.
    @Test("real BTC snapshots: built, fitted, calibrated", .enabled(if: Golden.hasShared))
    func real() throws {
        var chains: [OptionChain] = []
        let source = RowSource.file(
            path: Golden.shared.appendingPathComponent("data/deribit/options_BTC_snapshots.csv.gz").path)
        _ = try ChainReader().forEach(source) { chain in
            chains.append(chain)
            return chains.count < 3
        }
        try #require(chains.count == 3)
        var warm: HestonParameters?
        for chain in chains {
            let result = try SurfaceBuilder().build(chain)
            #expect(result.smiles.count >= 8 && result.fitRootMeanSquare < 0.012)
            #expect(result.hygiene.total == chain.quotes.count && result.hygiene[.kept] > 200)
            let fit = try Calibrator().calibrate(result.surface, warmStart: warm)
            #expect(fit.volatilityRootMeanSquare < 0.02, "\(fit.parameters)")
            #expect(fit.parameters.rho < 0 && (0.02...1).contains(fit.parameters.v0))
            warm = fit.parameters
        }
    }
}
