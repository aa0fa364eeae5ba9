internal import Kernels

// Jäckel's normalised Black function and its inverse ("Let's be rational", 2015): b = price/√(FK) of the
// out-of-the-money option as a function of x = −|ln(K/F)| ≤ 0 and the total volatility s = σ√τ,
//
//     b(x, s) = e^(x/2)·N(x/s + s/2) − e^(−x/2)·N(x/s − s/2).
//
// Departures from the paper, for vectors without branches:
//
// One formula in place of four regions. With h = |x|/s, t = s/2, Mills' ratio Y(y) = N(−y)/n(y), and b′ = ∂b/∂s =
// n(h)·e^(−t²/2):
//
//     b/b′ = Y(h − t) − Y(h + t),
//
// a difference that cancels. Y is taken as P(q)/(y + 5) with a polynomial P in q = (y − 5)/(y + 5), good for all
// y ≥ −½, and Horner's rule yields, beside P(q₂), the divided difference (P(q₁) − P(q₂))/(q₁ − q₂) without subtracting
// anything close: what is left is a sum of like signs, and b is right to some 1e-15 from 1e-300 to 1. Where h − t < −½,
// Y(h − t) = 1/n − Y(t − h) gives the complement e^(x/2) − b = b′·(Y(t − h) + Y(h + t)) instead.
//
// One step. Where options trade, |x| and s up to 2, a fitted start is right to 3e-5, and one step of order four ends in
// the last digit: `DirectSolution`. The length of its step shows where that holds.
//
// Iteration in logarithms elsewhere: `Target`. b/b′ gives ln b and its derivatives even where b underflows. Three steps
// of Householder's method of order four, from a start that is good to a few per cent, reach the last digit everywhere.

enum NormalisedBlack {
    /// b(x, s) for x ≤ 0. `s` ≤ 0 gives 0.
    static func price(_ x: Double, _ s: Double) -> Double {
        guard s > 0 else { return 0 }
        let (magnitude, total) = (Vector(repeating: -x), Vector(repeating: s))
        return Evaluation(h: magnitude / total, t: 0.5 * total).price(bound: VectorMath.exp(-0.5 * magnitude))[0]
    }

    /// ∂b/∂s.
    static func vega(_ x: Double, _ s: Double) -> Double {
        guard s > 0 else { return 0 }
        let h = x / s
        return Normal.inverseRootTwoPi * exp(-0.5 * (h * h + 0.25 * s * s))
    }

    /// The total volatility of an out-of-the-money price relative to the forward; `nil` outside the open interval of
    /// possible prices.
    static func totalVolatility(outOfTheMoney price: Double, logMoneyness k: Double) -> Double? {
        solve(-abs(k), price * exp(-0.5 * k))
    }

    /// The s with b(x, s) = `beta`; `nil` unless 0 < beta < e^(x/2).
    static func solve(_ x: Double, _ beta: Double) -> Double? {
        var four = Problems(magnitude: Vector(repeating: -x), beta: Vector(repeating: beta))
        solve(&four)
        let s = four.total[0]
        return s.isNaN ? nil : s
    }

    /// Four problems and their answers: passed in memory, since vectors in a call's registers are halved.
    struct Problems {
        /// −x ≥ 0.
        var magnitude: Vector
        var beta: Vector
        /// s; NaN where there is none.
        var total = Vector.zero
    }

    @inline(never)
    static func solve(_ four: inout Problems) {
        let direct = DirectSolution(four)
        four.total = direct.total
        if direct.isOpen.isAnySet { iterate(&four, where: direct.isOpen) }
    }

    /// Eight at a time: what four of them wait for, the others compute meanwhile.
    @inline(never)
    static func solve(_ a: inout Problems, _ b: inout Problems) {
        let (directA, directB) = (DirectSolution(a), DirectSolution(b))
        (a.total, b.total) = (directA.total, directB.total)
        if directA.isOpen.isAnySet { iterate(&a, where: directA.isOpen) }
        if directB.isOpen.isAnySet { iterate(&b, where: directB.isOpen) }
    }

