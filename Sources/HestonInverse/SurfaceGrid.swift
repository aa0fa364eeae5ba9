public import MarketData

/// The points of a surface: a network is made for one grid, and refuses surfaces on another.
public struct SurfaceGrid: Sendable, Equatable, Codable {
    /// ln(K/F(τ)), increasing.
    public let logMoneyness: [Double]
    /// Years, increasing.
    public let tau: [Double]

    public static let standard = SurfaceGrid(
        logMoneyness: ImpliedVolatilitySurface.standardLogMoneyness, tau: ImpliedVolatilitySurface.standardTau)

    /// Traps on a grid that is empty or not increasing.
    public init(logMoneyness: [Double], tau: [Double]) {
        precondition(!logMoneyness.isEmpty && !tau.isEmpty, "a grid has points")
        precondition(zip(logMoneyness, logMoneyness.dropFirst()).allSatisfy { $0 < $1 }, "log-moneyness increases")
        precondition(zip([0] + tau, tau).allSatisfy { $0 < $1 }, "maturities are positive and increase")
        self.logMoneyness = logMoneyness
        self.tau = tau
    }

    /// Cells, row-major in the log-moneyness.
    public var count: Int { logMoneyness.count * tau.count }

    /// The cells of a surface that the network sees, NaN where it does not: missing ones, and extrapolated ones, which
    /// say nothing of the market. Throws `wrongGrid` for a surface on other points.
    public func volatilities(_ surface: ImpliedVolatilitySurface) throws(InversionError) -> [Double] {
        func isSame(_ a: [Double], _ b: [Double]) -> Bool {
            a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) <= 1e-9 }
        }
        guard isSame(surface.logMoneyness, logMoneyness), isSame(surface.tau, tau) else {
            throw .wrongGrid(expected: self, found: [surface.logMoneyness.count, surface.tau.count])
        }
        return surface.cells.indices.map { cell in
            switch surface.cells[cell] {
            case .missing, .extrapolated: .nan
            case .observed, .interpolated, .stale: surface.impliedVolatility[cell]
            }
        }
    }
}
