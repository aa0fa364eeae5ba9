internal import Kernels
public import MarketData

/// Makes implied-volatility surfaces on a fixed grid from option chains: clean, fit each expiry, interpolate in time.
///
/// Total variance is linear in time between expiries at constant k = ln(K/F), which keeps a surface free of calendar
/// arbitrage if its expiries are. Before the first and after the last expiry the volatility at constant k is carried
/// flat, and such cells, like those beyond the outermost strikes, are marked `extrapolated`. Pure: no clock, no
/// randomness.
public struct SurfaceBuilder: Sendable {
    public struct Configuration: Sendable, Equatable {
        public enum Method: String, Sendable, Codable {
            /// A fitted smile per expiry (raw SVI, linear where that fails), interpolated.
            case svi
            /// The nearest expiry's nearest strike's mark volatility, as quoted.
            case nearest
        }

        public var method = Method.svi
        /// k of the grid, increasing. Default K_POINTS.
        public var logMoneyness = ImpliedVolatilitySurface.standardLogMoneyness
        /// Maturities of the grid in years, increasing. Default T_POINTS.
        public var tau = ImpliedVolatilitySurface.standardTau
        /// Drop quotes without a bid: nobody pays for them, and their mark is the exchange's extrapolation.
        public var requiresBid = true
        /// Expiries with less than this are dropped: their volatility is noise of the clock. Years; default one day.
        public var minimumTau = 1.0 / 365
        /// Strikes an expiry must keep to be used. At least 2; SVI needs 5.
        public var minimumQuotesPerExpiry = 5
        /// Usable expiries a chain must have. At least 1.
        public var minimumExpiries = 2
        /// Mark volatilities outside are taken for errors of the feed. Absolute.
        public var plausibleVolatility = 0.01...10.0
        /// A chain older than this at `asOf` is refused by `build`. Default one day.
        public var maximumAge = Interval.days(1)
        /// A chain older than this at `asOf` has its cells marked `stale`. Default six hours.
        public var staleAge = Interval.hours(6)

        public init() {}
    }

    /// What became of a quote.
    public enum Fate: String, Sendable, CaseIterable {
        /// Used in a fit.
        case kept
        /// Its expiry (08:00 UTC) is not after the snapshot.
        case expired
        /// Less than `minimumTau` left.
        case expiringSoon
        /// Strike or forward not positive and finite.
        case invalid
        /// No mark volatility.
        case missingMark
        /// Mark volatility outside `plausibleVolatility`.
        case implausibleMark
        /// Neither bid nor ask: the mark follows no market.
        case stale
        /// Bid above ask.
        case crossed
        /// No bid, and `requiresBid`.
        case noBid
        /// The in-the-money side of its strike.
        case inTheMoney
        /// Its expiry kept too few quotes.
        case sparseExpiry
    }

    /// What was kept of a chain, and why the rest was not.
    public struct Hygiene: Sendable, Equatable {
        /// One a quote, in the chain's order.
        public var fates: [Fate] = []
        /// By reason; reasons that did not occur are absent. They sum to `total`.
        public var counts: [Fate: Int] { fates.reduce(into: [:]) { $0[$1, default: 0] += 1 } }
        public var total: Int { fates.count }
        public subscript(fate: Fate) -> Int { fates.count { $0 == fate } }
    }

    /// Static arbitrage, measured and not repaired.
    public struct Arbitrage: Sendable, Equatable {
        /// Adjacent expiries whose total variance falls somewhere in the common quoted range.
        public var calendarPairs = 0
        /// The deepest fall in total variance, as a fraction of it; 0 if there is none.
        public var worstCalendar = 0.0
        /// Expiries whose fitted density goes negative in the quoted range.
        public var butterflyExpiries = 0
        /// The smallest g(k); positive if there is none.
        public var worstButterfly = Double.infinity
    }

