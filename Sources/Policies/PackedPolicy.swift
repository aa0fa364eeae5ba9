internal import NeuralNetworks

/// A policy's two networks as they are asked: the first layers, which have the same input, as one product, all weights
/// packed. Keeps the values of the largest batch so far, and allocates nothing else.
struct PackedPolicy: Sendable {
    private let stride: Int
    private let activation: Activation
    private let first: PackedLinear
    private let actor: [PackedLinear]
    private let critic: [PackedLinear]
    /// Where the critic's columns begin in a row of the first layer's outputs.
    private let criticColumn: Int
    /// Rows that there is room for, and the widest row.
    private var capacity = 0
    private let width: Int
    /// Blocks of [capacity × width]: the first layer's outputs, two that the further layers write in turn, the means,
    /// the values.
    private var blocks: [Float] = []
    /// Calls read the first layer's weights from both ends in turn: more than half of them are still in the cache.
    private var isBackwards = false

    init(_ policy: MLPPolicy) {
        stride = policy.observationSize
        activation = policy.architecture.activation
        let (actor, critic) = (policy.actor.layers, policy.critic.layers)
        first = PackedLinear([actor[0], critic[0]], parameters: policy.parameters)
        self.actor = actor.dropFirst().map { PackedLinear([$0], parameters: policy.parameters) }
        self.critic = critic.dropFirst().map { PackedLinear([$0], parameters: policy.parameters) }
        criticColumn = actor[0].outputs
        width = ([first] + self.actor + self.critic).map(\.width).max() ?? 0
    }

    /// Computes the networks' outputs for `rows` observations, side by side. Traps when they are too few.
    mutating func evaluate(_ observations: Span<Float>, rows: Int) {
        precondition(rows > 0 && observations.count >= rows * stride, "every row has its inputs")
        if rows > capacity {
            capacity = rows
            blocks = [Float](repeating: 0, count: 5 * rows * width)
        }
        let block = capacity * width
        unsafe observations.withUnsafeBufferPointer { observations in
            unsafe blocks.withUnsafeMutableBufferPointer { blocks in
                guard let x = observations.baseAddress, let blocks = blocks.baseAddress else { return }
                unsafe first.forward(x, stride: stride, rows: rows, into: blocks, backwards: isBackwards)
                if !actor.isEmpty { unsafe activation.applyToVectors(blocks, count: rows * first.width) }
                for (layers, column, result) in [(actor, 0, 3), (critic, criticColumn, 4)] {
                    var (input, inputStride) = unsafe (blocks + column, first.width)
                    for (index, layer) in layers.enumerated() {
                        let isLast = index == layers.count - 1
                        let output = unsafe blocks + (isLast ? result : 1 + index % 2) * block
                        unsafe layer.forward(input, stride: inputStride, rows: rows, into: output)
                        if !isLast { unsafe activation.applyToVectors(output, count: rows * layer.width) }
                        unsafe (input, inputStride) = (output, layer.width)
                    }
                }
            }
        }
        isBackwards.toggle()
    }

    /// Of the last evaluation: one component's mean, before the tanh.
    func mean(_ row: Int, _ component: Int = 0) -> Float {
        actor.isEmpty
            ? blocks[row * first.width + component]
            : blocks[3 * capacity * width + row * actor[actor.count - 1].width + component]
    }

    func value(_ row: Int) -> Float {
        critic.isEmpty
            ? blocks[row * first.width + criticColumn]
            : blocks[4 * capacity * width + row * critic[critic.count - 1].width]
    }
}
