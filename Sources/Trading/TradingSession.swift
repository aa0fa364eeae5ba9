public import MarketData

/// One account trading: the engine behind the learning environment, the backtest and the paper account.
///
/// For each bar of a symbol, in this order: `onBar` fills at its open what was sent before, then marks the account at
/// its close; `plan` turns the policy's decision into an order, a hold or a refusal; the caller stores the order;
/// `send` hands it to the exchange, where it waits for the next bar. So no order is filled in the bar that made it.
///
/// A value: deterministic, no I/O, no clock. The same calls give the same bits; `saveState()` between any two of them
/// and `restoreState` continue as if nothing had been. Bars and decisions that were seen before are ignored, so that a
/// stream may repeat itself. Not thread-safe, like any value.
public struct TradingSession: Sendable {
    /// One market that the session trades.
    public struct Instrument: Sendable, Equatable {
        public var rules: InstrumentRules
        /// The share of the account's equity that exposure 1 means, in (0, 1].
        public var allocation: Double

        public init(rules: InstrumentRules, allocation: Double = 1) {
            self.rules = rules
            self.allocation = allocation
        }
    }

    public struct Configuration: Sendable, Equatable {
        /// Part of every order's id. Default `paper`.
        public var account: String
        /// Default 19.99 of the quote currency.
        public var initialCash: Amount
        /// At least one; all in one quote currency; allocations sum to at most 1.
        public var instruments: [Instrument]
        /// The fraction of equity that is never invested: fees, spread and the move until the next open are paid from
        /// it. Default 0.005, several times what they take; in [0, 0.5].
        public var reserve: Double
        public var costs: ExecutionCosts
        public var risk: RiskLimits
        /// What fees are paid in. Default the quote currency.
        public var feeAsset: FeeAsset

        public init(
            account: String = "paper", initialCash: Amount = Amount(units: 1_999_000_000), instruments: [Instrument],
            reserve: Double = 0.005, costs: ExecutionCosts = .init(), risk: RiskLimits = .init(),
            feeAsset: FeeAsset = .quote
        ) {
            self.account = account
            self.initialCash = initialCash
            self.instruments = instruments
            self.reserve = reserve
            self.costs = costs
            self.risk = risk
            self.feeAsset = feeAsset
        }
    }

    /// What the session knows of one market.
    struct Market: Sendable {
        let rules: InstrumentRules
        let terms: MarketTerms
        /// Of the newest bar; `Int64.min` before the first.
        var openTime = Timestamp(microseconds: .min)
        var closeTime = Timestamp(microseconds: .min)
        var close = 0.0
        var lastDecision = Timestamp(microseconds: .min)
        var lastFunding = Timestamp(microseconds: .min)
        /// The newest decision's, clamped to [−1, 1].
        var targetExposure = 0.0
        /// The order on its way: at most one, none when the last one has ended. An array, because asking an optional
        /// order whether it is there copies it.
        var working: [Order] = []

        init(_ instrument: Instrument, reserve: Double) {
            rules = instrument.rules
            terms = MarketTerms(instrument.rules, allocation: instrument.allocation, reserve: reserve)
        }
    }

    public let configuration: Configuration
    public internal(set) var ledger: Ledger
    public internal(set) var risk: RiskEngine
    /// cash + Σ position·close at the newest bars, in the quote currency.
    public internal(set) var equity: Double
    var markets: [Market]
    let exchange: SimulatedExchange

    public init(_ configuration: Configuration) throws(TradingError) {
        func check(_ holds: Bool, _ reason: String) throws(TradingError) {
            if !holds { throw .invalidConfiguration(reason: reason) }
        }
        let instruments = configuration.instruments
        try check(!configuration.account.isEmpty, "account must have a name")
        try check(configuration.initialCash > .zero, "initialCash must be positive")
        try check(!instruments.isEmpty, "at least one instrument")
        try check(Set(instruments.map(\.rules.symbol)).count == instruments.count, "a symbol is listed twice")
        try check(Set(instruments.map(\.rules.quoteAsset)).count == 1, "instruments of one quote currency")
        try check(instruments.allSatisfy { $0.allocation > 0 }, "allocations must be positive")
        let allocated = instruments.reduce(0) { $0 + $1.allocation }
        try check(allocated <= 1 + 1e-9, "allocations must sum to at most 1")
        try check((0...0.5).contains(configuration.reserve), "reserve must be in [0, 0.5]")
        try configuration.costs.validate()
        try configuration.risk.validate()
        for instrument in instruments { try configuration.feeAsset.validate(for: instrument.rules) }
        self.configuration = configuration
        ledger = Ledger(deposited: configuration.initialCash, instrumentCount: instruments.count)
        equity = configuration.initialCash.double
        risk = RiskEngine(limits: configuration.risk, equity: configuration.initialCash.double)
        markets = instruments.map { Market($0, reserve: configuration.reserve) }
        exchange = SimulatedExchange(costs: configuration.costs, feeAsset: configuration.feeAsset)
    }

