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
    /// Years.
    let tau: Double
    private(set) var logMoneyness: [Double] = []
    private(set) var ratio: [Double] = []
    fileprivate private(set) var lowest = Double.infinity
    fileprivate private(set) var highest = -Double.infinity
    /// All of them four at a time; the last one fills what is left.
    fileprivate private(set) var fours: [Four] = []

    /// What the line's sums need of four strikes.
    fileprivate struct Four {
        var k: Vector
        var ratio: Vector
        /// e^(k/2).
        var root: Vector
        /// m less the out-of-the-money price.
        var limit: Vector
    }

    init(logMoneyness: [Double], tau: Double) {
        self.tau = tau
        for k in logMoneyness { append(k, exp(k)) }
    }

    init(_ strikes: [Double], forward: Double, tau: Double) {
        self.tau = tau
        for strike in strikes { append(log(strike / forward), strike / forward) }
    }

    var count: Int { logMoneyness.count }
    /// The largest |k|.
    fileprivate var widest: Double { max(0, -lowest, highest) }

    /// Of the strikes in a range, the first and the last; `nil` where none is.
    fileprivate func ends(from low: Double, to high: Double) -> ClosedRange<Double>? {
        if lowest >= low && highest <= high && lowest <= highest { return lowest...highest }
        var (first, last) = (Double.infinity, -Double.infinity)
        for k in logMoneyness where k <= high && k >= low {
            first = min(first, k)
            last = max(last, k)
        }
        return first <= last ? first...last : nil
    }

    mutating func append(_ k: Double) { append(k, exp(k)) }

    private mutating func append(_ k: Double, _ ratio: Double) {
        let lane = count % 4
        logMoneyness.append(k)
        self.ratio.append(ratio)
        lowest = min(lowest, k)
        highest = max(highest, k)
        if lane == 0 { fours.append(Four(k: .zero, ratio: .zero, root: .zero, limit: .zero)) }
        for place in lane..<4 {
            fours[fours.count - 1].k[place] = k
            fours[fours.count - 1].ratio[place] = ratio
            fours[fours.count - 1].root[place] = ratio.squareRoot()
            fours[fours.count - 1].limit[place] = k >= 0 ? 1 : ratio
        }
    }
}

/// Evaluates all strikes of one maturity from one set of values of M. Keeps its buffers: after the first call with as
/// many nodes, nothing is allocated. One engine serves one thread.
struct SliceEngine {
    /// What is computed beside the price.
    enum Order: Equatable { case price, gradient, greeks }

    let accuracy: HestonPricer.Accuracy
    /// ln of what each source of error may add to a price.
    private let logTolerance: Double
    /// What `NodeRecords` looks at.
    private var records: [Vector] = []
    /// Of the maturities; `nil` where all strikes are worthless.
    private var plans: [Plan?] = []
    /// Out of the money, in units of the discounted forward and in the order of the strikes: what `price` leaves. Room
    /// for all of the last four.
    private(set) var prices: [Double] = []
    /// Of the strikes, four at a time.
    private var phases: [LinePhases] = []

    /// Vectors of a group of nodes: s, M times the weights, then the same of its five derivatives and of that by time;
    /// with jumps, of three more. Real and imaginary parts by turns.
    static let recordCount = 22
    /// With more nodes than this on the vertical line, the tilted contour is cheaper.
    private static let verticalLimit = 160.0

    init(_ accuracy: HestonPricer.Accuracy) {
        self.accuracy = accuracy
        // Half of it is for each source of error.
        logTolerance = log(0.5 * accuracy.tolerance)
    }

    /// How one maturity is computed.
    private struct Plan {
        var constants: CharacteristicConstants
        /// Of the strikes that are worth something.
        var range: ClosedRange<Double>
        /// Of the midpoint rule on the vertical line. The count is ∞ where none was found.
        var step: Double
        var count: Double
        /// What the aliases add, over 2cosh(k/2).
        var tail: Double
        /// ln of the tolerated error of g.
        var logTolerance: Double
    }

    /// Chooses how each maturity is computed: before `price` and `evaluate`, which take them by their place.
    mutating func plan(
        _ heston: HestonParameters, jumps: (Double) -> Jumps = { _ in .none }, _ maturities: [Strikes],
        derivatives: Bool
    ) {
        if plans.count != maturities.count { plans = [Plan?](repeating: nil, count: maturities.count) }
        for first in stride(from: 0, to: maturities.count, by: 4) {
            plan(heston, jumps: jumps, maturities, first..<min(first + 4, maturities.count), derivatives: derivatives)
        }
    }

