@testable import Features
import Indicators
import MarketData
import Testing

@Suite("Feature schema")
struct FeatureSchemaTests {
    static let plain = FeatureConfiguration(traded: [Instrument("SUIUSDT")])

    /// A change here means: every stored vector, normaliser and model is of another schema. That is right when a column
    /// was added, renamed or redefined, and wrong in any other commit.
    @Test("The default schema is frozen")
    func golden() throws {
        let schema = try FeatureEngine(Self.plain).schema
        #expect(schema.count == 85)
        #expect(schema.version == "d64663958314f14e159024b180916764")
        #expect(schema.names == schema.names.sorted())
        let modules = ["btc_heston": 24, "generic": 39, "regime": 4, "sentiment": 4, "shitcoin": 14]
        for (module, count) in modules {
            #expect(schema.names.count { $0.hasPrefix(module + ".") } == count, "\(module)")
        }
    }

    @Test("Every named column is there: 29 of the market's own with six lines more, 53 of v2, the flow, the sessions")
    func named() throws {
        var configuration = Self.plain
        configuration.modules = [.market, .v2, .flow, .session]
        let schema = try FeatureEngine(configuration).schema
        func names(_ module: String) -> [String] {
            schema.names.filter { $0.hasPrefix(module + ".") }.map { String($0.dropFirst(module.count + 1)) }
        }
        let raw = ["timestamp", "price", "volume", "open", "high", "low", "close"]
        let book = ["bid_price", "ask_price", "bid_volume", "ask_volume", "spread", "order_imbalance"]
        let classic = [
            "rsi_14", "macd", "macd_signal", "ema_9", "ema_21", "sma_50", "bollinger_upper", "bollinger_lower",
            "atr_14", "adx",
        ]
        let events = [
            "event_spike_volume", "event_breakout", "event_reversal", "trend_direction", "momentum_shift",
            "pattern_match",
        ]
        let lines = ["cci_20", "tenkan", "kijun", "senkou_a", "senkou_b", "vwap"]
        #expect(raw.count + book.count + classic.count + events.count == 29)
        #expect(Set(names("market")) == Set(raw + book + classic + events + lines))
        #expect(names("v2").count == 53)
        #expect(names("v2").allSatisfy { $0.hasPrefix("feat_") })
        #expect(names("flow").count == 8 && names("session").count == 4)
        // What is in the market's own units is no input of a network.
        let levels = schema.definitions.filter(\.isLevel).map(\.name)
        #expect(levels.count == 26 && levels.allSatisfy { $0.hasPrefix("market.") || $0 == "flow.ofi" })
        #expect(!levels.contains("market.rsi_14"))
    }

    @Test("What changes values changes the version; symbols and lateness do not")
    func versions() throws {
        func version(_ change: (inout FeatureConfiguration) -> Void) throws -> String {
            var configuration = Self.plain
            change(&configuration)
            return try FeatureEngine(configuration).schema.version
        }
        let base = try version { _ in }
        #expect(try version { $0.traded = [Instrument("DOGEUSDT")] } == base)
        #expect(try version { $0.maximumLateness = .seconds(5) } == base)
        #expect(try version { $0.modules.reverse() } == base)
        let others = [
            try version { $0.interval = .minutes(5) }, try version { $0.surfaceTolerance = .hours(12) },
            try version { $0.modules = [.generic, .btcHeston] }, try version { $0.includesPseudoHeston = true },
            try version { $0.regimeStateCount = 4 },
        ]
        #expect(Set(others + [base]).count == 6)
    }

    @Test("Bad columns and configurations are refused with the reason")
    func refused() {
        for names in [["a.b", "a.b"], ["ab"], ["A.b"], ["a.b.c"], ["a."], []] {
            #expect(throws: FeatureError.self, "\(names)") {
                try FeatureSchema(names.map { FeatureDefinition($0, "x") })
            }
        }
        func refused(_ change: (inout FeatureConfiguration) -> Void) -> Bool {
            var configuration = Self.plain
            change(&configuration)
            do { _ = try FeatureEngine(configuration) } catch FeatureError.invalidConfiguration { return true } catch {}
            return false
        }
        #expect(refused { $0.traded = [] })
        #expect(refused { $0.traded = [Instrument("A"), Instrument("A")] })
        #expect(refused { $0.traded = [Instrument("")] })
        #expect(refused { $0.traded = [Instrument("BTCUSDT", perpetual: "X")] })
        #expect(refused { $0.interval = .minutes(0) })
        #expect(refused { $0.modules = [] })
        #expect(refused { $0.modules = [.generic, .generic] })
        #expect(refused { $0.regimeStateCount = 9 })
        #expect(refused { $0.surfaceTolerance = .minutes(-1) })
        #expect(refused { $0.barTolerance = 0 })
        #expect(refused { $0.referenceNotional = 0 })
    }

    @Test("A vector of another schema is refused, one stored and read back is the same but for the reasons")
    func vectors() throws {
        let market = TestMarket(bars: 40, seed: 1)
        let schema = try FeatureEngine(TestMarket.configuration).schema
        let other = try FeatureEngine(Self.plain).schema
        let vector = try #require(try TestMarket.run(market.events).last)
        #expect(throws: FeatureError.schemaMismatch(expected: other.version, found: schema.version)) {
            try vector.value("generic.roc_5", in: other)
        }
        #expect(throws: FeatureError.unknownFeature(name: "generic.none")) {
            try vector.value("generic.none", in: schema)
        }
        func read(_ values: [Double], _ validity: [UInt8], _ version: String) throws -> FeatureVector {
            try FeatureVector(
                symbol: vector.symbol, barTime: vector.barTime, knownAt: vector.knownAt, sequence: vector.sequence,
                close: vector.close, schemaVersion: version, values: values, validity: validity, schema: schema)
        }
        let back = try read(vector.values, vector.validity, schema.version)
        for index in 0..<schema.count {
            #expect(back[index] == vector[index])
            #expect((back.absences[index] == .unrecorded) == (vector.absences[index] != nil))
        }
        #expect(back.validCount == vector.validCount)
        #expect(throws: FeatureError.self) { try read(vector.values, vector.validity, other.version) }
        let cut = Array(vector.values.dropLast())
        #expect(throws: FeatureError.self) { try read(cut, vector.validity, schema.version) }
        #expect(throws: FeatureError.self) { try read(vector.values, [0], schema.version) }
        let all = [UInt8](repeating: 255, count: vector.validity.count)
        #expect(throws: FeatureError.self) { try read(vector.values, all, schema.version) }
    }

    /// FIPS 180-4's examples: "abc", the empty message, and the 56-byte message that needs two blocks.
    @Test("SHA-256 gives the standard's digests")
    func hash() {
        #expect(StableHash.name(of: Array("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223")
        #expect(StableHash.name(of: []) == "e3b0c44298fc1c149afbf4c8996fb924")
        let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
        #expect(StableHash.name(of: Array(long.utf8)) == "248d6a61d20638b8e5c026930c3e6039")
    }
}