    // MARK: What is asked

    /// The position of `symbol` in `configuration.instruments`; `nil` when it is not traded. Linear in their number.
    public func index(of symbol: String) -> Int? { markets.firstIndex { $0.rules.symbol == symbol } }

    /// Signed, in base units.
    public func position(at index: Int) -> Quantity { ledger.positions[index].quantity }

    /// The newest close; `nil` before the first bar.
    public func price(at index: Int) -> Double? { markets[index].close > 0 ? markets[index].close : nil }

    /// The opening time of the newest bar; `Int64.min` microseconds before the first.
    public func barOpenTime(at index: Int) -> Timestamp { markets[index].openTime }

    /// The newest decision's target, in [−1, 1]; 0 before the first.
    public func targetExposure(at index: Int) -> Double { markets[index].targetExposure }

    /// Orders that have not ended. After a restart: those in state `new` must be sent, the others are at the exchange.
    public var openOrders: [Order] { markets.flatMap(\.working) }

    /// position·price over equity, signed; 0 when equity is not positive.
    public func exposure(at index: Int) -> Double {
        equity > 0 ? ledger.positions[index].quantity.double * markets[index].close / equity : 0
    }

    /// Σ |position|·price over equity; 0 when equity is not positive.
    public var leverage: Double { equity > 0 ? grossExposure / equity : 0 }

    /// What is held of the market but is less than the exchange lets one sell; zero otherwise.
    public func dust(at index: Int) -> Quantity {
        markets[index].rules.dust(of: ledger.positions[index].quantity, price: markets[index].close)
    }

    /// Throws `invariantViolated` when the books do not balance, or disagree with `equity`.
    public func checkInvariants() throws(TradingError) {
        try ledger.checkInvariants()
        let unrealised = markets.indices.reduce(0) { $0 + ledger.positions[$1].unrealised(at: markets[$1].close) }
        let expected = (ledger.deposited + ledger.realised - ledger.fees + ledger.funding).double + unrealised
        // Both sides are sums of a few doubles of at most the account's gross value.
        guard abs(expected - equity) <= 1e-9 * max(1, abs(equity) + grossExposure) else {
            throw .invariantViolated(rule: "equity = deposited + realised + unrealised - fees + funding")
        }
        for market in markets where market.working.contains(where: \.state.isFinal) {
            throw .invariantViolated(rule: "a working order has not ended (\(market.rules.symbol))")
        }
    }

    // MARK: What happens

    /// Takes in a closed bar: fills the waiting order at its open, marks the account at its close. `false`, and no
    /// change, when the bar is not newer than the last one. Throws for a symbol that is not traded and for a bar that
    /// cannot be one.
    @discardableResult
    public mutating func onBar(
        _ symbol: String, _ bar: Bar, into events: inout [SessionEvent]
    ) throws(TradingError) -> Bool {
        try take(bar, at: try requireIndex(symbol), &events)
    }

    /// The same with the settlements of funding that are due, in order of time: those up to the bar's open are of the
    /// position before the fill and at the last close, those within the bar of the position after it and at its open.
    /// One at or after the bar's close is not looked at: it comes with a later bar. Spot pays none.
    @discardableResult
    public mutating func onBar(
        _ symbol: String, _ bar: Bar, funding: ArraySlice<Stamped<FundingRate>>, into events: inout [SessionEvent]
    ) throws(TradingError) -> Bool {
        try take(bar, at: try requireIndex(symbol), funding: funding, &events)
    }

    /// The same without events, for whoever only needs the state: no allocation.
    @discardableResult
    public mutating func onBar(at index: Int, _ bar: Bar) throws(TradingError) -> Bool {
        var events = NoEvents()
        return try take(bar, at: index, &events)
    }

    /// As the first, for whoever keeps a record instead of events.
    @discardableResult
    package mutating func onBar(
        at index: Int, _ bar: Bar, funding: ArraySlice<Stamped<FundingRate>>, into record: inout SessionRecord
    ) throws(TradingError) -> Bool {
        try take(bar, at: index, funding: funding, &record)
    }

