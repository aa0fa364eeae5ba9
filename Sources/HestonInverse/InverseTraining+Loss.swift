internal import Heston
internal import Kernels
internal import NeuralNetworks

/// What one row costs, and where that is steep.
extension InverseTraining {
    /// δ of the repricing loss, absolute volatility: below it errors count squared, above it in proportion.
    private static let robustness = 0.003

    /// A row's cells as the network sees them.
    func read(_ rows: Rows, _ row: Int, into cells: inout [Float]) {
        unsafe rows.volatilities.withUnsafeBufferPointer { all in
            unsafe cells.withUnsafeMutableBufferPointer { cells in
                guard let from = all.baseAddress, let to = cells.baseAddress else { return }
                unsafe scaling.standardise(from + row * cells.count, into: to)
            }
        }
    }

    /// Takes cells away from some rows, as markets do: maturities at one end, and some of the others.
    func hide(_ values: inout [Float], _ random: inout RandomGenerator) {
        guard random.uniform() < configuration.missingShare else { return }
        let columns = network.columns
        let before = values
        let first = random.index(below: 2) == 0 ? random.index(below: max(1, columns / 2)) : 0
        let last = random.index(below: 2) == 0 ? columns - random.index(below: max(1, columns / 2)) : columns
        let share = random.uniform(0, 0.3)
        for cell in values.indices {
            let column = cell % columns
            if column < first || column >= last || random.uniform() < share { values[cell] = .nan }
        }
        if values.count(where: { !$0.isNaN }) < SurfaceGenerator.minimumCells { values = before }
    }

    /// The loss of one row whose pass is in the workspace; leaves its gradients there, times `scale`. `values` are the
    /// row's cells as the network saw them.
    func loss(
        _ w: NetworkWorkspace, _ place: Int, _ rows: Rows, _ row: Int, _ values: [Float], repricing: Float, scale: Float
    ) -> (loss: Double, error: Double?) {
        let cells = network.cells
        let answers = unsafe w.answers + place * InverseNetwork.answerCount
        let surface = unsafe w.surface + place * cells
        let answerGradient = unsafe w.answerGradient + place * InverseNetwork.answerCount
        let surfaceGradient = unsafe w.surfaceGradient + place * cells
        var total: Float = 0
        let present = Float(values.count { !$0.isNaN })
        let isMarket = rows.truths.isEmpty
        let surfaceScale = (isMarket ? configuration.realSurfaceWeight : configuration.surfaceWeight) / present
        for cell in 0..<cells {
            let value = values[cell]
            let e = unsafe value.isNaN ? 0 : surface[cell] - value
            total += surfaceScale * e * e
            unsafe surfaceGradient[cell] = 2 * surfaceScale * scale * e
        }
        if isMarket {
            for i in 0..<InverseNetwork.answerCount { unsafe answerGradient[i] = 0 }
        } else {
            total += unsafe parameterLoss(answers, rows, row, scale: scale, gradient: answerGradient)
        }
        guard repricing > 0 else { return (Double(total), nil) }
        let guess = unsafe scaling.parameters(answers, stride: 2)
        guard let found = Self.repricing(guess, rows, row, scaling.grid) else { return (Double(total), nil) }
        let d = Self.robustness
        let root = (1 + found.meanSquare / (d * d)).squareRoot()
        total += repricing * Float(root - 1)
        let slopes = scaling.slopes(guess)
        let outer = Double(repricing * scale) / (2 * d * d * root)
        for (i, g) in found.gradient.array.enumerated() {
            unsafe answerGradient[2 * i] += Float(outer * g * slopes[i])
        }
        return (Double(total), found.meanSquare.squareRoot())
    }

    /// SmoothL1 of the values and the likelihood of their errors, by the truth.
    @unsafe
    private func parameterLoss(
        _ answers: UnsafePointer<Float>, _ rows: Rows, _ row: Int, scale: Float, gradient: UnsafeMutablePointer<Float>
    ) -> Float {
        let p = rows.truths[(row * 5)..<(row * 5 + 5)]
        let first = p.startIndex
        let targets = scaling.standardise(
            HestonParameters(
                kappa: p[first], theta: p[first + 1], sigma: p[first + 2], rho: p[first + 3], v0: p[first + 4]))
        let smoothL1 = RegressionLoss.huber(delta: 1)
        let (weight, uncertainty) = (0.2 * configuration.parameterWeight, 0.2 * configuration.uncertaintyWeight)
        var total: Float = 0
        for i in 0..<5 {
            let (value, slope) = unsafe smoothL1(answers[2 * i], target: targets[i])
            total += weight * value
            unsafe gradient[2 * i] = weight * scale * slope
            let e = unsafe answers[2 * i] - targets[i]
            let s = unsafe min(max(answers[2 * i + 1], -12), 6)
            let scaled = e * e * exp(-2 * s)
            total += uncertainty * (0.5 * scaled + s)
            unsafe gradient[2 * i + 1] = uncertainty * scale * min(max(1 - scaled, -10), 1)
        }
        return total
    }

    /// All of the surface's cells count, also those that the network was not shown. `nil` where the pricer refuses the
    /// guess, or no cell carries information: such a row teaches by its other terms.
    private static func repricing(
        _ guess: HestonParameters, _ rows: Rows, _ row: Int, _ grid: SurfaceGrid
    ) -> (meanSquare: Double, gradient: HestonGradient)? {
        let quotes = grid.quotes(Array(rows.volatilities[(row * grid.count)..<((row + 1) * grid.count)]))
        guard var loss = try? RepricingLoss(quotes, accuracy: .init(tolerance: 1e-9, maximumNodes: 1024)) else {
            return nil
        }
        return loss.evaluate(guess)
    }
}
