internal import Kernels

// What SliceEngine.swift keeps of a maturity's nodes, and the sums over them that make the answers.

/// Σ over the nodes of Re[P], P = M(s)·weight·e^((1−s)k), and of what is made from it.
struct Sums {
    /// m.
    var price = 0.0
    /// m_k − m.
    var delta = 0.0
    /// m_k − m_kk.
    var gamma = 0.0
    /// ∂m.
    var gradient = (0.0, 0.0, 0.0, 0.0, 0.0)
    /// ∂m/∂τ.
    var decay = 0.0
    /// ∂m by the jumps' parameters.
    var jumpGradient = (0.0, 0.0, 0.0)

    /// Clipping at 0 would make a price of what is no number.
    @inline(always)
    var isFinite: Bool {
        let derivatives = gradient.0 + gradient.1 + gradient.2 + gradient.3 + gradient.4
        let jumps = jumpGradient.0 + jumpGradient.1 + jumpGradient.2
        return (price + delta + gamma + derivatives + decay + jumps).isFinite
    }

    @inline(always)
    func value(_ k: Double, _ ratio: Double) -> NormalisedValue {
        NormalisedValue(
            outOfTheMoney: max(0, (k >= 0 ? 1 : ratio) - price),
            gradient: (-gradient.0, -gradient.1, -gradient.2, -gradient.3, -gradient.4), deltaMinusOne: delta,
            // −∂c/∂(K/F) of the call c = 1 − m.
            spotGamma: max(0, gamma), exceedance: min(max(0, (delta + price) / ratio), 1),
            decay: decay, jumpGradient: (-jumpGradient.0, -jumpGradient.1, -jumpGradient.2))
    }
}

/// e^((1−s)k) at the nodes, four at a time.
protocol Phase {
    mutating func next(_ group: Int, _ s: ComplexVector) -> ComplexVector
}

/// On the vertical line: e^(k/2)·e^(−ixk), turned by a fixed angle; set anew every 64 groups against drift.
struct Rotation: Phase {
    private var current: ComplexVector
    private let turn: ComplexVector
    private let angle: Double
    private let scale: Double

    @inline(always)
    init(angle: Double, scale: Double) {
        self.angle = angle
        self.scale = scale
        let (sine, cosine) = VectorMath.sincos(angle * CharacteristicLine.nodes(0))
        current = .init(scale * cosine, -scale * sine)
        // By the angles of the first and the last lane.
        turn = .init(
            .init(repeating: cosine[0] * cosine[3] - sine[0] * sine[3]),
            .init(repeating: -(sine[0] * cosine[3] + cosine[0] * sine[3])))
    }

    @inline(always)
    mutating func next(_ group: Int, _ s: ComplexVector) -> ComplexVector {
        if group & 63 == 0, group > 0 {
            let (sine, cosine) = VectorMath.sincos(angle * CharacteristicLine.nodes(group))
            current = .init(scale * cosine, -scale * sine)
        }
        // (A defer here becomes a call.)
        let phase = current
        current = phase * turn
        return phase
    }
}

/// What `lineSums` needs of four angles θ.
struct LinePhases {
    var angles = Vector.zero
    /// e^(−iθ/2), e^(−iθ) and e^(−4iθ).
    var half = ComplexVector(.zero, .zero)
    var once = ComplexVector(.zero, .zero)
    var turn = ComplexVector(.zero, .zero)

    init() {}

    @inline(always)
    init(_ angles: Vector) {
        self.angles = angles
        half = Self.unit(0.5 * angles)
        once = half * half
        let twice = once * once
        turn = twice * twice
    }

    /// e^(−iθ).
    @inline(always)
    static func unit(_ angles: Vector) -> ComplexVector {
        let (sine, cosine) = VectorMath.sincos(angles)
        return .init(cosine, -sine)
    }
}

/// On a tilted contour.
struct Exponential: Phase {
    let k: Double

    @inline(always)
    func next(_ group: Int, _ s: ComplexVector) -> ComplexVector {
        ComplexVector.exp(.init(k * (1 - s.real), -k * s.imaginary))
    }
}

/// Which derivatives are computed: a type, so that the loops have no branch for it.
protocol Detail {
    static var hasDerivatives: Bool { get }
    static var hasDecay: Bool { get }
    static var hasJumps: Bool { get }
}
extension Detail {
    static var hasJumps: Bool { false }

    /// What jumps add to ln M.
    @inline(always)
    static func withJumps(_ logarithm: ComplexVector, _ s: ComplexVector, _ c: CharacteristicConstants)
        -> ComplexVector
    {
        hasJumps ? logarithm + JumpKernel(s, c.jumps).logarithm : logarithm
    }

