import Foundation
import Kernels
import MarketData
import Testing

@Suite("Recorded ticks: books, bars of trades")
struct TickTests {
    private typealias Level = OrderBook.Level

    private static func change(
        _ first: Int64, _ last: Int64, previous: Int64? = nil, bids: [OrderBook.Level] = [],
        asks: [OrderBook.Level] = []
    ) -> OrderBook.Change { .init(first: first, last: last, previous: previous, bids: bids, asks: asks) }

    @Test("A book follows its snapshot: what it has is passed over, what came before it was kept, what does not follow breaks")
    func book() {
        var book = OrderBook()
        #expect(book.apply(Self.change(90, 95, bids: [Level(price: 1, volume: 1)])) == .kept)
        #expect(book.apply(Self.change(96, 104, bids: [Level(price: 99, volume: 2)])) == .kept)
        book.reset(
            lastUpdate: 100, bids: [Level(price: 98, volume: 5), Level(price: 100, volume: 1)],
            asks: [Level(price: 102, volume: 0), Level(price: 101, volume: 3)])
        #expect(book.lastUpdate == 104 && book.bids.map(\.price) == [100, 99, 98] && book.asks.map(\.price) == [101])
        #expect(book.apply(Self.change(99, 104)) == .passedOver)
        let next = Self.change(
            105, 107, bids: [Level(price: 100, volume: 0), Level(price: 97.5, volume: 1)],
            asks: [Level(price: 100.5, volume: 4), Level(price: 101, volume: 9), Level(price: 500, volume: 0)])
        #expect(book.apply(next) == .applied)
        #expect(
            book.depth(2)
                == BookDepth(bidPrices: [99, 98], bidVolumes: [2, 5], askPrices: [100.5, 101], askVolumes: [4, 9]))
        #expect(book.apply(Self.change(109, 110)) == .broken)
        #expect(book.lastUpdate == nil && book.bids.isEmpty && book.asks.isEmpty)
        #expect(book.apply(Self.change(111, 111)) == .kept)
        book.reset(lastUpdate: 110, bids: [Level(price: 1, volume: 1)], asks: [])
        #expect(book.lastUpdate == 111)
        // Futures say which change came before.
        #expect(book.apply(Self.change(300, 310, previous: 111)) == .applied)
        #expect(book.apply(Self.change(320, 330, previous: 311)) == .broken)
    }

    @Test("Any sequence of changes leaves each side sorted, without a level of no volume or two of one price")
    func anyChanges() {
        var random = RandomGenerator(seed: 4)
        for _ in 0..<50 {
            var book = OrderBook()
            var reference: (bids: [Double: Double], asks: [Double: Double]) = ([:], [:])
            book.reset(lastUpdate: 0, bids: [], asks: [])
            for step in 1...200 as ClosedRange<Int64> {
                func levels(_ side: inout [Double: Double]) -> [OrderBook.Level] {
                    (0..<random.index(below: 6)).map { _ in
                        let price = Double(1 + random.index(below: 40))
                        let volume = random.uniform() < 0.4 ? 0 : random.uniform()
                        side[price] = volume == 0 ? nil : volume
                        return .init(price: price, volume: volume)
                    }
                }
                let (bids, asks) = (levels(&reference.bids), levels(&reference.asks))
                #expect(book.apply(Self.change(step, step, bids: bids, asks: asks)) == .applied)
                #expect(book.bids == reference.bids.sorted { $0.key > $1.key }.map { .init(price: $0, volume: $1) })
                #expect(book.asks == reference.asks.sorted { $0.key < $1.key }.map { .init(price: $0, volume: $1) })
            }
        }
    }

    @Test("Each kind of message, the time it is known at, and each fault by its line")
    func messages() throws {
        let text = """
            1 {"stream":"x@bookTicker","data":{"u":1,"s":"X","b":"1","B":"2","a":"3","A":"4"}}
            2 {"stream":"x@trade","data":{"e":"trade","E":1000,"t":7,"p":"2.5","q":"0.1","m":true}}
            3 {"stream":"x@bookTicker","data":{"u":1,"s":"X","b":"1","B":"2","a":"3","A":"4"}}
            4 {"lastUpdateId":10,"bids":[["2","5"]],"asks":[["3","6"]]}
            5 {"stream":"x@depth","data":{"e":"depthUpdate","E":900,"U":9,"u":11,"b":[["2.5","1"]],"a":[]}}
            6 {"stream":"x@trade","data":{"e":"trade","E":1002,"t":8,"p":"2.5","q":"0.1","m":false}}
            seven {"stream":"x@trade","data":{"e":"trade","E":1002,"t":8,"p":"2.5","q":"0.1","m":false}}
            {"e":"trade"}
            9 {"stream":"x@trade","data":{"e":"trade","E":1002,"t":8.5,"p":"2.5","q":"0.1","m":false}}
            10 {"stream":"x@trade","data":{"e":"trade","E":1002,"t":8,"p":"0","q":"0.1","m":false}}
            11 {"stream":"x@trade","data":{"e":"trade","E":1002,"t":8,"p":"-1","q":"0.1","m":false}}
            12 {"stream":"x@trade","data":{"e":"trade","E":1002,"t":8,"p":"x","q":"0.1","m":false}}
            13 {"stream":"x@trade","data":{"e":"trade","E":-1,"t":8,"p":"1","q":"0.1","m":false}}
            14 {"stream":"x@other","data":{"e":"other","E":1003}}
            15 {"stream":"x@depth","data":{"e":"depthUpdate","E":1003,"U":12,"u":13,"b":[["2.5"]],"a":[]}}
            16 {"broken"
            17 {"stream":"x@depth","data":{"e":"depthUpdate","E":1003,"U":14,"u":15,"b":[],"a":[]}}
            """
        let recording = try TickRecordingReader().read(.text(text), symbol: "X")
        #expect(recording.events.map { $0.knownAt.milliseconds } == [1000, 1000, 1000, 1002])
        guard case .trade(let trade) = recording.events[0].payload,
            case .bookTop(let top) = recording.events[1].payload,
            case .bookDepth(let depth) = recording.events[2].payload
        else {
            Issue.record("other kinds: \(recording.events)")
            return
        }
        #expect(trade == PublicTrade(id: 7, price: 2.5, quantity: 0.1, isBuy: false))
        #expect(top == BookTop(bidPrice: 1, askPrice: 3, bidVolume: 2, askVolume: 4))
        #expect(depth == BookDepth(bidPrices: [2.5, 2], bidVolumes: [1, 5], askPrices: [3], askVolumes: [6]))
        let faults = recording.report.issues.map { ($0.line, $0.fault) }
        let expected: [(Int, RowFault)] = [
            (7, .notATime), (8, .notJSON), (9, .notANumber), (10, .notPositive), (11, .negativeValue),
            (12, .notANumber), (13, .notATime), (14, .outOfRange), (15, .missingValue), (16, .notJSON),
        ]
        #expect(faults.map(\.0) == expected.map(\.0))
        #expect(faults.map(\.1) == expected.map(\.1))
        #expect(recording.breaks == 1, "12 to 13 was refused, so 14 does not follow")
    }

    @Test("Bars of trades: open to close, silence carried on, none before the first trade")
    func bars() {
        var maker = TradeBars(interval: .seconds(10))
        var bars = maker.advance(to: Timestamp(seconds: 5))
        for (second, price, quantity) in [(12, 5.0, 1.0), (13, 7, 2), (19, 4, 1), (21, 6, 3), (58, 2, 1), (60, 9, 9)] {
            bars += maker.advance(to: Timestamp(seconds: Int64(second)))
            maker.take(
                PublicTrade(id: 0, price: price, quantity: quantity, isBuy: true),
                at: Timestamp(seconds: Int64(second)))
        }
        #expect(bars.map { $0.openTime.seconds } == [10, 20, 30, 40, 50])
        #expect(bars.map(\.open) == [5, 6, 6, 6, 2] && bars.map(\.close) == [4, 6, 6, 6, 2])
        #expect(bars.map(\.high) == [7, 6, 6, 6, 2] && bars.map(\.low) == [4, 6, 6, 6, 2])
        #expect(bars.map(\.volume) == [4, 3, 0, 0, 1])
        #expect(maker.advance(to: Timestamp(seconds: 1 << 40)).count == 10_000, "a silence has an end")
    }

    @Test(
        "Recorded streams, spot and futures: no line refused, no break of the book, its best levels near the quotes",
        .enabled(if: Shared.data != nil, "no recorded data beside the checkout"))
    func recorded() throws {
        let data = try #require(Shared.data)
        for name in ["spot_btcusdt_20240808", "usdm_btcusdt_20240808_first150s"] {
            let path = "\(data)/binance_ticks/\(name).jsonl.gz"
            let recording = try TickRecordingReader().read(.file(path: path), symbol: "BTCUSDT")
            #expect(recording.report.isClean, "\(recording.report.issues.prefix(3))")
            #expect(recording.breaks == 0 && recording.events.count > 30_000)
            var top: BookTop?
            var (near, far) = (0, 0)
            for event in recording.events {
                switch event.payload {
                case .bookTop(let quotes): top = quotes
                case .bookDepth(let depth):
                    #expect(depth.isSound && !depth.bidPrices.isEmpty && !depth.askPrices.isEmpty)
                    #expect(depth.bidPrices[0] < depth.askPrices[0])
                    guard let top else { continue }
                    let isNear = abs(depth.bidPrices[0] / top.bidPrice - 1) < 2e-4
                    if isNear { near += 1 } else { far += 1 }
                default: break
                }
            }
            #expect(near > 1000 && far < near / 50, "\(name): \(near) near, \(far) far")
        }
    }
}
