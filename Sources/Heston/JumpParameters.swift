internal import Kernels

/// Bates's log-normal jumps: at `intensity` a year, ln S moves by a normal of the given mean and standard deviation.
public struct JumpParameters: Sendable, Equatable, Codable {
    /// Expected number of jumps per year. Non-negative.
    public var intensity: Double
    /// Of ln S, absolute: −0.1 is about −10 %.
    public var mean: Double
    /// Non-negative.
    public var standardDeviation: Double

    public init(intensity: Double, mean: Double, standardDeviation: Double) {
        self.intensity = intensity
        self.mean = mean
        self.standardDeviation = standardDeviation
    }

    /// E[e^J] − 1: what the drift must give back.
    public var meanRelativeJump: Double { expm1(mean + 0.5 * standardDeviation * standardDeviation) }

    public func validate() throws(HestonError) {
        try require("intensity", intensity, "in [0, 1e6]") { $0 >= 0 && $0 <= 1e6 }
        try require("mean", mean, "finite, within ±10") { abs($0) <= 10 }
        try require("standardDeviation", standardDeviation, "in [0, 10]") { $0 >= 0 && $0 <= 10 }
    }
}

/// Derivatives by the parameters of the jumps.
public struct JumpGradient: Sendable, Equatable {
    public var intensity: Double
    public var mean: Double
    public var standardDeviation: Double

    public static let zero = JumpGradient(intensity: 0, mean: 0, standardDeviation: 0)

    public init(intensity: Double, mean: Double, standardDeviation: Double) {
        self.intensity = intensity
        self.mean = mean
        self.standardDeviation = standardDeviation
    }

    public var array: [Double] { [intensity, mean, standardDeviation] }
}
