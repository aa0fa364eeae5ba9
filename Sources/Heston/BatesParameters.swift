internal import Kernels

/// Bates's eight parameters: Heston's five, and log-normal jumps of the price at the times of a Poisson process
/// (D. Bates 1996, "Jumps and stochastic volatility"; R. Merton 1976 without the stochastic volatility).
///
///     dS = (r − q − λm)·S dt + √v S dW¹ + (e^J − 1)·S dN,   J ~ N(μ_J, δ_J²),   m = E[e^J] − 1
///
/// v is Heston's; λ, μ_J and δ_J are the jumps' intensity, mean and standard deviation. Jumps are independent of both
/// Brownian motions and of each other.
public struct BatesParameters: Sendable, Equatable, Codable {
    public var heston: HestonParameters
    public var jumps: JumpParameters

    public init(heston: HestonParameters, jumps: JumpParameters) {
        self.heston = heston
        self.jumps = jumps
    }

    /// From an array in the order of `names`. `shapeMismatch` unless it has eight elements.
    public init(array: [Double]) throws(HestonError) {
        guard array.count == 8 else {
            throw .shapeMismatch(name: "parameters", expected: 8, actual: array.count)
        }
        self.init(
            heston: try HestonParameters(array: Array(array[0..<5])),
            jumps: JumpParameters(intensity: array[5], mean: array[6], standardDeviation: array[7]))
    }

    /// Heston's five, then the jumps' (intensity, mean, standardDeviation).
    public var array: [Double] { heston.array + [jumps.intensity, jumps.mean, jumps.standardDeviation] }

    public static let names = HestonParameters.names + ["intensity", "mean", "standardDeviation"]

    /// Throws `invalidArgument` naming the first parameter outside its domain. Jumps are held closer than for a
    /// simulation: intensity at most 1000, mean within ±3, standard deviation at most 3.
    public func validate() throws(HestonError) {
        try heston.validate()
        try require("intensity", jumps.intensity, "in [0, 1000]") { $0 >= 0 && $0 <= 1000 }
        try require("mean", jumps.mean, "in [-3, 3]") { $0 >= -3 && $0 <= 3 }
        try require("standardDeviation", jumps.standardDeviation, "in [0, 3]") { $0 >= 0 && $0 <= 3 }
    }
}