    /// Up to four of them. `isLast`: the line has to do, however many nodes it takes.
    private mutating func plan(
        _ heston: HestonParameters, jumps: (Double) -> Jumps, _ maturities: [Strikes], _ places: Range<Int>,
        derivatives: Bool, isLast: Bool = false
    ) {
        var (tau, widest) = (Vector.zero, Vector.zero)
        for lane in 0..<4 {
            let place = min(places.lowerBound + lane, places.upperBound - 1)
            tau[lane] = maturities[place].tau
            widest[lane] = maturities[place].widest
        }
        // Prices are e^(k/2)·g: the factor comes off the tolerance.
        let logTolerance = self.logTolerance - 0.5 * widest
        let firstJumps = jumps(tau[0])
        // A few per cent of nodes are less work than another turn, as long as they are few.
        let slack = isLast ? 0.003 : 0.03
        let enough = isLast ? .infinity : 2 * Self.verticalLimit
        let variance = heston.roughTotalVariances(tau: tau)
        var cutoff = Cutoff(heston, tau: tau, variance: variance, logTolerance: logTolerance)
        // Where a price is ε, its derivative by v₀ is at most about ln(1/ε)·ε/v₀.
        let reach = Reach(
            heston, firstJumps, tau: tau, variance: variance + firstJumps.varianceRate * tau,
            logTolerance: derivatives ? logTolerance - log(1 + 30 / heston.v0) : logTolerance,
            derivatives: derivatives,
            hopeless: (enough * 2 * .pi) / cutoff.center,
            slack: slack)
        // Where no strike is worth anything, the forward stands for one.
        var (low, high, worth) = (Vector.zero, Vector.zero, Vector.zero)
        for lane in 0..<4 {
            let place = min(places.lowerBound + lane, places.upperBound - 1)
            guard let range = maturities[place].ends(from: -reach.left[lane], to: reach.right[lane]) else { continue }
            (low[lane], high[lane], worth[lane]) = (range.lowerBound, range.upperBound, 1)
        }
        let rule = QuadratureRule(
            heston, low: low, high: high, reach: reach, cutoff: &cutoff, logTolerance: logTolerance,
            derivatives: derivatives, slack: slack, enough: enough)
        // The aliases of e^(−|y|/2), Σ_{n≠0} (−1)ⁿ·e^(−|k + nL|/2) = −2cosh(k/2)/(e^(L/2) + 1).
        let tail = -1 / (VectorMath.exp(.pi / rule.step) + 1)
        for lane in 0..<places.count {
            guard worth[lane] > 0 else {
                plans[places.lowerBound + lane] = nil
                continue
            }
            plans[places.lowerBound + lane] = Plan(
                constants: CharacteristicConstants(heston, tau: tau[lane], jumps: jumps(tau[lane])),
                range: low[lane]...high[lane], step: rule.step[lane], count: rule.count[lane], tail: tail[lane],
                logTolerance: logTolerance[lane])
        }
    }

    /// Leaves each strike's price in `prices`.
    mutating func price(_ heston: HestonParameters, _ maturities: [Strikes], _ place: Int) throws(HestonError) {
        let strikes = maturities[place]
        let room = 4 * strikes.fours.count
        if prices.count < room {
            prices = [Double](repeating: 0, count: room)
            phases = [LinePhases](repeating: LinePhases(), count: strikes.fours.count)
        }
        guard var plan = plans[place] else {
            for index in 0..<room { prices[index] = 0 }
            return
        }
        if plan.count > Self.verticalLimit {
            if tiltedPrices(plan, strikes, room) { return }
            let range = plan.range
            planLine(heston, maturities, place, plan.constants.jumps, derivatives: false)
            plan = plans[place] ?? plan
            if plan.range != range, tiltedPrices(plan, strikes, room) { return }
        }
        if plan.count <= Double(accuracy.maximumNodes), verticalPrices(plan, strikes) { return }
        throw refusal(plan)
    }

    private mutating func tiltedPrices(_ plan: Plan, _ strikes: Strikes, _ room: Int) -> Bool {
        for index in 0..<room { prices[index] = 0 }
        return tilted(plan, strikes, .price) { engine, index, value in engine.prices[index] = value.outOfTheMoney }
    }