    /// The open ones of the four, by iteration.
    @inline(never)
    private static func iterate(_ four: inout Problems, where isOpen: SIMDMask<SIMD4<Int64>>) {
        let target = Target(magnitude: four.magnitude, beta: four.beta)
        var s = target.start
        for _ in 0..<3 {
            let before = s
            s = target.improve(s)
            if isSettled(before, s) { break }
        }
        four.total = VectorMath.select(isOpen, target.answer(s), else: four.total)
    }

    /// The method is of order four: after a step of 1e-4 what is left is below rounding.
    @inline(always)
    private static func isSettled(_ before: Vector, _ after: Vector) -> Bool {
        let excess = (after - before).magnitudes - 1e-4 * after
        return (excess.bits[0] & excess.bits[1]) & (excess.bits[2] & excess.bits[3]) < 0
    }
}

extension NormalisedBlack {
    /// One step from a fitted start, right to the last digit or known not to be.
    ///
    /// The step is relative to s, by the series of the inverse function of f = ln b, or of ln(e^(x/2) − b) where
    /// h − t < −½. With V = b/b′, or −(e^(x/2) − b)/b′ there, and `gap` what f has to move:
    ///
    ///     r = gap·V/s,    ds/s = r·(1 − p/2 + p²/2 − c/6),    p = f″/f′·rs,    c = f‴/f′·(rs)²
    ///
    /// No derivative needs b′ or a quotient: rs·b′/b is the gap again. The gap between close logarithms is
    /// 2·artanh((A − B)/(A + B)), A the price aimed at and B the one reached, so that no logarithm cancels.
    struct DirectSolution {
        /// s where it is found, NaN elsewhere.
        let total: Vector
        /// Where there is a solution and it is not found.
        let isOpen: SIMDMask<SIMD4<Int64>>

        @inline(always)
        init(_ four: Problems) {
            let (exact, beta) = (four.magnitude, four.beta)
            // At the money 0/0 is kept away by a distance whose square is a normal number, and which no s feels.
            let tiny = Vector(repeating: 1e-140)
            let m = VectorMath.select(exact .> tiny, exact, else: tiny)
            let rest = VectorMath.exp(-0.5 * m) - beta
            let isPossible = (beta .> .zero) .& (rest .> .zero)

            let start = Self.start(m, beta)
            let inverse = 1 / start
            let (h, t) = (m * inverse, 0.5 * start)
            // s times |h − t| and h + t: thus (y − 5)/(y + 5) waits for no other quotient.
            let (difference, far) = (m.plus(-t, times: start), m.plus(t, times: start))
            let isHigh = difference .< -0.5 * start
            let near = VectorMath.select(isHigh, -difference, else: difference)
            let five = 5 * start
            let (near5, far5) = (near + five, far + five)
            let share = 1 / (near5 * far5)
            let (nearInverse, farInverse) = (share * far5, share * near5)
            let (q1, q2) = ((near - five) * nearInverse, (far - five) * farInverse)
            let (value, slope) = Evaluation.mills(q1, q2)
            // As in `Evaluation`, over s.
            let ratio = (start * start * share) * value.plus(-10 * slope, times: start * nearInverse)
            let sum = (value.plus(slope, times: q1 - q2) * nearInverse).plus(value, times: farInverse)
            let quotient = VectorMath.select(isHigh, sum, else: ratio)
            let (h2, t2) = (h * h, t * t)
            let reached = VectorMath.exp(-0.5 * (h2 + t2)) * (start * quotient)
            let aim = 2.5066282746310002 * VectorMath.select(isHigh, rest, else: beta)

            let u = (aim - reached) / (aim + reached)
            let z = u * u
            // artanh u for |u| < 0.04.
            let third = Vector(repeating: 1.0 / 3)
            let series = third.plus(z, times: Vector(repeating: 0.2).plus(z, times: .init(repeating: 1.0 / 7)))
            let gap = (2 * u).plus(2 * u * z, times: series)
            let r = gap * VectorMath.select(isHigh, -quotient, else: quotient)
            // b″/b′·rs, of which f″/f′ has b′/b less.
            let a = (h2 - t2) * r
            let p = a - gap
            let c = (a * a).plus(-r * r, times: t2.plus(h2, times: .init(repeating: 3)))
                .plus(gap, times: (2 * gap).plus(a, times: .init(repeating: -3)))
            let factor = (1 - 0.5 * p).plus(0.5 * p, times: p) - (1.0 / 6) * c
            // What a short step leaves is at most 4.5·r⁴, 3e-17. One from far off may be short too where V/s is next to
            // nothing (huge s), but its gap is not. From a start that is no number, r is none.
            let isNear = (u.magnitudes .< Vector(repeating: 0.04)) .& (start .> Vector(repeating: 1e-100))
            let isShort = isNear .& (r.magnitudes .< Vector(repeating: 5e-5))
            total = VectorMath.select(
                isPossible .& isShort, start.plus(start * r, times: factor), else: .init(repeating: .nan))
            isOpen = isPossible .& .!isShort
        }

