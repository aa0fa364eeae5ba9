public import Heston
internal import Kernels

/// A trained inverse network with everything that its answers depend on.
public struct InverseModel: Sendable, Equatable {
    public let network: InverseNetwork
    /// The network's flat vector.
    public let parameters: [Float]
    public let scaling: InverseScaling
    /// The error of reconstruction that 99 % of the validation's surfaces stay below: root mean square over the cells,
    /// standardised. `NetworkAnswer.novelty` is in units of it.
    public let familiarError: Float
    /// What it learnt from and how, for people: preset, generator, seed, epochs, errors.
    public var metadata: [String: String]

    public var grid: SurfaceGrid { scaling.grid }

    public init(
        network: InverseNetwork, parameters: [Float], scaling: InverseScaling, familiarError: Float,
        metadata: [String: String] = [:]
    ) {
        precondition(parameters.count == network.parameterCount, "the parameters are the network's")
        precondition(scaling.grid.count == network.cells, "the scaling is of the network's grid")
        precondition(familiarError > 0, "the unit of novelty is positive")
        self.network = network
        self.parameters = parameters
        self.scaling = scaling
        self.familiarError = familiarError
        self.metadata = metadata
    }
}

/// What a network says of a surface.
public struct NetworkAnswer: Sendable, Equatable {
    public var parameters: HestonParameters
    /// The network's own estimate of each parameter's error, one standard deviation in the parameter's unit, in the
    /// project's order.
    public var deviations: [Double]
    /// How badly the network redraws the surface, in units of what is usual: above 1 the surface is unlike 99 % of what
    /// it learnt from, and the answer is a guess.
    public var novelty: Double
}

/// Asks a network, again and again. One inverter serves one thread; threads have one each.
public struct Inverter: ~Copyable, Sendable {
    public let model: InverseModel
    /// Surfaces that can be asked at once.
    public let capacity: Int
    /// Parameters of the last surfaces, in their order.
    public private(set) var parameters: [HestonParameters]
    private var count = 0
    private var hasSurfaces = false
    private let workspace: NetworkWorkspace
    /// `[capacity × cells]`: as the network sees them, NaN where one is missing.
    private var cells: [Float]

    public init(_ model: InverseModel, capacity: Int = 1) {
        precondition(capacity > 0, "there is room for a surface")
        self.model = model
        self.capacity = capacity
        workspace = NetworkWorkspace(model.network, capacity: capacity)
        cells = [Float](repeating: 0, count: capacity * model.network.cells)
        parameters = []
        parameters.reserveCapacity(capacity)
    }

    /// Fills `parameters` from `count` surfaces, without allocation: volatilities `[count × cells]`, absolute,
    /// row-major in the log-moneyness, NaN where a cell is missing. With `surface` the surfaces are redrawn too, which
    /// `answer(_:)` needs. Traps on counts that do not fit; the values' sense is `check`'s business.
    public mutating func invert(_ volatilities: [Double], count: Int = 1, surface: Bool = true) {
        let size = model.network.cells
        precondition(count > 0 && count <= capacity && volatilities.count == count * size, "the surfaces fit")
        unsafe volatilities.withUnsafeBufferPointer { from in
            unsafe cells.withUnsafeMutableBufferPointer { to in
                guard let from = from.baseAddress, let to = to.baseAddress else { return }
                for row in 0..<count {
                    unsafe model.scaling.standardise(from + row * size, into: to + row * size)
                    unsafe workspace.set(row, to + row * size)
                }
            }
        }
        model.network.forward(workspace, count: count, parameters: model.parameters, surface: surface)
        parameters.removeAll(keepingCapacity: true)
        for row in 0..<count {
            unsafe parameters.append(
                model.scaling.parameters(workspace.answers + row * InverseNetwork.answerCount, stride: 2))
        }
        (self.count, hasSurfaces) = (count, surface)
    }

    /// All that the network said of one of the last surfaces. They must have been redrawn.
    public func answer(_ row: Int = 0) -> NetworkAnswer {
        precondition(row < count && hasSurfaces, "the surface was inverted and redrawn")
        let found = parameters[row]
        let deviations = model.scaling.slopes(found).enumerated().map { i, slope in
            let logarithm = unsafe workspace.answers[row * InverseNetwork.answerCount + 2 * i + 1]
            return slope * Double(exp(min(max(logarithm, -12), 6)))
        }
        return NetworkAnswer(
            parameters: found, deviations: deviations,
            novelty: Double(reconstructionError(row) / model.familiarError))
    }

    /// The surface as the network redraws it, absolute volatilities on the grid, missing cells included.
    public func surface(_ row: Int = 0) -> [Double] {
        precondition(row < count && hasSurfaces, "the surface was inverted and redrawn")
        return (0..<model.network.cells).map { cell in
            unsafe model.scaling.volatility(workspace.surface[row * model.network.cells + cell], cell: cell)
        }
    }

    /// Root mean square of redrawn − seen over the cells that are there, standardised.
    func reconstructionError(_ row: Int) -> Float {
        let size = model.network.cells
        var (sum, present): (Float, Float) = (0, 0)
        for cell in 0..<size {
            let seen = cells[row * size + cell]
            guard !seen.isNaN else { continue }
            let e = unsafe workspace.surface[row * size + cell] - seen
            sum += e * e
            present += 1
        }
        return present > 0 ? (sum / present).squareRoot() : .infinity
    }
}

extension SurfaceGrid {
    /// Throws unless the volatilities (NaN: missing) are a surface that can be inverted: `tooFewCells`,
    /// `impossibleVolatility`.
    public func check(_ volatilities: [Double]) throws(InversionError) {
        precondition(volatilities.count == count, "one volatility a cell")
        if let bad = volatilities.firstIndex(where: { !$0.isNaN && !($0 > 0 && $0 <= 20) }) {
            throw .impossibleVolatility(cell: bad, value: volatilities[bad])
        }
        let usable = volatilities.count { !$0.isNaN }
        guard usable >= SurfaceGenerator.minimumCells else {
            throw .tooFewCells(usable: usable, needed: SurfaceGenerator.minimumCells)
        }
    }
}
