public import Heston
public import Kernels

/// A family of Heston parameters, and how often each occurs: what generators draw from.
public enum ParameterPreset: String, Sendable, CaseIterable, Codable {
    /// κ ~ LogU[0.5, 8], θ and v₀ ~ LogU[0.01, 0.08], σ ~ LogU[0.1, 1], ρ ~ Beta(2, 2) stretched to [−0.95, 0.2]:
    /// volatilities of 10 to 28 %, falling smiles.
    case equity
    /// κ ~ LogU[0.5, 8], θ and v₀ ~ LogU[0.04, 1.5], σ ~ LogU[0.3, 5], ρ ~ U[−0.7, 0.5]: volatilities of 20 to 122 %.
    case crypto

    public func draw(_ random: inout RandomGenerator) -> HestonParameters {
        func logUniform(_ low: Double, _ high: Double) -> Double { exp(random.uniform(log(low), log(high))) }
        switch self {
        case .equity:
            // Beta(2, 2) is the middle of three uniforms.
            let (a, b, c) = (random.uniform(), random.uniform(), random.uniform())
            let middle = max(min(a, b), min(max(a, b), c))
            return HestonParameters(
                kappa: logUniform(0.5, 8), theta: logUniform(0.01, 0.08), sigma: logUniform(0.1, 1),
                rho: -0.95 + 1.15 * middle, v0: logUniform(0.01, 0.08))
        case .crypto:
            return HestonParameters(
                kappa: logUniform(0.5, 8), theta: logUniform(0.04, 1.5), sigma: logUniform(0.3, 5),
                rho: random.uniform(-0.7, 0.5), v0: logUniform(0.04, 1.5))
        }
    }

    /// The middle of the family: where a calibration without a guess may start.
    public var centre: HestonParameters {
        switch self {
        case .equity: HestonParameters(kappa: 2, theta: 0.03, sigma: 0.4, rho: -0.4, v0: 0.03)
        case .crypto: HestonParameters(kappa: 2, theta: 0.25, sigma: 1.2, rho: -0.1, v0: 0.25)
        }
    }
}