        /// s to 3e-5 for m and s up to 2. Bachelier's model knows one variable: its b over the distance from the money
        /// d = 2·sinh(m/2) is n(h)/h − N(−h). From h = 0 to where b ends with the doubles, (v/h)² is rational in
        /// v = ln(1 + d/b), to 1.3e-5; and s over Bachelier's √x = d/h is a polynomial in x and m², to 1.6e-5
        /// (Golden/make-volatility-start.py).
        @inline(always)
        private static func start(_ m: Vector, _ beta: Vector) -> Vector {
            let m2 = m * m
            let m4 = m2 * m2
            func line(_ x: Vector, _ c0: Double, _ c1: Double) -> Vector {
                Vector(repeating: c0).plus(x, times: .init(repeating: c1))
            }
            let high = line(m2, 1.0 / 322_560, 1.0 / 92_897_280)
            let d = m.plus(m * m2, times: line(m2, 1.0 / 24, 1.0 / 1920).plus(m4, times: high))
            let quotient = d / beta
            let v = VectorMath.log(onePlus: quotient, where: quotient .< Vector(repeating: 0.4), else: 1 + quotient)
            let numerator = Vector.polynomial(
                v, 6.28310214, 1.72105597, 0.321154564, 0.038515321, 0.00231687328, 2.06014066e-05)
            let denominator = Vector.polynomial(
                v, 1, 0.273880973, 0.0435397563, 0.00418150572, 4.10730837e-05, 5.59079492e-11)
            let x = (d * d * numerator) / (v * v * denominator)
            let x2 = x * x
            let c0 = Vector.polynomial(
                m2, 0.999992658, -0.0416830827, 0.00122173896, -2.89508803e-05, 1.34608059e-07, -8.35776414e-08)
            let c1 = line(m2, 0.0417306808, -0.00557553938).plus(
                m4, times: line(m2, 0.000379546846, -2.03330533e-05).plus(m4, times: .init(repeating: 3.21987199e-06)))
            let c2 = line(m2, 0.0036303004, -0.000719247828).plus(m4, times: line(m2, 0.00010892587, -1.96992468e-05))
            let c3 = line(m2, 0.000332479396, -0.00016502507).plus(m4, times: .init(repeating: 3.97455623e-05))
            let c4 = line(m2, 7.57578602e-05, -3.00353735e-05).plus(x, times: .init(repeating: 6.83764745e-06))
            let factor = c0.plus(x, times: c1).plus(x2, times: c2.plus(x, times: c3).plus(x2, times: c4))
            return VectorMath.sqrt(x) * factor
        }
    }
}

/// b and b′ at four points.
private struct Evaluation {
    let h: Vector
    let t: Vector
    /// Whether h − t < −½: then `sum` holds, else `ratio`.
    let isComplement: SIMDMask<SIMD4<Int64>>
    /// b/b′.
    let ratio: Vector
    /// (e^(x/2) − b)/b′.
    let sum: Vector
    /// ln(b′·√2π).
    let exponent: Vector

