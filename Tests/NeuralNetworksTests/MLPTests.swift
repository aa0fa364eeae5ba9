import Kernels
import Testing

@testable import NeuralNetworks

/// A loss with a known derivative, so that a network's gradients can be compared with finite differences: Σ c·y² / 2.
private struct Probe {
    let network: MLP
    let rows: Int
    let x: [Float]
    let weights: [Float]
    var workspace: MLPWorkspace

    init(_ network: MLP, rows: Int, random: inout RandomGenerator) {
        self.network = network
        self.rows = rows
        x = (0..<rows * network.inputs).map { _ in Float(random.normal()) }
        weights = (0..<rows * network.outputs).map { _ in Float(random.uniform(0.5, 1.5)) }
        workspace = MLPWorkspace(network, capacity: rows + 2)
    }

    mutating func loss(_ parameters: [Float], _ x: [Float]) -> Double {
        network.forward(x, rows: rows, parameters: parameters, workspace: &workspace)
        var sum = 0.0
        for row in 0..<rows {
            for k in 0..<network.outputs {
                let y = workspace.output(row, k)
                let weight = weights[row * network.outputs + k]
                workspace.setOutputGradient(weight * y, row, k)
                sum += 0.5 * Double(weight) * Double(y) * Double(y)
            }
        }
        return sum
    }
}

@Suite struct MLPTests {
    @Test("Gradients equal finite differences", arguments: [Activation.identity, .tanh, .relu], [1, 5])
    func gradients(activation: Activation, rows: Int) {
        var random = RandomGenerator(seed: 7)
        let network = MLP(sizes: [6, 9, 7, 3], activation: activation, offset: 4)
        var parameters = [Float](repeating: 0.25, count: 4 + network.parameterCount + 2)
        network.initialise(&parameters, outputGain: 1, random: &random)
        // Biases away from 0, so that they are tested too.
        for layer in network.layers { for i in layer.biases { parameters[i] = Float(random.normal()) * 0.3 } }
        var probe = Probe(network, rows: rows, random: &random)
        var gradients = [Float](repeating: -99, count: parameters.count)
        _ = probe.loss(parameters, probe.x)
        network.backward(
            probe.x, rows: rows, parameters: parameters, workspace: &probe.workspace, gradients: &gradients)
        #expect(gradients[..<4].allSatisfy { $0 == -99 } && gradients.suffix(2).allSatisfy { $0 == -99 })
        _ = probe.loss(parameters, probe.x)
        var byInput = [Float](repeating: 0, count: rows * network.inputs)
        let x = probe.x
        network.inputGradient(
            x.span, rows: rows, parameters: parameters, workspace: &probe.workspace, into: &byInput)

        // Central differences with h = 2⁻⁹: error h² times the third derivative, plus rounding 1e-6/h.
        let h: Float = 1.0 / 512
        let scale = gradients[4..<4 + network.parameterCount].map(abs).max() ?? 1
        for i in 4..<4 + network.parameterCount {
            var (up, down) = (parameters, parameters)
            up[i] += h
            down[i] -= h
            let difference = (probe.loss(up, probe.x) - probe.loss(down, probe.x)) / Double(up[i] - down[i])
            #expect(abs(Float(difference) - gradients[i]) < 2e-3 * scale, "parameter \(i)")
        }
        for i in probe.x.indices {
            var (up, down) = (probe.x, probe.x)
            up[i] += h
            down[i] -= h
            let difference = (probe.loss(parameters, up) - probe.loss(parameters, down)) / Double(up[i] - down[i])
            #expect(abs(Float(difference) - byInput[i]) < 2e-3 * scale, "input \(i)")
        }
    }

