internal import Heston
internal import Kernels
internal import NeuralNetworks

/// The training of an inverse network, an epoch at a time: deterministic for a seed, whatever the number of threads,
/// and everything that a killed training needs to go on to the same bits is in `checkpoint()`.
///
/// A minibatch is cut into shards of 64 rows; each computes its rows' losses and gradients by itself, and the sums are
/// taken in the shards' order. A row's loss is
///
///     parameters · SmoothL1(answer, truth)                                  synthetic rows
///     + surface · MSE(reconstruction, surface) over the cells that are there
///     + repricing · (√(1 + r²/δ²) − 1), r the root mean square of σ(answer) − σ(surface), δ = 0.003
///     + uncertainty · (½e²/s² + ln s), e the answer's error, which this term does not move, s its own estimate of it
///
/// The repricing term makes the network learn what prices see: far-off κ costs nothing where no price tells it. The
/// optimiser is AdamW, its rate rising over the first two hundredths of the steps and falling with a cosine to 0.
public struct InverseTraining: Sendable {
    /// What the network learns from.
    public enum Mode: String, Sendable, CaseIterable, Codable {
        /// Synthetic surfaces, whose parameters are known.
        case synthetic
        /// Market surfaces, by their reconstruction alone; the heads stay as they are.
        case real
        /// A synthetic and a market batch each step.
        case mixed
    }

    public struct Configuration: Sendable, Equatable, Codable {
        public var mode = Mode.synthetic
        public var architecture = InverseNetwork.Architecture()
        public var epochs = 30
        public var batch = 256
        /// At its highest.
        public var learningRate: Float = 1e-3
        public var weightDecay: Float = 1e-4
        public var parameterWeight: Float = 1
        public var surfaceWeight: Float = 0.3
        /// Of market surfaces' reconstruction, in `mixed` and `real`.
        public var realSurfaceWeight: Float = 0.3
        public var repricingWeight: Float = 0.3
        /// The share of epochs before the repricing loss sets in: it needs answers that are roughly right.
        public var repricingStart = 0.1
        public var uncertaintyWeight: Float = 0.05
        /// The share of rows that lose some cells at random, as market surfaces do.
        public var missingShare = 0.3
        /// Gradients are scaled down to this norm.
        public var gradientNorm: Float = 1
        public var seed: UInt64 = 1
        public init() {}
    }

    /// What an epoch left.
    public struct Epoch: Sendable, Equatable, Codable {
        /// From 1.
        public var number: Int
        public var learningRate: Float
        /// Means over the epoch's rows, and over the validation rows.
        public var loss: Double
        public var validationLoss: Double
        /// Root mean square of σ(answer) − σ(surface) over a validation surface, absolute volatility: median and 95th
        /// percentile over them. 0 where no validation row is synthetic.
        public var medianError: Double
        public var highError: Double
    }

    public let configuration: Configuration
    public private(set) var epochs: [Epoch] = []
    let network: InverseNetwork
    let scaling: InverseScaling
    private let synthetic: Rows
    private let market: Rows
    private(set) var parameters: [Float]
    private var optimiser: Adam
    private var best: (parameters: [Float], loss: Double)?

    /// Surfaces of one kind: those to learn from, then those to validate on.
    struct Rows: Sendable {
        var volatilities: [Double] = []
        /// Empty for market surfaces.
        var truths: [Double] = []
        var count = 0
        var trainingCount = 0
        var validation: [Int] { Array(trainingCount..<count) }
    }

    static let shard = 64
    /// δ of the repricing loss, absolute volatility: below it errors count squared, above it in proportion.
    private static let robustness = 0.003

    // MARK: Beginning

    /// A training from new weights on synthetic surfaces. The last tenth of them, at most 10,000, is for validation.
    public init(_ data: SurfaceDataset, _ configuration: Configuration = .init()) {
        precondition(configuration.mode == .synthetic, "market surfaces are learnt by a network that there is")
        var configuration = configuration
        if data.generator.kind == .paths {
            // Moments have no price, and none of them is ever missing.
            (configuration.repricingWeight, configuration.missingShare) = (0, 0)
        }
        let rows = Self.rows(data)
        let network = InverseNetwork(configuration.architecture, grid: data.generator.grid)
        var random = RandomGenerator(seed: configuration.seed)
        self.init(
            configuration, network, InverseScaling(data, count: rows.trainingCount),
            network.initialParameters(&random), synthetic: rows, market: Rows())
    }

