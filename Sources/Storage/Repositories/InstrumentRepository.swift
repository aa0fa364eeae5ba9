/// What can be traded or observed, with the exchange's rules: table `instruments`.
public enum InstrumentRepository {
    public struct Instrument: Sendable, Equatable {
        public var exchange: String
        public var symbol: String
        public var base: String
        public var quote: String
        /// In the quote currency.
        public var tickSize: DecimalNumber
        /// In base units.
        public var lotSize: DecimalNumber
        public var minimumQuantity: DecimalNumber
        /// Of one market order.
        public var maximumQuantity: DecimalNumber
        /// In the quote currency.
        public var minimumNotional: DecimalNumber
        /// Fractions of the notional: 0.001 is 10 basis points.
        public var makerFee: Double
        public var takerFee: Double
        public var allowsShort: Bool
        /// The greatest |position|·price over equity; 1 on spot.
        public var maximumLeverage: Double

        public init(
            exchange: String, symbol: String, base: String, quote: String, tickSize: DecimalNumber,
            lotSize: DecimalNumber, minimumQuantity: DecimalNumber, maximumQuantity: DecimalNumber,
            minimumNotional: DecimalNumber, makerFee: Double, takerFee: Double, allowsShort: Bool,
            maximumLeverage: Double
        ) {
            self.exchange = exchange
            self.symbol = symbol
            self.base = base
            self.quote = quote
            self.tickSize = tickSize
            self.lotSize = lotSize
            self.minimumQuantity = minimumQuantity
            self.maximumQuantity = maximumQuantity
            self.minimumNotional = minimumNotional
            self.makerFee = makerFee
            self.takerFee = takerFee
            self.allowsShort = allowsShort
            self.maximumLeverage = maximumLeverage
        }
    }

    /// Stores instruments, replacing their rules.
    public static func upsert(_ instruments: [Instrument], on connection: isolated Connection) throws(StorageError) {
        try connection.executeBatch(
            """
            INSERT INTO instruments (exchange, symbol, base, quote, tick_size, lot_size, min_quantity, max_quantity,
                                     min_notional, maker_fee, taker_fee, allows_short, max_leverage)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
            ON CONFLICT (exchange, symbol) DO UPDATE
            SET (base, quote, tick_size, lot_size, min_quantity, max_quantity, min_notional, maker_fee, taker_fee,
            allows_short,
                 max_leverage, updated_at)
                = (excluded.base, excluded.quote, excluded.tick_size, excluded.lot_size, excluded.min_quantity,
                   excluded.max_quantity, excluded.min_notional, excluded.maker_fee, excluded.taker_fee,
                   excluded.allows_short, excluded.max_leverage, now())
            """,
            instruments.map { instrument in
                [
                    instrument.exchange, instrument.symbol, instrument.base, instrument.quote, instrument.tickSize,
                    instrument.lotSize, instrument.minimumQuantity, instrument.maximumQuantity,
                    instrument.minimumNotional,
                    instrument.makerFee, instrument.takerFee, instrument.allowsShort, instrument.maximumLeverage,
                ]
            })
    }

    /// One exchange's instruments, or all, by exchange and symbol.
    public static func instruments(
        exchange: String? = nil, on connection: isolated Connection
    ) throws(StorageError) -> [Instrument] {
        try connection.query(
            """
            SELECT exchange, symbol, base, quote, tick_size, lot_size, min_quantity, max_quantity, min_notional,
            maker_fee,
                   taker_fee, allows_short, max_leverage
            FROM instruments WHERE $1::text IS NULL OR exchange = $1 ORDER BY exchange, symbol
            """, [exchange]
        ) { (row) throws(StorageError) in
            Instrument(
                exchange: try row.get(0), symbol: try row.get(1), base: try row.get(2), quote: try row.get(3),
                tickSize: try row.get(4), lotSize: try row.get(5), minimumQuantity: try row.get(6),
                maximumQuantity: try row.get(7), minimumNotional: try row.get(8), makerFee: try row.get(9),
                takerFee: try row.get(10), allowsShort: try row.get(11), maximumLeverage: try row.get(12))
        }
    }
}
