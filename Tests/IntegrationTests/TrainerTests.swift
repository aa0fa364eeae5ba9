import Foundation
import LocalStack
import RPC
import Storage
import Testing
import VommaProto

extension Integration {
    /// Two trainer processes on one queue.
    @Suite(.serialized) struct TrainerTests {
        @Test(
            "A job whose trainer is killed is finished by the other from its checkpoint, to the same bits",
            .timeLimit(.minutes(2)))
        func takeover() async throws {
            let fleet = try await Fleet.shared()
            _ = try await Market.shared()
            // Some seconds' work in a debug build.
            let reference = try await fleet.job(
                "undisturbed", "policy.ppo", Market.training(name: "undisturbed", steps: 64_000))
            try #require(reference.state == .succeeded && reference.attempt == 1, "\(reference.error)")

            let id = try await fleet.submit("disturbed", "policy.ppo", Market.training(name: "disturbed", steps: 64_000)).jobID
            try await fleet.until("the job has a checkpoint", every: .milliseconds(5)) {
                try await fleet.value("SELECT checkpoint IS NOT NULL FROM jobs WHERE job_id = $1", [id], as: Bool.self)
            }
            let holder = try await fleet.holder(of: id)
            holder.kill()
            // The lease outlives its holder.
            let left = try await fleet.trainer(besides: holder).getJob(GetJobRequest(jobID: id), options: Fleet.patient)
            #expect(left.state == .running && left.attempt == 1 && left.progress > 0 && left.progress < 1)

            // The killed one stays away until the other has taken over.
            try await fleet.until("the other trainer has taken the job over") {
                let attempt = try await fleet.value("SELECT attempt FROM jobs WHERE job_id = $1", [id], as: Int32.self)
                return attempt == 2
            }
            try await fleet.stack.restart(holder)
            let job = try await fleet.end(of: id)
            #expect(job.state == .succeeded && job.attempt == 2, "\(job.error)")
            let resumed = try await fleet.lines(of: "training resumed")
            #expect(resumed.contains { $0.contains("job=\(id)") }, "begun anew instead of from the checkpoint")

            let hashes = try await fleet.pool.withConnection { connection in
                try connection.query("SELECT sha256 FROM models WHERE job_id IN ($1, $2)", [reference.jobID, id]) {
                    (row) throws(StorageError) in try row.get(0, as: String.self)
                }
            }
            #expect(hashes.count == 2 && Set(hashes).count == 1)
            // Every iteration's metrics are there once, with the same values.
            let differing = try await fleet.value(
                """
                SELECT count(*) FROM (SELECT step, name, value FROM job_metrics WHERE job_id = $1) a
                FULL JOIN (SELECT step, name, value FROM job_metrics WHERE job_id = $2) b USING (step, name)
                WHERE a.value IS DISTINCT FROM b.value
                """, [reference.jobID, id], as: Int64.self)
            #expect(differing == 0)
        }

        @Test("Many small jobs on two trainers: each is done once")
        func sharedQueue() async throws {
            let fleet = try await Fleet.shared()
            _ = try await Market.shared()
            // Submitted through both, every key twice.
            let clients = fleet.trainers.map { fleet.trainerClient($0) }
            let ids = try await withThrowingTaskGroup(of: Int64.self) { group in
                for number in 0..<24 {
                    group.addTask {
                        try await clients[number % 2].submitJob(
                            SubmitJobRequest(
                                jobKey: "small-\(number / 2)", kind: "hmm", specJSON: Self.small(seed: number / 2)),
                            options: Fleet.patient
                        ).jobID
                    }
                }
                return try await group.reduce(into: Set()) { $0.insert($1) }
            }
            #expect(ids.count == 12)
            var jobs: [Job] = []
            for id in ids { jobs.append(try await fleet.end(of: id)) }
            #expect(jobs.allSatisfy { $0.state == .succeeded && $0.attempt == 1 }, "\(jobs.map(\.error))")
            let models = try await fleet.pool.withConnection { try ModelRepository.models("small", on: $0) }
            #expect(Set(models.compactMap(\.jobID)) == ids && models.count == 12)
            // Each was begun once, in one of the two.
            let begun = try await fleet.lines(of: "job begun")
            for id in ids { #expect(begun.count { $0.contains("job=\(id) ") || $0.hasSuffix("job=\(id)") } <= 1) }
        }

        private static func small(seed: Int) -> String {
            """
            {"name": "small", "exchange": "\(Market.exchange)", "symbols": ["\(Market.symbol)"],
             "from": "\(Market.start)", "to": "\(Market.time(hours: 6))", "states": 3, "restarts": 2, "seed": \(seed)}
            """
        }
    }
}

extension Fleet {
    var trainers: [ServiceChild] { stack.children.filter { $0.name == .trainer } }

    func trainerClient(_ child: ServiceChild) -> TrainerClient {
        TrainerClient(RPCChannel(host: "127.0.0.1", port: child.port, log: Self.silent))
    }

    fileprivate func trainer(besides child: ServiceChild) -> TrainerClient {
        trainerClient(trainers.first { $0.port != child.port } ?? child)
    }

    /// The trainer that works on a job: its owner's name holds the process's number.
    fileprivate func holder(of job: Int64) async throws -> ServiceChild {
        let owner = try await value(
            "SELECT coalesce(lease_owner, '') FROM jobs WHERE job_id = $1", [job], as: String.self)
        let holder = trainers.first { child in child.processID.map { owner.contains("-\($0)-") } ?? false }
        return try #require(holder, "nobody of ours holds the job: \(owner)")
    }

    /// The trainers' log lines that hold `text`.
    fileprivate func lines(of text: String) async throws -> [Substring] {
        try trainers.flatMap { child in
            try String(contentsOfFile: child.logPath, encoding: .utf8).split(separator: "\n").filter {
                $0.contains(text)
            }
        }
    }
}