    /// Goes on with a network that there is, on market surfaces `[count × cells]` in order of time, of which the first
    /// `trainingCount` are learnt from and the others validate: by reconstruction alone (`real`), or beside synthetic
    /// surfaces (`mixed`, which needs `data`). The network's own scaling stays.
    public init(
        from model: InverseModel, market volatilities: [Double], trainingCount: Int, _ data: SurfaceDataset? = nil,
        _ configuration: Configuration
    ) {
        let count = volatilities.count / model.network.cells
        precondition(volatilities.count == count * model.network.cells, "whole surfaces")
        precondition(trainingCount > 0 && trainingCount < count, "surfaces to learn from, and to validate on")
        precondition((configuration.mode == .mixed) == (data != nil), "mixed is with synthetic surfaces, real without")
        precondition(data.map { $0.generator.grid == model.grid } ?? true, "one grid")
        var configuration = configuration
        configuration.architecture = model.network.architecture
        self.init(
            configuration, model.network, model.scaling, model.parameters, synthetic: data.map(Self.rows) ?? Rows(),
            market: Rows(volatilities: volatilities, count: count, trainingCount: trainingCount))
    }

    private static func rows(_ data: SurfaceDataset) -> Rows {
        precondition(data.count >= 2, "a surface to learn from, and one to validate on")
        return Rows(
            volatilities: data.volatilities, truths: data.parameters, count: data.count,
            trainingCount: data.count - max(1, min(10_000, data.count / 10)))
    }

    private init(
        _ configuration: Configuration, _ network: InverseNetwork, _ scaling: InverseScaling, _ parameters: [Float],
        synthetic: Rows, market: Rows
    ) {
        self.configuration = configuration
        self.network = network
        self.scaling = scaling
        self.synthetic = synthetic
        self.market = market
        self.parameters = parameters
        var adam = Adam.Configuration()
        adam.weightDecay = configuration.weightDecay
        optimiser = Adam(parameterCount: network.parameterCount, configuration: adam)
    }

    public var isFinished: Bool { epochs.count >= configuration.epochs }

    /// The best network so far by validation loss, with what of its errors is usual. `metadata` goes into its file.
    public func model(metadata: [String: String] = [:]) -> InverseModel {
        let parameters = best?.parameters ?? parameters
        let raw = InverseModel(network: network, parameters: parameters, scaling: scaling, familiarError: 1)
        var inverter = Inverter(raw)
        var errors: [Float] = []
        for rows in [synthetic, market] {
            for row in rows.validation {
                inverter.invert(Array(rows.volatilities[(row * network.cells)..<((row + 1) * network.cells)]))
                errors.append(inverter.reconstructionError(0))
            }
        }
        errors.sort()
        let familiar = errors[min(errors.count - 1, errors.count * 99 / 100)]
        return InverseModel(
            network: network, parameters: parameters, scaling: scaling, familiarError: max(familiar, 1e-6),
            metadata: metadata)
    }

    // MARK: An epoch

    /// One pass over the training rows, and a validation. `proceed` is called after every step with the epoch's
    /// progress (0 … 1), and may throw to stop: the training is then as before the epoch.
    ///
    /// Throws what `proceed` throws, and `InversionError.diverged`.
    public mutating func runEpoch(threads: Int = 1, proceed: (Double) throws -> Void = { _ in }) throws {
        precondition(!isFinished, "there are epochs left")
        var attempt = self
        try attempt.epoch(threads, proceed)
        self = attempt
    }

