internal import Kernels
public import MarketData

/// The fitted smile of one expiry.
public struct Smile: Sendable, Equatable {
    public enum Curve: Sendable, Equatable {
        case svi(SVI)
        /// Total variance linear between the quotes, flat outside: where SVI has too little to hold on to.
        case linear(logMoneyness: [Double], totalVariance: [Double])
    }

    public var expiry: Timestamp
    /// Years, ACT/365.
    public var tau: Double
    /// In USD: the median of the expiry's quotes.
    public var forward: Double
    public var curve: Curve
    /// The quotes it was fitted to, in order of strike: ln(K/F) and absolute volatility.
    public var quotedLogMoneyness: [Double]
    public var quotedVolatility: [Double]
    /// Root mean square of fitted − quoted volatility, absolute (0.01 is one point), unweighted.
    public var rootMeanSquare: Double
    /// The smallest g(k) over the quoted range; negative is butterfly arbitrage. `nil` for a linear curve, whose
    /// density is not defined.
    public var worstButterfly: Double?

    public func totalVariance(_ k: Double) -> Double {
        switch curve {
        case .svi(let svi): return svi.totalVariance(k)
        case .linear(let x, let w):
            guard k > x[0] else { return w[0] }
            guard k < x[x.count - 1] else { return w[w.count - 1] }
            var upper = 1
            while x[upper] < k { upper += 1 }
            let t = (k - x[upper - 1]) / (x[upper] - x[upper - 1])
            return w[upper - 1] + t * (w[upper] - w[upper - 1])
        }
    }

    public func impliedVolatility(_ k: Double) -> Double { (totalVariance(k) / tau).squareRoot() }

    /// Whether `k` is between the outermost quotes.
    public func covers(_ k: Double) -> Bool {
        guard let first = quotedLogMoneyness.first, let last = quotedLogMoneyness.last else { return false }
        return k >= first - 1e-9 && k <= last + 1e-9
    }

    /// Fits the quotes, which are in order of strike, distinct, and at least two.
    init(expiry: Timestamp, tau: Double, forward: Double, logMoneyness: [Double], volatility: [Double]) {
        self.expiry = expiry
        self.tau = tau
        self.forward = forward
        quotedLogMoneyness = logMoneyness
        quotedVolatility = volatility
        let first = logMoneyness[0]
        let last = logMoneyness[logMoneyness.count - 1]
        let points = zip(logMoneyness, volatility).map { k, iv in
            let w = iv * iv * tau
            // In volatility the residual is Δw/2√w; far wings count less, as their vega does, down to 2 %.
            let d = k / w.squareRoot()
            return SVI.Point(k: k, w: w, weight: max(0.02, Self.gaussian(d)) / (4 * w))
        }
        let fitted = SVI.fit(points, butterflyRange: min(first, -0.01)...max(last, 0.01))
        let linear = Curve.linear(logMoneyness: logMoneyness, totalVariance: points.map(\.w))
        curve = fitted.map { .svi($0) } ?? linear
        rootMeanSquare = 0
        worstButterfly = nil
        if fitted != nil {
            rootMeanSquare = Self.error(self)
            // SVI can't follow a smile that is no hyperbola; then the quotes themselves are the better curve.
            if rootMeanSquare > 0.05 {
                curve = linear
                rootMeanSquare = 0
            }
        }
        if case .svi(let svi) = curve {
            var worst = Double.infinity
            for i in 0...64 { worst = min(worst, svi.butterfly(first + (last - first) * Double(i) / 64)) }
            worstButterfly = worst
        }
    }

    private static func gaussian(_ d: Double) -> Double { exp(-0.5 * d * d) }

    private static func error(_ smile: Smile) -> Double {
        var sum = 0.0
        for (k, iv) in zip(smile.quotedLogMoneyness, smile.quotedVolatility) {
            let difference = smile.impliedVolatility(k) - iv
            sum += difference * difference
        }
        return (sum / Double(smile.quotedVolatility.count)).squareRoot()
    }
}
