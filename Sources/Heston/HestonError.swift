/// Why the module refused to answer. Everything here can happen to a correct program; volatilities are absolute.
public enum HestonError: Error, Sendable, Equatable {
    /// An input is NaN, infinite or outside its domain. `name` is the argument, `value` what came. Wrong in any state.
    case invalidArgument(name: String, value: Double, allowed: String)
    /// Arrays that must fit together do not.
    case shapeMismatch(name: String, expected: Int, actual: Int)
    /// The error bound asked for needs more quadrature nodes than allowed: no number is better than a wrong one.
    /// `tau` in years; `tolerance` relative to the discounted forward. Relax it, or allow more nodes.
    case accuracyNotReached(tau: Double, tolerance: Double, nodesNeeded: Double, nodesAllowed: Int)

    /// The price is below its intrinsic value: an arbitrage, or a stale quote. No volatility gives it.
    case belowIntrinsic(price: Double, intrinsic: Double)
    /// The price is at or above its upper bound (the discounted forward for calls, strike for puts).
    case aboveUpperBound(price: Double, bound: Double)
    /// The price's time value is lost in the rounding of its intrinsic value: any small volatility gives it.
    case noVolatilityInformation(price: Double, intrinsic: Double)

    /// The chain was taken longer ago than allowed. Ages in seconds. Fetch a newer one.
    case staleChain(age: Double, allowed: Double)
    /// Too little is left after cleaning to build a surface: `expiries` usable, `needed` asked for.
    case chainTooSparse(quotes: Int, expiries: Int, needed: Int)

    /// Fewer usable cells than the calibration has parameters: the fit is not determined.
    case tooFewCells(usable: Int, needed: Int)
    /// No starting point gave a surface that the pricer would answer. `starts` were tried.
    case calibrationFailed(starts: Int)
}

extension HestonError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .invalidArgument(let name, let value, let allowed): "\(name) is \(value), allowed: \(allowed)"
        case .shapeMismatch(let name, let expected, let actual): "\(name) has \(actual) elements, \(expected) expected"
        case .accuracyNotReached(let tau, let tolerance, let needed, let allowed):
            "accuracy \(tolerance) at \(tau) years needs \(needed) nodes, \(allowed) allowed"
        case .belowIntrinsic(let price, let intrinsic): "price \(price) below intrinsic value \(intrinsic)"
        case .aboveUpperBound(let price, let bound): "price \(price) not below its bound \(bound)"
        case .noVolatilityInformation(let price, let intrinsic):
            "price \(price) carries no volatility information (intrinsic value \(intrinsic))"
        case .staleChain(let age, let allowed): "chain is \(age) s old, \(allowed) s allowed"
        case .chainTooSparse(let quotes, let expiries, let needed):
            "\(quotes) usable quotes in \(expiries) expiries, \(needed) expiries needed"
        case .tooFewCells(let usable, let needed): "\(usable) usable cells, \(needed) needed"
        case .calibrationFailed(let starts): "no answer from any of \(starts) starting points"
        }
    }
}

/// Throws `invalidArgument` unless `value` is finite and passes.
func require(_ name: String, _ value: Double, _ allowed: String, _ passes: (Double) -> Bool) throws(HestonError) {
    guard value.isFinite, passes(value) else {
        throw .invalidArgument(name: name, value: value, allowed: allowed)
    }
}
