internal import MarketData

// Orders against the book that is shown. Prices are compared by the keys of `ShownSide`: the better one is smaller.
extension BookExchange {
    // MARK: An order arrives

    mutating func arrive(_ order: BookOrder, _ reports: inout [BookReport]) throws(TradingError) {
        if let reason = refusal(of: order) {
            report(order.id, .rejected(reason), &reports)
            return
        }
        var limit: Price?
        var timeInForce = BookOrder.TimeInForce.immediateOrCancel
        if case .limit(let price, let force) = order.kind { (limit, timeInForce) = (price, force) }
        if timeInForce == .makerOnly, let limit, crosses(order.side, limit) {
            report(order.id, .rejected(.makerOnly), &reports)
            return
        }
        var open = Open(
            order: order, price: limit ?? .zero, acceptedAt: clock, remaining: order.quantity, ahead: nil, fillCount: 0)
        if let reason = try take(&open, atOrBetterThan: limit, &reports) {
            report(order.id, .expired(reason), &reports)
            return
        }
        guard open.remaining > .zero else { return }
        guard let limit, timeInForce != .immediateOrCancel else {
            report(order.id, .expired(.noLiquidity), &reports)
            return
        }
        let slot = order.side.slot
        let ahead = shown[slot].settled(at: shown[slot].key(limit.units), clock.microseconds)
        open.ahead = ahead.map(Quantity.init(units:))
        // Behind all of the same or a better price.
        let isWorse = { (other: Open) in order.side == .buy ? other.price < limit : other.price > limit }
        resting[slot].insert(open, at: resting[slot].firstIndex(where: isWorse) ?? resting[slot].count)
        report(order.id, .accepted(ahead: open.ahead), &reports)
    }

    private func crosses(_ side: Side, _ limit: Price) -> Bool {
        let slot = side.opposite.slot
        return shown[slot].best.map { $0.key <= shown[slot].key(limit.units) } ?? false
    }

    /// Takes what the other side shows, best first. The reason when cash ends before it is filled.
    private mutating func take(
        _ open: inout Open, atOrBetterThan limit: Price?, _ reports: inout [BookReport]
    ) throws(TradingError) -> OrderReason? {
        let slot = open.order.side.opposite.slot
        var index = 0
        while open.remaining > .zero, index < shown[slot].levels.count {
            let level = shown[slot].levels[index]
            if let limit, level.key > shown[slot].key(limit.units) { break }
            let quantity = wholeLots(min(level.available, open.remaining.units))
            if quantity > 0 {
                let price = Price(units: shown[slot].key(level.key))
                if let reason = try execute(&open, price, quantity, .taker, &reports) { return reason }
                shown[slot].take(quantity, at: index)
            }
            index += 1
        }
        return nil
    }

    // MARK: The market moves

    /// Lowers each order's place in the queue to what its level shows.
    mutating func settleQueues() {
        for slot in resting.indices {
            for index in resting[slot].indices {
                let key = shown[slot].key(resting[slot][index].price.units)
                guard let most = shown[slot].settled(at: key, clock.microseconds) else { continue }
                resting[slot][index].ahead = Quantity(units: min(resting[slot][index].ahead?.units ?? most, most))
            }
        }
    }

    mutating func match(_ trade: PublicTrade, _ reports: inout [BookReport]) throws(TradingError) {
        guard !resting[0].isEmpty || !resting[1].isEmpty, let price = Price(trade.price), price > .zero,
            let quantity = Quantity(trade.quantity)?.units, quantity > 0
        else { return }
        // The aggressor met the other side's orders, ours among them.
        let aggressor: Side = trade.isBuy ? .buy : .sell
        let slot = aggressor.opposite.slot
        let left = try fill(aggressor.opposite, price, quantity, atPriceToo: true, &reports)
        // What rested beyond our price on the other side would have met us before; what we took of that level, it did.
        let taken = shown[slot].taken(at: shown[slot].key(price.units))
        _ = try fill(aggressor, price, left - taken, atPriceToo: false, &reports)
    }

