internal import Kernels
public import MarketData

extension Black {
    /// The volatilities of many prices at once, four to a vector: the numbers of `impliedVolatility` at a fraction of
    /// the cost each. NaN stands where that function throws; call it there for the reason.
    ///
    /// - Parameters:
    ///   - prices: undiscounted, in the quote currency.
    ///   - forward: of the maturity, in the quote currency.
    ///   - strikes: one a price.
    ///   - kinds: one a price.
    ///   - tau: years to the maturity, ACT/365.
    ///   - volatilities: resized to the count of the prices, then filled.
    /// - Throws: `shapeMismatch`; `invalidArgument` for `forward` and `tau`.
    public static func impliedVolatilities(
        _ kinds: [OptionQuote.Kind], prices: [Double], forward: Double, strikes: [Double], tau: Double,
        into volatilities: inout [Double]
    ) throws(HestonError) {
        try require("forward", forward, "> 0, finite") { $0 > 0 }
        try require("tau", tau, "> 0, finite") { $0 > 0 }
        let count = prices.count
        for (name, actual) in [("kinds", kinds.count), ("strikes", strikes.count)] where actual != count {
            throw .shapeMismatch(name: name, expected: count, actual: actual)
        }
        if volatilities.count != count { volatilities = [Double](repeating: .nan, count: count) }
        let inverseRootTau = 1 / tau.squareRoot()
        let f = Vector(repeating: forward)
        // The four prices from `start`: |ln(K/F)| and the time value over √(FK), 0 where it tells nothing.
        func normalised(_ start: Int) -> NormalisedBlack.Problems {
            let lanes = min(4, count - start)
            guard lanes > 0 else { return .init(magnitude: .zero, beta: .zero) }
            var (price, strike, sign) = (Vector.zero, f, Vector(repeating: 1))
            for lane in 0..<lanes {
                price[lane] = prices[start + lane]
                strike[lane] = strikes[start + lane]
                sign[lane] = kinds[start + lane] == .call ? 1 : -1
            }
            let isPositive = (strike .> .zero) .& (strike .< Vector(repeating: .infinity))
            let k = VectorMath.select(isPositive, strike, else: f)
            let difference = sign * (f - k)
            let intrinsic = VectorMath.select(difference .> .zero, difference, else: .zero)
            let timeValue = price - intrinsic
            // As in the scalar function: eight units in the last place of what was subtracted.
            let larger = VectorMath.select(price .> intrinsic, price, else: intrinsic)
            let rounding = VectorMath.select(intrinsic .> .zero, 1.7763568394002505e-15 * larger, else: .zero)
            let isKnown = isPositive .& (timeValue .> rounding)
            let beta = VectorMath.select(isKnown, timeValue / VectorMath.sqrt(f * k), else: .zero)
            return .init(magnitude: VectorMath.log(k / f).magnitudes, beta: beta)
        }
        for start in stride(from: 0, to: count, by: 8) {
            var (first, second) = (normalised(start), normalised(start + 4))
            NormalisedBlack.solve(&first, &second)
            for lane in 0..<min(4, count - start) { volatilities[start + lane] = first.total[lane] * inverseRootTau }
            for lane in 0..<max(0, min(4, count - start - 4)) {
                volatilities[start + 4 + lane] = second.total[lane] * inverseRootTau
            }
        }
    }
}
