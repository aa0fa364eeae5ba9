internal import Kernels

/// One strike's answer in forward units: everything relative to the discounted forward, at k = ln(K/F).
struct NormalisedValue {
    /// The out-of-the-money price: a put for k < 0, a call for k ≥ 0. Never negative.
    var outOfTheMoney: Double
    /// By the five parameters: the same for calls and puts.
    var gradient: (Double, Double, Double, Double, Double)
    /// ∂(m_k − m): the call's delta is 1 plus this, undiscounted.
    var deltaMinusOne: Double
    /// Gamma times spot, undiscounted. Never negative.
    var spotGamma: Double
    /// P(S_τ > K) under the pricing measure.
    var exceedance: Double
    /// ∂m/∂τ at fixed k, per year: the decay of calls and puts before carry. Negative but for rounding.
    var decay: Double
    /// By λ, μ and δ of the jumps.
    var jumpGradient: (Double, Double, Double)
}

/// The strikes of one maturity: k = ln(K/F), and K/F.
struct Strikes {
    private(set) var logMoneyness: [Double]
    private(set) var ratio: [Double]

    init(logMoneyness: [Double]) {
        self.logMoneyness = logMoneyness
        ratio = logMoneyness.map { exp($0) }
    }

    init(_ strikes: [Double], forward: Double) {
        ratio = strikes.map { $0 / forward }
        logMoneyness = ratio.map { log($0) }
    }

    var count: Int { logMoneyness.count }

    mutating func append(_ k: Double) {
        logMoneyness.append(k)
        ratio.append(exp(k))
    }
}

/// Evaluates all strikes of one maturity from one set of values of M. Keeps its buffers: after the first call with as
/// many nodes, nothing is allocated. One engine serves one thread.
struct SliceEngine {
    /// What is computed beside the price.
    enum Order: Equatable { case price, gradient, greeks }

    /// Planes of `stride` numbers, real and imaginary parts by turns: s, M times the weights, then the same of its five
    /// derivatives and of that by time; with jumps, of three more.
    private var planes: [Double] = []
    private var stride = 0
    private var hint = Reach.Hint()

    private static let planeCount = 16
    private static let planeCountWithJumps = 22
    /// With more nodes than this on the vertical line, the tilted contour is cheaper.
    private static let verticalLimit = 160.0

    init() {}

    /// Forgets what the maturities before taught, so that equal surfaces get equal bits: call it before the first one.
    mutating func restart() { hint = Reach.Hint() }

    /// Answers for each of `strikes`, in any order, through `receive(index, value)`.
    mutating func evaluate(
        _ heston: HestonParameters, jumps: Jumps = .none, tau: Double, strikes: Strikes,
        accuracy: HestonPricer.Accuracy, order: Order, receive: (Int, NormalisedValue) -> Void
    ) throws(HestonError) {
        guard strikes.count > 0 else { return }
        let derivatives = order != .price
        var widest = 0.0
        for k in strikes.logMoneyness { widest = max(widest, abs(k)) }
        // Prices are e^(k/2)·g: the factor comes off the tolerance. Half of it is for each source of error.
        let logTolerance = log(0.5 * accuracy.tolerance) - 0.5 * widest
        // Where a price is ε, its derivative by v₀ is at most about ln(1/ε)·ε/v₀.
        let reach = Reach(
            heston, jumps, tau: tau, logTolerance: derivatives ? logTolerance - log(1 + 30 / heston.v0) : logTolerance,
            derivatives: derivatives, hint: &hint)
        var (low, high) = (Double.infinity, -Double.infinity)
        for k in strikes.logMoneyness where k <= reach.right && k >= -reach.left {
            low = min(low, k)
            high = max(high, k)
        }
        for (index, k) in strikes.logMoneyness.enumerated() where !(k <= reach.right && k >= -reach.left) {
            receive(index, Self.worthless(k))
        }
        guard low <= high else { return }
        let rule = QuadratureRule(
            heston, tau: tau, range: low...high, reach: reach, logTolerance: logTolerance, derivatives: derivatives)
        let constants = CharacteristicConstants(heston, tau: tau, jumps: jumps)
        if rule.count > Self.verticalLimit,
            tilted(constants, strikes, low...high, accuracy, order, logTolerance: logTolerance, receive: receive)
        {
            return
        }
        if rule.count <= Double(accuracy.maximumNodes),
            vertical(constants, strikes, low...high, rule, order, receive: receive)
        {
            return
        }
        throw .accuracyNotReached(
            tau: tau, tolerance: accuracy.tolerance, nodesNeeded: rule.count, nodesAllowed: accuracy.maximumNodes)
    }

