import Compression
import Foundation
import Testing
import Trading

private let recorded = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(
        path: "../../../shared/data/fixtures/binance_recorded_2026/api-v3-exchangeInfo_BTC_ETH_XVG_20260703.json"
    )
    .standardizedFileURL

private let recordedPerpetuals = recorded.deletingLastPathComponent()
    .appending(path: "fapi-v1-exchangeInfo_20260703.json.gz")

@Suite struct InstrumentRulesTests {
    @Test(
        "the spot presets are the recorded filters",
        .enabled(
            if: FileManager.default.fileExists(atPath: recorded.path),
            "recorded answers lie beside the checkout, in ../shared/data/fixtures"))
    func recordedFilters() throws {
        struct Info: Decodable {
            struct Symbol: Decodable {
                var symbol: String
                var filters: [Filter]
            }
            struct Filter: Decodable {
                var filterType: String
                var tickSize, stepSize, minQty, maxQty, minNotional: String?
            }
            var symbols: [Symbol]
        }
        let info = try JSONDecoder().decode(Info.self, from: Data(contentsOf: recorded))
        #expect(info.symbols.count == 3)
        for symbol in info.symbols {
            let rules = try #require(InstrumentRules.binanceSpot(symbol.symbol))
            let filters = Dictionary(
                symbol.filters.map { ($0.filterType, $0) }, uniquingKeysWith: { first, _ in first })
            #expect(filters["PRICE_FILTER"]?.tickSize.flatMap { Price($0) } == rules.tickSize)
            #expect(filters["LOT_SIZE"]?.stepSize.flatMap { Quantity($0) } == rules.lotSize)
            #expect(filters["LOT_SIZE"]?.minQty.flatMap { Quantity($0) } == rules.minQuantity)
            #expect(filters["NOTIONAL"]?.minNotional.flatMap { Amount($0) } == rules.minNotional)
            let most = try #require(filters["MARKET_LOT_SIZE"]?.maxQty.flatMap { Quantity($0) })
            #expect(rules.maxQuantity <= most && rules.maxQuantity.double > most.double - 1)
        }
    }

    @Test(
        "the presets of perpetuals are the recorded filters",
        .enabled(
            if: FileManager.default.fileExists(atPath: recordedPerpetuals.path),
            "recorded answers lie beside the checkout, in ../shared/data/fixtures"))
    func recordedPerpetualFilters() throws {
        struct Info: Decodable {
            struct Symbol: Decodable {
                var symbol, baseAsset, quoteAsset: String
                var filters: [Filter]
            }
            struct Filter: Decodable {
                var filterType: String
                var tickSize, stepSize, minQty, maxQty, notional: String?
            }
            var symbols: [Symbol]
        }
        let packed = Array(try Data(contentsOf: recordedPerpetuals))
        let text = try Gzip.decompressed(packed, maxByteCount: 1 << 26)
        let info = try JSONDecoder().decode(Info.self, from: Data(text))
        var compared = 0
        for symbol in info.symbols {
            guard let rules = InstrumentRules.binancePerpetual(symbol.symbol) else { continue }
            compared += 1
            let filters = Dictionary(
                symbol.filters.map { ($0.filterType, $0) }, uniquingKeysWith: { first, _ in first })
            let market = try #require(filters["MARKET_LOT_SIZE"])
            let name = symbol.symbol
            #expect(symbol.baseAsset == rules.baseAsset && symbol.quoteAsset == rules.quoteAsset, "\(name)")
            #expect(filters["PRICE_FILTER"]?.tickSize.flatMap { Price($0) } == rules.tickSize, "\(name)")
            #expect(filters["LOT_SIZE"]?.stepSize.flatMap { Quantity($0) } == rules.lotSize, "\(name)")
            #expect(market.stepSize.flatMap { Quantity($0) } == rules.lotSize, "\(name)")
            #expect(filters["LOT_SIZE"]?.minQty.flatMap { Quantity($0) } == rules.minQuantity, "\(name)")
            #expect(market.maxQty.flatMap { Quantity($0) } == rules.maxQuantity, "\(name)")
            #expect(filters["MIN_NOTIONAL"]?.notional.flatMap { Amount($0) } == rules.minNotional, "\(name)")
        }
        #expect(compared == 9)
    }

    @Test("presets exist for what is traded, and only for that")
    func presets() throws {
        for symbol in ["BTCUSDT", "ETHUSDT", "SUIUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT", "XVGUSDT"] {
            let rules = try #require(InstrumentRules.binanceSpot(symbol))
            #expect(!rules.allowsShort && rules.takerFee == 0.001 && rules.minNotional.description == "5")
        }
        #expect(InstrumentRules.binanceSpot("NOCOIN") == nil)
        let perpetual = try #require(InstrumentRules.binancePerpetual("BTCUSDT"))
        #expect(perpetual.allowsShort && perpetual.minNotional.description == "50")
    }

    @Test("simulated rules suit coins from 0.001 to 100,000", arguments: [0.001, 0.09, 0.88, 1, 83, 2105, 68_284])
    func simulated(price: Double) throws {
        let rules = try InstrumentRules.simulated("COINUSDT", price: price)
        #expect(rules.baseAsset == "COIN")
        // A lot is between 0.01 and 0.1 of the quote currency, a tick between 1e-5 and 1e-4 of the price.
        #expect(rules.lotSize.double * price <= 0.1 * (1 + 1e-9) && rules.lotSize.double * price > 0.01 * (1 - 1e-9))
        #expect(rules.tickSize.double <= price * 1.0001e-4 && rules.tickSize.double > price * 0.999e-5)
    }

    @Test("contradictory rules are refused with the field's name")
    func invalid() throws {
        #expect(throws: TradingError.invalidRules(symbol: "SUIUSDT", reason: "lotSize must be positive")) {
            try rules(lot: "0")
        }
        #expect(throws: TradingError.self) { try rules(minQuantity: "0.01") }
        #expect(throws: TradingError.self) { try rules(fee: -0.001) }
        #expect(throws: TradingError.self) { try rules(fee: .nan) }
        #expect(throws: TradingError.self) { try rules(allowsShort: false, maxLeverage: 3) }
        #expect(throws: TradingError.self) { try InstrumentRules.simulated("X", price: .nan) }
        #expect(throws: TradingError.self) { try InstrumentRules.simulated("X", price: 1e-5) }
    }
}
