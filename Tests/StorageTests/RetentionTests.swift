import MarketData
import Storage
import TestKit
import Testing

/// What is dropped, what never is, and what the views for people say.
@Suite struct RetentionTests {
    private func decimal(_ text: String) throws -> DecimalNumber { try #require(DecimalNumber(text)) }

    @Test("old months go, but none that a stream or a job needs") func retention() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        let old = try #require(Timestamp("2020-01-10"))
        let later = try #require(Timestamp("2020-06-10"))
        @Sendable func stream(_ name: String, from: Timestamp) -> EventRepository.Stream {
            .init(
                name: name, exchange: "x", symbols: ["A"], currencies: [], from: from, to: from + .days(5),
                tradedSymbols: [], tradeFrom: from)
        }
        try await pool.withConnection { connection in
            for month in [old, later] {
                try connection.ensurePartitions("bars", from: month, to: month)
                try connection.ensurePartitions("decisions", from: month, to: month)
            }
            // Nothing is kept by days as long as nobody says so.
            #expect(try Retention.expired(on: connection) == [])
            try Retention.keep(30, of: "bars", on: connection)
            try Retention.keep(90, of: "decisions", on: connection)
            try Retention.keep(nil, of: "decisions", on: connection)
            #expect(try Retention.days(on: connection) == ["bars": 30])
            #expect(throws: StorageError.self) { try Retention.keep(0, of: "bars", on: connection) }
            #expect(throws: StorageError.self) { try Retention.keep(9, of: "orders", on: connection) }
            let both = ["bars_p2020_01", "bars_p2020_06"]
            #expect(try Retention.expired(on: connection).map(\.partition) == both)

            // A stream that is not closed protects its months and the one before.
            try EventRepository.create(stream("running", from: old + .days(20)), on: connection)
            #expect(try Retention.expired(on: connection) == [])
            try EventRepository.setState(.closed, of: "running", on: connection)
            // So does a job that waits and names it.
            let job = try JobRepository.enqueue(
                key: "k", kind: "ppo", spec: "{\"data\": [{\"stream\": \"running\"}]}", on: connection)
            #expect(try Retention.expired(on: connection) == [])
            _ = try JobRepository.cancel(job, on: connection)
            try EventRepository.create(stream("newer", from: later), on: connection)
            #expect(try Retention.expired(on: connection).map(\.partition) == ["bars_p2020_01"])
        }
        #expect(try await pool.applyRetention() == ["bars_p2020_01"])
        #expect(try await pool.applyRetention() == [])
        try await pool.withConnection { connection in
            #expect(try connection.partitions(of: "bars") == ["bars_p2020_06"])
            let kept = try connection.partitions(of: "decisions")
            #expect(kept.count == 2)
        }
        await pool.close()
    }

    @Test("where a reader does not make way retention gives up, and goes on when it is asked again") func locked()
        async throws
    {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        let old = try #require(Timestamp("2020-01-10"))
        try await pool.withConnection { connection in
            try connection.ensurePartitions("bars", from: old, to: old)
            try Retention.keep(30, of: "bars", on: connection)
        }
        try await pool.withTransaction { reader in
            try reader.execute("SELECT count(*) FROM bars")
            let error = await #expect(throws: StorageError.self) { try await pool.applyRetention() }
            guard case .server(let fault) = error else { throw StorageError.closed }
            #expect(fault.sqlState == "55P03")
            // The reader is none the worse for it.
            try reader.execute("SELECT count(*) FROM bars")
        }
        #expect(try await pool.applyRetention() == ["bars_p2020_01"])
        await pool.close()
    }