    /// Beyond the reach: nothing, within the tolerance.
    private static func worthless(_ k: Double) -> NormalisedValue {
        NormalisedValue(
            outOfTheMoney: 0, gradient: (0, 0, 0, 0, 0), deltaMinusOne: k > 0 ? -1 : 0, spotGamma: 0,
            exceedance: k > 0 ? 0 : 1, decay: 0, jumpGradient: (0, 0, 0))
    }

    // MARK: The vertical line

    /// False where a sum is no number.
    private mutating func vertical(
        _ c: CharacteristicConstants, _ strikes: Strikes, _ range: ClosedRange<Double>, _ rule: QuadratureRule,
        _ order: Order, receive: (Int, NormalisedValue) -> Void
    ) -> Bool {
        let nodeCount = Int(rule.count)
        let groups = (nodeCount + 3) / 4
        reserve(4 * groups, c.jumps)
        let (stride, step, hasJumps) = (self.stride, rule.step, !c.jumps.areNone)
        // The aliases of e^(−|y|/2): Σ_{n≠0} e^(−|k + nL|/2) = 2cosh(k/2)/(e^(L/2) − 1).
        let tail = 1 / expm1(.pi / step)
        return unsafe planes.withUnsafeMutableBytes { bytes in
            let planes = unsafe Planes(bytes.baseAddress!, stride: stride)
            switch (order, c.jumps.areNone) {
            case (.price, true): unsafe planes.fillVertical(c, step: step, count: nodeCount, PriceOnly.self)
            case (.gradient, true): unsafe planes.fillVertical(c, step: step, count: nodeCount, WithDerivatives.self)
            case (.greeks, true): unsafe planes.fillVertical(c, step: step, count: nodeCount, WithGreeks.self)
            case (.price, false): unsafe planes.fillVertical(c, step: step, count: nodeCount, JumpPrice.self)
            case (_, false): unsafe planes.fillVertical(c, step: step, count: nodeCount, JumpGreeks.self)
            }
            func phase(_ index: Int) -> Rotation {
                Rotation(angle: step * strikes.logMoneyness[index], scale: strikes.ratio[index].squareRoot())
            }
            func answer(_ index: Int, _ raw: Sums) -> Bool {
                var sums = raw
                sums.price -= tail * (strikes.ratio[index] + 1)
                sums.delta += tail
                receive(index, sums.value(strikes.logMoneyness[index], strikes.ratio[index]))
                return sums.isFinite
            }
            var isSound = true
            var index = 0
            while index < strikes.count {
                defer { index += 1 }
                guard range.contains(strikes.logMoneyness[index]) else { continue }
                guard order == .price, index + 1 < strikes.count, range.contains(strikes.logMoneyness[index + 1]) else {
                    let sums = unsafe planes.sums(phase(index), groups: groups, order, hasJumps: hasJumps)
                    isSound = answer(index, sums) && isSound
                    continue
                }
                // Two strikes share each node's way from memory.
                let (first, second) = unsafe planes.priceSums(phase(index), phase(index + 1), groups)
                isSound = answer(index, first) && isSound
                index += 1
                isSound = answer(index, second) && isSound
            }
            return isSound
        }
    }

    // MARK: The tilted contour

