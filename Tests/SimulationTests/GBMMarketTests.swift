import Kernels
import MarketData
import Simulation
import Testing

@Suite("Dry-run market")
struct GBMMarketTests {
    @Test("Ten thousand steps with the volatilities, noise and surface of the specification")
    func market() throws {
        let market = try GBMMarket.generate()
        let again = try GBMMarket.generate()
        #expect(market.history.sources == again.history.sources)
        for (symbol, sigma) in [("BTCUSDT", 0.02), ("ALTUSDT", 0.05)] {
            let bars = market.bars(symbol)
            #expect(bars.count == 10_000)
            var validator = BarValidator(.init(interval: .minutes(1)))
            for bar in bars { try validator.check(bar) }
            // Only while the price has digits: 5 % a step and no drift take it towards zero.
            let moves = bars.filter { $0.open > 0.01 }.map { log($0.close / $0.open) }
            let variance = moves.reduce(0) { $0 + $1 * $1 } / Double(moves.count)
            // Relative standard error of σ: 1/√(2n).
            #expect(abs(variance.squareRoot() / sigma - 1) < 4 / (2 * Double(moves.count)).squareRoot())
            let perpetual = try #require(market.perpetual[symbol])
            let noise = zip(perpetual, bars).map { ($0 / $1.close - 1) / 0.001 }
            #expect(abs(noise.reduce(0) { $0 + $1 * $1 } / 10_000 - 1) < 0.06)
        }
        var surfaces = 0
        var rates: [Double] = []
        for event in market.history.merged() {
            switch event.payload {
            case .surface(let surface):
                surfaces += 1
                #expect(surface.cells.allSatisfy { $0 == .observed })
                #expect(surface.forwards.allSatisfy { $0 == surface.spot })
                // k = −0.4, T = 1: base 0.5 + 0.08 + 0.1·ln 2.
                #expect(abs((surface[0, 4] ?? 0) - (0.58 + 0.1 * log(2))) < 1e-15)
            case .fundingRate(let funding): rates.append(funding.rate)
            default: break
            }
        }
        #expect(surfaces == 167)
        #expect(rates.count == 40 && Set(rates).count == 40)
    }

    @Test("Settings outside their domain are refused")
    func refusals() {
        for change in [0, 1, 2] {
            var configuration = GBMMarket.Configuration()
            switch change {
            case 0: configuration.startPrices = [1]
            case 1: configuration.volatilities = [0.02, 2]
            default: configuration.steps = 0
            }
            #expect(throws: SimulationError.self) { try GBMMarket.generate(configuration) }
        }
    }
}
