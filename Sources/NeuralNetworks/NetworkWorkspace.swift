/// The outputs of a network's last forward pass and the gradient at them: what a loss needs to know of a network.
package protocol NetworkWorkspace {
    /// One output of the last forward pass.
    func output(_ row: Int, _ column: Int) -> Float
    /// Sets ∂loss/∂output for the next backward pass; that output may be gone then. Every output of every row must be
    /// set before each.
    mutating func setOutputGradient(_ value: Float, _ row: Int, _ column: Int)
}

extension MLPWorkspace: NetworkWorkspace {}
extension RecurrentWorkspace: NetworkWorkspace {}
