internal import HestonInverse
internal import Logging
internal import Storage

extension JobContext {
    /// Takes a training to its end, from the checkpoint of the attempt before where there is one, and says how far it
    /// is: 0 … 0.95 of the job. Throws what `proceed` throws, `InversionError`.
    func finish(_ training: inout InverseTraining, threads: Int) async throws {
        if let checkpoint = lease.checkpoint {
            do throws(InversionError) {
                try training.resume(checkpoint)
                log.info("training resumed", metadata: ["epoch": "\(training.epochs.count)"])
            } catch {
                log.warning("the checkpoint is of no use, beginning anew", metadata: ["reason": "\(error)"])
            }
        }
        let total = training.configuration.epochs
        while !training.isFinished {
            let number = training.epochs.count
            let message = "epoch \(number + 1) of \(total)"
            try training.runEpoch(threads: threads) { part in
                try proceed(0.95 * (Double(number) + part) / Double(total), message)
            }
            if let epoch = training.epochs.last { try await record(Self.rows(epoch), step: epoch.number) }
            let done = 0.95 * Double(number + 1) / Double(total)
            try await proceed(done, message) { [training] in training.checkpoint() }
        }
    }

    private static func rows(_ epoch: InverseTraining.Epoch) -> [(name: String, value: Double)] {
        var rows: [(name: String, value: Double)] = [
            ("loss", epoch.loss), ("validation_loss", epoch.validationLoss),
            ("learning_rate", Double(epoch.learningRate)),
        ]
        if let median = epoch.medianError, let high = epoch.highError {
            rows += [("median_error", median), ("high_error", high)]
        }
        return rows
    }
}
