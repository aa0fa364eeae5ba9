import Foundation
import Kernels
import MarketData
import Testing
import Trading

private let recordings = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../../../shared/data/binance_ticks").standardizedFileURL

/// What must hold whatever the market does. A failure prints its seed.
@Suite struct BookPropertyTests {
    static let symbol = "SUIUSDT"
    static func seeds(_ count: UInt64) -> ClosedRange<UInt64> { 1...count }

    /// A wandering book with quotes, depths and trades, crossed and stale ones among them: ticks of 0.01, lots of 0.1.
    static func market(_ random: inout RandomGenerator, count: Int) -> [MarketEvent] {
        var (bid, time) = (1000, Int64(0))
        func lots(_ random: inout RandomGenerator, _ most: Int) -> Double { Double(random.index(below: most) + 1) / 10 }
        func sizes(_ rows: [Int], _ random: inout RandomGenerator) -> [Double] { rows.map { _ in lots(&random, 30) } }
        return (0..<count).map { index in
            time += Int64(random.index(below: 8))
            if random.uniform() < 0.3 { bid += random.index(below: 5) - 2 }
            let ask = bid + 1 + random.index(below: 2)
            let payload: MarketEvent.Payload
            switch random.index(below: 10) {
            case 0..<4:
                payload = .bookTop(
                    BookTop(
                        bidPrice: Double(bid) / 100, askPrice: Double(ask) / 100, bidVolume: lots(&random, 30),
                        askVolume: lots(&random, 30)))
            case 4..<6:
                let rows = (0..<5).filter { _ in random.uniform() < 0.8 }
                payload = .bookDepth(
                    BookDepth(
                        bidPrices: rows.map { Double(bid - $0) / 100 }, bidVolumes: sizes(rows, &random),
                        askPrices: rows.map { Double(ask + $0) / 100 }, askVolumes: sizes(rows, &random)))
            default:
                let isBuy = random.uniform() < 0.5
                let price = isBuy ? ask + random.index(below: 3) : bid - random.index(below: 3)
                payload = .trade(
                    PublicTrade(
                        id: Int64(index), price: Double(price) / 100, quantity: lots(&random, 40), isBuy: isBuy))
            }
            let stamp = BookBench.at(time)
            return MarketEvent(exchange: "t", symbol: symbol, eventTime: stamp, knownAt: stamp, payload: payload)
        }
    }

    static func feeAsset(_ random: inout RandomGenerator, short: Bool) -> FeeAsset {
        if !short, random.uniform() < 0.4 { return .received }
        return random.uniform() < 0.5 ? .quote : .other("BNB", price: Price(units: 60_000_000_007), discount: 0.25)
    }

    static func exchange(_ random: inout RandomGenerator, latency: LatencyModel, seed: UInt64) throws -> BookExchange {
        let short = random.uniform() < 0.4
        return try BookExchange(
            .init(
                rules: try rules(minNotional: "0", tick: "0.01", allowsShort: short),
                initialCash: Amount(units: 40_000_000_000), latency: latency,
                feeAsset: feeAsset(&random, short: short),
                settling: .milliseconds(random.uniform() < 0.5 ? 0 : 10), seed: seed))
    }

    static func order(_ random: inout RandomGenerator, _ number: Int, near bid: Int) -> Order {
        Order(
            key: DecisionKey(account: "p", symbol: symbol, barTime: BookBench.at(Int64(number)), modelVersion: "m"),
            side: random.uniform() < 0.5 ? .buy : .sell,
            quantity: Quantity(units: Int64(random.index(below: 60) + 1) * 10_000_000),
            referencePrice: Double(bid) / 100, createdAt: BookBench.at(0))
    }

