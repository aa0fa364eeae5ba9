internal import Kernels
public import MarketData
public import Trading

/// Runs target exposures over a recorded stream through a `BookExchange`, as a trader with a latency would: it sees
/// each event late, sends at most one order at a time, and does not know of a fill before it is told.
public struct BookReplay: Sendable {
    /// How a target is reached.
    public enum Style: String, Sendable, CaseIterable {
        /// With market orders.
        case market
        /// With orders that rest at the best price of our side and follow it; with a market order for what is left when
        /// patience ends.
        case touch
    }

    public struct Configuration: Sendable, Equatable {
        public var exchange: BookExchange.Configuration
        public var style: Style
        /// How long `touch` waits after its decision. Default 5 s.
        public var patience: Interval
        /// The fraction of equity that is never invested. Default 0.005; in [0, 0.5].
        public var reserve: Double

        public init(
            exchange: BookExchange.Configuration, style: Style = .market, patience: Interval = .seconds(5),
            reserve: Double = 0.005
        ) {
            self.exchange = exchange
            self.style = style
            self.patience = patience
            self.reserve = reserve
        }
    }

    /// One order and what became of it.
    public struct OrderRecord: Sendable, Equatable {
        public var order: Order
        public var isMarket: Bool
        /// When the target was decided on, and the middle of the book that was seen then.
        public var decidedAt: Timestamp
        public var decisionMid: Double
        /// When it reached the exchange.
        public var arrival: Timestamp
        public var acceptedAt: Timestamp?
        /// Of others in front of it when it was accepted; `nil` where the book did not show it, and for what never
        /// rested.
        public var ahead: Quantity?
        public var fills: [Fill] = []
    }

    /// What came of a replay.
    public struct Result: Sendable {
        public var events = 0
        /// Targets that were acted on, and those of them that made no order: at the target already, or too small.
        public var targets = 0
        public var idleTargets = 0
        /// Targets given up before they were reached: by the next one, by too many tries, by the end of the stream.
        public var unfinishedTargets = 0
        public var orders: [OrderRecord] = []
        /// From an event until we saw it, from the exchange's reports until we knew them: microseconds.
        public var marketDataDelays: [Int64] = []
        public var acknowledgementDelays: [Int64] = []
        public var firstEvent: Timestamp?
        public var lastEvent: Timestamp?
        /// The account at the end.
        public var exchange: BookExchange
    }

    public let configuration: Configuration

    /// Throws `invalidConfiguration` for a patience that is not positive or a reserve out of range.
    public init(_ configuration: Configuration) throws(TradingError) {
        guard configuration.patience.microseconds > 0, (0...0.5).contains(configuration.reserve) else {
            throw .invalidConfiguration(reason: "patience is positive, reserve in [0, 0.5]")
        }
        self.configuration = configuration
    }

    /// Replays `events`, which are in order of time. Each target is an exposure in [−1, 1], decided on when the first
    /// event of its time or later is seen; targets are in order of time, and a later one ends the work on an earlier
    /// one. Throws `invalidSeries` for targets out of order or out of range, and what the exchange throws.
    public func run(_ events: [MarketEvent], targets: [Stamped<Double>]) throws(TradingError) -> Result {
        guard zip(targets, targets.dropFirst()).allSatisfy({ $0.time < $1.time }),
            targets.allSatisfy({ abs($0.value) <= 1 })
        else { throw .invalidSeries(reason: "targets are exposures in [-1, 1] in order of time") }
        var trader = Trader(configuration, try BookExchange(configuration.exchange))
        var next = 0
        for event in events {
            try trader.see(event)
            var target: Double?
            while next < targets.count, targets[next].time <= trader.now {
                target = targets[next].value
                next += 1
            }
            // Without a price there is nothing to decide on.
            if let target, trader.exchange.mid != nil { trader.begin(target) }
            try trader.act()
        }
        return try trader.end()
    }
}

/// The trader's side of a replay: what it knows, and what it does next.
private struct Trader {
    /// Tries for one target, after which it is given up: a book without the other side would be asked for ever.
    private static let maximumOrders = 100

