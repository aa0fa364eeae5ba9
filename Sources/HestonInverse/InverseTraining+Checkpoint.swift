internal import NeuralNetworks

/// Everything between two epochs, so that a killed training goes on to the same bits.
extension InverseTraining {
    private static let kind = "heston-inverse-training-1"

    /// Everything between two epochs but the data: equal bytes for equal states.
    public func checkpoint() -> [UInt8] {
        let curve = epochs.flatMap {
            [Double($0.learningRate), $0.loss, $0.validationLoss, $0.medianError ?? .nan, $0.highError ?? .nan]
        }
        var tensors = [
            Tensor("epochs", shape: [epochs.count, 5], .float64(curve)),
            Tensor("steps", shape: [1], .int64([Int64(optimiser.stepCount)])),
            Tensor("parameters", parameters), Tensor("adam.first", optimiser.firstMoment),
            Tensor("adam.second", optimiser.secondMoment),
        ]
        if let best {
            tensors.append(Tensor("best.loss", shape: [1], .float64([best.loss])))
            tensors.append(Tensor("best.parameters", best.parameters))
        }
        return Safetensors(
            metadata: ["kind": Self.kind, "configuration": "\(configuration)", "data": fingerprint], tensors: tensors
        ).bytes()
    }

    /// Goes on from a checkpoint of a training with the same data and configuration. Throws `file`, `malformed`; the
    /// training is then as it was.
    public mutating func resume(_ checkpoint: [UInt8]) throws(InversionError) {
        do {
            let file = try Safetensors(bytes: checkpoint)
            for (field, expected) in [
                ("kind", Self.kind), ("configuration", "\(configuration)"), ("data", fingerprint),
            ] where file.metadata[field] != expected {
                throw InversionError.malformed(field: field, reason: "is not this training's")
            }
            let count = [network.parameterCount]
            let parameters = try file.floats("parameters", shape: count)
            let (first, second) = (
                try file.floats("adam.first", shape: count), try file.floats("adam.second", shape: count)
            )
            guard case .int64(let steps) = try file.tensor("steps").elements, steps.count == 1, steps[0] >= 0,
                case .float64(let curve) = try file.tensor("epochs").elements, curve.count % 5 == 0,
                curve.count / 5 <= configuration.epochs
            else { throw InversionError.malformed(field: "epochs", reason: "are none") }
            var best: (parameters: [Float], loss: Double)?
            if !curve.isEmpty {
                let loss = try file.doubles("best.loss").values
                guard loss.count == 1 else { throw InversionError.malformed(field: "best.loss", reason: "is none") }
                best = (try file.floats("best.parameters", shape: count), loss[0])
            }
            self.parameters = parameters
            self.best = best
            optimiser = Adam(
                configuration: optimiser.configuration, stepCount: Int(steps[0]), firstMoment: first,
                secondMoment: second)
            // What an epoch has not is NaN in the file.
            func known(_ value: Double) -> Double? { value.isNaN ? nil : value }
            epochs = stride(from: 0, to: curve.count, by: 5).map { i in
                Epoch(
                    number: i / 5 + 1, learningRate: Float(curve[i]), loss: curve[i + 1],
                    validationLoss: curve[i + 2], medianError: known(curve[i + 3]), highError: known(curve[i + 4]))
            }
        } catch let error as InversionError {
            throw error
        } catch let error as NeuralNetworkError {
            throw .file(error)
        } catch { throw .malformed(field: "checkpoint", reason: "\(error)") }
    }

    /// Of the surfaces (FNV-1a over their bits): the same data, or none of it.
    private var fingerprint: String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for rows in [synthetic, market] {
            for value in [Double(rows.count), Double(rows.trainingCount)] + rows.volatilities {
                hash = (hash ^ value.bitPattern) &* 0x0000_0100_0000_01B3
            }
        }
        return "\(synthetic.count) and \(market.count) surfaces, \(String(hash, radix: 16))"
    }
}
