internal import Foundation
internal import HestonInverse
internal import MarketData

/// What a job of the kinds `heston_inverse_…` is to do. See docs/jobs.md.
struct InverseSpecification: Decodable, Equatable {
    /// Market surfaces of days: learnt from until `trainTo`, validated on until `validateTo`, judged by until `to`.
    struct Market: Decodable, Equatable {
        var exchange: String
        var currencies: [String]
        var from: Timestamp
        var trainTo: Timestamp
        var validateTo: Timestamp
        var to: Timestamp

        init(from decoder: any Decoder) throws {
            var reader = try SpecificationReader(decoder)
            exchange = try reader.text("exchange")
            currencies = try reader.field("currencies")
            from = try reader.time("from")
            trainTo = try reader.time("train_to")
            validateTo = try reader.time("validate_to")
            to = try reader.time("to")
            try reader.finish()
            if currencies.isEmpty { throw reader.fault("currencies", "is empty") }
            if from >= trainTo { throw reader.fault("train_to", "is not after “from”") }
            if trainTo >= validateTo { throw reader.fault("validate_to", "is not after “train_to”") }
            if validateTo >= to { throw reader.fault("to", "is not after “validate_to”") }
        }
    }

    var name: String
    var preset: ParameterPreset
    var generator: SurfaceGenerator.Kind
    /// Made to learn from, validation included; and to judge by.
    var surfaces: Int
    var heldOut: Int
    var training: InverseTraining.Configuration
    var threads: Int
    /// The network that market surfaces go on from: a version of `name`, 0 the live one.
    var baseVersion: Int64
    /// `nil` for the synthetic training.
    var market: Market?

    init(from decoder: any Decoder) throws {
        var reader = try SpecificationReader(decoder)
        var training = InverseTraining.Configuration()
        name = try reader.text("name", default: "heston_inverse")
        preset = try reader.choice("preset", default: .crypto, of: ParameterPreset.allCases)
        generator = try reader.choice("generator", default: .heston, of: SurfaceGenerator.Kind.ofSurfaces)
        surfaces = try reader.number("surfaces", default: 100_000, in: 1000...2_000_000)
        heldOut = try reader.number("held_out", default: 20_000, in: 100...1_000_000)
        training.epochs = try reader.number("epochs", default: training.epochs, in: 1...10_000)
        training.batch = try reader.number("batch", default: training.batch, in: 16...8192)
        training.learningRate = try reader.number("learning_rate", default: training.learningRate, in: 1e-6...0.1)
        training.weightDecay = try reader.number("weight_decay", default: training.weightDecay, in: 0...1)
        training.surfaceWeight = try reader.number("surface_weight", default: training.surfaceWeight, in: 0...100)
        training.realSurfaceWeight = try reader.number(
            "real_surface_weight", default: training.realSurfaceWeight, in: 0...100)
        training.repricingWeight = try reader.number("repricing_weight", default: training.repricingWeight, in: 0...100)
        training.missingShare = try reader.number("missing_share", default: training.missingShare, in: 0...1)
        training.seed = try reader.field("seed", default: training.seed)
        let processors = ProcessInfo.processInfo.activeProcessorCount
        threads = try reader.number("threads", default: processors, in: 1...256)
        baseVersion = try reader.number("base_version", default: 0, in: 0...Int64.max)
        market = try reader.optional("market", as: Market.self)
        try reader.finish()
        self.training = training
    }
}
