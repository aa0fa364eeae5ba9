import Heston
import Kernels
import NeuralNetworks
import Testing

@testable import HestonInverse

@Suite struct InverseNetworkTests {
    private static let architecture = {
        var small = InverseNetwork.Architecture()
        (small.trunk, small.head, small.surface) = ([24, 20], 9, 11)
        return small
    }()

    /// Every layer's gradient along a random direction of that layer alone, against a central difference.
    @Test func gradientsAreDifferencesOfTheLoss() {
        let network = InverseNetwork(Self.architecture)
        var random = RandomGenerator(seed: 2)
        var parameters = network.initialParameters(&random)
        // Away from 0, where ReLU has no derivative.
        for i in parameters.indices { parameters[i] += Float(random.uniform(-0.02, 0.02)) }
        let count = 3
        let workspace = NetworkWorkspace(network, capacity: count, training: true)
        for row in 0..<count {
            let cells = (0..<30).map { $0 == 7 * row ? Float.nan : Float(random.normal()) }
            workspace.set(row, cells)
        }
        let answerWeights = (0..<count * 10).map { _ in Float(random.uniform(-1, 1)) }
        let surfaceWeights = (0..<count * 30).map { _ in Float(random.uniform(-1, 1)) }
        func loss(_ parameters: [Float]) -> Double {
            network.forward(workspace, count: count, parameters: parameters)
            var sum = 0.0
            for i in answerWeights.indices { unsafe sum += Double(answerWeights[i]) * Double(workspace.answers[i]) }
            for i in surfaceWeights.indices { unsafe sum += Double(surfaceWeights[i]) * Double(workspace.surface[i]) }
            return sum
        }
        _ = loss(parameters)
        for i in answerWeights.indices { unsafe workspace.answerGradient[i] = answerWeights[i] }
        for i in surfaceWeights.indices { unsafe workspace.surfaceGradient[i] = surfaceWeights[i] }
        var gradients = [Float](repeating: .nan, count: parameters.count)
        network.backward(workspace, count: count, parameters: parameters, gradients: &gradients)
        let layers: [(String, Range<Int>)] =
            [
                ("conv 1", network.first.weights), ("conv 1 biases", network.first.biases),
                ("conv 2", network.second.weights), ("conv 2 biases", network.second.biases),
                ("heads", network.heads.weights), ("head biases", network.heads.biases), ("answers", network.answers),
                ("surface 1", network.surfaceHidden.weights), ("surface 2", network.surface.weights),
                ("surface biases", network.surface.biases),
            ] + network.trunk.enumerated().map { ("trunk \($0)", $1.weights) }
        #expect(layers.map(\.1.upperBound).max() == parameters.count)
        for (name, range) in layers {
            var direction = [Float](repeating: 0, count: parameters.count)
            for i in range { direction[i] = Float(random.normal()) }
            let step: Float = 2e-4
            let ahead = loss(zip(parameters, direction).map { $0 + step * $1 })
            let behind = loss(zip(parameters, direction).map { $0 - step * $1 })
            let expected = (ahead - behind) / Double(2 * step)
            let found = zip(gradients, direction).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
            #expect(abs(found - expected) < 0.02 * max(abs(expected), 0.5), "\(name): \(found), not \(expected)")
        }
    }

    @Test func aBatchIsItsRows() throws {
        let data = try SurfaceGenerator(.crypto, seed: 1).surfaces(count: 40)
        let model = Self.model(data)
        var many = Inverter(model, capacity: 40)
        many.invert(data.volatilities, count: 40)
        var one = Inverter(model)
        for row in 0..<40 {
            one.invert(Array(data.volatilities[row * 30..<row * 30 + 30]))
            let (a, b) = (one.answer(), many.answer(row))
            for (x, y) in zip(a.parameters.array + a.deviations, b.parameters.array + b.deviations) {
                #expect(abs(x - y) <= 1e-4 * max(abs(x), abs(y)))
            }
            #expect(abs(a.novelty - b.novelty) < 1e-3 * a.novelty)
        }
    }

    @Test func aModelComesBackFromItsFile() throws {
        let data = try SurfaceGenerator(.equity, seed: 1).surfaces(count: 40)
        var model = Self.model(data)
        model.metadata = ["preset": "equity"]
        let bytes = model.safetensors()
        #expect(try InverseModel(safetensors: bytes) == model)
        for end in stride(from: 0, to: bytes.count, by: 501) {
            #expect(throws: InversionError.self) { try InverseModel(safetensors: Array(bytes[..<end])) }
        }
        // A header's byte changed: an error or another model, never a trap.
        var random = RandomGenerator(seed: 1)
        for _ in 0..<2000 {
            var damaged = bytes
            let place = 8 + random.index(below: 4000)
            damaged[place] = UInt8(truncatingIfNeeded: random.next())
            _ = try? InverseModel(safetensors: damaged)
        }
    }

    @Test func surfacesThatAreNoneAreRefused() throws {
        let grid = SurfaceGrid.standard
        var surface = [Double](repeating: 0.5, count: 30)
        try grid.check(surface)
        surface[4] = -0.1
        #expect(throws: InversionError.impossibleVolatility(cell: 4, value: -0.1)) { try grid.check(surface) }
        surface = [Double](repeating: .nan, count: 30)
        surface[0] = 0.5
        #expect(throws: InversionError.tooFewCells(usable: 1, needed: 8)) { try grid.check(surface) }
    }

    /// Untrained, of the small architecture.
    static func model(_ data: SurfaceDataset) -> InverseModel {
        let network = InverseNetwork(architecture)
        var random = RandomGenerator(seed: 6)
        return InverseModel(
            network: network, parameters: network.initialParameters(&random),
            scaling: InverseScaling(data, count: data.count), familiarError: 1)
    }
}