    private mutating func epoch(_ threads: Int, _ proceed: (Double) throws -> Void) throws {
        let number = epochs.count
        var random = RandomGenerator(seed: configuration.seed &+ UInt64(number + 1) &* 0xD134_2543_DE82_EF95)
        let isReal = configuration.mode == .real
        let leading = isReal ? market : synthetic
        let order = Self.shuffled(leading.trainingCount, &random)
        let batch = configuration.batch
        let steps = (order.count + batch - 1) / batch
        let lanes = Lanes(network, batch: batch, threads: threads)
        // New weights need a while before their answers can be priced.
        let start = configuration.mode == .synthetic ? configuration.repricingStart * Double(configuration.epochs) : 0
        let repricing = !isReal && Double(number) >= start ? configuration.repricingWeight : 0
        var gradients = [Float](repeating: 0, count: network.parameterCount)
        var sum = 0.0
        var rate: Float = 0
        for step in 0..<steps {
            let rows = order[(step * batch)..<min(order.count, (step + 1) * batch)]
            var loss = lanes.gradients(
                self, leading, rows, repricing: repricing, seed: random.next(), into: &gradients, adding: false)
            if configuration.mode == .mixed {
                let others = rows.map { _ in random.index(below: market.trainingCount) }
                loss += lanes.gradients(
                    self, market, others[...], repricing: repricing, seed: random.next(), into: &gradients,
                    adding: true)
            }
            sum += loss
            rate = learningRate(Double(number * steps + step) / Double(configuration.epochs * steps))
            let norm = clipGlobalNorm(&gradients, limit: configuration.gradientNorm)
            guard norm.isFinite, loss.isFinite else { throw InversionError.diverged(step: number * steps + step) }
            let heads = isReal ? Array(parameters[network.headParameters]) : []
            optimiser.step(&parameters, gradients: gradients, learningRate: rate)
            if isReal { parameters.replaceSubrange(network.headParameters, with: heads) }
            try proceed(Double(step + 1) / Double(steps))
        }
        let judged = validate(lanes)
        if best.map({ judged.loss < $0.loss }) ?? true { best = (parameters, judged.loss) }
        epochs.append(
            Epoch(
                number: number + 1, learningRate: rate, loss: sum / Double(order.count), validationLoss: judged.loss,
                medianError: judged.median, highError: judged.high))
    }

    /// Rising over the first fiftieth, then half a cosine to 0.
    private func learningRate(_ progress: Double) -> Float {
        let rise = 0.02
        if progress < rise { return configuration.learningRate * Float((progress + 1e-3) / (rise + 1e-3)) }
        return Schedule.cosine(from: configuration.learningRate, to: 0).value(at: (progress - rise) / (1 - rise))
    }

    private static func shuffled(_ count: Int, _ random: inout RandomGenerator) -> [Int] {
        var order = Array(0..<count)
        for i in stride(from: count - 1, to: 0, by: -1) { order.swapAt(i, random.index(below: i + 1)) }
        return order
    }

    /// Losses are means; a surface's error is in the order of its kind: synthetic ones where there are any.
    private func validate(_ lanes: Lanes) -> (loss: Double, median: Double, high: Double) {
        var total = 0.0
        var errors: [Double] = []
        for rows in [synthetic, market] where rows.count > 0 {
            let (loss, found) = lanes.losses(
                self, rows, rows.validation,
                repricing: configuration.mode == .real ? 0 : configuration.repricingWeight)
            total += loss / Double(rows.validation.count)
            if errors.isEmpty { errors = found.sorted() }
        }
        guard !errors.isEmpty else { return (total, 0, 0) }
        return (total, errors[errors.count / 2], errors[errors.count * 95 / 100])
    }

    // MARK: Checkpoint

    private static let kind = "heston-inverse-training-1"

    /// Everything between two epochs but the data: equal bytes for equal states.
    public func checkpoint() -> [UInt8] {
        let curve = epochs.flatMap {
            [Double($0.learningRate), $0.loss, $0.validationLoss, $0.medianError, $0.highError]
        }
        var tensors = [
            Tensor("epochs", shape: [epochs.count, 5], .float64(curve)),
            Tensor("steps", shape: [1], .int64([Int64(optimiser.stepCount)])),
            Tensor("parameters", parameters), Tensor("adam.first", optimiser.firstMoment),
            Tensor("adam.second", optimiser.secondMoment),
        ]
        if let best {
            tensors.append(Tensor("best.loss", shape: [1], .float64([best.loss])))
            tensors.append(Tensor("best.parameters", best.parameters))
        }
        return Safetensors(
            metadata: ["kind": Self.kind, "configuration": "\(configuration)", "data": fingerprint], tensors: tensors
        ).bytes()
    }

