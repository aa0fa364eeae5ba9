internal import Kernels

/// The means of computing a minibatch: a workspace and gradients for each shard.
final class Minibatch: Sendable {
    private let threads: Int
    private let shards: [Shard]

    private final class Shard: @unchecked Sendable {
        let workspace: NetworkWorkspace
        var gradients: [Float]
        var values: [[Float]]
        var loss = 0.0
        var errors: [Double] = []

        init(_ network: InverseNetwork) {
            workspace = NetworkWorkspace(network, capacity: InverseTraining.shard, training: true)
            gradients = [Float](repeating: 0, count: network.parameterCount)
            values = Array(repeating: [Float](repeating: 0, count: network.cells), count: InverseTraining.shard)
        }
    }

    init(_ network: InverseNetwork, rows: Int, threads: Int) {
        let count = (rows + InverseTraining.shard - 1) / InverseTraining.shard
        shards = (0..<count).map { _ in Shard(network) }
        self.threads = max(1, min(threads, count))
    }

    private func perform(_ count: Int, _ body: @Sendable (Int) -> Void) {
        let lanes = min(threads, count)
        Parallel.perform(lanes) { lane in
            for index in stride(from: lane, to: count, by: lanes) { body(index) }
        }
    }

    /// The rows' summed loss; the mean's gradients go to `gradients`, in place of what is there unless `adding`.
    func gradients(
        _ training: InverseTraining, _ rows: InverseTraining.Rows, _ batch: ArraySlice<Int>, repricing: Float,
        seed: UInt64, into gradients: inout [Float], adding: Bool
    ) -> Double {
        let size = InverseTraining.shard
        let count = (batch.count + size - 1) / size
        let scale = 1 / Float(batch.count)
        perform(count) { index in
            let shard = shards[index]
            let start = batch.startIndex + index * size
            let part = batch[start..<min(batch.endIndex, start + size)]
            for (place, row) in part.enumerated() {
                var random = RandomGenerator(seed: seed &+ UInt64(row) &* 0x9FB2_1C65_1E98_DF25)
                training.read(rows, row, into: &shard.values[place])
                training.hide(&shard.values[place], &random)
                shard.workspace.set(place, shard.values[place])
            }
            training.network.forward(shard.workspace, count: part.count, parameters: training.parameters)
            shard.loss = 0
            for (place, row) in part.enumerated() {
                shard.loss +=
                    training.loss(
                        shard.workspace, place, rows, row, shard.values[place], repricing: repricing, scale: scale
                    ).loss
            }
            training.network.backward(
                shard.workspace, count: part.count, parameters: training.parameters, gradients: &shard.gradients)
        }
        var loss = 0.0
        for index in 0..<count {
            loss += shards[index].loss
            if index == 0, !adding {
                for i in gradients.indices { gradients[i] = shards[0].gradients[i] }
            } else {
                for i in gradients.indices { gradients[i] += shards[index].gradients[i] }
            }
        }
        return loss
    }

    /// The rows' summed loss and their repricing errors, nothing hidden.
    func losses(
        _ training: InverseTraining, _ rows: InverseTraining.Rows, _ all: [Int], repricing: Float
    ) -> (loss: Double, errors: [Double]) {
        let size = InverseTraining.shard
        for shard in shards { (shard.loss, shard.errors) = (0, []) }
        let pieces = (all.count + size - 1) / size
        perform(shards.count) { index in
            let shard = shards[index]
            for piece in stride(from: index, to: pieces, by: shards.count) {
                let part = all[(piece * size)..<min(all.count, (piece + 1) * size)]
                for (place, row) in part.enumerated() {
                    training.read(rows, row, into: &shard.values[place])
                    shard.workspace.set(place, shard.values[place])
                }
                training.network.forward(shard.workspace, count: part.count, parameters: training.parameters)
                for (place, row) in part.enumerated() {
                    let (loss, error) = training.loss(
                        shard.workspace, place, rows, row, shard.values[place], repricing: repricing, scale: 1)
                    shard.loss += loss
                    if let error { shard.errors.append(error) }
                }
            }
        }
        return (shards.reduce(0) { $0 + $1.loss }, shards.flatMap(\.errors))
    }
}
