extension PredictableMarket {
    /// The best policy of a `PredictableMarket`, in closed form (Gârleanu, Pedersen 2013, propositions 1 to 3).
    ///
    /// With one asset trading costs are always proportional to risk, Λ = λΣ, as proposition 3 supposes. Then
    ///
    ///     x_t = x_{t−1} + (a/λ)·(aim_t − x_{t−1})
    ///     a = ( −(γ(1−ρ) + λρ) + √((γ(1−ρ) + λρ)² + 4γλ(1−ρ)²) ) / (2(1−ρ))
    ///     aim_t = Σ_k B_k·f_k / (γΣ·(1 + φ_k·a/γ))
    ///
    /// and the value of coming into a period with the position x and the factors f is
    ///
    ///     V(x, f) = −½A_xx·x² + x·A_xf·f + ½f·A_ff·f + A_0,   A_xx = aΣ,   A_xf = A_xx·aim's loadings.
    ///
    /// A_ff and A_0 are the coefficients that the Bellman equation leaves when the maximum is put in.
    public struct Optimum: Sendable, Equatable {
        public let parameters: Parameters
        /// a/λ: the share of the way to the aim that is traded a period, in (0, 1).
        public let tradingRate: Double
        /// Units of the asset for each unit of a factor: aim = aimLoadings·f.
        public let aimLoadings: [Double]
        /// A_xx and A_xf.
        public let positionCurvature: Double
        public let positionByFactor: [Double]
        /// A_ff [factors × factors], row-major, and A_0.
        public let factorCurvature: [Double]
        public let constant: Double

        public init(_ parameters: Parameters) {
            self.parameters = parameters
            let (gamma, sigma, rho) = (parameters.riskAversion, parameters.variance, parameters.discountRate)
            let lambda = parameters.tradingCost / sigma
            let kept = 1 - rho
            let b = gamma * kept + lambda * rho
            let a = (-b + (b * b + 4 * gamma * lambda * kept * kept).squareRoot()) / (2 * kept)
            let factors = parameters.factors
            let loadings = factors.map { $0.loading / (gamma * sigma * (1 + $0.meanReversion * a / gamma)) }
            let curvature = a * sigma
            let byFactor = loadings.map { curvature * $0 }
            // The maximum over x of −½(Λ + (1−ρ)(γΣ + A_xx))·x² + x·(Λx_{t−1} + g·f) + …
            let total = parameters.tradingCost + kept * (gamma * sigma + curvature)
            let g = zip(factors, byFactor).map { kept * ($0.loading + $1 * (1 - $0.meanReversion)) }
            var square: [Double] = []
            for (i, first) in factors.enumerated() {
                for (j, second) in factors.enumerated() {
                    let lasting = kept * (1 - first.meanReversion) * (1 - second.meanReversion)
                    square.append(g[i] * g[j] / (total * (1 - lasting)))
                }
            }
            var shocks = 0.0
            for (i, factor) in factors.enumerated() {
                shocks += square[i * factors.count + i] * factor.shock * factor.shock
            }
            tradingRate = a / lambda
            aimLoadings = loadings
            positionCurvature = curvature
            positionByFactor = byFactor
            factorCurvature = square
            constant = 0.5 * kept / rho * shocks
        }

        /// The position to hold in a period that begins with `position` and shows `factors`, in units of the asset.
        public func position(from position: Double, factors: [Double]) -> Double {
            precondition(factors.count == aimLoadings.count, "a value a factor")
            var aim = 0.0
            for (loading, factor) in zip(aimLoadings, factors) { aim += loading * factor }
            return position + tradingRate * (aim - position)
        }

        /// V: the expected objective from here on, in the quote currency.
        public func value(position: Double, factors: [Double]) -> Double {
            precondition(factors.count == aimLoadings.count, "a value a factor")
            var value = constant - 0.5 * positionCurvature * position * position
            for (i, factor) in factors.enumerated() {
                value += position * positionByFactor[i] * factor
                for (j, other) in factors.enumerated() {
                    value += 0.5 * factor * factorCurvature[i * factors.count + j] * other
                }
            }
            return value
        }

        /// E V at an episode's start: no position, factors of their stationary distribution.
        public var meanValue: Double {
            var value = constant
            for (i, factor) in parameters.factors.enumerated() {
                value += 0.5 * factorCurvature[i * aimLoadings.count + i] * factor.variance
            }
            return value
        }

        /// Of the position that the policy holds in the long run, in units².
        public var stationaryPositionVariance: Double {
            let kept = 1 - tradingRate
            var sum = 0.0
            for (loading, factor) in zip(aimLoadings, parameters.factors) {
                let persistence = kept * (1 - factor.meanReversion)
                let own = tradingRate * loading
                // E x_t·f_t, then what each factor adds to (1 − kept²)·Var x.
                let covariance = own * factor.variance / (1 - persistence)
                sum += 2 * own * persistence * covariance + own * own * factor.variance
            }
            return sum / (1 - kept * kept)
        }
    }
}
