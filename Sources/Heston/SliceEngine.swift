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
    /// derivatives.
    private var planes: [Double] = []
    private var stride = 0
    private var hint = Reach.Hint()

    private static let planeCount = 14
    /// With more nodes than this on the vertical line, the tilted contour is cheaper.
    private static let verticalLimit = 160.0

    init() {}

    /// Forgets what the maturities before taught, so that equal surfaces get equal bits: call it before the first one.
    mutating func restart() { hint = Reach.Hint() }

    /// Answers for each of `strikes`, in any order, through `receive(index, value)`.
    mutating func evaluate(
        _ heston: HestonParameters, tau: Double, strikes: Strikes, accuracy: HestonPricer.Accuracy, order: Order,
        receive: (Int, NormalisedValue) -> Void
    ) throws(HestonError) {
        guard strikes.count > 0 else { return }
        let derivatives = order != .price
        var widest = 0.0
        for k in strikes.logMoneyness { widest = max(widest, abs(k)) }
        // Prices are e^(k/2)·g: the factor comes off the tolerance. Half of it is for each source of error.
        let logTolerance = log(0.5 * accuracy.tolerance) - 0.5 * widest
        // Where a price is ε, its derivative by v₀ is at most about ln(1/ε)·ε/v₀.
        let reach = Reach(
            heston, tau: tau, logTolerance: derivatives ? logTolerance - log(1 + 30 / heston.v0) : logTolerance,
            hint: &hint)
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
        let constants = CharacteristicConstants(heston, tau: tau)
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
            exceedance: k > 0 ? 0 : 1)
    }

    // MARK: The vertical line

    /// False where a sum is no number.
    private mutating func vertical(
        _ c: CharacteristicConstants, _ strikes: Strikes, _ range: ClosedRange<Double>, _ rule: QuadratureRule,
        _ order: Order, receive: (Int, NormalisedValue) -> Void
    ) -> Bool {
        let nodeCount = Int(rule.count)
        let groups = (nodeCount + 3) / 4
        reserve(4 * groups)
        let (stride, step) = (self.stride, rule.step)
        var isSound = true
        // The aliases of e^(−|y|/2): Σ_{n≠0} e^(−|k + nL|/2) = 2cosh(k/2)/(e^(L/2) − 1).
        let tail = 1 / expm1(.pi / step)
        unsafe planes.withUnsafeMutableBytes { bytes in
            let planes = unsafe Planes(bytes.baseAddress!, stride: stride)
            if order == .price {
                unsafe planes.fillVertical(c, step: step, count: nodeCount, PriceOnly.self)
            } else {
                unsafe planes.fillVertical(c, step: step, count: nodeCount, WithDerivatives.self)
            }
            func phase(_ index: Int) -> Rotation {
                Rotation(angle: step * strikes.logMoneyness[index], scale: strikes.ratio[index].squareRoot())
            }
            func answer(_ index: Int, _ raw: Sums) {
                var sums = raw
                sums.price -= tail * (strikes.ratio[index] + 1)
                sums.delta += tail
                isSound = isSound && sums.isFinite
                receive(index, sums.value(strikes.logMoneyness[index], strikes.ratio[index]))
            }
            var index = 0
            while index < strikes.count {
                defer { index += 1 }
                guard range.contains(strikes.logMoneyness[index]) else { continue }
                guard order == .price, index + 1 < strikes.count, range.contains(strikes.logMoneyness[index + 1]) else {
                    answer(index, unsafe planes.sums(phase(index), groups: groups, order))
                    continue
                }
                // Two strikes share each node's way from memory.
                let (first, second) = unsafe planes.priceSums(phase(index), phase(index + 1), groups)
                answer(index, first)
                index += 1
                answer(index, second)
            }
        }
        return isSound
    }

    // MARK: The tilted contour

    /// False where no rule reaches the tolerance, or a sum is no number.
    private mutating func tilted(
        _ c: CharacteristicConstants, _ strikes: Strikes, _ range: ClosedRange<Double>,
        _ accuracy: HestonPricer.Accuracy, _ order: Order, logTolerance: Double,
        receive: (Int, NormalisedValue) -> Void
    ) -> Bool {
        var isSound = true
        let shift = c.rho / c.sigma * (c.v0 + c.kappaTheta * c.tau)
        for side in [1.0, -1.0] {
            var (low, high) = (Double.infinity, -Double.infinity)
            for k in strikes.logMoneyness where range.contains(k) && (k + shift >= 0) == (side > 0) {
                low = min(low, k)
                high = max(high, k)
            }
            guard low <= high else { continue }
            guard
                let rule = TiltedContour.rule(
                    c, side: side, range: low...high, logTolerance: logTolerance, derivatives: order != .price),
                let groups = fill(
                    c, rule.contour, rule.step, low...high, order,
                    logTolerance: logTolerance, maximumNodes: accuracy.maximumNodes)
            else { return false }
            let stride = self.stride
            unsafe planes.withUnsafeMutableBytes { bytes in
                let planes = unsafe Planes(bytes.baseAddress!, stride: stride)
                for (index, k) in strikes.logMoneyness.enumerated()
                where range.contains(k) && (k + shift >= 0) == (side > 0) {
                    let sums = unsafe planes.sums(Exponential(k: k), groups: groups, order)
                    isSound = isSound && sums.isFinite
                    receive(index, sums.value(k, strikes.ratio[index]))
                }
            }
        }
        return isSound
    }

    /// Fills the planes until nothing is left to add; the groups of four nodes, or `nil` where that takes too many.
    private mutating func fill(
        _ c: CharacteristicConstants, _ contour: TiltedContour, _ step: Double, _ range: ClosedRange<Double>,
        _ order: Order, logTolerance: Double, maximumNodes: Int
    ) -> Int? {
        let most = min(Double(maximumNodes), (TiltedContour.farthest / step).rounded(.up))
        let mostGroups = Int((most / 4).rounded(.up))
        reserve(4 * mostGroups)
        let stride = self.stride
        // The terms fall faster than a geometric series: a hundredth is the room for it.
        let floor = exp(2 * (logTolerance - 4.6))
        return unsafe planes.withUnsafeMutableBytes { bytes -> Int? in
            let planes = unsafe Planes(bytes.baseAddress!, stride: stride)
            return switch order {
            case .price: unsafe planes.fillTilted(c, contour, step, range, mostGroups, floor, PriceOnly.self)
            default: unsafe planes.fillTilted(c, contour, step, range, mostGroups, floor, WithDerivatives.self)
            }
        }
    }

    private mutating func reserve(_ nodes: Int) {
        guard nodes > stride else { return }
        stride = max(256, (nodes + nodes / 2) / 4 * 4)
        planes = [Double](repeating: 0, count: Self.planeCount * stride)
    }
}

