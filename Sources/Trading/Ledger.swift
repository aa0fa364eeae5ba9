/// The books of one account: cash, positions, fees and profits, in exact integers.
///
/// Kept twice over, so that an error shows: from the flows (what was bought, sold, charged) and from the stocks (cash,
/// position, cost). After every fill, to the last 1e-8:
///
///     position = bought − sold − taken as fee                      for each instrument
///     cash     = deposited − paid for purchases + got for sales − fees in cash + funding
///     cash + Σ cost = deposited + Σ realised profit − fees + funding
///
/// and therefore cash + Σ position·price = equity = deposited + realised + unrealised − fees + funding at any prices.
/// A fee taken from what was bought counts with its value at the fill's price: the cost of what arrived is lowered by
/// it, as if it had been sold again at that price and the fee paid in cash.
/// Average cost: a reduction takes its share of the cost with it; what rounding leaves stays in the cost.
public struct Ledger: Sendable, Equatable {
    /// One instrument's page.
    public struct Position: Sendable, Equatable {
        /// Signed: negative is short.
        public internal(set) var quantity = Quantity.zero
        /// What the open quantity was bought for, fees apart; negative is what a short position was sold for.
        public internal(set) var cost = Amount.zero
        /// Profit of what was closed, before fees.
        public internal(set) var realised = Amount.zero
        var bought = WideSum()
        var sold = WideSum()
        var takenAsFee = WideSum()
        var paid = WideSum()
        var received = WideSum()

        /// Σ notional of all fills, in the quote currency.
        public var turnover: Double { (paid.double + received.double) / 1e8 }
        /// Profit not yet realised at `price`, before fees.
        public func unrealised(at price: Double) -> Double { quantity.double * price - cost.double }
    }

    /// What the account was opened with.
    public let deposited: Amount
    public internal(set) var cash: Amount
    /// All fees, in the quote currency.
    public internal(set) var fees = Amount.zero
    /// The part of `fees` that was taken from what was bought, and not from cash.
    public internal(set) var feesInBase = Amount.zero
    /// Net funding received (positive) or paid.
    public internal(set) var funding = Amount.zero
    public internal(set) var positions: [Position]
    public internal(set) var fillCount = 0

    /// Traps when `instrumentCount` is not positive or the deposit is negative.
    public init(deposited: Amount, instrumentCount: Int) {
        precondition(instrumentCount > 0 && deposited >= .zero, "a ledger needs instruments and a deposit")
        self.deposited = deposited
        cash = deposited
        positions = Array(repeating: Position(), count: instrumentCount)
    }

    /// Books a fill of `positions[index]`. Throws, and books nothing: `overflow` when a sum does not fit,
    /// `inconsistentFill` for a quantity that is not positive, a negative notional or fee, and a fee in the base asset
    /// that is more than was bought or is not of a purchase that opens or adds to a long position.
    public mutating func book(_ fill: Fill, at index: Int) throws(TradingError) {
        guard fill.quantity > .zero, fill.notional >= .zero, fill.fee >= .zero else {
            throw .inconsistentFill(order: fill.orderID, sequence: fill.sequence)
        }
        let held = positions[index].quantity.units
        let taken = try takenAsFee(fill, held: held)
        let isFeeInCash = taken == nil
        let signedQuantity = fill.side.sign * fill.quantity.units - (taken ?? 0)
        let signedNotional = fill.side.sign * fill.notional.units
        var cost = positions[index].cost.units
        var realised = positions[index].realised.units
        if held == 0 || !isFeeInCash || (held > 0) == (signedQuantity > 0) {
            cost = try sum(cost, isFeeInCash ? signedNotional : signedNotional - fill.fee.units)
        } else {
            let closed = min(signedQuantity.magnitude, held.magnitude)
            let closingNotional = try share(signedNotional, closed, of: signedQuantity.magnitude)
            let closingCost = try share(cost, closed, of: held.magnitude)
            realised = try sum(realised, try sum(-closingNotional, -closingCost))
            cost = try sum(cost, -closingCost)
            // A fill that passes through zero opens the other side with what is left of its notional.
            cost = try sum(cost, signedNotional - closingNotional)
        }
        let quantity = try sum(held, signedQuantity)
        let newCash = try sum(try sum(cash.units, -signedNotional), isFeeInCash ? -fill.fee.units : 0)
        let newFees = try sum(fees.units, fill.fee.units)
        positions[index].quantity = Quantity(units: quantity)
        positions[index].cost = Amount(units: cost)
        positions[index].realised = Amount(units: realised)
        switch fill.side {
        case .buy:
            positions[index].bought.add(fill.quantity.units)
            positions[index].paid.add(fill.notional.units)
        case .sell:
            positions[index].sold.add(fill.quantity.units)
            positions[index].received.add(fill.notional.units)
        }
        if let taken {
            positions[index].takenAsFee.add(taken)
            feesInBase += fill.fee
        }
        cash = Amount(units: newCash)
        fees = Amount(units: newFees)
        fillCount += 1
    }

