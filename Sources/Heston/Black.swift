internal import Kernels
public import MarketData

/// Black 1976 and Black–Scholes–Merton 1973 prices with Greeks.
public enum Black {
    /// A price and its derivatives, in the quote currency; volatility absolute, time in years.
    public struct Value: Sendable, Equatable {
        public var price: Double
        /// By the forward (Black-76) or the spot (Black–Scholes).
        public var delta: Double
        public var gamma: Double
        /// By volatility: per 1.00, not per point.
        public var vega: Double
        /// By volatility, twice: vomma.
        public var vomma: Double
        /// By calendar time, per year: negative for what decays.
        public var theta: Double
    }

    /// The undiscounted price of an option on a forward. `volatility` 0 gives the intrinsic value.
    ///
    /// Full relative accuracy out of the money, however small the price. Throws `invalidArgument`.
    public static func price(
        _ kind: OptionQuote.Kind, forward: Double, strike: Double, tau: Double, volatility: Double
    ) throws(HestonError) -> Double {
        try check(forward: forward, strike: strike, tau: tau, volatility: volatility)
        let k = log(strike / forward)
        let total = volatility * tau.squareRoot()
        let root = (forward * strike).squareRoot()
        let intrinsic = kind == .call ? max(0, forward - strike) : max(0, strike - forward)
        return intrinsic + root * NormalisedBlack.price(-abs(k), total)
    }

    /// Black-76: an option on a forward, discounted by e^(−rate·τ).
    public static func black76(
        _ kind: OptionQuote.Kind, forward: Double, strike: Double, tau: Double, volatility: Double, rate: Double = 0
    ) throws(HestonError) -> Value {
        try require("rate", rate, "finite, within ±10") { abs($0) <= 10 }
        let undiscounted = try price(kind, forward: forward, strike: strike, tau: tau, volatility: volatility)
        let discount = exp(-rate * tau)
        let terms = Terms(kind, forward: forward, strike: strike, tau: tau, volatility: volatility)
        return Value(
            price: discount * undiscounted, delta: discount * terms.delta, gamma: discount * terms.gamma,
            vega: discount * terms.vega, vomma: discount * terms.vomma,
            theta: discount * terms.decay + rate * discount * undiscounted)
    }

    /// Black–Scholes–Merton: an option on a spot that pays `market.dividendYield`.
    public static func blackScholes(
        _ kind: OptionQuote.Kind, market: Market, strike: Double, tau: Double, volatility: Double
    ) throws(HestonError) -> Value {
        try market.validate()
        let forward = market.forward(tau: tau)
        let undiscounted = try price(kind, forward: forward, strike: strike, tau: tau, volatility: volatility)
        let discount = market.discount(tau: tau)
        let terms = Terms(kind, forward: forward, strike: strike, tau: tau, volatility: volatility)
        let growth = forward / market.spot
        // ∂F/∂t = −(r − q)F at fixed spot.
        let carry = (market.rate - market.dividendYield) * forward * terms.delta
        return Value(
            price: discount * undiscounted, delta: discount * growth * terms.delta,
            gamma: discount * growth * growth * terms.gamma, vega: discount * terms.vega,
            vomma: discount * terms.vomma,
            theta: discount * (terms.decay - carry + market.rate * undiscounted))
    }

    /// The volatility whose Black-76 price this is. `price` is undiscounted (divide by the discount factor first).
    ///
    /// Relative error of a few 1e-15 out of the money where the price determines it; for an in-the-money price its
    /// rounding relative to the time value limits what can be had.
    /// - Throws: `belowIntrinsic`, `aboveUpperBound`, `noVolatilityInformation` (time value below 8 units in the last
    ///   place of the price), `invalidArgument`.
    public static func impliedVolatility(
        _ kind: OptionQuote.Kind, price: Double, forward: Double, strike: Double, tau: Double
    ) throws(HestonError) -> Double {
        try check(forward: forward, strike: strike, tau: tau, volatility: 0)
        try require("tau", tau, "> 0") { $0 > 0 }
        try require("price", price, "finite") { _ in true }
        let intrinsic = kind == .call ? max(0, forward - strike) : max(0, strike - forward)
        let bound = kind == .call ? forward : strike
        guard price < bound else { throw .aboveUpperBound(price: price, bound: bound) }
        let timeValue = price - intrinsic
        let rounding = 8 * max(price.ulp, intrinsic.ulp)
        guard timeValue > (intrinsic > 0 ? rounding : 0) else {
            guard timeValue >= -rounding || (intrinsic == 0 && timeValue == 0), timeValue >= 0 || intrinsic > 0 else {
                throw .belowIntrinsic(price: price, intrinsic: intrinsic)
            }
            throw .noVolatilityInformation(price: price, intrinsic: intrinsic)
        }
        let k = log(strike / forward)
        guard let total = NormalisedBlack.solve(-abs(k), timeValue / (forward * strike).squareRoot()) else {
            throw .noVolatilityInformation(price: price, intrinsic: intrinsic)
        }
        return total / tau.squareRoot()
    }

    private static func check(
        forward: Double, strike: Double, tau: Double, volatility: Double
    ) throws(HestonError) {
        try require("forward", forward, "> 0, finite") { $0 > 0 }
        try require("strike", strike, "> 0, finite") { $0 > 0 }
        try require("tau", tau, ">= 0, finite") { $0 >= 0 }
        try require("volatility", volatility, ">= 0, finite") { $0 >= 0 }
    }

    /// Undiscounted derivatives by forward and volatility. Zero volatility or time: those of the intrinsic value.
    private struct Terms {
        var delta = 0.0
        var gamma = 0.0
        var vega = 0.0
        var vomma = 0.0
        var decay = 0.0

        init(_ kind: OptionQuote.Kind, forward: Double, strike: Double, tau: Double, volatility: Double) {
            let rootTau = tau.squareRoot()
            let total = volatility * rootTau
            guard total > 0 else {
                delta = kind == .call ? (forward > strike ? 1 : 0) : (forward < strike ? -1 : 0)
                return
            }
            let d1 = log(forward / strike) / total + 0.5 * total
            let d2 = d1 - total
            let density = Normal.density(d1)
            delta = kind == .call ? Normal.cumulative(d1) : -Normal.cumulative(-d1)
            gamma = density / (forward * total)
            vega = forward * density * rootTau
            vomma = vega * d1 * d2 / volatility
            decay = -0.5 * vega * volatility / tau
        }
    }
}