    public struct Result: Sendable, Equatable {
        public var surface: ImpliedVolatilitySurface
        /// In order of expiry.
        public var smiles: [Smile]
        public var hygiene: Hygiene
        public var arbitrage: Arbitrage
        /// Over all kept quotes, absolute volatility.
        public var fitRootMeanSquare: Double
    }

    public let configuration: Configuration

    /// Throws `invalidArgument` for a grid that is empty, not increasing or out of range.
    public init(_ configuration: Configuration = .init()) throws(HestonError) {
        func check(_ name: String, _ grid: [Double], _ allowed: ClosedRange<Double>) throws(HestonError) {
            guard !grid.isEmpty else { throw .shapeMismatch(name: name, expected: 1, actual: 0) }
            for (i, x) in grid.enumerated() {
                try require(name, x, "increasing, in [\(allowed.lowerBound), \(allowed.upperBound)]") {
                    allowed.contains($0) && (i == 0 || $0 > grid[i - 1])
                }
            }
        }
        try check("logMoneyness", configuration.logMoneyness, -5...5)
        try check("tau", configuration.tau, 1e-4...50)
        try require("minimumQuotesPerExpiry", Double(configuration.minimumQuotesPerExpiry), ">= 2") { $0 >= 2 }
        try require("minimumExpiries", Double(configuration.minimumExpiries), ">= 1") { $0 >= 1 }
        try require("minimumTau", configuration.minimumTau, ">= 0") { $0 >= 0 }
        self.configuration = configuration
    }

    /// The surface of `chain` as seen at `asOf` (default: the moment of the snapshot).
    ///
    /// - Throws: `chainTooSparse`; `staleChain`; `invalidArgument` for a chain without a positive index price.
    public func build(_ chain: OptionChain, asOf: Timestamp? = nil) throws(HestonError) -> Result {
        try require("indexPrice", chain.indexPrice, "> 0, finite") { $0 > 0 }
        let age = (asOf ?? chain.snapshotTime) - chain.snapshotTime
        guard age <= configuration.maximumAge else {
            throw .staleChain(age: age.seconds, allowed: configuration.maximumAge.seconds)
        }
        var hygiene = Hygiene()
        let smiles = clean(chain, &hygiene)
        guard smiles.count >= configuration.minimumExpiries else {
            throw .chainTooSparse(
                quotes: hygiene[.kept], expiries: smiles.count, needed: configuration.minimumExpiries)
        }
        var surface = configuration.method == .svi ? interpolate(smiles, chain) : nearest(smiles, chain)
        if age > configuration.staleAge {
            for index in surface.cells.indices where surface.cells[index] != .missing { surface.cells[index] = .stale }
        }
        var sum = 0.0
        for smile in smiles {
            sum += smile.rootMeanSquare * smile.rootMeanSquare * Double(smile.quotedVolatility.count)
        }
        return Result(
            surface: surface, smiles: smiles, hygiene: hygiene, arbitrage: measure(smiles),
            fitRootMeanSquare: (sum / Double(max(1, hygiene[.kept]))).squareRoot())
    }

    // MARK: Cleaning

