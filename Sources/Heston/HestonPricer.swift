internal import Kernels
public import MarketData

/// European options under Heston, many strikes and maturities from shared characteristic-function values.
///
/// Every price is within `accuracy.tolerance` of the exact one, relative to the discounted forward S₀·e^(−qτ): the
/// error is bounded before the integral is computed (see QuadratureRule.swift), plus rounding near 1e-15. Where the
/// bound would need more nodes than allowed, the pricer throws. Gradient, delta and gamma come from the same nodes, on
/// a tail bound raised by x².
public struct HestonPricer: EuropeanPricer {
    /// How exact, and how far to go for it.
    public struct Accuracy: Sendable, Equatable {
        /// Absolute error of a price in units of the discounted forward. In [1e-14, 1e-3].
        public var tolerance: Double
        /// Quadrature nodes a maturity; beyond, the pricer refuses. At least 16.
        public var maximumNodes: Int

        public init(tolerance: Double, maximumNodes: Int) {
            self.tolerance = tolerance
            self.maximumNodes = maximumNodes
        }

        func validate() throws(HestonError) {
            try require("tolerance", tolerance, "in [1e-14, 1e-3]") { $0 >= 1e-14 && $0 <= 1e-3 }
            try require("maximumNodes", Double(maximumNodes), ">= 16") { $0 >= 16 }
        }

        /// For answers: 1e-12, a thousandth of what is promised outside, so that gradients keep the promise as well.
        public static let reference = Accuracy(tolerance: 1e-12, maximumNodes: 1 << 17)
        /// For optimisers: 1e-10, and little patience with far-off parameters.
        public static let calibration = Accuracy(tolerance: 1e-10, maximumNodes: 8192)
    }

    public let parameters: HestonParameters
    public let market: Market
    public let accuracy: Accuracy

    /// Throws `invalidArgument` for parameters, market or accuracy outside their domains.
    public init(
        _ parameters: HestonParameters, _ market: Market, accuracy: Accuracy = .reference
    ) throws(HestonError) {
        try parameters.validate()
        try market.validate()
        try accuracy.validate()
        self.parameters = parameters
        self.market = market
        self.accuracy = accuracy
    }

    /// Values in the order of `contracts`. Contracts of equal `tau` share their work, wherever they stand.
    ///
    /// - Parameter greeks: fills all the derivatives too, at about twice the cost; otherwise they are zero.
    /// - Throws: `invalidArgument` for strikes and maturities outside their domains, `accuracyNotReached`.
    public func values(_ contracts: [OptionContract], greeks: Bool) throws(HestonError) -> [OptionValue] {
        var pricer = try SurfacePricer(contracts, market, accuracy: accuracy)
        try pricer.evaluate(parameters, greeks ? .greeks : .prices)
        return pricer.values
    }

    /// The model's implied volatilities on a grid of k = ln(K/F(τ)); method `model`. Cells whose price carries no
    /// volatility information at this accuracy are missing (NaN): a price within 100 tolerances of its intrinsic value.
    public func surface(
        logMoneyness: [Double] = ImpliedVolatilitySurface.standardLogMoneyness,
        tau: [Double] = ImpliedVolatilitySurface.standardTau
    ) throws(HestonError) -> ImpliedVolatilitySurface {
        var grid = try VolatilityGrid(logMoneyness: logMoneyness, tau: tau, accuracy: accuracy)
        try grid.evaluate(parameters)
        let volatility = grid.volatilities
        let cells = volatility.map { $0.isNaN ? ImpliedVolatilitySurface.Cell.missing : .observed }
        return ImpliedVolatilitySurface(
            logMoneyness: logMoneyness, tau: tau, impliedVolatility: volatility, cells: cells, spot: market.spot,
            forwards: tau.map { market.forward(tau: $0) }, method: "model")
    }
}

/// A European option on the pricer's underlying.
public struct OptionContract: Sendable, Equatable {
    public var kind: OptionQuote.Kind
    /// In the quote currency. Positive.
    public var strike: Double
    /// Years to expiry, ACT/365. Positive, at most 100.
    public var tau: Double

    public init(kind: OptionQuote.Kind, strike: Double, tau: Double) {
        self.kind = kind
        self.strike = strike
        self.tau = tau
    }

    func validate() throws(HestonError) {
        try require("strike", strike, "> 0, finite") { $0 > 0 }
        try require("tau", tau, "> 0, at most 100") { $0 > 0 && $0 <= 100 }
    }
}

/// A price and its derivatives.
public struct OptionValue: Sendable, Equatable {
    /// In the quote currency.
    public var price: Double
    /// By spot.
    public var delta: Double
    /// Twice by spot.
    public var gamma: Double
    /// The price of the digital option of the same kind, strike and maturity, which pays 1 where this one ends in the
    /// money: e^(−rτ)·P(S > K) for a call.
    public var digital: Double
    /// By calendar time at fixed spot and strike, per year: −∂price/∂τ, the rolling of rate and dividends included.
    /// Negative for what decays. Exact to some 30/τ tolerances. (Not the long-run variance: that is `gradient.theta`.)
    public var theta: Double
    /// By the five parameters. The derivative by v0 is the model's vega, per unit of variance.
    public var gradient: HestonGradient
    /// By the parameters of Bates's jumps; zero under Heston.
    public var jumpGradient: JumpGradient

    public static let zero = OptionValue(price: 0, delta: 0, gamma: 0, digital: 0, theta: 0, gradient: .zero)

    public init(
        price: Double, delta: Double, gamma: Double, digital: Double, theta: Double, gradient: HestonGradient,
        jumpGradient: JumpGradient = .zero
    ) {
        self.price = price
        self.delta = delta
        self.gamma = gamma
        self.digital = digital
        self.theta = theta
        self.gradient = gradient
        self.jumpGradient = jumpGradient
    }

    /// By parity, exactly: the same number is added to one side as is taken from the other. In units of the forward.
    @inline(always)
    static func inTheMoney(isCall: Bool, ratio: Double) -> Double { isCall ? max(0, 1 - ratio) : max(0, ratio - 1) }

    /// `ratio` is K/F; `carry` is S₀·e^(−qτ), the discounted forward; `discount` is e^(−rτ).
    @inline(always)
    init(
        _ value: NormalisedValue, isCall: Bool, ratio: Double, carry: Double, discount: Double, market: Market,
        _ detail: SurfacePricer.Detail
    ) {
        price = carry * (value.outOfTheMoney + Self.inTheMoney(isCall: isCall, ratio: ratio))
        (delta, gamma, digital, theta) = (0, 0, 0, 0)
        let g = value.gradient
        gradient = .init(
            kappa: carry * g.0, theta: carry * g.1, sigma: carry * g.2, rho: carry * g.3, v0: carry * g.4)
        let jumps = value.jumpGradient
        jumpGradient = .init(
            intensity: carry * jumps.0, mean: carry * jumps.1, standardDeviation: carry * jumps.2)
        guard detail == .greeks else { return }
        let discountedCarry = carry / market.spot
        delta = discountedCarry * (value.deltaMinusOne + (isCall ? 1 : 0))
        gamma = discountedCarry / market.spot * value.spotGamma
        digital = discount * (isCall ? value.exceedance : 1 - value.exceedance)
        // From S₀e^(−qτ)·(1 − m(ln(K/F), τ)) with ∂k/∂τ = q − r and m_k = K/F·P(S > K); puts by parity.
        let exercise = carry * ratio * (isCall ? value.exceedance : value.exceedance - 1)
        theta = market.dividendYield * price + carry * value.decay - (market.rate - market.dividendYield) * exercise
    }
}
