internal import Kernels
public import MarketData

/// The exchange of backtests on recorded books: what `SimulatedExchange` is for bars, event by event.
///
/// Fed with a market's events in order of time and with our orders, which arrive after a latency and compete with all
/// that happens until then. A market order walks the levels that are shown. A limit order takes what crosses it, then
/// rests behind the volume that its price shows; trades at its price first shorten the queue, then fill it. Nothing
/// that happened at or before an order's arrival fills it. In doubt it goes against us:
///
/// * others' cancellations count as behind us, until the level shows less than our place in the queue;
/// * where the book does not show what is ahead, nothing at that price fills us, only a trade beyond it;
/// * a trade beyond our price fills us, but never with more than was traded;
/// * an opposite quote at or beyond our price fills us at our own price, never with more than it shows;
/// * our orders move nobody, and take no shown volume twice;
/// * rebates are not paid.
///
/// The account lies in it, so that it can refuse what the account cannot pay. A value: deterministic, no clock, no I/O.
/// Costs a few comparisons an event and open order; allocates for reports only.
public struct BookExchange: Sendable {
    public struct Configuration: Sendable, Equatable {
        public var rules: InstrumentRules
        /// In the quote currency.
        public var initialCash: Amount
        public var latency: LatencyModel
        public var feeAsset: FeeAsset
        /// By how much a trade may be told later than the quotes that show it. A fall of a level younger than this
        /// may be such a trade, so it counts as cancellation only afterwards; and a trade told within it after an
        /// order's arrival may be older than the order. Default 10 ms: of the recorded Binance streams a third of the
        /// trades come after their quotes, nearly all of these within 5 ms.
        public var settling: Interval
        /// Of the random part of latencies.
        public var seed: UInt64

        public init(
            rules: InstrumentRules, initialCash: Amount, latency: LatencyModel = .zero, feeAsset: FeeAsset = .quote,
            settling: Interval = .milliseconds(10), seed: UInt64 = 1
        ) {
            self.rules = rules
            self.initialCash = initialCash
            self.latency = latency
            self.feeAsset = feeAsset
            self.settling = settling
            self.seed = seed
        }
    }

    /// An order in the book.
    public struct Open: Sendable, Equatable {
        public let order: BookOrder
        public let price: Price
        public let acceptedAt: Timestamp
        public internal(set) var remaining: Quantity
        /// At most so much of others is in front of it; `nil` while the book does not show it. Never rises.
        public internal(set) var ahead: Quantity?
        var fillCount: Int
    }

    /// As Binance's MAX_NUM_ORDERS: a further order is rejected.
    public static let maximumOpenOrders = 200

    enum Message: Sendable {
        case order(BookOrder)
        case cancel(ClientOrderID)
    }

    public let configuration: Configuration
    public internal(set) var ledger: Ledger
    /// Of the newest event or message.
    public internal(set) var clock = Timestamp(microseconds: .min)
    /// Our resting orders by `Side.slot`, best price first, of one price the older first.
    var resting: [[Open]] = [[], []]
    /// What others show, by `Side.slot`: bids, asks.
    var shown: [ShownSide]
    private var quote: BookTop?
    private var lastTrade: Double?
    private var messages: [(arrival: Timestamp, message: Message)] = []
    private var nextMessage = 0
    private var lastArrival = Timestamp(microseconds: .min)
    private var lastKnown = Timestamp(microseconds: .min)
    private var orderJitter: RandomGenerator
    private var cancelJitter: RandomGenerator
    private var acknowledgementJitter: RandomGenerator

    /// Throws `invalidConfiguration` for a fee asset, latency, capital or settling time that cannot be.
    public init(_ configuration: Configuration) throws(TradingError) {
        try configuration.feeAsset.validate(for: configuration.rules)
        try configuration.latency.validate()
        guard configuration.initialCash > .zero else {
            throw .invalidConfiguration(reason: "initialCash must be positive")
        }
        let memory = configuration.settling
        guard memory.microseconds >= 0, memory <= .minutes(1) else {
            throw .invalidConfiguration(reason: "settling is 0 … 60 s")
        }
        self.configuration = configuration
        ledger = Ledger(deposited: configuration.initialCash, instrumentCount: 1)
        shown = [.buy, .sell].map { ShownSide($0, memory: memory.microseconds) }
        // One stream a kind of message: more of one kind leaves the others' delays as they were.
        orderJitter = RandomGenerator(seed: configuration.seed)
        cancelJitter = RandomGenerator(seed: configuration.seed ^ 0x6361_6e63_656c)
        acknowledgementJitter = RandomGenerator(seed: configuration.seed ^ 0x61_636b)
    }

    // MARK: What is asked

    public var rules: InstrumentRules { configuration.rules }
    public var position: Quantity { ledger.positions[0].quantity }
    public var bestBid: Price? { shown[0].best.map { Price(units: -$0.key) } }
    public var bestAsk: Price? { shown[1].best.map { Price(units: $0.key) } }

    /// Our orders of one side that rest in the book: best price first, of one price the older first.
    public func openOrders(_ side: Side) -> [Open] { resting[side.slot] }

    /// The middle of bid and ask; with one side only, that side; without, the last trade; `nil` before any event.
    public var mid: Double? {
        switch (bestBid, bestAsk) {
        case (let bid?, let ask?): (bid.double + ask.double) / 2
        case (let side?, nil), (nil, let side?): side.double
        case (nil, nil): lastTrade
        }
    }

