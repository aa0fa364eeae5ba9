internal import Kernels

/// Bates's eight parameters: Heston's five, and log-normal jumps of the price at the times of a Poisson process
/// (D. Bates 1996, "Jumps and stochastic volatility"; R. Merton 1976 without the stochastic volatility).
///
///     dS = (r − q − λm)·S dt + √v S dW¹ + (e^J − 1)·S dN,   J ~ N(μ_J, δ_J²),   m = E[e^J] − 1
///
/// v is Heston's. Jumps are independent of both Brownian motions and of each other.
public struct BatesParameters: Sendable, Equatable, Codable {
    public var heston: HestonParameters
    /// Jumps a year, λ. Not negative, at most 1000; 0 is Heston's model.
    public var lambda: Double
    /// Mean of a jump's logarithm, μ_J: −0.1 is a fall by about 10 %. Within ±3.
    public var muJ: Double
    /// Standard deviation of a jump's logarithm, δ_J. Not negative, at most 3; 0 makes all jumps equal.
    public var deltaJ: Double

    public init(heston: HestonParameters, lambda: Double, muJ: Double, deltaJ: Double) {
        self.heston = heston
        self.lambda = lambda
        self.muJ = muJ
        self.deltaJ = deltaJ
    }

    /// From an array in the order of `names`. `shapeMismatch` unless it has eight elements.
    public init(array: [Double]) throws(HestonError) {
        guard array.count == 8 else {
            throw .shapeMismatch(name: "parameters", expected: 8, actual: array.count)
        }
        self.init(
            heston: try HestonParameters(array: Array(array[0..<5])), lambda: array[5], muJ: array[6],
            deltaJ: array[7])
    }

    /// Heston's five, then (lambda, muJ, deltaJ).
    public var array: [Double] { heston.array + [lambda, muJ, deltaJ] }

    public static let names = HestonParameters.names + ["lambda", "muJ", "deltaJ"]

    /// Throws `invalidArgument` naming the first parameter outside its domain.
    public func validate() throws(HestonError) {
        try heston.validate()
        try require("lambda", lambda, "in [0, 1000]") { $0 >= 0 && $0 <= 1000 }
        try require("muJ", muJ, "in [-3, 3]") { $0 >= -3 && $0 <= 3 }
        try require("deltaJ", deltaJ, "in [0, 3]") { $0 >= 0 && $0 <= 3 }
    }

    /// m: what a jump multiplies the price by on average, less 1.
    public var meanJump: Double { expm1(muJ + 0.5 * deltaJ * deltaJ) }
}

/// Derivatives by the parameters of the jumps.
public struct JumpGradient: Sendable, Equatable {
    public var lambda: Double
    public var muJ: Double
    public var deltaJ: Double

    public static let zero = JumpGradient(lambda: 0, muJ: 0, deltaJ: 0)

    public init(lambda: Double, muJ: Double, deltaJ: Double) {
        self.lambda = lambda
        self.muJ = muJ
        self.deltaJ = deltaJ
    }

    public var array: [Double] { [lambda, muJ, deltaJ] }
}
