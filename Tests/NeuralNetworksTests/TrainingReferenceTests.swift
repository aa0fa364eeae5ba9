import Kernels
import Testing

@testable import NeuralNetworks

/// Losses, optimisers and schedules against PyTorch: see Tests/Peers/make_layers.py.
@Suite struct TrainingReferenceTests {
    @Test(
        "Losses of one prediction and their means' gradients equal PyTorch's",
        arguments: [
            ("mse", RegressionLoss.meanSquared), ("huber", .huber(delta: 0.7)), ("smooth-l1", .smoothL1(beta: 0.7)),
        ])
    func regression(name: String, loss: RegressionLoss) throws {
        let predictions = try Golden.floats("\(name).predictions")
        let pairs = zip(predictions, try Golden.floats("\(name).targets")).map { loss($0, target: $1) }
        let count = Float(pairs.count)
        #expect(try Golden.error([pairs.reduce(0) { $0 + $1.value } / count], Golden.floats("\(name).loss")) < 1e-5)
        #expect(try Golden.error(pairs.map { $0.gradient / count }, Golden.floats("\(name).gradient")) < 1e-5)
    }

    @Test("Half the squared error is half of PyTorch's")
    func squared() throws {
        let (p, t) = (try Golden.floats("mse.predictions"), try Golden.floats("mse.targets"))
        for (p, t) in zip(p, t) {
            let (half, whole) = (RegressionLoss.squared(p, target: t), RegressionLoss.meanSquared(p, target: t))
            #expect(2 * half.value == whole.value && 2 * half.gradient == whole.gradient)
        }
    }

    @Test("The Gaussian likelihood and its gradients equal PyTorch's")
    func gaussian() throws {
        func golden(_ key: String) throws -> [Float] { try Golden.floats("gaussian-nll.\(key)") }
        let (mean, logVariance, targets) = (try golden("mean"), try golden("log_variance"), try golden("targets"))
        let all = mean.indices.map {
            GaussianLikelihood.negativeLog(mean: mean[$0], logVariance: logVariance[$0], target: targets[$0])
        }
        let count = Float(all.count)
        #expect(try Golden.error([all.reduce(0) { $0 + $1.value } / count], golden("loss")) < 1e-5)
        #expect(try Golden.error(all.map { $0.byMean / count }, golden("by_mean")) < 1e-5)
        #expect(try Golden.error(all.map { $0.byLogVariance / count }, golden("by_log_variance")) < 1e-5)
    }

    @Test("Cross-entropy and its gradient equal PyTorch's, with and without class weights", arguments: [false, true])
    func crossEntropy(isWeighted: Bool) throws {
        let name = isWeighted ? "cross-entropy-weighted" : "cross-entropy"
        let (logits, targets) = (try Golden.floats("\(name).logits"), try Golden.integers("\(name).targets"))
        let weights = isWeighted ? try Golden.floats("\(name).weights") : nil
        var gradient = [Float](repeating: 0, count: logits.count)
        let loss = Softmax.crossEntropy(
            logits: logits, targets: targets, classes: 5, classWeights: weights, gradient: &gradient)
        #expect(try Golden.error([loss], Golden.floats("\(name).loss")) < 1e-5)
        #expect(try Golden.error(gradient, Golden.floats("\(name).gradient")) < 1e-5)
    }

    @Test("A hopeless prediction's cross-entropy is its distance, not infinite")
    func hopeless() {
        var gradient: [Float] = [0, 0]
        let loss = Softmax.crossEntropy(logits: [0, 500], targets: [0], classes: 2, gradient: &gradient)
        #expect(loss == 500 && gradient == [-1, 1])
    }

    @Test("Adam's and AdamW's every step equals PyTorch's", arguments: ["adam", "adamw"])
    func adam(name: String) throws {
        var configuration = Adam.Configuration()
        if name == "adamw" {
            configuration.weightDecay = 0.1
            configuration.epsilon = 1e-5
        }
        var parameters = try Golden.floats("\(name).start")
        let (gradients, path) = (try Golden.floats("\(name).gradients"), try Golden.floats("\(name).parameters"))
        var optimiser = Adam(parameterCount: 20, configuration: configuration)
        for step in 0..<12 {
            let before = parameters
            let here = step * 20..<(step + 1) * 20
            optimiser.step(&parameters, gradients: Array(gradients[here]), learningRate: 0.01)
            #expect(Golden.error(parameters, Array(path[here])) < 1e-5, "step \(step)")
            // The steps themselves, which are a hundred times smaller: rounding of the parameters is 1e-5 of them.
            let start = step == 0 ? before : Array(path[(step - 1) * 20..<step * 20])
            let moved = zip(parameters, start).map { $0 - $1 }
            #expect(Golden.error(moved, zip(path[here], start).map { $0 - $1 }) < 2e-4, "step \(step)")
        }
    }

    @Test("Clipping by the global norm equals PyTorch's", arguments: ["clip", "clip-none"])
    func clipping(name: String) throws {
        var gradients = try Golden.floats("\(name).gradients")
        let norm = clipGlobalNorm(&gradients, limit: try Golden.floats("\(name).limit")[0])
        #expect(try Golden.error([norm], Golden.floats("\(name).norm")) < 1e-5)
        // PyTorch divides by the norm + 1e-6.
        #expect(try Golden.error(gradients, Golden.floats("\(name).clipped")) < 1e-5)
    }

    @Test("Schedules equal PyTorch's")
    func schedules() throws {
        for (name, schedule) in [
            ("cosine", Schedule.cosine(from: 0.1, to: 0.01)), ("linear", .linear(from: 0.1, to: 0.01)),
        ] {
            let rates = (0...10).map { schedule.value(at: Double($0) / 10) }
            #expect(try Golden.error(rates, Golden.floats("schedule-\(name).rates")) < 1e-5)
        }
    }
}
