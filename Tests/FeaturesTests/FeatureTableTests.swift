import Features
import Foundation
import Indicators
import Kernels
import MarketData
import Testing

@Suite("Feature tables, targets and the account's columns")
struct FeatureTableTests {
    @Test("A table has the bits of the vectors, one at a time", arguments: [31, 32] as [UInt64])
    func table(seed: UInt64) throws {
        let market = TestMarket(bars: 260, seed: seed)
        var configuration = TestMarket.configuration
        configuration.modules = FeatureModuleKind.allCases.filter { $0 != .regime }
        let vectors = try TestMarket.run(market.events, configuration).filter { $0.symbol == "SUIUSDT" }
        var engine = try FeatureEngine(configuration)
        var table = FeatureTable(engine.schema, symbol: "SUIUSDT")
        for event in market.events {
            try engine.update(event, into: &table)
            if case .surface(let surface) = event.payload { try engine.apply(TestMarket.fit(event, surface)) }
            if case .message(let message) = event.payload { try engine.apply(TestMarket.score(event, message)) }
        }
        #expect(table.count == vectors.count && table.count > 200)
        for (row, vector) in vectors.enumerated() {
            let ours = table.vector(row)
            #expect(ours.values.map(\.bitPattern) == vector.values.map(\.bitPattern))
            #expect(ours.absences == vector.absences && ours.barTime == vector.barTime && ours.close == vector.close)
        }
        #expect(try engine.save().count > 0, "nothing is outstanding")
        let column = try #require(table.schema.index(of: "v2.feat_roc_5"))
        #expect(table.column(column) == vectors.map { $0[column] })
    }

    @Test("With the regime's posterior a table has its columns too, and refuses another schema")
    func regime() throws {
        let market = TestMarket(bars: 120, seed: 33)
        let vectors = try TestMarket.run(market.events).filter { $0.symbol == "BTCUSDT" }
        var engine = try FeatureEngine(TestMarket.configuration)
        var table = FeatureTable(engine.schema, symbol: "BTCUSDT")
        var bars = vectors.makeIterator()
        for event in market.events {
            try engine.update(event, into: &table) { observation in
                let weights = [1, exp(observation.logVolatility + 7), exp(observation.logVolumeRatio)]
                let sum = weights.reduce(0, +)
                return RegimePosterior(
                    symbol: event.symbol, barTime: event.eventTime, probabilities: weights.map { $0 / sum })
            }
        }
        for row in 0..<table.count {
            let next = bars.next()
            let vector = try #require(next)
            for name in ["regime.probability_0", "regime.time_in_state"] {
                #expect(try table.vector(row).value(name, in: table.schema) == vector.value(name, in: table.schema))
            }
        }
        var other = TestMarket.configuration
        other.modules = [.v2]
        var foreign = FeatureTable(try FeatureEngine(other).schema, symbol: "BTCUSDT")
        #expect(throws: FeatureError.self) { try engine.update(market.events[0], into: &foreign) }
    }

    private static func bars(_ closes: [Double], hole: Int? = nil, seconds: Int64 = 60) -> [Bar] {
        closes.enumerated().map { index, close in
            let late = hole.map { index >= $0 ? 1 : 0 } ?? 0
            return Bar(
                openTime: Timestamp(seconds: Int64(index + late) * seconds), interval: .seconds(seconds), open: close,
                high: close, low: close, close: close, volume: 1)
        }
    }

