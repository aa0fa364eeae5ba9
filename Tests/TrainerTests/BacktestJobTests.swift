import Evaluation
import Features
import Foundation
import Kernels
import MarketData
import Policies
import RPC
import Storage
import Testing
import Trading
import VommaProto

@testable import trainer

@Suite(.serialized) struct BacktestJobTests {
    /// A policy that trades at nearly every bar, and its normaliser, registered as two versions.
    private func register(
        _ market: TestMarket, window: Int
    ) async throws -> (policy: MLPPolicy, normaliser: Normaliser) {
        let history = try await FeatureHistory(
            stream: TestMarket.stream, exchange: nil, symbol: TestMarket.symbol, from: TestMarket.start,
            to: TestMarket.start + .minutes(200), pool: market.pool)
        let normaliser = try history.normaliser(of: 0..<history.count)
        var random = RandomGenerator(seed: 3)
        let layout = ObservationLayout(window: window, featureCount: market.schema.count)
        var policy = MLPPolicy(
            .init(observationSize: layout.count, hidden: [8], window: window, featureCount: layout.featureCount),
            random: &random)
        for index in policy.parameters.indices where !policy.logStd.contains(index) {
            policy.parameters[index] += Float(0.3 * random.normal())
        }
        let bytes = policy.safetensors()
        try await market.pool.withTransaction { connection in
            try FeatureRepository.putNormaliser(
                normaliser.id, schema: normaliser.schemaVersion, bytes: normaliser.bytes, on: connection)
            _ = try ModelRepository.register(
                name: "policy", kind: "policy.ppo", checkpoint: bytes, schemaVersion: normaliser.schemaVersion,
                normaliserID: normaliser.id, on: connection)
        }
        return (policy, normaliser)
    }

    /// The paper account's fold, as policy-service and execution-service do it: states from the stored vectors one by
    /// one, decisions from `from` on, each acted on before the next bar.
    private func paperFills(
        _ market: TestMarket, _ policy: MLPPolicy, _ normaliser: Normaliser, from: Timestamp, to: Timestamp
    ) async throws -> (fills: [Trading.Fill], equity: Double) {
        let stream = try await market.pool.withConnection { try EventRepository.stream(TestMarket.stream, on: $0) }
        let rules = try await InstrumentRules.stored(
            TestMarket.symbol, of: try #require(stream), pool: market.pool)
        let settings = AccountSettings(capital: "50.00")
        var session = try TradingSession(settings.session(account: "paper", instruments: [rules]))
        var builder = try StateBuilder(market.schema, normaliser, window: policy.window)
        var runner = PolicyRunner(policy)
        let layout = ObservationLayout(window: policy.window, featureCount: normaliser.count)
        var (previous, fills, events) = (Float(0), [Trading.Fill](), [SessionEvent]())
        for (bar, stored) in zip(market.bars, market.vectors) where bar.closeTime < to {
            let vector = try Features.FeatureVector(
                symbol: stored.symbol, barTime: stored.barTime, knownAt: stored.barTime,
                sequence: UInt64(stored.sequence), close: stored.close, schemaVersion: market.schema.version,
                values: stored.values, validity: stored.valid, schema: market.schema)
            let state = try builder.append(vector)
            try session.onBar(stored.symbol, bar, into: &events)
            for case .fill(let fill) in events { fills.append(fill) }
            events = []
            guard bar.closeTime >= from, !state.isPartial else { continue }
            var observation = [Float](repeating: 0, count: layout.count)
            var target = observation.mutableSpan
            layout.write(
                values: state.values.span, mask: Array(state.mask.suffix(layout.featureCount)).span,
                previousExposure: previous, into: &target)
            previous = try runner.decide(observation.span).action
            let decision = Trading.Decision(
                symbol: stored.symbol, barTime: bar.openTime, modelVersion: "policy.1",
                targetExposure: Double(previous), time: bar.closeTime, referencePrice: bar.close)
            if case .order(let order) = try session.plan(decision, into: &events) {
                try session.send(order, at: bar.closeTime, into: &events)
            }
        }
        return (fills, session.equity)
    }

    private struct Answer: Decodable {
        struct Report: Decodable {
            var fill_count: Int
            var bars: Int
            var holds: [String: Int]
            var equity: [[Double]]
            var statistics: [String: Double]
        }
        var first: String
        var report: Report
        var fills: [[String: String]]
        var baselines: [String: Report]

        private enum CodingKeys: String, CodingKey { case first, report, baselines, fills }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            first = try values.decode(String.self, forKey: .first)
            report = try values.decode(Report.self, forKey: .report)
            baselines = try values.decode([String: Report].self, forKey: .baselines)
            struct Row: Decodable {
                var side: String, price: String, quantity: String, fee: String, time_microseconds: Int64
            }
            fills = try values.decode([Row].self, forKey: .fills).map {
                [
                    "side": $0.side, "price": $0.price, "quantity": $0.quantity, "fee": $0.fee,
                    "time": "\($0.time_microseconds)",
                ]
            }
        }
    }

    /// The last case begins just behind the gap: its first window lies before it.
    @Test(
        "A backtest's fills are the paper account's, wherever it begins",
        arguments: [0, 2, 150, 181 + TestMarket.gap])
    func equalsPaperAccount(firstMinute: Int) async throws {
        let market = try await TestMarket(gapAfter: 180)
        let last = TestMarket.gap + 390
        let (policy, normaliser) = try await register(market, window: 4)
        let specification = backtest(
            TestMarket.time(firstMinute), to: TestMarket.time(last), extra: #", "version": 1, "exchange": "test""#)
        let id = try await market.submit("backtest", "backtest", specification)
        let job = try await market.withWorkers([market.worker("a")]) { try await market.end(of: id) }
        #expect(job.state == .succeeded, "\(job.error)")
        let answer = try JSONDecoder().decode(Answer.self, from: Data(job.resultJSON.utf8))

        let from = TestMarket.start + .minutes(Int64(firstMinute))
        let expected = try await paperFills(
            market, policy, normaliser, from: from, to: TestMarket.start + .minutes(Int64(last)))
        #expect(expected.fills.count > 20)
        #expect(
            answer.fills
                == expected.fills.map {
                    [
                        "side": $0.side.rawValue, "price": "\($0.price)", "quantity": "\($0.quantity)",
                        "fee": "\($0.fee)", "time": "\($0.time.microseconds)",
                    ]
                })
        #expect(answer.report.fill_count == expected.fills.count)
        #expect(answer.report.equity.last?[1] == expected.equity && answer.report.equity[0][1] == 50)
        #expect(answer.report.statistics["final_equity"] == expected.equity)
        // With a window of 4, the first decision is at the fourth bar's close at the earliest.
        #expect(answer.first == TestMarket.time(max(firstMinute, 4)))
        #expect(Set(answer.baselines.keys) == ["buy-and-hold", "flat", "random", "ema-cross-12-26"])
        #expect(answer.baselines["flat"]?.statistics["final_equity"] == 50)
        #expect(answer.baselines["buy-and-hold"]?.fill_count == 1)
        await market.pool.close()
    }

    @Test("Curves are thinned to the limit, with both ends")
    func thinning() {
        let points = Array(0..<44_640)
        let thinned = BacktestReport.thinned(points, to: 2000)
        #expect(thinned.count == 2000 && thinned.first == 0 && thinned.last == 44_639)
        #expect(zip(thinned, thinned.dropFirst()).allSatisfy { $1 - $0 == 22 || $1 - $0 == 23 })
        #expect(BacktestReport.thinned([1, 2, 3], to: 3) == [1, 2, 3])
    }
}
