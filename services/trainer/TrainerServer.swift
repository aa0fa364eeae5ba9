internal import Foundation
internal import MarketData
internal import RPC
internal import ServiceKit
internal import Storage
internal import VommaProto

/// The RPC face of the job queue and the registry of models. All of it is in the database: every replica gives the same
/// answers.
struct TrainerServer: TrainerService {
    let pool: ConnectionPool

    /// How often a watched job is looked at.
    private static let watchInterval: Duration = .milliseconds(200)
    private static let maximumJobs = 1000
    private static let maximumKeyLength = 200
    /// Of a specification, in bytes.
    private static let maximumSpecification = 1 << 20

    // MARK: Jobs

    func submitJob(_ request: SubmitJobRequest, context: CallContext) async throws -> Job {
        guard !request.jobKey.isEmpty, request.jobKey.utf8.count <= Self.maximumKeyLength else {
            throw RPCStatus(.invalidArgument, "job_key has 1 to \(Self.maximumKeyLength) bytes")
        }
        guard JobKind(rawValue: request.kind) != nil else {
            let kinds = JobKind.allCases.map(\.rawValue).joined(separator: ", ")
            throw RPCStatus(.invalidArgument, "kind is “\(request.kind)”, none of \(kinds)")
        }
        guard request.specJSON.utf8.count <= Self.maximumSpecification, JSON(request.specJSON).isObject else {
            throw RPCStatus(.invalidArgument, "spec_json is not a JSON object of at most 1 MiB")
        }
        return try await answer { connection in
            let id = try JobRepository.enqueue(
                key: request.jobKey, kind: request.kind, spec: JSON(request.specJSON), priority: request.priority,
                on: connection)
            return try Job.stored(id, on: connection)
        }
    }

    func getJob(_ request: GetJobRequest, context: CallContext) async throws -> Job {
        try await answer { try Job.stored(request.jobID, on: $0) }
    }

    func listJobs(_ request: ListJobsRequest, context: CallContext) async throws -> ListJobsResponse {
        guard request.limit >= 0 else { throw RPCStatus(.invalidArgument, "limit is negative") }
        let limit = request.limit == 0 ? 100 : min(Int(request.limit), Self.maximumJobs)
        return try await answer { connection in
            var response = ListJobsResponse()
            response.jobs = try JobRepository.jobs(limit: limit, on: connection).map { Job($0, metrics: []) }
            return response
        }
    }

    func cancelJob(_ request: CancelJobRequest, context: CallContext) async throws -> Job {
        try await answer { connection in
            _ = try JobRepository.cancel(request.jobID, on: connection)
            return try Job.stored(request.jobID, on: connection)
        }
    }

    func watchJob(
        _ request: GetJobRequest, responses: ResponseWriter<Job>, context: CallContext
    ) async throws {
        var last: Job?
        while true {
            let job = try await answer { try Job.stored(request.jobID, on: $0) }
            if job != last { try await responses.write(job) }
            if [.succeeded, .failed, .cancelled].contains(job.state) { return }
            last = job
            try await Task.sleep(for: Self.watchInterval)
        }
    }

    // MARK: Models

    func listModels(_ request: ListModelsRequest, context: CallContext) async throws -> ListModelsResponse {
        try await answer { connection in
            var names = [request.name]
            if request.name.isEmpty {
                names = try connection.query("SELECT DISTINCT name FROM models ORDER BY name") {
                    (row) throws(StorageError) in try row.get(0)
                }
            }
            var response = ListModelsResponse()
            for name in names { response.models += try ModelRepository.models(name, on: connection).map { Model($0) } }
            return response
        }
    }

    func promoteModel(_ request: PromoteModelRequest, context: CallContext) async throws -> Model {
        try await answer { connection in
            let model = try Model.stored(request.name, request.version, on: connection)
            try model.requireGate()
            if !request.unaccepted { try model.requireAcceptance(on: connection) }
            try ModelRepository.promote(
                model.name, version: model.version, reason: request.reason, on: connection)
            return try Model.stored(request.name, request.version, on: connection)
        }
    }

    func rollBackModel(_ request: RollBackModelRequest, context: CallContext) async throws -> Model {
        try await answer { connection in
            guard let model = try ModelRepository.rollBack(request.name, reason: request.reason, on: connection) else {
                throw RPCStatus(.failedPrecondition, "no other version of “\(request.name)” was live before")
            }
            return Model(model)
        }
    }

    func listPromotions(
        _ request: ListPromotionsRequest, context: CallContext
    ) async throws -> ListPromotionsResponse {
        try await answer { connection in
            ListPromotionsResponse(
                promotions: try ModelRepository.promotions(of: request.name, on: connection).map { line in
                    Promotion(
                        name: line.name, version: line.version, previousVersion: line.previousVersion ?? 0,
                        action: line.action.rawValue, accepted: line.isAccepted, reason: line.reason,
                        timeMicroseconds: line.time.microseconds)
                })
        }
    }

    /// A message of at most so many metrics.
    private static let metricsPage = 10_000

    func listMetrics(
        _ request: GetJobRequest, responses: ResponseWriter<JobMetrics>, context: CallContext
    ) async throws {
        _ = try await answer { try Job.stored(request.jobID, on: $0) }
        var after: (name: String, step: Int64)?
        while true {
            let (name, step) = (after?.name, after?.step ?? .min)
            let page = try await answer { connection in
                try JobRepository.metrics(
                    of: request.jobID, after: name, step, limit: Self.metricsPage, on: connection)
            }
            guard let last = page.last else { return }
            try await responses.write(
                JobMetrics(metrics: page.map { JobMetric(step: $0.step, name: $0.name, value: $0.value) }))
            after = (last.name, last.step)
        }
    }

