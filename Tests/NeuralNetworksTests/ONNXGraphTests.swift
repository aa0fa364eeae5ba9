import Foundation
import Testing

@testable import NeuralNetworks

@Suite struct ONNXGraphTests {
    /// What Python's onnx 1.23.2 serialises for the same graph (`helper.make_model`, `ir_version` 8, raw tensors, nodes
    /// named `<operator>_<index>`): a linear layer, tanh and a further axis. It passes its checker.
    private static let reference =
        "CAgSBXZvbW1hOvgBCjkKAXgKCGwud2VpZ2h0CgZsLmJpYXMSBWwuc3VtGgZHZW1tXzAiBEdlbW0qDQoGdHJhbnNCGAGgAQIKGAoFbC5z"
        + "dW0SAXkaBlRhbmhfMSIEVGFuaAokCgF5CgRheGlzEgF6GgtVbnNxdWVlemVfMiIJVW5zcXVlZXplEgVzbWFsbCoaCAEIAhABQghsLndl"
        + "aWdodEoIAACAPwAAAMAqEggBEAFCBmwuYmlhc0oEAAAAPyoUCAEQB0IEYXhpc0oIAAAAAAAAAABaFAoBeBIPCg0IARIJCgMSAU4KAggC"
        + "YhgKAXoSEwoRCAESDQoCCAEKAxIBTgoCCAFCBAoAEBFyBgoBaxIBdg=="

    @Test("A graph's bytes are those of the reference implementation")
    func reference() throws {
        var graph = ONNXGraph(name: "small", metadata: ["k": "v"])
        let layer = Linear(inputs: 2, outputs: 1, offset: 1)
        graph.addInput("x", [.free("N"), .fixed(2)])
        graph.addLinear(layer, name: "l", parameters: [9, 1, -2, 0.5], from: "x", to: "l.sum")
        graph.addActivation(.tanh, from: "l.sum", to: "y")
        graph.addConstant("axis", [0])
        graph.addNode("Unsqueeze", ["y", "axis"], ["z"])
        graph.addOutput("z", [.fixed(1), .free("N"), .fixed(1)])
        #expect(try graph.bytes() == [UInt8](#require(Data(base64Encoded: Self.reference))))
    }

    @Test("A recurrent step has its gates in ONNX's order, i, o, f, c")
    func gates() throws {
        let network = RecurrentNetwork(inputs: 1, encoded: 1, hidden: 1, outputs: 1)
        // Every parameter is its own index; W_ih starts at 2 with i, f, g, o.
        let parameters = (0..<network.parameterCount).map { Float($0) }
        var graph = ONNXGraph(name: "step", metadata: [:])
        graph.addRecurrentStep(
            network, name: "n", parameters: parameters, from: "x", state: (h: "h", c: "c"), next: (h: "p", c: "q"),
            to: "y")
        let bytes = graph.bytes()
        func contains(_ values: [Float]) -> Bool {
            let pattern = unsafe values.withUnsafeBytes { unsafe Array($0) }
            return bytes.indices.contains { bytes[$0...].starts(with: pattern) }
        }
        #expect(contains([2, 5, 3, 4]) && contains([6, 9, 7, 8]))
        #expect(contains([10, 13, 11, 12, 14, 17, 15, 16]))
        #expect(!contains([2, 3, 4, 5]))
    }
}