    private func clean(_ chain: OptionChain, _ hygiene: inout Hygiene) -> [Smile] {
        hygiene.fates = [Fate](repeating: .kept, count: chain.quotes.count)
        var byExpiry: [Timestamp: [Int]] = [:]
        for (index, quote) in chain.quotes.enumerated() {
            if let reason = firstFault(quote, chain) {
                hygiene.fates[index] = reason
            } else {
                byExpiry[quote.expiry, default: []].append(index)
            }
        }
        var smiles: [Smile] = []
        for (expiry, places) in byExpiry.sorted(by: { $0.key < $1.key }) {
            let forwards = places.map { chain.quotes[$0].underlyingPrice }.sorted()
            let middle = forwards.count / 2
            let forward =
                forwards.count % 2 == 1 ? forwards[middle] : 0.5 * (forwards[middle - 1] + forwards[middle])
            // One quote a strike: the out-of-the-money side. A duplicate of it counts as in the money.
            var chosen: [Double: (volatility: Double, place: Int)] = [:]
            for place in places {
                let quote = chain.quotes[place]
                let isOut = quote.kind == .call ? quote.strike >= forward : quote.strike < forward
                if isOut, chosen[quote.strike] == nil, let volatility = quote.markVolatility {
                    chosen[quote.strike] = (volatility, place)
                } else {
                    hygiene.fates[place] = .inTheMoney
                }
            }
            guard chosen.count >= configuration.minimumQuotesPerExpiry else {
                for (_, place) in chosen.values { hygiene.fates[place] = .sparseExpiry }
                continue
            }
            let ordered = chosen.sorted { $0.key < $1.key }
            smiles.append(
                Smile(
                    expiry: expiry, tau: (expiry - chain.snapshotTime).years, forward: forward,
                    logMoneyness: ordered.map { log($0.key / forward) }, volatility: ordered.map(\.value.volatility)))
        }
        return smiles
    }

    private func firstFault(_ quote: OptionQuote, _ chain: OptionChain) -> Fate? {
        let left = quote.expiry - chain.snapshotTime
        if left.microseconds <= 0 { return .expired }
        if left.years < configuration.minimumTau { return .expiringSoon }
        guard quote.strike.isFinite, quote.strike > 0, quote.underlyingPrice.isFinite, quote.underlyingPrice > 0 else {
            return .invalid
        }
        guard let mark = quote.markVolatility else { return .missingMark }
        guard configuration.plausibleVolatility.contains(mark) else { return .implausibleMark }
        let bid = quote.bidPriceCoin.flatMap { $0 > 0 ? $0 : nil }
        let ask = quote.askPriceCoin.flatMap { $0 > 0 ? $0 : nil }
        if bid == nil, ask == nil { return .stale }
        if let bid, let ask, bid > ask { return .crossed }
        if bid == nil, configuration.requiresBid { return .noBid }
        return nil
    }

    // MARK: The grid

    private func interpolate(_ smiles: [Smile], _ chain: OptionChain) -> ImpliedVolatilitySurface {
        typealias Cell = ImpliedVolatilitySurface.Cell
        let (ks, taus) = (configuration.logMoneyness, configuration.tau)
        var volatility = [Double](repeating: .nan, count: ks.count * taus.count)
        var cells = [Cell](repeating: .missing, count: volatility.count)
        var forwards: [Double] = []
        for (t, tau) in taus.enumerated() {
            let position = Position(tau, in: smiles)
            forwards.append(position.forward(smiles, tau: tau, spot: chain.indexPrice))
            for (i, k) in ks.enumerated() {
                let (lower, upper) = (smiles[position.lower], smiles[position.upper])
                let w =
                    position.isOutside
                    ? lower.totalVariance(k) * tau / lower.tau
                    : (1 - position.weight) * lower.totalVariance(k) + position.weight * upper.totalVariance(k)
                guard w > 0, w.isFinite else { continue }
                let index = i * taus.count + t
                volatility[index] = (w / tau).squareRoot()
                let single: Smile? = position.weight < 0.02 ? lower : (position.weight > 0.98 ? upper : nil)
                if position.isOutside {
                    cells[index] = .extrapolated
                } else if let single {
                    let near = single.quotedLogMoneyness.contains { abs($0 - k) < 0.02 }
                    cells[index] = single.covers(k) ? (near ? .observed : .interpolated) : .extrapolated
                } else {
                    cells[index] = lower.covers(k) && upper.covers(k) ? .interpolated : .extrapolated
                }
            }
        }
        return ImpliedVolatilitySurface(
            logMoneyness: ks, tau: taus, impliedVolatility: volatility, cells: cells, spot: chain.indexPrice,
            forwards: forwards, method: Configuration.Method.svi.rawValue)
    }

