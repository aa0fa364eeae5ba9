public import Storage
public import Trading

// An exchange's rules as they are stored, and as the trading session checks them. Both count exactly: decimals there,
// units of 1e-8 here.

extension DecimalNumber {
    /// Exact.
    public init(_ value: some FixedPoint) { self.init(Int128(value.units), scale: 8) }
}

extension InstrumentRepository.Instrument {
    /// The rules of `exchange`, to be stored.
    public init(_ rules: InstrumentRules, exchange: String) {
        self.init(
            exchange: exchange, symbol: rules.symbol, base: rules.baseAsset, quote: rules.quoteAsset,
            tickSize: DecimalNumber(rules.tickSize), lotSize: DecimalNumber(rules.lotSize),
            minimumQuantity: DecimalNumber(rules.minQuantity), maximumQuantity: DecimalNumber(rules.maxQuantity),
            minimumNotional: DecimalNumber(rules.minNotional), makerFee: rules.makerFee, takerFee: rules.takerFee,
            allowsShort: rules.allowsShort, maximumLeverage: rules.maxLeverage)
    }
}

extension InstrumentRules {
    /// The stored rules. Throws `invalidRules` when a number is beyond the fixed-point range, or when they contradict
    /// themselves.
    public init(_ stored: InstrumentRepository.Instrument) throws(TradingError) {
        guard let tick = Price(stored.tickSize.description), let lot = Quantity(stored.lotSize.description),
            let minimum = Quantity(stored.minimumQuantity.description),
            let maximum = Quantity(stored.maximumQuantity.description),
            let notional = Amount(stored.minimumNotional.description)
        else { throw .invalidRules(symbol: stored.symbol, reason: "a number is out of range") }
        try self.init(
            symbol: stored.symbol, baseAsset: stored.base, quoteAsset: stored.quote, tickSize: tick, lotSize: lot,
            minQuantity: minimum, maxQuantity: maximum, minNotional: notional, makerFee: stored.makerFee,
            takerFee: stored.takerFee, allowsShort: stored.allowsShort, maxLeverage: stored.maximumLeverage)
    }
}