    @inline(always)
    init(h: Vector, t: Vector) {
        self.h = h
        self.t = t
        exponent = -0.5 * ((h * h).plus(t, times: t))
        let near = h - t
        let far = h + t
        isComplement = near .< Vector(repeating: -0.5)
        let near5 = VectorMath.select(isComplement, -near, else: near) + 5
        let far5 = far + 5
        let inverse = 1 / (near5 * far5)
        // q = (y − 5)/(y + 5) = 1 − 10/(y + 5).
        let (nearInverse, farInverse) = (inverse * far5, inverse * near5)
        let q1 = 1 - 10 * nearInverse
        let q2 = 1 - 10 * farInverse
        let (value, slope) = Self.mills(q1, q2)
        ratio = 2 * t * inverse * (value - 10 * slope * nearInverse)
        let nearValue = value.plus(slope, times: q1 - q2)
        sum = nearValue * nearInverse + value * farInverse
    }

    @inline(always)
    var derivative: Vector { Normal.inverseRootTwoPi * VectorMath.exp(exponent) }

    /// b; `bound` is e^(x/2).
    @inline(always)
    func price(bound: Vector) -> Vector {
        let derivative = derivative
        return VectorMath.select(isComplement, bound - derivative * sum, else: derivative * ratio)
    }

    /// P(q₂) and (P(q₁) − P(q₂))/(q₁ − q₂) for P = (y + 5)·Y(y): its expansion in Chebyshev polynomials on y ≥ −½, by
    /// powers of q (Golden/make-coefficients.py); its relative error is below 3e-17.
    /// P = E(q²) + q·O(q²): two chains, which halves the wait.
    @inline(always)
    static func mills(_ q1: Vector, _ q2: Vector) -> (value: Vector, slope: Vector) {
        let (w1, w2) = (q1 * q1, q2 * q2)
        var even = DividedDifference(1.3258503744484656e-11)
        var odd = DividedDifference(1.37077592596561e-10)
        even.next(2.3277922626383487e-10, w1, w2)
        odd.next(-1.1962911166911905e-09, w1, w2)
        even.next(-3.633993725594068e-09, w1, w2)
        odd.next(5.577095672869538e-09, w1, w2)
        even.next(2.7853190973775313e-08, w1, w2)
        odd.next(-2.1232935345044266e-08, w1, w2)
        even.next(-1.761041456626819e-07, w1, w2)
        odd.next(1.0062424766826779e-07, w1, w2)
        even.next(1.0934643695762448e-06, w1, w2)
        odd.next(-8.38774681393134e-07, w1, w2)
        even.next(-6.944945574284642e-06, w1, w2)
        odd.next(9.976041125287404e-06, w1, w2)
        even.next(4.1814559401687695e-05, w1, w2)
        odd.next(-0.00012473605345723117, w1, w2)
        even.next(-0.00014883304682902193, w1, w2)
        odd.next(0.0013658592419771045, w1, w2)
        even.next(-0.0019999619757618153, w1, w2)
        odd.next(-0.007503282830960597, w1, w2)
        even.next(0.05212550241235119, w1, w2)
        odd.next(-0.17325473408641906, w1, w2)
        even.next(0.4136447157326798, w1, w2)
        odd.next(-0.7859110755465694, w1, w2)
        even.next(1.2415470615738664, w1, w2)
        let evenValue = Vector(repeating: 1.9280810471531578).plus(even.value, times: w2)
        let oddValue = Vector(repeating: -1.6678665951889597).plus(odd.value, times: w2)
        let sum = q1 + q2
        return (evenValue.plus(oddValue, times: q2), oddValue.plus(sum, times: even.slope.plus(odd.slope, times: q1)))
    }
}

/// Horner's rule at one point and, from its steps, the polynomial's divided difference with another.
private struct DividedDifference {
    var value: Vector
    var slope: Vector

    @inline(always)
    init(_ leading: Double) {
        value = Vector(repeating: leading)
        slope = value
    }

    @inline(always)
    mutating func next(_ coefficient: Double, _ w1: Vector, _ w2: Vector) {
        value = Vector(repeating: coefficient).plus(value, times: w2)
        slope = value.plus(slope, times: w1)
    }
}