    /// ln M.
    @inline(always)
    static func logarithm(
        _ s: ComplexVector, _ kernel: CharacteristicKernel, _ c: CharacteristicConstants
    ) -> ComplexVector {
        withJumps(kernel.logarithm(c), s, c)
    }
}
enum PriceOnly: Detail {
    static var hasDerivatives: Bool { false }
    static var hasDecay: Bool { false }
}
enum WithDerivatives: Detail {
    static var hasDerivatives: Bool { true }
    static var hasDecay: Bool { false }
}
enum WithGreeks: Detail {
    static var hasDerivatives: Bool { true }
    static var hasDecay: Bool { true }
}
enum JumpPrice: Detail {
    static var hasDerivatives: Bool { false }
    static var hasDecay: Bool { false }
    static var hasJumps: Bool { true }
}
enum JumpGreeks: Detail {
    static var hasDerivatives: Bool { true }
    static var hasDecay: Bool { true }
    static var hasJumps: Bool { true }
}

/// The engine's buffer: for each group of four nodes, a record of complex numbers.
@unsafe struct NodeRecords {
    let base: UnsafeMutableRawPointer

    init(_ base: UnsafeMutableRawPointer) { unsafe self.base = unsafe base }

    @inline(always)
    subscript(_ place: Int, _ group: Int) -> ComplexVector {
        get {
            let real = unsafe base + (group &* SliceEngine.recordCount &+ 2 &* place) &* 32
            return unsafe .init(real.load(as: Vector.self), (real + 32).load(as: Vector.self))
        }
        nonmutating set {
            let real = unsafe base + (group &* SliceEngine.recordCount &+ 2 &* place) &* 32
            unsafe real.storeBytes(of: newValue.real, as: Vector.self)
            unsafe (real + 32).storeBytes(of: newValue.imaginary, as: Vector.self)
        }
    }

    /// The nodes (j + ½)·step of the vertical line, all four of each group.
    @inline(never)
    func fillVertical<D: Detail>(_ c: CharacteristicConstants, step: Double, groups: Int, _ detail: D.Type) {
        let half = Vector(repeating: 0.5)
        if D.hasDerivatives {
            for group in 0..<groups {
                let s = ComplexVector(half, step * CharacteristicLine.nodes(group))
                let kernel = CharacteristicKernel(s, c)
                let value = (step / .pi) * ComplexVector.exp(D.logarithm(s, kernel, c))
                let weight = kernel.inverseW.real
                unsafe store(group, s, .init(weight * value.real, weight * value.imaginary), kernel, c, detail)
            }
            return
        }
        if CharacteristicLine.serves(c) {
            unsafe lineLogarithms(groups, step: step, c)
        } else {
            for group in 0..<groups {
                unsafe self[Pass.point, group] = .init(half, step * CharacteristicLine.nodes(group))
            }
            unsafe logarithms(0..<groups, c)
        }
        for group in 0..<groups {
            let s = ComplexVector(half, step * CharacteristicLine.nodes(group))
            let value = unsafe ComplexVector.exp(D.withJumps(self[Pass.logarithm, group], s, c))
            let weight = unsafe (step / .pi) * self[Pass.inverseW, group].real
            unsafe self[1, group] = .init(weight * value.real, weight * value.imaginary)
        }
    }

