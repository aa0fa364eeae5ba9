import MarketData
import Testing
import Trading

/// A book exchange driven by hand: times in milliseconds, prices and sizes as decimal texts of SUI-like rules.
struct BookBench {
    static let start = Timestamp(seconds: 1_772_323_200)
    var exchange: BookExchange
    var reports: [BookReport] = []
    private var nextTrade: Int64 = 1

    init(
        cash: String = "100000", latency: LatencyModel = .zero, feeAsset: FeeAsset = .quote, settling: Int64 = 0,
        short: Bool = false, fee: Double = 0.001, seed: UInt64 = 1
    ) throws {
        exchange = try BookExchange(
            .init(
                rules: try rules(minNotional: "0", fee: fee, tick: "0.01", allowsShort: short),
                initialCash: try #require(Amount(cash)), latency: latency, feeAsset: feeAsset,
                settling: .milliseconds(settling), seed: seed))
    }

    static func at(_ milliseconds: Int64) -> Timestamp { start + .milliseconds(milliseconds) }

    mutating func event(_ milliseconds: Int64, _ payload: MarketEvent.Payload) throws {
        let time = Self.at(milliseconds)
        try exchange.receive(
            MarketEvent(exchange: "test", symbol: "SUIUSDT", eventTime: time, knownAt: time, payload: payload),
            into: &reports)
    }

    mutating func quote(_ milliseconds: Int64, _ bid: Double, _ bidVolume: Double, _ ask: Double, _ askVolume: Double)
        throws
    {
        try event(
            milliseconds,
            .bookTop(BookTop(bidPrice: bid, askPrice: ask, bidVolume: bidVolume, askVolume: askVolume)))
    }

    mutating func depth(_ milliseconds: Int64, bids: [(Double, Double)], asks: [(Double, Double)]) throws {
        try event(
            milliseconds,
            .bookDepth(
                BookDepth(
                    bidPrices: bids.map(\.0), bidVolumes: bids.map(\.1), askPrices: asks.map(\.0),
                    askVolumes: asks.map(\.1))))
    }

    /// `isBuy`: the aggressor bought.
    mutating func trade(_ milliseconds: Int64, _ price: Double, _ quantity: Double, isBuy: Bool) throws {
        try event(milliseconds, .trade(PublicTrade(id: nextTrade, price: price, quantity: quantity, isBuy: isBuy)))
        nextTrade += 1
    }

    @discardableResult
    mutating func send(_ milliseconds: Int64, _ id: UInt64, _ side: Side, _ quantity: String, _ kind: BookOrder.Kind)
        throws -> Timestamp
    {
        exchange.submit(
            BookOrder(
                id: Self.id(id), side: side, quantity: try #require(Quantity(quantity)), kind: kind),
            at: Self.at(milliseconds))
    }

    static func id(_ number: UInt64) -> ClientOrderID { ClientOrderID(high: 0, low: number) }

    static func limit(_ price: String, _ force: BookOrder.TimeInForce = .goodTillCancelled) throws -> BookOrder.Kind {
        .limit(try #require(Price(price)), force)
    }

    /// Each report in words: `2 fill 0.5@10 maker`, and forgets them.
    mutating func told() -> [String] {
        defer { reports = [] }
        return reports.map { report in
            let what =
                switch report.content {
                case .accepted(let ahead): "accepted behind \(ahead.map(\.description) ?? "?")"
                case .rejected(let reason): "rejected \(reason.rawValue)"
                case .fill(let fill): "fill \(fill.quantity)@\(fill.price) \(fill.liquidity.rawValue)"
                case .cancelled: "cancelled"
                case .expired(let reason): "expired \(reason.rawValue)"
                case .cancelRefused: "cancel refused"
                }
            return "\(report.orderID.low) \(what)"
        }
    }
}
