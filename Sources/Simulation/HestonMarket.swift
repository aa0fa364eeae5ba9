public import Heston
internal import Kernels
public import MarketData

/// A market whose truth is known: Bitcoin under Heston with parameters that switch between regimes, option chains
/// priced from the true state, an alt coin that follows with a beta, books, funding and open interest.
///
/// The path moves in the physical measure (each regime has a drift), options are priced in the risk-neutral one with
/// the same variance process: there is no variance risk premium, and the switching itself is not priced.
public enum HestonMarket {
    /// One state of the market's weather.
    public struct Regime: Sendable, Equatable {
        /// `v0` is not used: the variance goes on from where it is.
        public var parameters: HestonParameters
        /// Of the spot, per year.
        public var drift: Double
        /// Mean stay, exponentially distributed.
        public var meanDuration: Interval
        /// To which the perpetual's premium over spot reverts, as a fraction.
        public var premium: Double

        public init(parameters: HestonParameters, drift: Double, meanDuration: Interval, premium: Double) {
            self.parameters = parameters
            self.drift = drift
            self.meanDuration = meanDuration
            self.premium = premium
        }
    }

    public struct Configuration: Sendable, Equatable {
        public var exchange = "simulation"
        /// Bitcoin, which has the options, and the coin that follows it.
        public var symbols = ["BTCUSDT", "ALTUSDT"]
        /// Of the option chains.
        public var currency = "BTC"
        /// A full minute.
        public var start = Timestamp(seconds: 1_767_225_600)  // 2026-01-01
        public var days = 24
        public var seed: UInt64 = 123
        /// In the quote currency, one a symbol.
        public var startPrices = [90_000.0, 2.5]
        /// Of prices, one a symbol: the tick is one unit of the last place.
        public var priceDecimals = [2, 4]
        /// The first is where the market starts; from each it goes to any other with equal probability.
        public var regimes = HestonMarket.regimes
        /// Steps of the QE-M scheme a minute, at least 1.
        public var stepsPerMinute = 2
        /// Growth of the forwards per year.
        public var carry = 0.04
        /// From one chain to the next; 0 for none.
        public var chainMinutes = 60
        /// The alt coin's log-return is beta times Bitcoin's, plus its own.
        public var beta = 1.3
        /// Of the alt coin's own part.
        public var ownParameters = HestonParameters(kappa: 6, theta: 0.25, sigma: 1.2, rho: -0.2, v0: 0.25)
        /// Half-spreads of the books in basis points, one a symbol, in a calm market; they widen with volatility.
        public var halfSpreadBasisPoints = [0.5, 2.5]

        public init() {}
    }

    /// A calm, a rising and a falling market. All satisfy Feller's condition with room, as the smooth pricer likes it;
    /// the levels (40, 55, 80 % volatility) and skews are those that Bitcoin's options showed in 2025 and 2026.
    public static let regimes = [
        Regime(
            parameters: .init(kappa: 4, theta: 0.16, sigma: 0.8, rho: -0.25, v0: 0.16), drift: 0,
            meanDuration: .hours(60), premium: 0.0001),
        Regime(
            parameters: .init(kappa: 5, theta: 0.30, sigma: 1.2, rho: 0.1, v0: 0.30), drift: 4,
            meanDuration: .hours(40), premium: 0.0006),
        Regime(
            parameters: .init(kappa: 8, theta: 0.64, sigma: 2.0, rho: -0.6, v0: 0.64), drift: -6,
            meanDuration: .hours(24), premium: -0.0004),
    ]

    /// Draws the market. Same configuration, same bits; the number of chains does not move the prices.
    ///
    /// O(minutes) and, for the chains, about a millisecond an expiry; holds everything in memory.
    /// Throws `invalidConfiguration` and `pricing`.
    public static func generate(
        _ configuration: Configuration = .init()
    ) throws(SimulationError) -> SimulatedMarket {
        try validate(configuration)
        var path = try HestonPath(configuration)
        var first = SymbolStreams(configuration, index: 0)
        var second = SymbolStreams(configuration, index: 1)
        var chains: [OptionChain] = []
        var truth: [TrueState] = []
        let minutes = configuration.days * 1440
        truth.reserveCapacity(minutes)
        var listing = OptionListing(configuration)

        for minute in 0..<minutes {
            let (bitcoin, alt) = path.minute()
            let premium = configuration.regimes[path.regime].premium
            let state = path.state
            first.add(bitcoin, variance: state.parameters.v0, premium: premium)
            let altVariance = configuration.beta * configuration.beta * state.parameters.v0 + path.ownVariance
            second.add(alt, variance: altVariance, premium: premium)
            truth.append(state)
            if configuration.chainMinutes > 0, (minute + 1) % configuration.chainMinutes == 0 {
                do throws(HestonError) {
                    chains.append(try listing.chain(state))
                } catch {
                    throw .pricing(time: state.time, error)
                }
            }
        }
        return SimulatedMarket(
            history: History(
                sources: first.sources + second.sources, chains: chains, reports: [],
                absent: ["fear & greed index", "news"]),
            truth: truth,
            perpetual: [configuration.symbols[0]: first.perpetual, configuration.symbols[1]: second.perpetual])
    }

