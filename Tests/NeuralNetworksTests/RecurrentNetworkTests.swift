import Kernels
import Testing

@testable import NeuralNetworks

@Suite struct RecurrentNetworkTests {
    private static let (steps, rows) = (6, 3)
    private static let network = RecurrentNetwork(inputs: 4, encoded: 5, hidden: 3, outputs: 2, offset: 4)

    /// Parameters with no bias at 0, a sequence, and weights of the outputs in a loss.
    private static func numbers() -> (parameters: [Float], x: [Float], dy: [Float]) {
        var random = RandomGenerator(seed: 31)
        var parameters = [Float](repeating: 0.25, count: network.offset + network.parameterCount + 2)
        network.initialise(&parameters, outputGain: 1, random: &random)
        for i in parameters.indices { parameters[i] += 0.2 * Float(random.normal()) }
        func drawn(_ count: Int) -> [Float] { (0..<count).map { _ in Float(random.normal()) } }
        return (parameters, drawn(steps * rows * 4), drawn(steps * rows * 2))
    }

    private static let resets = (0..<steps * rows).map { [4, 8, 9, 17].contains($0) }

    private static func forward(
        _ parameters: [Float], _ x: [Float], _ state: LSTMState, _ workspace: inout RecurrentWorkspace
    ) -> (outputs: [Float], state: LSTMState) {
        var state = state
        network.forward(
            x, steps: steps, rows: rows, resets: resets, parameters: parameters, state: &state, workspace: &workspace)
        let outputs = (0..<steps * rows).flatMap { row in (0..<2).map { workspace.output(row, $0) } }
        return (outputs, state)
    }

    @Test("Gradients of parameters and initial state equal finite differences, the final state in the loss")
    func gradients() {
        let (parameters, x, dy) = Self.numbers()
        var workspace = RecurrentWorkspace(Self.network, steps: Self.steps, rows: Self.rows)
        var start = LSTMState(rows: Self.rows, hidden: 3)
        for i in start.hidden.indices {
            start.hidden[i] = 0.1 * Float(i) - 0.4
            start.cell[i] = 0.7 - 0.2 * Float(i)
        }
        func loss(_ parameters: [Float], _ start: LSTMState) -> Double {
            var workspace = RecurrentWorkspace(Self.network, steps: Self.steps, rows: Self.rows)
            let (outputs, state) = Self.forward(parameters, x, start, &workspace)
            let sum = zip(outputs, dy).reduce(0) { $0 + Double($1.0) * Double($1.1) }
            return sum + state.cell.reduce(0) { $0 + 0.5 * Double($1) }
        }
        _ = Self.forward(parameters, x, start, &workspace)
        for row in 0..<Self.steps * Self.rows {
            for k in 0..<2 { workspace.setOutputGradient(dy[row * 2 + k], row, k) }
        }
        var gradients = [Float](repeating: -99, count: parameters.count)
        var stateGradient = LSTMState(rows: Self.rows, hidden: 3)
        stateGradient.cell = stateGradient.cell.map { _ in 0.5 }
        Self.network.backward(
            x, steps: Self.steps, rows: Self.rows, resets: Self.resets, parameters: parameters,
            stateGradient: &stateGradient, workspace: &workspace, gradients: &gradients)
        #expect(gradients[..<4].allSatisfy { $0 == -99 } && gradients.suffix(2).allSatisfy { $0 == -99 })

        // Five points, h = 2⁻⁶: see LayerTests.
        let h: Float = 1 / 64
        func slope(_ at: (Float) -> Double) -> Float {
            Float((8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / Double(12 * h))
        }
        func moved(_ values: [Float], _ i: Int, _ h: Float) -> [Float] {
            var values = values
            values[i] += h
            return values
        }
        let used = 4..<4 + Self.network.parameterCount
        let scale = gradients[used].map(abs).max() ?? 1
        for i in used {
            #expect(abs(slope { loss(moved(parameters, i, $0), start) } - gradients[i]) < 1e-3 * scale, "\(i)")
        }
        for i in start.hidden.indices {
            let byHidden = slope {
                var state = start
                state.hidden[i] += $0
                return loss(parameters, state)
            }
            let byCell = slope {
                var state = start
                state.cell[i] += $0
                return loss(parameters, state)
            }
            #expect(abs(byHidden - stateGradient.hidden[i]) < 1e-3 * scale, "h \(i)")
            #expect(abs(byCell - stateGradient.cell[i]) < 1e-3 * scale, "c \(i)")
        }
    }

    @Test("A sequence in one pass, step by step with the state carried, and row by row are the same")
    func carriedState() {
        let (parameters, x, _) = Self.numbers()
        var workspace = RecurrentWorkspace(Self.network, steps: Self.steps, rows: Self.rows)
        let whole = Self.forward(parameters, x, LSTMState(rows: Self.rows, hidden: 3), &workspace)
        var state = LSTMState(rows: Self.rows, hidden: 3)
        var single = RecurrentWorkspace(Self.network, steps: 1, rows: 1)
        var states = (0..<Self.rows).map { _ in LSTMState(rows: 1, hidden: 3) }
        for step in 0..<Self.steps {
            let first = step * Self.rows
            let resets = Array(Self.resets[first..<first + Self.rows])
            Self.network.forward(
                x, firstRow: first, steps: 1, rows: Self.rows, resets: resets, parameters: parameters, state: &state,
                workspace: &workspace)
            for row in 0..<Self.rows {
                Self.network.forward(
                    x, firstRow: first + row, steps: 1, rows: 1, resets: [resets[row]], parameters: parameters,
                    state: &states[row], workspace: &single)
                for k in 0..<2 {
                    let expected = whole.outputs[(first + row) * 2 + k]
                    #expect(abs(workspace.output(row, k) - expected) < 1e-6)
                    #expect(abs(single.output(0, k) - expected) < 1e-6)
                }
            }
        }
        #expect(Golden.error(state.cell, whole.state.cell) < 1e-6)
        #expect(Golden.error(states.flatMap(\.hidden), whole.state.hidden) < 1e-6)
    }

    @Test("A new network has orthogonal gates, an open forget gate and the stated gain at its head")
    func initialisation() {
        let network = RecurrentNetwork(inputs: 6, encoded: 8, hidden: 8, outputs: 1)
        var (random, again) = (RandomGenerator(seed: 2), RandomGenerator(seed: 2))
        var parameters = [Float](repeating: 9, count: network.parameterCount)
        network.initialise(&parameters, outputGain: 0.01, random: &random)
        var same = parameters.map { _ in Float(7) }
        network.initialise(&same, outputGain: 0.01, random: &again)
        #expect(parameters == same)
        for gate in 0..<4 {
            let start = network.lstm.recurrentWeights.lowerBound + gate * 64
            let block = parameters[start..<start + 64].map(Double.init)
            let gram = BLAS.product(block, block, transposedB: true, rows: 8, columns: 8, inner: 8)
            for i in 0..<64 { #expect(abs(gram[i] - (i % 9 == 0 ? 1 : 0)) < 1e-5) }
        }
        let biases = Array(parameters[network.lstm.inputBiases])
        #expect(biases == (0..<32).map { (8..<16).contains($0) ? 1 : 0 })
        #expect(parameters[network.lstm.recurrentBiases].allSatisfy { $0 == 0 })
        let head = parameters[network.head.weights].reduce(0) { $0 + Double($1) * Double($1) }
        #expect(abs(head.squareRoot() - 0.01) < 1e-6)
    }
}
