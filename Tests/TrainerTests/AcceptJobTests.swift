import Evaluation
import Features
import Foundation
import Kernels
import MarketData
import NeuralNetworks
import Policies
import RPC
import Storage
import Testing
import Trading
import VommaProto

@testable import trainer

/// A candidate is judged once, on bars that it has not seen; what cannot be, or is dead, is named.
@Suite(.serialized) struct AcceptJobTests {
    private struct Answer: Decodable {
        var verdict: String
        var acceptance: AcceptanceReport
    }

    private func accept(from: Int = 300, to: Int = 395, version: Int = 1) -> String {
        """
        {"model": "policy", "version": \(version), "stream": "history", "symbol": "XYZUSDT",
         "from": "\(TestMarket.time(from))", "to": "\(TestMarket.time(to))"}
        """
    }

    private func run(_ market: TestMarket, _ key: String, _ kind: String, _ specification: String) async throws -> Job {
        let id = try await market.submit(key, kind, specification)
        return try await market.withWorkers([market.worker("a")]) { try await market.end(of: id) }
    }

    /// A policy whose first feature of the newest row decides, and its normaliser, fitted on the first 200 minutes.
    private func register(
        _ market: TestMarket, isGolden: Bool = false, _ change: (inout MLPPolicy) -> Void = { _ in }
    ) async throws {
        let history = try await FeatureHistory(
            stream: TestMarket.stream, exchange: nil, symbol: TestMarket.symbol, from: TestMarket.start,
            to: TestMarket.start + .minutes(200), pool: market.pool)
        let normaliser = try history.normaliser(of: 0..<history.count)
        var random = RandomGenerator(seed: 3)
        let layout = ObservationLayout(window: 2, featureCount: market.schema.count)
        var policy = MLPPolicy(
            .init(observationSize: layout.count, hidden: [4], window: 2, featureCount: layout.featureCount),
            metadata: ["validate_to": TestMarket.time(290), "gamma": "0.9", "reward_scale": "100"], random: &random)
        for index in policy.actor.layers[0].weights { policy.parameters[index] = 0 }
        // Row 1 of the window is the newest; its first feature is the bar's own, or foretells the next.
        for unit in 0..<4 {
            policy.parameters[policy.actor.layers[0].weights.lowerBound + unit * layout.count + layout.featureCount] = 3
            policy.parameters[policy.actor.layers[1].weights.lowerBound + unit] = 1
        }
        change(&policy)
        var file = PolicyFile(.mlp(policy), normaliser: normaliser.bytes)
        if isGolden {
            var observations: [Float] = []
            for _ in 0..<4 * layout.count { observations.append(Float(random.normal())) }
            file.golden = try GoldenInputs(.mlp(policy), observations: observations)
        }
        let bytes = file.safetensors()
        try await market.pool.withTransaction { connection in
            try FeatureRepository.putNormaliser(
                normaliser.id, schema: normaliser.schemaVersion, bytes: normaliser.bytes, on: connection)
            _ = try ModelRepository.register(
                name: "policy", kind: "policy.ppo", checkpoint: bytes, schemaVersion: normaliser.schemaVersion,
                normaliserID: normaliser.id, on: connection)
        }
    }