    private static func validate(_ configuration: Configuration) throws(SimulationError) {
        func check(_ rule: Bool, _ name: String) throws(SimulationError) {
            guard rule else { throw .invalidConfiguration(rule: name) }
        }
        try check(
            configuration.symbols.count == 2 && configuration.symbols[0] != configuration.symbols[1],
            "two different symbols")
        try check(
            configuration.startPrices.count == 2 && configuration.startPrices.allSatisfy { $0 > 0 && $0.isFinite },
            "a positive start price for each symbol")
        try check(
            configuration.priceDecimals.count == 2 && configuration.priceDecimals.allSatisfy { (0...12).contains($0) },
            "0 to 12 decimals for each symbol")
        try check(
            configuration.halfSpreadBasisPoints.count == 2
                && configuration.halfSpreadBasisPoints.allSatisfy { $0 >= 0 && $0 < 1000 },
            "a half-spread below 1,000 basis points for each symbol")
        try check((1...3650).contains(configuration.days), "1 to 3,650 days")
        try check((1...60).contains(configuration.stepsPerMinute), "1 to 60 steps a minute")
        try check(configuration.chainMinutes >= 0, "0 or more minutes between chains")
        try check(abs(configuration.carry) < 1 && abs(configuration.beta) < 10, "a carry below 1 and a beta below 10")
        try check(
            configuration.start.floored(to: .minutes(1)) == configuration.start, "a start at a full minute")
        try check(!configuration.regimes.isEmpty, "a regime")
        for regime in configuration.regimes {
            try check(regime.meanDuration.microseconds > 0, "regimes that last")
            try check(abs(regime.premium) < 0.01 && abs(regime.drift) < 100, "premiums below 0.01, drifts below 100")
            try check(regime.parameters.isValid, "Heston parameters within their domain")
        }
        try check(configuration.ownParameters.isValid, "Heston parameters of the alt coin within their domain")
    }
}

extension HestonParameters {
    fileprivate var isValid: Bool { (try? validate()) != nil }
}

/// The two prices, minute by minute.
struct HestonPath {
    private(set) var regime = 0
    private(set) var ownVariance: Double
    private let configuration: HestonMarket.Configuration
    private let steppers: [HestonStepper]
    private let ownStepper: HestonStepper
    private var regimeRandom: RandomGenerator
    private var firstRandom: RandomGenerator
    private var secondRandom: RandomGenerator
    private var variance: Double
    private var levels: [Double]
    private var time: Timestamp

    init(_ configuration: HestonMarket.Configuration) throws(SimulationError) {
        self.configuration = configuration
        let years = Interval.minutes(1).years / Double(configuration.stepsPerMinute)
        do throws(HestonError) {
            var steppers: [HestonStepper] = []
            for regime in configuration.regimes {
                steppers.append(try HestonStepper(regime.parameters, drift: regime.drift, stepYears: years))
            }
            self.steppers = steppers
            ownStepper = try HestonStepper(configuration.ownParameters, drift: 0, stepYears: years)
        } catch {
            throw .invalidConfiguration(rule: "Heston parameters within their domain (\(error))")
        }
        regimeRandom = Stream.regimes.generator(seed: configuration.seed)
        firstRandom = Stream.firstPath.generator(seed: configuration.seed)
        secondRandom = Stream.secondPath.generator(seed: configuration.seed)
        variance = configuration.regimes[0].parameters.v0
        ownVariance = configuration.ownParameters.v0
        levels = configuration.startPrices.map { log($0) }
        time = configuration.start
    }

    /// The truth at the close of the last minute.
    var state: TrueState {
        var parameters = configuration.regimes[regime].parameters
        parameters.v0 = max(variance, 1e-4)  // QE can touch zero, the pricer cannot: 1 % volatility
        return TrueState(time: time, regime: regime, parameters: parameters, spot: exp(levels[0]))
    }

    /// Moves one minute on and returns the two bars, without volumes.
    mutating func minute() -> (BarBuilder, BarBuilder) {
        if regimeRandom.uniform() < 60 / configuration.regimes[regime].meanDuration.seconds,
            configuration.regimes.count > 1
        {
            let other = regimeRandom.index(below: configuration.regimes.count - 1)
            regime = other < regime ? other : other + 1
        }
        var first = BarBuilder(openTime: time, open: levels[0])
        var second = BarBuilder(openTime: time, open: levels[1])
        let stepper = steppers[regime]
        let years = stepper.stepYears
        let beta = configuration.beta
        for _ in 0..<configuration.stepsPerMinute {
            let before = variance
            let move = stepper.logReturn(variance: &variance, using: &firstRandom)
            let ownBefore = ownVariance
            let own = ownStepper.logReturn(variance: &ownVariance, using: &secondRandom)
            let mean = 0.5 * (before + variance)
            levels[0] += move
            first.move(to: levels[0], deviation: (mean * years).squareRoot(), using: &firstRandom)
            // β times a log-return grows by ½β(β − 1)v on average: taken back, so that no drift comes from nowhere.
            levels[1] += beta * move - 0.5 * beta * (beta - 1) * mean * years + own
            let total = beta * beta * mean + 0.5 * (ownBefore + ownVariance)
            second.move(to: levels[1], deviation: (total * years).squareRoot(), using: &secondRandom)
        }
        time = time + .minutes(1)
        return (first, second)
    }
}
