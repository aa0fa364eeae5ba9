import Foundation
import Kernels
import Learning
import MarketData
import Storage
import Testing
import Trading

@testable import trainer

@Suite struct SpecificationTests {
    private let policy: [String: String] = [
        "stream": #""history""#, "symbol": #""BTCUSDT""#, "train_from": #""2026-01-01""#,
        "train_to": #""2026-02-15T00:00:00Z""#, "validate_to": #""2026-02-28""#,
    ]

    private func read(_ changes: [String: String?]) throws(JobError) -> PolicySpecification {
        var fields = policy
        for (name, value) in changes { fields[name] = value }
        let text = fields.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ",")
        do { return try SpecificationReader.read(PolicySpecification.self, from: JSON("{\(text)}")) } catch {
            throw error as? JobError ?? .badData("\(error)")
        }
    }

    @Test("What is not given has its default")
    func defaults() throws {
        let whole = try read([:])
        let specification = whole.settings
        #expect(whole.trainFrom == Timestamp("2026-01-01T00:00:00Z") && whole.selectTo == nil)
        #expect(specification.name == "policy" && specification.seed == 1 && specification.hidden == [64, 64])
        #expect(specification.window == 16 && specification.environments == 16 && specification.account == nil)
        #expect(specification.reward == RewardEngine.Configuration() && specification.embargo == nil)
        // A span that selects is there to select among several.
        #expect(specification.seeds == 1)
        #expect(try read(["select_to": #""2026-03-15""#]).settings.seeds == 3)
        // 200,000 steps of 16 environments × 128, rounded up.
        #expect(specification.algorithm.totalIterations == 98 && specification.validationInterval == 6)
        let changed = try read([
            "total_steps": "2049", "reward": #"{"kind": "differential_sharpe", "leverage_penalty": 0}"#,
            "account": #"{"capital": "100", "maxDrawdown": 0.3}"#, "gamma": "0.9",
        ]).settings
        #expect(changed.algorithm.totalIterations == 2 && changed.algorithm.gamma == 0.9)
        #expect(changed.reward.kind == .differentialSharpe && changed.reward.leveragePenalty == 0)
        #expect(changed.reward.turnoverPenalty == 0.001)
        #expect(changed.account == AccountSettings(capital: "100", maxDrawdown: 0.3))
    }

    @Test("Every fault is named")
    func faults() {
        let cases: [([String: String?], String)] = [
            (["stream": nil], "“stream” is missing"), (["stream": #""""#], "“stream” is empty"),
            (["symbol": "3"], "“symbol” is not a text"), (["sybmol": "3"], "“sybmol” is unknown"),
            (["seed": "-1"], "“seed” is not a whole number that is not negative"),
            (["total_steps": "1.5"], "“total_steps” is not a whole number"),
            (["total_steps": "0"], "“total_steps” is 0, outside 1 … 1000000000"),
            (["train_to": #""2026-02-30""#], "“train_to” is “2026-02-30”, not a time"),
            (["train_to": #""2025-12-31""#], "“train_to” is not after “train_from”"),
            (["embargo_minutes": "20000"], "“validate_to” is not after “train_to” and the embargo"),
            (["select_to": #""2026-02-28""#], "“select_to” is not after “validate_to” and the embargo"),
            (["seeds": "2"], "“select_to” is missing: a span of its own selects among 2 seeds"),
            (["seeds": "0"], "“seeds” is 0, outside 1 … 32"), (["embargo_minutes": "-1"], "outside 0 … 1000000"),
            (["hidden": "[]"], "“hidden” is not one to eight widths"), (["hidden": "128"], "“hidden” is not a list"),
            (["gamma": "1.5"], "“gamma” is 1.5, outside"), (["gamma": #""NaN""#], "“gamma” is not a number"),
            (["reward": #"{"profit": 1}"#], "“reward.profit” is unknown"),
            (["reward": #"{"kind": "best"}"#], "“reward.kind” is “best”, none of composite"),
            (["reward": "1"], "not a JSON object"),
            (["account": #"{"Capital": "5"}"#], "“account.Capital” is unknown"),
            (["account": #"{"capital": 5}"#], "“account” is not"),
        ]
        for (changes, reason) in cases {
            do {
                _ = try read(changes)
                Issue.record("\(changes) was taken")
            } catch { #expect("\(error)".contains(reason), "\(error)") }
        }
        for text in ["[]", "3", "{", ""] {
            #expect(throws: JobError.self) {
                try SpecificationReader.read(RegimeSpecification.self, from: JSON(text))
            }
        }
    }

    @Test("Regimes are fitted on the longest run without a gap")
    func longestRun() {
        var random = RandomGenerator(seed: 1)
        var price = 100.0
        func bars(_ minutes: Range<Int64>) -> [Bar] {
            minutes.map { minute in
                let open = price
                price *= 1 + 0.001 * random.normal()
                return Bar(
                    openTime: TestMarket.start + .minutes(minute), interval: .minutes(1), open: open,
                    high: max(open, price), low: min(open, price), close: price, volume: 1 + random.uniform())
            }
        }
        // A run of n bars gives n − 30 observations: the first return needs two bars, the volatility thirty returns.
        let found = RegimeJob.longestRun(of: bars(0..<100) + bars(101..<300) + bars(400..<500))
        #expect(found.observations.count == 3 * 169 && found.total == 70 + 169 + 70)
        #expect(RegimeJob.longestRun(of: []).total == 0)
    }
}