    @Test("events of streams closed long ago go; a stream's writer waits for nothing") func events() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        try await pool.withConnection { connection in
            let start = Timestamp(seconds: 1_700_000_000)
            for name in ["old", "open"] {
                try EventRepository.create(
                    .init(
                        name: name, exchange: "x", symbols: [], currencies: [], from: start, to: start,
                        tradedSymbols: [], tradeFrom: start), on: connection)
                try EventRepository.append(
                    (1...5).map { .init(sequence: $0, knownAt: start, payload: [1]) }, to: name, on: connection)
            }
            try Retention.keep(10, of: "stream_events", on: connection)
            try EventRepository.setState(.closed, of: "old", on: connection)
        }
        #expect(try await pool.applyRetention() == [])
        try await pool.withConnection { try $0.command("UPDATE streams SET closed_at = closed_at - interval '11 days'") }
        #expect(try await pool.applyRetention() == ["5 events of old"])
        try await pool.withConnection { connection in
            let kept = try EventRepository.events(of: "open", from: 1, limit: 9, on: connection)
            let dropped = try EventRepository.events(of: "old", from: 1, limit: 9, on: connection)
            #expect(kept.count == 5 && dropped.isEmpty)
        }
        await pool.close()
    }

    @Test("a partition dropped under a writer is made again at the next write") func droppedUnderWriter() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        let bar = Bar(
            openTime: Timestamp(seconds: 1_577_836_800), interval: .minutes(1), open: 1, high: 1, low: 1, close: 1,
            volume: 1)
        try await pool.withConnection { connection in
            // A connection knows a partition once it has found it there.
            for _ in 0..<2 { try BarRepository.upsert([bar], exchange: "x", symbol: "A", on: connection) }
            try connection.command("DROP TABLE bars_p2020_01")
            #expect(throws: StorageError.self) {
                try BarRepository.upsert([bar], exchange: "x", symbol: "A", on: connection)
            }
            #expect(try BarRepository.upsert([bar], exchange: "x", symbol: "A", on: connection) == 1)
        }
        await pool.close()
    }

    /// Five fills: in, more in, out; then short, turned round to long by one fill, and still open.
    @Test("the view trades shows round trips, turned positions shared between two") func trades() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        let start = Timestamp(seconds: 1_700_000_000)
        let fills: [(side: String, quantity: String, price: String, fee: String, pnl: String)] = [
            ("buy", "1", "100", "0.1", "0"), ("buy", "1", "110", "0.1", "0"), ("sell", "2", "120", "0.2", "30"),
            ("sell", "1", "120", "0.1", "0"), ("buy", "3", "110", "0.3", "10"),
        ]
        try await pool.withConnection { connection in
            for (index, fill) in fills.enumerated() {
                let id = "o\(index)"
                let time = start + .minutes(Int64(index))
                let quantity = try decimal(fill.quantity)
                try TradingRepository.upsert(
                    [
                        .init(
                            clientOrderID: id, symbol: "A", side: fill.side, kind: "market", quantity: quantity,
                            limitPrice: nil, state: "filled", decisionTime: time, sequence: Int64(index), reason: nil,
                            filledQuantity: quantity, publishedAt: time, decidedAt: time)
                    ], account: "p", on: connection)
                try connection.execute(
                    "UPDATE orders SET stored_at = published_at + interval '5 ms' WHERE client_order_id = $1", [id])
                try TradingRepository.insert(
                    [
                        .init(
                            clientOrderID: id, number: 0, symbol: "A", side: fill.side, eventTime: time,
                            price: try decimal(fill.price), quantity: quantity, fee: try decimal(fill.fee),
                            realisedPnL: try decimal(fill.pnl))
                    ], account: "p", on: connection)
            }
            let trips = try connection.query(
                """
                SELECT format('%s %s %s..%s qty %s in %s out %s pnl %s fees %s net %s fills %s latency %s', number,
                    side,
                    extract(epoch FROM opened_at)::int8 - 1700000000, extract(epoch FROM closed_at)::int8 - 1700000000,
                    quantity, round(entry_price, 2), round(exit_price, 2), round(pnl, 2), round(fees, 2),
                    round(net_pnl, 2), fills, latency_milliseconds)
                FROM trades WHERE account = 'p' ORDER BY number
                """
            ) { (row) throws(StorageError) in try row.get(0, as: String.self) }
            #expect(
                trips == [
                    "1 long 0..120 qty 2 in 105.00 out 120.00 pnl 30.00 fees 0.40 net 29.60 fills 3 latency 5",
                    "2 short 180..240 qty 1 in 120.00 out 110.00 pnl 10.00 fees 0.20 net 9.80 fills 2 latency 5",
                    "3 long 240.. qty 2 in 110.00 out  pnl 0.00 fees 0.20 net -0.20 fills 1 latency 5",
                ])
            let details = try connection.query("SELECT fee FROM trade_fills WHERE account = 'p'") {
                (row) throws(StorageError) in try row.get(0, as: DecimalNumber.self)
            }
            #expect(details.count == 5)
            let hops = try connection.query(
                "SELECT hop, count, p50 FROM latency_per_hop WHERE stream = 'p' ORDER BY hop"
            ) { (row) throws(StorageError) in
                "\(try row.get(0, as: String.self)): \(try row.get(1, as: Int.self)) \(try row.get(2, as: Double.self))"
            }
            #expect(hops == ["3 decision sent to order stored: 5 5.0", "4 bar published to order stored: 5 5.0"])
        }
        await pool.close()
    }

    @Test("the days of an account, each against the day before") func days() async throws {
        let pool = ConnectionPool(try await TestCluster.shared.database())
        let midnight = try #require(Timestamp("2026-01-02"))
        try await pool.withConnection { connection in
            let points: [(Interval, Double)] = [
                (.hours(-2), 100), (.hours(-1), 110), (.hours(1), 99), (.hours(2), 121),
            ]
            try TradingRepository.insert(
                points.enumerated().map { index, point in
                    .init(
                        symbol: "A", eventTime: midnight + point.0, sequence: Int64(index), cash: 0, equity: point.1,
                        exposure: 1, price: 1)
                }, account: "p", on: connection)
            let days = try connection.query(
                """
                SELECT format('%s: %s to %s, lowest %s, %s %%', day::date, first_equity, last_equity, lowest_equity,
                    round((100 * change)::numeric, 2))
                FROM daily_performance WHERE account = 'p' ORDER BY day
                """
            ) { (row) throws(StorageError) in try row.get(0, as: String.self) }
            #expect(
                days == ["2026-01-01: 100 to 110, lowest 100, 10.00 %", "2026-01-02: 99 to 121, lowest 99, 10.00 %"])
        }
        await pool.close()
    }
}
