internal import Kernels

/// The quotes of a calibration by maturity, with what the last evaluation left: residuals and their derivatives.
struct CalibrationProblem {
    /// One fitted quote's fixed data.
    private struct Target {
        var quote: Int
        var k: Double
        var tau: Double
        var volatility: Double
        var rootWeight: Double
        /// e^(−k/2).
        var inverseScale: Double
        var inverseRootTau: Double
        /// Undiscounted out-of-the-money price as a fraction of the forward, and its derivative by volatility.
        var price: Double
        var vega: Double
    }

    let accuracy: HestonPricer.Accuracy
    private var maturities: [Strikes] = []
    /// Each maturity's first position in the arrays below.
    private var firsts: [Int] = []
    private var targets: [Target] = []
    private var statuses: [Calibration.Residual.Status]
    let totalWeight: Double
    private(set) var evaluations = 0
    private var engine: SliceEngine
    /// √weight·difference, one a target.
    private var residuals: [Double]
    /// `[targets × 5]`.
    private var jacobian: [Double]
    /// The model's, out of the money, as fractions of the forward.
    private var prices: [Double]
    /// Four targets each.
    private var volatilities: [NormalisedBlack.Problems]

    /// A time value below this many tolerances leaves fewer than three digits for a volatility.
    private static let informationFloor = 1000.0

    var usedCount: Int { targets.count }

    init(_ quotes: [CalibrationQuote], accuracy: HestonPricer.Accuracy) throws(HestonError) {
        self.accuracy = accuracy
        engine = SliceEngine(accuracy)
        statuses = []
        var usable: [Target] = []
        for (index, quote) in quotes.enumerated() {
            try require("weight", quote.weight, ">= 0, finite") { $0 >= 0 }
            guard quote.weight > 0 else {
                statuses.append(.unused)
                continue
            }
            try require("logMoneyness", quote.logMoneyness, "finite, within ±5") { abs($0) <= 5 }
            try require("tau", quote.tau, "> 0, at most 50") { $0 > 0 && $0 <= 50 }
            try require("impliedVolatility", quote.impliedVolatility, "> 0, at most 20") { $0 > 0 && $0 <= 20 }
            let k = quote.logMoneyness
            let total = quote.impliedVolatility * quote.tau.squareRoot()
            let scale = exp(0.5 * k)
            let price = scale * NormalisedBlack.price(-abs(k), total)
            guard price > Self.informationFloor * accuracy.tolerance else {
                statuses.append(.noInformation)
                continue
            }
            statuses.append(.fitted)
            usable.append(
                Target(
                    quote: index, k: k, tau: quote.tau, volatility: quote.impliedVolatility,
                    rootWeight: quote.weight.squareRoot(), inverseScale: 1 / scale,
                    inverseRootTau: 1 / quote.tau.squareRoot(), price: price,
                    vega: scale * NormalisedBlack.vega(-abs(k), total) * quote.tau.squareRoot()))
        }
        usable.sort { ($0.tau, $0.quote) < ($1.tau, $1.quote) }
        targets = usable
        for (position, target) in usable.enumerated() {
            if maturities.last?.tau == target.tau {
                maturities[maturities.count - 1].append(target.k)
            } else {
                maturities.append(Strikes(logMoneyness: [target.k], tau: target.tau))
                firsts.append(position)
            }
        }
        totalWeight = usable.reduce(0) { $0 + $1.rootWeight * $1.rootWeight }
        residuals = [Double](repeating: 0, count: usable.count)
        jacobian = [Double](repeating: 0, count: 5 * usable.count)
        prices = [Double](repeating: 0, count: usable.count)
        // Whole pairs of fours; places without a target ask for what has no answer.
        let empty = NormalisedBlack.Problems(magnitude: .zero, beta: .zero)
        volatilities = .init(repeating: empty, count: (usable.count + 7) / 8 * 2)
        for (position, target) in usable.enumerated() {
            volatilities[position >> 2].magnitude[position & 3] = abs(target.k)
        }
    }

    /// What residuals are made of.
    enum Measure: Sendable {
        /// Differences of implied volatility.
        case volatilities
        /// Of undiscounted prices as fractions of the forward.
        case prices
        /// Of such prices over the market's vega, or a tenth of that at the money where it is less: to first order of
        /// volatilities, with less weight on the wings.
        case pricesOverVega
    }

    /// Half the weighted sum of squares at `parameters`, leaving residuals and Jacobian; `nil` where the pricer
    /// refuses.
    mutating func evaluate(_ parameters: HestonParameters, _ measure: Measure = .volatilities) -> Double? {
        guard price(parameters) else { return nil }
        if measure == .volatilities { invert() }
        var cost = 0.0
        for (position, target) in targets.enumerated() {
            let (difference, scale) = residual(target, position, measure)
            let residual = target.rootWeight * difference
            residuals[position] = residual
            for i in 0..<5 { jacobian[5 * position + i] *= target.rootWeight * scale }
            cost += 0.5 * residual * residual
        }
        return cost.isFinite ? cost : nil
    }

