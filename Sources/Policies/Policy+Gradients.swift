internal import NeuralNetworks

// How far learning reaches into each kind of policy: `Policy.gradientNorms`.

private func euclideanNorm(_ values: ArraySlice<Float>) -> Double {
    values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
}

extension MLPPolicy {
    func gradientNorms(
        observations: [Float], rows: Int
    ) -> [(head: String, layer: String, norm: Double)] {
        var found: [(head: String, layer: String, norm: Double)] = []
        for (head, name, network) in [("policy", "actor", actor), ("value", "critic", critic)] {
            var workspace = MLPWorkspace(network, capacity: rows)
            var gradients = [Float](repeating: 0, count: parameterCount)
            network.forward(observations, rows: rows, parameters: parameters, workspace: &workspace)
            for row in 0..<rows {
                for k in 0..<network.outputs { workspace.setOutputGradient(row % 2 == 0 ? 1 : -0.5, row, k) }
            }
            network.backward(
                observations, rows: rows, parameters: parameters, workspace: &workspace, gradients: &gradients)
            for (index, layer) in network.layers.enumerated() {
                let slice = layer.weights.lowerBound..<layer.biases.upperBound
                found.append((head, "\(name).\(index)", euclideanNorm(gradients[slice])))
            }
        }
        return found
    }
}

extension RecurrentPolicy {
    func gradientNorms(
        observations: [Float], rows: Int
    ) -> [(head: String, layer: String, norm: Double)] {
        var found: [(head: String, layer: String, norm: Double)] = []
        for (head, name, network) in [("policy", "actor", actor), ("value", "critic", critic)] {
            var workspace = RecurrentWorkspace(network, steps: 1, rows: rows)
            var state = LSTMState(rows: rows, hidden: network.hidden)
            var stateGradient = state
            var gradients = [Float](repeating: 0, count: parameterCount)
            network.forward(
                observations, steps: 1, rows: rows, parameters: parameters, state: &state, workspace: &workspace)
            for row in 0..<rows {
                for k in 0..<network.outputs { workspace.setOutputGradient(row % 2 == 0 ? 1 : -0.5, row, k) }
            }
            network.backward(
                observations, steps: 1, rows: rows, parameters: parameters, stateGradient: &stateGradient,
                workspace: &workspace, gradients: &gradients)
            let parts = [
                ("encoder", network.encoder.weights.lowerBound..<network.encoder.biases.upperBound),
                ("lstm", network.encoder.biases.upperBound..<network.head.weights.lowerBound),
                ("head", network.head.weights.lowerBound..<network.head.biases.upperBound),
            ]
            for (part, range) in parts { found.append((head, "\(name).\(part)", euclideanNorm(gradients[range]))) }
        }
        return found
    }
}
