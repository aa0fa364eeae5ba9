import Kernels
import Testing

@testable import NeuralNetworks

@Suite struct LayerTests {
    /// Two single-precision computations of such sums differ by some 1e-6 of the largest number.
    @Test("Outputs and all gradients equal PyTorch's", arguments: LayerCase.all)
    func golden(layer: LayerCase) throws {
        func golden(_ key: String) throws -> [Float] { try Golden.floats("\(layer.name).\(key)") }
        let passes = try #require(
            layer.passes(parameters: golden("parameters"), x: golden("x"), dy: golden("dy")), "wrote outside")
        let errors = [
            Golden.error(passes.y, try golden("y")), Golden.error(passes.dx, try golden("dx")),
            passes.dParameters.isEmpty ? 0 : Golden.error(passes.dParameters, try golden("dparameters")),
        ]
        #expect(errors.allSatisfy { $0 < 1e-5 }, "y, dx, dparameters: \(errors)")
        #expect(try golden("dx").contains { abs($0) > 0.01 })
    }

    /// The five-point rule with h = 2⁻⁶: its error h⁴/30 times the fifth derivative, plus rounding 1e-6/h. What is
    /// linear but for kinks needs no more than h = 2⁻⁹, and no number of the case lies that close to a kink.
    @Test("Gradients equal finite differences of the outputs", arguments: LayerCase.all)
    func differences(layer: LayerCase) throws {
        func golden(_ key: String) throws -> [Float] { try Golden.floats("\(layer.name).\(key)") }
        let (parameters, x, dy) = (try golden("parameters"), try golden("x"), try golden("dy"))
        let passes = try #require(layer.passes(parameters: parameters, x: x, dy: dy))
        func loss(_ parameters: [Float], _ x: [Float]) -> Double {
            zip(layer.passes(parameters: parameters, x: x, dy: dy)?.y ?? [], dy)
                .reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        func slope(_ values: [Float], _ i: Int, _ loss: ([Float]) -> Double) -> Float {
            func at(_ h: Float) -> Double {
                var moved = values
                moved[i] += h
                return loss(moved)
            }
            let h: Float = layer.name.hasPrefix("max-pool") || layer.name == "relu" ? 1 / 512 : 1 / 64
            return Float((8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / Double(12 * h))
        }
        let largest = (passes.dx + passes.dParameters).map(abs).max() ?? 0
        var wrong = 0
        for i in x.indices {
            let difference = slope(x, i) { loss(parameters, $0) }
            if !(abs(difference - passes.dx[i]) < 1e-3 * largest) { wrong += 1 }
        }
        for i in parameters.indices {
            let difference = slope(parameters, i) { loss($0, x) }
            if !(abs(difference - passes.dParameters[i]) < 1e-3 * largest) { wrong += 1 }
        }
        #expect(wrong == 0, "\(wrong) of \(x.count + parameters.count)")
    }

    @Test("The same passes give the same bits", arguments: LayerCase.all)
    func determinism(layer: LayerCase) throws {
        func golden(_ key: String) throws -> [Float] { try Golden.floats("\(layer.name).\(key)") }
        let (parameters, x, dy) = (try golden("parameters"), try golden("x"), try golden("dy"))
        let (first, second) = (
            try #require(layer.passes(parameters: parameters, x: x, dy: dy)),
            try #require(layer.passes(parameters: parameters, x: x, dy: dy))
        )
        #expect(first.y == second.y && first.dx == second.dx && first.dParameters == second.dParameters)
    }

    @Test("NaN passes through every layer", arguments: LayerCase.all)
    func notANumber(layer: LayerCase) throws {
        var x = try Golden.floats("\(layer.name).x")
        x[x.count / 3] = .nan
        let (parameters, dy) = (try Golden.floats("\(layer.name).parameters"), try Golden.floats("\(layer.name).dy"))
        let passes = try #require(layer.passes(parameters: parameters, x: x, dy: dy))
        #expect(passes.y.contains { $0.isNaN })
    }

    @Test("An embedding's vectors and gradients equal PyTorch's, repeated indices summed")
    func embedding() throws {
        let layer = Embedding(count: 6, size: 4, offset: 2)
        let indices = try Golden.integers("embedding.indices")
        let parameters = [0, 0] + (try Golden.floats("embedding.parameters"))
        var y = [Float](repeating: 0, count: 24)
        unsafe layer.forward(indices, parameters: parameters, into: &y)
        #expect(try y == Golden.floats("embedding.y"))
        var gradients = [Float](repeating: -99, count: 26)
        let dy = try Golden.floats("embedding.dy")
        unsafe layer.parameterGradients(indices, outputGradient: dy, into: &gradients)
        #expect(try Golden.error(Array(gradients[2...]), Golden.floats("embedding.dparameters")) < 1e-6)
        #expect(gradients[..<2] == [-99, -99])
    }

    @Test("Dropout multiplies both passes by one mask, as PyTorch, and draws it with the stated probability")
    func dropout() throws {
        let layer = Dropout(probability: 0.3)
        let mask = try Golden.floats("dropout.mask")
        var (y, dx) = (try Golden.floats("dropout.x"), try Golden.floats("dropout.dy"))
        unsafe layer.apply(mask, to: &y, count: y.count)
        unsafe layer.apply(mask, to: &dx, count: dx.count)
        #expect(try Golden.error(y, Golden.floats("dropout.y")) < 1e-6)
        #expect(try Golden.error(dx, Golden.floats("dropout.dx")) < 1e-6)

        var (random, again) = (RandomGenerator(seed: 9), RandomGenerator(seed: 9))
        var (drawn, repeated) = ([Float](repeating: -1, count: 40_000), [Float](repeating: -1, count: 40_000))
        layer.draw(&drawn, random: &random)
        layer.draw(&repeated, random: &again)
        #expect(drawn == repeated)
        // The factor that PyTorch's mask has too.
        let scale = try #require(mask.max())
        #expect(drawn.allSatisfy { $0 == 0 || abs($0 - scale) < 1e-6 })
        // Four standard errors of 40 000 draws.
        #expect(abs(Double(drawn.count { $0 == 0 }) / 40_000 - 0.3) < 0.0092)
        Dropout(probability: 0).draw(&drawn, random: &random)
        #expect(drawn.allSatisfy { $0 == 1 })
    }

    @Test("Sinusoidal positions equal the reference")
    func positions() throws {
        #expect(try Golden.error(sinusoidalPositions(length: 30, size: 8), Golden.floats("positions.y")) < 1e-6)
        #expect(sinusoidalPositions(length: 2, size: 3).count == 6)
    }

    @Test("A causal output sees nothing after its own step")
    func causality() throws {
        for name in ["conv1d-causal", "conv1d-causal-even", "attention-causal"] {
            let layer = try #require(LayerCase.all.first { $0.name == name })
            let (parameters, dy) = (try Golden.floats("\(name).parameters"), try Golden.floats("\(name).dy"))
            let x = try Golden.floats("\(name).x")
            let (rows, length) = name.hasPrefix("conv") ? (2, 20) : (3, 6)
            let (inputs, outputs) = (x.count / rows / length, dy.count / rows / length)
            let before = try #require(layer.passes(parameters: parameters, x: x, dy: dy)).y
            for step in 0..<length {
                // Everything from `step` on in the first row.
                var changed = x
                for i in step * inputs..<length * inputs { changed[i] += 1 }
                let after = try #require(layer.passes(parameters: parameters, x: changed, dy: dy)).y
                #expect(after[..<(step * outputs)] == before[..<(step * outputs)], "\(name), step \(step)")
                let here = step * outputs..<(step + 1) * outputs
                #expect(after[here] != before[here], "\(name), step \(step)")
            }
        }
    }

    @Test("Exponential and logistic function are right to a few units in the last place")
    func elementary() {
        var random = RandomGenerator(seed: 6)
        var (worst, worstLogistic) = (0.0, 0.0)
        for _ in 0..<40_000 {
            let x = Float(random.uniform(-86, 86))
            let exact = exp(Double(x))
            worst = max(worst, abs(Double(exponential(x)) - exact) / Double(Float(exact).ulp))
            let share = 1 / (1 + exp(-Double(x)))
            worstLogistic = max(worstLogistic, abs(Double(logistic(x)) - share) / Double(Float(share).ulp))
        }
        #expect(worst < 2 && worstLogistic < 4, "\(worst), \(worstLogistic)")
        #expect(logistic(.infinity) == 1 && logistic(-.infinity) < 1e-37 && logistic(.nan).isNaN)
        #expect(exponential(.nan).isNaN && exponential(-1000) > 0 && exponential(1000).isFinite)
    }
}
