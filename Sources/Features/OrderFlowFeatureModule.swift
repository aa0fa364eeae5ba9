internal import Indicators
internal import Kernels
internal import MarketData

/// What was traded and how the best quotes changed since the bar before, and what a market order would cost.
///
/// A bar without trades, or without a change of the book, makes their columns absent for lack of input: silence may be
/// a dead source.
struct OrderFlowFeatureModule: FeatureModule {
    private var flow = OrderFlowImbalance()
    private var tick = TickRule()
    private var informed = InformedTradingProbability()
    private var depth: AsOfSlot<BookCost>
    private let notional: Double
    /// Mean volume of a bar, decaying over an hour of bars (two at least): a fiftieth of a day of it is a bucket. It
    /// stays through a hole in the bars.
    private var barVolume: ExponentialMovingAverage
    private let barsPerDay: Double
    private var bought = 0.0
    private var sold = 0.0
    private var count = 0

    /// As of the newest bar.
    private var imbalance: (imbalance: Double, meanDepth: Double)?
    private var traded: (bought: Double, sold: Double, count: Int)?
    private var hasTraded = false

    /// What an order of the reference size would pay, of the newest book; `nil` where the book is too shallow.
    struct BookCost: StateValue {
        var buying: Double?
        var selling: Double?

        init(_ depth: BookDepth, notional: Double) {
            buying = depth.slippage(buying: true, notional: notional)
            selling = depth.slippage(buying: false, notional: notional)
        }

        func save(to writer: inout StateWriter) {
            writer.write(buying)
            writer.write(selling)
        }

        init(from reader: inout StateReader) throws(IndicatorError) {
            buying = try reader.readOptionalDouble()
            selling = try reader.readOptionalDouble()
        }
    }

    init(_ configuration: FeatureConfiguration) {
        depth = AsOfSlot(tolerance: configuration.bookTolerance)
        notional = configuration.referenceNotional
        barsPerDay = max(1, 86_400 / configuration.interval.seconds)
        // The first hour's simple mean is the first size of a bucket.
        barVolume = ExponentialMovingAverage(max(2, Int((3600 / configuration.interval.seconds).rounded())))
    }

    var definitions: [FeatureDefinition] {
        [
            .init(
                "flow.ofi", "order-flow imbalance since the last bar, Cont et al. 2014 eq. 4", unit: "base",
                isLevel: true),
            .init("flow.ofi_ratio", "ofi/mean size of the best quotes since the last bar"),
            .init("flow.tick_sign", "sign of the last price change of the trades, by the tick rule", bounds: -1...1),
            .init("flow.vpin", "sum |buys - sells|/sum of 50 volume buckets; Easley et al. 2012", bounds: 0...1),
            .init(
                "flow.imbalance_ratio", "(bought - sold)/(bought + sold) of the trades since the last bar",
                bounds: -1...1),
            .init("flow.trade_rate", "ln(1 + trades since the last bar)", unit: "log_trades"),
            .init("flow.slippage_buy", "average price/mid - 1 of buying the reference size from the newest book"),
            .init("flow.slippage_sell", "1 - average price/mid of selling the reference size to the newest book"),
        ]
    }

    mutating func observe(_ input: FeatureInput, eventTime: Timestamp, knownAt: Timestamp) {
        switch input {
        case .bar(let bar):
            imbalance = flow.take()
            traded = count > 0 ? (bought, sold, count) : nil
            (bought, sold, count) = (0, 0, 0)
            barVolume.update(bar.volume)
        case .restart:
            flow = OrderFlowImbalance()
            tick = TickRule()
            informed = InformedTradingProbability()
            (imbalance, traded) = (nil, nil)
            (bought, sold, count) = (0, 0, 0)
        case .book(let top): flow.update(top)
        case .depth(let book):
            depth.offer(BookCost(book, notional: notional), eventTime: eventTime, knownAt: knownAt)
        case .trade(let trade):
            hasTraded = true
            tick.update(trade.price)
            if trade.isBuy { bought += trade.quantity } else { sold += trade.quantity }
            count += 1
            if let mean = barVolume.value {
                informed.update(
                    quantity: trade.quantity, isBuy: trade.isBuy, bucketVolume: mean * barsPerDay / 50)
            }
        default: break
        }
    }

    mutating func write(at now: Timestamp, to sink: inout FeatureSink) {
        sink.put("ofi", Known(imbalance?.imbalance, or: .missingInput))
        let ratio = imbalance.flatMap { $0.meanDepth > 0 ? $0.imbalance / $0.meanDepth : nil }
        sink.put("ofi_ratio", Known(ratio, or: imbalance == nil ? .missingInput : .undefined))
        let waiting: Absence = hasTraded ? .warmUp : .missingInput
        sink.put("tick_sign", Known(tick.isWarm ? Double(tick.sign) : nil, or: waiting))
        sink.put("vpin", Known(informed.value, or: waiting))
        let ratioOfTrades = traded.map { ($0.bought - $0.sold) / ($0.bought + $0.sold) }
        sink.put("imbalance_ratio", Known(ratioOfTrades, or: .missingInput))
        sink.put("trade_rate", Known(traded.map { log1p(Double($0.count)) }, or: .missingInput))
        let cost = depth.reading(at: now)
        sink.put("slippage_buy", cost.flatMap { Known($0.buying, or: .undefined) })
        sink.put("slippage_sell", cost.flatMap { Known($0.selling, or: .undefined) })
    }

    func save(to writer: inout StateWriter) {
        flow.save(to: &writer)
        tick.save(to: &writer)
        informed.save(to: &writer)
        depth.save(to: &writer)
        barVolume.save(to: &writer)
        for number in [bought, sold] { writer.write(number) }
        writer.write(count)
        writer.write(hasTraded)
    }

    mutating func restore(from reader: inout StateReader) throws(IndicatorError) {
        try flow.restore(from: &reader)
        try tick.restore(from: &reader)
        try informed.restore(from: &reader)
        try depth.restore(from: &reader)
        try barVolume.restore(from: &reader)
        (bought, sold) = (try reader.readDouble(), try reader.readDouble())
        count = try reader.readCount(upTo: 1 << 53, "trades")
        hasTraded = try reader.readBool()
    }
}