    /// The nodes j·step of a tilted contour until what they add falls below √ of the lower limit; the groups filled, or
    /// `nil` where `most` are too few or a term is above the upper limit.
    @inline(never)
    func fillTilted<D: Detail>(
        _ c: CharacteristicConstants, _ rule: TiltedContour.Rule, _ range: ClosedRange<Double>, _ most: Int,
        _ limits: ClosedRange<Double>, _ detail: D.Type
    ) -> Int? {
        let (step, floor) = (rule.step, limits.lowerBound)
        var highest = Vector.zero
        @inline(always) func nodes(_ group: Int) -> Vector { Vector(0, 1, 2, 3) + Double(4 &* group) }
        /// e^((1−s)k)'s exponent for the strike where it is largest.
        @inline(always) func exponent(_ s: ComplexVector) -> Vector {
            let rest = 1 - s.real
            let (low, high) = (rest * range.lowerBound, rest * range.upperBound)
            return VectorMath.select(low .> high, low, else: high)
        }
        @inline(always) func weighted(
            _ logarithm: ComplexVector, _ s: ComplexVector, _ inverseW: ComplexVector, _ group: Int
        ) -> ComplexVector {
            var weight = rule.contour.slope(at: s) * inverseW
            weight = (step / .pi) * weight
            weight = ComplexVector.select(nodes(group) .== .zero, 0.5 * weight, else: weight)
            return weight * ComplexVector.exp(logarithm)
        }
        /// Whether nothing is left to add after this group: the squares of its terms and of what is made from them.
        @inline(always) func isLast(
            _ value: ComplexVector, _ largest: Vector, _ exponent: Vector, _ group: Int
        ) -> Bool {
            let edge = VectorMath.exp(2 * exponent)
            let term = value.absoluteSquare * edge
            highest = VectorMath.select(term .> highest, term, else: highest)
            let left = largest * edge
            return left[2] < floor && left[3] < floor && step * Double(4 &* group &+ 3) >= rule.last
        }
        /// Not where terms are too large to be summed, or a product of what overflows and what underflows.
        @inline(always) func isSound(_ exponent: Vector) -> Bool {
            highest.max() < limits.upperBound * limits.upperBound && exponent[3] < 340
        }
        if D.hasDerivatives {
            for group in 0..<most {
                let s = rule.contour.point(step * nodes(group))
                let kernel = CharacteristicKernel(s, c)
                let value = weighted(D.logarithm(s, kernel, c), s, kernel.inverseW, group)
                // Gamma's integrand has s(1 − s) more.
                let largest = unsafe store(group, s, value, kernel, c, detail) * (1 + kernel.w.absoluteSquare)
                let exponent = exponent(s)
                if isLast(value, largest, exponent, group) { return isSound(exponent) ? group + 1 : nil }
            }
            return nil
        }
        // Those to somewhat beyond `last`, where most sums end, then two by two: a few groups cost as much as more.
        var groups = 0..<min(most, Int((rule.last + 0.4) / (4 * step)) + 1)
        while !groups.isEmpty {
            unsafe takePoints(groups, rule)
            unsafe logarithms(groups, c)
            for group in groups {
                let s = unsafe self[Pass.point, group]
                let logarithm = unsafe D.withJumps(self[Pass.logarithm, group], s, c)
                let value = unsafe weighted(logarithm, s, self[Pass.inverseW, group], group)
                unsafe self[1, group] = value
                let exponent = exponent(s)
                if isLast(value, value.absoluteSquare, exponent, group) { return isSound(exponent) ? group + 1 : nil }
            }
            groups = groups.upperBound..<min(most, groups.upperBound + 2)
        }
        return nil
    }

    /// Leaves s in `Pass.point`.
    @inline(always)
    private func takePoints(_ groups: Range<Int>, _ rule: TiltedContour.Rule) {
        let growth = exp(4 * rule.step)
        let decay = 1 / growth
        // Blocks keep the products' rounding from adding up.
        for first in stride(from: groups.lowerBound, to: groups.upperBound, by: 16) {
            var up = VectorMath.exp(rule.step * (Vector(0, 1, 2, 3) + Double(4 &* first)))
            var down = 1 / up
            for group in first..<min(first + 16, groups.upperBound) {
                unsafe self[Pass.point, group] = rule.contour.point(growth: up, decay: down)
                up *= growth
                down *= decay
            }
        }
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
        // Of the size of gamma's and v₀'s terms, so that it does not count for `largest`: equal nodes, equal prices.
        if D.hasDecay, !D.hasJumps { unsafe self[7, group] = value * kernel.logDecay(c) }
        if D.hasJumps {
            let jumps = JumpKernel(s, c.jumps)
            let g = jumps.logGradient(s, c.jumps)
            let products = (value * g.0, value * g.1, value * g.2)
            unsafe self[7, group] = value * (kernel.logDecay(c) + jumps.logDecay(c.jumps))
            unsafe self[8, group] = products.0
            unsafe self[9, group] = products.1
            unsafe self[10, group] = products.2
            largest += products.0.absoluteSquare + products.1.absoluteSquare + products.2.absoluteSquare
        }
        largest += products.0.absoluteSquare + products.1.absoluteSquare + products.2.absoluteSquare
        return largest + products.3.absoluteSquare + products.4.absoluteSquare
    }