// MARK: Sums over the nodes

/// Σ over the nodes of Re[P], P = M(s)·weight·e^((1−s)k), and of what is made from it.
private struct Sums {
    /// m.
    var price = 0.0
    /// m_k − m.
    var delta = 0.0
    /// m_k − m_kk.
    var gamma = 0.0
    /// ∂m.
    var gradient = (0.0, 0.0, 0.0, 0.0, 0.0)

    /// Clipping at 0 would make a price of what is no number.
    @inline(always)
    var isFinite: Bool {
        let derivatives = gradient.0 + gradient.1 + gradient.2 + gradient.3 + gradient.4
        return (price + delta + gamma + derivatives).isFinite
    }

    @inline(always)
    func value(_ k: Double, _ ratio: Double) -> NormalisedValue {
        NormalisedValue(
            outOfTheMoney: max(0, (k >= 0 ? 1 : ratio) - price),
            gradient: (-gradient.0, -gradient.1, -gradient.2, -gradient.3, -gradient.4), deltaMinusOne: delta,
            // −∂c/∂(K/F) of the call c = 1 − m.
            spotGamma: max(0, gamma), exceedance: min(max(0, (delta + price) / ratio), 1))
    }
}

/// e^((1−s)k) at the nodes, four at a time.
private protocol Phase {
    mutating func next(_ group: Int, _ s: ComplexVector) -> ComplexVector
}

/// On the vertical line: e^(k/2)·e^(−ixk), turned by a fixed angle; set anew every 64 groups against drift.
private struct Rotation: Phase {
    private var current: ComplexVector
    private let turn: ComplexVector
    private let angle: Double
    private let scale: Double

