import Contract
import Storage
import Testing
import Trading

private func rules() throws -> InstrumentRules {
    try InstrumentRules(
        symbol: "ALTUSDT", baseAsset: "ALT", quoteAsset: "USDT", tickSize: Price(units: 1),
        lotSize: Quantity(units: 100),
        minQuantity: Quantity(units: 100), maxQuantity: Quantity(units: .max), minNotional: Amount(units: 500_000_000),
        makerFee: 0.0001, takerFee: 0.001, allowsShort: true, maxLeverage: 3)
}

@Suite struct InstrumentRulesTests {
    @Test("rules are stored and read back exactly, the smallest and the greatest numbers too")
    func roundTrip() throws {
        let stored = InstrumentRepository.Instrument(try rules(), exchange: "test")
        #expect(stored.exchange == "test" && stored.tickSize.description == "0.00000001")
        #expect(stored.maximumQuantity.description == "92233720368.54775807")
        #expect(try InstrumentRules(stored) == rules())
    }

    @Test("stored numbers that have no fixed-point form, and rules that contradict themselves, are refused")
    func refusals() throws {
        let good = InstrumentRepository.Instrument(try rules(), exchange: "test")
        for number in ["92233720368.54775808", "1000000000000000000000000000000", "0.000000001"] {
            var stored = good
            stored.maximumQuantity = try #require(DecimalNumber(number))
            #expect(
                throws: TradingError.invalidRules(symbol: "ALTUSDT", reason: "a number is out of range"), "\(number)"
            ) { try InstrumentRules(stored) }
        }
        var stored = good
        stored.allowsShort = false
        #expect(throws: TradingError.self) { try InstrumentRules(stored) }
    }
}
