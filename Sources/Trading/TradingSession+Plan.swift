internal import MarketData

// From a target exposure to an order: sizing, the exchange's minima, the risk rules.
extension TradingSession {
    mutating func decide(
        _ decision: Decision, at index: Int, isManual: Bool = false, _ events: inout some EventSink
    ) throws(TradingError) -> Plan {
        let plan = evaluate(decision, at: index, isManual: isManual)
        switch plan {
        case .order(let order):
            markets[index].working = order
            risk.record(orderAt: decision.time)
            events.record(.order(order))
        case .hold(let reason): events.record(.hold(key(decision), time: decision.time, reason))
        case .refuse(let refusal): events.record(.refusal(key(decision), time: decision.time, refusal))
        }
        return plan
    }

    private func key(_ decision: Decision) -> DecisionKey {
        DecisionKey(
            account: configuration.account, symbol: decision.symbol, barTime: decision.barTime,
            modelVersion: decision.modelVersion)
    }

    private mutating func evaluate(_ decision: Decision, at index: Int, isManual: Bool) -> Plan {
        guard markets[index].close > 0 else { return .hold(.noMarketData) }
        if !isManual {
            guard decision.barTime > markets[index].lastDecision else { return .hold(.duplicateDecision) }
            markets[index].lastDecision = decision.barTime
            guard abs(decision.targetExposure) <= 1 else {
                return .refuse(Refusal(rule: .invalidDecision, limit: 1, actual: decision.targetExposure))
            }
            markets[index].targetExposure = decision.targetExposure
        }
        guard markets[index].working == nil else { return .hold(.orderInFlight) }
        if let refusal = risk.checkAge(age(of: decision, at: index)) { return .refuse(refusal) }
        switch size(decision, at: index) {
        case .failure(let reason): return .hold(reason.reason)
        case .success(let trade):
            if let refusal = risk.check(proposal(trade, decision, at: index)) { return .refuse(refusal) }
            return .order(
                Order(
                    key: key(decision), side: trade.side, quantity: trade.quantity,
                    referencePrice: markets[index].close, createdAt: decision.time))
        }
    }

    /// How far the decision's bar and instant are from the newest bar, whichever is more. A decision about a bar that
    /// has not arrived is as far off as one about a bar long gone.
    private func age(of decision: Decision, at index: Int) -> Interval {
        let market = markets[index]
        let bars = abs(decision.barTime.microseconds - market.openTime.microseconds)
        let instants = decision.time.microseconds - market.closeTime.microseconds
        return Interval(microseconds: max(bars, instants, 0))
    }

    struct Trade {
        var side: Side
        var quantity: Quantity
    }

    struct Held: Error {
        var reason: HoldReason
    }

    /// The order that brings the position to the decision's target, as far as lots, minima and cash allow.
    private func size(_ decision: Decision, at index: Int) -> Result<Trade, Held> {
        let (rules, price) = (markets[index].rules, markets[index].close)
        let position = ledger.positions[index].quantity
        var exposure = risk.killSwitch == .flatten ? 0 : decision.targetExposure
        if !rules.allowsShort { exposure = max(0, exposure) }
        let budget = max(0, equity) * markets[index].allocation * (1 - configuration.reserve)
        let wanted = exposure * budget / price
        let minNotional = rules.minNotional.double
        var magnitude = Quantity.roundingDown(abs(wanted), toLot: rules.lotSize)
        // A remainder that could not be sold later is sold now.
        let isSellable = magnitude >= rules.minQuantity && magnitude.double * price >= minNotional
        if position != .zero, !isSellable { magnitude = .zero }
        let target = wanted < 0 ? -magnitude : magnitude

        let difference = target - position
        let side: Side = difference.units > 0 ? .buy : .sell
        var quantity = difference.magnitudeRoundedDown(toLot: rules.lotSize)
        if quantity > rules.maxQuantity { quantity = rules.maxQuantity.magnitudeRoundedDown(toLot: rules.lotSize) }
        if side == .buy, !rules.allowsShort { quantity = min(quantity, affordable(at: index)) }

        // What the decision asks for, before lots and minima: the number that a report of "too small" should show.
        let wish = target == .zero && position != .zero ? position.magnitude.double : abs(wanted - position.double)
        if quantity == .zero {
            guard wish > 0 else { return .failure(Held(reason: .atTarget)) }
            return tooSmall(.lotSize, wish, rules.lotSize.double)
        }
        if quantity < rules.minQuantity { return tooSmall(.minQuantity, wish, rules.minQuantity.double) }
        if quantity.double * price < minNotional { return tooSmall(.minNotional, wish * price, minNotional) }
        return .success(Trade(side: side, quantity: quantity))
    }

    private func tooSmall(_ rule: OrderReason, _ wanted: Double, _ minimum: Double) -> Result<Trade, Held> {
        .failure(Held(reason: .tooSmall(rule: rule, wanted: wanted, minimum: minimum)))
    }

    /// The greatest purchase that cash covers at the expected price, with its fee and what other orders will take.
    private func affordable(at index: Int) -> Quantity {
        let rules = markets[index].rules
        guard
            let price = exchange.price(
                .buy, mid: markets[index].close, quantity: .zero, volume: 0, tick: rules.tickSize)
        else { return .zero }
        var cash = ledger.cash.double
        for other in markets.indices where other != index {
            guard let order = markets[other].working, order.side == .buy else { continue }
            cash -= order.quantity.double * order.referencePrice * (1 + configuration.reserve + rules.takerFee)
        }
        return .roundingDown(cash / (price.double * (1 + rules.takerFee)), toLot: rules.lotSize)
    }

    private func proposal(_ trade: Trade, _ decision: Decision, at index: Int) -> RiskEngine.Proposal {
        let (rules, price) = (markets[index].rules, markets[index].close)
        let position = ledger.positions[index].quantity
        let after = Quantity(units: position.units + trade.side.sign * trade.quantity.units)
        let expected = exchange.price(
            trade.side, mid: price, quantity: trade.quantity, volume: 0, tick: rules.tickSize)
        let before = position.magnitude.double * price
        let afterNotional = after.magnitude.double * price
        let keepsSide = after.units == 0 || (after.units > 0) == (position.units > 0)
        return RiskEngine.Proposal(
            time: decision.time, notional: trade.quantity.double * price, positionBefore: before,
            positionAfter: afterNotional, grossAfter: grossExposure - before + afterNotional, equity: equity,
            mid: price, expectedPrice: expected?.double ?? .infinity, referencePrice: decision.referencePrice,
            isReduction: keepsSide && after.magnitude < position.magnitude)
    }
}
