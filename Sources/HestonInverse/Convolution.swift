/// A 3 × 3 convolution with a border of zeros, stride 1, its parameters a slice of the network's flat vector: W
/// [9 taps × inputs × outputs], row-major, then b [outputs].
///
/// Images have their channels last. An input has its border stored, [(rows + 2) × (columns + 2) × inputs] with zeros
/// around, so that no tap asks where it is. Sixteen outputs at once are two vectors; six columns of them are the twelve
/// sums that the processor's registers hold.
struct Convolution: Sendable, Equatable {
    let inputs: Int
    /// A multiple of 16.
    let outputs: Int
    let rows: Int
    let columns: Int
    /// Where W starts in the flat parameter vector.
    let offset: Int

    typealias Lanes = SIMD8<Float>

    /// The slices of the flat vector that hold W and b.
    var weights: Range<Int> { offset..<offset + 9 * inputs * outputs }
    var biases: Range<Int> { weights.upperBound..<weights.upperBound + outputs }
    /// Numbers in an image of `channels` with its border.
    func bordered(_ channels: Int) -> Int { (rows + 2) * (columns + 2) * channels }
    /// Where the first number inside the border stands, and how far a row is from the next.
    func inside(_ channels: Int) -> (origin: Int, stride: Int) {
        ((columns + 3) * channels, (columns + 2) * channels)
    }

    /// y from bordered x, one image. `y` points at its first number, its rows are `stride` numbers apart.
    @unsafe
    func forward(
        _ x: UnsafePointer<Float>, parameters: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, stride: Int,
        rectified: Bool
    ) {
        unsafe convolve(
            x, weights: parameters + offset, biases: parameters + biases.lowerBound, inputs, outputs, into: y,
            stride: stride, rectified: rectified)
    }

    /// W turned round, [9 × outputs × inputs]: with it the gradient of the input is the convolution of the gradient of
    /// the output. `inputs` must be a multiple of 16.
    @unsafe
    func turn(_ parameters: UnsafePointer<Float>, into turned: UnsafeMutablePointer<Float>) {
        for tap in 0..<9 {
            for i in 0..<inputs {
                for o in 0..<outputs {
                    let from = (tap * inputs + i) * outputs + o
                    unsafe turned[((8 - tap) * outputs + o) * inputs + i] = parameters[offset + from]
                }
            }
        }
    }

    /// ∂loss/∂x, from bordered ∂loss/∂y and the turned weights.
    @unsafe
    func inputGradient(
        _ outputGradient: UnsafePointer<Float>, turned: UnsafePointer<Float>, into dx: UnsafeMutablePointer<Float>,
        stride: Int
    ) {
        unsafe convolve(
            outputGradient, weights: turned, biases: nil, outputs, inputs, into: dx, stride: stride, rectified: false)
    }

    /// Writes ∂loss/∂W and ∂loss/∂b, summed over `count` images, to their slices of `gradients`, from bordered x and
    /// bordered ∂loss/∂y.
    @unsafe
    func parameterGradients(
        _ x: UnsafePointer<Float>, outputGradient: UnsafePointer<Float>, count: Int,
        into gradients: UnsafeMutablePointer<Float>
    ) {
        let start = inside(outputs)
        for block in Swift.stride(from: 0, to: outputs, by: 16) {
            let dy = unsafe outputGradient + start.origin + block
            for tap in 0..<9 {
                let from = ((tap / 3) * (columns + 2) + tap % 3) * inputs
                var i = 0
                while i < inputs {
                    let width = inputs - i >= 4 ? 4 : 1
                    let target = unsafe gradients + offset + (tap * inputs + i) * outputs + block
                    if width == 4 {
                        unsafe correlateFour(x + from + i, dy, count, into: target)
                    } else {
                        unsafe correlateOne(x + from + i, dy, count, into: target)
                    }
                    i += width
                }
            }
            var (low, high) = (Lanes(), Lanes())
            for image in 0..<count {
                for row in 0..<rows {
                    let line = unsafe dy + image * bordered(outputs) + row * start.stride
                    for column in 0..<columns {
                        unsafe low += load(line + column * outputs)
                        unsafe high += load(line + column * outputs + 8)
                    }
                }
            }
            unsafe store(low, gradients + biases.lowerBound + block)
            unsafe store(high, gradients + biases.lowerBound + block + 8)
        }
    }

