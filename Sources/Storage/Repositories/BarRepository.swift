public import MarketData

/// Candles: table `bars`.
///
/// Like all repositories: plain functions on a lent connection, to be used alone (`pool.withConnection { try
/// BarRepository.upsert(bars, …, on: $0) }`) or together with others inside `pool.withTransaction`. Every write can be
/// repeated without effect.
public enum BarRepository {
    /// Rows of one statement.
    static let chunk = 10_000

    /// Stores bars, replacing those that differ; no two of `bars` may have one interval and open time. Returns how many
    /// rows are new or changed. Makes the partitions they need.
    @discardableResult
    public static func upsert(
        _ bars: [Bar], exchange: String, symbol: String, on connection: isolated Connection
    ) throws(StorageError) -> Int {
        try connection.ensurePartitions("bars", covering: bars.lazy.map(\.openTime))
        return try connection.inTransaction { () throws(StorageError) in
            var changed = 0
            for chunk in bars.chunks(of: Self.chunk) {
                changed += try connection.execute(
                    """
                    INSERT INTO bars (exchange, symbol, interval_seconds, open_time, open, high, low, close, volume)
                    SELECT $1, $2, * FROM unnest($3::int4[], $4::timestamptz[], $5::float8[], $6::float8[],
                    $7::float8[],
                                                 $8::float8[], $9::float8[])
                    ON CONFLICT (exchange, symbol, interval_seconds, open_time) DO UPDATE
                    SET (open, high, low, close, volume)
                        = (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)
                    WHERE (bars.open, bars.high, bars.low, bars.close, bars.volume)
                        IS DISTINCT FROM (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)
                    """,
                    [
                        exchange, symbol, chunk.map { Int32(clamping: $0.interval.microseconds / 1_000_000) },
                        chunk.map(\.openTime), chunk.map(\.open), chunk.map(\.high), chunk.map(\.low),
                        chunk.map(\.close), chunk.map(\.volume),
                    ])
            }
            return changed
        }
    }

    /// The bars that open in `from ..< to`, in order.
    public static func bars(
        exchange: String, symbol: String, interval: Interval, from: Timestamp, to: Timestamp,
        on connection: isolated Connection
    ) throws(StorageError) -> [Bar] {
        try connection.query(
            """
            SELECT open_time, open, high, low, close, volume FROM bars
            WHERE exchange = $1 AND symbol = $2 AND interval_seconds = $3 AND open_time >= $4 AND open_time < $5
            ORDER BY open_time
            """, [exchange, symbol, Int32(clamping: interval.microseconds / 1_000_000), from, to]
        ) { (row) throws(StorageError) in
            Bar(
                openTime: try row.get(0), interval: interval, open: try row.get(1), high: try row.get(2),
                low: try row.get(3), close: try row.get(4), volume: try row.get(5))
        }
    }
}

extension BarRepository {
    /// The close of the newest bar that opens before an instant; `nil` where there is none.
    public static func lastClose(
        exchange: String, symbol: String, before: Timestamp, on connection: isolated Connection
    ) throws(StorageError) -> Double? {
        try connection.queryOptional(
            """
            SELECT close FROM bars WHERE exchange = $1 AND symbol = $2 AND open_time < $3
            ORDER BY open_time DESC LIMIT 1
            """, [exchange, symbol, before]
        ) { (row) throws(StorageError) in try row.get(0) }
    }
}

extension Array {
    /// Slices of at most `size` elements, in order.
    func chunks(of size: Int) -> [ArraySlice<Element>] {
        stride(from: 0, to: count, by: size).map { self[$0..<Swift.min($0 + size, count)] }
    }
}
