/// European options under Bates's model: `HestonPricer` with jumps, by the same rules and under the same promise.
///
/// The jumps' factor of the characteristic function has bounds of its own wherever an error is bounded (Jumps.swift),
/// so that every price is within `accuracy.tolerance` here as well, or refused: equal jumps with hardly any diffusion,
/// whose density has separate peaks, take the most nodes.
public struct BatesPricer: EuropeanPricer {
    public let parameters: BatesParameters
    public let market: Market
    public let accuracy: HestonPricer.Accuracy

    /// Throws `invalidArgument` for parameters, market or accuracy outside their domains.
    public init(
        _ parameters: BatesParameters, _ market: Market, accuracy: HestonPricer.Accuracy = .reference
    ) throws(HestonError) {
        try parameters.validate()
        try market.validate()
        try accuracy.validate()
        self.parameters = parameters
        self.market = market
        self.accuracy = accuracy
    }

    public func values(_ contracts: [OptionContract], greeks: Bool) throws(HestonError) -> [OptionValue] {
        var pricer = try SurfacePricer(contracts, market, accuracy: accuracy)
        try pricer.evaluate(parameters, greeks ? .greeks : .prices)
        return pricer.values
    }
}
