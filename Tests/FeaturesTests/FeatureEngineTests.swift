@testable import Features
import Indicators
import Kernels
import MarketData
import Testing

@Suite("FeatureEngine: one code path")
struct FeatureEngineTests {
    @Test("Saved at random points and restored, it goes on bit for bit", arguments: [1, 2, 3] as [UInt64])
    func restored(seed: UInt64) throws {
        let market = TestMarket(bars: 420, seed: seed)
        let whole = try TestMarket.run(market.events)
        #expect(whole.count > 600)
        var random = RandomGenerator(seed: seed)
        var engine = try FeatureEngine(TestMarket.configuration)
        var vectors: [FeatureVector] = []
        for event in market.events {
            if random.uniform() < 0.02 {
                engine = try FeatureEngine(TestMarket.configuration, state: try engine.save())
            }
            if let vector = try TestMarket.step(&engine, event) { vectors.append(vector) }
        }
        #expect(vectors == whole)
    }

    @Test("Batches of pending vectors give what one at a time gives, and block a save until they are complete")
    func batches() throws {
        let market = TestMarket(bars: 120, seed: 4)
        let single = try TestMarket.run(market.events)
        var engine = try FeatureEngine(TestMarket.configuration)
        var pending: [PendingVector] = []
        var vectors: [FeatureVector] = []
        for event in market.events {
            if let next = try engine.ingest(event) { pending.append(next) }
            if case .surface(let surface) = event.payload { try engine.apply(TestMarket.fit(event, surface)) }
            if case .message(let message) = event.payload { try engine.apply(TestMarket.score(event, message)) }
            if pending.count == 50 {
                #expect(engine.outstandingCount == 50)
                #expect(throws: FeatureError.outstandingVectors(count: 50)) { try engine.save() }
                if let wrong = pending.last {
                    #expect(throws: FeatureError.completionOutOfOrder(symbol: wrong.symbol, barTime: wrong.barTime)) {
                        try engine.complete(wrong)
                    }
                }
                for next in pending { vectors.append(try engine.complete(next, regime: TestMarket.posterior(next))) }
                pending = []
            }
        }
        for next in pending { vectors.append(try engine.complete(next, regime: TestMarket.posterior(next))) }
        #expect(vectors == single)
        let last = try #require(pending.last)
        #expect(throws: FeatureError.self, "completed twice") { try engine.complete(last) }
    }

    @Test("No look-ahead: the future removed, scrambled, or its results handed in early changes no column")
    func noLookAhead() throws {
        let market = TestMarket(bars: 420, seed: 5)
        let schema = try FeatureEngine(TestMarket.configuration).schema
        let whole = try TestMarket.run(market.events)
        // Every column has had a value, so that the comparison says something about each.
        for (index, name) in schema.names.enumerated() {
            #expect(whole.contains { $0[index] != nil }, "\(name) never has a value")
        }
        var random = RandomGenerator(seed: 6)
        for _ in 0..<4 {
            let cut = TestMarket.start + .minutes(60 + Int64(random.index(below: 330)))
            let expected = whole.filter { $0.knownAt <= cut }
            let past = market.events.filter { $0.knownAt <= cut }
            #expect(try TestMarket.run(past) == expected)
            let scrambled = market.events.map { $0.knownAt <= cut ? $0 : Self.scramble($0, &random) }
            #expect(try TestMarket.run(scrambled).filter { $0.knownAt <= cut } == expected)
        }
        // Fits and scores of the whole future handed in before the first event wait for their time.
        var engine = try FeatureEngine(TestMarket.configuration)
        for event in market.events {
            if case .surface(let surface) = event.payload { try engine.apply(TestMarket.fit(event, surface)) }
            if case .message(let message) = event.payload { try engine.apply(TestMarket.score(event, message)) }
        }
        let restored = try FeatureEngine(TestMarket.configuration, state: try engine.save())
        for start in [engine, restored] {
            var engine = start
            let vectors = try market.events.compactMap { event in
                try engine.ingest(event).map { try engine.complete($0, regime: TestMarket.posterior($0)) }
            }
            #expect(vectors == whole)
        }
    }

    private static func scramble(_ event: MarketEvent, _ random: inout RandomGenerator) -> MarketEvent {
        var event = event
        switch event.payload {
        case .bar(var bar):
            let factor = 0.5 + random.uniform()
            (bar.open, bar.high, bar.low) = (bar.open * factor, bar.high * factor, bar.low * factor)
            (bar.close, bar.volume) = (bar.close * factor, 10 * random.uniform())
            event.payload = .bar(bar)
        case .bookTop:
            event.payload = .bookTop(BookTop(bidPrice: 1, askPrice: 2, bidVolume: random.uniform(), askVolume: 1))
        case .bookDepth(var depth):
            depth.bidPrices = depth.bidPrices.map { $0 * (0.5 + random.uniform()) }
            depth.askVolumes = depth.askVolumes.map { $0 * random.uniform() }
            event.payload = .bookDepth(depth)
        case .trade(let old):
            event.payload = .trade(
                PublicTrade(id: old.id, price: old.price * random.uniform() + 0.1, quantity: 5, isBuy: !old.isBuy))
        case .surface: event.payload = .surface(TestMarket.surface(&random))
        case .fundingRate(let old):
            event.payload = .fundingRate(FundingRate(rate: 0.01 * random.normal(), interval: old.interval))
        case .openInterest:
            event.payload = .openInterest(OpenInterest(quantity: 1 + random.uniform(), notional: nil))
        case .fearGreed: event.payload = .fearGreed(100 * random.uniform())
        case .message(var message):
            message.id = String(random.index(below: 1 << 20))
            event.payload = .message(message)
        }
        return event
    }

    @Test("Bounds hold, values are finite, and absent is never 0", arguments: [7, 8] as [UInt64])
    func bounds(seed: UInt64) throws {
        let schema = try FeatureEngine(TestMarket.configuration).schema
        for vector in try TestMarket.run(TestMarket(bars: 300, seed: seed).events) {
            for (index, definition) in schema.definitions.enumerated() {
                guard let value = vector[index] else {
                    #expect(vector.values[index].isNaN)
                    continue
                }
                #expect(value.isFinite)
                if let bounds = definition.bounds { #expect(bounds.contains(value), "\(definition.name) = \(value)") }
            }
        }
    }

    @Test("Each column's first value comes after its declared warm-up, with the reason before")
    func warmUp() throws {
        let market = TestMarket(bars: 300, seed: 9, gaps: false)
        let engine = try FeatureEngine(TestMarket.configuration)
        for symbol in ["BTCUSDT", "SUIUSDT"] {
            let vectors = try TestMarket.run(market.events).filter { $0.symbol == symbol }
            for (index, definition) in engine.schema.definitions.enumerated() {
                // Books are there or not at random, and the perpetual's bar comes after the spot's.
                let isOther = ["spread", "imbalance", "basis", "_price", "_volume"].contains(
                    where: definition.name.hasSuffix)
                if isOther || definition.name.hasPrefix("flow.") { continue }
                let first = vectors.firstIndex { $0[index] != nil }
                #expect(first == definition.warmUp, "\(symbol) \(definition.name)")
                if let first, first > 0 {
                    #expect(vectors[..<first].allSatisfy { $0.absences[index] == .warmUp }, "\(definition.name)")
                }
            }
        }
    }

    @Test("A damaged, cut, foreign or outdated state is refused; no bytes trap")
    func damaged() throws {
        let market = TestMarket(bars: 80, seed: 10)
        var engine = try FeatureEngine(TestMarket.configuration)
        for event in market.events { _ = try TestMarket.step(&engine, event) }
        let state = try engine.save()
        #expect(state.count < 98_304)
        func refusal(
            _ bytes: [UInt8], _ configuration: FeatureConfiguration = TestMarket.configuration
        ) -> FeatureError? {
            do throws(FeatureError) { _ = try FeatureEngine(configuration, state: bytes) } catch { return error }
            return nil
        }
        #expect(refusal(state) == nil)
        #expect(refusal([]) != nil)
        #expect(refusal(Array(state.dropLast())) != nil)
        #expect(refusal(state + [0]) != nil)
        var other = TestMarket.configuration
        other.interval = .minutes(5)
        guard case .schemaMismatch? = refusal(state, other) else {
            Issue.record("another schema's state was taken")
            return
        }
        other = TestMarket.configuration
        other.traded = [TestMarket.alt]
        guard case .invalidState? = refusal(state, other) else {
            Issue.record("other symbols' state was taken")
            return
        }
        // With the checksum made right again the reader itself is met; what it accepts must run without trapping.
        var random = RandomGenerator(seed: 11)
        for _ in 0..<150 {
            var bytes = Array(state.dropLast(8))
            for _ in 0..<(1 + random.index(below: 3)) {
                bytes[8 + random.index(below: bytes.count - 8)] = UInt8(truncatingIfNeeded: random.next())
            }
            #expect(refusal(bytes + state.suffix(8)) != nil || bytes == state.dropLast(8))
            var writer = StateWriter()
            writer.write(StableHash.checksum(bytes[...]))
            let forged = bytes + writer.bytes
            guard var damaged = try? FeatureEngine(TestMarket.configuration, state: forged) else { continue }
            for event in market.events.suffix(40) { _ = try? TestMarket.step(&damaged, event) }
        }
    }
}
