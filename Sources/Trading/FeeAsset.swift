/// In which asset the exchange takes its fee.
public enum FeeAsset: Sendable, Equatable {
    /// In the quote currency, on both sides.
    case quote
    /// In what the account receives, as Binance spot does by default: a purchase pays in the base asset, so that less
    /// arrives than was bought and dust stays behind; a sale pays in the quote currency.
    case received
    /// In a third asset (BNB), at `price`, quote currency for one unit of it, with `discount` off the rate (0.25 is
    /// 25 %). The account is charged its value in the quote currency, as if it had bought what it pays.
    case other(String, price: Price, discount: Double)

    /// Throws `invalidConfiguration` for a price that is not positive, a discount outside [0, 1), and for `received` on
    /// a market where nothing is received because it may be sold short.
    func validate(for rules: InstrumentRules) throws(TradingError) {
        switch self {
        case .quote: break
        case .received:
            if rules.allowsShort { throw .invalidConfiguration(reason: "a future takes no fee in the base asset") }
        case .other(let name, let price, let discount):
            guard !name.isEmpty, price > .zero, discount >= 0, discount < 1 else {
                throw .invalidConfiguration(reason: "a fee asset has a name, a positive price, a discount in [0, 1)")
            }
        }
    }

    /// What an execution costs: its value in the quote currency and how it is paid, both rounded up to 1e-8. `nil` when
    /// it does not fit. `rateUnits` is the rate in 1e-8; a rebate counts as no fee.
    func fee(
        _ side: Side, price: Price, quantity: Quantity, notional: Amount, rateUnits: Int64
    ) -> (value: Amount, charge: FeeCharge)? {
        switch self {
        case .received where side == .buy:
            guard rateUnits > 0 else { return (.zero, .quote) }
            let rate = UInt64(rateUnits)
            guard
                let taken = multiplyDivide(quantity.units.magnitude, rate, by: 100_000_000, up: true),
                let value = price.notional(of: Quantity(units: taken), roundingUp: true)
            else { return nil }
            return (value, .base(Quantity(units: taken)))
        case .quote, .received: return notional.fee(rateUnits: rateUnits).map { ($0, .quote) }
        case .other(let name, let unitPrice, let discount):
            let rate = Int64((Double(rateUnits) * (1 - discount) - 1e-6).rounded(.up))
            guard let value = notional.fee(rateUnits: rate),
                let units = multiplyDivide(
                    value.units.magnitude, 100_000_000, by: unitPrice.units.magnitude, up: true)
            else { return nil }
            return (value, .other(asset: name, quantity: Quantity(units: units)))
        }
    }

    /// The fee's rate in 1e-8 as far as cash pays it.
    func cashRateUnits(_ side: Side, rateUnits: Int64) -> Int64 {
        if case .received = self, side == .buy { return 0 }
        return max(0, rateUnits)
    }
}

/// How a fill's fee was paid; `Fill.fee` is its value in the quote currency whichever it was.
public enum FeeCharge: Sendable, Equatable {
    /// From cash.
    case quote
    /// From the quantity that was bought, which arrives the less.
    case base(Quantity)
    /// So much of another asset; its value is taken from cash.
    case other(asset: String, quantity: Quantity)
}

/// Who was in the book first.
public enum Liquidity: String, Sendable, CaseIterable {
    /// Our order rested, the other came.
    case maker
    /// Our order took what rested.
    case taker
}
