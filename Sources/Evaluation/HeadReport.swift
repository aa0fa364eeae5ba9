public import Kernels

/// What is known of one head of a network on bars that it has not seen.
public struct HeadEvidence: Sendable {
    /// `policy`, `value`.
    public var name: String
    /// Its answer at each bar, in order of time.
    public var outputs: [Double]
    /// By layer, from input to output: the norm of the answers' derivatives by the layer's parameters.
    public var gradients: [(layer: String, norm: Double)]
    /// How much is lost without it, in [0, 1]: for a head that decides, the share of the decisions that are others when
    /// it always says its mean.
    public var effect: Double
    /// What its answers are there to foretell, at the same bars.
    public var truth: [Double]

    public init(
        name: String, outputs: [Double], gradients: [(layer: String, norm: Double)], effect: Double, truth: [Double]
    ) {
        self.name = name
        self.outputs = outputs
        self.gradients = gradients
        self.effect = effect
        self.truth = truth
    }
}

/// One thing that was demanded, and what was found.
public struct Condition: Sendable, Equatable {
    /// Where the value must be, beside the bound.
    public enum Demand: String, Sendable, Codable {
        case above
        case atLeast = "at least"
        case atMost = "at most"
    }

    public var name: String
    /// `nil`: not defined, which does not pass.
    public var value: Double?
    public var bound: Double
    public var demand: Demand
    public var passed: Bool
    /// What a person should know beside the numbers.
    public var note: String

    public init(_ name: String, _ value: Double?, atLeast bound: Double, note: String = "") {
        self.init(name, value, bound, .atLeast, value.map { $0 >= bound } ?? false, note)
    }

    public init(_ name: String, _ value: Double?, atMost bound: Double, note: String = "") {
        self.init(name, value, bound, .atMost, value.map { $0 <= bound } ?? false, note)
    }

    public init(_ name: String, _ value: Double?, above bound: Double, note: String = "") {
        self.init(name, value, bound, .above, value.map { $0 > bound } ?? false, note)
    }

    private init(
        _ name: String, _ value: Double?, _ bound: Double, _ demand: Demand, _ passed: Bool, _ note: String
    ) {
        self.name = name
        self.value = value
        self.bound = bound
        self.demand = demand
        self.passed = passed
        self.note = note
    }
}

/// Whether a head works: its answers change, learning reaches all of its layers, something hangs on it, and it
/// foretells better than chance.
public struct HeadReport: Sendable, Equatable {
    public var name: String
    /// `varies`, `gradient`, `effect`, `score`.
    public var conditions: [Condition]

    public var passed: Bool { conditions.allSatisfy(\.passed) }

    /// The least standard deviation of answers that change: of a share of the equity, or of a value of the order of 1.
    static let leastDeviation = 1e-3
    static let leastEffect = 0.01
    static let significance = 0.01

    public init(_ evidence: HeadEvidence, random: inout RandomGenerator) {
        name = evidence.name
        let count = Double(max(1, evidence.outputs.count))
        let mean = evidence.outputs.reduce(0, +) / count
        let deviation = (evidence.outputs.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count).squareRoot()
        let weakest = evidence.gradients.min { $0.norm < $1.norm }
        let test = PermutationTest(forecast: evidence.outputs, truth: evidence.truth, random: &random)
        let correlation = (test.correlation * 1e4).rounded() / 1e4
        conditions = [
            Condition(
                "varies", deviation, atLeast: Self.leastDeviation, note: "standard deviation of its answers"),
            Condition(
                "gradient", weakest?.norm, above: 0, note: "weakest in layer \(weakest?.layer ?? "none")"),
            Condition("effect", evidence.effect, atLeast: Self.leastEffect, note: "what changes without it"),
            Condition(
                "score", test.pValue, atMost: Self.significance,
                note: "p of its rank correlation \(correlation) with what it should foretell"),
        ]
    }
}