    /// Answers for each strike of one of `maturities`, in any order, through `receive(index, value)`.
    mutating func evaluate(
        _ heston: HestonParameters, _ maturities: [Strikes], _ place: Int, order: Order,
        receive: (Int, NormalisedValue) -> Void
    ) throws(HestonError) {
        let strikes = maturities[place]
        receiveWorthless(strikes, place, receive)
        guard var plan = plans[place] else { return }
        if plan.count > Self.verticalLimit {
            if tilted(plan, strikes, order, receive: { _, index, value in receive(index, value) }) { return }
            let range = plan.range
            planLine(heston, maturities, place, plan.constants.jumps, derivatives: true)
            receiveWorthless(strikes, place, receive)
            guard let narrower = plans[place] else { return }
            plan = narrower
            if plan.range != range,
                tilted(plan, strikes, order, receive: { _, index, value in receive(index, value) })
            {
                return
            }
        }
        if plan.count <= Double(accuracy.maximumNodes), vertical(plan, strikes, order, receive: receive) { return }
        throw refusal(plan)
    }

    /// Where the tilted contour does not serve: a plan with which the line has to do, for which the reach is searched
    /// in full. Fewer strikes may be worth something.
    private mutating func planLine(
        _ heston: HestonParameters, _ maturities: [Strikes], _ place: Int, _ jumps: Jumps, derivatives: Bool
    ) {
        plan(
            heston, jumps: { _ in jumps }, maturities, place..<place + 1, derivatives: derivatives, isLast: true)
    }

    private func receiveWorthless(_ strikes: Strikes, _ place: Int, _ receive: (Int, NormalisedValue) -> Void) {
        for (index, k) in strikes.logMoneyness.enumerated() where !(plans[place]?.range.contains(k) ?? false) {
            receive(index, Self.worthless(k))
        }
    }

    private func refusal(_ plan: Plan) -> HestonError {
        .accuracyNotReached(
            tau: plan.constants.tau, tolerance: accuracy.tolerance, nodesNeeded: plan.count,
            nodesAllowed: accuracy.maximumNodes)
    }

    /// Beyond the reach: nothing, within the tolerance.
    private static func worthless(_ k: Double) -> NormalisedValue {
        NormalisedValue(
            outOfTheMoney: 0, gradient: (0, 0, 0, 0, 0), deltaMinusOne: k > 0 ? -1 : 0, spotGamma: 0,
            exceedance: k > 0 ? 0 : 1, decay: 0, jumpGradient: (0, 0, 0))
    }

    // MARK: The vertical line

    /// False where a sum is no number.
    private mutating func verticalPrices(_ plan: Plan, _ strikes: Strikes) -> Bool {
        let (c, step) = (plan.constants, plan.step)
        let groups = (Int(plan.count) + 3) / 4
        reserve(groups)
        let tail = plan.tail
        let (low, high) = (Vector(repeating: plan.range.lowerBound), Vector(repeating: plan.range.upperBound))
        // All of them before the nodes: chains of their own, which the processor follows side by side.
        for (index, four) in strikes.fours.enumerated() { phases[index] = LinePhases(step * four.k) }
        return unsafe records.withUnsafeMutableBytes { bytes in
            let nodes = unsafe NodeRecords(bytes.baseAddress!)
            if c.jumps.areNone {
                unsafe nodes.fillVertical(c, step: step, groups: groups, PriceOnly.self)
            } else {
                unsafe nodes.fillVertical(c, step: step, groups: groups, JumpPrice.self)
            }
            return unsafe prices.withUnsafeMutableBytes { prices in
                var check = Vector.zero
                for index in 0..<strikes.fours.count {
                    let four = strikes.fours[index]
                    let isInRange = (four.k .>= low) .& (four.k .<= high)
                    let sums = unsafe nodes.lineSums(
                        phases[index], groups: groups, count: min(4, strikes.count - 4 * index))
                    let m = four.root * sums - tail * (1 + four.ratio)
                    check += m
                    let rest = four.limit - m
                    unsafe prices.storeBytes(
                        of: VectorMath.select(isInRange .& (rest .> .zero), rest, else: .zero),
                        toByteOffset: 32 * index, as: Vector.self)
                }
                return check.total().isFinite
            }
        }
    }

