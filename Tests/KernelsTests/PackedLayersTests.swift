import Glibc
import Kernels
import Testing

@Suite struct PackedLayersTests {
    /// y + x·w, each product added in turn and rounded once.
    private func plain(
        _ x: [Float], rows: Int, stride: Int, _ weights: ArraySlice<Float>, inputs: Int, panels: Int, _ y: [Float]
    ) -> [Float] {
        var y = y
        for row in 0..<rows {
            for column in 0..<16 * panels {
                let first = weights.startIndex + column / 16 * 16 * inputs + column % 16
                for k in 0..<inputs {
                    y[row * 16 * panels + column].addProduct(x[row * stride + k], weights[first + 16 * k])
                }
            }
        }
        return y
    }

    @Test(
        "a product is the plain loop's, bit for bit, with either instructions and in either direction",
        arguments: [1, 2, 3, 4, 7, 8, 9, 20], [1, 2, 3, 4, 5, 8])
    func bits(rows: Int, panels: Int) {
        var random = RandomGenerator(seed: 7)
        for inputs in [1, 5, 128] {
            let stride = inputs + 3
            let x = (0..<rows * stride).map { _ in Float(random.normal()) }
            let start = (0..<rows * 16 * panels).map { _ in Float(random.normal()) }
            var weights = (0..<inputs * 16 * panels + 16).map { _ in Float(random.normal()) }
            let offset = unsafe weights.withUnsafeMutableBufferPointer { buffer in
                (64 - Int(bitPattern: buffer.baseAddress) % 64) % 64 / 4
            }
            let expected = plain(
                x, rows: rows, stride: stride, weights[offset...], inputs: inputs, panels: panels, start)
            for isWide in Set([false, PackedLayers.isWide]) {
                for backwards in [false, true] {
                    var y = start
                    unsafe weights.withUnsafeBufferPointer { weights in
                        unsafe x.withUnsafeBufferPointer { x in
                            unsafe y.withUnsafeMutableBufferPointer { y in
                                guard let x = x.baseAddress, let w = weights.baseAddress, let y = y.baseAddress
                                else { return }
                                unsafe PackedLayers.multiply(
                                    x, stride: stride, rows: rows, w + offset, inputs: inputs, panels: panels, into: y,
                                    backwards: backwards, isWide: isWide)
                            }
                        }
                    }
                    #expect(y == expected, "wide \(isWide), backwards \(backwards), \(inputs) inputs")
                }
            }
        }
    }

    @Test("tanh is within 3 units in the last place, the same bits with either instructions; NaN stays NaN")
    func hyperbolicTangents() {
        var arguments = stride(from: Float(-12), to: 12, by: 0.00075).map { $0 }
        arguments += (-40...0).flatMap { [Float.pi * exp2(Float($0)), -Float.pi * exp2(Float($0))] }
        arguments += [0, -0.0, .infinity, -.infinity, .greatestFiniteMagnitude, .leastNonzeroMagnitude]
        while arguments.count % 16 != 0 { arguments.append(0.5) }
        func images(_ isWide: Bool) -> [Float] {
            var values = arguments
            unsafe values.withUnsafeMutableBufferPointer { values in
                guard let base = values.baseAddress else { return }
                unsafe PackedLayers.tanh(base, vectors: values.count / 16, isWide: isWide)
            }
            return values
        }
        let found = images(false)
        #expect(found.map(\.bitPattern) == images(PackedLayers.isWide).map(\.bitPattern))
        for (x, y) in zip(arguments, found) {
            let exact = Glibc.tanh(Double(x))
            #expect(abs(Double(y) - exact) <= 3 * Double(Float(exact).ulp), "tanh \(x)")
            #expect(y.sign == x.sign)
        }
        var values = [Float](repeating: .nan, count: 16)
        unsafe values.withUnsafeMutableBufferPointer { values in
            guard let base = values.baseAddress else { return }
            unsafe PackedLayers.tanh(base, vectors: 1)
        }
        #expect(values.allSatisfy { $0.isNaN })
    }

    @Test("one value that is not finite is found anywhere", arguments: [1, 15, 16, 17, 100])
    func finiteness(count: Int) {
        let values = [Float](repeating: -.greatestFiniteMagnitude, count: count)
        let areFinite = PackedLayers.areFinite(values.span)
        #expect(areFinite)
        for index in values.indices {
            for bad in [Float.nan, .infinity, -.infinity] {
                var copy = values
                copy[index] = bad
                let areFinite = PackedLayers.areFinite(copy.span)
                #expect(!areFinite, "\(bad) at \(index)")
            }
        }
    }
}
