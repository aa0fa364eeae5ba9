import Kernels
import NeuralNetworks
import Testing

@testable import HestonInverse

/// The kernels against the definition, written as loops.
@Suite struct ConvolutionTests {
    static let shapes: [(inputs: Int, outputs: Int, rows: Int, columns: Int)] = [
        (2, 16, 5, 6), (16, 16, 5, 6), (16, 32, 3, 7), (32, 16, 4, 13), (3, 16, 1, 1), (16, 48, 2, 5),
    ]

    private static func random(_ count: Int, _ random: inout RandomGenerator) -> [Float] {
        (0..<count).map { _ in Float(random.uniform(-1, 1)) }
    }

    /// [rows × columns × channels] with zeros around.
    private static func bordered(_ image: [Float], _ c: Convolution, _ channels: Int) -> [Float] {
        var result = [Float](repeating: 0, count: c.bordered(channels))
        for r in 0..<c.rows {
            for k in 0..<(c.columns * channels) {
                result[((r + 1) * (c.columns + 2) + 1) * channels + k] = image[r * c.columns * channels + k]
            }
        }
        return result
    }

    /// y by the definition.
    private static func forward(_ x: [Float], _ parameters: [Float], _ c: Convolution) -> [Float] {
        var y: [Float] = []
        for r in 0..<c.rows {
            for k in 0..<c.columns {
                for o in 0..<c.outputs {
                    var sum = Double(parameters[c.biases.lowerBound + o])
                    for tap in 0..<9 {
                        let (row, column) = (r + tap / 3 - 1, k + tap % 3 - 1)
                        guard (0..<c.rows).contains(row), (0..<c.columns).contains(column) else { continue }
                        for i in 0..<c.inputs {
                            sum +=
                                Double(x[(row * c.columns + column) * c.inputs + i])
                                * Double(parameters[c.offset + (tap * c.inputs + i) * c.outputs + o])
                        }
                    }
                    y.append(Float(sum))
                }
            }
        }
        return y
    }

    @Test(arguments: shapes.indices)
    func outputsAreTheDefinitions(_ index: Int) {
        let shape = Self.shapes[index]
        var random = RandomGenerator(seed: 4)
        let c = Convolution(
            inputs: shape.inputs, outputs: shape.outputs, rows: shape.rows, columns: shape.columns, offset: 5)
        let parameters = Self.random(c.biases.upperBound, &random)
        let x = Self.random(c.rows * c.columns * c.inputs, &random)
        let expected = Self.forward(x, parameters, c)
        for rectified in [false, true] {
            var y = [Float](repeating: .nan, count: expected.count)
            unsafe Self.bordered(x, c, c.inputs).withUnsafeBufferPointer { x in
                unsafe parameters.withUnsafeBufferPointer { p in
                    unsafe y.withUnsafeMutableBufferPointer { y in
                        unsafe c.forward(
                            x.baseAddress!, parameters: p.baseAddress!, into: y.baseAddress!,
                            stride: c.columns * c.outputs, rectified: rectified)
                    }
                }
            }
            for (a, b) in zip(y, expected) { #expect(abs(a - (rectified ? max(0, b) : b)) < 1e-4) }
        }
    }

    /// ⟨∂L/∂x, x⟩ and the like by the definition: the loss is Σ dy·y, linear in x and in W.
    @Test(arguments: shapes.indices)
    func gradientsAreTheDefinitions(_ index: Int) {
        let shape = Self.shapes[index]
        var random = RandomGenerator(seed: 8)
        let c = Convolution(
            inputs: shape.inputs, outputs: shape.outputs, rows: shape.rows, columns: shape.columns, offset: 3)
        let parameters = Self.random(c.biases.upperBound, &random)
        let images = 3
        let xs = (0..<images).map { _ in Self.random(c.rows * c.columns * c.inputs, &random) }
        let dys = (0..<images).map { _ in Self.random(c.rows * c.columns * c.outputs, &random) }
        var gradients = [Float](repeating: .nan, count: parameters.count)
        let x = xs.flatMap { Self.bordered($0, c, c.inputs) }
        let dy = dys.flatMap { Self.bordered($0, c, c.outputs) }
        unsafe x.withUnsafeBufferPointer { x in
            unsafe dy.withUnsafeBufferPointer { dy in
                unsafe gradients.withUnsafeMutableBufferPointer { g in
                    unsafe c.parameterGradients(
                        x.baseAddress!, outputGradient: dy.baseAddress!, count: images, into: g.baseAddress!)
                }
            }
        }
        func loss(_ x: [Float], _ dy: [Float], _ p: [Float]) -> Double {
            zip(Self.forward(x, p, c), dy).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        // Linear in every parameter: a difference is the derivative.
        for place in [c.offset, c.offset + 1, c.weights.upperBound - 1, c.biases.lowerBound, c.biases.upperBound - 1]
            + (0..<20).map({ _ in c.offset + random.index(below: c.weights.count) })
        {
            var moved = parameters
            moved[place] += 1
            let expected = (0..<images).reduce(0.0) { sum, image in
                sum + loss(xs[image], dys[image], moved) - loss(xs[image], dys[image], parameters)
            }
            #expect(abs(Double(gradients[place]) - expected) < 1e-3, "parameter \(place)")
        }
        guard c.inputs % 16 == 0 else { return }
        var turned = [Float](repeating: 0, count: c.weights.count)
        var dx = [Float](repeating: .nan, count: c.rows * c.columns * c.inputs)
        unsafe parameters.withUnsafeBufferPointer { p in
            unsafe turned.withUnsafeMutableBufferPointer { unsafe c.turn(p.baseAddress!, into: $0.baseAddress!) }
        }
        unsafe dy.withUnsafeBufferPointer { dy in
            unsafe turned.withUnsafeBufferPointer { turned in
                unsafe dx.withUnsafeMutableBufferPointer { dx in
                    unsafe c.inputGradient(
                        dy.baseAddress!, turned: turned.baseAddress!, into: dx.baseAddress!,
                        stride: c.columns * c.inputs)
                }
            }
        }
        for _ in 0..<20 {
            let place = random.index(below: dx.count)
            var moved = xs[0]
            moved[place] += 1
            #expect(abs(Double(dx[place]) - (loss(moved, dys[0], parameters) - loss(xs[0], dys[0], parameters))) < 1e-3)
        }
    }
}