    /// Goes on from a checkpoint of a training with the same data and configuration. Throws `file`, `malformed`; the
    /// training is then as it was.
    public mutating func resume(_ checkpoint: [UInt8]) throws(InversionError) {
        do {
            let file = try Safetensors(bytes: checkpoint)
            for (field, expected) in [
                ("kind", Self.kind), ("configuration", "\(configuration)"), ("data", fingerprint),
            ] where file.metadata[field] != expected {
                throw InversionError.malformed(field: field, reason: "is not this training's")
            }
            let count = [network.parameterCount]
            let parameters = try file.floats("parameters", shape: count)
            let (first, second) = (
                try file.floats("adam.first", shape: count), try file.floats("adam.second", shape: count)
            )
            guard case .int64(let steps) = try file.tensor("steps").elements, steps.count == 1, steps[0] >= 0,
                case .float64(let curve) = try file.tensor("epochs").elements, curve.count % 5 == 0,
                curve.count / 5 <= configuration.epochs
            else { throw InversionError.malformed(field: "epochs", reason: "are none") }
            var best: (parameters: [Float], loss: Double)?
            if let loss = try? file.tensor("best.loss"), case .float64(let values) = loss.elements, values.count == 1 {
                best = (try file.floats("best.parameters", shape: count), values[0])
            }
            self.parameters = parameters
            self.best = best
            optimiser = Adam(
                configuration: optimiser.configuration, stepCount: Int(steps[0]), firstMoment: first,
                secondMoment: second)
            epochs = stride(from: 0, to: curve.count, by: 5).map { i in
                Epoch(
                    number: i / 5 + 1, learningRate: Float(curve[i]), loss: curve[i + 1],
                    validationLoss: curve[i + 2], medianError: curve[i + 3], highError: curve[i + 4])
            }
        } catch let error as InversionError {
            throw error
        } catch let error as NeuralNetworkError {
            throw .file(error)
        } catch { throw .malformed(field: "checkpoint", reason: "\(error)") }
    }

