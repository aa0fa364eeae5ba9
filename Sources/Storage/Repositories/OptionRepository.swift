public import MarketData

/// Option chains, the surfaces built from them and the inversions of those: `option_quotes`, `iv_surfaces`,
/// `heston_fits`. What is stored stays as it is.
public enum OptionRepository {
    /// One inversion of one surface. Volatilities absolute, times in years.
    public struct HestonFit: Sendable, Equatable {
        public var eventTime: Timestamp
        /// `calibration`, `network`, `polished`.
        public var method: String
        public var modelVersion: String
        public var kappa: Double
        public var theta: Double
        public var sigma: Double
        public var rho: Double
        public var v0: Double
        /// Root-mean-square error over the surface's cells, in absolute volatility.
        public var rmseVolatility: Double
        public var iterations: Int32
        public var termination: String

        public init(
            eventTime: Timestamp, method: String, modelVersion: String, kappa: Double, theta: Double, sigma: Double,
            rho: Double, v0: Double, rmseVolatility: Double, iterations: Int32, termination: String
        ) {
            self.eventTime = eventTime
            self.method = method
            self.modelVersion = modelVersion
            self.kappa = kappa
            self.theta = theta
            self.sigma = sigma
            self.rho = rho
            self.v0 = v0
            self.rmseVolatility = rmseVolatility
            self.iterations = iterations
            self.termination = termination
        }
    }

    // MARK: Chains

    @discardableResult
    public static func insert(
        _ chain: OptionChain, exchange: String, knownAt: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.ensurePartitions("option_quotes", covering: [chain.snapshotTime])
        let quotes = chain.quotes
        return try connection.execute(
            """
            INSERT INTO option_quotes
                (exchange, currency, snapshot_time, known_at, index_price, instrument, kind, strike, expiry,
                 underlying_price, bid_price_coin, ask_price_coin, mark_price_coin, mark_volatility, open_interest,
                 volume)
            SELECT $1, $2, $3, $4, $5, * FROM unnest(
                $6::text[], $7::text[], $8::float8[], $9::timestamptz[], $10::float8[], $11::float8[], $12::float8[],
                $13::float8[], $14::float8[], $15::float8[], $16::float8[])
            ON CONFLICT DO NOTHING
            """,
            [
                exchange, chain.currency, chain.snapshotTime, knownAt, chain.indexPrice, quotes.map(\.instrument),
                quotes.map(\.kind.rawValue), quotes.map(\.strike), quotes.map(\.expiry), quotes.map(\.underlyingPrice),
                quotes.map(\.bidPriceCoin), quotes.map(\.askPriceCoin), quotes.map(\.markPriceCoin),
                quotes.map(\.markVolatility), quotes.map(\.openInterest), quotes.map(\.volume),
            ])
    }