/// Four prices whose volatilities are sought, wherever they lie.
private struct Target {
    private let isPossible: SIMDMask<SIMD4<Int64>>
    private let magnitude: Vector
    private let bound: Vector
    /// ln β, or ln(e^(x/2) − β) where `isHigh`.
    private let logarithm: Vector
    private let inverseLogarithm: Vector
    private let inflection: Vector
    private let isBelow: SIMDMask<SIMD4<Int64>>
    /// Where 1/ln b is nearly straight.
    private let isLow: SIMDMask<SIMD4<Int64>>
    /// Where ln(e^(x/2) − b) is nearly straight; elsewhere ln b is.
    private let isHigh: SIMDMask<SIMD4<Int64>>
    let start: Vector

    @inline(always)
    init(magnitude exact: Vector, beta price: Vector) {
        let tiny = Vector(repeating: 1e-290)
        let m = VectorMath.select(exact .> tiny, exact, else: tiny)
        magnitude = m
        bound = VectorMath.exp(-0.5 * m)
        isPossible = (price .> .zero) .& (price .< bound)
        let beta = VectorMath.select(isPossible, price, else: 0.5 * bound)
        let rest = bound - beta
        // The point of inflection of b in s: convex below, concave above. There h = t.
        inflection = VectorMath.sqrt(2 * m)
        let middle = Evaluation(h: 0.5 * inflection, t: 0.5 * inflection)
        let slope = middle.derivative
        let middlePrice = slope * middle.ratio
        isBelow = beta .< middlePrice
        isHigh = .!isBelow .& (rest .< 0.5 * (bound - middlePrice))
        logarithm = VectorMath.log(VectorMath.select(isHigh, rest, else: beta))
        // Four quotients from one division.
        let inverseBound = 1 / bound
        let total = bound + inverseBound
        let gap = bound - middlePrice
        let inverse = 1 / ((slope * total) * (gap * logarithm))
        let (first, second) = (inverse * gap * logarithm, inverse * slope * total)
        let (inverseSlope, inverseTotal) = (first * total, first * slope)
        let inverseGap = second * logarithm
        inverseLogarithm = second * gap
        let tangent = inflection + (beta - middlePrice) * inverseSlope
        let (half, one) = (Vector(repeating: 0.5), Vector(repeating: 1))

        // Below: Jäckel's lower map, b ~ 2π|x|/(3√3)·N(−|x|/(√3 s))³. Above: e^(x/2) − b → (e^(x/2) + e^(−x/2))·N(−s/2)
        // from below, an upper bound of s; the tangent is a lower one.
        let cube = logarithm - VectorMath.log(1.2092 * m)
        let third = VectorMath.exp((1.0 / 3) * VectorMath.select(isBelow, cube, else: .zero))
        let upper = rest * inverseTotal
        let least = Vector(repeating: 1e-300)
        let probability = VectorMath.select(
            isBelow, third, else: VectorMath.select(upper .> least, upper, else: least))
        let isTail = probability .< Vector(repeating: 0.35)
        let quantile = Self.quantile(VectorMath.select(probability .< half, probability, else: half))

        // Where the lower map is no small probability, the tangent, which is an upper bound there.
        let mapped = 0.57735026918962576 * m / quantile
        let isUseful = tangent .> .zero
        let isTangent = isUseful .& (.!isTail .| (tangent .< mapped))
        let chosen = VectorMath.select(isTangent, tangent, else: mapped)
        let below = VectorMath.select(chosen .< inflection, chosen, else: inflection)

        let center = (beta + 0.5 * (inverseBound - bound)) * inverseTotal
        let isCentral = center .< Vector(repeating: 0.3)
        let far = 2 * VectorMath.select(isCentral, Self.central(center), else: quantile)
        let share = (beta - middlePrice) * inverseGap
        let clipped = VectorMath.select(share .> .zero, VectorMath.select(share .< one, share, else: one), else: .zero)
        let between = tangent + (far - tangent) * VectorMath.sqrt(clipped)
        let above = VectorMath.select(between .> tangent, between, else: tangent)

        start = VectorMath.select(isBelow, below, else: above)
        isLow = isBelow .& (m .> 0.8 * start)
    }

