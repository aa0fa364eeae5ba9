internal import MarketData

// From a target exposure to an order: sizing, the exchange's minima, the risk rules.
extension TradingSession {
    mutating func decide(
        _ decision: Decision, at index: Int, isManual: Bool = false, _ events: inout some EventSink
    ) -> Plan {
        switch settle(decision, at: index, isManual: isManual, &events) {
        case .hold(let reason): return .hold(reason)
        case .refuse(let refusal): return .refuse(refusal)
        case .trade: return .order(markets[index].working[0])
        }
    }

    /// What becomes of a decision, before there is an order.
    enum Verdict {
        case trade(MarketTerms.Trade)
        case hold(HoldReason)
        case refuse(Refusal)
    }

    /// As `decide`, without a copy of the order: after `trade` it is the working one.
    mutating func settle(
        _ decision: Decision, at index: Int, isManual: Bool = false, _ events: inout some EventSink
    ) -> Verdict {
        let verdict = evaluate(decision, at: index, isManual: isManual)
        switch verdict {
        case .trade(let trade):
            let order = Order(
                key: key(decision), side: trade.side, quantity: trade.quantity, referencePrice: markets[index].close,
                createdAt: decision.time)
            risk.record(orderAt: decision.time)
            markets[index].working.append(consume order)
            events.record(.new, nil, markets[index].working[0])
        case .hold(let reason): events.record(.hold(key(decision), time: decision.time, reason))
        case .refuse(let refusal): events.record(.refusal(key(decision), time: decision.time, refusal))
        }
        return verdict
    }

    private func key(_ decision: Decision) -> DecisionKey {
        DecisionKey(
            account: configuration.account, symbol: decision.symbol, barTime: decision.barTime,
            modelVersion: decision.modelVersion)
    }

    private mutating func evaluate(_ decision: borrowing Decision, at index: Int, isManual: Bool) -> Verdict {
        guard markets[index].close > 0 else { return .hold(.noMarketData) }
        if !isManual {
            guard decision.barTime > markets[index].lastDecision else { return .hold(.duplicateDecision) }
            markets[index].lastDecision = decision.barTime
            guard abs(decision.targetExposure) <= 1 else {
                return .refuse(Refusal(rule: .invalidDecision, limit: 1, actual: decision.targetExposure))
            }
            markets[index].targetExposure = decision.targetExposure
        }
        guard markets[index].working.isEmpty else { return .hold(.orderInFlight) }
        let age = age(of: decision.barTime, decision.time, at: index)
        if let refusal = risk.checkAge(age) { return .refuse(refusal) }
        let price = markets[index].close
        let size = markets[index].terms.outcome(
            exposure: risk.killSwitch == .flatten ? 0 : decision.targetExposure, equity: equity, price: price,
            position: ledger.positions[index].quantity, affordable: affordable(at: index, price: price))
        switch size {
        case .hold(let reason): return .hold(reason)
        case .trade(let trade):
            let proposal = proposal(trade, price, decision.time, decision.referencePrice, at: index)
            if let refusal = risk.check(proposal) { return .refuse(refusal) }
            return .trade(trade)
        }
    }

    /// How far the decision's bar and instant are from the newest bar, whichever is more. A decision about a bar that
    /// has not arrived is as far off as one about a bar long gone.
    private func age(of bar: Timestamp, _ instant: Timestamp, at index: Int) -> Interval {
        let bars = abs(bar.microseconds - markets[index].openTime.microseconds)
        let instants = instant.microseconds - markets[index].closeTime.microseconds
        return Interval(microseconds: max(bars, instants, 0))
    }

    /// The greatest purchase that cash covers at the expected price, with its fee and what other orders will take.
    func affordable(at index: Int, price mid: Double) -> Quantity {
        let terms = markets[index].terms
        guard let price = exchange.price(.buy, mid: mid, quantity: .zero, volume: 0, tick: terms.tickSize) else {
            return .zero
        }
        var cash = ledger.cash.double
        for other in markets.indices where other != index {
            for order in markets[other].working where order.side == .buy {
                cash -= order.quantity.double * order.referencePrice * (1 + configuration.reserve + terms.takerFee)
            }
        }
        return .roundingDown(cash / (price.double * (1 + terms.takerFee)), toLot: terms.lotSize)
    }

    /// What a trade would do, as the risk rules see it.
    func proposal(
        _ trade: MarketTerms.Trade, _ price: Double, _ time: Timestamp, _ referencePrice: Double?, at index: Int
    ) -> RiskEngine.Proposal {
        let position = ledger.positions[index].quantity
        let after = Quantity(units: position.units + trade.side.sign * trade.quantity.units)
        let expected = exchange.price(
            trade.side, mid: price, quantity: trade.quantity, volume: 0, tick: markets[index].terms.tickSize)
        let before = position.magnitude.double * price
        let afterNotional = after.magnitude.double * price
        let keepsSide = after.units == 0 || (after.units > 0) == (position.units > 0)
        var others = 0.0
        for other in markets.indices where ledger.positions[other].quantity.units != 0 {
            let quantity = ledger.positions[other].quantity.magnitude.double
            others += quantity * (other == index ? price : markets[other].close)
        }
        return RiskEngine.Proposal(
            time: time, notional: trade.quantity.double * price, positionBefore: before,
            positionAfter: afterNotional, grossAfter: others - before + afterNotional, equity: equity,
            mid: price, expectedPrice: expected?.double ?? .infinity, referencePrice: referencePrice,
            isReduction: keepsSide && after.magnitude < position.magnitude)
    }
}
