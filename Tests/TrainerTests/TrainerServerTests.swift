import MarketData
import RPC
import Storage
import Telemetry
import Testing
import VommaProto

@testable import trainer

@Suite(.serialized) struct TrainerServerTests {
    private let context = CallContext(path: "test")

    private func code(_ body: () async throws -> Void) async -> StatusCode? {
        do {
            try await body()
            return nil
        } catch { return (error as? RPCStatus)?.code }
    }

    @Test("The same key is the same job; what can be no job is refused")
    func submission() async throws {
        let market = try await TestMarket(bars: 1)
        let first = try await market.submit("a", "hmm", "{}")
        #expect(try await market.submit("a", "policy.ppo", #"{"other": 1}"#) == first)
        let second = try await market.submit("b", "hmm", "{}")
        let listed = try await market.server.listJobs(ListJobsRequest(), context: context).jobs
        #expect(listed.map(\.jobID) == [second, first] && listed.allSatisfy { $0.state == .queued })
        #expect(try await market.server.listJobs(ListJobsRequest(limit: 1), context: context).jobs.count == 1)
        for request in [
            SubmitJobRequest(jobKey: "", kind: "hmm", specJSON: "{}"),
            SubmitJobRequest(jobKey: "c", kind: "sac", specJSON: "{}"),
            SubmitJobRequest(jobKey: "c", kind: "hmm", specJSON: "[]"),
            SubmitJobRequest(jobKey: "c", kind: "hmm", specJSON: "{"),
        ] {
            #expect(await code { _ = try await market.server.submitJob(request, context: context) } == .invalidArgument)
        }
        #expect(await code { _ = try await market.job(999) } == .notFound)
        await market.pool.close()
    }

    @Test("The queue's depth is shown: who waits, since when, and who is worked on")
    func depth() async throws {
        let market = try await TestMarket(bars: 1)
        let registry = MetricRegistry()
        let metrics = JobQueueMetrics(registry, pool: market.pool, log: TestMarket.silent)
        func shown() async throws -> [Double] {
            try await metrics.count()
            let samples = try MetricsReader.parse(registry.exposition())
            return ["queued", "running"].compactMap { state in
                samples.first { $0.name == "vomma_jobs" && $0.labels["state"] == state }?.value
            } + samples.filter { $0.name == "vomma_jobs_oldest_queued_seconds" }.map(\.value)
        }
        #expect(try await shown() == [0, 0, 0])
        for key in ["a", "b"] { _ = try await market.submit(key, "hmm", "{}") }
        let waiting = try await shown()
        #expect(waiting.prefix(2) == [2, 0] && waiting[2] > 0)
        _ = try await market.pool.withConnection {
            try JobRepository.lease(kinds: ["hmm"], owner: "x", for: .hours(1), on: $0)
        }
        #expect(try await shown().prefix(2) == [1, 1])
        await market.pool.close()
    }

    @Test("A watched job is told of until it ends, with its metrics")
    func watch() async throws {
        let market = try await TestMarket()
        let id = try await market.submit("a", "hmm", TestMarket.regime(seed: 1))
        let (jobs, told) = AsyncStream.makeStream(of: Job.self)
        try await market.withWorkers([market.worker("a")]) {
            let writer = ResponseWriter<Job> { told.yield($0) }
            try await market.server.watchJob(GetJobRequest(jobID: id), responses: writer, context: context)
        }
        told.finish()
        var seen: [Job] = []
        for await job in jobs { seen.append(job) }
        let last = try #require(seen.last)
        #expect(last.state == .succeeded && last.leaseOwner == "a" && last.resultJSON.contains("regime"))
        #expect(last.latestMetrics.map(\.name) == ["bic", "log_likelihood_per_observation"])
        await market.pool.close()
    }

