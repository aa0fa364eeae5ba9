import Testing
import Trading

@Suite struct RewardEngineTests {
    static func input(_ row: [Double], scale: Double = 1) -> RewardInput {
        RewardInput(
            equityBefore: row[0] * scale, equityAfter: row[1] * scale, initialEquity: 19.99 * scale,
            tradedNotional: row[2] * scale, drawdown: row[3], leverage: row[4])
    }
    static let rows = Golden.all("reward").map { $0.compactMap(Double.init) }

    @Test("each term equals the formula's, computed by numpy")
    func golden() throws {
        #expect(Self.rows.count == 30)
        var engine = try RewardEngine(.init(targetVolatility: 0.01, volatilityWindow: 5))
        var sharpe = try RewardEngine(.init(kind: .differentialSharpe, adaptationRate: 0.05))
        var sortino = try RewardEngine(.init(kind: .differentialSortino, adaptationRate: 0.05))
        var punished = 0
        for row in Self.rows {
            let terms = engine.reward(Self.input(row))
            // Sums of a few doubles near 1 or less; the ratios divide by a variance of 1e-5.
            #expect(abs(terms.profit - row[5]) < 1e-14)
            #expect(abs(terms.turnover - row[6]) < 1e-15)
            #expect(abs(terms.drawdown - row[7]) < 1e-15)
            #expect(abs(terms.leverage - row[8]) < 1e-15)
            #expect(abs(terms.volatility - row[9]) < 1e-15)
            #expect(terms.total == terms.profit + terms.turnover + terms.drawdown + terms.leverage + terms.volatility)
            #expect(abs(sharpe.reward(Self.input(row)).profit - row[10]) < 1e-9 * max(1, abs(row[10])))
            #expect(abs(sortino.reward(Self.input(row)).profit - row[11]) < 1e-9 * max(1, abs(row[11])))
            if terms.volatility < 0 { punished += 1 }
        }
        #expect(punished > 10)
    }

    @Test("the defaults are the specification's, by hand")
    func byHand() throws {
        var engine = try RewardEngine()
        let terms = engine.reward(
            RewardInput(
                equityBefore: 20, equityAfter: 21, initialEquity: 19.99, tradedNotional: 10, drawdown: -0.2,
                leverage: 0.5))
        #expect(abs(terms.profit - 0.05) < 1e-15 && terms.turnover == -0.0005 && abs(terms.drawdown + 0.02) < 1e-15)
        #expect(terms.leverage == -0.025 && terms.volatility == 0)
        // Returns 0.05 and −0.05: standard deviation 0.0707, 0.0507 above the target.
        let second = engine.reward(
            RewardInput(
                equityBefore: 20, equityAfter: 19, initialEquity: 19.99, tradedNotional: 0, drawdown: 0, leverage: 0))
        #expect(abs(second.volatility + 0.05 * (0.005.squareRoot() - 0.02)) < 1e-12)
        engine.reset()
        #expect(engine.realisedVolatility == 0)
        var simple = try RewardEngine(.simple)
        let step = RewardInput(
            equityBefore: 20, equityAfter: 21, initialEquity: 10, tradedNotional: 99, drawdown: -0.5, leverage: 9)
        #expect(simple.reward(step).total == 0.1 && simple.reward(step).turnover == 0)
    }

    @Test("no reward depends on the size of the account", arguments: [1e-3, 1, 1e6])
    func scale(factor: Double) throws {
        for kind in [RewardEngine.Kind.simple, .composite, .differentialSharpe, .differentialSortino] {
            var (one, other) = (try RewardEngine(.init(kind: kind)), try RewardEngine(.init(kind: kind)))
            for row in Self.rows {
                let (a, b) = (one.reward(Self.input(row)).total, other.reward(Self.input(row, scale: factor)).total)
                #expect(abs(a - b) < 1e-9 * max(1, abs(a)))
            }
        }
    }

    @Test("weights that cannot be meant are refused")
    func validation() {
        for configuration in [
            RewardEngine.Configuration(turnoverPenalty: -1), .init(profitScale: .nan), .init(volatilityWindow: 1),
            .init(adaptationRate: 1),
        ] {
            #expect(throws: TradingError.self) { try RewardEngine(configuration) }
        }
    }
}
