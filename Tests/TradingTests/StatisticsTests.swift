import Kernels
import MarketData
import Testing
import Trading

@Suite struct StatisticsTests {
    static let equity = Golden.numbers("equity")

    func near(_ value: Double?, _ name: String, _ tolerance: Double = 1e-11) -> Bool {
        guard let value, let expected = Golden.numbers(name).first else { return false }
        // Doubles summed over 59 returns; the ratios lose up to four digits more by division and powers.
        return abs(value - expected) <= tolerance * max(1, abs(expected))
    }

    @Test("performance equals numpy's")
    func performance() {
        let statistics = PerformanceStatistics(
            equity: Self.equity, exposure: [0.5, 1], fills: [], interval: .hours(1))
        #expect(near(statistics.totalReturn, "total_return"))
        #expect(near(statistics.annualisedReturn, "annualised_return", 1e-9))
        #expect(near(statistics.meanReturn, "mean") && near(statistics.returnVolatility, "volatility"))
        #expect(near(statistics.sharpe, "sharpe") && near(statistics.sortino, "sortino"))
        #expect(near(statistics.maxDrawdown, "max_drawdown") && near(statistics.calmar, "calmar", 1e-9))
        #expect(statistics.averageExposure == 0.75 && statistics.intervalCount == 59)
        #expect(statistics.winRate == nil && statistics.profitFactor == nil && statistics.roundTripCount == 0)
    }

    @Test("what is not defined is nil, and a lost account is lost")
    func undefined() {
        let flat = PerformanceStatistics(equity: [10, 10, 10], exposure: [], fills: [], interval: .minutes(1))
        #expect(flat.sharpe == nil && flat.sortino == nil && flat.calmar == nil && flat.totalReturn == 0)
        let lost = PerformanceStatistics(equity: [10, 5, 0, 0], exposure: [], fills: [], interval: .minutes(1))
        #expect(lost.annualisedReturn == -1 && lost.maxDrawdown == 1 && lost.totalReturn == -1)
        let steep = PerformanceStatistics(equity: [1, 1e9], exposure: [], fills: [], interval: .minutes(1))
        #expect(steep.annualisedReturn == nil)
    }

    @Test("round trips: scaled in and out, through zero, and the open one left out")
    func roundTrips() throws {
        let one: Int64 = 100_000_000
        var fills: [Fill] = []
        func trade(_ side: Side, _ quantity: Int64, _ price: Int64) throws {
            fills.append(try LedgerTests.fill(side, quantity * one, at: price * one, fee: one / 10))
        }
        try trade(.buy, 1, 10)
        try trade(.buy, 1, 12)
        try trade(.sell, 2, 13)  // +4, fees 0.3
        try trade(.buy, 2, 10)
        try trade(.sell, 4, 9)  // −2 on the long side; fee shared half and half
        try trade(.buy, 2, 10)  // −2 on the short side
        try trade(.buy, 1, 10)  // open
        let trips = RoundTrip.trips(in: fills)
        #expect(trips.map { ($0.profit * 1e6).rounded() / 1e6 } == [4, -2, -2])
        #expect(trips.map { ($0.fees * 1e6).rounded() / 1e6 } == [0.3, 0.15, 0.15])
        #expect(trips.map(\.side) == [.buy, .buy, .sell] && trips.map(\.quantity) == [2, 2, 2])
        let statistics = PerformanceStatistics(equity: [100, 99], exposure: [], fills: fills, interval: .hours(1))
        #expect(statistics.winRate == 1 / 3 && abs((statistics.profitFactor ?? 0) - 3.7 / 4.3) < 1e-12)
        #expect(statistics.turnover == 134 && abs(statistics.fees - 0.7) < 1e-12)
    }

    @Test("the deflated Sharpe ratio and the normal distribution equal scipy's")
    func deflatedSharpe() throws {
        let returns = PerformanceStatistics.returns(Self.equity)
        #expect(near(Significance.deflatedSharpe(returns: returns, trials: 1), "deflated_1"))
        #expect(near(Significance.deflatedSharpe(returns: returns, trials: 10), "deflated_10"))
        #expect(
            near(
                Significance.deflatedSharpe(returns: returns, trials: 100, trialSharpeVariance: 0.01), "deflated_100_v")
        )
        #expect(Significance.deflatedSharpe(returns: [0.1, 0.1, 0.1], trials: 1) == nil)
        let quantiles = Golden.all("quantile").map { $0.compactMap(Double.init) }
        #expect(quantiles.count == 10)
        for row in quantiles {
            #expect(abs(Significance.normalQuantile(row[0]) - row[1]) <= 2e-15 * max(1, abs(row[1])))
            // Φ at x has the condition x²; two units in the last place of x at −37 are 3e-13 relative.
            let back = Significance.normalDistribution(row[1])
            #expect(abs(back / row[0] - 1) < 2e-12)
        }
        #expect(Significance.normalQuantile(0) == -.infinity && Significance.normalQuantile(2).isNaN)
    }

    @Test("the bootstrap: one seed, one result; sure gains and losses are sure; noise is half and half")
    func bootstrap() {
        var random = RandomGenerator(seed: 11)
        let noise = (0..<400).map { _ in 0.01 * random.normal() }
        var (a, b) = (RandomGenerator(seed: 5), RandomGenerator(seed: 5))
        let first = Significance.bootstrap(returns: noise, samples: 300, random: &a)
        #expect(first == Significance.bootstrap(returns: noise, samples: 300, random: &b))
        #expect(first.probabilityOfProfit > 0.02 && first.probabilityOfProfit < 0.98)
        #expect(first.totalReturn.low < first.totalReturn.median && first.totalReturn.median < first.totalReturn.high)
        #expect(first.maxDrawdown.low > 0 && first.maxDrawdown.high < 1)
        let gain = Significance.bootstrap(returns: [0.01, 0.02, 0.03], samples: 50, random: &a)
        #expect(gain.probabilityOfProfit == 1 && gain.maxDrawdown.high == 0)
        #expect(Significance.bootstrap(returns: [-0.01, -0.5], samples: 50, random: &a).probabilityOfProfit == 0)
        #expect(Significance.bootstrap(returns: [-1, 0.5], samples: 50, random: &a).totalReturn.low <= -0.999)

        // The spread of the resampled total is the sample's own: n·var within the Monte Carlo error of 2000 samples and
        // the blocks' bias (a few per cent on independent returns).
        var totals: [Double] = []
        let blocks = Significance.bootstrap(returns: noise, samples: 2000, confidence: 0.6827, random: &a)
        totals.append(log1p(blocks.totalReturn.high) - log1p(blocks.totalReturn.low))
        let deviation = PerformanceStatistics.sharpe(noise).map { abs(noise.reduce(0, +) / 400 / $0) } ?? 0
        #expect(abs(totals[0] / (2 * deviation * 20) - 1) < 0.25)
    }
}
