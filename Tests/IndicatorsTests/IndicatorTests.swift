import Indicators
import Kernels
import MarketData
import Testing

/// Random bars: a walk with jumps, flat stretches and bars without volume, so that every branch is met.
func randomBars(_ count: Int, seed: UInt64) -> [Bar] {
    var random = RandomGenerator(seed: seed)
    var price = 100.0
    var bars: [Bar] = []
    for index in 0..<count {
        let open = price
        let flat = random.uniform() < 0.1
        let jump = random.uniform() < 0.01 ? 0.3 * random.normal() : 0
        if !flat { price *= exp(0.002 * random.normal() + jump) }
        let high = max(open, price) * (flat ? 1 : 1 + 0.001 * random.uniform())
        let low = min(open, price) * (flat ? 1 : 1 - 0.001 * random.uniform())
        let volume = random.uniform() < 0.1 ? 0 : exp(2 * random.normal())
        bars.append(
            Bar(
                openTime: Timestamp(seconds: Int64(index) * 60), interval: .minutes(1), open: open, high: high,
                low: low, close: price, volume: volume))
    }
    return bars
}

/// All four moments as one output.
struct AllMoments: Indicator {
    var moments = RollingMoments(9)
    var warmUp: Int { moments.warmUp }
    var isWarm: Bool { mutating get { moments.isWarm } }

    mutating func update(_ value: Double) -> [Double]? {
        moments.update(value)
        guard let mean = moments.mean, let variance = moments.variance else { return nil }
        return [mean, variance, moments.skewness ?? .nan, moments.kurtosis ?? .nan]
    }

    func save(to writer: inout StateWriter) { moments.save(to: &writer) }
    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try moments.restore(from: &reader)
    }
}

/// A swing that fades by orders of magnitude around 0, and starts again: no single bar shows that precision is lost.
func fading(_ bar: Bar) -> Double {
    let index = bar.openTime.microseconds / 60_000_000
    return (index % 2 == 0 ? 1 : -1) * exp(-0.7 * Double(index % 40))
}

/// One machine of each kind over bars, its output as bits, for tests that hold for all of them.
struct AnyMachine: Sendable {
    let name: String
    let warmUp: Int
    private let make: @Sendable () -> any Restorable
    private let step: @Sendable (inout any Restorable, Bar) -> [UInt64]?

    init<I: Indicator>(
        _ name: String, _ make: @escaping @Sendable () -> I, input: @escaping @Sendable (Bar) -> I.Input,
        output: @escaping @Sendable (I.Output) -> [Double]
    ) {
        self.name = name
        warmUp = make().warmUp
        self.make = make
        step = { machine, bar in
            guard var typed = machine as? I else { return nil }
            let value = typed.update(input(bar))
            machine = typed
            return value.map { output($0).map(\.bitPattern) }
        }
    }

    func fresh() -> any Restorable { make() }
    func update(_ machine: inout any Restorable, _ bar: Bar) -> [UInt64]? { step(&machine, bar) }

    static func close<I: Indicator>(_ name: String, _ make: @escaping @Sendable () -> I) -> AnyMachine
    where I.Input == Double, I.Output == Double { AnyMachine(name, make, input: \.close, output: { [$0] }) }
    static func bar<I: Indicator>(_ name: String, _ make: @escaping @Sendable () -> I) -> AnyMachine
    where I.Input == Bar, I.Output == Double { AnyMachine(name, make, input: { $0 }, output: { [$0] }) }

