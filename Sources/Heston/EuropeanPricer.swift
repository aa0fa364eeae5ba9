public import MarketData

/// European options under one set of a model's parameters on one underlying: Heston's or Bates's.
public protocol EuropeanPricer: Sendable {
    var market: Market { get }
    var accuracy: HestonPricer.Accuracy { get }

    /// Values in the order of `contracts`. Contracts of equal `tau` share their work, wherever they stand.
    ///
    /// - Parameter greeks: fills all the derivatives too; otherwise they are zero.
    /// - Throws: `invalidArgument` for strikes and maturities outside their domains, `accuracyNotReached`.
    func values(_ contracts: [OptionContract], greeks: Bool) throws(HestonError) -> [OptionValue]
}

extension EuropeanPricer {
    /// The price of a call, in the quote currency.
    public func call(strike: Double, tau: Double) throws(HestonError) -> Double {
        try price(.init(kind: .call, strike: strike, tau: tau))
    }

    /// The price of a put, in the quote currency.
    public func put(strike: Double, tau: Double) throws(HestonError) -> Double {
        try price(.init(kind: .put, strike: strike, tau: tau))
    }

    public func price(_ contract: OptionContract) throws(HestonError) -> Double {
        try values([contract], greeks: false)[0].price
    }

    /// The price with all its derivatives.
    public func value(_ contract: OptionContract) throws(HestonError) -> OptionValue {
        try values([contract], greeks: true)[0]
    }

    /// Prices on a grid, `[strikes × tau]`, row-major in the strike.
    public func prices(
        _ kind: OptionQuote.Kind, strikes: [Double], tau: [Double]
    ) throws(HestonError) -> [Double] {
        var contracts: [OptionContract] = []
        contracts.reserveCapacity(strikes.count * tau.count)
        for strike in strikes {
            for years in tau { contracts.append(.init(kind: kind, strike: strike, tau: years)) }
        }
        return try values(contracts, greeks: false).map(\.price)
    }
}