    /// What the fill's fee takes from what was bought; `nil` when it is paid in cash.
    private func takenAsFee(_ fill: Fill, held: Int64) throws(TradingError) -> Int64? {
        guard case .base(let taken) = fill.charge else { return nil }
        guard fill.side == .buy, held >= 0, taken >= .zero, taken <= fill.quantity, fill.fee <= fill.notional,
            taken < fill.quantity || fill.fee == fill.notional
        else { throw .inconsistentFill(order: fill.orderID, sequence: fill.sequence) }
        return taken.units
    }

    /// Books a settlement of funding: positive is received.
    public mutating func book(funding amount: Amount) throws(TradingError) {
        let newCash = try sum(cash.units, amount.units)
        let newFunding = try sum(funding.units, amount.units)
        (cash, funding) = (Amount(units: newCash), Amount(units: newFunding))
    }

    /// cash + Σ position·price, in the quote currency; `price` is asked for instruments that are held.
    @inlinable
    public func equity(price: (Int) -> Double) -> Double {
        var equity = cash.double
        for index in positions.indices where positions[index].quantity.units != 0 {
            equity += positions[index].quantity.double * price(index)
        }
        return equity
    }

    /// Σ notional of all fills, in the quote currency.
    public var turnover: Double { positions.reduce(0) { $0 + $1.turnover } }
    /// Profit of what was closed, before fees.
    public var realised: Amount { positions.reduce(.zero) { $0 + $1.realised } }

    /// Throws `invariantViolated` with the first equation that does not hold exactly.
    public func checkInvariants() throws(TradingError) {
        var stocks = Int128(deposited.units) - Int128(fees.units) + Int128(funding.units)
        var flows = stocks + Int128(feesInBase.units)
        var costs: Int128 = 0
        for position in positions {
            let flow = position.bought.value - position.sold.value - position.takenAsFee.value
            guard Int128(position.quantity.units) == flow else {
                throw .invariantViolated(rule: "position = bought - sold - taken as fee")
            }
            guard position.quantity.units != 0 || position.cost.units == 0 else {
                throw .invariantViolated(rule: "no position, no cost")
            }
            flows += position.received.value - position.paid.value
            stocks += Int128(position.realised.units)
            costs += Int128(position.cost.units)
        }
        guard Int128(cash.units) == flows else {
            throw .invariantViolated(rule: "cash = deposited - paid + received - fees in cash + funding")
        }
        guard Int128(cash.units) + costs == stocks else {
            throw .invariantViolated(rule: "cash + cost = deposited + realised - fees + funding")
        }
        guard feesInBase >= .zero, fees >= feesInBase else { throw .invariantViolated(rule: "fees >= 0") }
    }

    private func sum(_ a: Int64, _ b: Int64) throws(TradingError) -> Int64 {
        let (result, overflow) = a.addingReportingOverflow(b)
        if overflow { throw .overflow }
        return result
    }

    /// amount · part / whole, cut toward zero; exactly `amount` when part = whole.
    private func share(_ amount: Int64, _ part: UInt64, of whole: UInt64) throws(TradingError) -> Int64 {
        guard part != whole else { return amount }
        guard let result = multiplyDivide(amount.magnitude, part, by: whole, up: false) else { throw .overflow }
        return amount < 0 ? -result : result
    }
}

/// A sum of numbers that are not negative and never overflows: 128 bits in two words, because the standard library's
/// conversions of `Int128` are not inlined, and turnover is asked for in every step.
struct WideSum: Sendable, Equatable {
    var high: UInt64 = 0
    var low: UInt64 = 0

    mutating func add(_ value: Int64) {
        let (sum, carry) = low.addingReportingOverflow(UInt64(value))
        low = sum
        if carry { high += 1 }
    }

    var double: Double { Double(high) * 0x1p64 + Double(low) }
    var value: Int128 { Int128(high) << 64 + Int128(low) }
}
