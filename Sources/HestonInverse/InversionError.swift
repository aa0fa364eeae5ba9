public import Heston
public import NeuralNetworks

/// Why a network could not be made, read, trained or asked. Volatilities are absolute.
public enum InversionError: Error, Sendable, Equatable {
    /// The surface is not on the network's points. Build it on `expected`.
    case wrongGrid(expected: SurfaceGrid, found: [Int])
    /// Fewer cells with a volatility than a surface must have to be inverted.
    case tooFewCells(usable: Int, needed: Int)
    /// A volatility that no surface has. `cell` counts row-major in the log-moneyness.
    case impossibleVolatility(cell: Int, value: Double)
    /// A file that is not such a checkpoint or dataset: `field` is not what it should be.
    case malformed(field: String, reason: String)
    /// The file's format is broken.
    case file(NeuralNetworkError)
    /// The loss stopped being a number at this step: lower the learning rate.
    case diverged(step: Int)
    /// The generator's surfaces were refused again and again: `attempts` draws gave `made` surfaces.
    case generatorExhausted(made: Int, attempts: Int)
    /// Neither network nor calibration had an answer for any of the surfaces.
    case noAnswers(surfaces: Int)
    /// The calibration after the network.
    case calibration(HestonError)
}

extension InversionError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .wrongGrid(let expected, let found):
            "the surface has \(found[0]) × \(found[1]) points, the network needs log-moneyness "
                + "\(expected.logMoneyness) and maturities \(expected.tau)"
        case .tooFewCells(let usable, let needed): "\(usable) usable cells, \(needed) needed"
        case .impossibleVolatility(let cell, let value): "cell \(cell) has the volatility \(value)"
        case .malformed(let field, let reason): "\(field) \(reason)"
        case .file(let error): "\(error)"
        case .diverged(let step): "the loss is no number at step \(step): lower the learning rate"
        case .generatorExhausted(let made, let attempts): "\(attempts) draws gave only \(made) surfaces"
        case .noAnswers(let surfaces): "no answer for any of \(surfaces) surfaces"
        case .calibration(let error): "\(error)"
        }
    }
}
