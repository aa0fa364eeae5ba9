public import Kernels

/// A Heston (or Bates) path's state.
public struct HestonState: Sendable, Equatable {
    /// In the quote currency.
    public var spot: Double
    /// Instantaneous variance per year, never negative.
    public var variance: Double

    public init(spot: Double, variance: Double) {
        self.spot = spot
        self.variance = variance
    }
}

/// Steps Heston paths by Andersen's quadratic-exponential scheme with martingale correction (QE-M; L. Andersen 2008,
/// "Simple and efficient simulation of the Heston stochastic volatility model", section 3.2 and 4.3; γ₁ = γ₂ = ½, ψ_c =
/// 1.5).
///
/// The discounted spot is a martingale for every step length (but where e^(Av) has no finite mean in a step, for
/// extreme positive correlation: there the uncorrected drift is used). Steps draw two or three random numbers; no
/// allocation.
public struct HestonStepper: Sendable {
    public let parameters: HestonParameters
    /// The length of one step in years.
    public let stepYears: Double
    public let jumps: JumpParameters?

    private let decay: Double
    /// Conditional variance of v: v·varianceSlope + varianceLevel.
    private let varianceSlope: Double
    private let varianceLevel: Double
    private let driftPerStep: Double
    private let k0: Double
    private let k1: Double
    private let k2: Double
    private let k3: Double
    /// A = K₂ + K₄/2, and K₁ + K₃/2.
    private let a: Double
    private let carried: Double
    private let noJumpProbability: Double

    /// - Parameters:
    ///   - drift: of the spot per year: r − q in the risk-neutral measure, whatever is wanted in another.
    ///   - stepYears: positive; a minute is 1/525,600.
    /// - Throws: `invalidArgument`.
    public init(
        _ parameters: HestonParameters, drift: Double, stepYears: Double, jumps: JumpParameters? = nil
    ) throws(HestonError) {
        try parameters.validate()
        try require("drift", drift, "finite, within ±1000") { abs($0) <= 1000 }
        try require("stepYears", stepYears, "in (0, 10]") { $0 > 0 && $0 <= 10 }
        try jumps?.validate()
        self.parameters = parameters
        self.stepYears = stepYears
        self.jumps = jumps
        let (kappa, theta, sigma, rho) = (parameters.kappa, parameters.theta, parameters.sigma, parameters.rho)
        decay = exp(-kappa * stepYears)
        let gone = -expm1(-kappa * stepYears)
        varianceSlope = sigma * sigma * decay * gone / kappa
        varianceLevel = theta * sigma * sigma * gone * gone / (2 * kappa)
        driftPerStep = (drift - (jumps.map { $0.intensity * $0.meanRelativeJump } ?? 0)) * stepYears
        k0 = -rho * kappa * theta / sigma * stepYears
        let half = 0.5 * stepYears
        k1 = half * (kappa * rho / sigma - 0.5) - rho / sigma
        k2 = half * (kappa * rho / sigma - 0.5) + rho / sigma
        k3 = half * (1 - rho * rho)
        a = k2 + 0.5 * k3
        carried = k1 + 0.5 * k3
        noJumpProbability = exp(-(jumps?.intensity ?? 0) * stepYears)
    }

    /// The state at the start: `spot`, and v₀.
    public func start(spot: Double) -> HestonState { HestonState(spot: spot, variance: parameters.v0) }

    /// Moves `state` one step on.
    @inlinable
    public func step(_ state: inout HestonState, using random: inout RandomGenerator) {
        state.spot *= exp(logReturn(variance: &state.variance, using: &random))
    }

    /// Draws ln(S(t + Δ)/S(t)) and moves the variance one step on.
    public func logReturn(variance v: inout Double, using random: inout RandomGenerator) -> Double {
        let theta = parameters.theta
        let mean = theta + (v - theta) * decay
        let spread = v * varianceSlope + varianceLevel
        let psi = spread / (mean * mean)
        let next: Double
        let correction: Double
        if psi <= 1.5 {
            let inverse = 2 / psi
            let b2 = inverse - 1 + (inverse * (inverse - 1)).squareRoot()
            let scale = mean / (1 + b2)
            let shifted = b2.squareRoot() + random.normal()
            next = scale * shifted * shifted
            // ln E[e^(Av′)]; finite for A < 1/2a.
            let rest = 1 - 2 * a * scale
            correction =
                rest > 0 ? -(a * b2 * scale / rest - 0.5 * log(rest)) - carried * v : k0
        } else {
            let p = (psi - 1) / (psi + 1)
            let beta = (1 - p) / mean
            let u = random.uniform()
            next = u <= p ? 0 : log((1 - p) / (1 - u)) / beta
            correction = a < beta ? -log(p + beta * (1 - p) / (beta - a)) - carried * v : k0
        }
        var logReturn =
            driftPerStep + correction + k1 * v + k2 * next + (k3 * (v + next)).squareRoot() * random.normal()
        v = next
        if let jumps, jumps.intensity > 0 {
            // Poisson by inversion: the count is nearly always 0 or 1. Its loop ends: 1,000 jumps a step is the limit.
            var count = 0
            var probability = noJumpProbability
            var left = random.uniform() - probability
            while left > 0, probability > 0 || count == 0, count < 1000 {
                count += 1
                probability *= jumps.intensity * stepYears / Double(count)
                left -= probability
            }
            if count > 0 {
                logReturn +=
                    Double(count) * jumps.mean
                    + Double(count).squareRoot() * jumps.standardDeviation * random.normal()
            }
        }
        return logReturn
    }
}
