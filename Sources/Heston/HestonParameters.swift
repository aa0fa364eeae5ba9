internal import Kernels

/// Heston's five parameters, in the project's order. Time in years (ACT/365), variances per year.
///
///     dS = (r − q)·S dt + √v·S dW¹,   dv = κ(θ − v) dt + σ√v dW²,   d⟨W¹, W²⟩ = ρ dt,   v(0) = v₀
public struct HestonParameters: Sendable, Equatable, Codable {
    /// Speed of mean reversion κ, per year. Positive.
    public var kappa: Double
    /// Long-run variance θ: 0.04 is 20 % volatility. Positive.
    public var theta: Double
    /// Volatility of variance σ. Positive.
    public var sigma: Double
    /// Correlation ρ of spot and variance, strictly between −1 and 1.
    public var rho: Double
    /// Variance now, v₀. Positive.
    public var v0: Double

    public init(kappa: Double, theta: Double, sigma: Double, rho: Double, v0: Double) {
        self.kappa = kappa
        self.theta = theta
        self.sigma = sigma
        self.rho = rho
        self.v0 = v0
    }

    /// (kappa, theta, sigma, rho, v0): the order of every array of parameters and gradients in the project.
    public var array: [Double] { [kappa, theta, sigma, rho, v0] }

    /// From an array in the project's order. `shapeMismatch` unless it has five elements.
    public init(array: [Double]) throws(HestonError) {
        guard array.count == 5 else {
            throw .shapeMismatch(name: "parameters", expected: 5, actual: array.count)
        }
        self.init(kappa: array[0], theta: array[1], sigma: array[2], rho: array[3], v0: array[4])
    }

    public static let names = ["kappa", "theta", "sigma", "rho", "v0"]

    /// Throws `invalidArgument` naming the first parameter outside its domain.
    public func validate() throws(HestonError) {
        try require("kappa", kappa, "> 0, finite") { $0 > 0 }
        try require("theta", theta, "> 0, finite") { $0 > 0 }
        try require("sigma", sigma, "> 0, finite") { $0 > 0 }
        try require("v0", v0, "> 0, finite") { $0 > 0 }
        try require("rho", rho, "in (-1, 1)") { $0 > -1 && $0 < 1 }
    }

    /// 2κθ ≥ σ²: the variance never touches zero.
    public var satisfiesFeller: Bool { 2 * kappa * theta >= sigma * sigma }

    /// About `expectedTotalVariance` of four maturities, to 10 %: where searches begin.
    func roughTotalVariances(tau: Vector) -> Vector {
        // (1 − e^−x)/x to the second order at 0 and to the first at infinity.
        let x = VectorMath.smaller(kappa * tau, .init(repeating: 1e100))
        let average = (6 + x) / (6 + x * (4 + x))
        return tau * (theta + (v0 - theta) * average)
    }

    /// E[∫₀^τ v dt]: the fair total variance of a variance swap over `tau` years.
    public func expectedTotalVariance(tau: Double) -> Double {
        let x = kappa * tau
        // (1 − e^−x)/κ, without cancellation for slow mean reversion.
        return theta * tau + (v0 - theta) * (x > 0 ? -expm1(-x) / kappa : tau)
    }
}

/// The carry of the underlying: continuously compounded, per year, as fractions.
public struct Market: Sendable, Equatable, Codable {
    /// In the quote currency. Positive.
    public var spot: Double
    public var rate: Double
    public var dividendYield: Double

    public init(spot: Double, rate: Double = 0, dividendYield: Double = 0) {
        self.spot = spot
        self.rate = rate
        self.dividendYield = dividendYield
    }

    /// The forward price for delivery in `tau` years.
    public func forward(tau: Double) -> Double { spot * exp((rate - dividendYield) * tau) }
    /// The present value of 1 paid in `tau` years.
    public func discount(tau: Double) -> Double { exp(-rate * tau) }

    public func validate() throws(HestonError) {
        try require("spot", spot, "> 0, finite") { $0 > 0 }
        try require("rate", rate, "finite, within ±10") { abs($0) <= 10 }
        try require("dividendYield", dividendYield, "finite, within ±10") { abs($0) <= 10 }
    }
}

/// Derivatives by the five parameters, in the project's order.
public struct HestonGradient: Sendable, Equatable {
    public var kappa: Double
    public var theta: Double
    public var sigma: Double
    public var rho: Double
    public var v0: Double

    public static let zero = HestonGradient(kappa: 0, theta: 0, sigma: 0, rho: 0, v0: 0)

    public init(kappa: Double, theta: Double, sigma: Double, rho: Double, v0: Double) {
        self.kappa = kappa
        self.theta = theta
        self.sigma = sigma
        self.rho = rho
        self.v0 = v0
    }

    public var array: [Double] { [kappa, theta, sigma, rho, v0] }
}