    static let all: [AnyMachine] = [
        .close("sum") { RollingSum(7) }, .close("moments") { RollingMoments(11) },
        .close("deviation") { RollingDeviation(11) }, .close("delay") { Delay(6) },
        .close("sma") { SimpleMovingAverage(9) }, .close("ema") { ExponentialMovingAverage(9, skipping: 3) },
        .close("wilder") { WilderAverage(6) }, .close("rsi") { RelativeStrengthIndex(14) },
        .close("roc") { RateOfChange(5) }, .close("realised") { RealisedVolatility(8) },
        .close("return") { LogReturn() }, .bar("cci") { CommodityChannelIndex(20) },
        .bar("adx") { AverageDirectionalIndex(14) }, .bar("atr") { AverageTrueRange(14) },
        .bar("parkinson") { ParkinsonVolatility(10) }, .bar("obv") { OnBalanceVolume() },
        .bar("balance") { VolumeBalance(12) }, .bar("mfi") { MoneyFlowIndex(14) },
        .bar("vwap") { VolumeWeightedDistance(15) }, .bar("money flow") { ChaikinMoneyFlow(9) },
        .bar("session vwap") { SessionVWAP() },
        AnyMachine("range", { RollingRange(7) }, input: { $0 }, output: { [$0.highest, $0.lowest] }),
        AnyMachine("streak", { Streak() }, input: \.close, output: { [Double($0)] }),
        AnyMachine("patterns", { CandlePatternRecogniser() }, input: { $0 }, output: { [Double($0.rawValue)] }),
        // Outliers that leave: what is remembered of them is part of the state.
        AnyMachine("spiky sum", { RollingSum(7) }, input: { pow($0.volume, 4) }, output: { [$0] }),
        AnyMachine("fading moments", { AllMoments() }, input: { fading($0) }, output: { $0 }),
        AnyMachine("macd", { MovingAverageConvergenceDivergence() }, input: \.close, output: { [$0.line, $0.signal] }),
        AnyMachine("bollinger", { BollingerBands() }, input: \.close, output: { [$0.upper, $0.middle, $0.lower] }),
        AnyMachine("stochastic", { StochasticOscillator() }, input: { $0 }, output: { [$0.k, $0.d] }),
    ]
}

@Suite("Indicators")
struct IndicatorTests {
    @Test("A machine restored after any bar goes on bit for bit", arguments: AnyMachine.all.indices)
    func restore(index: Int) throws {
        let kind = AnyMachine.all[index]
        let bars = randomBars(300, seed: UInt64(index) + 1)
        var running = kind.fresh()
        for cut in 0...280 {
            var writer = StateWriter()
            running.save(to: &writer)
            var reader = StateReader(writer.bytes)
            var restored = kind.fresh()
            try restored.restore(from: &reader)
            #expect(reader.isAtEnd)
            var whole = running
            let following = bars[cut..<(cut + 20)]
            let same = following.allSatisfy { kind.update(&whole, $0) == kind.update(&restored, $0) }
            #expect(same, "\(kind.name) cut at \(cut)")
            // What the outputs do not show yet is the same too.
            var (first, second) = (StateWriter(), StateWriter())
            whole.save(to: &first)
            restored.save(to: &second)
            #expect(first.bytes == second.bytes, "\(kind.name) cut at \(cut)")
            _ = kind.update(&running, bars[cut])
        }
    }

    @Test("The first value comes after the declared warm-up, and never before", arguments: AnyMachine.all.indices)
    func warmUp(index: Int) {
        let kind = AnyMachine.all[index]
        // Bars that always trade and always move, so that only warm-up can be absent.
        let bars = randomBars(400, seed: 3).enumerated().map { index, bar in
            var bar = bar
            bar.volume += 1
            bar.openTime = Timestamp(seconds: Int64(index) * 60)
            return bar
        }
        var machine = kind.fresh()
        for (position, bar) in bars.prefix(kind.warmUp + 20).enumerated() {
            #expect((kind.update(&machine, bar) != nil) == (position >= kind.warmUp), "\(kind.name) at \(position)")
        }
    }

