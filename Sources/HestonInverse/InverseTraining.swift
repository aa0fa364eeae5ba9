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
        /// percentile over them. `nil` where nothing was priced.
        public var medianError: Double?
        public var highError: Double?
    }

    public let configuration: Configuration
    public internal(set) var epochs: [Epoch] = []
    let network: InverseNetwork
    let scaling: InverseScaling
    let synthetic: Rows
    let market: Rows
    var parameters: [Float]
    var optimiser: Adam
    var best: (parameters: [Float], loss: Double)?

    /// Surfaces of one kind: those to learn from, then those to validate on.
    struct Rows: Sendable {
        var volatilities: [Double] = []
        /// Empty for market surfaces.
        var truths: [Double] = []
        var count = 0
        var trainingCount = 0
        var validation: [Int] { Array(trainingCount..<count) }
    }

    /// Rows of a minibatch that are computed together.
    static let shard = 64

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
        let minibatch = Minibatch(network, rows: batch, threads: threads)
        // New weights need a while before their answers can be priced.
        let start = configuration.mode == .synthetic ? configuration.repricingStart * Double(configuration.epochs) : 0
        let repricing = !isReal && Double(number) >= start ? configuration.repricingWeight : 0
        var gradients = [Float](repeating: 0, count: network.parameterCount)
        var sum = 0.0
        var rate: Float = 0
        for step in 0..<steps {
            let rows = order[(step * batch)..<min(order.count, (step + 1) * batch)]
            var loss = minibatch.gradients(
                self, leading, rows, repricing: repricing, seed: random.next(), into: &gradients, adding: false)
            if configuration.mode == .mixed {
                let others = rows.map { _ in random.index(below: market.trainingCount) }
                loss += minibatch.gradients(
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
        let judged = validate(minibatch)
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

    /// Losses are means. The errors are those of synthetic surfaces, where there are any.
    private func validate(_ minibatch: Minibatch) -> (loss: Double, median: Double?, high: Double?) {
        var total = 0.0
        var errors: [Double] = []
        for rows in [synthetic, market] where rows.count > 0 {
            let (loss, found) = minibatch.losses(
                self, rows, rows.validation,
                repricing: configuration.mode == .real ? 0 : configuration.repricingWeight)
            total += loss / Double(rows.validation.count)
            if errors.isEmpty { errors = found.sorted() }
        }
        guard !errors.isEmpty else { return (total, nil, nil) }
        return (total, errors[errors.count / 2], errors[errors.count * 95 / 100])
    }
}
