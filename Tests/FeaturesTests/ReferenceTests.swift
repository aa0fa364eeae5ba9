import Features
import Foundation
import Indicators
import MarketData
import Testing

/// The columns beside an implementation that shares nothing with ours: whole arrays, window by window, in NumPy
/// (Tests/Peers/make_features.py, which made the files in Golden/).
@Suite("Feature columns beside an independent reference")
struct ReferenceTests {
    private static func rows(_ name: String) throws -> [[Substring]] {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden")
        let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map {
            $0.split(separator: ",", omittingEmptySubsequences: false)
        }
    }

    /// 1e-9 relative; absolute where the number is the difference of larger ones: 1e-12 of their size.
    private static func agree(_ ours: Double, _ theirs: Double, size: Double) -> Bool {
        abs(ours - theirs) <= 1e-9 * abs(theirs) + 1e-12 * size
    }

    @Test("Every column of generic, market, v2 and session, at every bar compared: the same value or the same absence")
    func columns() throws {
        let rows = try Self.rows("columns.csv")
        let header = rows[0].map(String.init)
        let bars = try rows.dropFirst().map { row in
            let numbers = try row[0..<6].map { try #require(Double($0)) }
            return Bar(
                openTime: Timestamp(seconds: Int64(numbers[0])), interval: .minutes(1), open: numbers[1],
                high: numbers[2], low: numbers[3], close: numbers[4], volume: numbers[5])
        }
        var configuration = FeatureConfiguration(traded: [Instrument("X")], reference: Instrument("X"))
        configuration.modules = [.generic, .market, .v2, .session]
        let table = try FeatureEngine.table(of: bars, symbol: "X", configuration)
        var compared = 0
        var patterns: Set<Double> = []
        for (index, row) in rows.dropFirst().enumerated() where row.last == "yes" {
            for column in 6..<(header.count - 1) {
                let name = header[column]
                let place = try #require(table.schema.index(of: name), "\(name)")
                let ours = table.column(place)[index]
                let theirs = Double(row[column])
                // What is a price or a volume by its nature is near 1e5 at most; shares are near 1.
                let size = table.schema.definitions[place].isLevel ? bars[index].close : 1
                let isSame = ours.flatMap { ours in theirs.map { Self.agree(ours, $0, size: size) } }
                    ?? (ours == nil && theirs == nil)
                #expect(isSame, "\(name) at bar \(index): \(ours ?? .nan), expected \(theirs ?? .nan)")
                compared += 1
                if name == "market.pattern_match", let ours { patterns.insert(ours) }
            }
        }
        #expect(compared > 20_000)
        #expect(patterns.count == CandlePattern.allCases.count, "each pattern occurs: \(patterns.sorted())")
        // All columns of the four modules but the book's eight.
        #expect(header.count - 7 == table.schema.count - 8)
    }

    @Test("Order-flow imbalance, tick rule, VPIN and slippage after each bar")
    func orderFlow() throws {
        var flow = OrderFlowImbalance()
        var tick = TickRule()
        var vpin = InformedTradingProbability(buckets: 5)
        var depth: BookDepth?
        var bars = 0
        for row in try Self.rows("order-flow.csv") {
            let numbers = row.map { Double($0) }
            switch row[0] {
            case "top":
                flow.update(
                    BookTop(
                        bidPrice: numbers[1] ?? .nan, askPrice: numbers[2] ?? .nan, bidVolume: numbers[3] ?? .nan,
                        askVolume: numbers[4] ?? .nan))
            case "trade":
                tick.update(try #require(numbers[1]))
                vpin.update(quantity: try #require(numbers[2]), isBuy: numbers[3] == 1, bucketVolume: 25)
            case "depth":
                func levels(_ text: Substring) throws -> (prices: [Double], volumes: [Double]) {
                    let pairs = try text.split(separator: " ").map { level in
                        let parts = level.split(separator: ":")
                        return (try #require(Double(parts[0])), try #require(Double(parts[1])))
                    }
                    return (pairs.map(\.0), pairs.map(\.1))
                }
                let (bids, asks) = (try levels(row[1]), try levels(row[2]))
                depth = BookDepth(
                    bidPrices: bids.prices, bidVolumes: bids.volumes, askPrices: asks.prices, askVolumes: asks.volumes)
            case "bar":
                bars += 1
                let sums = flow.take()
                let probability = vpin.value
                let ours: [Double?] = [
                    sums?.imbalance, sums?.meanDepth, Double(tick.sign), probability,
                    depth?.slippage(buying: true, notional: 1000), depth?.slippage(buying: false, notional: 1000),
                ]
                for (value, expected) in zip(ours, numbers.dropFirst()) {
                    let isSame = value.flatMap { value in expected.map { Self.agree(value, $0, size: 1) } }
                        ?? (value == nil && expected == nil)
                    #expect(isSame, "bar \(bars): \(ours), expected \(row)")
                }
            default: Issue.record("a row of no kind: \(row)")
            }
        }
        #expect(bars > 20)
    }
}
