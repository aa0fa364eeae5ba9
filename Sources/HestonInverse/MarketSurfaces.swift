public import MarketData

/// A market's surfaces as a network sees them, cut in time: those to learn from, to choose the best epoch by, and to
/// judge by. None is in two parts.
public struct MarketSurfaces: Sendable, Equatable {
    /// Surfaces before are learnt from.
    public let trainTo: Timestamp
    /// Surfaces from `trainTo` until here choose, later ones judge.
    public let validateTo: Timestamp
    public let grid: SurfaceGrid
    /// `[surfaces × cells]` each, NaN where a cell is missing or extrapolated.
    public private(set) var training: [Double] = []
    public private(set) var validation: [Double] = []
    public private(set) var test: [Double] = []
    /// Surfaces on another grid, with too few cells, or with a volatility that none has.
    public private(set) var skipped = 0

    /// Traps unless `trainTo` is before `validateTo`.
    public init(grid: SurfaceGrid, trainTo: Timestamp, validateTo: Timestamp) {
        precondition(trainTo < validateTo, "what chooses comes after what is learnt from")
        (self.grid, self.trainTo, self.validateTo) = (grid, trainTo, validateTo)
    }

    public var trainingCount: Int { training.count / grid.count }

    public mutating func add(_ surface: ImpliedVolatilitySurface, at time: Timestamp) {
        let cells: [Double]
        do throws(InversionError) {
            cells = try grid.volatilities(surface)
            try grid.check(cells)
        } catch {
            skipped += 1
            return
        }
        if time < trainTo { training += cells } else if time < validateTo { validation += cells } else { test += cells }
    }
}