    @Test("Targets look ahead by their own length, across no hole, and are named by it")
    func targets() throws {
        var configuration = Targets.Configuration()
        (configuration.holding, configuration.horizons, configuration.fee) = (3, [1, 2], 0.01)
        let closes = [100, 110, 99, 120, 119, 121.0]
        let targets = Targets(Self.bars(closes), configuration)
        #expect(
            targets.columns.map(\.name) == [
                "future_return_60s", "future_signal", "future_max_dd", "target_profit", "target_dir_1", "target_ret_1",
                "target_binary_1", "target_dir_2", "target_ret_2", "target_binary_2",
            ])
        func close(_ ours: [Double?], _ expected: [Double?]) -> Bool {
            zip(ours, expected).allSatisfy { a, b in
                if let a, let b { abs(a - b) < 1e-12 } else { a == nil && b == nil }
            } && ours.count == expected.count
        }
        func values(_ name: String) throws -> [Double?] { try #require(targets[name]).values }
        let next = [0.1, -0.1, 120 / 99.0 - 1, 119 / 120.0 - 1, 121 / 119.0 - 1, nil]
        #expect(close(try values("future_return_60s"), next))
        // Both fees are 2 %: +10 %, −10 %, +21 %, −0.8 %, +1.7 %.
        #expect(try values("future_signal") == [1, -1, 1, 0, 0, nil])
        #expect(close(try values("future_max_dd"), [-0.1, -0.1, -1 / 120.0, nil, nil, nil]))
        #expect(close(try values("target_profit"), [0.18, 119 / 110.0 - 1.02, 121 / 99.0 - 1.02, nil, nil, nil]))
        #expect(try values("target_dir_2") == [-1, 1, 1, 1, nil, nil])
        #expect(try values("target_binary_1") == [1, 0, 1, 0, 1, nil])
        let logs = [log(0.99), log(12 / 11.0), log(119 / 99.0), log(121 / 120.0), nil, nil]
        #expect(close(try values("target_ret_2"), logs))
        // A bar is missing before the fourth: what would step over it is absent.
        let holed = Targets(Self.bars(closes, hole: 3), configuration)
        #expect(holed["target_dir_1"]?.values == [1, -1, nil, -1, 1, nil])
        #expect(holed["target_dir_2"]?.values == [-1, nil, nil, 1, nil, nil])
        // Of five-second bars both returns are there: with the account's seven, 41 columns.
        let fine = Targets(Self.bars(closes, seconds: 5)).columns.map(\.name)
        #expect(
            fine.prefix(5) == [
                "future_return_5s", "future_return_10s", "future_signal", "future_max_dd", "target_profit",
            ])
        #expect(29 + 5 + SystemColumns.definitions.count == 41)
    }

    @Test("No target and no column of the account is a name that a vector can have")
    func separate() {
        let names = FeatureModuleKind.allCases.flatMap { FeatureCatalogue.definitions(of: $0) }.map(\.name)
        #expect(!names.contains { $0.contains("target_") || $0.contains("future_") || $0.contains("pnl") })
    }

    @Test("The account's columns follow its fills: average entry, fees, flips, closes, drawdown, latency")
    func account() {
        var tracker = SystemColumnTracker(capital: 100)
        func fill(_ quantity: Double, _ price: Double, fee: Double = 0, after: Int64? = nil) -> Execution {
            let time = Timestamp(milliseconds: 1000)
            return Execution(
                time: time, signedQuantity: quantity, price: price, fee: fee,
                decidedAt: after.map { time - .milliseconds($0) })
        }
        #expect(tracker.close(at: 10).values == [0, 0, 0, 0, nil, 0, nil])
        tracker.take(fill(2, 10, fee: 1, after: 30))
        tracker.take(fill(2, 12, after: 50))
        // 4 at 11 on average, and a fee of 1.
        #expect(tracker.close(at: 12).values == [4, 4, 3, 0, 11, 0, 40])
        tracker.take(fill(-1, 13))
        #expect(tracker.close(at: 10).values == [3, -3, -2, 98 / 103.0 - 1, 11, 0, nil])
        // Through zero: 3 are closed at 9, and 2 are sold short at it.
        tracker.take(fill(-5, 9))
        #expect(tracker.close(at: 8).values == [-2, 2, -3, 97 / 103.0 - 1, 9, 1, nil])
        tracker.take(fill(2, 8, fee: 0.5))
        #expect(tracker.close(at: 50).values == [0, 0, -3.5, 96.5 / 103.0 - 1, nil, 1, nil])
        #expect(tracker.close(at: 60).values == [0, 0, -3.5, 96.5 / 103.0 - 1, nil, 0, nil])
    }

    @Test("The rolling normaliser scores by the past alone, and goes on from its bytes")
    func rolling() throws {
        let schema = try FeatureEngine(TestMarket.configuration).schema
        let vectors = try TestMarket.run(TestMarket(bars: 90, seed: 34).events)
        var rolling = try RollingNormaliser(schema, halfLife: 20)
        var learning = try LearningNormaliser(schema, halfLife: 20)
        for (index, vector) in vectors.enumerated() {
            let expected = try learning.freeze().normalise(vector)
            if index == 60 { rolling = try RollingNormaliser(schema, bytes: rolling.bytes) }
            let scores = try rolling.normalise(vector)
            #expect(scores.values == expected.values && scores.mask == expected.mask)
            try learning.observe(vector)
        }
        let forever = try LearningNormaliser(schema)
        #expect(throws: FeatureError.self) { try RollingNormaliser(schema, bytes: forever.bytes) }
        #expect(throws: FeatureError.self) { try RollingNormaliser(schema, halfLife: 0) }
    }

    @Test("Quality: coverage and its reasons, quantiles, drift, runs and twins are what the table says")
    func quality() throws {
        var configuration = FeatureConfiguration(traded: [Instrument("X")], reference: Instrument("X"))
        configuration.modules = [.market, .v2]
        var random = RandomGenerator(seed: 35)
        var price = 100.0
        let bars = (0..<400).map { index in
            let open = price
            price *= exp(0.001 * random.normal())
            return Bar(
                openTime: Timestamp(seconds: Int64(index) * 60), interval: .minutes(1), open: open,
                high: max(open, price) * 1.0001, low: min(open, price) * 0.9999, close: price,
                volume: index < 200 ? random.uniform() : 10 + random.uniform())
        }
        let table = try FeatureEngine.table(of: bars, symbol: "X", configuration)
        let quality = FeatureQuality(table)
        func column(_ name: String) throws -> FeatureQuality.Column {
            try #require(quality.columns.first { $0.definition.name == name })
        }
        let volume = try column("market.volume")
        #expect(volume.count == 400 && volume.absences.isEmpty && volume.drift == 1)
        let sorted = bars.map(\.volume).sorted()
        #expect(volume.quantiles[0] == sorted[0] && volume.quantiles[6] == sorted[399])
        #expect(abs(volume.quantiles[3] - 0.5 * (sorted[199] + sorted[200])) < 1e-12)
        #expect(abs(volume.mean - sorted.reduce(0, +) / 400) < 1e-9)
        #expect(volume.histogram.map(\.count).reduce(0, +) > 380)
        let average = try column("market.sma_50")
        #expect(average.count == 351 && average.absences == [.warmUp: 49])
        #expect(average.firstKnown == bars[49].closeTime && average.lastKnown == bars[399].closeTime)
        #expect(try column("market.spread").absences == [.missingInput: 400])
        let drift = try #require(try column("v2.feat_roc_1").drift)
        #expect(drift < 0.15)
        #expect(quality.columns.allSatisfy { $0.outOfBounds == 0 })
        #expect(quality.clusters.contains { $0.contains("market.close") && $0.contains("market.price") })
        #expect(try column("v2.feat_hour_sin").longestConstantRun == 1)
    }

    @Test("docs/features.md is the catalogue that the code makes")
    func catalogue() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/features.md")
        let text = try String(contentsOf: file.standardizedFileURL, encoding: .utf8)
        #expect(
            text == FeatureCatalogue.markdown(),
            "made by `vomma features list --markdown > docs/features.md`")
    }
}
