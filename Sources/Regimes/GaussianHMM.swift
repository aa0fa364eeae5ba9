internal import Kernels

/// A hidden Markov model with Gaussian observations: S regimes, each with its mean and covariance of d features, and
/// the probabilities of passing from one to the next at each step.
///
/// All arrays are row-major; states count from 0 and, when fitted here, are ordered (see `StateOrder`), so that a label
/// means the same after each refit.
public struct GaussianHMM: Sendable, Equatable, Codable {
    public enum Covariance: UInt8, Sendable, Codable { case diagonal = 0, full }

    public private(set) var stateCount: Int
    /// Features an observation.
    public private(set) var dimension: Int
    public private(set) var covariance: Covariance
    /// P(state) at the first observation, `[states]`.
    public private(set) var initial: [Double]
    /// P(next | state), `[from × to]`.
    public private(set) var transition: [Double]
    /// `[states × features]`.
    public private(set) var means: [Double]
    /// `[states × features × features]`; zero off the diagonal for `.diagonal`.
    public private(set) var covariances: [Double]

    /// Throws `invalidModel` unless shapes fit, probabilities add up to 1 (within 1e-6) and covariances are symmetric
    /// and positive definite.
    public init(
        covariance: Covariance, initial: [Double], transition: [Double], means: [Double], covariances: [Double],
        dimension: Int
    ) throws(RegimeError) {
        let states = initial.count
        func check(_ rule: Bool, _ what: String) throws(RegimeError) {
            guard rule else { throw .invalidModel(what: what) }
        }
        try check((1...Self.maximumStates).contains(states), "1 to \(Self.maximumStates) states")
        try check((1...Self.maximumDimension).contains(dimension), "1 to \(Self.maximumDimension) features")
        try check(transition.count == states * states, "a transition probability for each pair of states")
        try check(means.count == states * dimension, "a mean for each state and feature")
        try check(covariances.count == states * dimension * dimension, "a covariance matrix for each state")
        try check(means.allSatisfy(\.isFinite), "finite means")
        try check(covariances.allSatisfy(\.isFinite), "finite covariances")
        for row in [initial] + (0..<states).map({ Array(transition[$0 * states..<($0 + 1) * states]) }) {
            try check(row.allSatisfy { $0 >= 0 && $0 <= 1 + 1e-6 }, "probabilities in [0, 1]")
            try check(abs(row.reduce(0, +) - 1) <= 1e-6, "probabilities that add up to 1")
        }
        for state in 0..<states {
            for i in 0..<dimension {
                for j in 0..<i {
                    let a = covariances[(state * dimension + i) * dimension + j]
                    let b = covariances[(state * dimension + j) * dimension + i]
                    try check(abs(a - b) <= 1e-9 * (abs(a) + abs(b)), "symmetric covariances")
                    try check(covariance == .full || a == 0, "no covariances in a diagonal model")
                }
            }
        }
        stateCount = states
        self.dimension = dimension
        self.covariance = covariance
        self.initial = initial
        self.transition = transition
        self.means = means
        self.covariances = covariances
        try check(Emissions(self) != nil, "positive definite covariances")
    }

    /// More states than this are no regimes.
    public static let maximumStates = 32
    public static let maximumDimension = 64

    /// P(next | state).
    public func transition(from: Int, to: Int) -> Double { transition[from * stateCount + to] }

    public func mean(state: Int, feature: Int) -> Double { means[state * dimension + feature] }

    /// Variance of one feature in one state.
    public func variance(state: Int, feature: Int) -> Double {
        covariances[(state * dimension + feature) * dimension + feature]
    }

    /// Free parameters: what BIC counts.
    public var parameterCount: Int {
        let spread = covariance == .full ? dimension * (dimension + 1) / 2 : dimension
        return stateCount - 1 + stateCount * (stateCount - 1) + stateCount * (dimension + spread)
    }

    /// The share of time spent in each state in the long run: the transition matrix's stationary distribution, by
    /// repeated squaring of a lazy chain, so that a periodic one converges too.
    public var stationary: [Double] {
        let n = stateCount
        var power = transition
        for i in power.indices { power[i] *= 0.5 }
        for i in 0..<n { power[i * n + i] += 0.5 }
        for _ in 0..<60 {
            var square = [Double](repeating: 0, count: n * n)
            for i in 0..<n {
                var sum = 0.0
                for j in 0..<n {
                    for k in 0..<n { square[i * n + j] += power[i * n + k] * power[k * n + j] }
                    sum += square[i * n + j]
                }
                for j in 0..<n { square[i * n + j] /= sum }
            }
            power = square
        }
        return (0..<n).map { to in (0..<n).reduce(0.0) { $0 + initial[$1] * power[$1 * n + to] } }
    }

    /// Mean stay in each state in steps, 1/(1 − P(stay)); infinite for a state that is never left.
    public var dwellTimes: [Double] { (0..<stateCount).map { 1 / (1 - transition(from: $0, to: $0)) } }

    /// The same model with its states renumbered: new state i is old state `order[i]`.
    func reordered(_ order: [Int]) -> GaussianHMM {
        var copy = self
        let block = dimension * dimension
        copy.initial = order.map { initial[$0] }
        copy.transition = order.flatMap { from in order.map { transition(from: from, to: $0) } }
        copy.means = order.flatMap { means[$0 * dimension..<($0 + 1) * dimension] }
        copy.covariances = order.flatMap { covariances[$0 * block..<($0 + 1) * block] }
        return copy
    }

    /// For the fit, which keeps the rules by construction.
    init(
        unchecked covariance: Covariance, dimension: Int, initial: [Double], transition: [Double], means: [Double],
        covariances: [Double]
    ) {
        stateCount = initial.count
        self.dimension = dimension
        self.covariance = covariance
        self.initial = initial
        self.transition = transition
        self.means = means
        self.covariances = covariances
    }
}

/// By what fitted states are numbered, smallest first.
public enum StateOrder: Sendable, Equatable, Codable {
    /// The feature's variance within the state: for returns, so that state 0 is the calm one.
    case variance(feature: Int)
    /// The feature's mean within the state: for a feature that is itself a volatility.
    case mean(feature: Int)

    func sorted(_ model: GaussianHMM) -> GaussianHMM {
        let key = (0..<model.stateCount).map { state in
            switch self {
            case .variance(let feature): model.variance(state: state, feature: feature)
            case .mean(let feature): model.mean(state: state, feature: feature)
            }
        }
        return model.reordered((0..<model.stateCount).sorted { (key[$0], $0) < (key[$1], $1) })
    }
}
