internal import Kernels

/// Between five free numbers and parameters inside their bounds: κ, θ, σ, v₀ logistic in the logarithm, ρ logistic.
///
/// With `feller`, σ's upper bound is min(its own, √(2κθ)), so that 2κθ ≥ σ² holds at every step.
struct ParameterTransform {
    var bounds: Calibrator.Bounds
    var feller: Bool

    /// Parameters, and their Jacobian by the free numbers, `[5 × 5]`, row-major in the parameter.
    func parameters(_ free: [Double]) -> (HestonParameters, jacobian: [Double]) {
        var jacobian = [Double](repeating: 0, count: 25)
        func logarithmic(_ index: Int, _ range: ClosedRange<Double>) -> Double {
            let l = Self.logistic(free[index])
            let span = log(range.upperBound / range.lowerBound)
            let value = range.lowerBound * exp(span * l)
            jacobian[index * 6] = value * span * l * (1 - l)
            return value
        }
        let kappa = logarithmic(0, bounds.kappa)
        let theta = logarithmic(1, bounds.theta)
        let v0 = logarithmic(4, bounds.v0)
        let l = Self.logistic(free[3])
        let width = bounds.rho.upperBound - bounds.rho.lowerBound
        let rho = bounds.rho.lowerBound + width * l
        jacobian[18] = width * l * (1 - l)
        let limit = sigmaLimit(kappa: kappa, theta: theta)
        let sigma = logarithmic(2, bounds.sigma.lowerBound...limit.value)
        if limit.isFeller {
            // ∂ ln σ/∂ ln limit is the logistic, and limit = √(2κθ).
            let share = sigma * Self.logistic(free[2]) * 0.5
            jacobian[10] = share / kappa * jacobian[0]
            jacobian[11] = share / theta * jacobian[6]
        }
        return (HestonParameters(kappa: kappa, theta: theta, sigma: sigma, rho: rho, v0: v0), jacobian)
    }

    /// The free numbers of `parameters`, moved just inside the bounds where they are not.
    func free(_ p: HestonParameters) -> [Double] {
        func logarithmic(_ value: Double, _ range: ClosedRange<Double>) -> Double {
            Self.inverse(log(value / range.lowerBound) / log(range.upperBound / range.lowerBound))
        }
        let kappa = min(max(p.kappa, bounds.kappa.lowerBound), bounds.kappa.upperBound)
        let theta = min(max(p.theta, bounds.theta.lowerBound), bounds.theta.upperBound)
        let limit = sigmaLimit(kappa: kappa, theta: theta).value
        return [
            logarithmic(kappa, bounds.kappa), logarithmic(theta, bounds.theta),
            logarithmic(p.sigma, bounds.sigma.lowerBound...limit),
            Self.inverse((p.rho - bounds.rho.lowerBound) / (bounds.rho.upperBound - bounds.rho.lowerBound)),
            logarithmic(p.v0, bounds.v0),
        ]
    }

    private func sigmaLimit(kappa: Double, theta: Double) -> (value: Double, isFeller: Bool) {
        guard feller else { return (bounds.sigma.upperBound, false) }
        let limit = (2 * kappa * theta).squareRoot()
        guard limit < bounds.sigma.upperBound else { return (bounds.sigma.upperBound, false) }
        // The lower bound gives way where Feller's leaves no room above it.
        return limit > 1.001 * bounds.sigma.lowerBound ? (limit, true) : (1.001 * bounds.sigma.lowerBound, false)
    }

    private static func logistic(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

    /// Starts keep off the bounds, where the logistic is flat.
    private static func inverse(_ y: Double) -> Double {
        let inside = min(max(y, 0.005), 0.995)
        return log(inside / (1 - inside))
    }
}
