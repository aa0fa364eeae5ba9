import Kernels
import MarketData
import Testing

@Suite("Order of events, as-of joins, resampling")
struct EventOrderTests {
    /// Random events on few distinct times, so that ties are common.
    private func randomEvents(_ count: Int, _ random: inout RandomGenerator) -> [MarketEvent] {
        (0..<count).map { index in
            let time = Timestamp(seconds: Int64(random.index(below: 20)))
            let payloads: [MarketEvent.Payload] = [
                .fearGreed(Double(index)), .fundingRate(.init(rate: Double(index), interval: .hours(8))),
                .message(.init(id: "\(index)", source: "", text: "")),
                .bookTop(.init(bidPrice: Double(index), askPrice: 1, bidVolume: 1, askVolume: 1)),
            ]
            return MarketEvent(
                exchange: "x", symbol: ["A", "B", ""][random.index(below: 3)],
                eventTime: Timestamp(microseconds: time.microseconds - Int64(index)), knownAt: time,
                payload: payloads[random.index(below: 4)])
        }
    }

    @Test("Streaming merge = batch merge, complete, ordered, numbered, however the events are spread", arguments: 1...5)
    func merge(seed: UInt64) throws {
        var random = RandomGenerator(seed: seed)
        let events = randomEvents(200, &random)
        var merged: [[MarketEvent]] = []
        for sourceCount in [1, 3, 7] {
            var sources = [[MarketEvent]](repeating: [], count: sourceCount)
            for event in events { sources[random.index(below: sourceCount)].append(event) }
            let batch = EventMerger.merge(sources, firstSequence: 10)
            var merger = EventMerger(
                sources.map { AnyIterator(EventMerger.sorted($0).makeIterator()) }, firstSequence: 10)
            var streamed: [MarketEvent] = []
            while let event = try merger.next() { streamed.append(event) }
            #expect(streamed == batch)
            merged.append(batch)
        }
        #expect(merged[0] == merged[1] && merged[1] == merged[2])
        #expect(merged[0].map(\.sequence) == Array(10..<210))
        #expect(zip(merged[0], merged[0].dropFirst()).allSatisfy { $0.knownAt <= $1.knownAt })
    }

    @Test("At one instant slow information comes before the bar that closes then")
    func order() {
        let bar = Bar(
            openTime: at("2026-01-01T07:59Z"), interval: .minutes(1), open: 1, high: 1, low: 1, close: 1, volume: 0)
        let time = at("2026-01-01T08:00Z")
        func event(_ symbol: String, _ payload: MarketEvent.Payload) -> MarketEvent {
            .init(exchange: "x", symbol: symbol, eventTime: time, knownAt: time, payload: payload)
        }
        let funding = event("B", .fundingRate(.init(rate: 0, interval: .hours(8))))
        let news = event("", .message(.init(id: "1", source: "", text: "")))
        let bars = ["B", "A"].map { MarketEvent(bar: bar, exchange: "x", symbol: $0) }
        let merged = EventMerger.merge([bars, [funding], [news]])
        #expect(merged.map(\.symbol) == ["", "B", "A", "B"])
        #expect(merged[0].payload == news.payload && merged[1].payload == funding.payload)
        #expect(merged.map(\.sequence) == [1, 2, 3, 4])
    }