    /// A target being worked on.
    private struct Job {
        var side: Side
        /// Still to be filled.
        var left: Quantity
        var decidedAt: Timestamp
        var mid: Double
        var deadline: Timestamp
        var orderCount = 0
    }

    private struct Working {
        /// In `result.orders`.
        var index: Int
        var price: Price?
        var isCancelling = false
    }

    private let configuration: BookReplay.Configuration
    private(set) var exchange: BookExchange
    /// Our clock: of the newest event that was seen.
    private(set) var now = Timestamp(microseconds: .min)
    private var result: BookReplay.Result
    private var random: RandomGenerator
    private var reports: [BookReport] = []
    private var delivered = 0
    private var job: Job?
    private var working: Working?
    private var jobNumber: Int64 = 0

    init(_ configuration: BookReplay.Configuration, _ exchange: BookExchange) {
        self.configuration = configuration
        self.exchange = exchange
        result = BookReplay.Result(exchange: exchange)
        random = RandomGenerator(seed: configuration.exchange.seed ^ 0x7365_656e)
    }

    /// The market moves, and later we see it, with what the exchange has told us until then.
    mutating func see(_ event: MarketEvent) throws(TradingError) {
        try exchange.receive(event, into: &reports)
        let delay = configuration.exchange.latency.marketData.sample(&random)
        now = max(now, event.eventTime + delay)
        result.events += 1
        result.firstEvent = result.firstEvent ?? event.eventTime
        result.lastEvent = event.eventTime
        result.marketDataDelays.append((now - event.eventTime).microseconds)
        while delivered < reports.count, reports[delivered].knownAt <= now {
            try take(reports[delivered])
            delivered += 1
        }
        if delivered == reports.count {
            reports.removeAll(keepingCapacity: true)
            delivered = 0
        }
    }

    private mutating func take(_ report: BookReport) throws(TradingError) {
        guard let index = working?.index, result.orders[index].order.id == report.orderID else { return }
        result.acknowledgementDelays.append((report.knownAt - report.time).microseconds)
        switch report.content {
        case .accepted(let ahead):
            result.orders[index].acceptedAt = report.time
            result.orders[index].ahead = ahead
            if result.orders[index].order.fillCount == 0 {
                try result.orders[index].order.advance(to: .acknowledged, at: report.time)
            }
        case .fill(let fill):
            _ = try result.orders[index].order.apply(fill)
            result.orders[index].fills.append(fill)
            job?.left -= fill.quantity
        case .rejected(let reason):
            try result.orders[index].order.advance(to: .rejected, at: report.time, reason: reason)
        case .expired(let reason):
            try result.orders[index].order.advance(to: .expired, at: report.time, reason: reason)
        case .cancelled: try result.orders[index].order.advance(to: .cancelled, at: report.time)
        case .cancelRefused: break
        }
        if result.orders[index].order.state.isFinal { working = nil }
    }

    /// Decides on a new target, of what is known now. What is still on its way of an earlier one is cancelled first.
    mutating func begin(_ exposure: Double) {
        result.targets += 1
        if job != nil {
            result.unfinishedTargets += 1
            job = nil
        }
        pending = exposure
    }

    /// A target waits here until the orders before it have ended, so that it is sized on what is really held.
    private var pending: Double?

    mutating func act() throws(TradingError) {
        if let current = working {
            try follow(current)
            return
        }
        if let exposure = pending, let mid = exchange.mid {
            pending = nil
            job = size(exposure, mid)
            jobNumber += 1
            if job == nil { result.idleTargets += 1 }
        }
        guard let current = job else { return }
        guard current.left >= exchange.rules.minQuantity,
            current.left.double * (exchange.mid ?? 0) >= exchange.rules.minNotional.double
        else {
            // Filled, or what is left is too small for an order.
            if current.left > .zero { result.unfinishedTargets += 1 }
            job = nil
            return
        }
        guard current.orderCount < Self.maximumOrders else {
            result.unfinishedTargets += 1
            job = nil
            return
        }
        try send(current)
    }

