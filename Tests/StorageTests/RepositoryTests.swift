import MarketData
import Storage
import TestKit
import Testing

/// Each repository against the real schema: what is written is read back, and writing again changes nothing.
@Suite struct RepositoryTests {
    private let start = Timestamp(seconds: 1_772_323_200)  // 2026-03-01
    private let end = Timestamp(seconds: 1_775_001_600)  // 2026-04-01

    private func with(_ body: @Sendable (isolated Connection) async throws -> Void) async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        try await pool.withConnection(body)
        // The same inside a transaction of the caller's.
        try await pool.withTransaction(body)
        await pool.close()
    }

    @Test func bars() async throws {
        let (start, end) = (start, end)
        let pool = ConnectionPool(try await TestCluster.shared.database())
        var bars = (0..<3000).map { index in
            Bar(
                openTime: start + .minutes(Int64(index) - 100), interval: .minutes(1), open: Double(index), high: 2,
                low: 1,
                close: .pi, volume: 0)
        }
        let all = bars
        try await pool.withConnection { connection in
            #expect(try BarRepository.upsert(all, exchange: "x", symbol: "A", on: connection) == 3000)
            #expect(try BarRepository.upsert(all, exchange: "x", symbol: "A", on: connection) == 0)
            let read = try BarRepository.bars(
                exchange: "x", symbol: "A", interval: .minutes(1), from: start, to: end, on: connection)
            #expect(read == Array(all[100...]))
        }
        bars[7].close = 9
        let corrected = bars
        try await pool.withTransaction { connection in
            let changed = try BarRepository.upsert(corrected, exchange: "x", symbol: "A", on: connection)
            #expect(changed == 1)
            #expect(try BarRepository.upsert([], exchange: "x", symbol: "A", on: connection) == 0)
        }
        await pool.close()
    }

    @Test func history() async throws {
        let (start, end) = (start, end)
        try await with { connection in
            typealias History = MarketHistoryRepository
            let funding = [
                Dated(eventTime: start, knownAt: start, value: FundingRate(rate: -1e-4, interval: .hours(4)))
            ]
            try History.insert(fundingRates: funding, exchange: "x", symbol: "A", on: connection)
            #expect(try History.insert(fundingRates: funding, exchange: "x", symbol: "A", on: connection) == 0)
            #expect(
                try History.fundingRates(exchange: "x", symbol: "A", from: start, to: end, on: connection) == funding)
            let interest = [
                Dated(eventTime: start, knownAt: start, value: OpenInterest(quantity: 5, notional: nil)),
                Dated(eventTime: start + .hours(1), knownAt: end, value: OpenInterest(quantity: 6, notional: 7)),
            ]
            try History.insert(openInterest: interest, exchange: "x", symbol: "A", on: connection)
            #expect(
                try History.openInterest(exchange: "x", symbol: "A", from: start, to: end, on: connection) == interest)
            let greed = [Dated(eventTime: start, knownAt: start + .days(1), value: 42.0)]
            try History.insert(fearGreed: greed, on: connection)
            #expect(try History.fearGreed(from: start, to: end, on: connection) == greed)
            let messages = [
                Dated(eventTime: start, knownAt: start, value: Message(id: "1", source: "s", text: "“'; DROP"))
            ]
            try History.insert(messages: messages, on: connection)
            #expect(try History.messages(from: start, to: end, on: connection) == messages)
            let tops = [
                Dated(
                    eventTime: start, knownAt: start,
                    value: BookTop(bidPrice: 1, askPrice: 2, bidVolume: 3, askVolume: 4))
            ]
            try History.insert(bookTops: tops, exchange: "x", symbol: "A", on: connection)
            #expect(try History.bookTops(exchange: "x", symbol: "A", from: start, to: end, on: connection) == tops)
        }
    }

    @Test func options() async throws {
        let (start, end) = (start, end)
        try await with { connection in
            let chains = (0..<2).map { snapshot in
                OptionChain(
                    currency: "BTC", snapshotTime: start + .hours(snapshot), indexPrice: 90_000,
                    quotes: [
                        OptionQuote(
                            instrument: "BTC-27MAR26-90000-C", kind: .call, strike: 90_000, expiry: end,
                            underlyingPrice: 90_100, bidPriceCoin: 0.01, markVolatility: 0.6),
                        OptionQuote(
                            instrument: "BTC-27MAR26-90000-P", kind: .put, strike: 90_000, expiry: end,
                            underlyingPrice: 90_100),
                    ])
            }
            for chain in chains { try OptionRepository.insert(chain, exchange: "d", knownAt: end, on: connection) }
            #expect(try OptionRepository.insert(chains[0], exchange: "d", knownAt: end, on: connection) == 0)
            #expect(
                try OptionRepository.chains(exchange: "d", currency: "BTC", from: start, to: end, on: connection)
                    == chains)

            let surface = Dated(
                eventTime: start, knownAt: end,
                value: ImpliedVolatilitySurface(
                    logMoneyness: [-0.1, 0], tau: [0.1], impliedVolatility: [0.5, 0.6], cells: [.observed, .stale],
                    spot: 1, forwards: [1.1], method: "svi"))
            try OptionRepository.insert(surface, exchange: "d", currency: "BTC", on: connection)
            #expect(
                try OptionRepository.surfaces(exchange: "d", currency: "BTC", from: start, to: end, on: connection)
                    == [surface])
            let fit = OptionRepository.HestonFit(
                eventTime: start, method: "calibration", modelVersion: "1", kappa: 2, theta: 0.3, sigma: 0.5, rho: -0.4,
                v0: 0.2, rmseVolatility: 0.01, iterations: 12, termination: "converged")
            try OptionRepository.insert([fit], exchange: "d", currency: "BTC", on: connection)
            #expect(
                try OptionRepository.fits(exchange: "d", currency: "BTC", from: start, to: end, on: connection) == [fit]
            )
        }
    }

    @Test("a stream has no holes, whoever appends what again") func streams() async throws {
        let (start, end) = (start, end)
        let configuration = try await TestCluster.shared.database()
        let pool = ConnectionPool(configuration)
        let stream = EventRepository.Stream(
            name: "s", exchange: "x", symbols: ["A", "B"], currencies: [], from: start, to: end, tradedSymbols: ["A"],
            tradeFrom: start, settings: "{\"capital\": 19.99}")
        let events = (1...500).map { index in
            EventRepository.Event(
                sequence: Int64(index), knownAt: start + .minutes(Int64(index)), payload: [UInt8(index % 256)])
        }
        try await pool.withConnection { connection in
            let made = try EventRepository.create(stream, on: connection)
            #expect(made == stream)
            #expect(try EventRepository.create(stream, on: connection) == stream)
            #expect(throws: StorageError.sequenceGap(expected: 1, got: 2)) {
                try EventRepository.append(Array(events[1...3]), to: "s", on: connection)
            }
            #expect(throws: StorageError.sequenceGap(expected: 2, got: 3)) {
                try EventRepository.append([events[0], events[2]], to: "s", on: connection)
            }
            #expect(throws: StorageError.unexpectedRowCount(0)) {
                try EventRepository.append(events, to: "unknown", on: connection)
            }
        }
        // Two gateways append the same overlapping pages at once.
        let new = try await withThrowingTaskGroup(of: Int.self) { group in
            for offset in [0, 50] {
                group.addTask {
                    var count = 0
                    for page in stride(from: 0, to: 500, by: 100) {
                        let slice = Array(events[max(0, page - offset)..<(page + 100)])
                        count += try await pool.withTransaction { try EventRepository.append(slice, to: "s", on: $0) }
                    }
                    return count
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(new == 500)
        try await pool.withTransaction { connection in
            #expect(try EventRepository.events(of: "s", from: 11, limit: 20, on: connection) == Array(events[10..<30]))
            #expect(try EventRepository.events(of: "s", from: 1, limit: 1000, on: connection) == events)
            #expect(try EventRepository.events(of: "s", from: 501, limit: 1, on: connection).isEmpty)
            try EventRepository.setState(.active, of: "s", on: connection)
            #expect(try EventRepository.streams(.active, on: connection).map(\.lastSequence) == [500])
            try EventRepository.setState(.closed, of: "s", on: connection)
            #expect(throws: StorageError.conflict("stream s")) {
                try EventRepository.setState(.active, of: "s", on: connection)
            }
        }
        await pool.close()
    }

    @Test("rows and progress are stored together, and an older instance is stopped") func consumers() async throws {
        struct Crash: Error {}
        let pool = ConnectionPool(try await TestCluster.shared.database())
        let save = { @Sendable (sequence: Int64, connection: isolated Connection) in
            try ConsumerRepository.save(
                .init(sequence: sequence, state: [1, 2]), consumer: "features", stream: "s", on: connection)
        }
        try await pool.withTransaction { try save(5, $0) }
        await #expect(throws: Crash.self) {
            try await pool.withTransaction { connection in
                try save(6, connection)
                throw Crash()
            }
        }
        await #expect(throws: StorageError.fenced("consumer features of s")) {
            try await pool.withTransaction { try save(4, $0) }
        }
        try await pool.withConnection { connection in
            let progress = try ConsumerRepository.progress(of: "features", stream: "s", on: connection)
            #expect(progress == .init(sequence: 5, state: [1, 2]))
            try ConsumerRepository.reset("features", stream: "s", on: connection)
            #expect(try ConsumerRepository.progress(of: "features", stream: "s", on: connection) == nil)
            try SettingsRepository.set("a", "{\"b\": 1}", on: connection)
            try SettingsRepository.set("a", "{\"b\": 2}", on: connection)
            #expect(try SettingsRepository.value("a", on: connection) == "{\"b\": 2}")
            #expect(try SettingsRepository.value("c", on: connection) == nil)
        }
        await pool.close()
    }

    @Test func features() async throws {
        let (start, end) = (start, end)
        try await with { connection in
            try FeatureRepository.putSchema("v1", names: ["a", "b", "c"], on: connection)
            let vectors = (1...600).map { index in
                FeatureRepository.Vector(
                    symbol: "A", barTime: start + .minutes(Int64(index)), sequence: Int64(index), close: 1,
                    values: [Double(index), 0, -.infinity], valid: [0b101])
            }
            try FeatureRepository.insert(vectors, stream: "s", schema: "v1", on: connection)
            #expect(try FeatureRepository.insert(vectors, stream: "s", schema: "v1", on: connection) == 0)
            let page = try FeatureRepository.vectors(stream: "s", schema: "v1", from: 11, limit: 5, on: connection)
            #expect(page == Array(vectors[10..<15]))
            let block = try FeatureRepository.block(
                stream: "s", schema: "v1", symbol: "A", from: start, to: end, on: connection)
            #expect(block.count == 600 && block.values == vectors.flatMap(\.values) && block.valid.count == 600)
            #expect(throws: StorageError.self) {
                var bad = vectors[0]
                bad.valid = []
                try FeatureRepository.insert([bad], stream: "s", schema: "v1", on: connection)
            }
            #expect(throws: StorageError.conflict("feature schema v1")) {
                try FeatureRepository.putSchema("v1", names: ["a"], on: connection)
            }
            try FeatureRepository.putNormaliser("n", schema: "v1", bytes: [1], on: connection)
            #expect(throws: StorageError.conflict("normaliser n")) {
                try FeatureRepository.putNormaliser("n", schema: "v1", bytes: [2], on: connection)
            }
            let probabilities = [(barTime: start, probabilities: [0.25, 0.75])]
            try FeatureRepository.insert(
                regimes: probabilities, stream: "s", symbol: "A", modelVersion: "1", on: connection)
            let regimes = try FeatureRepository.regimes(
                stream: "s", symbol: "A", modelVersion: "1", from: start, to: end, on: connection)
            #expect(regimes.map(\.probabilities) == [[0.25, 0.75]])
        }
    }

    @Test func trading() async throws {
        let (start, end) = (start, end)
        func decimal(_ text: String) throws -> DecimalNumber { try #require(DecimalNumber(text)) }
        let (quantity, price, fee) = (try decimal("0.00022"), try decimal("90000.10"), try decimal("0.01980002"))
        try await with { connection in
            let decisions = [
                DecisionRepository.Decision(
                    symbol: "A", barTime: start, sequence: 1, modelName: "ppo", modelVersion: 1, targetExposure: 0.5,
                    value: 0.1, confidence: nil, reasons: "[\"x\"]"),
                DecisionRepository.Decision(
                    symbol: "A", barTime: start + .minutes(1), sequence: 2, modelName: "ppo", modelVersion: 1,
                    targetExposure: nil, value: nil, confidence: nil, abstained: "no model"),
            ]
            try DecisionRepository.insert(decisions, stream: "s", on: connection)
            #expect(try DecisionRepository.insert(decisions, stream: "s", on: connection) == 0)
            #expect(try DecisionRepository.decisions(stream: "s", from: 0, limit: 9, on: connection) == decisions)

            var order = TradingRepository.Order(
                clientOrderID: "o1", symbol: "A", side: "buy", kind: "market", quantity: quantity, state: "new",
                decisionTime: start, sequence: 1)
            try TradingRepository.upsert([order], account: "p", on: connection)
            order.state = "filled"
            order.filledQuantity = quantity
            try TradingRepository.upsert([order], account: "p", on: connection)
            #expect(try TradingRepository.orders(account: "p", on: connection) == [order])
            let event = TradingRepository.OrderEvent(clientOrderID: "o1", number: 0, eventTime: start, state: "new")
            try TradingRepository.insert([event], account: "p", on: connection)
            #expect(
                try TradingRepository.orderEvents(account: "p", clientOrderID: "o1", on: connection) == [event])
            let fill = TradingRepository.Fill(
                clientOrderID: "o1", number: 0, symbol: "A", side: "buy", eventTime: start, price: price,
                quantity: quantity, fee: fee, realisedPnL: DecimalNumber(0))
            try TradingRepository.insert([fill], account: "p", on: connection)
            #expect(try TradingRepository.insert([fill], account: "p", on: connection) == 0)
            #expect(try TradingRepository.fills(account: "p", on: connection) == [fill])
            var position = TradingRepository.Position(
                symbol: "A", quantity: quantity, averagePrice: price, realisedPnL: DecimalNumber(0), fees: fee,
                eventTime: start)
            try TradingRepository.upsert([position], account: "p", on: connection)
            // A late, older write changes nothing.
            let newest = position
            position.eventTime = start - .minutes(1)
            position.quantity = DecimalNumber(7)
            try TradingRepository.upsert([position], account: "p", on: connection)
            #expect(try TradingRepository.positions(account: "p", on: connection) == [newest])
            let equity = [
                TradingRepository.Equity(
                    symbol: "A", eventTime: start, sequence: 1, cash: 0.5, equity: 19.99, exposure: 0.9,
                    price: 90_000),
                // Another symbol's bar that closes at the same moment.
                TradingRepository.Equity(
                    symbol: "B", eventTime: start, sequence: 2, cash: 0.5, equity: 19.98, exposure: 0, price: 3_000),
            ]
            try TradingRepository.insert(equity, account: "p", on: connection)
            #expect(try TradingRepository.equity(account: "p", from: start, to: end, on: connection) == equity)
            let risk = TradingRepository.RiskEvent(
                symbol: "A", eventTime: start, rule: "minimum_notional", detail: "4 < 5")
            try TradingRepository.insert([risk, risk], account: "p", on: connection)
            let counts = try TradingRepository.riskEventCounts(account: "p", on: connection)
            #expect(counts.count == 1 && counts[0] == ("minimum_notional", 1))
            let instrument = InstrumentRepository.Instrument(
                exchange: "x", symbol: "A", base: "BTC", quote: "USDT", tickSize: fee, lotSize: quantity,
                minimumQuantity: quantity, maximumQuantity: DecimalNumber(9000), minimumNotional: DecimalNumber(5),
                makerFee: 0.001, takerFee: 0.001, allowsShort: false, maximumLeverage: 1)
            try InstrumentRepository.upsert([instrument], on: connection)
            #expect(try InstrumentRepository.instruments(exchange: "x", on: connection) == [instrument])
            // Rules of the past: those that held at an instant, and before all that is known the first.
            let day = Timestamp(seconds: 1_700_000_000)
            func lot(_ scale: Int) -> InstrumentRepository.Instrument {
                var other = instrument
                other.lotSize = DecimalNumber(1, scale: scale)
                return other
            }
            for (days, scale) in [(0, 2), (10, 3), (5, 2), (20, 4)] as [(Int64, Int)] {
                try InstrumentRepository.setRules([lot(scale)], validFrom: day + .days(days), on: connection)
            }
            for (days, scale) in [(-3, 2), (0, 2), (7, 2), (10, 3), (19, 3), (20, 4)] as [(Int64, Int)] {
                let found = try InstrumentRepository.instruments(
                    exchange: "x", at: day + .days(days), on: connection)
                #expect(found == [lot(scale)], "day \(days)")
            }
            #expect(try InstrumentRepository.instruments(at: .now + .days(1), on: connection) == [instrument])
            // What held already makes no row.
            try InstrumentRepository.upsert([instrument], on: connection)
            let rows = try connection.queryOne("SELECT count(*) FROM instrument_rules") {
                (row) throws(StorageError) in try row.get(0, as: Int64.self)
            }
            #expect(rows == 4)
        }
    }

    @Test("one model a job, one live model a name, and listeners are told") func models() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        var told = try pool.notifications(ModelRepository.channel).makeAsyncIterator()
        #expect(try await told.next() == .resync)
        try await pool.withConnection { connection in
            let first = try ModelRepository.register(
                name: "ppo", kind: "policy", checkpoint: [1, 2], jobID: 7, on: connection)
            #expect(first.version == 1 && first.stage == .candidate)
            #expect(
                try ModelRepository.register(name: "ppo", kind: "policy", checkpoint: [1, 2], jobID: 7, on: connection)
                    == first)
            #expect(throws: StorageError.conflict("model ppo of job 7")) {
                try ModelRepository.register(name: "ppo", kind: "policy", checkpoint: [3], jobID: 7, on: connection)
            }
            let second = try ModelRepository.register(name: "ppo", kind: "policy", checkpoint: [3], on: connection)
            #expect(second.version == 2)
            #expect(try ModelRepository.live("ppo", on: connection) == nil)
            try ModelRepository.promote("ppo", version: 1, on: connection)
            try ModelRepository.promote("ppo", version: 2, on: connection)
            #expect(try ModelRepository.live("ppo", on: connection)?.version == 2)
            #expect(try ModelRepository.models("ppo", on: connection).map(\.stage) == [.live, .retired])
            #expect(try ModelRepository.checkpoint("ppo", version: 1, on: connection) == [1, 2])
            #expect(try ModelRepository.checkpoint("ppo", version: 9, on: connection) == nil)
            #expect(throws: StorageError.unexpectedRowCount(0)) {
                try ModelRepository.promote("ppo", version: 9, on: connection)
            }
            try connection.execute("UPDATE models SET checkpoint = 'damaged' WHERE version = 1")
            #expect(throws: StorageError.self) { try ModelRepository.checkpoint("ppo", version: 1, on: connection) }
        }
        #expect(try await told.next() == .notification(channel: "models", payload: "ppo"))
        await pool.close()
    }
}
