import Kernels
import MarketData
import Testing
import Trading

@Suite struct TradingEnvironmentTests {
    /// Features that name their place: row·10 + column, with one cell in seven missing.
    static func series(_ bars: [Bar], features: Int = 3, symbol: String = "SUIUSDT") throws -> MarketSeries {
        var values: [Float] = []
        var mask: [UInt8] = []
        for row in bars.indices {
            for column in 0..<features {
                let isMissing = (row + column) % 7 == 0
                values.append(isMissing ? 0 : Float(row * 10 + column))
                mask.append(isMissing ? 0 : 1)
            }
        }
        return try MarketSeries(symbol: symbol, bars: bars, featureCount: features, features: values, mask: mask)
    }

    static func environment(
        _ series: MarketSeries, span: Range<Int>? = nil, window: Int = 4, length: Int = 20,
        reward: RewardEngine.Configuration = .simple, ruin: Double = 0, rules marketRules: InstrumentRules? = nil
    ) throws -> TradingEnvironment {
        let market = try marketRules ?? rules()
        return try TradingEnvironment(
            .init(
                session: .init(instruments: [.init(rules: market)], risk: .none), reward: reward, window: window,
                episodeLength: length, ruinFraction: ruin),
            series: series, span: span ?? 0..<series.count)
    }

    /// Runs an episode from `start`; the observations, each with the reward before it (0 first), and the last step.
    static func run(
        _ environment: inout TradingEnvironment, start: Int, _ action: (Int) -> Float
    ) -> (observations: [[Float]], rewards: [Float], last: TradingEnvironment.Step?) {
        var buffer = [Float](repeating: .nan, count: environment.observationSize)
        var span = buffer.mutableSpan
        environment.reset(at: start, observation: &span)
        var observations = [buffer]
        var rewards: [Float] = []
        var last: TradingEnvironment.Step?
        while last.map({ !$0.terminated && !$0.truncated }) ?? true {
            var target = buffer.mutableSpan
            let step = environment.step([action(rewards.count)].span, observation: &target)
            observations.append(buffer)
            rewards.append(step.reward)
            last = step
        }
        return (observations, rewards, last)
    }

    @Test("an observation is the window, the newest row's mask and the previous target, value by value")
    func layout() throws {
        var environment = try Self.environment(try Self.series(randomBars(60, seed: 1)), length: 5)
        #expect(environment.observationSize == 4 * 3 + 3 + 1)
        let (observations, _, _) = Self.run(&environment, start: 10) { [0.5, -3, .nan, 1, 0][$0] }
        #expect(observations.count == 6)
        for (step, observation) in observations.enumerated() {
            let newest = 10 + step
            for row in 0..<4 {
                for column in 0..<3 {
                    let source = newest - 3 + row
                    #expect(
                        observation[row * 3 + column] == ((source + column) % 7 == 0 ? 0 : Float(source * 10 + column)))
                }
            }
            for column in 0..<3 { #expect(observation[12 + column] == ((newest + column) % 7 == 0 ? 0 : 1)) }
        }
        #expect(observations.map { $0[15] } == [0, 0.5, -1, 0, 1, 0])
    }

    @Test("nothing outside the span is read, and episodes start anywhere in it")
    func span() throws {
        // Two histories that agree on the span alone, with wild prices and other features outside.
        let inner = randomBars(100, seed: 2)
        var outer = inner
        var values = try Self.series(inner).features
        for row in inner.indices where !(30..<70).contains(row) {
            outer[row] = Bar(
                openTime: inner[row].openTime, interval: .minutes(1), open: 1e5, high: 1e6, low: 1e-3, close: 2e-3,
                volume: 0)
            for column in 0..<3 where values[row * 3 + column] != 0 { values[row * 3 + column] = -1e30 }
        }
        let original = try Self.series(inner)
        let poisoned = try MarketSeries(
            symbol: "SUIUSDT", bars: outer, featureCount: 3, features: values, mask: original.mask)
        var (a, b) = (
            try Self.environment(original, span: 30..<70, length: 10),
            try Self.environment(poisoned, span: 30..<70, length: 10)
        )
        var (first, second, actions) = (RandomGenerator(seed: 3), RandomGenerator(seed: 3), RandomGenerator(seed: 4))
        var starts: Set<Int> = []
        var left = [Float](repeating: 0, count: a.observationSize)
        var right = left
        for _ in 0..<300 {
            var leftSpan = left.mutableSpan
            var rightSpan = right.mutableSpan
            a.reset(&first, observation: &leftSpan)
            b.reset(&second, observation: &rightSpan)
            starts.insert(a.episode.startBar)
            while true {
                let action = [Float(actions.uniform(-1, 1))]
                let (x, y) = (a.step(action.span, observation: &leftSpan), b.step(action.span, observation: &rightSpan))
                #expect(x == y)
                if x.truncated || x.terminated { break }
            }
            #expect(left == right && a.episode == b.episode && a.episode.steps == 10)
        }
        // First with a whole window, last with ten steps left: rows 33 … 59; the seed is one that hits them all.
        #expect(starts == Set(33...59))
    }