    /// Fills resting orders of `side` by a trade. What one of ours took of it is not there for the next: returns what
    /// is left of it.
    private mutating func fill(
        _ side: Side, _ price: Price, _ quantity: Int64, atPriceToo: Bool, _ reports: inout [BookReport]
    ) throws(TradingError) -> Int64 {
        let slot = side.slot
        var left = quantity
        var index = 0
        while index < resting[slot].count, left > 0 {
            let open = resting[slot][index]
            let isBeyond = side == .buy ? open.price > price : open.price < price
            guard isBeyond || open.price == price && atPriceToo else { break }
            guard clock > open.acceptedAt + configuration.settling, let ahead = isBeyond ? 0 : open.ahead?.units else {
                index += 1
                continue
            }
            resting[slot][index].ahead = Quantity(units: max(0, ahead - left))
            let taken = wholeLots(min(max(0, left - ahead), open.remaining.units))
            left -= taken
            try fillResting(slot, &index, taken, &reports)
        }
        return left
    }

    /// Fills resting orders by opposite quotes at or beyond their prices, at their own prices.
    mutating func matchCrossed(_ reports: inout [BookReport]) throws(TradingError) {
        for side in [Side.buy, .sell] {
            let (slot, opposite) = (side.slot, side.opposite.slot)
            var index = 0
            while index < resting[slot].count, crosses(side, resting[slot][index].price) {
                let limit = shown[opposite].key(resting[slot][index].price.units)
                var left = resting[slot][index].remaining.units
                for row in shown[opposite].levels.indices where left > 0 {
                    guard shown[opposite].levels[row].key <= limit else { break }
                    let quantity = wholeLots(min(shown[opposite].levels[row].available, left))
                    shown[opposite].take(quantity, at: row)
                    left -= quantity
                }
                resting[slot][index].ahead = .zero
                try fillResting(slot, &index, resting[slot][index].remaining.units - left, &reports)
            }
        }
    }

    /// Books a fill of `resting[slot][index]`, takes the order away when it has ended, and moves `index` on.
    private mutating func fillResting(
        _ slot: Int, _ index: inout Int, _ quantity: Int64, _ reports: inout [BookReport]
    ) throws(TradingError) {
        var open = resting[slot][index]
        if quantity > 0, let reason = try execute(&open, open.price, quantity, .maker, &reports) {
            report(open.order.id, .expired(reason), &reports)
            resting[slot].remove(at: index)
        } else if open.remaining == .zero {
            resting[slot].remove(at: index)
        } else {
            resting[slot][index] = open
            index += 1
        }
    }

    private func wholeLots(_ units: Int64) -> Int64 { units / rules.lotSize.units * rules.lotSize.units }

    /// Books one execution. The reason, and nothing booked, when the account cannot pay it.
    private mutating func execute(
        _ open: inout Open, _ price: Price, _ units: Int64, _ liquidity: Liquidity, _ reports: inout [BookReport]
    ) throws(TradingError) -> OrderReason? {
        let (order, quantity) = (open.order, Quantity(units: units))
        let rate = liquidity == .maker ? rules.makerFeeUnits : rules.takerFeeUnits
        guard let notional = price.notional(of: quantity, roundingUp: order.side == .buy),
            let fee = configuration.feeAsset.fee(
                order.side, price: price, quantity: quantity, notional: notional, rateUnits: rate)
        else { throw .overflow }
        if order.side == .buy, !rules.allowsShort {
            var cost = notional
            if case .base = fee.charge {} else { cost += fee.value }
            if cost > ledger.cash { return .insufficientBalance }
        }
        let fill = Fill(
            orderID: order.id, symbol: rules.symbol, side: order.side, sequence: open.fillCount + 1, time: clock,
            price: price, quantity: quantity, notional: notional, fee: fee.value, midPrice: mid ?? price.double,
            charge: fee.charge, liquidity: liquidity)
        try ledger.book(fill, at: 0)
        open.fillCount += 1
        open.remaining -= quantity
        report(order.id, .fill(fill), &reports)
        return nil
    }