    /// cash + position·mid, in the quote currency.
    public var equity: Double { ledger.equity { _ in mid ?? 0 } }

    /// What is held but less than the exchange lets one sell at the mid.
    public var dust: Quantity { rules.dust(of: position, price: mid ?? 0) }

    // MARK: What we send

    /// Sends an order at `time` by our clock. Returns when it will arrive: after its latency, and never before what was
    /// sent earlier. What becomes of it is reported by the calls of `receive` and `finish` that pass its arrival.
    @discardableResult
    public mutating func submit(_ order: BookOrder, at time: Timestamp) -> Timestamp {
        enqueue(.order(order), time + configuration.latency.order.sample(&orderJitter))
    }

    /// Sends a cancellation; as `submit`. It may come too late: then a fill is reported, and `cancelRefused`.
    @discardableResult
    public mutating func cancel(_ id: ClientOrderID, at time: Timestamp) -> Timestamp {
        enqueue(.cancel(id), time + configuration.latency.cancel.sample(&cancelJitter))
    }

    private mutating func enqueue(_ message: Message, _ time: Timestamp) -> Timestamp {
        lastArrival = max(time, lastArrival, clock)
        messages.append((lastArrival, message))
        return lastArrival
    }

    // MARK: What happens

    /// Takes the market's next event. Appends what it and the messages that arrived before it bring about, in order of
    /// time. Events of other symbols, and kinds that no book knows, only move the clock. Throws `timeBackwards` when
    /// the event is older than the one before, and what the ledger throws.
    public mutating func receive(_ event: MarketEvent, into reports: inout [BookReport]) throws(TradingError) {
        guard event.eventTime >= clock else {
            throw .timeBackwards(symbol: event.symbol, microseconds: event.eventTime.microseconds)
        }
        // A message that arrives at the very time of an event comes after it: the event is not newer than the order.
        try deliver(&reports) { $0 < event.eventTime }
        clock = event.eventTime
        guard event.symbol == rules.symbol else { return }
        switch event.payload {
        case .trade(let trade):
            lastTrade = trade.price
            settleQueues()
            try match(trade, &reports)
        case .bookTop(let top):
            quote = top
            show(top)
            settleQueues()
            try matchCrossed(&reports)
        case .bookDepth(let depth):
            shown[0].replace(prices: depth.bidPrices, volumes: depth.bidVolumes, at: clock.microseconds)
            shown[1].replace(prices: depth.askPrices, volumes: depth.askVolumes, at: clock.microseconds)
            // A depth is older than the quotes beside it: what they say of the best levels stays.
            if let quote { show(quote) }
            settleQueues()
            try matchCrossed(&reports)
        case .fundingRate(let funding): try settle(funding)
        default: break
        }
    }

    /// Lets everything arrive that arrives until `time`, without a further event.
    public mutating func finish(at time: Timestamp, into reports: inout [BookReport]) throws(TradingError) {
        try deliver(&reports) { $0 <= time }
        clock = max(clock, time)
    }

    private mutating func deliver(
        _ reports: inout [BookReport], while isDue: (Timestamp) -> Bool
    ) throws(TradingError) {
        while nextMessage < messages.count, isDue(messages[nextMessage].arrival) {
            let (arrival, message) = messages[nextMessage]
            nextMessage += 1
            clock = max(clock, arrival)
            settleQueues()
            switch message {
            case .order(let order): try arrive(order, &reports)
            case .cancel(let id): cancelNow(id, &reports)
            }
        }
        if nextMessage == messages.count, nextMessage > 0 {
            messages.removeAll(keepingCapacity: true)
            nextMessage = 0
        }
    }

    private mutating func cancelNow(_ id: ClientOrderID, _ reports: inout [BookReport]) {
        for slot in resting.indices {
            guard let index = resting[slot].firstIndex(where: { $0.order.id == id }) else { continue }
            resting[slot].remove(at: index)
            report(id, .cancelled, &reports)
            return
        }
        report(id, .cancelRefused, &reports)
    }

    private mutating func show(_ top: BookTop) {
        func units(_ value: Double) -> Int64 { Price(value)?.units ?? 0 }
        shown[0].set(bestPrice: units(top.bidPrice), volume: units(top.bidVolume), at: clock.microseconds)
        shown[1].set(bestPrice: units(top.askPrice), volume: units(top.askVolume), at: clock.microseconds)
    }

    private mutating func settle(_ funding: FundingRate) throws(TradingError) {
        guard rules.allowsShort, position != .zero, let mid else { return }
        guard let amount = funding.settlement(of: position, markPrice: mid) else { throw .overflow }
        try ledger.book(funding: amount)
    }

    /// Reports come over one connection: none is known before an earlier one.
    mutating func report(_ id: ClientOrderID, _ content: BookReport.Content, _ reports: inout [BookReport]) {
        lastKnown = max(lastKnown, clock + configuration.latency.acknowledgement.sample(&acknowledgementJitter))
        reports.append(BookReport(orderID: id, time: clock, knownAt: lastKnown, content: content))
    }
}

extension Side {
    /// Where what belongs to this side lies in an array of two.
    var slot: Int { self == .buy ? 0 : 1 }
    var opposite: Side { self == .buy ? .sell : .buy }
}