    @Test("Outputs equal the formula in double precision, in a batch and one by one")
    func forward() {
        var random = RandomGenerator(seed: 3)
        let network = MLP(sizes: [5, 8, 2], activation: .tanh)
        var parameters = [Float](repeating: 0, count: network.parameterCount)
        network.initialise(&parameters, outputGain: 1, random: &random)
        for i in parameters.indices { parameters[i] += Float(random.normal()) * 0.1 }
        let x = (0..<20).map { _ in Float(random.normal()) }
        var workspace = MLPWorkspace(network, capacity: 4)
        var single = MLPWorkspace(network, capacity: 1)
        network.forward(x, rows: 4, parameters: parameters, workspace: &workspace)
        for row in 0..<4 {
            var values = x[row * 5..<(row + 1) * 5].map(Double.init)
            for (index, layer) in network.layers.enumerated() {
                values = (0..<layer.outputs).map { o in
                    var sum = Double(parameters[layer.biases.lowerBound + o])
                    for i in 0..<layer.inputs {
                        sum += Double(parameters[layer.offset + o * layer.inputs + i]) * values[i]
                    }
                    return index == 0 ? tanh(sum) : sum
                }
            }
            network.forward(x, firstRow: row, rows: 1, parameters: parameters, workspace: &single)
            for k in 0..<2 {
                #expect(abs(Double(workspace.output(row, k)) - values[k]) < 2e-6)
                #expect(abs(Double(single.output(0, k)) - values[k]) < 2e-6)
            }
        }
    }

    @Test("Initial weights are orthogonal with the stated gain, and one seed gives the same bits")
    func orthogonal() {
        for (rows, columns) in [(4, 9), (9, 4), (5, 5)] {
            var random = RandomGenerator(seed: 11)
            let matrix = orthogonalMatrix(rows: rows, columns: columns, gain: 2, random: &random)
            var again = RandomGenerator(seed: 11)
            #expect(orthogonalMatrix(rows: rows, columns: columns, gain: 2, random: &again) == matrix)
            let (n, isWide) = (min(rows, columns), rows <= columns)
            let m = matrix.map(Double.init)
            let gram = BLAS.product(
                m, transposedA: !isWide, m, transposedB: isWide, rows: n, columns: n, inner: max(rows, columns))
            for i in 0..<n {
                for j in 0..<n { #expect(abs(gram[i * n + j] - (i == j ? 4 : 0)) < 1e-5) }
            }
        }
    }

    @Test("tanh is right to 3 units in the last place, odd, and passes NaN")
    func hyperbolicTangentAccuracy() {
        var random = RandomGenerator(seed: 5)
        var worst: Double = 0
        for i in 0..<40_000 {
            let x = Float(i % 2 == 0 ? random.uniform(-10, 10) : exp(random.uniform(-40, 0)))
            let exact = tanh(Double(x))
            worst = max(worst, abs(Double(hyperbolicTangent(x)) - exact) / Double(Float(exact).ulp))
            #expect(hyperbolicTangent(-x) == -hyperbolicTangent(x))
        }
        #expect(worst < 3)
        #expect(hyperbolicTangent(.infinity) == 1 && hyperbolicTangent(-50) == -1 && hyperbolicTangent(10) == 1)
        #expect(hyperbolicTangent(0).bitPattern == 0 && hyperbolicTangent(-0.0).bitPattern == 0x8000_0000)
        #expect(hyperbolicTangent(.nan).isNaN)
    }

    @Test("Losses have the derivatives of their values, and Huber is continuous where it turns")
    func losses() {
        for loss in [RegressionLoss.squared, .huber(delta: 0.7)] {
            for e: Float in [-3, -0.71, -0.69, -0.1, 0, 0.2, 0.69, 0.71, 5] {
                let difference = (loss(1 + e + 1e-3, target: 1).value - loss(1 + e - 1e-3, target: 1).value) / 2e-3
                #expect(abs(difference - loss(1 + e, target: 1).gradient) < 2e-3)
            }
        }
        #expect(RegressionLoss.huber(delta: 1)(3, target: 0).value == 2.5)
    }
}
