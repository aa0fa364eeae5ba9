internal import Foundation
internal import MarketData
internal import RPC
internal import Reports
internal import Storage
internal import VommaProto

/// Submits jobs to the trainer and shows their progress until they have ended.
struct JobFollower {
    private let trainer: TrainerClient
    private let terminal: Terminal
    private let submission: CallOptions

    /// - Parameter submission: how to submit; a stack that is being started is waited for with `waitForReady`.
    init(_ trainer: TrainerClient, terminal: Terminal = Terminal(), submission: CallOptions = CallOptions()) {
        self.trainer = trainer
        self.terminal = terminal
        self.submission = submission
    }

    /// The job of that name, which the first one to ask submits.
    ///
    /// - Throws: `RunError.job` when it failed or was cancelled.
    func run(kind: String, key: String, specification: String, title: String? = nil) async throws -> Job {
        try await follow(submit(kind, key, specification), title)
    }

    /// The job that a specification alone names: the same question is the same job, and another is another. One that
    /// has failed or was cancelled before is asked again, as a job of its own.
    func ask(kind: String, prefix: String, specification: String, title: String? = nil) async throws -> Job {
        let key = Self.key(prefix, specification)
        var job = try await submit(kind, key, specification)
        var turn = 1
        while job.state == .failed || job.state == .cancelled {
            turn += 1
            job = try await submit(kind, "\(key).\(turn)", specification)
        }
        return try await follow(job, title)
    }

    /// FNV-1a, 64 bits, in hexadecimal: a key has at most 200 bytes, a specification may have more.
    private static func key(_ prefix: String, _ specification: String) -> String {
        let hash = specification.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
        return "\(prefix)-" + String(hash, radix: 16)
    }

    private func submit(_ kind: String, _ key: String, _ specification: String) async throws -> Job {
        try await trainer.submitJob(
            SubmitJobRequest(jobKey: key, kind: kind, specJSON: specification), options: submission)
    }

    private func follow(_ submitted: Job, _ title: String?) async throws -> Job {
        var job = submitted
        terminal.begin(title ?? "\(job.kind) job")
        // The stream may break when a trainer is restarted; the job goes on, and so does the watching.
        while job.state == .queued || job.state == .running {
            do {
                for try await update in trainer.watchJob(
                    GetJobRequest(jobID: job.jobID), options: CallOptions(waitForReady: true))
                {
                    job = update
                    terminal.update(job.progress, job.message)
                }
            } catch {
                guard error.code == .unavailable else { throw error }
                try await Task.sleep(for: .milliseconds(200))
            }
        }
        guard job.state == .succeeded else {
            throw RunError.job(kind: job.kind, state: "\(job.state)", error: job.error)
        }
        terminal.finish("job \(job.jobID)\(job.attempt > 1 ? ", attempt \(job.attempt)" : "")")
        return job
    }

    /// Writes the job's metrics as TensorBoard reads them; returns the file's path.
    func writeCurves(of job: Job, folder: String) async throws -> String {
        var file = EventFile(wallTime: Timestamp.now)
        for try await page in trainer.listMetrics(GetJobRequest(jobID: job.jobID)) {
            for metric in page.metrics { file.append(metric.name, step: metric.step, value: metric.value) }
        }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let name = String(job.jobKey.map { $0.isLetter || $0.isNumber || "-_.".contains($0) ? $0 : "-" })
        let path = "\(folder)/events.out.tfevents.\(Timestamp.now.microseconds / 1_000_000).\(name)"
        try Data(file.bytes).write(to: URL(fileURLWithPath: path))
        return path
    }
}
