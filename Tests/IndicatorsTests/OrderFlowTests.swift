import Indicators
import Kernels
import MarketData
import Testing

@Suite("Order flow, patterns, sessions")
struct OrderFlowTests {
    @Test("VPIN lies within [0, 1], its buckets are equal, and no part of a trade is lost or doubled")
    func informed() {
        var random = RandomGenerator(seed: 1)
        for _ in 0..<200 {
            let buckets = 1 + random.index(below: 8)
            var vpin = InformedTradingProbability(buckets: buckets)
            let size = exp(random.uniform(-3, 3))
            // By hand: the signed volume as one line, cut every `size`.
            var line: [(volume: Double, isBuy: Bool)] = []
            for _ in 0..<(5 + random.index(below: 60)) {
                let trade = (volume: size * exp(1.5 * random.normal() - 1), isBuy: random.uniform() < 0.6)
                line.append(trade)
                vpin.update(quantity: trade.volume, isBuy: trade.isBuy, bucketVolume: size)
                if let value = vpin.value { #expect((0...1).contains(value)) }
            }
            let total = line.reduce(0) { $0 + $1.volume }
            let full = Int(total / size * (1 + 1e-12))
            let isWarm = vpin.isWarm
            #expect(isWarm == (full >= buckets))
            guard full >= buckets else { continue }
            var imbalances = [Double](repeating: 0, count: full + 1)
            var position = 0.0
            for trade in line {
                var rest = trade.volume
                while rest > 0 {
                    let bucket = min(full, Int(position / size * (1 + 1e-12)))
                    let room = bucket == full ? rest : min(rest, max(0, Double(bucket + 1) * size - position))
                    let part = room <= 1e-12 * size ? min(rest, 1e-12 * size) : room
                    imbalances[bucket] += trade.isBuy ? part : -part
                    position += part
                    rest -= part
                }
            }
            let expected = imbalances[(full - buckets)..<full].reduce(0) { $0 + abs($1) } / (Double(buckets) * size)
            let ours = vpin.value ?? .nan
            #expect(abs(ours - expected) < 1e-6, "\(buckets) buckets of \(size)")
        }
    }

    @Test("A trade larger than all buckets fills them, and one without a size changes nothing")
    func large() {
        var vpin = InformedTradingProbability(buckets: 3)
        vpin.update(quantity: 1e300, isBuy: true, bucketVolume: 1e-9)
        let filled = vpin.value
        #expect(filled == 1)
        for (quantity, bucket) in [(0.0, 1.0), (.nan, 1), (1, 0), (1, .nan), (1, .infinity), (-1, 1)] {
            vpin.update(quantity: quantity, isBuy: false, bucketVolume: bucket)
        }
        let still = vpin.value
        #expect(still == 1)
        for _ in 0..<3 {
            vpin.update(quantity: 0.5, isBuy: false, bucketVolume: 1)
            vpin.update(quantity: 0.5, isBuy: true, bucketVolume: 1)
        }
        let value = vpin.value
        #expect(value.map { abs($0) < 0.34 } == true)
        // 10.5 buckets bought and one sold: the eleventh is balanced, the four before are bought.
        var exact = InformedTradingProbability(buckets: 5)
        exact.update(quantity: 262.5, isBuy: true, bucketVolume: 25)
        exact.update(quantity: 25, isBuy: false, bucketVolume: 25)
        let share = exact.value
        #expect(share == 0.8)
    }

    @Test("Order-flow imbalance by the paper's four cases, through a broken book")
    func imbalance() throws {
        func book(_ bid: Double, _ bidVolume: Double, _ ask: Double, _ askVolume: Double) -> BookTop {
            BookTop(bidPrice: bid, askPrice: ask, bidVolume: bidVolume, askVolume: askVolume)
        }
        var flow = OrderFlowImbalance()
        flow.update(book(10, 5, 11, 7))
        let nothing = flow.take()
        #expect(nothing == nil)
        flow.update(book(10, 8, 11, 7))  // the bid grows by 3
        flow.update(book(10.5, 2, 11, 7))  // a better bid of 2
        flow.update(book(10.5, 2, 11, 3))  // the ask shrinks by 4
        flow.update(book(10.5, 2, 10.8, 6))  // a better ask of 6
        let sums = flow.take()
        let taken = try #require(sums)
        #expect(taken.imbalance == 3 + 2 + 4 - 6)
        #expect(abs(taken.meanDepth - (7.5 + 4.5 + 2.5 + 4) / 4) < 1e-12)
        flow.update(book(12, 1, 11, 1))  // crossed: what follows begins anew
        flow.update(book(10, 1, 11, 9))
        let first = flow.take()
        #expect(first == nil)
        flow.update(book(9, 4, 12, 9))  // both sides step back: −1 bid, +9 ask
        let last = flow.take()
        #expect(last?.imbalance == 8)
    }

    @Test("The tick rule keeps its sign while the price stays")
    func tick() {
        var rule = TickRule()
        let signs = [5.0, 5, 6, 6, 5.5, 5.5, 7].map { rule.update($0) }
        #expect(signs == [0, 0, 1, 1, -1, -1, 1])
    }

    @Test("Slippage walks the book, and a book too shallow has none")
    func slippage() throws {
        let book = BookDepth(
            bidPrices: [99, 98], bidVolumes: [1, 10], askPrices: [101, 102], askVolumes: [1, 10])
        let buying = try #require(book.slippage(buying: true, notional: 101 + 204))
        #expect(abs(buying - (305 / 3.0 / 100 - 1)) < 1e-12)
        let selling = try #require(book.slippage(buying: false, notional: 99 + 98))
        #expect(abs(selling - (1 - 197 / 2.0 / 100)) < 1e-12)
        #expect(book.slippage(buying: true, notional: 2000) == nil)
        #expect(book.slippage(buying: true, notional: 0) == nil)
        let empty = BookDepth(bidPrices: [99], bidVolumes: [1], askPrices: [], askVolumes: [])
        #expect(empty.slippage(buying: true, notional: 1) == nil && empty.slippage(buying: false, notional: 1) == nil)
        let crossed = BookDepth(bidPrices: [99], bidVolumes: [1], askPrices: [98], askVolumes: [1])
        #expect(crossed.slippage(buying: true, notional: 1) == nil)
    }

    private static func candles(_ shapes: [(Double, Double, Double, Double)]) -> [CandlePattern] {
        var recogniser = CandlePatternRecogniser()
        return shapes.enumerated().compactMap { index, shape in
            recogniser.update(
                Bar(
                    openTime: Timestamp(seconds: Int64(index) * 60), interval: .minutes(1), open: shape.0,
                    high: shape.1, low: shape.2, close: shape.3, volume: 1))
        }
    }

    @Test("Each pattern by an example of the book, and none before it has closed")
    func patterns() {
        // Seven candles that fall, or rise, and form nothing themselves; then the pattern's own.
        typealias Shape = (Double, Double, Double, Double)
        let falling = [0.0, 1, 2, 3, 4, 5, 6].map { step -> Shape in
            (110 - step, 110.8 - step, 108.2 - step, 109.2 - step)
        }
        let rising = [0.0, 1, 2, 3, 4, 5, 6].map { step -> Shape in (90 + step, 91.8 + step, 89.2 + step, 90.8 + step) }
        func last(_ before: [Shape], _ shapes: Shape...) -> CandlePattern? {
            Self.candles(before + shapes).last
        }
        #expect(last(falling, (102, 102.3, 99, 102.2)) == .hammer)
        #expect(last(rising, (98, 98.5, 95, 98.4)) == .hangingMan)
        #expect(last(falling, (102, 105.5, 101.9, 102.4)) == .invertedHammer)
        #expect(last(rising, (98, 101.5, 97.9, 98.4)) == .shootingStar)
        #expect(last(rising, (98, 100, 96, 98.05)) == .doji)
        #expect(last(falling, (103, 103.2, 101.8, 102), (101.8, 104, 101.5, 103.5)) == .bullishEngulfing)
        #expect(last(rising, (97, 98.2, 96.8, 98), (98.2, 98.4, 96, 96.5)) == .bearishEngulfing)
        #expect(last(falling, (104, 104.1, 99.9, 100), (101, 101.9, 100.1, 101.2)) == .bullishHarami)
        #expect(last(rising, (96, 100.1, 95.9, 100), (99, 99.9, 98.1, 98.8)) == .bearishHarami)
        #expect(last(falling, (104, 104.1, 99.9, 100), (99.5, 103.2, 99.4, 103)) == .piercingLine)
        #expect(last(rising, (96, 100.1, 95.9, 100), (100.5, 100.6, 96.8, 97)) == .darkCloudCover)
        #expect(
            last(falling, (104, 104.1, 99.9, 100), (99.5, 100.2, 98.9, 99.7), (99.8, 103.6, 99.7, 103.5))
                == .morningStar)
        #expect(
            last(rising, (96, 100.1, 95.9, 100), (100.5, 101.1, 99.9, 100.3), (100.2, 100.3, 96.4, 96.5))
                == .eveningStar)
        #expect(
            last(falling, (100, 102.1, 99.9, 102), (101, 103.1, 100.9, 103), (102, 104.1, 101.9, 104))
                == .threeWhiteSoldiers)
        #expect(
            last(rising, (104, 104.1, 101.9, 102), (103, 103.1, 100.9, 101), (102, 102.1, 99.9, 100))
                == .threeBlackCrows)
        #expect(Self.candles(Array(falling.prefix(6))).isEmpty, "within the warm-up")
    }

    @Test("Sessions by the clock, and their volatility from their own returns")
    func sessions() throws {
        func time(_ hour: Int64, _ minute: Int64 = 0) -> Timestamp {
            Timestamp(seconds: 1_769_990_400 + hour * 3600 + minute * 60)
        }
        func open(_ hour: Int64, _ minute: Int64 = 0) -> [TradingSession] {
            TradingSession.allCases.filter { $0.contains(time(hour, minute)) }
        }
        #expect(open(0) == [.asia] && open(7) == [.asia, .europe] && open(9) == [.europe])
        #expect(open(13) == [.europe, .us] && open(16) == [.us] && open(20, 59) == [.us] && open(21) == [])
        var volatility = SessionVolatility()
        var values: [Double?] = []
        for minute in 0..<12 as Range<Int64> { values.append(volatility.update(0.01, openTime: time(6, 54 + minute))) }
        // Five returns before 07:00, then five of the new session.
        #expect(values.indices.filter { values[$0] != nil } == [4, 5, 10, 11])
        #expect(try abs(#require(values[11]) - 0.01) < 1e-15)
    }

    @Test("Ichimoku's spans at a bar are those of 26 bars ago: the last 26 bars do not show in them")
    func ichimoku() throws {
        let bars = randomBars(140, seed: 77)
        var whole = Ichimoku()
        for bar in bars { whole.update(bar) }
        // The last 26 bars replaced: conversion and base change, the spans do not.
        var other = Ichimoku()
        for (index, bar) in bars.enumerated() {
            var bar = bar
            if index >= 114 { (bar.high, bar.low) = (bar.high * 2, bar.low / 2) }
            other.update(bar)
        }
        #expect(whole.value.spanA == other.value.spanA && whole.value.spanB == other.value.spanB)
        #expect(whole.value.conversion != other.value.conversion)
        func middle(_ range: ArraySlice<Bar>) -> Double {
            0.5 * (range.map(\.high).reduce(0, max) + range.map(\.low).reduce(.infinity, min))
        }
        #expect(whole.value.conversion == middle(bars.suffix(9)) && whole.value.base == middle(bars.suffix(26)))
        let then = bars[..<114]
        #expect(whole.value.spanB == middle(then.suffix(52)))
        #expect(whole.value.spanA == 0.5 * (middle(then.suffix(9)) + middle(then.suffix(26))))
    }

    @Test("The eleven together are the eleven alone, bit for bit, and go on after a restore")
    func classic() throws {
        let bars = randomBars(400, seed: 78)
        var together = ClassicIndicators()
        var rsi = RelativeStrengthIndex(14)
        var macd = MovingAverageConvergenceDivergence()
        var ema = ExponentialMovingAverage(20)
        var sma = SimpleMovingAverage(50)
        var bands = BollingerBands()
        var atr = AverageTrueRange(14)
        var adx = AverageDirectionalIndex(14)
        var stochastic = StochasticOscillator()
        var obv = OnBalanceVolume()
        var cci = CommodityChannelIndex(20)
        var mfi = MoneyFlowIndex(14)
        for (index, bar) in bars.enumerated() {
            if index % 37 == 36 {
                var writer = StateWriter()
                together.save(to: &writer)
                together = ClassicIndicators()
                var reader = StateReader(writer.bytes)
                try together.restore(from: &reader)
                #expect(reader.isAtEnd)
            }
            together.update(bar)
            var expected = ClassicIndicators.Values()
            expected.rsi = rsi.update(bar.close)
            expected.macd = macd.update(bar.close)
            expected.ema = ema.update(bar.close)
            expected.sma = sma.update(bar.close)
            expected.bollinger = bands.update(bar.close)
            expected.atr = atr.update(bar)
            expected.adx = adx.update(bar)
            expected.stochastic = stochastic.update(bar)
            expected.obv = obv.update(bar)
            expected.cci = cci.update(bar)
            expected.mfi = mfi.update(bar)
            #expect(together.values == expected, "bar \(index)")
            let isWarm = together.isWarm
            #expect(isWarm == (index >= together.warmUp))
        }
    }
}