    @Test("the end of the episode or of the span truncates; ruin terminates, and then only that")
    func ends() throws {
        var environment = try Self.environment(try Self.series(randomBars(40, seed: 5)), length: 8)
        let (_, rewards, last) = Self.run(&environment, start: 10) { _ in 0 }
        #expect(rewards == Array(repeating: 0, count: 8) && last?.truncated == true && last?.terminated == false)
        let end = Self.run(&environment, start: 37) { _ in 0 }
        #expect(end.rewards.count == 2 && end.last?.truncated == true)

        // A coin that loses nine tenths while we are all in leaves less than the least order.
        var bars = (0..<20).map { bar($0, open: 1, close: 1) }
        bars[8] = bar(8, open: 1, close: 0.1)
        for index in 9..<20 { bars[index] = bar(index, open: 0.1, close: 0.1) }
        var ruined = try Self.environment(try Self.series(bars), length: 100)
        let (_, losses, ruin) = Self.run(&ruined, start: 4) { _ in 1 }
        #expect(losses.count == 4 && ruin?.terminated == true && ruin?.truncated == false)
        #expect((losses.last ?? 0) < -0.85)
        var half = try Self.environment(try Self.series(bars), length: 100, ruin: 0.9)
        #expect(Self.run(&half, start: 4) { _ in 0 }.last?.truncated == true)
    }

    @Test("rewards are the account's: their sum is the profit, and the terms' sum is the reward")
    func rewards() throws {
        let series = try Self.series(randomBars(300, seed: 6))
        var environment = try Self.environment(series, length: 200)
        var random = RandomGenerator(seed: 7)
        let (_, rewards, _) = Self.run(&environment, start: 20) { _ in Float(random.uniform()) }
        let total = rewards.reduce(0) { $0 + Double($1) }
        // 200 Float32 rewards below 0.1 each: rounding below 200·4e-9.
        #expect(abs(total - (environment.episode.equity / 19.99 - 1)) < 1e-6)
        #expect(environment.episode.fills > 20 && environment.episode.fees > 0)
        try environment.session.checkInvariants()

        var composite = try Self.environment(series, length: 200, reward: .init())
        let result = Self.run(&composite, start: 20) { $0 % 2 == 0 ? 1 : 0 }
        let sum = result.rewards.reduce(0) { $0 + Double($1) }
        #expect(abs(sum - composite.episode.terms.total) < 1e-6)
        let terms = composite.episode.terms
        #expect(terms.turnover < 0 && terms.drawdown < 0 && terms.leverage < 0)
    }

    @Test("one seed, one history; copies are independent and share the series")
    func determinism() throws {
        let series = try Self.series(randomBars(200, seed: 8))
        let environment = try Self.environment(series, reward: .init())
        func rollout(_ environment: TradingEnvironment) -> [Float] {
            var (environment, random) = (environment, RandomGenerator(seed: 9))
            var buffer = [Float](repeating: 0, count: environment.observationSize)
            var target = buffer.mutableSpan
            var rewards: [Float] = []
            for _ in 0..<5 {
                environment.reset(&random, observation: &target)
                while true {
                    let step = environment.step([Float(random.uniform(-1, 1))].span, observation: &target)
                    rewards.append(step.reward)
                    if step.truncated || step.terminated { break }
                }
            }
            return rewards
        }
        #expect(rollout(environment) == rollout(environment))
        #expect(environment.series === series)
    }

    @Test("perfect foresight earns; the same trades at random lose about their costs")
    func foresight() throws {
        let bars = randomBars(1500, seed: 10, volatility: 0.01)
        let series = try Self.series(bars)
        // From the fill at the next open to the open after it.
        func gain(_ row: Int) -> Double { row + 2 < bars.count ? bars[row + 2].open / bars[row + 1].open - 1 : 0 }
        var seer = try Self.environment(series, length: 1400)
        _ = Self.run(&seer, start: 20) { gain(20 + $0) > 0 ? 1 : 0 }
        #expect(seer.episode.equity > 10 * 19.99)
        var gambler = try Self.environment(series, length: 1400)
        var random = RandomGenerator(seed: 11)
        _ = Self.run(&gambler, start: 20) { _ in random.uniform() < 0.5 ? 1 : 0 }
        // About 700 jumps of 0.12 % each take half of the account; luck is worth some 25 % either way.
        #expect(gambler.episode.equity < 0.9 * 19.99 && gambler.episode.fills > 300)
    }

    @Test("what cannot be an environment is refused")
    func validation() throws {
        let series = try Self.series(randomBars(30, seed: 12))
        #expect(throws: TradingError.self) { try Self.environment(series, span: 0..<4) }
        #expect(throws: TradingError.self) { try Self.environment(series, span: 0..<31) }
        #expect(throws: TradingError.self) { try Self.environment(series, window: 0) }
        #expect(throws: TradingError.self) { try Self.environment(series, length: 0) }
        #expect(throws: TradingError.self) { try Self.environment(series, ruin: 1) }
        #expect(throws: TradingError.self) { try Self.environment(series, rules: try rules("BTCUSDT")) }
        #expect(throws: TradingError.self) { try Self.environment(series, rules: try rules(minNotional: "50")) }
        let bars = randomBars(3, seed: 13)
        #expect(throws: TradingError.self) { try MarketSeries(symbol: "X", bars: []) }
        #expect(throws: TradingError.self) { try MarketSeries(symbol: "X", bars: bars.reversed()) }
        #expect(throws: TradingError.self) { try MarketSeries(symbol: "X", bars: bars, featureCount: 1) }
        for (value, mask) in [(Float.nan, UInt8(1)), (.infinity, 1), (1, 0), (0, 2)] {
            #expect(throws: TradingError.self) {
                try MarketSeries(
                    symbol: "X", bars: bars, featureCount: 1, features: [0, value, 0], mask: [1, mask, 1])
            }
        }
    }
}
