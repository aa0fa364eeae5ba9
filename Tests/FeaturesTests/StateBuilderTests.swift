import Features
import Kernels
import MarketData
import Testing

@Suite("Normaliser and states")
struct StateBuilderTests {
    let schema: FeatureSchema
    let vectors: [FeatureVector]

    init() throws {
        schema = try FeatureEngine(TestMarket.configuration).schema
        vectors = try TestMarket.run(TestMarket(bars: 150, seed: 20).events)
    }

    @Test("Welford's statistics equal two passes over the values that are there")
    func welford() throws {
        var learning = try LearningNormaliser(schema)
        for vector in vectors { try learning.observe(vector) }
        let normaliser = learning.freeze()
        for column in 0..<schema.count {
            // Levels are not learnt, so no network sees them.
            let values = schema.definitions[column].isLevel ? [] : vectors.compactMap { $0[column] }
            #expect(learning.counts[column] == values.count)
            guard values.count >= 2 else {
                #expect(normaliser.deviations[column] == 0)
                continue
            }
            let n = Double(values.count)
            let mean = values.reduce(0, +) / n
            let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / n
            let size = max(abs(mean), variance.squareRoot())
            #expect(abs(normaliser.means[column] - mean) <= 1e-12 * size, "\(schema.names[column])")
            let deviation = variance.squareRoot()
            #expect(abs(normaliser.deviations[column] - deviation) <= 1e-9 * size, "\(schema.names[column])")
        }
    }

    @Test("With a half-life the past weighs 2^(-age/halfLife)")
    func forgetting() throws {
        var learning = try LearningNormaliser(schema, halfLife: 20)
        for vector in vectors { try learning.observe(vector) }
        let normaliser = learning.freeze()
        let column = try #require(schema.index(of: "generic.close_position"))
        let values = vectors.compactMap { $0[column] }
        let weights = values.indices.map { exp2(-Double(values.count - 1 - $0) / 20) }
        let total = weights.reduce(0, +)
        let mean = zip(values, weights).reduce(0) { $0 + $1.0 * $1.1 } / total
        let variance = zip(values, weights).reduce(0) { $0 + ($1.0 - mean) * ($1.0 - mean) * $1.1 } / total
        #expect(abs(normaliser.means[column] - mean) < 1e-12)
        #expect(abs(normaliser.deviations[column] - variance.squareRoot()) < 1e-12)
    }

    @Test("Both normalisers are restored exactly, and refuse what is not theirs")
    func restored() throws {
        var learning = try LearningNormaliser(schema, clip: 4, halfLife: 50)
        for vector in vectors.prefix(100) { try learning.observe(vector) }
        var again = try LearningNormaliser(schema, bytes: learning.bytes)
        #expect(again == learning)
        for vector in vectors.dropFirst(100) {
            try learning.observe(vector)
            try again.observe(vector)
        }
        #expect(again.bytes == learning.bytes)
        let normaliser = learning.freeze()
        let back = try Normaliser(bytes: normaliser.bytes)
        #expect(back == normaliser && back.id == normaliser.id && back.id.count == 32)
        try learning.observe(vectors[120])
        #expect(learning.freeze().id != normaliser.id)

        let other = try FeatureEngine(FeatureConfiguration(traded: [TestMarket.alt])).schema
        #expect(throws: FeatureError.self) { try LearningNormaliser(other, bytes: learning.bytes) }
        #expect(throws: FeatureError.self) { try StateBuilder(other, normaliser) }
        let foreign = try LearningNormaliser(other).freeze()
        #expect(throws: FeatureError.schemaMismatch(expected: other.version, found: schema.version)) {
            try foreign.normalise(vectors[0])
        }
        var stranger = try LearningNormaliser(other)
        #expect(throws: FeatureError.self) { try stranger.observe(vectors[0]) }
        for length in stride(from: 0, to: normaliser.bytes.count, by: 37) {
            #expect(throws: FeatureError.self) { try Normaliser(bytes: Array(normaliser.bytes[..<length])) }
        }
        for bad in [0, -1, Double.nan, .infinity] {
            #expect(throws: FeatureError.self) { try LearningNormaliser(schema, clip: bad) }
        }
        #expect(throws: FeatureError.self) { try LearningNormaliser(schema, halfLife: 0) }
    }

    @Test("Z-scores are clipped; what is absent or was never learnt is 0 with mask 0")
    func clipped() throws {
        var learning = try LearningNormaliser(schema, clip: 1)
        for vector in vectors { try learning.observe(vector) }
        let normaliser = learning.freeze()
        var clipped = 0
        for vector in vectors {
            let (values, mask) = try normaliser.normalise(vector)
            for column in 0..<schema.count {
                if let value = vector[column], normaliser.deviations[column] > 0 {
                    let score = (value - normaliser.means[column]) / normaliser.deviations[column]
                    #expect(values[column] == Float(min(1, max(-1, score))) && mask[column] == 1)
                    clipped += abs(score) > 1 ? 1 : 0
                } else {
                    #expect(values[column] == 0 && mask[column] == 0)
                }
            }
        }
        #expect(clipped > 100)
        let (values, mask) = try LearningNormaliser(schema).freeze().normalise(vectors[50])
        #expect(values.allSatisfy { $0 == 0 } && mask.allSatisfy { $0 == 0 })
    }

    @Test("States are the last 16 vectors, oldest first, whatever came before; symbols do not mix")
    func states() throws {
        var learning = try LearningNormaliser(schema)
        for vector in vectors { try learning.observe(vector) }
        let normaliser = learning.freeze()
        var builder = try StateBuilder(schema, normaliser)
        var history: [String: [FeatureVector]] = [:]
        for vector in vectors {
            let state = try builder.append(vector)
            history[vector.symbol, default: []].append(vector)
            let rows = Array((history[vector.symbol] ?? []).suffix(16))
            #expect(state.filled == rows.count && state.isPartial == (rows.count < 16))
            #expect(state.values.count == 16 * schema.count && state.featureCount == schema.count)
            #expect(state.schemaVersion == schema.version && state.normaliserID == normaliser.id)
            #expect(state.barTime == vector.barTime && state.sequence == vector.sequence && state.close == vector.close)
            let empty = (16 - rows.count) * schema.count
            #expect(state.values[..<empty].allSatisfy { $0 == 0 } && state.mask[..<empty].allSatisfy { $0 == 0 })
            for (row, past) in rows.enumerated() {
                let (values, mask) = try normaliser.normalise(past)
                let start = empty + row * schema.count
                #expect(Array(state.values[start..<(start + schema.count)]) == values)
                #expect(Array(state.mask[start..<(start + schema.count)]) == mask)
            }
        }
        // A restarted service appends the last 16 and has the same state.
        let own = vectors.filter { $0.symbol == "SUIUSDT" }
        var buffer = try StateBuffer(normaliser)
        var last: State?
        for vector in own.suffix(17) { last = try buffer.append(vector) }
        var restarted = try StateBuffer(normaliser)
        var again: State?
        for vector in own.suffix(16) { again = try restarted.append(vector) }
        #expect(last == again && last != nil)

        let newest = try #require(own.last)
        #expect(throws: FeatureError.vectorOutOfOrder(symbol: "SUIUSDT", barTime: newest.barTime)) {
            try buffer.append(newest)
        }
        let stranger = try #require(vectors.last { $0.symbol == "BTCUSDT" })
        #expect(throws: FeatureError.self) { try buffer.append(stranger) }
        #expect(throws: FeatureError.self) { try StateBuffer(normaliser, window: 0) }
    }
}