    @Test("A truncated or foreign state is refused, never read wrongly nor trapped on")
    func refused() throws {
        for kind in AnyMachine.all {
            var machine = kind.fresh()
            for bar in randomBars(60, seed: 5) { _ = kind.update(&machine, bar) }
            var writer = StateWriter()
            machine.save(to: &writer)
            for length in stride(from: 0, to: writer.bytes.count, by: 3) {
                var reader = StateReader(Array(writer.bytes[..<length]))
                #expect(throws: IndicatorError.self, "\(kind.name) \(length)") {
                    var fresh = kind.fresh()
                    try fresh.restore(from: &reader)
                }
            }
            // Any bytes at all: an answer or an error.
            var random = RandomGenerator(seed: 11)
            for _ in 0..<50 {
                var bytes = writer.bytes
                for _ in 0..<4 { bytes[random.index(below: bytes.count)] = UInt8(truncatingIfNeeded: random.next()) }
                var reader = StateReader(bytes)
                var fresh = kind.fresh()
                guard (try? fresh.restore(from: &reader)) != nil else { continue }
                for bar in randomBars(40, seed: 6) { _ = kind.update(&fresh, bar) }
            }
        }
        var small = Window(3)
        var writer = StateWriter()
        Window(4).save(to: &writer)
        var reader = StateReader(writer.bytes)
        #expect(throws: IndicatorError.stateMismatch(field: "window length")) { try small.restore(from: &reader) }
    }

    @Test("Rolling sum, extremes and moments equal a pass over the window, through outliers and flat stretches")
    func againstDirect() {
        var random = RandomGenerator(seed: 21)
        for period in [2, 5, 30] {
            var sum = RollingSum(period)
            var range = RollingRange(period)
            var moments = RollingMoments(period)
            var pair = RollingDeviation(period)
            var values: [Double] = []
            for step in 0..<1500 {
                // Outliers of 1e6, then quiet, then exactly constant: what differences alone get wrong.
                let scale = random.uniform() < 0.01 ? 1e6 : 1e-3
                values.append(step % 400 > 300 ? 0.1 : 40_000 * (step % 200 > 100 ? 1 : 0) + scale * random.normal())
                let last = values[step]
                sum.update(last)
                moments.update(last)
                let window = values.suffix(period)
                pair.update(last)
                let extremes = range.update(Self.bar(last))
                #expect(extremes?.highest == (window.count == period ? window.max() : nil))
                #expect(extremes?.lowest == (window.count == period ? window.min() : nil))
                guard window.count == period, let mean = moments.mean, let variance = moments.variance else { continue }
                let n = Double(period)
                let base = window[window.startIndex]
                // Deviations from a value of the window: at 40,000 ± 0.001 the mean itself has too few digits.
                let offset = window.reduce(0) { $0 + ($1 - base) } / n
                let directMean = base + offset
                func central(_ k: Double) -> Double { window.reduce(0) { $0 + pow($1 - base - offset, k) } / n }
                let size = window.reduce(0) { max($0, abs($1)) }
                #expect(abs(sum.sum - window.reduce(0, +)) <= 1e-9 * max(abs(sum.sum), 1e-6 * size))
                #expect(abs(mean - directMean) <= 1e-12 * size)
                let m2 = central(2)
                // The data carry the deviation to about 1e-16 of their size only.
                let grain = pow(1e-15 * size, 2)
                #expect(abs(variance - m2) <= 1e-9 * m2 + grain, "period \(period), step \(step)")
                let two = (mean: pair.mean ?? .nan, variance: pair.variance ?? .nan)
                #expect(abs(two.variance - m2) <= 1e-9 * m2 + grain, "period \(period), step \(step)")
                #expect(abs(two.mean - directMean) <= 1e-12 * size)
                guard m2 > 1e6 * grain, m2 > 0 else {
                    if Set(window).count == 1 {
                        let (skewness, other) = (moments.skewness, pair.variance)
                        #expect(variance == 0 && skewness == nil && other == 0)
                    }
                    continue
                }
                let skewness = central(3) / pow(m2, 1.5)
                let kurtosis = central(4) / (m2 * m2) - 3
                let ours = (skewness: moments.skewness ?? .nan, kurtosis: moments.kurtosis ?? .nan)
                #expect(abs(ours.skewness - skewness) <= 1e-9 * (1 + abs(skewness)), "\(period) \(step)")
                #expect(abs(ours.kurtosis - kurtosis) <= 1e-9 * (1 + abs(kurtosis)), "\(period) \(step)")
            }
        }
    }

    /// A bar that is one price.
    static func bar(_ price: Double) -> Bar {
        Bar(
            openTime: Timestamp(seconds: 0), interval: .minutes(1), open: price, high: price, low: price, close: price,
            volume: 1)
    }

    @Test("Volatilities, comovement and volume follow their formulas")
    func formulas() throws {
        let bars = randomBars(80, seed: 9)
        let returns = zip(bars.dropFirst(), bars).map { log($0.close / $1.close) }
        var realised = RealisedVolatility(10)
        _ = realised.fold(returns)
        let direct = (returns.suffix(10).reduce(0) { $0 + $1 * $1 } / 10).squareRoot()
        let volatility = realised.value
        #expect(abs(try #require(volatility) - direct) < 1e-12)

        var parkinson = ParkinsonVolatility(12)
        let range = try #require(parkinson.fold(bars).last ?? nil)
        let squares = bars.suffix(12).reduce(0) { $0 + pow(log($1.high / $1.low), 2) }
        #expect(abs(range - (squares / (4 * log(2.0) * 12)).squareRoot()) < 1e-12)

        var pair = RollingComovement(20)
        for value in returns { pair.update(x: value, y: 3 * value + 1e-3) }
        let (beta, correlation) = (pair.beta, pair.correlation)
        #expect(abs(try #require(beta) - 3) < 1e-9)
        #expect(abs(try #require(correlation) - 1) < 1e-9)

        var vwap = VolumeWeightedDistance(15)
        let distance = try #require(vwap.fold(bars).last ?? nil)
        let window = bars.suffix(15)
        let price = window.reduce(0) { $0 + ($1.high + $1.low + $1.close) / 3 * $1.volume }
            / window.reduce(0) { $0 + $1.volume }
        #expect(abs(distance - (bars[79].close / price - 1)) < 1e-12)
    }

    @Test("A market that does not move: what has no value is told from a value")
    func flat() {
        let bar = Bar(
            openTime: Timestamp(seconds: 0), interval: .minutes(1), open: 5, high: 5, low: 5, close: 5, volume: 0)
        var rsi = RelativeStrengthIndex(14)
        var mfi = MoneyFlowIndex(14)
        var stochastic = StochasticOscillator()
        var vwap = VolumeWeightedDistance(10)
        var balance = VolumeBalance(10)
        for _ in 0..<40 {
            _ = rsi.update(bar.close)
            _ = mfi.update(bar)
            _ = stochastic.update(bar)
            #expect(vwap.update(bar) == nil)
            #expect(balance.update(bar) == nil)
        }
        let (isMoneyWarm, isMoneyFlat, isPriceWarm) = (mfi.isWarm, mfi.isFlat, vwap.isWarm)
        #expect(rsi.isWarm && rsi.isFlat && isMoneyWarm && isMoneyFlat && stochastic.isFlat && isPriceWarm)
    }

    @Test("Books: spread and imbalance, and none of a broken book")
    func books() {
        let book = BookTop(bidPrice: 99, askPrice: 101, bidVolume: 3, askVolume: 1)
        #expect(book.relativeSpread == 0.02)
        #expect(book.orderImbalance == 0.5)
        let broken = [
            BookTop(bidPrice: 101, askPrice: 99, bidVolume: 3, askVolume: 1),
            BookTop(bidPrice: 0, askPrice: 99, bidVolume: 3, askVolume: 1),
            BookTop(bidPrice: 98, askPrice: .nan, bidVolume: 3, askVolume: 1),
            BookTop(bidPrice: 98, askPrice: 99, bidVolume: -1, askVolume: 1),
        ]
        for book in broken { #expect(book.relativeSpread == nil && book.orderImbalance == nil) }
        #expect(BookTop(bidPrice: 98, askPrice: 99, bidVolume: 0, askVolume: 0).orderImbalance == nil)
    }
}
