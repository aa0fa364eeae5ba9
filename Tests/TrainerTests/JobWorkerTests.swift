import Foundation
import Kernels
import MarketData
import RPC
import ServiceLifecycle
import Storage
import Testing
import VommaProto

@testable import trainer

/// Workers against a real PostgreSQL: nothing runs twice, nothing is lost.
@Suite(.serialized) struct JobWorkerTests {
    init() { BLAS.setThreadCount(1) }

    @Test("Two workers share a queue: every job is done once")
    func sharedQueue() async throws {
        let market = try await TestMarket()
        let ids = try await withThrowingTaskGroup(of: Int64.self) { group in
            for seed in 0..<8 {
                group.addTask { try await market.submit("regime-\(seed)", "hmm", TestMarket.regime(seed: seed)) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let jobs = try await market.withWorkers([market.worker("a"), market.worker("b")]) {
            var jobs: [Job] = []
            for id in ids { jobs.append(try await market.end(of: id)) }
            return jobs
        }
        #expect(jobs.allSatisfy { $0.state == .succeeded && $0.attempt == 1 && $0.progress == 1 })
        let models = try await market.pool.withConnection { try ModelRepository.models("regime", on: $0) }
        #expect(Set(models.map(\.jobID)) == Set(ids) && models.map(\.version).sorted() == Array(1...8))
        await market.pool.close()
    }

    enum Leaving: CaseIterable {
        /// The worker stops without a word: no heartbeat, no write.
        case crash
        /// SIGTERM: the worker saves the job and gives it back.
        case shutdown
    }

    @Test("A job whose worker goes away is finished by another, to the same bits", arguments: Leaving.allCases)
    func takeover(_ leaving: Leaving) async throws {
        let market = try await TestMarket()
        let undisturbed = try await market.submit("undisturbed", "policy.ppo", TestMarket.training)
        let reference = try await market.withWorkers([market.worker("a")]) { try await market.end(of: undisturbed) }
        #expect(reference.state == .succeeded && reference.attempt == 1, "\(reference.error)")

        let id = try await market.submit("disturbed", "policy.ppo", TestMarket.training)
        let worker = market.worker("a", lease: .milliseconds(300))
        switch leaving {
        case .crash:
            let running = Task { try await worker.run() }
            try await market.wait(until: "progress > 0 AND checkpoint IS NOT NULL", id)
            running.cancel()
            _ = await running.result
            #expect(try await market.job(id).state == .running)
        case .shutdown:
            let group = ServiceGroup(services: [worker], logger: TestMarket.silent)
            let running = Task { try await group.run() }
            try await market.wait(until: "progress > 0", id)
            await group.triggerGracefulShutdown()
            try await running.value
            let job = try await market.job(id)
            #expect(job.state == .queued && job.progress > 0 && job.progress < 1)
            try await market.wait(until: "checkpoint IS NOT NULL", id)
        }
        let finished = try await market.withWorkers([market.worker("b")]) { try await market.end(of: id) }
        #expect(finished.state == .succeeded && finished.attempt == 2, "\(finished.error)")

        let models = try await market.pool.withConnection { try ModelRepository.models("policy", on: $0) }
        #expect(models.map(\.jobID) == [id, undisturbed] && models[0].sha256 == models[1].sha256)
        // The number of versions tried, the chosen one and its validation are among them.
        #expect(models[0].metrics == models[1].metrics && models[0].metrics.text.contains(#""trials": 3"#))
        let steps = try await market.pool.withConnection { connection in
            try [undisturbed, id].map { try JobRepository.metric("reward", of: $0, on: connection).map(\.value) }
        }
        #expect(steps[0].count == 60 && steps[0] == steps[1])
        await market.pool.close()
    }

    @Test(
        "A search of several seeds, and a walk forward, are finished by others to the same result",
        arguments: [
            ("policy.ppo", TestMarket.search), ("policy.recurrent-ppo", TestMarket.recurrentSearch),
            ("evaluate.walk-forward", TestMarket.walkForward),
        ])
    func takeoverOfMany(kind: String, specification: String) async throws {
        let market = try await TestMarket()
        let undisturbed = try await market.submit("undisturbed", kind, specification)
        let reference = try await market.withWorkers([market.worker("a")]) { try await market.end(of: undisturbed) }
        #expect(reference.state == .succeeded && reference.attempt == 1, "\(reference.error)")
        // Trials are counted by the model's name.
        let named = "{\"name\": \"other\"," + specification.dropFirst()
        let id = try await market.submit("disturbed", kind, kind == "evaluate.walk-forward" ? named : specification)
        // Killed in its first attempt and in its second, where the first had got to.
        for attempt in 1...2 {
            let worker = market.worker("a\(attempt)", lease: .milliseconds(300))
            let running = Task { try await worker.run() }
            let isUnderWay = "attempt = \(attempt) AND progress > 0.1 AND checkpoint IS NOT NULL"
            try await market.wait(until: "\(isUnderWay) OR state = 'succeeded'", id)
            running.cancel()
            _ = await running.result
        }
        let finished = try await market.withWorkers([market.worker("b")]) { try await market.end(of: id) }
        #expect(finished.state == .succeeded && finished.attempt == 3, "\(finished.error)")
        let trials = try await market.pool.withConnection { connection in
            try connection.query(
                "SELECT job_id, trial, sharpe, net_return FROM trials ORDER BY job_id, trial"
            ) { (row) throws(StorageError) in
                (try row.get(0, as: Int64.self), try row.get(1, as: String.self), try row.get(3, as: Double.self))
            }
        }
        let (before, after) = (trials.filter { $0.0 == undisturbed }, trials.filter { $0.0 == id })
        #expect(before.map(\.1) == after.map(\.1) && before.map(\.2) == after.map(\.2))
        if kind != "evaluate.walk-forward" {
            // Two seeds of 30 iterations, tried after 20 and 30, and once more each to select.
            #expect(before.count == 6 && before.map(\.1).contains("seed 6 selection"))
            let models = try await market.pool.withConnection { try ModelRepository.models("policy", on: $0) }
            #expect(models.map(\.sha256) == [models[0].sha256, models[0].sha256])
            #expect(models[0].metrics == models[1].metrics && models[0].metrics.text.contains(#""trials": 6"#))
        } else {
            // Tried every 20 iterations.
            #expect(before.count == 8 && finished.resultJSON.contains(#""profitable_windows""#))
            #expect(finished.resultJSON == reference.resultJSON, "another result")
        }
        await market.pool.close()
    }

    @Test("A cancelled job stops, and the worker takes the next")
    func cancelled() async throws {
        let market = try await TestMarket()
        let endless = TestMarket.training.replacingOccurrences(of: "1920", with: "100000000")
        let id = try await market.submit("endless", "policy.ppo", endless)
        let next = try await market.submit("next", "hmm", TestMarket.regime(seed: 1))
        let job = try await market.withWorkers([market.worker("a")]) {
            try await market.wait(until: "progress > 0", id)
            let context = CallContext(path: "test")
            let cancelled = try await market.server.cancelJob(CancelJobRequest(jobID: id), context: context)
            #expect(cancelled.state == .cancelled && cancelled.leaseOwner.isEmpty)
            return try await market.end(of: next)
        }
        #expect(job.state == .succeeded)
        #expect(try await market.job(id).state == .cancelled)
        let models = try await market.pool.withConnection { try ModelRepository.models("policy", on: $0) }
        #expect(models.isEmpty)
        await market.pool.close()
    }

    @Test("A job that can't be done fails at once, with its reason")
    func failures() async throws {
        let market = try await TestMarket()
        func training(_ old: String, _ new: String) -> String {
            TestMarket.training.replacingOccurrences(of: old, with: new)
        }
        let cases: [(kind: String, specification: String, reason: String)] = [
            ("policy.ppo", training(#""seed""#, #""sead""#), "“sead” is unknown"),
            ("policy.ppo", training(#""stream": "history""#, #""stream": "elsewhere""#), "no stream “elsewhere”"),
            ("policy.ppo", training("XYZUSDT", "BTCUSDT"), "has no BTCUSDT"),
            ("policy.ppo", training(TestMarket.time(200), TestMarket.time(2)), "training span has 1 rows"),
            ("hmm", TestMarket.regime(seed: 1).replacingOccurrences(of: "XYZ", with: "ABC"), "no bars of ABCUSDT"),
            ("hmm", #"{"exchange": "test", "symbols": ["X"], "from": "soon", "to": "later"}"#, "“from” is “soon”"),
            ("backtest", backtest(TestMarket.time(100)), "there is no live version of “policy”"),
        ]
        var ids: [Int64] = []
        for (index, one) in cases.enumerated() {
            ids.append(try await market.submit("\(index)", one.kind, one.specification))
        }
        let submitted = ids
        let jobs = try await market.withWorkers([market.worker("a")]) {
            var jobs: [Job] = []
            for id in submitted { jobs.append(try await market.end(of: id)) }
            return jobs
        }
        for (job, one) in zip(jobs, cases) {
            #expect(job.state == .failed && job.attempt == 1 && job.error.contains(one.reason), "\(job.error)")
        }
        await market.pool.close()
    }

    @Test("Features without their bars, or with others, are refused")
    func misfits() async throws {
        let market = try await TestMarket()
        func result(_ key: String, _ change: String) async throws -> String {
            try await market.pool.withConnection { _ = try $0.execute(change) }
            let id = try await market.submit(key, "policy.ppo", TestMarket.training)
            return try await market.withWorkers([market.worker("a")]) { try await market.end(of: id) }.error
        }
        let last = TestMarket.time(388)
        let other = try await result("other", "UPDATE bars SET close = close * 1.0001 WHERE open_time = '\(last)'")
        #expect(other.contains("do not fit together"), "\(other)")
        let missing = try await result("missing", "DELETE FROM bars WHERE open_time = '\(last)'")
        #expect(missing.contains("389 feature vectors of XYZUSDT have 388 bars"), "\(missing)")
        await market.pool.close()
    }
}

func backtest(_ from: String, to: String = TestMarket.time(390), extra: String = "") -> String {
    #"{"stream": "history", "symbol": "XYZUSDT", "from": "\#(from)", "to": "\#(to)"\#(extra)}"#
}
