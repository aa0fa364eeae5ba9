internal import Kernels
public import MarketData

/// What trading costs beside the fee. Always on: a simulation without them pays for trading too often.
public struct ExecutionCosts: Sendable, Equatable {
    /// Half the distance between bid and ask, basis points of the price. Default 1: the book of a liquid pair.
    public var halfSpreadBasisPoints: Double
    /// Price moved between decision and execution, always against us, basis points. Default 1.
    public var slippageBasisPoints: Double
    /// Square-root impact: basis points that an order as large as the bar's whole volume would pay; an order of share
    /// p pays √p of it. Default 0: 20 USD move nothing.
    public var impactBasisPoints: Double

    public init(
        halfSpreadBasisPoints: Double = 1, slippageBasisPoints: Double = 1, impactBasisPoints: Double = 0
    ) {
        self.halfSpreadBasisPoints = halfSpreadBasisPoints
        self.slippageBasisPoints = slippageBasisPoints
        self.impactBasisPoints = impactBasisPoints
    }

    func validate() throws(TradingError) {
        for value in [halfSpreadBasisPoints, slippageBasisPoints, impactBasisPoints] {
            guard value >= 0, value <= 1000 else {
                throw .invalidConfiguration(reason: "execution costs must be 0 … 1000 basis points")
            }
        }
    }
}

/// The exchange of backtests, of the learning environment and of paper trading, bar by bar.
///
/// A market order that was accepted after a bar is filled whole at the next bar's open, moved against us by half
/// spread, slippage and impact and then to the tick against us. That price may lie outside the bar's range: we do not
/// assume to be the luckiest trader of the minute. No order outlives its bar: where nobody traded (volume 0) or cash
/// does not suffice at the new price it expires, and a new decision is needed. Every order pays the taker's fee.
///
/// Stateless: the caller keeps the orders and the ledger, the exchange answers.
public struct SimulatedExchange: Sendable, Equatable {
    public var costs: ExecutionCosts
    public var feeAsset: FeeAsset

    public init(costs: ExecutionCosts = .init(), feeAsset: FeeAsset = .quote) {
        self.costs = costs
        self.feeAsset = feeAsset
    }

    /// What the exchange knows of the account.
    public struct Account: Sendable {
        public var cash: Amount
        /// The instrument's position, signed.
        public var position: Quantity
        /// Of the whole account, at the last prices.
        public var equity: Double

        public init(cash: Amount, position: Quantity, equity: Double) {
            self.cash = cash
            self.position = position
            self.equity = equity
        }
    }

    public enum Execution: Sendable, Equatable {
        /// `fee` is the value in the quote currency, whatever was charged.
        case filled(price: Price, notional: Amount, fee: Amount, charge: FeeCharge = .quote)
        case expired(OrderReason)
    }

    /// The price that an order of `quantity` gets when the market's mid is `mid`; `nil` when it cannot be expressed.
    /// `volume` is the bar's, in base units; 0 leaves impact out (before the bar it is not known).
    @inlinable
    public func price(
        _ side: Side, mid: Double, quantity: Quantity, volume: Double, tick: Price
    ) -> Price? {
        var basisPoints = costs.halfSpreadBasisPoints + costs.slippageBasisPoints
        if costs.impactBasisPoints > 0, volume > 0 {
            basisPoints += costs.impactBasisPoints * min(1, quantity.double / volume).squareRoot()
        }
        let price = mid * (1 + Double(side.sign) * basisPoints * 1e-4)
        return Price.rounding(price, toTick: tick, up: side == .buy)
    }

    /// Why the exchange would refuse the order now, with the market at `mid`; `nil` when it takes it.
    public func refusal(
        side: Side, quantity: Quantity, mid: Double, rules: InstrumentRules, account: Account
    ) -> OrderReason? {
        refusal(side: side, quantity: quantity, mid: mid, terms: MarketTerms(rules), account: account)
    }

    func refusal(
        side: Side, quantity: Quantity, mid: Double, terms rules: MarketTerms, account: Account
    ) -> OrderReason? {
        if quantity < rules.minQuantity { return .minQuantity }
        if quantity.units % rules.lotSize.units != 0 { return .lotSize }
        if quantity > rules.maxQuantity { return .maxQuantity }
        // NOTIONAL counts at the market's price, not at ours; 1e-9 relative is what Double arithmetic may lose.
        if quantity.double * mid < rules.minNotional * (1 - 1e-9) { return .minNotional }
        guard let price = price(side, mid: mid, quantity: quantity, volume: 0, tick: rules.tickSize) else {
            return .outOfRange
        }
        return settle(side: side, quantity: quantity, price: price, rules: rules, account: account).reason
    }

    /// Fills the order at the open of `bar`, or lets it expire.
    public func execute(
        side: Side, quantity: Quantity, bar: Bar, rules: InstrumentRules, account: Account
    ) -> Execution {
        execute(side: side, quantity: quantity, bar: bar, terms: MarketTerms(rules), account: account)
    }

    func execute(
        side: Side, quantity: Quantity, bar: borrowing Bar, terms rules: MarketTerms, account: Account
    ) -> Execution {
        guard bar.volume > 0 else { return .expired(.noTrades) }
        guard
            let price = price(
                side, mid: bar.open, quantity: quantity, volume: bar.volume, tick: rules.tickSize)
        else { return .expired(.outOfRange) }
        let settlement = settle(side: side, quantity: quantity, price: price, rules: rules, account: account)
        if let reason = settlement.reason { return .expired(reason) }
        return .filled(
            price: price, notional: settlement.notional, fee: settlement.fee, charge: settlement.charge)
    }

    /// The money of an execution, and what forbids it.
    private func settle(
        side: Side, quantity: Quantity, price: Price, rules: MarketTerms, account: Account
    ) -> (reason: OrderReason?, notional: Amount, fee: Amount, charge: FeeCharge) {
        guard let notional = price.notional(of: quantity, roundingUp: side == .buy),
            let (fee, charge) = feeAsset.fee(
                side, price: price, quantity: quantity, notional: notional, rateUnits: rules.takerFeeUnits)
        else { return (.outOfRange, .zero, .zero, .quote) }
        // A fee in the base asset is no matter of cash.
        var inCash = fee
        if case .base = charge { inCash = .zero }
        let after = account.position.units + side.sign * quantity.units
        var reason: OrderReason?
        if rules.allowsShort {
            let grows = after.magnitude > account.position.units.magnitude
            let exposure = Quantity(units: after).magnitude.double * price.double
            if grows, exposure > rules.maxLeverage * (account.equity - fee.double) { reason = .insufficientMargin }
        } else if side == .sell, after < 0 {
            reason = .shortNotAllowed
        } else if side == .buy, notional.units > account.cash.units - inCash.units {
            reason = .insufficientBalance
        }
        return (reason, notional, fee, charge)
    }
}
