internal import Heston
internal import Kernels
internal import MarketData

/// Makes surfaces whose parameters are known: what the network learns from and is judged by.
public struct SurfaceGenerator: Sendable, Equatable {
    /// Where the volatilities come from.
    public enum Kind: String, Sendable, CaseIterable, Codable {
        /// Heston's model, priced.
        case heston
        /// max(√(θ + (v₀ − θ)e^(−κT)) + ρk/√(1 + T) + σk², 1e-4): a caricature with the same parameters, for a quick
        /// first training.
        case proxy
        /// No surfaces at all: moments of simulated paths, on `MomentSurface.grid`. v₀ is the variance at their end.
        case paths

        /// Those that make surfaces of options.
        public static let ofSurfaces: [Kind] = [.heston, .proxy]
    }

    /// Out-of-the-money prices at or below this fraction of the forward tell nothing: their cells are missing.
    public static let informationFloor = 1e-7
    /// A surface has at least this many cells, or it is drawn again.
    public static let minimumCells = 8

    public var kind: Kind
    public var preset: ParameterPreset
    public var grid: SurfaceGrid
    public var seed: UInt64

    /// Traps on paths on another grid than their moments'.
    public init(_ preset: ParameterPreset, kind: Kind = .heston, grid: SurfaceGrid = .standard, seed: UInt64) {
        precondition(kind != .paths || grid == MomentSurface.grid, "paths have the grid of their moments")
        self.kind = kind
        self.preset = preset
        self.grid = grid
        self.seed = seed
    }

    /// Surfaces number `first ..< first + count` of this generator, on up to `threads` threads. Surface number i is the
    /// same whatever else is made. Draws whose surface has arbitrage, too few cells, or is beyond the pricer are
    /// drawn again.
    ///
    /// Throws `generatorExhausted` where a thousand draws in a row were refused.
    public func surfaces(first: Int = 0, count: Int, threads: Int = 1) throws(InversionError) -> SurfaceDataset {
        let piece = 64
        let pieces = (count + piece - 1) / piece
        let lanes = max(1, min(threads, pieces))
        let made = Parallel.map(lanes) { lane in
            Result { () throws(InversionError) in
                var source = try Source(self)
                for index in Swift.stride(from: lane, to: pieces, by: lanes) {
                    for row in (index * piece)..<min(count, (index + 1) * piece) { try source.draw(first + row) }
                }
                return source.drawn
            }
        }
        var drawn: [Drawn] = []
        for result in made { drawn.append(try result.get()) }
        // Back in order: each lane has every `lanes`-th piece.
        var (volatilities, parameters): ([Double], [Double]) = ([], [])
        volatilities.reserveCapacity(count * grid.count)
        parameters.reserveCapacity(count * 5)
        for index in 0..<pieces {
            let (lane, start) = (index % lanes, index / lanes * piece)
            let end = start + min(piece, count - index * piece)
            volatilities += drawn[lane].volatilities[(start * grid.count)..<(end * grid.count)]
            parameters += drawn[lane].parameters[(start * 5)..<(end * 5)]
        }
        return SurfaceDataset(
            generator: self, volatilities: volatilities, parameters: parameters,
            refused: drawn.reduce(0) { $0 + $1.refused })
    }

    /// What one thread drew, surface after surface.
    private struct Drawn: Sendable {
        var volatilities: [Double] = []
        var parameters: [Double] = []
        var refused = 0
    }

    /// One thread's means to draw surfaces.
    private struct Source: ~Copyable {
        let generator: SurfaceGenerator
        var model: VolatilityGrid
        var volatilities: [Double]
        var drawn = Drawn()

        init(_ generator: SurfaceGenerator) throws(InversionError) {
            self.generator = generator
            do throws(HestonError) {
                model = try VolatilityGrid(
                    logMoneyness: generator.grid.logMoneyness, tau: generator.grid.tau,
                    accuracy: .init(tolerance: 1e-11, maximumNodes: 8192), informationFloor: informationFloor)
            } catch { throw .calibration(error) }
            volatilities = [Double](repeating: .nan, count: generator.grid.count)
        }