    @Test("A source that goes back in time is refused")
    func outOfOrder() throws {
        func event(_ second: Int64) -> MarketEvent {
            let time = Timestamp(seconds: second)
            return .init(exchange: "", symbol: "", eventTime: time, knownAt: time, payload: .fearGreed(1))
        }
        var merger = EventMerger([AnyIterator([event(5), event(4)].makeIterator())])
        #expect(
            throws: MarketDataError.sourceOutOfOrder(
                source: 0, previous: Timestamp(seconds: 5), next: Timestamp(seconds: 4))
        ) { try merger.next() }
    }

    @Test("As-of looks backward only, within the tolerance, on any insertion order", arguments: 1...5)
    func asOf(seed: UInt64) {
        var random = RandomGenerator(seed: seed)
        var series = AsOfSeries<Int>()
        var plain: [(time: Int64, value: Int)] = []
        for value in 0..<60 {
            let time = Int64(random.index(below: 100))
            series.append(value, knownAt: Timestamp(seconds: time))
            plain.append((time, value))
        }
        #expect(AsOfSeries(plain.map { (Timestamp(seconds: $0.time), $0.value) }).values == series.values)
        for time in -1...101 as ClosedRange<Int64> {
            // The plain version: scan for the latest time not later, the last given of equals.
            var best: (time: Int64, value: Int)?
            for entry in plain where entry.time <= time && entry.time >= best?.time ?? .min { best = entry }
            #expect(series.value(asOf: Timestamp(seconds: time)) == best?.value)
            let near = best.flatMap { time - $0.time <= 3 ? $0.value : nil }
            #expect(series.value(asOf: Timestamp(seconds: time), tolerance: .seconds(3)) == near)
        }
    }

    @Test("Resampling: boundaries, gaps, no forming bar, streaming = batch")
    func resampling() {
        var random = RandomGenerator(seed: 3)
        var bars: [Bar] = []
        for minute in 3..<600 as Range<Int64> where !(100...118).contains(minute) && minute != 59 {
            let prices = (0..<4).map { _ in random.uniform(90, 110) }
            bars.append(
                Bar(
                    openTime: at("2026-01-01") + .minutes(minute), interval: .minutes(1), open: prices[0],
                    high: prices.max() ?? 0, low: prices.min() ?? 0, close: prices[3], volume: 1))
        }
        for minutes in [5, 15, 60, 240] as [Int64] {
            let output = BarResampler.resample(bars, to: .minutes(minutes))
            for item in output {
                let bar = item.bar
                #expect(bar.openTime == bar.openTime.floored(to: .minutes(minutes)))
                let parts = bars.filter { $0.openTime >= bar.openTime && $0.openTime < bar.closeTime }
                #expect(item.parts == parts.count && bar.volume == Double(parts.count))
                #expect(bar.open == parts.first?.open && bar.close == parts.last?.close)
                #expect(bar.high == parts.map(\.high).max() && bar.low == parts.map(\.low).min())
                #expect(item.isComplete == (parts.count == Int(minutes)))
            }
            // Every finished period with any part, and none other: 600 is a boundary of 5, 15 and 60, not of 240.
            let periods = Set(bars.map { $0.openTime.floored(to: .minutes(minutes)) })
                .filter { $0 + .minutes(minutes) <= at("2026-01-01T10:00Z") }
            #expect(output.map(\.bar.openTime) == periods.sorted())
            for cut in [1, 57, 300] {
                let prefix = BarResampler.resample(Array(bars[..<cut]), to: .minutes(minutes))
                #expect(prefix == Array(output[..<prefix.count]))
            }
        }
    }

    @Test("Timestamps survive the round trip through text and floor towards the past", arguments: 1...3)
    func timestamps(seed: UInt64) {
        var random = RandomGenerator(seed: seed)
        for _ in 0..<300 {
            // Years 0001 to 9999.
            let time = Timestamp(microseconds: Int64(random.uniform(-6.2e16, 2.5e17)))
            #expect(Timestamp(time.description) == time)
            let day = time.floored(to: .days(1))
            #expect(day <= time && time < day + .days(1) && day.microseconds % 86_400_000_000 == 0)
        }
        let floored = [-1001, -1000, -1, 0, 999, 1000].map { Timestamp(microseconds: $0).milliseconds }
        #expect(floored == [-2, -1, -1, 0, 0, 1])
        #expect(Timestamp("2024-02-29T12:00Z")?.seconds == 1_709_208_000)
        for text in ["2025-02-29", "2025-13-01", "2025-01-01T24:00Z", "2025-01-01T00:00:00.1234567Z", "2025-1-1", "x"] {
            #expect(Timestamp(text) == nil)
        }
    }
}
