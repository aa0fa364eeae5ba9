internal import Heston
internal import HestonInverse
internal import Logging
internal import MarketData
internal import Storage

/// Trains the inverse network, judges it by what it has not seen, and registers it with its gate's verdict.
///
/// The synthetic training makes its surfaces from the seed, in seconds: nothing is stored of them. The trainings on
/// market surfaces go on from a version in the registry; its scaling stays, so that all of them live in one space of
/// inputs.
struct InverseJob {
    private let context: JobContext
    private let mode: InverseTraining.Mode
    private let specification: InverseSpecification

    init(_ context: JobContext, _ mode: InverseTraining.Mode) throws {
        self.context = context
        self.mode = mode
        var specification = try SpecificationReader.read(InverseSpecification.self, from: context.job.spec)
        specification.training.mode = mode
        if mode == .synthetic, specification.market != nil {
            throw JobError.badSpecification("“market” is for the kinds heston_inverse_real and heston_inverse_mixed")
        }
        if mode != .synthetic, specification.market == nil {
            throw JobError.badSpecification("“market” is missing: the spans of market surfaces to learn from")
        }
        self.specification = specification
    }

    func run() async throws {
        let threads = specification.threads
        try context.proceed(0, "making surfaces")
        let generator = SurfaceGenerator(
            specification.preset, kind: specification.generator, seed: specification.training.seed)
        let data = mode == .real ? nil : try generator.surfaces(count: specification.surfaces, threads: threads)
        var market: MarketSurfaces?
        var base: InverseModel?
        if let span = specification.market {
            try context.proceed(0, "reading market surfaces")
            let model = try await baseModel()
            market = try await MarketSurfaces(span, model.grid, context.pool)
            base = model
        }
        var training = try begin(data, base, market)
        while !training.isFinished {
            let (number, total) = (training.epochs.count, specification.training.epochs)
            try training.runEpoch(threads: threads) { part in
                try context.proceed(0.95 * (Double(number) + part) / Double(total), "epoch \(number + 1) of \(total)")
            }
            try await record(training)
            let message = "epoch \(number + 1) of \(total)"
            try await context.proceed(0.95 * Double(number + 1) / Double(total), message) { training.checkpoint() }
        }
        try await judge(training, market, threads)
    }

    /// From the checkpoint of the attempt before, where there is one.
    private func begin(
        _ data: SurfaceDataset?, _ base: InverseModel?, _ market: MarketSurfaces?
    ) throws -> InverseTraining {
        var training: InverseTraining
        if let base, let market {
            training = InverseTraining(
                from: base, market: market.training + market.validation, trainingCount: market.trainingCount, data,
                specification.training)
        } else if let data {
            training = InverseTraining(data, specification.training)
        } else {
            throw JobError.badData("no surfaces to learn from")
        }
        if let checkpoint = context.lease.checkpoint {
            do throws(InversionError) {
                try training.resume(checkpoint)
                context.log.info("training resumed", metadata: ["epoch": "\(training.epochs.count)"])
            } catch {
                context.log.warning("the checkpoint is of no use, beginning anew", metadata: ["reason": "\(error)"])
            }
        }
        return training
    }

    private func record(_ training: InverseTraining) async throws {
        guard let epoch = training.epochs.last else { return }
        var rows = [
            ("loss", epoch.loss), ("validation_loss", epoch.validationLoss),
            ("learning_rate", Double(epoch.learningRate)),
        ]
        if epoch.medianError > 0 { rows += [("median_error", epoch.medianError), ("high_error", epoch.highError)] }
        try await context.record(rows.map { (name: $0.0, value: $0.1) }, step: epoch.number)
    }

    /// The network that a training on market surfaces begins with.
    private func baseModel() async throws -> InverseModel {
        let (name, version) = (specification.name, specification.baseVersion)
        let bytes = try await context.pool.withConnection { connection in
            let record =
                version == 0
                ? try ModelRepository.live(name, on: connection)
                : try ModelRepository.models(name, on: connection).first { $0.version == version }
            return try record.flatMap { try ModelRepository.checkpoint(name, version: $0.version, on: connection) }
        }
        guard let bytes else {
            let title = version == 0 ? "live version" : "version \(version)"
            throw JobError.badData("there is no \(title) of “\(name)” to go on from: train one (heston_inverse_synth)")
        }
        return try InverseModel(safetensors: bytes)
    }