    // MARK: Kernels

    @unsafe
    private func convolve(
        _ x: UnsafePointer<Float>, weights: UnsafePointer<Float>, biases: UnsafePointer<Float>?, _ inputs: Int,
        _ outputs: Int, into y: UnsafeMutablePointer<Float>, stride: Int, rectified: Bool
    ) {
        let line = (columns + 2) * inputs
        let floor = Lanes(repeating: rectified ? 0 : -.infinity)
        for block in Swift.stride(from: 0, to: outputs, by: 16) {
            var (low, high) = (Lanes(), Lanes())
            if let biases = unsafe biases { unsafe (low, high) = (load(biases + block), load(biases + block + 8)) }
            for row in 0..<rows {
                var column = 0
                while column + 6 <= columns {
                    unsafe strip(
                        x + row * line + column * inputs, weights + block, inputs, outputs, line, low, high, floor,
                        y + row * stride + column * outputs + block)
                    column += 6
                }
                while column < columns {
                    unsafe point(
                        x + row * line + column * inputs, weights + block, inputs, outputs, line, low, high, floor,
                        y + row * stride + column * outputs + block)
                    column += 1
                }
            }
        }
    }

    /// Sixteen outputs of six neighbouring columns.
    @unsafe @inline(always)
    private func strip(
        _ x: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ inputs: Int, _ outputs: Int, _ line: Int,
        _ low: Lanes, _ high: Lanes, _ floor: Lanes, _ y: UnsafeMutablePointer<Float>
    ) {
        var (a0, a1, a2, a3, a4, a5) = (low, low, low, low, low, low)
        var (b0, b1, b2, b3, b4, b5) = (high, high, high, high, high, high)
        var w = unsafe weights
        for tapRow in 0..<3 {
            var p = unsafe x + tapRow * line
            // Three taps of a row are neighbours in memory.
            for _ in 0..<(3 * inputs) {
                let (u, v) = unsafe (load(w), load(w + 8))
                let x0 = unsafe Lanes(repeating: p[0])
                a0 = a0.addingProduct(u, x0)
                b0 = b0.addingProduct(v, x0)
                let x1 = unsafe Lanes(repeating: p[inputs])
                a1 = a1.addingProduct(u, x1)
                b1 = b1.addingProduct(v, x1)
                let x2 = unsafe Lanes(repeating: p[2 * inputs])
                a2 = a2.addingProduct(u, x2)
                b2 = b2.addingProduct(v, x2)
                let x3 = unsafe Lanes(repeating: p[3 * inputs])
                a3 = a3.addingProduct(u, x3)
                b3 = b3.addingProduct(v, x3)
                let x4 = unsafe Lanes(repeating: p[4 * inputs])
                a4 = a4.addingProduct(u, x4)
                b4 = b4.addingProduct(v, x4)
                let x5 = unsafe Lanes(repeating: p[5 * inputs])
                a5 = a5.addingProduct(u, x5)
                b5 = b5.addingProduct(v, x5)
                unsafe w += outputs
                unsafe p += 1
            }
        }
        unsafe store(larger(a0, floor), y)
        unsafe store(larger(b0, floor), y + 8)
        unsafe store(larger(a1, floor), y + outputs)
        unsafe store(larger(b1, floor), y + outputs + 8)
        unsafe store(larger(a2, floor), y + 2 * outputs)
        unsafe store(larger(b2, floor), y + 2 * outputs + 8)
        unsafe store(larger(a3, floor), y + 3 * outputs)
        unsafe store(larger(b3, floor), y + 3 * outputs + 8)
        unsafe store(larger(a4, floor), y + 4 * outputs)
        unsafe store(larger(b4, floor), y + 4 * outputs + 8)
        unsafe store(larger(a5, floor), y + 5 * outputs)
        unsafe store(larger(b5, floor), y + 5 * outputs + 8)
    }