    /// Of the surfaces (FNV-1a over their bits): the same data, or none of it.
    private var fingerprint: String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for rows in [synthetic, market] {
            for value in [Double(rows.count), Double(rows.trainingCount)] + rows.volatilities {
                hash = (hash ^ value.bitPattern) &* 0x0000_0100_0000_01B3
            }
        }
        return "\(synthetic.count) and \(market.count) surfaces, \(String(hash, radix: 16))"
    }

    // MARK: A row

    /// Reads row `row` into the workspace, with cells missing where `random` says so.
    fileprivate func load(
        _ w: NetworkWorkspace, _ place: Int, _ rows: Rows, _ row: Int, _ values: inout [Float],
        hiding random: inout RandomGenerator?
    ) {
        let cells = network.cells
        unsafe rows.volatilities.withUnsafeBufferPointer { all in
            unsafe values.withUnsafeMutableBufferPointer { values in
                guard let from = all.baseAddress, let to = values.baseAddress else { return }
                unsafe scaling.standardise(from + row * cells, into: to)
            }
        }
        if random != nil, let share = random?.uniform(), share < configuration.missingShare {
            hide(&values, &random!)
        }
        unsafe values.withUnsafeBufferPointer { values in
            guard let start = values.baseAddress else { return }
            unsafe w.set(place, start)
        }
    }

    /// As markets hide cells: maturities at one end, and some of the others.
    private func hide(_ values: inout [Float], _ random: inout RandomGenerator) {
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
    fileprivate func loss(
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

    /// All of the surface's cells count, also those that the network was not shown.
    private static func repricing(
        _ guess: HestonParameters, _ rows: Rows, _ row: Int, _ grid: SurfaceGrid
    ) -> (meanSquare: Double, gradient: HestonGradient)? {
        var quotes: [CalibrationQuote] = []
        quotes.reserveCapacity(grid.count)
        for cell in 0..<grid.count {
            let volatility = rows.volatilities[row * grid.count + cell]
            guard !volatility.isNaN else { continue }
            quotes.append(
                .init(
                    logMoneyness: grid.logMoneyness[cell / grid.tau.count], tau: grid.tau[cell % grid.tau.count],
                    impliedVolatility: volatility))
        }
        guard var loss = try? RepricingLoss(quotes, accuracy: .init(tolerance: 1e-9, maximumNodes: 1024)) else {
            return nil
        }
        return loss.evaluate(guess)
    }
}

/// The means of computing a minibatch: a workspace and gradients for each shard.
private final class Lanes: Sendable {
    private let threads: Int
    private let shards: [Shard]

    private final class Shard: @unchecked Sendable {
        let workspace: NetworkWorkspace
        var gradients: [Float]
        var values: [[Float]]
        var loss = 0.0
        var errors: [Double] = []

        init(_ network: InverseNetwork) {
            workspace = NetworkWorkspace(network, capacity: InverseTraining.shard, training: true)
            gradients = [Float](repeating: 0, count: network.parameterCount)
            values = Array(repeating: [Float](repeating: 0, count: network.cells), count: InverseTraining.shard)
        }
    }

    init(_ network: InverseNetwork, batch: Int, threads: Int) {
        let count = (batch + InverseTraining.shard - 1) / InverseTraining.shard
        shards = (0..<count).map { _ in Shard(network) }
        self.threads = max(1, min(threads, count))
    }

    private func perform(_ count: Int, _ body: @Sendable (Int) -> Void) {
        let lanes = min(threads, count)
        Parallel.perform(lanes) { lane in
            for index in stride(from: lane, to: count, by: lanes) { body(index) }
        }
    }

    /// The rows' summed loss; the mean's gradients go to `gradients`, in place of what is there unless `adding`.
    func gradients(
        _ training: InverseTraining, _ rows: InverseTraining.Rows, _ batch: ArraySlice<Int>, repricing: Float,
        seed: UInt64, into gradients: inout [Float], adding: Bool
    ) -> Double {
        let size = InverseTraining.shard
        let count = (batch.count + size - 1) / size
        let scale = 1 / Float(batch.count)
        perform(count) { index in
            let shard = shards[index]
            let start = batch.startIndex + index * size
            let part = batch[start..<min(batch.endIndex, start + size)]
            for (place, row) in part.enumerated() {
                var random: RandomGenerator? = RandomGenerator(seed: seed &+ UInt64(row) &* 0x9FB2_1C65_1E98_DF25)
                training.load(shard.workspace, place, rows, row, &shard.values[place], hiding: &random)
            }
            training.network.forward(shard.workspace, count: part.count, parameters: training.parameters)
            shard.loss = 0
            for (place, row) in part.enumerated() {
                shard.loss +=
                    training.loss(
                        shard.workspace, place, rows, row, shard.values[place], repricing: repricing, scale: scale
                    ).loss
            }
            training.network.backward(
                shard.workspace, count: part.count, parameters: training.parameters, gradients: &shard.gradients)
        }
        var loss = 0.0
        for index in 0..<count {
            loss += shards[index].loss
            if index == 0, !adding {
                for i in gradients.indices { gradients[i] = shards[0].gradients[i] }
            } else {
                for i in gradients.indices { gradients[i] += shards[index].gradients[i] }
            }
        }
        return loss
    }

    /// The rows' summed loss and their repricing errors, nothing hidden.
    func losses(
        _ training: InverseTraining, _ rows: InverseTraining.Rows, _ all: [Int], repricing: Float
    ) -> (loss: Double, errors: [Double]) {
        let size = InverseTraining.shard
        for shard in shards { (shard.loss, shard.errors) = (0, []) }
        let pieces = (all.count + size - 1) / size
        perform(shards.count) { index in
            let shard = shards[index]
            for piece in stride(from: index, to: pieces, by: shards.count) {
                let part = all[(piece * size)..<min(all.count, (piece + 1) * size)]
                for (place, row) in part.enumerated() {
                    var nothing: RandomGenerator?
                    training.load(shard.workspace, place, rows, row, &shard.values[place], hiding: &nothing)
                }
                training.network.forward(shard.workspace, count: part.count, parameters: training.parameters)
                for (place, row) in part.enumerated() {
                    let (loss, error) = training.loss(
                        shard.workspace, place, rows, row, shard.values[place], repricing: repricing, scale: 1)
                    shard.loss += loss
                    if let error { shard.errors.append(error) }
                }
            }
        }
        return (shards.reduce(0) { $0 + $1.loss }, shards.flatMap(\.errors))
    }
}
