/// What an exchange demands of an order in one market, and what it charges.
///
/// Field by field Binance's filters: PRICE_FILTER, LOT_SIZE, MARKET_LOT_SIZE, NOTIONAL / MIN_NOTIONAL. Rules change
/// over time: a preset says when it was recorded, and the registry of rules by date is the caller's.
public struct InstrumentRules: Sendable, Equatable {
    /// `BTCUSDT`.
    public let symbol: String
    public let baseAsset: String
    public let quoteAsset: String
    /// Prices are multiples of it.
    public let tickSize: Price
    /// Quantities are multiples of it.
    public let lotSize: Quantity
    /// The least quantity of one order.
    public let minQuantity: Quantity
    /// The greatest quantity of one market order: the lesser of LOT_SIZE and MARKET_LOT_SIZE.
    public let maxQuantity: Quantity
    /// The least notional of one order, in the quote currency, at the last price.
    public let minNotional: Amount
    /// Fraction of the notional, charged in the quote currency; 0.001 is 10 basis points.
    public let makerFee: Double
    public let takerFee: Double
    /// A spot market sells only what is held; a perpetual future may be sold short.
    public let allowsShort: Bool
    /// The greatest |position|·price over equity that the exchange lends for; 1 on spot.
    public let maxLeverage: Double
    /// `takerFee` in 1e-8.
    @usableFromInline let takerFeeUnits: Int64
    /// `makerFee` in 1e-8; negative is a rebate.
    let makerFeeUnits: Int64

    public init(
        symbol: String, baseAsset: String, quoteAsset: String, tickSize: Price, lotSize: Quantity,
        minQuantity: Quantity, maxQuantity: Quantity, minNotional: Amount, makerFee: Double, takerFee: Double,
        allowsShort: Bool, maxLeverage: Double = 1
    ) throws(TradingError) {
        func check(_ holds: Bool, _ reason: String) throws(TradingError) {
            if !holds { throw .invalidRules(symbol: symbol, reason: reason) }
        }
        try check(!symbol.isEmpty && !quoteAsset.isEmpty, "symbol and quote asset must have a name")
        try check(tickSize > .zero, "tickSize must be positive")
        try check(lotSize > .zero, "lotSize must be positive")
        try check(minQuantity >= lotSize, "minQuantity must be at least one lot")
        try check(maxQuantity >= minQuantity, "maxQuantity must not be below minQuantity")
        try check(minNotional >= .zero, "minNotional must not be negative")
        try check(takerFee >= 0 && takerFee < 0.1, "takerFee must be a fraction in [0, 0.1)")
        try check(makerFee > -0.01 && makerFee < 0.1, "makerFee must be a fraction in (-0.01, 0.1)")
        try check(maxLeverage >= 1 && maxLeverage <= 125, "maxLeverage must be in [1, 125]")
        try check(allowsShort || maxLeverage == 1, "a market without short sales lends nothing")
        self.symbol = symbol
        self.baseAsset = baseAsset
        self.quoteAsset = quoteAsset
        self.tickSize = tickSize
        self.lotSize = lotSize
        self.minQuantity = minQuantity
        self.maxQuantity = maxQuantity
        self.minNotional = minNotional
        self.makerFee = makerFee
        self.takerFee = takerFee
        self.allowsShort = allowsShort
        self.maxLeverage = maxLeverage
        takerFeeUnits = Int64((takerFee * 1e8).rounded())
        makerFeeUnits = Int64((makerFee * 1e8).rounded())
    }

    /// What of `held` (its magnitude counts) is less than the exchange lets one sell when the market is at `price`: all
    /// of it below the minima, the rest over whole lots otherwise.
    public func dust(of held: Quantity, price: Double) -> Quantity {
        let held = held.magnitude
        let sellable = held.magnitudeRoundedDown(toLot: lotSize)
        let isSellable = sellable >= minQuantity && sellable.double * price >= minNotional.double
        return isSellable ? held - sellable : held
    }
}

extension InstrumentRules {
    /// One line of the tables below: tick, lot and greatest market quantity as the exchange prints them.
    private typealias Row = (base: String, tick: String, lot: String, maximum: String, notional: String)

    // BTC, ETH and XVG: exchangeInfo recorded 2026-07-03. The others have no recorded filters; tick and lot are the
    // places that prices and volumes of their bars of March 2026 show, the rest is what all USDT pairs share.
    private static let spotRows: [Row] = [
        ("BTC", "0.01", "0.00001", "160.64030255", "5"), ("ETH", "0.01", "0.0001", "3117.87807364", "5"),
        ("XVG", "0.000001", "1", "4609626", "5"), ("SUI", "0.0001", "0.1", "900000", "5"),
        ("SOL", "0.01", "0.001", "90000", "5"), ("XRP", "0.0001", "0.1", "900000", "5"),
        ("DOGE", "0.00001", "1", "9000000", "5"), ("ADA", "0.0001", "0.1", "900000", "5"),
    ]