    /// Leaves prices and, in place of the Jacobian, their gradients; false where the pricer refuses.
    private mutating func price(_ parameters: HestonParameters) -> Bool {
        evaluations += 1
        engine.plan(parameters, maturities, derivatives: true)
        for (maturity, first) in firsts.enumerated() {
            do {
                try engine.evaluate(parameters, maturities, maturity, order: .gradient) { index, value in
                    let position = first + index
                    prices[position] = value.outOfTheMoney
                    let g = value.gradient
                    jacobian[5 * position] = g.0
                    jacobian[5 * position + 1] = g.1
                    jacobian[5 * position + 2] = g.2
                    jacobian[5 * position + 3] = g.3
                    jacobian[5 * position + 4] = g.4
                }
            } catch {
                return false
            }
        }
        return true
    }

    /// Model − market, and what turns the price's derivatives into its own.
    private func residual(_ target: Target, _ position: Int, _ measure: Measure) -> (Double, scale: Double) {
        switch measure {
        case .volatilities:
            let (difference, vega) = difference(target, position)
            return (difference, 1 / vega)
        case .prices: return (prices[position] - target.price, 1)
        case .pricesOverVega:
            // At the money vega is √(τ/2π).
            let scale = 1 / max(target.vega, 0.03989422804014327 / target.inverseRootTau)
            return (scale * (prices[position] - target.price), scale)
        }
    }

    /// The total volatilities of `prices`.
    private mutating func invert() {
        for (position, target) in targets.enumerated() {
            volatilities[position >> 2].beta[position & 3] = prices[position] * target.inverseScale
        }
        for pair in stride(from: 0, to: volatilities.count, by: 2) {
            var (first, second) = (volatilities[pair], volatilities[pair + 1])
            NormalisedBlack.solve(&first, &second)
            volatilities[pair].total = first.total
            volatilities[pair + 1].total = second.total
        }
    }

    /// The model's volatility at the last evaluation; `nil` where its price carries none.
    private func modelVolatility(_ target: Target, _ position: Int) -> Double? {
        guard prices[position] > Self.informationFloor * 0.1 * accuracy.tolerance else { return nil }
        let total = volatilities[position >> 2].total[position & 3]
        return total.isNaN ? nil : total * target.inverseRootTau
    }

    /// Model − market in volatility, and the vega that turns price derivatives into its own.
    private func difference(_ target: Target, _ position: Int) -> (Double, vega: Double) {
        if let volatility = modelVolatility(target, position) {
            let total = volatility / target.inverseRootTau
            let vega = NormalisedBlack.vega(-abs(target.k), total) / (target.inverseScale * target.inverseRootTau)
            if vega > 0 { return (volatility - target.volatility, vega) }
        }
        return ((prices[position] - target.price) / target.vega, target.vega)
    }

    /// JᵀJ `[5 × 5]` and Jᵀr by the free numbers, from the last evaluation. `chain` is ∂parameter/∂free.
    func normalEquations(_ chain: [Double]) -> (normal: [Double], gradient: [Double]) {
        var normal = [Double](repeating: 0, count: 25)
        var gradient = [Double](repeating: 0, count: 5)
        var row = (0.0, 0.0, 0.0, 0.0, 0.0)
        for position in targets.indices {
            let base = 5 * position
            // Only σ depends on more than its own number (Feller's bound).
            let bySigma = jacobian[base + 2]
            row.0 = jacobian[base] * chain[0] + bySigma * chain[10]
            row.1 = jacobian[base + 1] * chain[6] + bySigma * chain[11]
            row.2 = bySigma * chain[12]
            row.3 = jacobian[base + 3] * chain[18]
            row.4 = jacobian[base + 4] * chain[24]
            let values = [row.0, row.1, row.2, row.3, row.4]
            for i in 0..<5 {
                gradient[i] += values[i] * residuals[position]
                for j in 0...i { normal[i * 5 + j] += values[i] * values[j] }
            }
        }
        for i in 0..<5 { for j in 0..<i { normal[j * 5 + i] = normal[i * 5 + j] } }
        return (normal, gradient)
    }

    /// A guess from the surface's own level, term structure and skew, then fixed points around it.
    func startingPoints() -> [HestonParameters] {
        let (short, long, skew) = outline()
        let level = max(short, long).squareRoot()
        func point(_ kappa: Double, _ sigma: Double, _ rho: Double) -> HestonParameters {
            HestonParameters(kappa: kappa, theta: long, sigma: sigma, rho: rho, v0: short)
        }
        let rho = min(max(1.5 * skew / max(level, 0.05), -0.8), 0.8)
        return [
            point(2, 2 * level, rho), point(0.5, level, 0.5 * rho), point(6, 4 * level, rho),
            point(1, 1, -0.6), point(4, 0.3, -0.3), point(2, 3, 0.2),
        ]
    }