    @Test("From training to verdict to promotion: a candidate without an edge is refused, for paper it may trade")
    func refusal() async throws {
        let market = try await TestMarket()
        let specification = TestMarket.training.replacingOccurrences(
            of: TestMarket.time(390), with: TestMarket.time(290))
        let trained = try await run(market, "train", "policy.ppo", specification)
        #expect(trained.state == .succeeded, "\(trained.error)")
        // Not on bars that it was chosen on.
        let early = try await run(market, "early", "accept", accept(from: 280))
        #expect(early.state == .failed && early.error.contains("was chosen on bars until"), "\(early.error)")

        let job = try await run(market, "accept", "accept", accept())
        #expect(job.state == .succeeded, "\(job.error)")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let answer = try decoder.decode(Answer.self, from: Data(job.resultJSON.utf8))
        let acceptance = answer.acceptance
        #expect(!acceptance.passed && answer.verdict.hasPrefix("NOT ACCEPTED"))
        let failures = acceptance.checks.filter { !$0.passed }.map(\.name)
        #expect(failures.contains("trades") && failures.contains("days out of sample"))
        #expect(acceptance.checks.count == 14 && acceptance.capital == 19.99 && acceptance.earlierReads == 0)
        // The training tried three versions.
        #expect(acceptance.trials == 3 && acceptance.report.bars == 95)
        #expect(Set(acceptance.baselines.keys) == ["buy-and-hold", "flat", "random", "ema-cross-12-26"])
        #expect(acceptance.markets.map(\.symbol) == ["XYZUSDT"] && acceptance.markets[0].isTradable)

        // A candidate is judged once.
        let again = try await run(market, "again", "accept", accept(to: 394))
        #expect(again.state == .failed && again.error.contains("a candidate is judged once"), "\(again.error)")
        let context = CallContext(path: "test")
        do {
            _ = try await market.server.promoteModel(PromoteModelRequest(name: "policy", version: 1), context: context)
            Issue.record("a refused policy was promoted")
        } catch {
            let status = try #require(error as? RPCStatus)
            #expect(status.code == .failedPrecondition && status.message.contains("NOT ACCEPTED"), "\(status)")
        }
        let promoted = try await market.server.promoteModel(
            PromoteModelRequest(name: "policy", version: 1, unaccepted: true), context: context)
        #expect(promoted.stage == "live")
        let lines = try await market.server.listPromotions(ListPromotionsRequest(name: "policy"), context: context)
        #expect(lines.promotions.map(\.accepted) == [false])

        // The next candidate's verdict says that somebody has looked before.
        let other = specification.replacingOccurrences(of: "\"seed\": 5", with: "\"seed\": 6")
        _ = try await run(market, "train 2", "policy.ppo", other)
        let second = try await run(market, "accept 2", "accept", accept(version: 2))
        let found = try decoder.decode(Answer.self, from: Data(second.resultJSON.utf8)).acceptance
        #expect(found.earlierReads == 1 && found.trials == 6)
        await market.pool.close()
    }

    @Test("A model that looks ahead is stopped, in a backtest too, and look-ahead is named") func lookAhead() async throws {
        let market = try await TestMarket(leaks: true)
        try await register(market)
        for (kind, specification) in [("accept", accept()), ("backtest", backtest(TestMarket.time(300), extra: #", "version": 1"#))] {
            let job = try await run(market, kind, kind, specification)
            #expect(job.state == .failed && job.error.contains("not plausible"), "\(job.error)")
            #expect(job.error.contains("Likely cause: look-ahead: the targets go with the next bar's return"))
        }
        // The look counts although nothing came of it.
        let reads = try await market.pool.withConnection { connection in
            try connection.queryOne("SELECT count(*) FROM final_block_reads") { (row) throws(StorageError) in
                try row.get(0, as: Int64.self)
            }
        }
        #expect(reads == 1)
        await market.pool.close()
    }

    @Test("A dead head is named", arguments: [true, false]) func deadHead(isGolden: Bool) async throws {
        let market = try await TestMarket()
        try await register(market, isGolden: isGolden) { policy in
            for index in policy.critic.layers[1].weights { policy.parameters[index] = 0 }
        }
        let job = try await run(market, "accept", "accept", accept())
        if isGolden {
            #expect(job.state == .failed && job.error.contains("head value is dead"), "\(job.error)")
        } else {
            #expect(job.state == .succeeded && job.message.contains("head value: varies"), "\(job.error)")
        }
        await market.pool.close()
    }

    @Test("A block too short to be judged is refused, not judged") func shortBlock() async throws {
        let market = try await TestMarket()
        try await register(market)
        let job = try await run(market, "accept", "accept", accept(from: 300, to: 310))
        #expect(job.state == .failed && job.error.contains("at least 16 can be judged"), "\(job.error)")
        await market.pool.close()
    }
}
