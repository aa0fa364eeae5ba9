public import MarketData

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

    /// Stores instruments with the rules that hold from now on.
    public static func upsert(_ instruments: [Instrument], on connection: isolated Connection) throws(StorageError) {
        try connection.inTransaction { () throws(StorageError) in
            try connection.executeBatch(
                """
                INSERT INTO instruments (\(columns)) VALUES (\(places))
                ON CONFLICT (exchange, symbol) DO UPDATE SET (\(rules), updated_at) = (\(excluded), now())
                """, instruments.map(parameters))
            try keep(instruments, validFrom: nil, on: connection)
        }
    }

    /// Stores what held from an instant of the past on, until what is known to have followed it.
    public static func setRules(
        _ instruments: [Instrument], validFrom: Timestamp, on connection: isolated Connection
    ) throws(StorageError) {
        try keep(instruments, validFrom: validFrom, on: connection)
    }

    /// Rules that are those that held already make no new row.
    private static func keep(
        _ instruments: [Instrument], validFrom: Timestamp?, on connection: isolated Connection
    ) throws(StorageError) {
        try connection.executeBatch(
            """
            INSERT INTO instrument_rules (\(columns), valid_from)
            SELECT n.*, coalesce($14, now()) FROM (VALUES (\(typedPlaces))) n (\(columns))
            WHERE NOT EXISTS (
                SELECT FROM (
                    SELECT * FROM instrument_rules WHERE exchange = $1 AND symbol = $2
                    AND valid_from <= coalesce($14, now()) ORDER BY valid_from DESC LIMIT 1) k
                WHERE (\(known)) = (\(new)))
            ON CONFLICT (exchange, symbol, valid_from) DO UPDATE SET (\(rules)) = (\(excluded))
            """, instruments.map { parameters($0) + [validFrom] })
    }

    /// One exchange's instruments, or all, by exchange and symbol: with their present rules, or with those that held at
    /// an instant. What held before the first that are known is not; then the first count.
    public static func instruments(
        exchange: String? = nil, at time: Timestamp? = nil, on connection: isolated Connection
    ) throws(StorageError) -> [Instrument] {
        guard let time else {
            return try connection.query(
                """
                SELECT \(columns) FROM instruments WHERE $1::text IS NULL OR exchange = $1 ORDER BY exchange, symbol
                """, [exchange], decode: decode)
        }
        return try connection.query(
            """
            SELECT DISTINCT ON (exchange, symbol) \(columns) FROM instrument_rules
            WHERE $1::text IS NULL OR exchange = $1
            ORDER BY exchange, symbol, valid_from <= $2 DESC,
                     CASE WHEN valid_from <= $2 THEN $2 - valid_from ELSE valid_from - $2 END
            """, [exchange, time], decode: decode)
    }

    private static let ruleNames = [
        "base", "quote", "tick_size", "lot_size", "min_quantity", "max_quantity", "min_notional", "maker_fee",
        "taker_fee", "allows_short", "max_leverage",
    ]
    private static let rules = ruleNames.joined(separator: ", ")
    private static let columns = "exchange, symbol, " + rules
    private static let excluded = ruleNames.map { "excluded.\($0)" }.joined(separator: ", ")
    private static let known = ruleNames.map { "k.\($0)" }.joined(separator: ", ")
    private static let new = ruleNames.map { "n.\($0)" }.joined(separator: ", ")
    private static let places = (1...13).map { "$\($0)" }.joined(separator: ", ")
    private static let typedPlaces = zip(
        1...13,
        ["text", "text", "text", "text", "numeric", "numeric", "numeric", "numeric", "numeric", "float8", "float8", "bool", "float8"]
    ).map { "$\($0)::\($1)" }.joined(separator: ", ")

    private static func parameters(_ instrument: Instrument) -> [any PostgresEncodable] {
        [
            instrument.exchange, instrument.symbol, instrument.base, instrument.quote, instrument.tickSize,
            instrument.lotSize, instrument.minimumQuantity, instrument.maximumQuantity, instrument.minimumNotional,
            instrument.makerFee, instrument.takerFee, instrument.allowsShort, instrument.maximumLeverage,
        ]
    }

    private static func decode(_ row: Row) throws(StorageError) -> Instrument {
        Instrument(
            exchange: try row.get(0), symbol: try row.get(1), base: try row.get(2), quote: try row.get(3),
            tickSize: try row.get(4), lotSize: try row.get(5), minimumQuantity: try row.get(6),
            maximumQuantity: try row.get(7), minimumNotional: try row.get(8), makerFee: try row.get(9),
            takerFee: try row.get(10), allowsShort: try row.get(11), maximumLeverage: try row.get(12))
    }
}