    @inline(always)
    func sums<P: Phase>(_ phase: P, groups: Int, _ order: SliceEngine.Order, hasJumps: Bool) -> Sums {
        switch order {
        case .price: return unsafe priceSum(phase, groups)
        case .gradient where !hasJumps: return unsafe gradientSums(phase, groups, greeks: false)
        case .greeks where !hasJumps: return unsafe gradientSums(phase, groups, greeks: true)
        case .gradient, .greeks:
            var sums = unsafe gradientSums(phase, groups, greeks: true)
            sums.jumpGradient = unsafe jumpSums(phase, groups)
            return sums
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

    /// Σ Re[value·e^(−i(j + ½)θ)] over the vertical line's nodes j for four angles θ, of which the first `count`
    /// matter.
    ///
    /// By Horner's rule in e^(−4iθ) over the groups, four angles at a time so that their chains hide each other; then
    /// in e^(−iθ) over a group's lanes.
    @inline(always)
    func lineSums(_ phases: LinePhases, groups: Int, count: Int) -> Vector {
        var sum = Vector.zero
        // Blocks keep the turn's rounding from adding up.
        var first = 0
        while first < groups {
            let last = min(groups, first &+ 16)
            var a = unsafe self[1, last &- 1]
            var (b, c, d) = (a, a, a)
            let turn = phases.turn
            let (turnA, turnB, turnC, turnD) = (turn.lane(0), turn.lane(1), turn.lane(2), turn.lane(3))
            var group = last &- 2
            if count > 2 {
                while group >= first {
                    let value = unsafe self[1, group]
                    a = value.plus(a, times: turnA)
                    b = value.plus(b, times: turnB)
                    c = value.plus(c, times: turnC)
                    d = value.plus(d, times: turnD)
                    group &-= 1
                }
            } else {
                while group >= first {
                    let value = unsafe self[1, group]
                    a = value.plus(a, times: turnA)
                    b = value.plus(b, times: turnB)
                    group &-= 1
                }
            }
            let lanes = ComplexVector.transposed(a, b, c, d)
            var block = lanes.3
            block = lanes.2.plus(block, times: phases.once)
            block = lanes.1.plus(block, times: phases.once)
            block = lanes.0.plus(block, times: phases.once)
            let phase = first == 0 ? phases.half : LinePhases.unit((Double(4 &* first) + 0.5) * phases.angles)
            sum += (block.real * phase.real).plus(-block.imaginary, times: phase.imaginary)
            first = last
        }
        return sum
    }

    @inline(always)
    private func jumpSums<P: Phase>(_ start: P, _ groups: Int) -> (Double, Double, Double) {
        var phase = start
        var (g0, g1, g2) = (Vector.zero, Vector.zero, Vector.zero)
        for group in 0..<groups {
            let f = unsafe phase.next(group, self[0, group])
            let (a, b, c) = unsafe (self[8, group], self[9, group], self[10, group])
            g0 += (a.real * f.real).plus(-a.imaginary, times: f.imaginary)
            g1 += (b.real * f.real).plus(-b.imaginary, times: f.imaginary)
            g2 += (c.real * f.real).plus(-c.imaginary, times: f.imaginary)
        }
        return (g0.total(), g1.total(), g2.total())
    }

    @inline(always)
    private func gradientSums<P: Phase>(_ start: P, _ groups: Int, greeks: Bool) -> Sums {
        var phase = start
        var (price, delta, gamma, decay) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
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
                decay += real(unsafe self[7, group])
            }
        }
        return Sums(
            price: price.total(), delta: delta.total(), gamma: gamma.total(),
            gradient: (g0.total(), g1.total(), g2.total(), g3.total(), g4.total()), decay: decay.total())
    }
}

extension ComplexVector {
    /// `self` + a·b.
    @inline(always)
    fileprivate func plus(_ a: Self, times b: Self) -> Self {
        .init(
            real.plus(a.real, times: b.real).plus(-a.imaginary, times: b.imaginary),
            imaginary.plus(a.real, times: b.imaginary).plus(a.imaginary, times: b.real))
    }

    /// One number four times.
    @inline(always)
    fileprivate func lane(_ index: Int) -> Self {
        .init(.init(repeating: real[index]), .init(repeating: imaginary[index]))
    }

    /// The first lanes of four, their second, third and fourth ones.
    @inline(always)
    fileprivate static func transposed(_ a: Self, _ b: Self, _ c: Self, _ d: Self) -> (Self, Self, Self, Self) {
        @inline(always) func lanes(_ index: Int) -> Self {
            .init(
                Vector(a.real[index], b.real[index], c.real[index], d.real[index]),
                Vector(a.imaginary[index], b.imaginary[index], c.imaginary[index], d.imaginary[index]))
        }
        return (lanes(0), lanes(1), lanes(2), lanes(3))
    }
}