    @Test("books balance, queues never grow, nobody gets more than was traded or shown", arguments: seeds(200))
    func anything(seed: UInt64) throws {
        var random = RandomGenerator(seed: seed)
        let events = Self.market(&random, count: 400)
        let jitter = LatencyModel.Jitter.logNormal(median: .milliseconds(2), sigma: 1)
        let delay = LatencyModel.Delay(.milliseconds(1), jitter: jitter)
        let latency = LatencyModel(order: delay, cancel: delay, acknowledgement: delay, marketData: delay)
        var exchange = try Self.exchange(&random, latency: latency, seed: seed)
        var twin: BookExchange?
        var orders: [ClientOrderID: Order] = [:]
        var ahead: [ClientOrderID: Quantity] = [:]
        var (reports, copied): ([BookReport], [BookReport]) = ([], [])
        var lastKnown = Timestamp(microseconds: .min)
        var shown: (quote: Int64, depth: Int64) = (0, 0)
        for (index, event) in events.enumerated() {
            let first = reports.count
            try exchange.receive(event, into: &reports)
            try twin?.receive(event, into: &copied)
            try exchange.ledger.checkInvariants()
            if !exchange.rules.allowsShort {
                #expect(exchange.ledger.cash >= .zero && exchange.position >= .zero, "seed \(seed)")
            }
            var made: Int64 = 0
            for report in reports[first...] {
                #expect(report.knownAt >= report.time && report.knownAt >= lastKnown, "seed \(seed)")
                lastKnown = report.knownAt
                guard case .fill(let fill) = report.content else { continue }
                #expect(fill.quantity.units % 10_000_000 == 0)
                if fill.liquidity == .maker { made += fill.quantity.units }
            }
            #expect(made <= Self.available(event, &shown), "seed \(seed), event \(index)")
            for report in reports[first...] { try Self.apply(report, to: &orders) }
            for open in exchange.openOrders(.buy) + exchange.openOrders(.sell) {
                let id = open.order.id
                if let before = ahead[id] { #expect(open.ahead.map { $0 <= before } == true, "seed \(seed)") }
                ahead[id] = open.ahead
                #expect(orders[id]?.filledQuantity == open.order.quantity - open.remaining)
            }
            guard random.uniform() < 0.25, case let bid = Int(((exchange.mid ?? 10) * 100).rounded()) else { continue }
            if random.uniform() < 0.3, let id = orders.values.first(where: { !$0.state.isFinal })?.id {
                exchange.cancel(id, at: event.eventTime)
                twin?.cancel(id, at: event.eventTime)
            } else {
                var order = Self.order(&random, index, near: bid)
                try order.advance(to: .sent, at: event.eventTime)
                orders[order.id] = order
                let forces: [BookOrder.TimeInForce] = [.goodTillCancelled, .immediateOrCancel, .makerOnly]
                let price = Price(units: Int64(bid + random.index(below: 7) - 3) * 1_000_000)
                let kind: BookOrder.Kind =
                    random.uniform() < 0.2 ? .market : .limit(price, forces[random.index(below: 3)])
                let sent = BookOrder(id: order.id, side: order.side, quantity: order.quantity, kind: kind)
                exchange.submit(sent, at: event.eventTime)
                twin?.submit(sent, at: event.eventTime)
            }
            // From the middle on a copy lives the same life.
            if twin == nil, index >= 200 {
                twin = exchange
                copied = reports
            }
        }
        #expect(reports == copied && exchange.ledger == twin?.ledger, "seed \(seed)")
        #expect(orders.values.contains { $0.fillCount > 0 }, "seed \(seed): nothing was filled")
    }

    /// What one event can give resting orders: a trade its quantity, a quote or depth what it and the newest of the
    /// other kind show.
    static func available(_ event: MarketEvent, _ shown: inout (quote: Int64, depth: Int64)) -> Int64 {
        func units(_ values: [Double]) -> Int64 { values.reduce(0) { $0 + (Quantity($1)?.units ?? 0) } }
        switch event.payload {
        case .trade(let trade): return units([trade.quantity])
        case .bookTop(let top): shown.quote = units([top.bidVolume, top.askVolume])
        case .bookDepth(let depth): shown.depth = units(depth.bidVolumes + depth.askVolumes)
        default: return 0
        }
        return shown.quote + shown.depth
    }

    /// The order's own state machine takes what the exchange says.
    static func apply(_ report: BookReport, to orders: inout [ClientOrderID: Order]) throws {
        guard var order = orders[report.orderID] else { throw TradingError.unknownOrder(report.orderID) }
        switch report.content {
        case .accepted: if order.fillCount == 0 { try order.advance(to: .acknowledged, at: report.time) }
        case .rejected(let reason): try order.advance(to: .rejected, at: report.time, reason: reason)
        case .expired(let reason): try order.advance(to: .expired, at: report.time, reason: reason)
        case .cancelled: try order.advance(to: .cancelled, at: report.time)
        case .cancelRefused: break
        case .fill(let fill): #expect(try order.apply(fill))
        }
        orders[report.orderID] = order
    }

    @Test("a later arrival never has more filled at any time", arguments: 0..<10)
    func laterIsNeverBetter(block: Int) throws {
        let filled = try (1...30).count { try laterIsNeverBetter(seed: UInt64(block * 30 + $0)) }
        #expect(filled >= 10)
    }

    /// Whether the order that came at once was filled at all.
    private func laterIsNeverBetter(seed: UInt64) throws -> Bool {
        var random = RandomGenerator(seed: seed)
        let events = Self.market(&random, count: 200)
        let settling = Interval.milliseconds(random.uniform() < 0.5 ? 0 : 10)
        let sentAt = 40 + random.index(below: 60)
        let order = BookOrder(
            id: BookBench.id(1), side: .buy, quantity: Quantity(units: Int64(random.index(below: 90) + 1) * 10_000_000),
            kind: .limit(Price(units: 1_000_000 * Int64(1000 + random.index(below: 9) - 5)), .goodTillCancelled))
        var curves: [[(Timestamp, Int64)]] = []
        for latency in [0, 5, 50, 200] as [Int64] {
            var model = LatencyModel.zero
            model.order = .init(.milliseconds(latency))
            var exchange = try BookExchange(
                .init(
                    rules: try rules(minNotional: "0", tick: "0.01"), initialCash: Amount(units: 1_000_000_000_000),
                    latency: model, settling: settling))
            var reports: [BookReport] = []
            for (index, event) in events.enumerated() {
                if index == sentAt { exchange.submit(order, at: event.eventTime) }
                try exchange.receive(event, into: &reports)
            }
            var sum: Int64 = 0
            curves.append(
                reports.compactMap { report in
                    guard case .fill(let fill) = report.content else { return nil }
                    sum += fill.quantity.units
                    return (report.time, sum)
                })
        }
        func filled(_ curve: [(Timestamp, Int64)], _ time: Timestamp) -> Int64 {
            curve.last { $0.0 <= time }?.1 ?? 0
        }
        for (early, late) in zip(curves, curves.dropFirst()) {
            for (time, sum) in late { #expect(filled(early, time) >= sum, "seed \(seed) at \(time)") }
        }
        return !curves[0].isEmpty
    }

    @Test("numbers that are none are passed over")
    func oddInput() throws {
        var bench = try BookBench()
        for (index, value) in [Double.nan, .infinity, -1, 0, 1e300].enumerated() {
            let time = Int64(index)
            try bench.quote(time, value, 5, 10.01, 5)
            try bench.send(time, UInt64(index), .buy, "1", BookBench.limit("9"))
            try bench.quote(time, 9.99, value, 10.01, value)
            try bench.trade(time, value, 5, isBuy: false)
            try bench.trade(time, 8, value, isBuy: false)
            try bench.depth(time, bids: [(value, 5), (9.5, value), (9.6, 1)], asks: [(value, value), (10, 1), (9, 1)])
        }
        #expect(bench.told().allSatisfy { !$0.contains("fill") } && bench.exchange.openOrders(.buy).count == 4)
        #expect(bench.exchange.mid?.isFinite == true)
    }

    static let recorded: [String] = ["spot_btcusdt_20240808.jsonl.gz", "usdm_btcusdt_20240808_first150s.jsonl.gz"]
        .map { recordings.appending(path: $0).path }

    @Test(
        "recorded streams: orders at the touch wait, fill in parts and balance",
        .enabled(
            if: recorded.allSatisfy { FileManager.default.fileExists(atPath: $0) },
            "the recordings lie beside the checkout, in ../shared/data/binance_ticks"), arguments: recorded)
    func recordedStream(path: String) throws {
        let recording = try TickRecordingReader().read(.file(path: path), symbol: "BTCUSDT")
        let isSpot = path.contains("spot")
        let rules = try #require(
            isSpot ? InstrumentRules.binanceSpot("BTCUSDT") : InstrumentRules.binancePerpetual("BTCUSDT"))
        var exchange = try BookExchange(
            .init(
                rules: rules, initialCash: try #require(Amount("100000")), latency: .typical(milliseconds: 5),
                feeAsset: isSpot ? .received : .quote))
        var reports: [BookReport] = []
        var sent: UInt64 = 0
        var next = Timestamp(microseconds: .min)
        for event in recording.events {
            try exchange.receive(event, into: &reports)
            guard event.eventTime >= next, let bid = exchange.bestBid, let ask = exchange.bestAsk else { continue }
            #expect(bid < ask)
            next = event.eventTime + .seconds(2)
            for open in exchange.openOrders(.buy) + exchange.openOrders(.sell) {
                exchange.cancel(open.order.id, at: event.eventTime)
            }
            sent += 1
            let side: Side = exchange.position < Quantity(units: 20_000_000) ? .buy : .sell
            exchange.submit(
                BookOrder(
                    id: BookBench.id(sent), side: side, quantity: Quantity(units: 20_000_000),
                    kind: .limit(side == .buy ? bid : ask, .makerOnly)), at: event.eventTime)
        }
        try exchange.ledger.checkInvariants()
        let fills = reports.compactMap { if case .fill(let fill) = $0.content { fill } else { nil } }
        #expect(fills.count > 10 && fills.allSatisfy { $0.liquidity == .maker })
        // A resting order never pays more than half a spread less than the mid, but for markets that run over it.
        #expect(fills.contains { $0.executionCost < 0 } && fills.contains { $0.sequence > 1 })
    }
}