        mutating func draw(_ index: Int) throws(InversionError) {
            // Another odd number than the generator's own increment, or neighbours would share their states.
            var random = RandomGenerator(seed: generator.seed &+ UInt64(index) &* 0xD134_2543_DE82_EF95)
            for _ in 0..<1000 {
                var parameters = generator.preset.draw(&random)
                if try isUsable(&parameters, &random) {
                    drawn.volatilities += volatilities
                    drawn.parameters += parameters.array
                    return
                }
                drawn.refused += 1
            }
            throw .generatorExhausted(made: index, attempts: 1000)
        }

        /// Fills `volatilities` from the parameters; whether they are a surface to learn from.
        private mutating func isUsable(
            _ parameters: inout HestonParameters, _ random: inout RandomGenerator
        ) throws(InversionError) -> Bool {
            do throws(HestonError) {
                switch generator.kind {
                case .heston:
                    // What is beyond the pricer is drawn again; parameters outside their domains are a fault.
                    do throws(HestonError) { try model.evaluate(parameters) } catch {
                        if case .accuracyNotReached = error { return false }
                        throw error
                    }
                    for cell in volatilities.indices { volatilities[cell] = model.volatilities[cell] }
                case .proxy: try caricature(parameters)
                case .paths: parameters.v0 = try walk(parameters, &random)
                }
                guard volatilities.count(where: { !$0.isNaN }) >= minimumCells else { return false }
                // No logarithm tells a variance of 0.
                if generator.kind == .paths { return parameters.v0 > 1e-4 }
                return try Arbitrage.isAbsent(volatilities, generator.grid)
            } catch { throw .calibration(error) }
        }

        /// Half an hour of one-minute returns to their moments; returns the variance at its end.
        private mutating func walk(
            _ p: HestonParameters, _ random: inout RandomGenerator
        ) throws(HestonError) -> Double {
            let stepper = try HestonStepper(p, drift: 0, stepYears: 1 / MomentSurface.minutesPerYear)
            var variance = p.v0
            let returns = (0..<MomentSurface.returnCount).map { _ in
                stepper.logReturn(variance: &variance, using: &random)
            }
            volatilities = MomentSurface.values(returns)
            return variance
        }

        private mutating func caricature(_ p: HestonParameters) throws(HestonError) {
            let grid = generator.grid
            for (i, k) in grid.logMoneyness.enumerated() {
                for (t, tau) in grid.tau.enumerated() {
                    let level = (p.theta + (p.v0 - p.theta) * exp(-p.kappa * tau)).squareRoot()
                    let value = max(level + p.rho * k / (1 + tau).squareRoot() + p.sigma * k * k, 1e-4)
                    let price = try Arbitrage.price(k, value, tau)
                    volatilities[i * grid.tau.count + t] = price > informationFloor ? value : .nan
                }
            }
        }
    }
}

/// Static arbitrage between the cells of a surface.
enum Arbitrage {
    /// Whether total variance nowhere falls with time at one log-moneyness, and calls of each maturity fall in the
    /// strike and are convex in it. Missing cells (NaN) are passed over.
    static func isAbsent(_ volatilities: [Double], _ grid: SurfaceGrid) throws(HestonError) -> Bool {
        let columns = grid.tau.count
        for i in grid.logMoneyness.indices {
            var before = 0.0
            for (t, tau) in grid.tau.enumerated() {
                let volatility = volatilities[i * columns + t]
                guard !volatility.isNaN else { continue }
                let variance = volatility * volatility * tau
                guard variance >= before * (1 - 1e-6) else { return false }
                before = variance
            }
        }
        for (t, tau) in grid.tau.enumerated() {
            // A call at strike 0 is worth the forward.
            var (strike, call, slope) = (0.0, 1.0, -1.0)
            for (i, k) in grid.logMoneyness.enumerated() {
                let volatility = volatilities[i * columns + t]
                guard !volatility.isNaN else { continue }
                let ratio = exp(k)
                let next = try price(k, volatility, tau) + max(0, 1 - ratio)
                let steepness = (next - call) / (ratio - strike)
                guard steepness >= slope - 1e-7, steepness <= 1e-7 else { return false }
                (strike, call, slope) = (ratio, next, steepness)
            }
        }
        return true
    }

    /// The undiscounted out-of-the-money price as a fraction of the forward.
    static func price(_ k: Double, _ volatility: Double, _ tau: Double) throws(HestonError) -> Double {
        try Black.price(k < 0 ? .put : .call, forward: 1, strike: exp(k), tau: tau, volatility: volatility)
    }
}