    /// Turns a decision into at most one order in state `new`, which is the session's working order from now on: store
    /// it, then `send` it. Also recorded among the events: the order, the hold or the refusal.
    ///
    /// Target position = exposure·allocation·(1 − reserve)·equity/price, cut to whole lots toward 0; on a market
    /// without short sales a negative exposure means 0. Exposure 0 closes the position, and so does a target too small
    /// to be sold later. A purchase is cut to what cash can pay. What is too small to trade is held, never rounded up.
    public mutating func plan(_ decision: Decision, into events: inout [SessionEvent]) throws(TradingError) -> Plan {
        decide(decision, at: try requireIndex(decision.symbol), &events)
    }

    /// Hands a planned order to the exchange. Returns the order as it is then: acknowledged or rejected. An order that
    /// was sent before is returned unchanged: nothing is sent twice. Throws `unknownOrder` for one that has ended or
    /// was never planned.
    @discardableResult
    public mutating func send(
        _ order: Order, at time: Timestamp, into events: inout [SessionEvent]
    ) throws(TradingError) -> Order {
        guard let index = markets.firstIndex(where: { $0.working.contains { $0.id == order.id } }) else {
            throw .unknownOrder(order.id)
        }
        var sent = markets[index].working[0]
        try submit(&sent, at: index, time, &events)
        markets[index].working = sent.state.isFinal ? [] : [sent]
        return sent
    }

    /// `plan` and `send` in one, without events: what environments and fast backtests do. No allocation.
    @discardableResult
    public mutating func act(_ decision: Decision, at index: Int) throws(TradingError) -> Plan {
        var events = NoEvents()
        let plan = decide(decision, at: index, &events)
        if case .order = plan { try transmit(at: index, decision.time, &events) }
        return plan
    }

    /// The same for whoever keeps a record.
    package mutating func act(
        _ decision: Decision, at index: Int, into record: inout SessionRecord
    ) throws(TradingError) {
        if case .trade = settle(decision, at: index, &record) { try transmit(at: index, decision.time, &record) }
    }

    /// Sets the kill switch by hand. `freeze` takes back what has not been filled; with `flatten` positions are closed
    /// at the next decision of each symbol, or at once by `planClose`.
    public mutating func setKillSwitch(
        _ mode: KillSwitch, at time: Timestamp, into events: inout [SessionEvent]
    ) throws(TradingError) {
        guard risk.killSwitch != mode else { return }
        risk.killSwitch = mode
        events.record(.killSwitch(mode, time: time, cause: nil))
        if mode == .freeze { try cancelAll(at: time, &events) }
    }

    /// Plans to close the position of `symbol` without a decision; `origin` (`kill-switch`, `cli`) takes the model
    /// version's place in the order's key. Refused under `freeze`.
    public mutating func planClose(
        _ symbol: String, origin: String, at time: Timestamp, into events: inout [SessionEvent]
    ) throws(TradingError) -> Plan {
        let index = try requireIndex(symbol)
        let decision = Decision(
            symbol: symbol, barTime: markets[index].openTime, modelVersion: origin, targetExposure: 0, time: time)
        return decide(decision, at: index, isManual: true, &events)
    }

    /// Settles the funding of a perpetual at `markPrice` (the newest close when `nil`): a long position pays a positive
    /// rate. Ignored on spot, without position, and when that settlement was booked before.
    public mutating func onFunding(
        _ symbol: String, _ funding: FundingRate, markPrice: Double?, at time: Timestamp,
        into events: inout [SessionEvent]
    ) throws(TradingError) {
        try settle(funding, at: try requireIndex(symbol), markPrice: markPrice, time, &events)
    }
}

// MARK: - The steps

extension TradingSession {
    func requireIndex(_ symbol: String) throws(TradingError) -> Int {
        guard let index = index(of: symbol) else { throw .unknownSymbol(symbol) }
        return index
    }

    var grossExposure: Double {
        var sum = 0.0
        for index in markets.indices where ledger.positions[index].quantity.units != 0 {
            sum += ledger.positions[index].quantity.magnitude.double * markets[index].close
        }
        return sum
    }

    private mutating func settle(
        _ funding: FundingRate, at index: Int, markPrice: Double?, _ time: Timestamp, _ events: inout some EventSink
    ) throws(TradingError) {
        guard time > markets[index].lastFunding else { return }
        markets[index].lastFunding = time
        let position = ledger.positions[index].quantity
        guard markets[index].rules.allowsShort, position != .zero else { return }
        let price = markPrice ?? markets[index].close
        guard let amount = funding.settlement(of: position, markPrice: price) else { throw .overflow }
        try ledger.book(funding: amount)
        equity = ledger.equity { markets[$0].close }
        events.record(
            .funding(symbol: markets[index].rules.symbol, time: time, rate: funding.rate, amount: amount))
    }