    func getModel(_ request: GetModelRequest, context: CallContext) async throws -> Model {
        try await answer { connection in
            var model: Model
            if request.version == 0 {
                guard let live = try ModelRepository.live(request.name, on: connection) else {
                    throw RPCStatus(.notFound, "no version of “\(request.name)” is live")
                }
                model = Model(live)
            } else {
                model = try Model.stored(request.name, request.version, on: connection)
            }
            model.checkpoint = try ModelRepository.checkpoint(model.name, version: model.version, on: connection) ?? []
            return model
        }
    }

    /// Runs `body` on a connection, and says in gRPC's words what can go wrong with the database.
    private func answer<R: Sendable>(
        _ body: @escaping @Sendable (isolated Connection) throws -> R
    ) async throws -> R {
        do {
            return try await pool.withTransaction { connection in try body(connection) }
        } catch StorageError.cancelled {
            throw CancellationError()
        } catch let error as StorageError {
            throw RPCStatus(error.isTransient ? .unavailable : .internal, "\(error)")
        }
    }
}

extension Job {
    /// The job with its newest metrics. Throws NOT_FOUND.
    static func stored(_ id: Int64, on connection: isolated Connection) throws -> Job {
        guard let job = try JobRepository.job(id, on: connection) else { throw RPCStatus(.notFound, "no job \(id)") }
        let metrics = try connection.query(
            """
            SELECT DISTINCT ON (name) step, name, value FROM job_metrics WHERE job_id = $1 ORDER BY name, step DESC
            """, [id]
        ) { (row) throws(StorageError) in
            JobMetric(step: try row.get(0), name: try row.get(1), value: try row.get(2))
        }
        return Job(job, metrics: metrics)
    }

    init(_ job: JobRepository.Job, metrics: [JobMetric]) {
        let state: JobState =
            switch job.state {
            case .queued: .queued
            case .running: .running
            case .succeeded: .succeeded
            case .failed: .failed
            case .cancelled: .cancelled
            }
        self.init(
            jobID: job.id, jobKey: job.key, kind: job.kind, state: state, attempt: job.attempt,
            leaseOwner: job.leaseOwner ?? "", progress: job.progress, message: job.message, specJSON: job.spec.text,
            resultJSON: job.result?.text ?? "", error: job.error ?? "", latestMetrics: metrics)
    }
}

extension Model {
    private struct Judged: Decodable {
        struct Gate: Decodable {
            struct Check: Decodable {
                var name: String
                var value: Double
                var bound: Double
                var passed: Bool
            }
            var checks: [Check]
            var passed: Bool
        }
        var gate: Gate
    }

    /// An inverse network serves only when it is solid. Throws FAILED_PRECONDITION with what is not.
    fileprivate func requireGate() throws {
        guard kind.hasPrefix("heston_inverse_") else { return }
        guard let judged = try? JSONDecoder().decode(Judged.self, from: Data(metricsJSON.utf8)) else {
            throw RPCStatus(.failedPrecondition, "“\(name)” version \(version) was never judged: it has no gate")
        }
        guard !judged.gate.passed else { return }
        let faults = judged.gate.checks.filter { !$0.passed }.map { "\($0.name) is \($0.value), at most \($0.bound)" }
        throw RPCStatus(
            .failedPrecondition,
            "“\(name)” version \(version) has not passed its gate: \(faults.joined(separator: "; ")). Train it longer, "
                + "or on more surfaces")
    }

    /// A policy trades when it has shown what it can on bars that nobody had looked at. Throws FAILED_PRECONDITION with
    /// what it lacks.
    fileprivate func requireAcceptance(on connection: isolated Connection) throws {
        guard kind.hasPrefix("policy.") else { return }
        let verdicts = try AcceptanceRepository.acceptances(of: name, version: version, on: connection)
        guard !verdicts.contains(where: \.passed) else { return }
        let text = "“\(name)” version \(version)"
        guard let verdict = verdicts.first else {
            throw RPCStatus(
                .failedPrecondition,
                "\(text) was never judged: run the job `accept`, or set `unaccepted` to trade it on paper")
        }
        let said = (try? JSONDecoder().decode(Said.self, from: Data(verdict.report.text.utf8)))?.verdict
        throw RPCStatus(
            .failedPrecondition, "\(text) was judged by job \(verdict.jobID). \(said ?? "It was not accepted")")
    }

    private struct Said: Decodable { var verdict: String }

    /// The model without its bytes. Throws NOT_FOUND.
    static func stored(_ name: String, _ version: Int64, on connection: isolated Connection) throws -> Model {
        let versions = try ModelRepository.models(name, on: connection)
        guard let model = versions.first(where: { $0.version == version }) else {
            throw RPCStatus(.notFound, "no version \(version) of “\(name)”")
        }
        return Model(model)
    }

    init(_ model: ModelRepository.Model) {
        self.init(
            name: model.name, version: model.version, kind: model.kind, stage: model.stage.rawValue,
            sha256: model.sha256, schemaVersion: model.schemaVersion ?? "", normaliserID: model.normaliserID ?? "",
            metricsJSON: model.metrics.text, lineageJSON: model.lineage.text)
    }
}
