internal import HestonInverse
internal import Storage

/// The kinds of jobs that a trainer can do. See docs/jobs.md.
enum JobKind: String, CaseIterable {
    case hmm
    case policyPPO = "policy.ppo"
    case policyRecurrentPPO = "policy.recurrent-ppo"
    case walkForward = "evaluate.walk-forward"
    case accept
    case backtest
    case hestonInverseSynthetic = "heston_inverse_synth"
    case hestonInverseReal = "heston_inverse_real"
    case hestonInverseMixed = "heston_inverse_mixed"
    case hestonMoments = "heston_moments"

    /// Does the job to its end, from its checkpoint if it has one. Throws `JobError` for a job that can't be done, what
    /// the domain throws, `StorageError`, and what `JobContext.proceed` throws when the work is to stop.
    static func run(_ context: JobContext) async throws {
        switch JobKind(rawValue: context.job.kind) {
        case .hmm: try await RegimeJob(context).run()
        case .policyPPO: try await PolicyJob(context, isRecurrent: false).run()
        case .policyRecurrentPPO: try await PolicyJob(context, isRecurrent: true).run()
        case .walkForward: try await WalkForwardJob(context).run()
        case .accept: try await AcceptJob(context).run()
        case .backtest: try await BacktestJob(context).run()
        case .hestonInverseSynthetic: try await InverseJob(context, .synthetic).run()
        case .hestonInverseReal: try await InverseJob(context, .real).run()
        case .hestonInverseMixed: try await InverseJob(context, .mixed).run()
        case .hestonMoments: try await MomentsJob(context).run()
        case nil: throw JobError.badSpecification("no kind of job is called “\(context.job.kind)”")
        }
    }
}
