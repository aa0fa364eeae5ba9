import Evaluation
import Foundation
import Kernels
import MarketData
import Testing
import Trading

private let recording = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../../../shared/data/binance_ticks/spot_btcusdt_20240808.jsonl.gz").standardizedFileURL.path

@Suite struct BookReplayTests {
    static let start = Timestamp(seconds: 1_772_323_200)
    static func at(_ milliseconds: Int64) -> Timestamp { start + .milliseconds(milliseconds) }

    static func quote(_ time: Int64, _ bid: Double, _ ask: Double, volume: Double = 100) -> MarketEvent {
        event(time, .bookTop(BookTop(bidPrice: bid, askPrice: ask, bidVolume: volume, askVolume: volume)))
    }

    static func event(_ time: Int64, _ payload: MarketEvent.Payload) -> MarketEvent {
        MarketEvent(exchange: "t", symbol: "SUIUSDT", eventTime: at(time), knownAt: at(time), payload: payload)
    }

    static func sale(_ time: Int64, _ price: Double, _ quantity: Double) -> MarketEvent {
        event(time, .trade(PublicTrade(id: time, price: price, quantity: quantity, isBuy: false)))
    }

    static func replay(
        _ style: BookReplay.Style, latency: LatencyModel = .zero, feeAsset: FeeAsset = .quote, patience: Int64 = 5
    ) throws -> BookReplay {
        let rules = try InstrumentRules(
            symbol: "SUIUSDT", baseAsset: "SUI", quoteAsset: "USDT", tickSize: Price(units: 1_000_000),
            lotSize: Quantity(units: 10_000_000), minQuantity: Quantity(units: 10_000_000),
            maxQuantity: Quantity(units: 1 << 50), minNotional: Amount(units: 500_000_000), makerFee: 0.001,
            takerFee: 0.001, allowsShort: false)
        return try BookReplay(
            .init(
                exchange: .init(
                    rules: rules, initialCash: Amount(units: 10_000_000_000), latency: latency, feeAsset: feeAsset,
                    settling: .milliseconds(0)),
                style: style, patience: .seconds(patience)))
    }

    @Test("market orders: in and out, each number by hand")
    func market() throws {
        let delay = LatencyModel.Delay(.milliseconds(10))
        let latency = LatencyModel(order: delay, cancel: delay, acknowledgement: delay, marketData: delay)
        // Bought at what is offered 20 ms after the event that is decided on: 10 to see it, 10 to send.
        let events = [
            Self.quote(0, 9.99, 10.01), Self.quote(15, 10.01, 10.03), Self.quote(25, 10.04, 10.06),
            Self.quote(1000, 9.99, 10.01), Self.quote(1030, 9.98, 10), Self.quote(2000, 9.98, 10),
        ]
        let targets = [Stamped(time: Self.at(5), value: 1.0), Stamped(time: Self.at(1000), value: 0)]
        let result = try Self.replay(.market, latency: latency).run(events, targets: targets)
        // 99.5 of 100 over a mid of 10: 9.9 in lots of 0.1.
        let fills = result.orders.flatMap(\.fills)
        #expect(fills.map(\.price.description) == ["10.03", "9.99"])
        #expect(fills.map(\.quantity.description) == ["9.9", "9.9"])
        #expect(result.orders.map(\.decisionMid) == [10, 10])
        #expect(fills.map(\.time) == [Self.at(20), Self.at(1020)])
        let report = BookReplayReport(result)
        // 0.03 and 0.01 a unit against the decision, 0.01 each against the mid, of 10.03 + 9.99.
        #expect(abs((report.costAgainstDecisionBasisPoints ?? 0) - 0.04 / 20.02 * 1e4) < 1e-9)
        #expect(abs((report.costAgainstMidBasisPoints ?? 0) - 0.02 / 20.02 * 1e4) < 1e-9)
        #expect(report.makerShare == 0 && report.queueWaitSeconds == nil && report.finalPosition == "0")
        #expect(report.orderLatencyMilliseconds?.maximum == 10 && report.targets == 2 && report.unfinishedTargets == 0)
        #expect(report.feesByAsset == ["USDT": result.exchange.ledger.fees.description])
        #expect(try JSONDecoder().decode(BookReplayReport.self, from: JSONEncoder().encode(report)) == report)
    }

