import Heston
import Kernels
import Testing

@testable import HestonInverse

@Suite struct MomentSurfaceTests {
    /// e^(m/2) back to m.
    private func moments(_ returns: [Double]) -> [Double] { MomentSurface.values(returns).map { 2 * log($0) } }

    @Test func momentsAreThoseOfTheirWindows() {
        // The last three returns are 1, 2 and 6 basis points, the others 0.
        let found = moments([Double](repeating: 0, count: 27) + [1e-4, 2e-4, 6e-4])
        // Mean 3, deviations −2, −1 and 3: variance 14/3, third moment 6, fourth 98/3.
        let variance = 14.0 / 3
        #expect(abs(found[0] - 3 / (variance / 3).squareRoot()) < 1e-9)
        #expect(abs(found[1] - log(variance * 1e-8 * 525_600)) < 1e-9)
        #expect(abs(found[2] - 6 / (variance * variance.squareRoot())) < 1e-9)
        #expect(abs(found[3] - log(98.0 / 3 / (variance * variance))) < 1e-9)
        // Thirty returns of which 27 are 0: less variance, more kurtosis.
        #expect(found[9] < found[1] && found[11] > found[3])
    }

    @Test func whatDoesNotMoveHasNoMoments() {
        let still = MomentSurface.values([Double](repeating: 1e-4, count: 30))
        #expect(still.allSatisfy { $0.isNaN })
        #expect(throws: InversionError.self) { try MomentSurface.grid.check(still) }
        let wild = MomentSurface.values((0..<30).map { $0 == 29 ? .infinity : 1e-4 })
        #expect(wild.allSatisfy { $0.isNaN })
        let huge = MomentSurface.values((0..<30).map { $0 % 2 == 0 ? 1e9 : -1e9 })
        #expect(huge.allSatisfy { $0.isFinite && $0 <= 20 })
    }

    /// Half an hour tells the variance, and hardly anything else: an embedding says so.
    @Test func anEmbeddingKnowsTheVarianceAndSaysWhatItDoesNotKnow() throws {
        func paths(_ seed: UInt64, _ count: Int) throws -> SurfaceDataset {
            try SurfaceGenerator(.crypto, kind: .paths, grid: MomentSurface.grid, seed: seed)
                .surfaces(count: count, threads: 2)
        }
        var configuration = InverseTraining.Configuration()
        configuration.epochs = 4
        configuration.architecture.trunk = [48, 32]
        let data = try paths(1, 4000)
        #expect(try paths(1, 4000).safetensors() == data.safetensors())
        var training = InverseTraining(data, configuration)
        while !training.isFinished { try training.runEpoch(threads: 2) }
        let model = training.model()
        #expect(try InverseModel(safetensors: model.safetensors()) == model)
        let quality = model.embeddingQuality(on: try paths(2, 1000))
        #expect(quality.count == 1000 && quality.parameters.map(\.name) == HestonParameters.names)
        #expect(quality.parameters[4].skill > 0.85)
        for parameter in quality.parameters[..<4] {
            #expect(parameter.skill < 0.2, "\(parameter.name)")
            #expect((0.4...0.9).contains(parameter.coverage))
        }
    }
}