    // fapi exchangeInfo recorded 2026-07-03: PRICE_FILTER, MARKET_LOT_SIZE, MIN_NOTIONAL.
    private static let perpetualRows: [Row] = [
        ("BTC", "0.1", "0.001", "120", "50"), ("ETH", "0.01", "0.001", "2000", "20"),
        ("XRP", "0.0001", "0.1", "2000000", "5"), ("ADA", "0.0001", "1", "3000000", "5"),
        ("DOGE", "0.00001", "1", "30000000", "5"), ("SOL", "0.01", "0.01", "80000", "5"),
        ("SUI", "0.0001", "0.1", "600000", "5"), ("1000SHIB", "0.000001", "1", "50000000", "5"),
        ("1000PEPE", "0.0000001", "1", "100000000", "5"),
    ]

    /// Binance spot as of 2026-07 (`BTCUSDT`, `ETHUSDT`, `XVGUSDT`, `SUIUSDT`, `SOLUSDT`, `XRPUSDT`, `DOGEUSDT`,
    /// `ADAUSDT`), fees of the lowest tier (10 basis points each side); `nil` for a symbol without preset.
    public static func binanceSpot(_ symbol: String) -> InstrumentRules? {
        preset(symbol, in: spotRows, makerFee: 0.001, takerFee: 0.001, maxLeverage: nil)
    }

    /// Binance USD-M perpetuals as of 2026-07, fees of the lowest tier (2 and 5 basis points); short sales allowed.
    /// `maxLeverage` is what we use of it, not what the exchange would lend.
    public static func binancePerpetual(_ symbol: String, maxLeverage: Double = 1) -> InstrumentRules? {
        preset(symbol, in: perpetualRows, makerFee: 0.0002, takerFee: 0.0005, maxLeverage: maxLeverage)
    }

    /// Rules for a coin that no exchange lists, like those of listed ones: the tick is the power of ten at or below
    /// 1e-4 of the price, the lot the one at or below 0.1 of the quote currency; minimum notional 5, fee 10 basis
    /// points a side. Throws for a price that is not finite or is below 1e-4, which leaves no room for a tick.
    public static func simulated(
        _ symbol: String, price: Double, quoteAsset: String = "USDT", allowsShort: Bool = false,
        takerFee: Double = 0.001
    ) throws(TradingError) -> InstrumentRules {
        func powerOfTen(notAbove value: Double) -> Int64 {
            var units: Int64 = 1
            while units < 1_000_000_000_000_000, Double(units) * 10 <= value * 1e8 * (1 + 1e-9) { units *= 10 }
            return units
        }
        guard price.isFinite, price >= 1e-4 else {
            throw .invalidRules(symbol: symbol, reason: "price must be at least 1e-4")
        }
        let lot = Quantity(units: powerOfTen(notAbove: 0.1 / price))
        let suffix = symbol.hasSuffix(quoteAsset) ? String(symbol.dropLast(quoteAsset.count)) : symbol
        return try InstrumentRules(
            symbol: symbol, baseAsset: suffix, quoteAsset: quoteAsset,
            tickSize: Price(units: powerOfTen(notAbove: price * 1e-4)), lotSize: lot, minQuantity: lot,
            maxQuantity: Quantity(units: 9_000_000_000_000_000), minNotional: Amount(units: 500_000_000),
            makerFee: takerFee, takerFee: takerFee, allowsShort: allowsShort)
    }

    private static func preset(
        _ symbol: String, in rows: [Row], makerFee: Double, takerFee: Double, maxLeverage: Double?
    ) -> InstrumentRules? {
        guard let row = rows.first(where: { $0.base + "USDT" == symbol }), let tick = Price(row.tick),
            let lot = Quantity(row.lot), let maximum = Quantity(row.maximum), let notional = Amount(row.notional)
        else { return nil }
        return try? InstrumentRules(
            symbol: symbol, baseAsset: row.base, quoteAsset: "USDT", tickSize: tick, lotSize: lot, minQuantity: lot,
            maxQuantity: maximum, minNotional: notional, makerFee: makerFee, takerFee: takerFee,
            allowsShort: maxLeverage != nil, maxLeverage: maxLeverage ?? 1)
    }
}