    // MARK: The end

    private struct Metrics: Encodable {
        var mode: String
        var preset: String
        var generator: String
        var surfaces: Int
        var marketSurfaces: Int
        var curve: [InverseTraining.Epoch]
        var synthetic: InversionQuality
        var market: InversionQuality?
        var gate: InversionGate
    }

    private struct Result: Encodable {
        var model: ModelReference
        var metrics: Metrics
    }

    private func judge(_ training: InverseTraining, _ market: MarketSurfaces?, _ threads: Int) async throws {
        try context.proceed(0.95, "judging by \(specification.heldOut) surfaces that it has not seen")
        let seed = specification.training.seed
        var model = training.model(metadata: [
            "mode": mode.rawValue, "preset": specification.preset.rawValue,
            "generator": specification.generator.rawValue, "seed": "\(seed)",
            "surfaces": "\(mode == .real ? 0 : specification.surfaces)", "epochs": "\(training.epochs.count)",
            "market_surfaces": "\(market?.trainingCount ?? 0)",
        ])
        // Judged by the true model, whatever it learnt from, and by draws of another seed.
        let held = try SurfaceGenerator(specification.preset, seed: seed &+ 0x5EED_0F_7E57)
            .surfaces(count: specification.heldOut, threads: threads)
        let calibrator = try Calibrator()
        let synthetic = model.quality(on: held, calibrator, threads: threads)
        let real = market.map { model.quality(onMarket: $0.test, calibrator, threads: threads) }
        let gate = InversionGate(synthetic: synthetic, market: real)
        model.metadata["gate"] = gate.passed ? "passed" : "failed"
        model.metadata["median_error"] = "\(synthetic.network.median)"
        model.metadata["high_error"] = "\(synthetic.network.high)"
        let metrics = Metrics(
            mode: mode.rawValue, preset: specification.preset.rawValue, generator: specification.generator.rawValue,
            surfaces: mode == .real ? 0 : specification.surfaces, marketSurfaces: market?.trainingCount ?? 0,
            curve: training.epochs, synthetic: synthetic, market: real, gate: gate)
        try context.proceed(1, "registering")
        let json = try JSON(encoding: metrics)
        let bytes = model.safetensors()
        let (job, name) = (context.job, specification.name)
        let error = (100 * synthetic.network.median * 100).rounded() / 100
        try await context.complete(
            "\(error) volatility points off, median; gate \(gate.passed ? "passed" : "failed")"
        ) { connection in
            let model = try ModelRepository.register(
                name: name, kind: job.kind, checkpoint: bytes, metrics: json, lineage: .lineage(of: job),
                jobID: job.id, on: connection)
            return try JSON(encoding: Result(model: ModelReference(model), metrics: metrics))
        }
    }
}

/// Stored surfaces of a market, cut in time: no surface is in two parts.
struct MarketSurfaces: Sendable {
    /// `[surfaces × cells]` each, NaN where a cell is missing or extrapolated.
    var training: [Double] = []
    var validation: [Double] = []
    var test: [Double] = []
    var trainingCount = 0

    /// Throws `JobError.badData` where a part has no surface on the grid.
    init(_ span: InverseSpecification.Market, _ grid: SurfaceGrid, _ pool: ConnectionPool) async throws {
        for currency in span.currencies {
            let surfaces = try await pool.withConnection { connection in
                try OptionRepository.surfaces(
                    exchange: span.exchange, currency: currency, from: span.from, to: span.to, on: connection)
            }
            for surface in surfaces {
                guard let cells = try? grid.volatilities(surface.value), (try? grid.check(cells)) != nil
                else { continue }
                if surface.eventTime < span.trainTo {
                    training += cells
                    trainingCount += 1
                } else if surface.eventTime < span.validateTo {
                    validation += cells
                } else {
                    test += cells
                }
            }
        }
        for (part, cells) in [("train", training), ("validate", validation), ("judge", test)] where cells.isEmpty {
            throw JobError.badData(
                "no surfaces of \(span.currencies.joined(separator: ", ")) on \(span.exchange) to \(part) on")
        }
    }
}