    /// False where a sum is no number.
    private mutating func vertical(
        _ plan: Plan, _ strikes: Strikes, _ order: Order, receive: (Int, NormalisedValue) -> Void
    ) -> Bool {
        let (c, step) = (plan.constants, plan.step)
        let groups = (Int(plan.count) + 3) / 4
        reserve(groups)
        let tail = plan.tail
        return unsafe records.withUnsafeMutableBytes { bytes in
            let nodes = unsafe NodeRecords(bytes.baseAddress!)
            switch (order, c.jumps.areNone) {
            case (.gradient, true): unsafe nodes.fillVertical(c, step: step, groups: groups, WithDerivatives.self)
            case (_, true): unsafe nodes.fillVertical(c, step: step, groups: groups, WithGreeks.self)
            case (_, false): unsafe nodes.fillVertical(c, step: step, groups: groups, JumpGreeks.self)
            }
            var isSound = true
            for (index, k) in strikes.logMoneyness.enumerated() where plan.range.contains(k) {
                let ratio = strikes.ratio[index]
                let phase = Rotation(angle: step * k, scale: ratio.squareRoot())
                var sums = unsafe nodes.sums(phase, groups: groups, order, hasJumps: !c.jumps.areNone)
                sums.price -= tail * (ratio + 1)
                sums.delta += tail
                isSound = isSound && sums.isFinite
                receive(index, sums.value(k, ratio))
            }
            return isSound
        }
    }

    // MARK: The tilted contour

    /// False where no rule reaches the tolerance, or a sum is no number.
    private mutating func tilted(
        _ plan: Plan, _ strikes: Strikes, _ order: Order, receive: (inout SliceEngine, Int, NormalisedValue) -> Void
    ) -> Bool {
        var isSound = true
        let (c, range) = (plan.constants, plan.range)
        let shift = c.rho / c.sigma * (c.v0 + c.kappaTheta * c.tau) + c.jumps.count * c.jumps.meanJump
        for side in [1.0, -1.0] {
            var (low, high) = (Double.infinity, -Double.infinity)
            for k in strikes.logMoneyness where range.contains(k) && (k + shift >= 0) == (side > 0) {
                low = min(low, k)
                high = max(high, k)
            }
            guard low <= high else { continue }
            reserve(TiltedContour.groups)
            let found = unsafe records.withUnsafeMutableBytes { bytes in
                unsafe TiltedContour.rule(
                    c, side: side, range: low...high, logTolerance: plan.logTolerance, derivatives: order != .price,
                    nodes: NodeRecords(bytes.baseAddress!))
            }
            guard let rule = found, let groups = fill(c, rule, low...high, order, logTolerance: plan.logTolerance)
            else { return false }
            for (index, k) in strikes.logMoneyness.enumerated()
            where range.contains(k) && (k + shift >= 0) == (side > 0) {
                let sums = unsafe records.withUnsafeMutableBytes { bytes in
                    unsafe NodeRecords(bytes.baseAddress!).sums(
                        Exponential(k: k), groups: groups, order, hasJumps: !c.jumps.areNone)
                }
                isSound = isSound && sums.isFinite
                receive(&self, index, sums.value(k, strikes.ratio[index]))
            }
        }
        return isSound
    }

    /// Takes nodes until nothing is left to add; the groups of four nodes, or `nil` where that takes too many.
    private mutating func fill(
        _ c: CharacteristicConstants, _ rule: TiltedContour.Rule, _ range: ClosedRange<Double>, _ order: Order,
        logTolerance: Double
    ) -> Int? {
        let most = min(Double(accuracy.maximumNodes), (TiltedContour.farthest / rule.step).rounded(.up))
        let mostGroups = Int((most / 4).rounded(.up))
        reserve(mostGroups)
        // The terms fall faster than a geometric series: a hundredth is the room for it.
        let floor = exp(2 * (logTolerance - 4.6))
        // Terms are rounded at 1e-15 to 1e-14 of themselves.
        let ceiling = max(1, 1e13 * accuracy.tolerance)
        return unsafe records.withUnsafeMutableBytes { bytes -> Int? in
            let nodes = unsafe NodeRecords(bytes.baseAddress!)
            return switch (order, c.jumps.areNone) {
            case (.price, true): unsafe nodes.fillTilted(c, rule, range, mostGroups, floor...ceiling, PriceOnly.self)
            case (.gradient, true):
                unsafe nodes.fillTilted(c, rule, range, mostGroups, floor...ceiling, WithDerivatives.self)
            case (.greeks, true): unsafe nodes.fillTilted(c, rule, range, mostGroups, floor...ceiling, WithGreeks.self)
            case (.price, false): unsafe nodes.fillTilted(c, rule, range, mostGroups, floor...ceiling, JumpPrice.self)
            case (_, false): unsafe nodes.fillTilted(c, rule, range, mostGroups, floor...ceiling, JumpGreeks.self)
            }
        }
    }

    private mutating func reserve(_ groups: Int) {
        guard records.count < Self.recordCount * groups else { return }
        records = [Vector](repeating: .zero, count: Self.recordCount * max(64, groups + groups / 2))
    }
}
