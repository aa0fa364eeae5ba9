/// One market's rules as plain numbers, which copy for nothing: what sizing, exchange and risk compute with.
struct MarketTerms: Sendable, Equatable {
    struct Trade: Equatable {
        var side: Side
        var quantity: Quantity
    }

    enum Outcome: Equatable {
        case trade(Trade)
        case hold(HoldReason)
    }

    let tickSize: Price
    let lotSize: Quantity
    let minQuantity: Quantity
    let maxQuantity: Quantity
    /// In the quote currency.
    let minNotional: Double
    let takerFee: Double
    let takerFeeUnits: Int64
    let allowsShort: Bool
    let maxLeverage: Double
    /// The share of the account's equity that exposure 1 means, and 1 − reserve.
    let allocation: Double
    let investable: Double

    init(_ rules: InstrumentRules, allocation: Double = 1, reserve: Double = 0) {
        (tickSize, lotSize) = (rules.tickSize, rules.lotSize)
        (minQuantity, maxQuantity, minNotional) = (rules.minQuantity, rules.maxQuantity, rules.minNotional.double)
        (takerFee, takerFeeUnits) = (rules.takerFee, rules.takerFeeUnits)
        (allowsShort, maxLeverage) = (rules.allowsShort, rules.maxLeverage)
        self.allocation = allocation
        investable = 1 - reserve
    }

    /// The order that brings `position` to `exposure` of the equity at `price`. `affordable` is the greatest purchase
    /// that cash covers; it is asked for only where it matters.
    @inline(__always)
    func outcome(
        exposure: Double, equity: Double, price: Double, position: Quantity, affordable: @autoclosure () -> Quantity
    ) -> Outcome {
        let exposure = allowsShort ? exposure : max(0, exposure)
        let budget = max(0, equity) * allocation * investable
        let wanted = exposure * budget / price
        var magnitude = Quantity.roundingDown(abs(wanted), toLot: lotSize)
        // A remainder that could not be sold later is sold now.
        let isSellable = magnitude >= minQuantity && magnitude.double * price >= minNotional
        if position != .zero, !isSellable { magnitude = .zero }
        let target = wanted < 0 ? -magnitude : magnitude

        let difference = target - position
        let side: Side = difference.units > 0 ? .buy : .sell
        var quantity = difference.magnitudeRoundedDown(toLot: lotSize)
        if quantity > maxQuantity { quantity = maxQuantity.magnitudeRoundedDown(toLot: lotSize) }
        if side == .buy, quantity != .zero, !allowsShort { quantity = min(quantity, affordable()) }

        // What the decision asks for, before lots and minima: the number that a report of "too small" should show.
        let wish = target == .zero && position != .zero ? position.magnitude.double : abs(wanted - position.double)
        if quantity == .zero {
            return .hold(wish > 0 ? .tooSmall(rule: .lotSize, wanted: wish, minimum: lotSize.double) : .atTarget)
        }
        if quantity < minQuantity {
            return .hold(.tooSmall(rule: .minQuantity, wanted: wish, minimum: minQuantity.double))
        }
        if quantity.double * price < minNotional {
            return .hold(.tooSmall(rule: .minNotional, wanted: wish * price, minimum: minNotional))
        }
        return .trade(Trade(side: side, quantity: quantity))
    }
}
