internal import Kernels
internal import NeuralNetworks

/// PPO's two losses on some rows of a rollout. Row `rows[i]` of the rollout is row i of the networks' last passes.
extension Rollout {
    /// The actor's loss: sets the gradient at its outputs in `workspace`, and writes that of the log standard
    /// deviations to `gradients`; returns the estimated KL divergence. With ρ = π(a|s)/π_old(a|s) and the normalised
    /// advantage A:
    ///
    ///     loss = −mean min(ρA, clip(ρ, 1 ± ε)·A) − entropyCoefficient·mean entropy
    func actorLoss<W: NetworkWorkspace>(
        _ rows: ArraySlice<Int>, _ configuration: PPOConfiguration, parameters: [Float], logStd: Range<Int>,
        workspace: inout W, gradients: inout [Float], _ metrics: inout PPOMetrics
    ) -> Float {
        let weight = 1 / Float(rows.count)
        let (shift, scale) = configuration.normalisesAdvantages ? normalisation(rows) : (0, 1)
        for i in logStd { gradients[i] = 0 }
        var (loss, divergence, clipped) = (Float(0), Float(0), 0)
        for (i, row) in rows.enumerated() {
            let advantage = (advantages[row] - shift) * scale
            var logProbability: Float = 0
            for k in 0..<actionSize {
                logProbability += SquashedGaussian.baseLogProbability(
                    preSquash[row * actionSize + k], mean: workspace.output(i, k),
                    logStd: parameters[logStd.lowerBound + k])
            }
            let logRatio = logProbability - logProbabilities[row]
            let ratio = exp(logRatio)
            let surrogate = ratio * advantage
            let limited = min(max(ratio, 1 - configuration.clipRange), 1 + configuration.clipRange) * advantage
            loss -= min(surrogate, limited) * weight
            divergence += (ratio - 1 - logRatio) * weight
            if abs(ratio - 1) > configuration.clipRange { clipped += 1 }
            // Where the minimum is the clipped term, it is constant in the parameters.
            let byLogProbability = surrogate <= limited ? -surrogate * weight : 0
            for k in 0..<actionSize {
                let mean = workspace.output(i, k)
                let place = logStd.lowerBound + k
                let logStd = parameters[place]
                let slope = SquashedGaussian.logProbabilityGradient(
                    preSquash[row * actionSize + k], mean: mean, logStd: logStd)
                var (byMean, byLogStd) = (byLogProbability * slope.mean, byLogProbability * slope.logStd)
                if configuration.entropyCoefficient > 0 {
                    let entropy = SquashedGaussian.entropy(mean: mean, logStd: logStd)
                    byMean -= configuration.entropyCoefficient * weight * entropy.mean
                    byLogStd -= configuration.entropyCoefficient * weight * entropy.logStd
                    loss -= configuration.entropyCoefficient * weight * entropy.value
                }
                workspace.setOutputGradient(byMean, i, k)
                gradients[place] += byLogStd
            }
        }
        metrics.policyLoss += loss
        metrics.clipFraction += Float(clipped) * weight
        return divergence
    }

    /// The critic's loss, valueCoefficient·mean ½(V − return)²: sets the gradient at its outputs in `workspace`. With
    /// value clipping it is the larger of that and the same of V_old + clip(V − V_old).
    func criticLoss<W: NetworkWorkspace>(
        _ rows: ArraySlice<Int>, _ configuration: PPOConfiguration, workspace: inout W, _ metrics: inout PPOMetrics
    ) {
        let weight = 1 / Float(rows.count)
        for (i, row) in rows.enumerated() {
            let value = workspace.output(i, 0)
            var loss = RegressionLoss.squared(value, target: returns[row])
            if let range = configuration.valueClipRange {
                let change = value - values[row]
                let limited = RegressionLoss.squared(
                    values[row] + min(max(change, -range), range), target: returns[row])
                if limited.value > loss.value { loss = (limited.value, abs(change) < range ? limited.gradient : 0) }
            }
            metrics.valueLoss += loss.value * weight
            workspace.setOutputGradient(configuration.valueCoefficient * weight * loss.gradient, i, 0)
        }
    }

    /// What to subtract from the rows' advantages, and then multiply by.
    private func normalisation(_ rows: ArraySlice<Int>) -> (shift: Float, scale: Float) {
        guard rows.count > 1 else { return (0, 1) }
        var (mean, squares) = (0.0, 0.0)
        for row in rows { mean += Double(advantages[row]) }
        mean /= Double(rows.count)
        for row in rows {
            let deviation = Double(advantages[row]) - mean
            squares += deviation * deviation
        }
        return (Float(mean), Float(1 / ((squares / Double(rows.count - 1)).squareRoot() + 1e-8)))
    }
}