    /// Variance at the money at both ends, and the slope of volatility in k around it.
    private func outline() -> (short: Double, long: Double, skew: Double) {
        func atTheMoney(_ maturity: Int) -> Double {
            let range = targets[firsts[maturity]..<(firsts[maturity] + maturities[maturity].count)]
            let nearest = range.min { abs($0.k) < abs($1.k) }
            let volatility = nearest?.volatility ?? 0.3
            return volatility * volatility
        }
        guard !maturities.isEmpty else { return (0.1, 0.1, 0) }
        var (n, k, v, kk, kv) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for target in targets where abs(target.k) <= 0.45 {
            n += 1
            k += target.k
            v += target.volatility
            kk += target.k * target.k
            kv += target.k * target.volatility
        }
        let spread = n * kk - k * k
        return (atTheMoney(0), atTheMoney(maturities.count - 1), spread > 1e-12 ? (n * kv - k * v) / spread : 0)
    }

    /// The report at the descent's end.
    mutating func report(
        _ descent: Calibrator.Descent, start: Int, of quotes: [CalibrationQuote]
    ) throws(HestonError) -> Calibration {
        guard let cost = evaluate(descent.parameters) else { throw .calibrationFailed(starts: start + 1) }
        var squares = 0.0
        var priceSquares = 0.0
        let n = Double(targets.count)
        var answers = statuses.map { Calibration.Residual(status: $0, modelVolatility: nil, difference: nil) }
        for (position, target) in targets.enumerated() {
            let difference = residuals[position] / target.rootWeight
            squares += difference * difference
            let priceDifference = prices[position] - target.price
            priceSquares += priceDifference * priceDifference
            guard let volatility = modelVolatility(target, position) else { continue }
            answers[target.quote].modelVolatility = volatility
            answers[target.quote].difference = volatility - target.volatility
        }
        unfittedVolatilities(descent.parameters, quotes, &answers)
        let (errors, condition) = uncertainty(descent.parameters, cost: cost)
        return Calibration(
            parameters: descent.parameters, volatilityRootMeanSquare: (squares / n).squareRoot(),
            priceRootMeanSquare: (priceSquares / n).squareRoot(), iterations: descent.iterations,
            evaluations: evaluations, termination: descent.termination, start: start, conditionNumber: condition,
            standardErrors: errors, residuals: answers, fittedCount: targets.count)
    }

    /// The model's volatility for every quote that has a place and was not fitted.
    private mutating func unfittedVolatilities(
        _ parameters: HestonParameters, _ quotes: [CalibrationQuote], _ answers: inout [Calibration.Residual]
    ) {
        var byTau: [Double: [Int]] = [:]
        for (index, quote) in quotes.enumerated()
        where statuses[index] != .fitted && quote.tau > 0 && quote.tau <= 50 && abs(quote.logMoneyness) <= 5 {
            byTau[quote.tau, default: []].append(index)
        }
        for (tau, indices) in byTau {
            // A maturity that only unused quotes have may be beyond the pricer: then they stay without an answer.
            let strikes = [Strikes(logMoneyness: indices.map { quotes[$0].logMoneyness }, tau: tau)]
            engine.plan(parameters, strikes, derivatives: false)
            guard (try? engine.price(parameters, strikes, 0)) != nil else { continue }
            for (position, index) in indices.enumerated() {
                let quote = quotes[index]
                guard engine.prices[position] > 0.1 * Self.informationFloor * accuracy.tolerance,
                    let total = NormalisedBlack.totalVolatility(
                        outOfTheMoney: engine.prices[position], logMoneyness: quote.logMoneyness)
                else { continue }
                let volatility = total / tau.squareRoot()
                answers[index].modelVolatility = volatility
                if quote.impliedVolatility.isFinite {
                    answers[index].difference = volatility - quote.impliedVolatility
                }
            }
        }
    }

    private func uncertainty(_ p: HestonParameters, cost: Double) -> (errors: [Double]?, condition: Double) {
        let scale = [p.kappa, p.theta, p.sigma, 1, p.v0]
        var identity = [Double](repeating: 0, count: 25)
        for i in 0..<5 { identity[i * 6] = scale[i] }
        let normal = normalEquations(identity).normal
        let eigenvalues = SmallMatrix.symmetricEigenvalues(normal, count: 5)
        guard let smallest = eigenvalues.first, let largest = eigenvalues.last, smallest > 1e-15 * largest else {
            return (nil, .infinity)
        }
        let condition = (largest / smallest).squareRoot()
        guard targets.count > 5, let inverse = SmallMatrix.inversePositiveDefinite(normal, count: 5) else {
            return (nil, condition)
        }
        let variance = 2 * cost / Double(targets.count - 5)
        return ((0..<5).map { scale[$0] * (variance * inverse[$0 * 6]).squareRoot() }, condition)
    }
}
