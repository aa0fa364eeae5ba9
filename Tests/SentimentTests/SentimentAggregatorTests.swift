import Kernels
import MarketData
import Sentiment
import Testing

@Suite("Sentiment aggregates")
struct SentimentAggregatorTests {
    private let start = Timestamp(seconds: 1_767_225_600)

    @Test("Absent without messages in the window, never zero")
    func absent() throws {
        var aggregator = SentimentAggregator()
        #expect(aggregator.aggregate(asOf: start) == nil)
        aggregator.add(id: "a", score: 0.5, knownAt: start)
        #expect(aggregator.aggregate(asOf: start - .seconds(1)) == nil)  // not known yet
        let fresh = try #require(aggregator.aggregate(asOf: start))
        #expect(fresh.score == 0.5 && fresh.count == 1)
        #expect(aggregator.aggregate(asOf: start + .hours(24) - .seconds(1)) != nil)
        #expect(aggregator.aggregate(asOf: start + .hours(24)) == nil)
    }

    @Test("Decay by half-lives; a steady stream has its rate")
    func decay() throws {
        var aggregator = SentimentAggregator()
        aggregator.add(id: "a", score: 1, knownAt: start)
        aggregator.add(id: "b", score: -1, knownAt: start + .hours(6))
        // Weights 1/2 and 1.
        let mixed = try #require(aggregator.aggregate(asOf: start + .hours(6)))
        #expect(abs(mixed.score - (0.5 - 1) / 1.5) < 1e-12)

        var configuration = SentimentAggregator.Configuration()
        configuration.halfLife = .hours(1)
        var steady = SentimentAggregator(configuration)
        for minute in 0..<1440 { steady.add(id: "\(minute)", score: 0, knownAt: start + .minutes(Int64(minute))) }
        // One a minute for 24 half-lives; the sum is not the integral: within ln 2 / 120 of it.
        let rate = try #require(steady.aggregate(asOf: start + .minutes(1439))).messageRate
        #expect(abs(rate - 1) < 0.006)
    }

    @Test("As-of answers do not depend on what came later, on the order, or on a restart", arguments: 1...3)
    func asOf(seed: UInt64) {
        var random = RandomGenerator(seed: seed)
        var messages: [(id: String, score: Double, knownAt: Timestamp)] = []
        for i in 0..<80 {
            messages.append(("\(i)", random.uniform(-1, 1), start + .minutes(Int64(random.index(below: 2880)))))
        }
        var whole = SentimentAggregator()
        for message in messages { whole.add(id: message.id, score: message.score, knownAt: message.knownAt) }
        let restored = SentimentAggregator(state: whole.state)
        for minutes in stride(from: 0, to: 3000, by: 97) {
            let time = start + .minutes(Int64(minutes))
            var prefix = SentimentAggregator()
            for message in messages.filter({ $0.knownAt <= time }).sorted(by: { $0.knownAt < $1.knownAt }) {
                prefix.add(id: message.id, score: message.score, knownAt: message.knownAt)
            }
            let (a, b) = (whole.aggregate(asOf: time), prefix.aggregate(asOf: time))
            #expect((a == nil) == (b == nil) && a?.count == b?.count, "seed \(seed)")
            if let a, let b { #expect(abs(a.score - b.score) < 1e-12 && abs(a.messageRate - b.messageRate) < 1e-12) }
            #expect(restored.aggregate(asOf: time) == a)
        }
    }

    @Test("Repeated ids and impossible scores are refused; what is kept is bounded")
    func refusals() {
        var configuration = SentimentAggregator.Configuration()
        configuration.maximumMessages = 100
        configuration.retention = .days(2)
        var aggregator = SentimentAggregator(configuration)
        let taken = [("a", 0.5), ("a", -0.5), ("b", .nan), ("b", 1.5)].map { id, score in
            aggregator.add(id: id, score: score, knownAt: start)
        }
        #expect(taken == [true, false, false, false])
        for i in 0..<5000 { aggregator.add(id: "n\(i)", score: 0, knownAt: start + .minutes(Int64(i))) }
        #expect(aggregator.state.entries.count <= 100)
        // Nothing is said about a past that has been dropped.
        #expect(aggregator.aggregate(asOf: start + .hours(1)) == nil)
        let isLateTaken = aggregator.add(id: "late", score: 0, knownAt: start)
        #expect(!isLateTaken)
    }
}