    // MARK: What is refused

    private func refusal(of order: BookOrder) -> OrderReason? {
        if resting.contains(where: { $0.contains { $0.order.id == order.id } }) { return .duplicate }
        if resting[0].count + resting[1].count >= Self.maximumOpenOrders { return .tooManyOrders }
        let quantity = order.quantity
        if quantity < rules.minQuantity { return .minQuantity }
        if quantity.units % rules.lotSize.units != 0 { return .lotSize }
        if quantity > rules.maxQuantity { return .maxQuantity }
        var limit: Price?
        if case .limit(let price, _) = order.kind {
            guard price > .zero, price.units % rules.tickSize.units == 0 else { return .tickSize }
            limit = price
        }
        guard let price = limit?.double ?? mid else { return .noLiquidity }
        // As in bar mode: 1e-9 relative is what Double arithmetic may lose.
        if quantity.double * price < rules.minNotional.double * (1 - 1e-9) { return .minNotional }
        return rules.allowsShort ? marginRefusal(order, price) : balanceRefusal(order, limit)
    }

    /// Spot: a purchase must be paid beside the other open ones, a sale must be held.
    private func balanceRefusal(_ order: BookOrder, _ limit: Price?) -> OrderReason? {
        if order.side == .sell {
            let promised = resting[1].reduce(Quantity.zero) { $0 + $1.remaining }
            return order.quantity > position - promised ? .shortNotAllowed : nil
        }
        var free = ledger.cash.units
        for open in resting[0] {
            guard let cost = cost(open.remaining, at: open.price) else { return .outOfRange }
            free -= cost
        }
        var wanted: Int64 = 0
        if let limit {
            guard let cost = cost(order.quantity, at: limit) else { return .outOfRange }
            wanted = cost
        } else {
            var left = order.quantity.units
            for level in shown[1].levels where left > 0 {
                let quantity = wholeLots(min(level.available, left))
                guard let cost = cost(Quantity(units: quantity), at: Price(units: level.key)),
                    case let (sum, overflow) = wanted.addingReportingOverflow(cost), !overflow
                else { return .outOfRange }
                wanted = sum
                left -= quantity
            }
        }
        return wanted > free ? .insufficientBalance : nil
    }

    /// Notional and fee as far as cash pays it, at the dearer of the two rates.
    private func cost(_ quantity: Quantity, at price: Price) -> Int64? {
        let rate = max(rules.makerFeeUnits, rules.takerFeeUnits)
        guard let notional = price.notional(of: quantity, roundingUp: true),
            let fee = notional.fee(rateUnits: configuration.feeAsset.cashRateUnits(.buy, rateUnits: rate))
        else { return nil }
        let (sum, overflow) = notional.units.addingReportingOverflow(fee.units)
        return overflow ? nil : sum
    }

    /// A future: the position with all open orders of this side filled may not exceed what is lent for.
    private func marginRefusal(_ order: BookOrder, _ price: Double) -> OrderReason? {
        let open = resting[order.side.slot].reduce(order.quantity) { $0 + $1.remaining }
        let after = Quantity(units: position.units + order.side.sign * open.units)
        let mark = mid ?? price
        let exceeds = after.magnitude.double * mark > rules.maxLeverage * ledger.equity { _ in mark }
        return after.magnitude > position.magnitude && exceeds ? .insufficientMargin : nil
    }
}

extension FundingRate {
    /// What a position receives (positive) or pays at this settlement, in the quote currency: cut to 1e-8 against us.
    /// A long position pays a positive rate. `nil` when it does not fit.
    func settlement(of position: Quantity, markPrice: Double) -> Amount? {
        let exact = -position.double * markPrice * rate
        // 1e-4 of a unit is what double arithmetic may lose.
        return Amount((exact * 1e8 + 1e-4).rounded(.down) / 1e8)
    }
}