    /// NaN where the price was none.
    @inline(always)
    func answer(_ s: Vector) -> Vector { VectorMath.select(isPossible, s, else: .init(repeating: .nan)) }

    /// One step of Householder's method of order four on f(s) = ln b, 1/ln b or ln(e^(x/2) − b).
    @inline(always)
    func improve(_ s: Vector) -> Vector {
        let one = Vector(repeating: 1)
        let inverse = 1 / s
        let at = Evaluation(h: magnitude * inverse, t: 0.5 * s)
        let derivative = at.derivative
        let rest = VectorMath.select(at.isComplement, derivative * at.sum, else: bound - derivative * at.ratio)
        // b′ over b or over the rest, as a quotient: where b itself may underflow it is 1 over b/b′.
        let isScaled = .!isHigh .& .!at.isComplement
        let plain = VectorMath.select(at.isComplement, bound - rest, else: at.ratio)
        let value = VectorMath.select(isHigh, rest, else: plain)
        let over = VectorMath.select(isScaled, one, else: derivative)
        let product = 1 / (value * over)
        let sign = VectorMath.select(isHigh, -one, else: one)
        let rate = sign * (over * over * product)
        let inverseRate = sign * (value * value * product)
        let shift = VectorMath.select(isScaled, at.exponent - 0.9189385332046727, else: .zero)
        let log = VectorMath.log(value) + shift
        let gap = logarithm - log

        // b″/b′ and b‴/b′; then f″/f′ and f‴/f′ for the logarithms.
        let h2s = at.h * at.h * inverse
        let c = h2s - 0.25 * s
        let d = c * c - 3 * h2s * inverse - 0.25
        let f2 = c - rate
        let f3 = d + rate * (2 * rate - 3 * c)
        // For the reciprocal of the logarithm.
        let relative = rate / log
        let low2 = f2 - 2 * relative
        let low3 = f3 + 6 * relative * (relative - f2)

        let stretch = VectorMath.select(isLow, log * inverseLogarithm, else: one)
        let newton = gap * inverseRate * stretch
        let second = VectorMath.select(isLow, low2, else: f2)
        let third = VectorMath.select(isLow, low3, else: f3)
        let sixth = (1.0 / 6) * third
        let denominator = 1 + newton * second.plus(sixth, times: newton)
        let step = newton * (1 + 0.5 * second * newton) / denominator
        let moved = s + step
        // The inflection parts the two sides; nothing steps below half of what it was.
        let upper = VectorMath.select(moved .< inflection, moved, else: inflection)
        let lower = VectorMath.select(moved .> inflection, moved, else: inflection)
        let next = VectorMath.select(isBelow, upper, else: lower)
        return VectorMath.select(next .> .zero, next, else: 0.5 * s)
    }

    /// −N⁻¹(p) for p ≤ ½, to 4.5e-4 (Abramowitz, Stegun 26.2.23).
    @inline(always)
    private static func quantile(_ p: Vector) -> Vector {
        let t = VectorMath.sqrt(-2 * VectorMath.log(p))
        let numerator = Vector(repeating: 2.515517).plus(
            t, times: Vector(repeating: 0.802853).plus(t, times: .init(repeating: 0.010328)))
        let high = Vector(repeating: 0.189269).plus(t, times: .init(repeating: 0.001308))
        let denominator = Vector(repeating: 1).plus(t, times: Vector(repeating: 1.432788).plus(t, times: high))
        return t - numerator / denominator
    }

    /// −N⁻¹(½ − q) for small q, by its series.
    @inline(always)
    private static func central(_ q: Vector) -> Vector {
        let y = 2.5066282746310002 * q
        let z = y * y
        let series = Vector(repeating: 1.0 / 6).plus(
            z, times: Vector(repeating: 7.0 / 120).plus(z, times: .init(repeating: 127.0 / 5040)))
        return y.plus(y * z, times: series)
    }
}