    @inline(always)
    init(angle: Double, scale: Double) {
        self.angle = angle
        self.scale = scale
        let (sine, cosine) = VectorMath.sincos(angle * Vector(0, 1, 2, 3))
        current = .init(scale * cosine, -scale * sine)
        // By twice the angle of the third lane.
        turn = .init(
            .init(repeating: 1 - 2 * sine[2] * sine[2]), .init(repeating: -2 * sine[2] * cosine[2]))
    }

    @inline(always)
    mutating func next(_ group: Int, _ s: ComplexVector) -> ComplexVector {
        if group & 63 == 0, group > 0 {
            let (sine, cosine) = VectorMath.sincos(angle * (Vector(0, 1, 2, 3) + Double(4 * group)))
            current = .init(scale * cosine, -scale * sine)
        }
        defer { current = current * turn }
        return current
    }
}

/// On a tilted contour.
private struct Exponential: Phase {
    let k: Double

    @inline(always)
    func next(_ group: Int, _ s: ComplexVector) -> ComplexVector {
        ComplexVector.exp(.init(k * (1 - s.real), -k * s.imaginary))
    }
}

/// Whether derivatives are computed: a type, so that the loops have no branch for it.
private protocol Detail { static var hasDerivatives: Bool { get } }
private enum PriceOnly: Detail { static var hasDerivatives: Bool { false } }
private enum WithDerivatives: Detail { static var hasDerivatives: Bool { true } }

/// The engine's buffer, seen as vectors.
@unsafe private struct Planes {
    let base: UnsafeMutableRawPointer
    let stride: Int

    init(_ base: UnsafeMutableRawPointer, stride: Int) {
        unsafe self.base = unsafe base
        unsafe self.stride = stride
    }

    @inline(always)
    subscript(_ plane: Int, _ group: Int) -> ComplexVector {
        get {
            let real = unsafe base + (2 &* plane &* stride &+ 4 &* group) &* 8
            return unsafe .init(
                real.loadUnaligned(as: Vector.self), (real + 8 &* stride).loadUnaligned(as: Vector.self))
        }
        nonmutating set {
            let real = unsafe base + (2 &* plane &* stride &+ 4 &* group) &* 8
            unsafe real.storeBytes(of: newValue.real, as: Vector.self)
            unsafe (real + 8 &* stride).storeBytes(of: newValue.imaginary, as: Vector.self)
        }
    }

    /// The nodes j·step of the vertical line; those from `count` to the end of its group have no weight.
    @inline(never)
    func fillVertical<D: Detail>(_ c: CharacteristicConstants, step: Double, count: Int, _ detail: D.Type) {
        let half = Vector(repeating: 0.5)
        let end = Vector(repeating: Double(count))
        var j = Vector(0, 1, 2, 3)
        for group in 0..<(count + 3) / 4 {
            let s = ComplexVector(half, step * j)
            let kernel = CharacteristicKernel(s, c)
            var weight = (step / .pi) * kernel.inverseW.real
            weight = VectorMath.select(j .== .zero, 0.5 * weight, else: weight)
            weight = VectorMath.select(j .< end, weight, else: .zero)
            let value = ComplexVector.exp(kernel.logarithm(c))
            unsafe store(group, s, .init(weight * value.real, weight * value.imaginary), kernel, c, detail)
            j += 4
        }
    }

    /// The nodes j·step of a tilted contour until what they add falls below √`floor`; the groups filled, or `nil` where
    /// `most` are too few.
    @inline(never)
    func fillTilted<D: Detail>(
        _ c: CharacteristicConstants, _ contour: TiltedContour, _ step: Double, _ range: ClosedRange<Double>,
        _ most: Int, _ floor: Double, _ detail: D.Type
    ) -> Int? {
        var j = Vector(0, 1, 2, 3)
        for group in 0..<most {
            let (s, slope) = contour.point(step * j)
            let kernel = CharacteristicKernel(s, c)
            var weight = slope * kernel.inverseW
            weight = (step / .pi) * weight
            weight = ComplexVector.select(j .== .zero, 0.5 * weight, else: weight)
            let value = weight * ComplexVector.exp(kernel.logarithm(c))
            let largest = unsafe store(group, s, value, kernel, c, detail)
            let rest = 1 - s.real
            let (low, high) = (rest * range.lowerBound, rest * range.upperBound)
            let edge = VectorMath.exp(2 * VectorMath.select(low .> high, low, else: high))
            // Gamma's integrand has s(1 − s) more.
            let scale = D.hasDerivatives ? 1 + kernel.w.absoluteSquare : Vector(repeating: 1)
            let left = largest * edge * scale
            if left[2] < floor, left[3] < floor { return group + 1 }
            j += 4
        }
        return nil
    }

