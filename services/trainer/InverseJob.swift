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
        var training: InverseTraining
        if let span = specification.market {
            try context.proceed(0, "reading market surfaces")
            let base = try await baseModel()
            let surfaces = try await marketSurfaces(span, base.grid)
            market = surfaces
            training = InverseTraining(
                from: base, market: surfaces.training + surfaces.validation, trainingCount: surfaces.trainingCount,
                data, specification.training)
        } else if let data {
            training = InverseTraining(data, specification.training)
        } else {
            throw JobError.badData("no surfaces to learn from")
        }
        try await context.finish(&training, threads: threads)
        try await judge(training, market, threads)
    }

    /// Throws `JobError.badData` where a part has no surface on the grid.
    private func marketSurfaces(
        _ span: InverseSpecification.Market, _ grid: SurfaceGrid
    ) async throws -> MarketSurfaces {
        var market = MarketSurfaces(grid: grid, trainTo: span.trainTo, validateTo: span.validateTo)
        for currency in span.currencies {
            let stored = try await context.pool.withConnection { connection in
                try OptionRepository.surfaces(
                    exchange: span.exchange, currency: currency, from: span.from, to: span.to, on: connection)
            }
            for surface in stored { market.add(surface.value, at: surface.eventTime) }
        }
        for (part, cells) in [("train", market.training), ("validate", market.validation), ("judge", market.test)]
        where cells.isEmpty {
            throw JobError.badData(
                "no surfaces of \(span.currencies.joined(separator: ", ")) on \(span.exchange) to \(part) on, "
                    + "\(market.skipped) unfit")
        }
        context.log.info(
            "market surfaces read", metadata: ["learnt": "\(market.trainingCount)", "skipped": "\(market.skipped)"])
        return market
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
        let model = try InverseModel(safetensors: bytes)
        guard model.grid == .standard else {
            throw JobError.badData("“\(name)” is a network for other inputs than surfaces on the standard grid")
        }
        return model
    }

    // MARK: The end

    private struct Metrics: Encodable {
        var mode: String
        var preset: String
        var generator: String
        var surfaces: Int
        var marketSurfaces: Int
        /// On another grid, or with too few cells.
        var marketSkipped: Int
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
        let synthetic = try model.quality(on: held, calibrator, threads: threads)
        let real = try market.map { try model.quality(onMarket: $0.test, calibrator, threads: threads) }
        let gate = InversionGate(synthetic: synthetic, market: real)
        model.metadata["gate"] = gate.passed ? "passed" : "failed"
        model.metadata["median_error"] = "\(synthetic.network.median)"
        model.metadata["high_error"] = "\(synthetic.network.high)"
        let metrics = Metrics(
            mode: mode.rawValue, preset: specification.preset.rawValue, generator: specification.generator.rawValue,
            surfaces: mode == .real ? 0 : specification.surfaces, marketSurfaces: market?.trainingCount ?? 0,
            marketSkipped: market?.skipped ?? 0, curve: training.epochs, synthetic: synthetic, market: real,
            gate: gate)
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