    @Test("Promotion changes the live version and tells the channel")
    func promotion() async throws {
        let market = try await TestMarket(bars: 1)
        let checkpoints: [[UInt8]] = [[1, 2], [3, 4, 5]]
        for bytes in checkpoints {
            _ = try await market.pool.withConnection {
                try ModelRepository.register(name: "m", kind: "policy.ppo", checkpoint: bytes, on: $0)
            }
        }
        let server = market.server
        func live() async throws -> Model {
            try await server.getModel(GetModelRequest(name: "m"), context: context)
        }
        #expect(await code { _ = try await live() } == .notFound)
        var notifications = try market.pool.notifications(ModelRepository.channel).makeAsyncIterator()
        #expect(try await notifications.next() == .resync)

        for version in [1, 2] as [Int64] {
            let promoted = try await server.promoteModel(
                PromoteModelRequest(name: "m", version: version, reason: "test", unaccepted: true), context: context)
            #expect(promoted.stage == "live" && promoted.version == version && promoted.checkpoint.isEmpty)
            #expect(try await notifications.next() == .notification(channel: "models", payload: "m"))
            let model = try await live()
            #expect(model.version == version && model.checkpoint == checkpoints[Int(version) - 1])
        }
        let all = try await server.listModels(ListModelsRequest(), context: context).models
        #expect(all.map(\.version) == [2, 1] && all.map(\.stage) == ["live", "retired"])
        let retired = try await server.getModel(GetModelRequest(name: "m", version: 1), context: context)
        #expect(retired.checkpoint == [1, 2])
        for request in [PromoteModelRequest(name: "m", version: 3), PromoteModelRequest(name: "n", version: 1)] {
            #expect(await code { _ = try await server.promoteModel(request, context: context) } == .notFound)
        }
        #expect(try await live().version == 2)
        await market.pool.close()
    }

    @Test("A rollback makes live again what was before, and the ledger tells all of it") func rollback() async throws {
        let market = try await TestMarket(bars: 1)
        let server = market.server
        for version in [1, 2] as [Int64] {
            _ = try await market.pool.withConnection {
                try ModelRepository.register(name: "m", kind: "hmm", checkpoint: [UInt8(version)], on: $0)
            }
            _ = try await server.promoteModel(
                PromoteModelRequest(name: "m", version: version, reason: "newer"), context: context)
        }
        let back = RollBackModelRequest(name: "m", reason: "worse")
        let model = try await server.rollBackModel(back, context: context)
        #expect(model.version == 1 && model.stage == "live")
        #expect(await code { _ = try await server.rollBackModel(back, context: context) } == .failedPrecondition)
        let lines = try await server.listPromotions(ListPromotionsRequest(name: "m"), context: context).promotions
        #expect(lines.map(\.version) == [1, 2, 1] && lines.map(\.previousVersion) == [0, 1, 2])
        #expect(lines.map(\.action) == ["promote", "promote", "rollback"] && lines[2].reason == "worse")
        await market.pool.close()
    }

    @Test("A job's metrics come by name and step, all of them") func metrics() async throws {
        let market = try await TestMarket()
        let id = try await market.submit("a", "policy.ppo", TestMarket.training)
        _ = try await market.withWorkers([market.worker("a")]) { try await market.end(of: id) }
        let (pages, told) = AsyncStream.makeStream(of: JobMetrics.self)
        let writer = ResponseWriter<JobMetrics> { told.yield($0) }
        try await market.server.listMetrics(GetJobRequest(jobID: id), responses: writer, context: context)
        told.finish()
        var found: [JobMetric] = []
        for await page in pages { found += page.metrics }
        #expect(found.filter { $0.name == "reward" }.map(\.step) == Array(1...60))
        #expect(found.map(\.name) == found.map(\.name).sorted() && Set(found.map(\.name)).count > 10)
        // What an episode earned is the sum of the reward's terms.
        let returns = found.filter { $0.name == "episode_return" }
        let parts = Dictionary(grouping: found.filter { $0.name.hasPrefix("episode_reward_") }, by: \.step)
        #expect(returns.count > 5)
        for sum in returns {
            let terms = parts[sum.step] ?? []
            #expect(terms.count == 5 && abs(terms.reduce(0) { $0 + $1.value } - sum.value) < 1e-5)
        }
        await market.pool.close()
    }
}
