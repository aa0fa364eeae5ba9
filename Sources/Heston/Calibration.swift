/// What a calibration found. Volatilities are absolute: 0.01 is one point.
public struct Calibration: Sendable, Equatable {
    /// Why the last step was the last.
    public enum Termination: String, Sendable, Codable {
        /// The fit is exact to the pricer's accuracy.
        case exact
        /// The gradient vanished.
        case gradient
        /// The step became smaller than the parameters can tell.
        case step
        /// The sum of squares stopped falling.
        case cost
        /// `maximumIterations` were made; the answer may be improvable.
        case iterations
        /// The pricer refused every further step: the answer is the best within its reach.
        case pricerRefused
    }

    /// What one quote says about the fit.
    public struct Residual: Sendable, Equatable {
        public enum Status: UInt8, Sendable, Codable {
            /// Took part in the fit.
            case fitted
            /// Weight zero: missing, or extrapolated and not wanted.
            case unused
            /// The quote's time value is below what the pricer resolves: no volatility can be read from it. Left out.
            case noInformation
        }

        public var status: Status
        /// `nil` where the model's price carries no volatility information or the pricer refused the maturity.
        public var modelVolatility: Double?
        /// Model − market; `nil` as above, or where the market has none.
        public var difference: Double?
    }

    public var parameters: HestonParameters
    /// Root mean square over the fitted quotes, unweighted, in volatility.
    public var volatilityRootMeanSquare: Double
    /// The same in undiscounted price as a fraction of the forward.
    public var priceRootMeanSquare: Double
    public var iterations: Int
    /// Surface evaluations, gradients included, over all starts.
    public var evaluations: Int
    public var termination: Termination
    /// Which start won: 0 is the warm start if there was one. See `Calibrator.Configuration.starts`.
    public var start: Int
    /// Of the Jacobian with columns scaled to the parameters' own size (ρ to 1): above about 1e3 the surface does not
    /// determine all five. ∞ if singular.
    public var conditionNumber: Double
    /// One standard deviation by parameter in the project's order, from the residuals; `nil` if singular or with no
    /// degrees of freedom left.
    public var standardErrors: [Double]?
    /// In the order of the quotes given (for a surface: its cells).
    public var residuals: [Residual]
    /// Quotes that took part.
    public var fittedCount: Int

    public var satisfiesFeller: Bool { parameters.satisfiesFeller }
}

/// One volatility to fit.
public struct CalibrationQuote: Sendable, Equatable {
    /// ln(K/F(τ)).
    public var logMoneyness: Double
    /// Years, ACT/365.
    public var tau: Double
    /// Absolute.
    public var impliedVolatility: Double
    /// Of the squared residual in volatility; 0 leaves the quote out. Any positive scale.
    public var weight: Double

    public init(logMoneyness: Double, tau: Double, impliedVolatility: Double, weight: Double = 1) {
        self.logMoneyness = logMoneyness
        self.tau = tau
        self.impliedVolatility = impliedVolatility
        self.weight = weight
    }
}