    /// Keeps a group's nodes; |·|² summed over value and derivatives.
    @inline(always) @discardableResult
    func store<D: Detail>(
        _ group: Int, _ s: ComplexVector, _ value: ComplexVector, _ kernel: CharacteristicKernel,
        _ c: CharacteristicConstants, _ detail: D.Type
    ) -> Vector {
        unsafe self[0, group] = s
        unsafe self[1, group] = value
        var largest = value.absoluteSquare
        guard D.hasDerivatives else { return largest }
        let g = kernel.logGradient(s, c)
        let products = (value * g.0, value * g.1, value * g.2, value * g.3, value * g.4)
        unsafe self[2, group] = products.0
        unsafe self[3, group] = products.1
        unsafe self[4, group] = products.2
        unsafe self[5, group] = products.3
        unsafe self[6, group] = products.4
        largest += products.0.absoluteSquare + products.1.absoluteSquare + products.2.absoluteSquare
        return largest + products.3.absoluteSquare + products.4.absoluteSquare
    }

    @inline(always)
    func sums<P: Phase>(_ phase: P, groups: Int, _ order: SliceEngine.Order) -> Sums {
        switch order {
        case .price: unsafe priceSum(phase, groups)
        case .gradient: unsafe gradientSums(phase, groups, greeks: false)
        case .greeks: unsafe gradientSums(phase, groups, greeks: true)
        }
    }

    @inline(always)
    private func priceSum<P: Phase>(_ start: P, _ groups: Int) -> Sums {
        var phase = start
        var price = Vector.zero
        for group in 0..<groups {
            let value = unsafe self[1, group]
            let f = unsafe phase.next(group, self[0, group])
            price += (value.real * f.real).plus(-value.imaginary, times: f.imaginary)
        }
        return Sums(price: price.total())
    }

    @inline(always)
    func priceSums<P: Phase>(_ startA: P, _ startB: P, _ groups: Int) -> (Sums, Sums) {
        var (phaseA, phaseB) = (startA, startB)
        var (priceA, priceB) = (Vector.zero, Vector.zero)
        for group in 0..<groups {
            let value = unsafe self[1, group]
            let (a, b) = unsafe (phaseA.next(group, self[0, group]), phaseB.next(group, self[0, group]))
            priceA = priceA.plus(value.real, times: a.real).plus(-value.imaginary, times: a.imaginary)
            priceB = priceB.plus(value.real, times: b.real).plus(-value.imaginary, times: b.imaginary)
        }
        return (Sums(price: priceA.total()), Sums(price: priceB.total()))
    }

    @inline(always)
    private func gradientSums<P: Phase>(_ start: P, _ groups: Int, greeks: Bool) -> Sums {
        var phase = start
        var (price, delta, gamma) = (Vector.zero, Vector.zero, Vector.zero)
        var (g0, g1, g2, g3, g4) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero, Vector.zero)
        for group in 0..<groups {
            let s = unsafe self[0, group]
            let f = phase.next(group, s)
            @inline(always) func real(_ a: ComplexVector) -> Vector {
                (a.real * f.real).plus(-a.imaginary, times: f.imaginary)
            }
            let value = unsafe self[1, group]
            price += real(value)
            g0 += real(unsafe self[2, group])
            g1 += real(unsafe self[3, group])
            g2 += real(unsafe self[4, group])
            g3 += real(unsafe self[5, group])
            g4 += real(unsafe self[6, group])
            if greeks {
                let p = value * f
                let w = s - s * s
                delta -= (s.real * p.real).plus(-s.imaginary, times: p.imaginary)
                gamma += (w.real * p.real).plus(-w.imaginary, times: p.imaginary)
            }
        }
        return Sums(
            price: price.total(), delta: delta.total(), gamma: gamma.total(),
            gradient: (g0.total(), g1.total(), g2.total(), g3.total(), g4.total()))
    }
}
