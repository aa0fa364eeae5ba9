internal import NeuralNetworks

/// What the passes of one network over up to `capacity` rows read and leave: one block of memory, allocated once.
///
/// One thread uses it at a time. The borders of images are zero from the start and never written.
@safe
final class NetworkWorkspace: @unchecked Sendable {
    let network: InverseNetwork
    let capacity: Int
    private let block: UnsafeMutablePointer<Float>

    /// Bordered images of two channels: what the network sees.
    let input: UnsafeMutablePointer<Float>
    /// After the first convolution, bordered.
    let middle: UnsafeMutablePointer<Float>
    /// After the second, without borders: a row's are neighbours.
    let flat: UnsafeMutablePointer<Float>
    /// After each linear layer; the last is z.
    let trunk: [UnsafeMutablePointer<Float>]
    let heads: UnsafeMutablePointer<Float>
    /// `[rows × 10]`: by parameter its value and the logarithm of its standard deviation.
    let answers: UnsafeMutablePointer<Float>
    let surfaceHidden: UnsafeMutablePointer<Float>
    /// `[rows × cells]`.
    let surface: UnsafeMutablePointer<Float>

    // The loss's gradients by the values above. Only a workspace for training has them.
    let answerGradient: UnsafeMutablePointer<Float>
    let surfaceGradient: UnsafeMutablePointer<Float>
    let headGradient: UnsafeMutablePointer<Float>
    let surfaceHiddenGradient: UnsafeMutablePointer<Float>
    /// By `flat`, then by each linear layer's outputs.
    let gradients: [UnsafeMutablePointer<Float>]
    let secondGradient: UnsafeMutablePointer<Float>
    let firstGradient: UnsafeMutablePointer<Float>
    let scratch: UnsafeMutablePointer<Float>
    /// The second convolution's weights, turned.
    let turned: UnsafeMutablePointer<Float>

    init(_ network: InverseNetwork, capacity: Int, training: Bool = false) {
        precondition(capacity > 0, "a workspace has room for a row")
        self.network = network
        self.capacity = capacity
        let (first, second) = (network.first, network.second)
        let widths = network.trunk.map(\.outputs)
        let flatCount = network.cells * second.outputs
        let values =
            [first.bordered(2), first.bordered(first.outputs), flatCount] + widths + [
                network.heads.outputs, InverseNetwork.answerCount, network.surfaceHidden.outputs, network.cells,
            ]
        let gradientCounts =
            [InverseNetwork.answerCount, network.cells, network.heads.outputs, network.surfaceHidden.outputs, flatCount]
            + widths + [second.bordered(second.outputs), first.bordered(first.outputs), network.code]
        // Whole lines of the cache.
        func room(_ count: Int) -> Int { (count * capacity + 15) / 16 * 16 }
        let weights = training ? second.weights.count : 0
        let total =
            values.reduce(0) { $0 + room($1) } + (training ? gradientCounts.reduce(0) { $0 + room($1) } : 0) + weights
        let memory = UnsafeMutableRawPointer.allocate(byteCount: max(1, total) * 4, alignment: 64)
        unsafe block = memory.initializeMemory(as: Float.self, repeating: 0, count: max(1, total))
        var next = unsafe block
        func take(_ count: Int, _ isThere: Bool = true) -> UnsafeMutablePointer<Float> {
            let place = unsafe next
            if isThere { unsafe next += room(count) }
            return unsafe place
        }
        unsafe input = take(values[0])
        unsafe middle = take(values[1])
        unsafe flat = take(values[2])
        unsafe trunk = widths.map { unsafe take($0) }
        unsafe heads = take(network.heads.outputs)
        unsafe answers = take(InverseNetwork.answerCount)
        unsafe surfaceHidden = take(network.surfaceHidden.outputs)
        unsafe surface = take(network.cells)
        unsafe answerGradient = take(gradientCounts[0], training)
        unsafe surfaceGradient = take(gradientCounts[1], training)
        unsafe headGradient = take(gradientCounts[2], training)
        unsafe surfaceHiddenGradient = take(gradientCounts[3], training)
        unsafe gradients = ([flatCount] + widths).map { unsafe take($0, training) }
        unsafe secondGradient = take(second.bordered(second.outputs), training)
        unsafe firstGradient = take(first.bordered(first.outputs), training)
        unsafe scratch = take(network.code, training)
        unsafe turned = next
    }

    deinit { unsafe block.deallocate() }

    /// Sets one row's surface: standardised values, NaN where a cell is missing.
    func set(_ row: Int, _ values: [Float]) {
        precondition(values.count == network.cells, "one value a cell")
        unsafe values.withUnsafeBufferPointer { values in
            guard let start = values.baseAddress else { return }
            unsafe set(row, start)
        }
    }

    /// As the other, from a place in a longer array.
    @unsafe
    func set(_ row: Int, _ values: UnsafePointer<Float>) {
        precondition(row >= 0 && row < capacity, "the row fits")
        let inside = network.first.inside(2)
        for i in 0..<network.rows {
            var place = unsafe input + row * network.first.bordered(2) + inside.origin + i * inside.stride
            for j in 0..<network.columns {
                let value = unsafe values[i * network.columns + j]
                unsafe place[0] = value.isNaN ? 0 : value
                unsafe place[1] = value.isNaN ? 0 : 1
                unsafe place += 2
            }
        }
    }
}