    /// False where no rule reaches the tolerance, or a sum is no number.
    private mutating func tilted(
        _ c: CharacteristicConstants, _ strikes: Strikes, _ range: ClosedRange<Double>,
        _ accuracy: HestonPricer.Accuracy, _ order: Order, logTolerance: Double,
        receive: (Int, NormalisedValue) -> Void
    ) -> Bool {
        var isSound = true
        let shift = c.rho / c.sigma * (c.v0 + c.kappaTheta * c.tau) + c.jumps.count * c.jumps.meanJump
        for side in [1.0, -1.0] {
            var (low, high) = (Double.infinity, -Double.infinity)
            for k in strikes.logMoneyness where range.contains(k) && (k + shift >= 0) == (side > 0) {
                low = min(low, k)
                high = max(high, k)
            }
            guard low <= high else { continue }
            reserve(32, c.jumps)
            let found = unsafe planes.withUnsafeMutableBytes { [stride] bytes in
                unsafe TiltedContour.rule(
                    c, side: side, range: low...high, logTolerance: logTolerance, derivatives: order != .price,
                    planes: Planes(bytes.baseAddress!, stride: stride))
            }
            guard let rule = found,
                let groups = fill(
                    c, rule, low...high, order,
                    accuracy, logTolerance: logTolerance)
            else { return false }
            let stride = self.stride
            unsafe planes.withUnsafeMutableBytes { bytes in
                let planes = unsafe Planes(bytes.baseAddress!, stride: stride)
                for (index, k) in strikes.logMoneyness.enumerated()
                where range.contains(k) && (k + shift >= 0) == (side > 0) {
                    let sums = unsafe planes.sums(Exponential(k: k), groups: groups, order, hasJumps: !c.jumps.areNone)
                    isSound = isSound && sums.isFinite
                    receive(index, sums.value(k, strikes.ratio[index]))
                }
            }
        }
        return isSound
    }

    /// Fills the planes until nothing is left to add; the groups of four nodes, or `nil` where that takes too many.
    private mutating func fill(
        _ c: CharacteristicConstants, _ rule: TiltedContour.Rule, _ range: ClosedRange<Double>,
        _ order: Order, _ accuracy: HestonPricer.Accuracy, logTolerance: Double
    ) -> Int? {
        let most = min(Double(accuracy.maximumNodes), (TiltedContour.farthest / rule.step).rounded(.up))
        let mostGroups = Int((most / 4).rounded(.up))
        reserve(4 * mostGroups, c.jumps)
        let stride = self.stride
        // The terms fall faster than a geometric series: a hundredth is the room for it.
        let floor = exp(2 * (logTolerance - 4.6))
        // Terms are rounded at 1e-15 to 1e-14 of themselves.
        let ceiling = max(1, 1e13 * accuracy.tolerance)
        return unsafe planes.withUnsafeMutableBytes { bytes -> Int? in
            let planes = unsafe Planes(bytes.baseAddress!, stride: stride)
            return switch (order, c.jumps.areNone) {
            case (.price, true): unsafe planes.fillTilted(c, rule, range, mostGroups, floor...ceiling, PriceOnly.self)
            case (.gradient, true):
                unsafe planes.fillTilted(c, rule, range, mostGroups, floor...ceiling, WithDerivatives.self)
            case (.greeks, true): unsafe planes.fillTilted(c, rule, range, mostGroups, floor...ceiling, WithGreeks.self)
            case (.price, false): unsafe planes.fillTilted(c, rule, range, mostGroups, floor...ceiling, JumpPrice.self)
            case (_, false): unsafe planes.fillTilted(c, rule, range, mostGroups, floor...ceiling, JumpGreeks.self)
            }
        }
    }

    private mutating func reserve(_ nodes: Int, _ jumps: Jumps) {
        let count = jumps.areNone ? Self.planeCount : Self.planeCountWithJumps
        guard nodes > stride || planes.count < count * stride else { return }
        if nodes > stride { stride = max(256, (nodes + nodes / 2) / 4 * 4) }
        planes = [Double](repeating: 0, count: count * stride)
    }
}