    /// Sixteen outputs of one column.
    @unsafe @inline(always)
    private func point(
        _ x: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ inputs: Int, _ outputs: Int, _ line: Int,
        _ low: Lanes, _ high: Lanes, _ floor: Lanes, _ y: UnsafeMutablePointer<Float>
    ) {
        var (a, b) = (low, high)
        var w = unsafe weights
        for tapRow in 0..<3 {
            let p = unsafe x + tapRow * line
            for i in 0..<(3 * inputs) {
                let value = unsafe Lanes(repeating: p[i])
                unsafe a = a.addingProduct(load(w), value)
                unsafe b = b.addingProduct(load(w + 8), value)
                unsafe w += outputs
            }
        }
        unsafe store(larger(a, floor), y)
        unsafe store(larger(b, floor), y + 8)
    }

    /// Σ x·dy over all images and places, for four inputs and sixteen outputs.
    @unsafe @inline(always)
    private func correlateFour(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ count: Int, into dw: UnsafeMutablePointer<Float>
    ) {
        var (a0, a1, a2, a3) = (Lanes(), Lanes(), Lanes(), Lanes())
        var (b0, b1, b2, b3) = (Lanes(), Lanes(), Lanes(), Lanes())
        for image in 0..<count {
            for row in 0..<rows {
                var p = unsafe x + image * bordered(inputs) + row * (columns + 2) * inputs
                var q = unsafe dy + image * bordered(outputs) + row * (columns + 2) * outputs
                for _ in 0..<columns {
                    let (u, v) = unsafe (load(q), load(q + 8))
                    let x0 = unsafe Lanes(repeating: p[0])
                    a0 = a0.addingProduct(u, x0)
                    b0 = b0.addingProduct(v, x0)
                    let x1 = unsafe Lanes(repeating: p[1])
                    a1 = a1.addingProduct(u, x1)
                    b1 = b1.addingProduct(v, x1)
                    let x2 = unsafe Lanes(repeating: p[2])
                    a2 = a2.addingProduct(u, x2)
                    b2 = b2.addingProduct(v, x2)
                    let x3 = unsafe Lanes(repeating: p[3])
                    a3 = a3.addingProduct(u, x3)
                    b3 = b3.addingProduct(v, x3)
                    unsafe p += inputs
                    unsafe q += outputs
                }
            }
        }
        unsafe store(a0, dw)
        unsafe store(b0, dw + 8)
        unsafe store(a1, dw + outputs)
        unsafe store(b1, dw + outputs + 8)
        unsafe store(a2, dw + 2 * outputs)
        unsafe store(b2, dw + 2 * outputs + 8)
        unsafe store(a3, dw + 3 * outputs)
        unsafe store(b3, dw + 3 * outputs + 8)
    }

    /// As the other, for one input.
    @unsafe @inline(always)
    private func correlateOne(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ count: Int, into dw: UnsafeMutablePointer<Float>
    ) {
        var (a, b) = (Lanes(), Lanes())
        for image in 0..<count {
            for row in 0..<rows {
                let p = unsafe x + image * bordered(inputs) + row * (columns + 2) * inputs
                let q = unsafe dy + image * bordered(outputs) + row * (columns + 2) * outputs
                for column in 0..<columns {
                    let value = unsafe Lanes(repeating: p[column * inputs])
                    unsafe a = a.addingProduct(load(q + column * outputs), value)
                    unsafe b = b.addingProduct(load(q + column * outputs + 8), value)
                }
            }
        }
        unsafe store(a, dw)
        unsafe store(b, dw + 8)
    }
}

@unsafe @inline(always)
private func load(_ p: UnsafePointer<Float>) -> SIMD8<Float> {
    unsafe UnsafeRawPointer(p).loadUnaligned(as: SIMD8<Float>.self)
}

@unsafe @inline(always)
private func store(_ value: SIMD8<Float>, _ p: UnsafeMutablePointer<Float>) {
    unsafe UnsafeMutableRawPointer(p).storeBytes(of: value, as: SIMD8<Float>.self)
}

/// NaN stays NaN: a broken input must not look like zero.
@inline(always)
private func larger(_ a: SIMD8<Float>, _ floor: SIMD8<Float>) -> SIMD8<Float> {
    a.replacing(with: floor, where: a .< floor)
}