    /// The snapshots taken in `from ..< to`, each with its quotes in order of their names.
    public static func chains(
        exchange: String, currency: String, from: Timestamp, to: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> [OptionChain] {
        var chains: [OptionChain] = []
        let rows = try connection.query(
            """
            SELECT snapshot_time, index_price, instrument, kind, strike, expiry, underlying_price, bid_price_coin,
                   ask_price_coin, mark_price_coin, mark_volatility, open_interest, volume
            FROM option_quotes WHERE exchange = $1 AND currency = $2 AND snapshot_time >= $3 AND snapshot_time < $4
            ORDER BY snapshot_time, instrument COLLATE "C"
            """, [exchange, currency, from, to]
        ) { (row) throws(StorageError) -> (Timestamp, Double, OptionQuote) in
            guard let kind = OptionQuote.Kind(rawValue: try row.get(3)) else {
                throw .decoding(column: "kind", reason: "neither call nor put")
            }
            let quote = OptionQuote(
                instrument: try row.get(2), kind: kind, strike: try row.get(4), expiry: try row.get(5),
                underlyingPrice: try row.get(6), bidPriceCoin: try row.get(7), askPriceCoin: try row.get(8),
                markPriceCoin: try row.get(9), markVolatility: try row.get(10), openInterest: try row.get(11),
                volume: try row.get(12))
            return (try row.get(0), try row.get(1), quote)
        }
        for (time, index, quote) in rows {
            if chains.last?.snapshotTime != time {
                chains.append(OptionChain(currency: currency, snapshotTime: time, indexPrice: index, quotes: []))
            }
            chains[chains.count - 1].quotes.append(quote)
        }
        return chains
    }

    // MARK: Surfaces

    @discardableResult
    public static func insert(
        _ surface: Dated<ImpliedVolatilitySurface>, exchange: String, currency: String, report: JSON = "{}",
        on connection: isolated Connection
    ) throws(StorageError) -> Int {
        let value = surface.value
        return try connection.execute(
            """
            INSERT INTO iv_surfaces (exchange, currency, event_time, known_at, log_moneyness, tau, implied_volatility,
                                     cells, spot, forwards, method, report)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING
            """,
            [
                exchange, currency, surface.eventTime, surface.knownAt, value.logMoneyness, value.tau,
                value.impliedVolatility, value.cells.map(\.rawValue), value.spot, value.forwards, value.method, report,
            ])
    }

    public static func surfaces(
        exchange: String, currency: String, from: Timestamp, to: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> [Dated<ImpliedVolatilitySurface>] {
        try connection.query(
            """
            SELECT event_time, known_at, log_moneyness, tau, implied_volatility, cells, spot, forwards, method
            FROM iv_surfaces WHERE exchange = $1 AND currency = $2 AND event_time >= $3 AND event_time < $4
            ORDER BY event_time, method
            """, [exchange, currency, from, to]
        ) { (row) throws(StorageError) in
            let (k, tau) = (try row.get(2, as: [Double].self), try row.get(3, as: [Double].self))
            let (volatility, forwards) = (try row.get(4, as: [Double].self), try row.get(7, as: [Double].self))
            let cells = try row.get(5, as: [UInt8].self).compactMap { ImpliedVolatilitySurface.Cell(rawValue: $0) }
            // The surface's initialiser traps on what a damaged row could hold.
            guard volatility.count == k.count * tau.count, cells.count == volatility.count, forwards.count == tau.count
            else { throw .decoding(column: "implied_volatility", reason: "sizes that do not fit") }
            return Dated(
                eventTime: try row.get(0), knownAt: try row.get(1),
                value: ImpliedVolatilitySurface(
                    logMoneyness: k, tau: tau, impliedVolatility: volatility, cells: cells, spot: try row.get(6),
                    forwards: forwards, method: try row.get(8)))
        }
    }

    // MARK: Inversions

    @discardableResult
    public static func insert(
        _ fits: [HestonFit], exchange: String, currency: String, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.execute(
            """
            INSERT INTO heston_fits (exchange, currency, event_time, method, model_version, kappa, theta, sigma, rho,
            v0,
                                     rmse_volatility, iterations, termination)
            SELECT $1, $2, * FROM unnest(
                $3::timestamptz[], $4::text[], $5::text[], $6::float8[], $7::float8[], $8::float8[], $9::float8[],
                $10::float8[], $11::float8[], $12::int4[], $13::text[])
            ON CONFLICT DO NOTHING
            """,
            [
                exchange, currency, fits.map(\.eventTime), fits.map(\.method), fits.map(\.modelVersion),
                fits.map(\.kappa), fits.map(\.theta), fits.map(\.sigma), fits.map(\.rho), fits.map(\.v0),
                fits.map(\.rmseVolatility), fits.map(\.iterations), fits.map(\.termination),
            ])
    }

    public static func fits(
        exchange: String, currency: String, from: Timestamp, to: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> [HestonFit] {
        try connection.query(
            """
            SELECT event_time, method, model_version, kappa, theta, sigma, rho, v0, rmse_volatility, iterations,
            termination
            FROM heston_fits WHERE exchange = $1 AND currency = $2 AND event_time >= $3 AND event_time < $4
            ORDER BY event_time, method, model_version
            """, [exchange, currency, from, to]
        ) { (row) throws(StorageError) in
            HestonFit(
                eventTime: try row.get(0), method: try row.get(1), modelVersion: try row.get(2), kappa: try row.get(3),
                theta: try row.get(4), sigma: try row.get(5), rho: try row.get(6), v0: try row.get(7),
                rmseVolatility: try row.get(8), iterations: try row.get(9), termination: try row.get(10))
        }
    }
}