    /// A resting order is taken back when its target is out of date, patience ends, or the touch has moved on.
    private mutating func follow(_ current: Working) throws(TradingError) {
        guard let price = current.price, !current.isCancelling else { return }
        let order = result.orders[current.index].order
        let best = order.side == .buy ? exchange.bestBid : exchange.bestAsk
        let isBehind = best.map { order.side == .buy ? $0 > price : $0 < price } ?? false
        let isLate = job.map { now >= $0.deadline } ?? true
        guard isBehind || isLate else { return }
        exchange.cancel(order.id, at: now)
        working?.isCancelling = true
    }

    /// The order that brings the position to the target; `nil` when it is there, or the difference is too small.
    private func size(_ exposure: Double, _ mid: Double) -> Job? {
        let rules = exchange.rules
        let budget = max(0, exchange.equity) * (1 - configuration.reserve)
        let wanted = (rules.allowsShort ? exposure : max(0, exposure)) * budget / mid
        let target = Quantity.roundingDown(abs(wanted), toLot: rules.lotSize)
        let difference = (wanted < 0 ? -target : target) - exchange.position
        let side: Side = difference.units > 0 ? .buy : .sell
        var quantity = min(difference.magnitudeRoundedDown(toLot: rules.lotSize), rules.maxQuantity)
        if side == .buy, !rules.allowsShort {
            // A market order pays more than the mid; the reserve is for that.
            let price = max(exchange.bestAsk?.double ?? mid, mid)
            let affordable = exchange.ledger.cash.double / (price * (1 + rules.takerFee))
            quantity = min(quantity, .roundingDown(affordable, toLot: rules.lotSize))
        }
        guard quantity >= rules.minQuantity, quantity.double * mid >= rules.minNotional.double else { return nil }
        return Job(side: side, left: quantity, decidedAt: now, mid: mid, deadline: now + configuration.patience)
    }

    private mutating func send(_ current: Job) throws(TradingError) {
        let touch = current.side == .buy ? exchange.bestBid : exchange.bestAsk
        // A touch that runs away from one order after the other is not waited for until the last try.
        let isPatient = now < current.deadline && current.orderCount < Self.maximumOrders / 2
        let isMarket = configuration.style == .market || !isPatient || touch == nil
        // One decision makes several orders: their number stands where the model's version does.
        let key = DecisionKey(
            account: "replay", symbol: exchange.rules.symbol, barTime: Timestamp(microseconds: jobNumber),
            modelVersion: "\(current.orderCount)")
        var order = Order(
            key: key, side: current.side, quantity: current.left, referencePrice: current.mid, createdAt: now)
        try order.advance(to: .sent, at: now)
        let kind: BookOrder.Kind = if let touch, !isMarket { .limit(touch, .makerOnly) } else { .market }
        let arrival = exchange.submit(
            BookOrder(id: order.id, side: order.side, quantity: order.quantity, kind: kind), at: now)
        working = Working(index: result.orders.count, price: isMarket ? nil : touch)
        result.orders.append(
            BookReplay.OrderRecord(
                order: order, isMarket: isMarket, decidedAt: current.decidedAt, decisionMid: current.mid,
                arrival: arrival))
        job?.orderCount += 1
    }

    /// The stream is over: what is on its way arrives, and what rests is cancelled.
    mutating func end() throws(TradingError) -> BookReplay.Result {
        if let current = working { exchange.cancel(result.orders[current.index].order.id, at: now) }
        // No delay is longer than two minutes, and what was sent before may hold up what comes after.
        try exchange.finish(at: now + .minutes(5), into: &reports)
        while delivered < reports.count {
            try take(reports[delivered])
            delivered += 1
        }
        if let job, job.left > .zero { result.unfinishedTargets += 1 }
        if pending != nil { result.unfinishedTargets += 1 }
        try exchange.ledger.checkInvariants()
        result.exchange = exchange
        return result
    }
}
