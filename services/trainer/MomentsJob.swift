internal import Foundation
internal import HestonInverse
internal import Storage

/// What a job of kind `heston_moments` is to do. See docs/jobs.md.
struct MomentsSpecification: Decodable, Equatable {
    var name: String
    var preset: ParameterPreset
    /// Simulated half hours to learn from, validation included; and to judge by.
    var paths: Int
    var heldOut: Int
    var training: InverseTraining.Configuration
    var threads: Int

    init(from decoder: any Decoder) throws {
        var reader = try SpecificationReader(decoder)
        var training = InverseTraining.Configuration()
        name = try reader.text("name", default: "regime_embedding")
        preset = try reader.choice("preset", default: .crypto, of: ParameterPreset.allCases)
        paths = try reader.number("paths", default: 100_000, in: 1000...2_000_000)
        heldOut = try reader.number("held_out", default: 20_000, in: 100...1_000_000)
        training.epochs = try reader.number("epochs", default: 20, in: 1...10_000)
        training.learningRate = try reader.number("learning_rate", default: training.learningRate, in: 1e-6...0.1)
        training.seed = try reader.field("seed", default: training.seed)
        let processors = ProcessInfo.processInfo.activeProcessorCount
        threads = try reader.number("threads", default: processors, in: 1...256)
        try reader.finish()
        self.training = training
    }
}

/// Trains a regime embedding for assets without options: the inverse network on moments of simulated Heston paths.
struct MomentsJob {
    private let context: JobContext
    private let specification: MomentsSpecification

    init(_ context: JobContext) throws {
        self.context = context
        specification = try SpecificationReader.read(MomentsSpecification.self, from: context.job.spec)
    }

    private struct Metrics: Encodable {
        var preset: String
        var paths: Int
        var curve: [InverseTraining.Epoch]
        var quality: EmbeddingQuality
    }

    private struct Result: Encodable {
        var model: ModelReference
        var metrics: Metrics
    }

    func run() async throws {
        let (specification, threads) = (specification, specification.threads)
        let seed = specification.training.seed
        try context.proceed(0, "simulating paths")
        func paths(_ seed: UInt64, _ count: Int) throws -> SurfaceDataset {
            try SurfaceGenerator(specification.preset, kind: .paths, grid: MomentSurface.grid, seed: seed)
                .surfaces(count: count, threads: threads)
        }
        var training = InverseTraining(try paths(seed, specification.paths), specification.training)
        try await context.finish(&training, threads: threads)
        try context.proceed(0.95, "judging")
        let model = training.model(metadata: [
            "input": "moments", "preset": specification.preset.rawValue, "seed": "\(seed)",
            "paths": "\(specification.paths)", "epochs": "\(training.epochs.count)",
        ])
        let quality = model.embeddingQuality(on: try paths(seed &+ 0x5EED_0F_7E57, specification.heldOut))
        let metrics = Metrics(
            preset: specification.preset.rawValue, paths: specification.paths, curve: training.epochs, quality: quality)
        let (json, bytes) = (try JSON(encoding: metrics), model.safetensors())
        let (job, name) = (context.job, specification.name)
        let skill = quality.parameters.last.map { "\(($0.skill * 100).rounded() / 100)" } ?? "unknown"
        try await context.complete("skill \(skill) for the variance, on paths it has not seen") { connection in
            let model = try ModelRepository.register(
                name: name, kind: job.kind, checkpoint: bytes, metrics: json, lineage: .lineage(of: job),
                jobID: job.id, on: connection)
            return try JSON(encoding: Result(model: ModelReference(model), metrics: metrics))
        }
    }
}