    private func nearest(_ smiles: [Smile], _ chain: OptionChain) -> ImpliedVolatilitySurface {
        let (ks, taus) = (configuration.logMoneyness, configuration.tau)
        var volatility = [Double](repeating: .nan, count: ks.count * taus.count)
        var cells = [ImpliedVolatilitySurface.Cell](repeating: .missing, count: volatility.count)
        var forwards: [Double] = []
        for (t, tau) in taus.enumerated() {
            forwards.append(Position(tau, in: smiles).forward(smiles, tau: tau, spot: chain.indexPrice))
            var smile = smiles[0]
            for candidate in smiles where abs(log(candidate.tau / tau)) < abs(log(smile.tau / tau)) {
                smile = candidate
            }
            for (i, k) in ks.enumerated() {
                var best = 0
                for j in smile.quotedLogMoneyness.indices
                where abs(smile.quotedLogMoneyness[j] - k) < abs(smile.quotedLogMoneyness[best] - k) {
                    best = j
                }
                let index = i * taus.count + t
                volatility[index] = smile.quotedVolatility[best]
                // Near in the sense that the quote could stand for the cell: 0.05 in k and 20 % in time.
                let isNear = abs(smile.quotedLogMoneyness[best] - k) <= 0.05 && abs(log(smile.tau / tau)) <= 0.2
                cells[index] = isNear ? .observed : .extrapolated
            }
        }
        return ImpliedVolatilitySurface(
            logMoneyness: ks, tau: taus, impliedVolatility: volatility, cells: cells, spot: chain.indexPrice,
            forwards: forwards, method: Configuration.Method.nearest.rawValue)
    }

    /// Where a maturity stands among the expiries.
    private struct Position {
        var lower: Int
        var upper: Int
        /// Of the upper expiry.
        var weight: Double
        /// Before the first or after the last by more than 2 %.
        var isOutside: Bool

        init(_ tau: Double, in smiles: [Smile]) {
            let last = smiles.count - 1
            (lower, upper, weight, isOutside) = (0, 0, 0, false)
            if tau <= smiles[0].tau {
                isOutside = tau < 0.98 * smiles[0].tau
            } else if tau >= smiles[last].tau {
                (lower, upper) = (last, last)
                isOutside = tau > 1.02 * smiles[last].tau
            } else {
                upper = 1
                while smiles[upper].tau < tau { upper += 1 }
                lower = upper - 1
                weight = (tau - smiles[lower].tau) / (smiles[upper].tau - smiles[lower].tau)
            }
        }

        /// ln(F/S) linear in time between expiries, at a constant rate outside.
        func forward(_ smiles: [Smile], tau: Double, spot: Double) -> Double {
            let low = log(smiles[lower].forward / spot)
            let high = log(smiles[upper].forward / spot)
            let growth = lower == upper ? low * tau / smiles[lower].tau : low + weight * (high - low)
            return spot * exp(growth)
        }
    }

    // MARK: Arbitrage

    private func measure(_ smiles: [Smile]) -> Arbitrage {
        var arbitrage = Arbitrage()
        for smile in smiles {
            guard let g = smile.worstButterfly else { continue }
            arbitrage.worstButterfly = min(arbitrage.worstButterfly, g)
            if g < -1e-9 { arbitrage.butterflyExpiries += 1 }
        }
        for (near, far) in zip(smiles, smiles.dropFirst()) {
            let low = max(near.quotedLogMoneyness[0], far.quotedLogMoneyness[0])
            let high = min(near.quotedLogMoneyness.last ?? low, far.quotedLogMoneyness.last ?? low)
            guard low < high else { continue }
            var worst = 0.0
            for i in 0...40 {
                let k = low + (high - low) * Double(i) / 40
                let w = near.totalVariance(k)
                worst = max(worst, (w - far.totalVariance(k)) / w)
            }
            if worst > 1e-9 { arbitrage.calendarPairs += 1 }
            arbitrage.worstCalendar = max(arbitrage.worstCalendar, worst)
        }
        return arbitrage
    }
}
