/// Whether an inverse network is solid enough to serve: each demand with what was found. A network that fails one is
/// not promoted.
///
/// The network's own answer must be near: it is where the calibration starts, and what is left where that fails. The
/// polished answer must be right: Heston's own surfaces are fitted exactly. On market surfaces of days that nobody
/// trained on, the network may be so much worse than the best fit that Heston has.
public struct InversionGate: Sendable, Equatable, Codable {
    public struct Check: Sendable, Equatable, Codable {
        public var name: String
        /// In the bound's unit: absolute volatility, or a share.
        public var value: Double
        public var bound: Double
        public var passed: Bool
    }

    public var checks: [Check]
    public var passed: Bool

    /// Absolute volatility: half a point for half of the surfaces, one and a half for all but a twentieth.
    static let (median, high) = (0.005, 0.015)
    /// A hundredth of a basis point of volatility more than rounding leaves.
    static let polished = 1e-5
    /// Network less best fit on market surfaces.
    static let (excessMedian, excessHigh) = (0.01, 0.03)
    /// Surfaces without any answer.
    static let failures = 0.001

    /// From surfaces that were held out, and market surfaces of held-out days where there are some.
    public init(synthetic: InversionQuality, market: InversionQuality? = nil) {
        func check(_ name: String, _ value: Double, _ bound: Double) -> Check {
            // NaN passes nothing.
            Check(name: name, value: value, bound: bound, passed: value <= bound)
        }
        func failed(_ quality: InversionQuality) -> Double {
            let all = quality.count + quality.failures
            return all > 0 ? Double(quality.failures) / Double(all) : 1
        }
        var checks = [
            check("synthetic.network.median", synthetic.network.median, Self.median),
            check("synthetic.network.high", synthetic.network.high, Self.high),
            check("synthetic.polished.high", synthetic.polished.high, Self.polished),
            check("synthetic.failures", failed(synthetic), Self.failures),
        ]
        if let market {
            // Not infinite: JSON has no word for it.
            let none = Double.greatestFiniteMagnitude
            checks += [
                check("market.excess.median", market.excess?.median ?? none, Self.excessMedian),
                check("market.excess.high", market.excess?.high ?? none, Self.excessHigh),
                check("market.failures", failed(market), Self.failures),
            ]
        }
        self.checks = checks
        passed = checks.allSatisfy(\.passed)
    }
}
