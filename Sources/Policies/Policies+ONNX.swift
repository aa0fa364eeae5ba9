internal import NeuralNetworks

extension MLPPolicy {
    /// The policy as an ONNX model (operator set 17), for ONNX Runtime and others; equal bytes for equal policies.
    ///
    /// Input: `observation` [N × observationSize]. Outputs: `mean` [N × actionSize], before the tanh; `action` = tanh
    /// of it, what is traded; `value` [N × 1]; `log_std` [actionSize], the same for all observations. The metadata are
    /// the model's, with `vomma.kind`.
    public func onnx() -> [UInt8] {
        var graph = ONNXGraph(name: Self.kind, metadata: PolicyFormat.described(metadata, kind: Self.kind))
        graph.addInput("observation", [.free("N"), .fixed(observationSize)])
        graph.addMLP(actor, name: "actor", parameters: parameters, from: "observation", to: "mean")
        graph.addMLP(critic, name: "critic", parameters: parameters, from: "observation", to: "value")
        graph.addHeads(logStd: Array(parameters[logStd]))
        return graph.bytes()
    }
}

extension RecurrentPolicy {
    /// One step of the policy as an ONNX model (operator set 17); equal bytes for equal policies.
    ///
    /// Inputs: `observation` [N × observationSize], and the memory `h` and `c` [2 × N × hidden], the actor's, then the
    /// critic's; zeros where an episode starts. Outputs: as `MLPPolicy`'s, and `next_h` and `next_c`, the memory for
    /// the next step.
    public func onnx() -> [UInt8] {
        var graph = ONNXGraph(name: Self.kind, metadata: PolicyFormat.described(metadata, kind: Self.kind))
        let memory: [ONNXGraph.Dimension] = [.fixed(2), .free("N"), .fixed(architecture.hidden)]
        graph.addInput("observation", [.free("N"), .fixed(observationSize)])
        for name in ["h", "c"] {
            graph.addInput(name, memory)
            graph.addNode("Split", [name], ["actor.\(name)", "critic.\(name)"], [("axis", .integer(0))])
        }
        for (name, network, output) in [("actor", actor, "mean"), ("critic", critic, "value")] {
            graph.addRecurrentStep(
                network, name: name, parameters: parameters, from: "observation",
                state: (h: "\(name).h", c: "\(name).c"), next: (h: "\(name).next_h", c: "\(name).next_c"), to: output)
        }
        graph.addHeads(logStd: Array(parameters[logStd]))
        for name in ["next_h", "next_c"] {
            graph.addNode("Concat", ["actor.\(name)", "critic.\(name)"], [name], [("axis", .integer(0))])
            graph.addOutput(name, memory)
        }
        return graph.bytes()
    }
}

extension ONNXGraph {
    /// What follows the means and the value, in every policy.
    fileprivate mutating func addHeads(logStd: [Float]) {
        addActivation(.tanh, from: "mean", to: "action")
        addConstant("parameters.log_std", shape: [logStd.count], logStd)
        addActivation(.identity, from: "parameters.log_std", to: "log_std")
        addOutput("mean", [.free("N"), .fixed(logStd.count)])
        addOutput("action", [.free("N"), .fixed(logStd.count)])
        addOutput("value", [.free("N"), .fixed(1)])
        addOutput("log_std", [.fixed(logStd.count)])
    }
}
