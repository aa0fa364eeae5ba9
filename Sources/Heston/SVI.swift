internal import Kernels

/// Gatheral's raw SVI: total variance of one expiry as a function of k = ln(K/F).
///
///     w(k) = a + b·(ρ(k − m) + √((k − m)² + σ²))
///
/// Source: J. Gatheral, A. Jacquier 2014, "Arbitrage-free SVI volatility surfaces", section 3.1 and lemma 2.2.
public struct SVI: Sendable, Equatable {
    public var a: Double
    public var b: Double
    public var rho: Double
    public var m: Double
    public var sigma: Double

    public init(a: Double, b: Double, rho: Double, m: Double, sigma: Double) {
        self.a = a
        self.b = b
        self.rho = rho
        self.m = m
        self.sigma = sigma
    }

    public func totalVariance(_ k: Double) -> Double {
        let x = k - m
        return a + b * (rho * x + (x * x + sigma * sigma).squareRoot())
    }

    /// Gatheral and Jacquier's g(k): the risk-neutral density has its sign. Negative is butterfly arbitrage.
    public func butterfly(_ k: Double) -> Double {
        let x = k - m
        let root = (x * x + sigma * sigma).squareRoot()
        let w = a + b * (rho * x + root)
        guard w > 0 else { return -.infinity }
        let first = b * (rho + x / root)
        let second = b * sigma * sigma / (root * root * root)
        return butterflyFunction(k, w: w, first: first, second: second)
    }

    /// One point of a smile to fit.
    struct Point {
        var k: Double
        /// Total variance.
        var w: Double
        /// Of the squared residual in w.
        var weight: Double
    }

    /// The weighted least-squares fit within Lee's wing bound b(1 + |ρ|) ≤ 2 and w > 0; `nil` for fewer than five
    /// points or where nothing feasible was found.
    ///
    /// For fixed (m, σ) the problem is linear in the three others (Zeliade 2009, "Quasi-explicit calibration of
    /// Gatheral's SVI model"): solved directly, on the boundary where needed; (m, ln σ) by Nelder and Mead from three
    /// fixed starts.
    ///
    /// - Parameter butterflyRange: where a negative g(k) is penalised, if it can't be had for nothing.
    static func fit(_ points: [Point], butterflyRange: ClosedRange<Double>) -> SVI? {
        guard points.count >= 5 else { return nil }
        var lowest = points[0]
        var centre = points[0]
        for point in points {
            if point.w < lowest.w { lowest = point }
            if abs(point.k) < abs(centre.k) { centre = point }
        }
        let width = max(centre.w, 1e-8).squareRoot()
        var best: (cost: Double, m: Double, logSigma: Double)?
        func search(_ penalty: Double, from start: (Double, Double)) {
            let found = minimise(from: start, step: (0.3 * width, 0.4)) { m, logSigma in
                guard abs(m) < 3, logSigma > -9, logSigma < 2 else { return .infinity }
                guard let (svi, cost) = inner(points, m: m, sigma: exp(logSigma)) else { return .infinity }
                guard penalty > 0 else { return cost }
                return cost + penalty * svi.violation(over: butterflyRange)
            }
            if found.cost.isFinite, best.map({ found.cost < $0.cost }) ?? true {
                best = (found.cost, found.x, found.y)
            }
        }
        for scale in [0.4, 1.0, 2.5] { search(0, from: (lowest.k * 0.5, log(scale * width))) }
        guard let plain = best, let (fit, cost) = inner(points, m: plain.m, sigma: exp(plain.logSigma)) else {
            return nil
        }
        guard fit.violation(over: butterflyRange) > 0 else { return fit }
        // Arbitrage in the best fit: search again with the violation priced at the scale of the data.
        let scale = points.reduce(0) { $0 + $1.weight * $1.w * $1.w }
        best = nil
        search(scale, from: (plain.m, plain.logSigma))
        search(scale, from: (0, log(2.5 * width)))
        guard let repaired = best,
            let (second, secondCost) = inner(points, m: repaired.m, sigma: exp(repaired.logSigma)),
            second.violation(over: butterflyRange) < fit.violation(over: butterflyRange)
        else { return fit }
        // A repair that gives up the smile is none: the arbitrage is then in the quotes, and reported.
        return secondCost <= 25 * cost + 1e-4 * scale ? second : fit
    }

    /// Mean of min(g, 0)² over 33 points.
    private func violation(over range: ClosedRange<Double>) -> Double {
        var sum = 0.0
        for i in 0...32 {
            let g = butterfly(range.lowerBound + (range.upperBound - range.lowerBound) * Double(i) / 32)
            if g < 0 { sum += min(g * g, 100) }
        }
        return sum / 33
    }

