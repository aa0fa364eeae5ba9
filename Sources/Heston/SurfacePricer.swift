internal import Kernels
internal import MarketData

/// Prices one set of contracts again and again: what depends on contracts and market alone is done once, and
/// `evaluate` allocates nothing after its first call. One pricer serves one thread; threads have one each.
public struct SurfacePricer: ~Copyable, Sendable {
    /// What `evaluate` computes beside the prices.
    public enum Detail: Sendable {
        case prices
        /// The derivatives by the model's parameters too.
        case gradients
        /// Delta, gamma, theta and digitals as well.
        case greeks
    }

    /// One maturity.
    private struct Slice: Sendable {
        /// Places in `contracts`.
        var places: [Int]
        /// What a contract is worth more than one out of the money, in units of `carry`.
        var inTheMoney: [Double]
        /// S₀·e^(−qτ), the discounted forward.
        var carry: Double
        /// e^(−rτ).
        var discount: Double
    }

    public let contracts: [OptionContract]
    public let market: Market
    public let accuracy: HestonPricer.Accuracy
    /// The last evaluation's answers in the order of `contracts`; what was not asked for is zero.
    public private(set) var values: [OptionValue]
    private let slices: [Slice]
    private let strikes: [Strikes]
    private var engine: SliceEngine
    /// What `values` hold beside prices is of an evaluation before.
    private var isStale = false

    /// Throws `invalidArgument` for contracts, market or accuracy outside their domains.
    public init(
        _ contracts: [OptionContract], _ market: Market, accuracy: HestonPricer.Accuracy = .reference
    ) throws(HestonError) {
        try market.validate()
        try accuracy.validate()
        for contract in contracts { try contract.validate() }
        self.contracts = contracts
        self.market = market
        self.accuracy = accuracy
        engine = SliceEngine(accuracy)
        values = [OptionValue](repeating: .zero, count: contracts.count)
        let order = contracts.indices.sorted { (contracts[$0].tau, $0) < (contracts[$1].tau, $1) }
        var slices: [Slice] = []
        var maturities: [Strikes] = []
        var start = 0
        while start < order.count {
            let tau = contracts[order[start]].tau
            var end = start + 1
            while end < order.count, contracts[order[end]].tau == tau { end += 1 }
            let places = Array(order[start..<end])
            let strikes = Strikes(places.map { contracts[$0].strike }, forward: market.forward(tau: tau), tau: tau)
            maturities.append(strikes)
            slices.append(
                Slice(
                    places: places,
                    inTheMoney: zip(places, strikes.ratio).map {
                        OptionValue.inTheMoney(isCall: contracts[$0].kind == .call, ratio: $1)
                    },
                    carry: market.spot * exp(-market.dividendYield * tau), discount: market.discount(tau: tau)))
            start = end
        }
        self.slices = slices
        strikes = maturities
    }

    /// Fills `values`. Contracts of equal maturity share their work.
    ///
    /// - Throws: `invalidArgument` for parameters outside their domains, `accuracyNotReached`; `values` are then
    ///   partly old.
    public mutating func evaluate(_ parameters: HestonParameters, _ detail: Detail) throws(HestonError) {
        try parameters.validate()
        try evaluate(parameters, detail) { _ in .none }
    }

    /// The same under Bates's model.
    public mutating func evaluate(_ parameters: BatesParameters, _ detail: Detail) throws(HestonError) {
        try parameters.validate()
        try evaluate(parameters.heston, detail) { Jumps(parameters.jumps, tau: $0) }
    }

    private mutating func evaluate(
        _ parameters: HestonParameters, _ detail: Detail, jumps: (Double) -> Jumps
    ) throws(HestonError) {
        engine.plan(parameters, jumps: jumps, strikes, derivatives: detail != .prices)
        guard detail != .prices else { return try evaluatePrices(parameters) }
        isStale = true
        for (maturity, slice) in slices.enumerated() {
            try engine.evaluate(
                parameters, strikes, maturity, order: detail == .greeks ? .greeks : .gradient
            ) { index, value in
                let place = slice.places[index]
                values[place] = OptionValue(
                    value, isCall: contracts[place].kind == .call, ratio: strikes[maturity].ratio[index],
                    carry: slice.carry, discount: slice.discount, market: market, detail)
            }
        }
    }

    private mutating func evaluatePrices(_ parameters: HestonParameters) throws(HestonError) {
        if isStale {
            for place in values.indices { values[place] = .zero }
            isStale = false
        }
        for index in slices.indices {
            try engine.price(parameters, strikes, index)
            let carry = slices[index].carry
            for strike in slices[index].places.indices {
                values[slices[index].places[strike]].price =
                    carry * (engine.prices[strike] + slices[index].inTheMoney[strike])
            }
        }
    }
}
