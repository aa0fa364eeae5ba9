import Heston
import Kernels
import Testing

@testable import HestonInverse

@Suite struct InverseTrainingTests {
    private static func configuration(_ epochs: Int) -> InverseTraining.Configuration {
        var configuration = InverseTraining.Configuration()
        configuration.epochs = epochs
        configuration.architecture.trunk = [64, 48]
        return configuration
    }

    @Test func itLearnsToInvert() throws {
        let data = try SurfaceGenerator(.equity, seed: 1).surfaces(count: 6000, threads: 2)
        var training = InverseTraining(data, Self.configuration(6))
        while !training.isFinished { try training.runEpoch(threads: 2) }
        let curve = training.epochs
        #expect(curve.map(\.number) == [1, 2, 3, 4, 5, 6])
        #expect(curve[5].validationLoss < 0.5 * curve[0].validationLoss)
        let held = try SurfaceGenerator(.equity, seed: 2).surfaces(count: 500)
        let quality = try training.model().quality(on: held, try Calibrator(), threads: 2)
        #expect(quality.count == 500 && quality.failures == 0)
        // The middle of the preset is some ten points off.
        #expect(quality.network.median < 0.008 && quality.network.high < 0.03)
        // From its answer a calibration finds the truth.
        #expect(quality.polished.high < 1e-7 && quality.steps <= 8)
        #expect(quality.novel < 0.1)
        for parameter in quality.parameters {
            #expect((0.35...0.98).contains(parameter.coverage), "\(parameter.name): \(parameter.coverage)")
        }
        // Volatilities of 100 % are unlike those of shares.
        let strange = try SurfaceGenerator(.crypto, seed: 2).surfaces(count: 200)
        #expect(try training.model().quality(on: strange, Calibrator()).novel > 0.6)
    }

    @Test func aSeedGivesTheSameBitsOnAnyNumberOfThreads() throws {
        let data = try SurfaceGenerator(.crypto, seed: 1).surfaces(count: 700, threads: 2)
        func train(threads: Int) throws -> InverseTraining {
            var training = InverseTraining(data, Self.configuration(2))
            while !training.isFinished { try training.runEpoch(threads: threads) }
            return training
        }
        let one = try train(threads: 1)
        #expect(try train(threads: 3).checkpoint() == one.checkpoint())
        #expect(one.model().safetensors() == (try train(threads: 2)).model().safetensors())
    }

    @Test func aStoppedTrainingGoesOnToTheSameBits() throws {
        struct Stop: Error {}
        let data = try SurfaceGenerator(.crypto, seed: 1).surfaces(count: 700)
        var whole = InverseTraining(data, Self.configuration(3))
        var parts = whole
        while !whole.isFinished { try whole.runEpoch() }
        try parts.runEpoch()
        // An epoch that was stopped half-way has not been.
        #expect(throws: Stop.self) { try parts.runEpoch { if $0 > 0.5 { throw Stop() } } }
        #expect(parts.epochs.count == 1)
        let saved = parts.checkpoint()
        var resumed = InverseTraining(data, Self.configuration(3))
        try resumed.resume(saved)
        #expect(resumed.epochs == parts.epochs)
        while !resumed.isFinished { try resumed.runEpoch() }
        #expect(resumed.checkpoint() == whole.checkpoint())

        var other = InverseTraining(data, Self.configuration(4))
        #expect(throws: InversionError.malformed(field: "configuration", reason: "is not this training's")) {
            try other.resume(saved)
        }
        let another = try SurfaceGenerator(.crypto, seed: 2).surfaces(count: 700)
        var foreign = InverseTraining(another, Self.configuration(3))
        #expect(throws: InversionError.malformed(field: "data", reason: "is not this training's")) {
            try foreign.resume(saved)
        }
        #expect(throws: InversionError.self) { try resumed.resume(Array(saved[..<1000])) }
    }

    /// Market surfaces are flat ones here: no Heston surface of the first training was.
    @Test func marketSurfacesAreLearntWithTheHeadsAsTheyAre() throws {
        let data = try SurfaceGenerator(.crypto, seed: 1).surfaces(count: 2000, threads: 2)
        var training = InverseTraining(data, Self.configuration(2))
        while !training.isFinished { try training.runEpoch(threads: 2) }
        let model = training.model()
        var random = RandomGenerator(seed: 3)
        let market = (0..<400).flatMap { _ in
            [Double](repeating: exp(random.uniform(-1.5, 0)), count: 30)
        }
        var configuration = Self.configuration(4)
        configuration.mode = .real
        configuration.batch = 32
        var real = InverseTraining(from: model, market: market, trainingCount: 300, nil, configuration)
        while !real.isFinished { try real.runEpoch(threads: 2) }
        let learnt = real.model()
        let heads = model.network.headParameters
        #expect(Array(learnt.parameters[heads]) == Array(model.parameters[heads]))
        #expect(learnt.parameters != model.parameters)
        #expect(learnt.scaling == model.scaling)
        #expect(real.epochs[3].validationLoss < 0.5 * real.epochs[0].validationLoss)

        configuration.mode = .mixed
        configuration.epochs = 2
        var mixed = InverseTraining(from: model, market: market, trainingCount: 300, data, configuration)
        while !mixed.isFinished { try mixed.runEpoch(threads: 2) }
        #expect(Array(mixed.model().parameters[heads]) != Array(model.parameters[heads]))
        let calibrator = try Calibrator()
        let test = Array(market[(300 * 30)...])
        let before = try model.quality(onMarket: test, calibrator, threads: 2)
        let after = try mixed.model().quality(onMarket: test, calibrator, threads: 2)
        #expect(after.network.median < before.network.median)
        #expect(after.excess != nil && after.calibrated != nil && after.parameters.isEmpty)
    }
}
