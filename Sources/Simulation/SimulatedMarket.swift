public import Heston
internal import Kernels
public import MarketData

/// Why a market was not simulated.
public enum SimulationError: Error, Sendable, Equatable {
    /// A setting outside its domain; `rule` says what it must be.
    case invalidConfiguration(rule: String)
    /// The true surface could not be priced at this time: the parameters are too extreme for the pricer.
    case pricing(time: Timestamp, HestonError)
}

extension SimulationError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .invalidConfiguration(let rule): "the simulation needs \(rule)"
        case .pricing(let time, let error): "no option prices at \(time): \(error)"
        }
    }
}

/// What nobody knows in a real market: the state behind one minute's prices.
public struct TrueState: Sendable, Equatable {
    /// The close of the minute.
    public var time: Timestamp
    /// Index into the configuration's regimes.
    public var regime: Int
    /// The regime's parameters, with the variance at this instant as `v0`.
    public var parameters: HestonParameters
    /// Of the first symbol.
    public var spot: Double

    /// What the option market is priced from. `carry`: the growth of the forwards per year; options are quoted
    /// undiscounted on the forward, as Deribit does.
    public func market(carry: Double) -> Market { Market(spot: spot, rate: 0, dividendYield: -carry) }
}

/// A market with everything in it that the real one has, and its truth beside it.
public struct SimulatedMarket: Sendable {
    /// In the form in which recorded history comes: every source in order, chains beside. Chains become known by the
    /// same rule as recorded ones (`KnownTimes.chain`).
    public var history: History
    /// The first symbol's true state at each minute's close, in time order; empty for the `gbm` market.
    public var truth: [TrueState]
    /// Prices of the perpetual future at each minute's close, by symbol.
    public var perpetual: [String: [Double]]

    /// The true state at the close of the last minute that ended by `time`; `nil` before the first.
    public func truth(asOf time: Timestamp) -> TrueState? {
        var low = 0
        var high = truth.count
        while low < high {
            let middle = (low + high) / 2
            if truth[middle].time <= time { low = middle + 1 } else { high = middle }
        }
        return low > 0 ? truth[low - 1] : nil
    }

    /// One symbol's bars, in time order.
    public func bars(_ symbol: String) -> [Bar] {
        history.sources.flatMap { source in
            source.compactMap { event in
                if case .bar(let bar) = event.payload, event.symbol == symbol { bar } else { nil }
            }
        }
    }
}

/// Independent streams of random numbers from one seed, so that asking for more chains does not move a price.
enum Stream: UInt64 {
    case regimes = 1, firstPath, secondPath, volumes, books, basis, openInterest, chains

    func generator(seed: UInt64) -> RandomGenerator {
        // Two rounds of mixing set the streams apart; the generator's own seeding mixes again.
        RandomGenerator(seed: (seed &* 0x9E37_79B9_7F4A_7C15) ^ (rawValue &* 0xD1B5_4A32_D192_ED03))
    }
}

/// The highest (`sign` 1) or lowest (−1) value of a Brownian bridge from `a` to `b` whose increments have standard
/// deviation `s` over its whole length: its exact law (Glasserman 2004, section 6.4), drawn with `u` in (0, 1].
@inline(__always)
func bridgeExtreme(_ a: Double, _ b: Double, _ s: Double, sign: Double, u: Double) -> Double {
    let d = b - a
    return 0.5 * (a + b + sign * (d * d - 2 * s * s * log(u)).squareRoot())
}

/// Builds a minute's bar from log-prices; all of it consistent: low ≤ open, close ≤ high.
struct BarBuilder {
    private let openTime: Timestamp
    private let open: Double
    private var level: Double
    private var highest: Double
    private var lowest: Double

    /// `open`: the log-price at which the last bar closed.
    init(openTime: Timestamp, open: Double) {
        self.openTime = openTime
        self.open = open
        level = open
        highest = open
        lowest = open
    }

    /// One step of the path to log-price `next`, on the way of which it moved with standard deviation `s`.
    mutating func move(to next: Double, deviation s: Double, using random: inout RandomGenerator) {
        highest = max(highest, bridgeExtreme(level, next, s, sign: 1, u: 1 - random.uniform()))
        lowest = min(lowest, bridgeExtreme(level, next, s, sign: -1, u: 1 - random.uniform()))
        level = next
    }

    var logReturn: Double { level - open }

    /// Prices are rounded to `decimals`; what rounds to nothing is one unit of the last place.
    func bar(volume: Double, decimals: Int) -> Bar {
        let unit = pow(10, Double(decimals))
        func price(_ level: Double) -> Double { max(1, (exp(level) * unit).rounded()) / unit }
        return Bar(
            openTime: openTime, interval: .minutes(1), open: price(open), high: price(highest), low: price(lowest),
            close: price(level), volume: volume)
    }
}