    @Test("at the touch: waits in the queue, follows the best price, and pays the spread when patience ends")
    func touch() throws {
        let events = [
            Self.quote(0, 9.99, 10.01), Self.sale(100, 9.99, 103), Self.quote(200, 10, 10.02),
            Self.quote(201, 10, 10.02), Self.sale(300, 10, 104), Self.quote(5001, 10, 10.02),
            Self.quote(5002, 10, 10.02), Self.quote(6000, 10, 10.02),
        ]
        let result = try Self.replay(.touch).run(events, targets: [Stamped(time: Self.at(0), value: 1)])
        let fills = result.orders.flatMap(\.fills)
        #expect(fills.map(\.quantity.description) == ["3", "4", "2.9"])
        #expect(fills.map(\.price.description) == ["9.99", "10", "10.02"])
        #expect(fills.map(\.liquidity) == [.maker, .maker, .taker])
        #expect(result.orders.map(\.order.state) == [.cancelled, .cancelled, .filled])
        #expect(result.orders.map(\.isMarket) == [false, false, true])
        let report = BookReplayReport(result)
        #expect(report.queueAhead?.mean == 100 && report.orders.resting == 2 && report.orders.partlyFilled == 2)
        #expect(abs((report.queueWaitSeconds?.mean ?? 0) - 0.0995) < 1e-9)
        #expect(abs((report.makerShare ?? 0) - (29.97 + 40) / (29.97 + 40 + 29.058)) < 1e-9)
    }

    @Test("targets that are there, too small, or overtaken by the next one")
    func targets() throws {
        let events = (0..<100).map { Self.quote(Int64($0) * 100, 9.99, 10.01) }
        func target(_ time: Int64, _ value: Double) -> Stamped<Double> { Stamped(time: Self.at(time), value: value) }
        let result = try Self.replay(.touch, patience: 60).run(
            events, targets: [target(0, 0), target(100, 0.01), target(200, 1), target(3000, 0.5), target(9000, 0)])
        #expect(result.targets == 5 && result.idleTargets == 3 && result.unfinishedTargets == 2)
        #expect(result.orders.map(\.order.state) == [.cancelled, .cancelled])
        #expect(result.exchange.position == .zero)
        for bad in [[target(1, 0), target(1, 0)], [target(1, 1.5)], [target(1, .nan)]] {
            #expect(throws: TradingError.self) { try Self.replay(.market).run(events, targets: bad) }
        }
        // A book without offers is asked a limited number of times.
        let empty = (0..<500).map { Self.quote(Int64($0), 9.99, 0, volume: 1) }
        let given = try Self.replay(.market).run(empty, targets: [target(0, 1)])
        #expect(given.orders.count == 100 && given.unfinishedTargets == 1)
    }

    @Test(
        "a recorded stream: both styles trade, one seed gives the same result, the books balance",
        .enabled(
            if: FileManager.default.fileExists(atPath: recording),
            "the recording lies beside the checkout, in ../shared/data/binance_ticks"),
        arguments: BookReplay.Style.allCases)
    func recorded(style: BookReplay.Style) throws {
        let events = try TickRecordingReader().read(.file(path: recording), symbol: "BTCUSDT").events
        let rules = try #require(InstrumentRules.binanceSpot("BTCUSDT"))
        let replay = try BookReplay(
            .init(
                exchange: .init(
                    rules: rules, initialCash: Amount(units: 100_000_000_000), latency: .typical(milliseconds: 10),
                    feeAsset: .received),
                style: style))
        let first = try #require(events.first).eventTime
        let targets = (1...30).map { Stamped(time: first + .seconds(Int64($0) * 10), value: Double($0 % 2)) }
        let result = try replay.run(events, targets: targets)
        let report = BookReplayReport(result)
        #expect(report == BookReplayReport(try replay.run(events, targets: targets)))
        #expect(report.orders.filled >= 25 && report.targets == 30)
        #expect(report.feesByAsset.keys.sorted() == ["BTC", "USDT"])
        switch style {
        case .market: #expect(report.makerShare == 0 && report.costAgainstMidBasisPoints ?? -1 >= 0)
        case .touch: #expect(report.makerShare ?? 0 > 0.2 && report.queueWaitSeconds != nil)
        }
        // Nothing but fees and spread: of about 1000 a turn.
        #expect(abs(report.finalEquity + report.fees - 1000) < 15)
    }
}
