import Features
import Foundation
import Indicators
import Kernels
import MarketData
import Testing

/// Of the recorded data beside the checkout, where there are any.
private let recordedBars = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../../../shared/data/binance_spot").standardizedFileURL

/// One stream of bars, taken in three ways, must give the same bits; and its past must not depend on its future.
@Suite("Streaming, batch, restored: one result")
struct StreamingPropertyTests {
    static let configuration: FeatureConfiguration = {
        var configuration = FeatureConfiguration(traded: [Instrument("X")], reference: Instrument("X"))
        configuration.modules = FeatureModuleKind.allCases
        return configuration
    }()

    private static func event(_ bar: Bar) -> MarketEvent {
        MarketEvent(exchange: "test", symbol: "X", eventTime: bar.closeTime, knownAt: bar.closeTime, payload: .bar(bar))
    }

    private static func bits(_ vectors: [FeatureVector]) -> [[UInt64]] { vectors.map { $0.values.map(\.bitPattern) } }

    /// What differs, or `nil`. The engine is saved and restored after the bars that `seed` chooses.
    static func difference(_ bars: [Bar], seed: UInt64) throws -> String? {
        var streaming = try FeatureEngine(configuration)
        let vectors = try bars.compactMap { try streaming.update(event($0)) }
        let table = try FeatureEngine.table(of: bars, symbol: "X", configuration)
        for (row, vector) in vectors.enumerated() {
            let other = table.vector(row)
            guard other.absences == vector.absences, bits([other]) == bits([vector]) else { return "table, bar \(row)" }
        }
        var random = RandomGenerator(seed: seed)
        var restored = try FeatureEngine(configuration)
        for (row, bar) in bars.enumerated() {
            if random.uniform() < 0.03 {
                restored = try FeatureEngine(configuration, state: try restored.save())
            }
            guard let vector = try restored.update(event(bar)) else { return "no vector, bar \(row)" }
            guard vector.absences == vectors[row].absences, bits([vector]) == bits([vectors[row]]) else {
                return "restored, bar \(row)"
            }
        }
        return nil
    }

    /// Drops ever smaller parts of a series that fails, as long as it still does: what is left is the example to keep.
    static func shrunk(_ bars: [Bar], _ fails: ([Bar]) throws -> Bool) rethrows -> [Bar] {
        var bars = bars
        var part = bars.count / 2
        while part > 0 {
            var start = 0
            while start < bars.count {
                var fewer = bars
                fewer.removeSubrange(start..<min(start + part, bars.count))
                if try !fewer.isEmpty && fails(fewer) { bars = fewer } else { start += part }
            }
            part /= 2
        }
        return bars
    }

    private static func check(_ bars: [Bar], seed: UInt64, _ name: String) throws {
        guard let difference = try difference(bars, seed: seed) else { return }
        let least = try shrunk(bars) { try self.difference($0, seed: seed) != nil }
        Issue.record("\(name), seed \(seed): \(difference); \(least.count) bars are enough: \(least.prefix(40))")
    }

    @Test("Random bars with holes, flat stretches, jumps and no trades", arguments: 1...6 as ClosedRange<UInt64>)
    func random(seed: UInt64) throws {
        var random = RandomGenerator(seed: 100 + seed)
        var price = exp(random.uniform(-8, 11))
        var minute: Int64 = 29_500_000
        var bars: [Bar] = []
        for index in 0..<500 {
            minute += 1
            if random.uniform() < 0.02 { minute += Int64(random.index(below: 3)) }
            if random.uniform() < 0.004 { minute += 40 }
            let flat = index % 120 > 90 && seed.isMultiple(of: 2)
            let open = random.uniform() < 0.1 ? price * (1 + 0.001 * random.normal()) : price
            if !flat { price *= exp(0.002 * random.normal() + (random.uniform() < 0.01 ? random.normal() : 0)) }
            let isStill = flat || random.uniform() < 0.1
            let range = isStill ? 1 : 1 + 0.001 * random.uniform()
            bars.append(
                Bar(
                    openTime: Timestamp(seconds: minute * 60), interval: .minutes(1), open: flat ? price : open,
                    high: max(flat ? price : open, price) * range, low: min(flat ? price : open, price) / range,
                    close: price, volume: random.uniform() < 0.1 || flat ? 0 : exp(3 * random.normal())))
        }
        try Self.check(bars, seed: seed, "random")
    }

    @Test("The shrinker keeps failing series failing, and leaves little")
    func shrinks() {
        let bars = (0..<300).map { index in
            Bar(
                openTime: Timestamp(seconds: Int64(index) * 60), interval: .minutes(1), open: 1, high: 1, low: 1,
                close: 1, volume: Double(index))
        }
        let least = Self.shrunk(bars) { part in
            [77, 205].allSatisfy { wanted in part.contains { $0.volume == wanted } }
        }
        #expect(least.map(\.volume) == [77, 205])
    }

    @Test(
        "Recorded bars: Bitcoin's hours with their outages, a coin's minutes through the crash of October 2025",
        .enabled(if: FileManager.default.fileExists(atPath: recordedBars.path), "no recorded data beside the checkout"),
        arguments: [
            ("BTCUSDT_1h.csv.gz", Interval.hours(1), "2017-08-01", "2017-10-15"),
            ("SUIUSDT_1m.csv.gz", .minutes(1), "2025-10-10T12:00Z", "2025-10-11T06:00Z"),
            ("DOGEUSDT_15m.csv.gz", .minutes(15), "2025-03-01", "2025-03-15"),
        ])
    func recordedSeries(file: String, interval: Interval, from: String, to: String) throws {
        let span = try #require(Timestamp(from))..<(try #require(Timestamp(to)))
        let path = recordedBars.appending(path: file).path
        let bars = try KlineReader(interval: interval).read(.file(path: path), span: span).rows
        #expect(bars.count > 1000)
        var configuration = Self.configuration
        configuration.interval = interval
        try Self.check(bars, configuration, file)
    }

    private static func check(_ bars: [Bar], _ configuration: FeatureConfiguration, _ name: String) throws {
        // The future removed, and scrambled: every column of every bar before stays as it is, bit for bit.
        let whole = try FeatureEngine.table(of: bars, symbol: "X", configuration)
        var random = RandomGenerator(seed: 9)
        for _ in 0..<3 {
            let cut = bars.count / 4 + random.index(below: bars.count / 2)
            var scrambled = bars
            for index in cut..<bars.count {
                let factor = 0.5 + random.uniform()
                scrambled[index].open *= factor
                scrambled[index].high *= factor
                scrambled[index].low *= factor
                scrambled[index].close *= factor
                scrambled[index].volume *= random.uniform()
            }
            for other in [Array(bars[..<cut]), scrambled] {
                let table = try FeatureEngine.table(of: other, symbol: "X", configuration)
                let count = cut * whole.schema.count
                #expect(
                    table.values[..<count].elementsEqual(whole.values[..<count]) { $0.bitPattern == $1.bitPattern },
                    "\(name), cut at \(cut)")
                #expect(table.absences[..<count] == whole.absences[..<count], "\(name), cut at \(cut)")
            }
        }
        // Streamed and restored.
        var engine = try FeatureEngine(configuration)
        for (row, bar) in bars.enumerated() {
            if random.uniform() < 0.01 { engine = try FeatureEngine(configuration, state: try engine.save()) }
            let vector = try #require(try engine.update(event(bar)))
            let expected = whole.vector(row)
            #expect(bits([vector]) == bits([expected]) && vector.absences == expected.absences, "\(name), bar \(row)")
        }
    }
}