    /// The best feasible (a, b, ρ) for given (m, σ), and its cost.
    private static func inner(_ points: [Point], m: Double, sigma: Double) -> (SVI, Double)? {
        // With y = (k − m)/σ: w = a + d·y + c·√(y² + 1), c = bσ, d = ρbσ. Feasible: |d| ≤ c, c + |d| ≤ 2σ.
        var moments = Moments()
        let inverse = 1 / sigma
        for point in points {
            let y = (point.k - m) * inverse
            moments.add(y, (y * y + 1).squareRoot(), point.w, point.weight)
        }
        let limit = 2 * sigma
        var best: (a: Double, c: Double, d: Double, cost: Double)?
        func consider(_ a: Double, _ c: Double, _ d: Double) {
            let slack = 1e-12 * limit
            guard a.isFinite, c >= -slack, abs(d) <= c + slack, c + abs(d) <= limit + slack else { return }
            let floor = a + max(0, c * c - d * d).squareRoot()
            guard floor > 0 else { return }
            let cost = moments.cost(a, c, d)
            if best.map({ cost < $0.cost }) ?? true { best = (a, c, d, cost) }
        }
        if let (a, c, d) = moments.solve() { consider(a, c, d) }
        if best == nil {
            for side in [1.0, -1.0] {
                // d = ±c: one wing flat. d = ±(2σ − c): one wing at Lee's bound.
                if let (a, c) = moments.solve(offset: 0, slope: side) { consider(a, c, side * c) }
                if let (a, c) = moments.solve(offset: side * limit, slope: -side) {
                    consider(a, c, side * (limit - c))
                }
                consider(moments.level(c: 0.5 * limit, d: side * 0.5 * limit), 0.5 * limit, side * 0.5 * limit)
            }
            consider(moments.level(c: 0, d: 0), 0, 0)
        }
        guard let (a, c, d, cost) = best else { return nil }
        let b = max(0, c) * inverse
        return (SVI(a: a, b: b, rho: c > 0 ? max(-1, min(1, d / c)) : 0, m: m, sigma: sigma), cost)
    }

    /// Weighted sums of 1, y, z = √(y² + 1), w and their products.
    private struct Moments {
        var n = 0.0, y = 0.0, z = 0.0, yy = 0.0, yz = 0.0, zz = 0.0
        var w = 0.0, wy = 0.0, wz = 0.0, ww = 0.0

        @inline(__always)
        mutating func add(_ y: Double, _ z: Double, _ w: Double, _ weight: Double) {
            n += weight
            self.y += weight * y
            self.z += weight * z
            yy += weight * y * y
            yz += weight * y * z
            zz += weight * z * z
            self.w += weight * w
            wy += weight * w * y
            wz += weight * w * z
            ww += weight * w * w
        }

        func cost(_ a: Double, _ c: Double, _ d: Double) -> Double {
            let quadratic = a * a * n + c * c * zz + d * d * yy + 2 * (a * c * z + a * d * y + c * d * yz)
            return max(0, quadratic - 2 * (a * w + c * wz + d * wy) + ww)
        }

        func level(c: Double, d: Double) -> Double { (w - c * z - d * y) / n }

        /// Unconstrained: two unknowns after a is eliminated.
        func solve() -> (Double, Double, Double)? {
            let (cyy, cyz, czz) = (yy - y * y / n, yz - y * z / n, zz - z * z / n)
            let (cwy, cwz) = (wy - w * y / n, wz - w * z / n)
            let determinant = cyy * czz - cyz * cyz
            guard determinant > 1e-14 * cyy * czz else { return nil }
            let c = (cwz * cyy - cwy * cyz) / determinant
            let d = (cwy * czz - cwz * cyz) / determinant
            return (level(c: c, d: d), c, d)
        }

        /// With d = offset + slope·c.
        func solve(offset: Double, slope: Double) -> (Double, Double)? {
            // The regressor of c is z + slope·y; offset·y goes to the other side.
            let r = z + slope * y
            let rr = zz + 2 * slope * yz + yy - r * r / n
            let target = wz + slope * wy - offset * (yz + slope * yy) - (w - offset * y) * r / n
            guard rr > 0 else { return nil }
            let c = target / rr
            return (level(c: c, d: offset + slope * c), c)
        }
    }

    /// Nelder and Mead 1965 in the plane, standard coefficients, at most 160 evaluations.
    private static func minimise(
        from start: (Double, Double), step: (Double, Double), _ f: (Double, Double) -> Double
    ) -> (x: Double, y: Double, cost: Double) {
        var simplex = [
            (start.0, start.1, f(start.0, start.1)),
            (start.0 + step.0, start.1, f(start.0 + step.0, start.1)),
            (start.0, start.1 + step.1, f(start.0, start.1 + step.1)),
        ]
        var evaluations = 3
        func evaluate(_ t: Double) -> (Double, Double, Double) {
            let (cx, cy) = (0.5 * (simplex[0].0 + simplex[1].0), 0.5 * (simplex[0].1 + simplex[1].1))
            let (x, y) = (cx + t * (simplex[2].0 - cx), cy + t * (simplex[2].1 - cy))
            evaluations += 1
            return (x, y, f(x, y))
        }
        while evaluations < 160 {
            simplex.sort { $0.2 < $1.2 }
            let spread = abs(simplex[2].0 - simplex[0].0) + abs(simplex[2].1 - simplex[0].1)
            if spread < 1e-7 || simplex[2].2 - simplex[0].2 <= 1e-12 * simplex[0].2 { break }
            let reflected = evaluate(-1)
            if reflected.2 < simplex[0].2 {
                let expanded = evaluate(-2)
                simplex[2] = expanded.2 < reflected.2 ? expanded : reflected
            } else if reflected.2 < simplex[1].2 {
                simplex[2] = reflected
            } else {
                let contracted = evaluate(reflected.2 < simplex[2].2 ? -0.5 : 0.5)
                if contracted.2 < min(simplex[2].2, reflected.2) {
                    simplex[2] = contracted
                } else {
                    for i in 1...2 {
                        let x = 0.5 * (simplex[0].0 + simplex[i].0)
                        let y = 0.5 * (simplex[0].1 + simplex[i].1)
                        simplex[i] = (x, y, f(x, y))
                        evaluations += 1
                    }
                }
            }
        }
        simplex.sort { $0.2 < $1.2 }
        return (simplex[0].0, simplex[0].1, simplex[0].2)
    }
}

/// Gatheral and Jacquier 2014, equation 2.1.
func butterflyFunction(_ k: Double, w: Double, first: Double, second: Double) -> Double {
    let left = 1 - 0.5 * k * first / w
    return left * left - 0.25 * first * first * (1 / w + 0.25) + 0.5 * second
}
