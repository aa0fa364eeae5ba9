internal import Storage

/// The kinds of jobs that a trainer can do. See docs/jobs.md.
enum JobKind: String, CaseIterable {
    case hmm
    case ppo
    case backtest

    /// Does the job to its end, from its checkpoint if it has one. Throws `JobError` for a job that can't be done, what
    /// the domain throws, `StorageError`, and what `JobContext.proceed` throws when the work is to stop.
    static func run(_ context: JobContext) async throws {
        switch JobKind(rawValue: context.job.kind) {
        case .hmm: try await RegimeJob(context).run()
        case .ppo: try await PolicyJob(context).run()
        case .backtest: try await BacktestJob(context).run()
        case nil: throw JobError.badSpecification("no kind of job is called “\(context.job.kind)”")
        }
    }
}