    mutating func take(
        _ bar: Bar, at index: Int, funding: ArraySlice<Stamped<FundingRate>> = [], _ events: inout some EventSink
    ) throws(TradingError) -> Bool {
        guard bar.openTime > markets[index].openTime else { return false }
        // NaN fails every comparison, so this refuses it as well.
        guard bar.low > 0, bar.low <= min(bar.open, bar.close), bar.high >= max(bar.open, bar.close),
            bar.high < .infinity, bar.volume >= 0, bar.interval.microseconds > 0
        else {
            throw .invalidBar(symbol: markets[index].rules.symbol, openTimeMicroseconds: bar.openTime.microseconds)
        }
        for due in funding where due.time <= bar.openTime {
            try settle(due.value, at: index, markPrice: nil, due.time, &events)
        }
        if !markets[index].working.isEmpty { try match(bar, at: index, &events) }
        for due in funding where due.time > bar.openTime && due.time < bar.closeTime {
            try settle(due.value, at: index, markPrice: bar.open, due.time, &events)
        }
        markets[index].openTime = bar.openTime
        markets[index].closeTime = bar.closeTime
        markets[index].close = bar.close
        let before = equity
        equity = ledger.equity { markets[$0].close }
        if let cause = risk.mark(equity: equity, equityBefore: before, barTime: bar.openTime) {
            events.record(.killSwitch(risk.killSwitch, time: bar.closeTime, cause: cause))
        }
        events.mark(
            equity: equity, peak: risk.peakEquity, cash: ledger.cash, fillCount: ledger.fillCount,
            equityPoint(at: index))
        return true
    }

    private func equityPoint(at index: Int) -> EquityPoint {
        EquityPoint(
            time: markets[index].closeTime, symbol: markets[index].rules.symbol, cash: ledger.cash,
            position: ledger.positions[index].quantity, price: markets[index].close, equity: equity,
            leverage: leverage, drawdown: risk.drawdown(at: equity), realised: ledger.realised, fees: ledger.fees)
    }

    /// Fills the working order at the bar's open, or ends it: no order outlives the bar after its decision.
    private mutating func match(_ bar: Bar, at index: Int, _ events: inout some EventSink) throws(TradingError) {
        var order = markets[index].working.removeLast()
        if order.state == .new {
            try order.advance(to: .expired, at: bar.openTime, reason: .notSent)
            events.record(.expired, .notSent, order)
            return
        }
        switch exchange.execute(
            side: order.side, quantity: order.quantity, bar: bar, terms: markets[index].terms,
            account: account(at: index))
        {
        case .expired(let reason): try order.advance(to: .expired, at: bar.openTime, reason: reason)
        case .filled(let price, let notional, let fee, let charge):
            let fill = Fill(
                orderID: order.id, symbol: markets[index].rules.symbol, side: order.side,
                sequence: order.fillCount + 1, time: bar.openTime, price: price, quantity: order.quantity,
                notional: notional, fee: fee, midPrice: bar.open, charge: charge)
            if try order.apply(fill) { try ledger.book(fill, at: index) }
            events.record(.fill(fill))
        }
        events.record(order.state, order.reason, order)
    }

    private func account(at index: Int) -> SimulatedExchange.Account {
        .init(cash: ledger.cash, position: ledger.positions[index].quantity, equity: equity)
    }

    /// Sends the working order; one that was sent before stays as it is.
    mutating func transmit(at index: Int, _ time: Timestamp, _ events: inout some EventSink) throws(TradingError) {
        var order = markets[index].working.removeLast()
        try submit(&order, at: index, time, &events)
        if !order.state.isFinal { markets[index].working.append(consume order) }
    }

    private func submit(
        _ order: inout Order, at index: Int, _ time: Timestamp, _ events: inout some EventSink
    ) throws(TradingError) {
        guard order.state == .new else { return }
        try order.advance(to: .sent, at: time)
        events.record(.sent, nil, order)
        let refusal = exchange.refusal(
            side: order.side, quantity: order.quantity, mid: markets[index].close, terms: markets[index].terms,
            account: account(at: index))
        try order.advance(to: refusal == nil ? .acknowledged : .rejected, at: time, reason: refusal)
        events.record(order.state, refusal, order)
    }

    private mutating func cancelAll(at time: Timestamp, _ events: inout some EventSink) throws(TradingError) {
        for index in markets.indices {
            guard var order = markets[index].working.popLast() else { continue }
            try order.advance(to: .cancelled, at: time, reason: .killSwitch)
            events.record(.cancelled, .killSwitch, order)
        }
    }
}
