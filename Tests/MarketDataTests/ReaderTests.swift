import Kernels
import MarketData
import Testing

@Suite("Readers of recorded market data")
struct ReaderTests {
    /// Every fault of a kline row, one a line; lines 2, 3 and the last two are good.
    @Test("Bad bars are named by line and reason, good ones load")
    func badBars() throws {
        let text = """
            open_time_ms,open,high,low,close,volume,extra
            1735689600000,10,12,9,11,5,x
            1735689660000,11,11,11,11,0,x
            1735689660000,11,11,11,11,0,x
            1735689660000,11,11,11,11,1,x
            1735689600000,10,12,9,11,5,x
            1735689720000,10,9,12,11,5,x
            1735689720000,10,12,9,13,5,x
            1735689720000,13,12,9,11,5,x
            1735689720000,10,12,9,11,-5,x
            1735689720000,nan,12,9,11,5,x
            1735689720000,10,inf,9,11,5,x
            1735689720000,10,1e999,9,11,5,x
            1735689720000,10,12,9,,5,x
            1735689720000,10,12,9,11
            1735689725000,10,12,9,11,5,x
            1735689720000,ten,12,9,11,5,x
            1735689720000,0x1p3,12,9,11,5,x
            2025-01-01,10,12,9,11,5,x
            1735689720000,10,12,0,11,5,x

            1735689720000,10,12,9,11,5,x
            1735689780000,1.0e1,+12.0,9,.11e2,5,x
            """
        let loaded = try KlineReader(interval: .minutes(1)).read(.text(text))
        let expected: [(Int, RowFault, String?)] = [
            (4, .duplicate, nil), (5, .conflictingDuplicate, nil), (6, .timeBackwards, nil), (7, .lowAboveHigh, nil),
            (8, .closeOutsideRange, nil), (9, .openOutsideRange, nil), (10, .negativeVolume, nil),
            (11, .nonFinite, "open"), (12, .nonFinite, "high"), (13, .nonFinite, "high"), (14, .missingValue, "close"),
            (15, .wrongFieldCount, nil), (16, .misaligned, nil), (17, .notANumber, "open"), (18, .notANumber, "open"),
            (19, .notANumber, "open_time"), (20, .notPositive, nil),
        ]
        #expect(loaded.report.issues.map(\.line) == expected.map(\.0))
        #expect(loaded.report.issues.map(\.fault) == expected.map(\.1))
        for (issue, wanted) in zip(loaded.report.issues, expected) where wanted.2 != nil {
            #expect(issue.column == wanted.2)
        }
        #expect(loaded.report.accepted == 4 && loaded.report.rejected == 17)
        #expect(loaded.rows.map(\.volume) == [5, 0, 5, 5])
        #expect(loaded.rows[3].open == 10 && loaded.rows[3].close == 11)
        #expect(loaded.rows[0].closeTime == at("2025-01-01T00:01Z"))
    }

    @Test("The issue list is bounded, the count is not")
    func boundedIssues() throws {
        let text = "open_time_ms,open,high,low,close,volume\n" + String(repeating: "1,2\n", count: 1000)
        let report = try KlineReader(interval: .minutes(1)).read(.text(text)).report
        #expect(report.issues.count == LoadReport.maximumIssues)
        #expect(report.rejected == 1000 && report.counts[.wrongFieldCount] == 1000)
    }

    @Test("Binance's headerless archive rows, in milliseconds and in microseconds")
    func archiveRows() throws {
        // First rows of spot-klines-BTCUSDT-1h-2024-10-28.zip; the second stamped as the archive stamps since 2025.
        let text = """
            1730073600000,68021.69,68116.78,67839.9,67859.91,555.35912,1730077199999,37756129.8,145225,281.12,191130,0
            1730077200000000,67859.9,67907.2,67740.11,67751.89,304.90747,1730080799999999,20676332,89536,126.7,8592,0
            """
        let loaded = try KlineReader(interval: .hours(1)).read(.text(text))
        #expect(loaded.report.isClean)
        #expect(loaded.rows.map(\.openTime) == [at("2024-10-28T00:00Z"), at("2024-10-28T01:00Z")])
        #expect(loaded.rows.map(\.close) == [67859.91, 67751.89])
    }

    @Test("A span is half-open, and reading ends with it")
    func span() throws {
        let text = """
            open_time_ms,open,high,low,close,volume
            1735689600000,1,1,1,1,0
            1735689660000,2,2,2,2,0
            1735689720000,3,3,3,3,0
            bad
            """
        let loaded = try KlineReader(interval: .minutes(1)).read(
            .text(text), span: at("2025-01-01T00:01Z")..<at("2025-01-01T00:02Z"))
        #expect(loaded.rows.map(\.open) == [2])
        #expect(loaded.report.isClean)
    }

    @Test("A jump is quarantined once; a level that stays is the market")
    func quarantine() throws {
        func line(_ minute: Int, _ price: Double) -> String {
            "\(1_735_689_600_000 + minute * 60_000),\(price),\(price),\(price),\(price),1"
        }
        let prices = [100.0, 101, 500, 102, 300, 301, 302]
        let text = "open_time_ms,open,high,low,close,volume\n"
            + prices.enumerated().map { line($0.offset, $0.element) }.joined(separator: "\n")
        let strict = try KlineReader(interval: .minutes(1), maximumJump: 0.5).read(.text(text))
        #expect(strict.rows.map(\.close) == [100, 101, 102, 301, 302])
        #expect(strict.quarantined.map(\.close) == [500, 300])
        #expect(strict.report.quarantined == 2 && strict.report.rejected == 0)
        let open = try KlineReader(interval: .minutes(1)).read(.text(text))
        #expect(open.rows.count == prices.count && open.quarantined.isEmpty)
    }

    @Test("Files that are not what they should be throw")
    func unreadable() {
        #expect(throws: MarketDataError.self) {
            try KlineReader(interval: .minutes(1)).read(.file(path: "/nonexistent/x.csv"))
        }
        #expect(throws: MarketDataError.unknownLayout(path: "(bytes)", missing: ["close"])) {
            try KlineReader(interval: .minutes(1)).read(.text("open_time_ms,open,high,low,volume\n"))
        }
        #expect(throws: MarketDataError.unknownLayout(path: "(bytes)", missing: ["a header"])) {
            try KlineReader(interval: .minutes(1)).read(.bytes([]))
        }
    }

    @Test("A gzip file cut short is damaged, not shorter")
    func truncatedArchive() throws {
        // `printf 'open_time_ms,open,high,low,close,volume\n1735689600000,1,1,1,1,0\n' | gzip -n`
        let archive: [UInt8] = [
            0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xcb, 0x2f, 0x48, 0xcd, 0x8b, 0x2f,
            0xc9, 0xcc, 0x4d, 0x8d, 0xcf, 0x2d, 0xd6, 0xc9, 0x07, 0x72, 0x74, 0x32, 0x32, 0xd3, 0x33, 0x74,
            0x72, 0xf2, 0xcb, 0x75, 0x92, 0x73, 0xf2, 0x8b, 0x53, 0x75, 0xca, 0xf2, 0x73, 0x4a, 0x73, 0x53,
            0xb9, 0x0c, 0xcd, 0x8d, 0x4d, 0xcd, 0x2c, 0x2c, 0xcd, 0x0c, 0x40, 0x40, 0xc7, 0x10, 0x0a, 0x0d,
            0xb8, 0x00, 0x98, 0xb9, 0x05, 0xc7, 0x40, 0x00, 0x00, 0x00,
        ]
        let whole = try TemporaryFile(archive)
        let loaded = try KlineReader(interval: .minutes(1)).read(.file(path: whole.path))
        #expect(loaded.rows.map(\.openTime) == [at("2025-01-01")])
        let cut = try TemporaryFile(Array(archive.dropLast(12)))
        #expect { try KlineReader(interval: .minutes(1)).read(.file(path: cut.path)) } throws: {
            if case .corruptFile = $0 as? MarketDataError { true } else { false }
        }
        var flipped = archive
        flipped[40] ^= 0xFF
        let damaged = try TemporaryFile(flipped)
        #expect(throws: MarketDataError.self) {
            try KlineReader(interval: .minutes(1)).read(.file(path: damaged.path))
        }
    }

    @Test("Funding intervals come from the steps, 8 hours where unknown")
    func fundingIntervals() throws {
        let hour = 3_600_000
        let stamps = [0, 8, 12, 13, 21, 500].map { 1_735_689_600_000 + $0 * hour }
        let text = "funding_time_ms,funding_rate,source\n" + stamps.map { "\($0 + 7),0.0001,A" }.joined(separator: "\n")
            + "\n\(stamps[5] + hour),1.5,A\n"
        let loaded = try FundingReader().read(.text(text))
        #expect(loaded.rows.map(\.value.interval) == [8, 8, 4, 1, 8, 8].map { .hours($0) })
        #expect(loaded.rows.allSatisfy { $0.value.rate == 0.0001 })
        #expect(loaded.report.issues == [RowIssue(line: 8, fault: .outOfRange, column: "funding_rate")])
    }

    @Test("Open interest and fear & greed: units, empties, limits")
    func slowSeries() throws {
        let interest = try OpenInterestReader().read(
            .text("time_ms,open_interest,open_interest_value_usdt\n1771560000000,80485.615,\n1771574400000,-1,2\n"))
        #expect(interest.rows.map(\.value) == [OpenInterest(quantity: 80485.615, notional: nil)])
        #expect(interest.report.issues.map(\.fault) == [.negativeValue])

        let greed = try FearGreedReader().read(
            .text(
                """
                date,timestamp_s,value,classification
                2018-02-01,1517443200,30,Fear
                2018-02-02,1517529600,101,Fear
                2018-02-03,1517616000000,40,Fear
                """))
        #expect(greed.rows == [Stamped(time: at("2018-02-01"), value: 30)])
        #expect(greed.report.issues.map(\.fault) == [.outOfRange, .notATime])
        #expect(KnownTimes.fearGreed(at("2018-02-01")) == at("2018-02-02"))
    }

    @Test("Trades: both layouts, the aggressor's side, and every fault by its line and column")
    func trades() throws {
        let text = """
            trade_id,price,quantity,time_ms,is_buyer_maker
            10,100.5,0.25,1770076800005,true
            11,100.5,1,1770076800005,False
            11,100.5,1,1770076800005,False
            11,100.5,2,1770076800005,False
            9,100.5,1,1770076800006,true
            12,100.5,1,1770076800004,true
            12,0,1,1770076800006,true
            12,1,-1,1770076800006,true
            12,1,1,1770076800006,maybe
            12,1,1,,true
            12,1,1
            12,101,3,1770076800006,true
            """
        let loaded = try TradeReader().read(.text(text))
        #expect(loaded.rows.map(\.value.id) == [10, 11, 12])
        #expect(loaded.rows.map(\.value.isBuy) == [false, true, false])
        #expect(loaded.rows[0].time == Timestamp(milliseconds: 1_770_076_800_005))
        let expected: [(RowFault, String?)] = [
            (.duplicate, nil), (.conflictingDuplicate, nil), (.timeBackwards, nil), (.timeBackwards, nil),
            (.notPositive, "price"), (.notPositive, "quantity"), (.outOfRange, "is_buyer_maker"),
            (.missingValue, "time_ms"), (.wrongFieldCount, nil),
        ]
        #expect(loaded.report.issues.map(\.line) == Array(4...12))
        #expect(loaded.report.issues.map(\.fault) == expected.map(\.0))
        for (issue, wanted) in zip(loaded.report.issues, expected) where wanted.1 != nil {
            #expect(issue.column == wanted.1)
        }
        let aggregate = """
            agg_trade_id,price,quantity,first_trade_id,last_trade_id,time_ms,is_buyer_maker,is_best_match
            60953854,0.00000908,3591711.00,209942017,209942017,1729987202368,False,True
            """
        #expect(try TradeReader().read(.text(aggregate)).rows.first?.value.quantity == 3_591_711)
        #expect(throws: MarketDataError.self) { try TradeReader().read(.text("trade_id,price\n1,2\n")) }
    }

    @Test("Chains: grouping, empties, units, bad quotes")
    func chains() throws {
        let header = "snapshot_ms,instrument_name,underlying_price,index_price,bid_price,ask_price,mark_price,mark_iv,"
            + "open_interest,volume\n"
        let text = header + """
            1767115875944,BTC-31DEC25-70000-C,88535.09,88521.65,0.2075,0.216,0.20937741,0.7742,0,0
            1767115875944,BTC-31DEC25-70000-P,88535.09,88524.14,,0.0001,0,0,1,2
            1767115875944,BTC-31DEC25-70000-P,88535.09,88524.14,,0.0001,0,0,1,2
            1767115875944,BTC-31DEC25-80000-P,88535.09,88524.14,0.2,0.1,0,0.5,1,2
            1767115875944,BTC-31DEC25-80000-C,88535.09,88524.14,0.1,0.2,0.1,46.53,1,2
            1767115875944,BTC-30DEC25-80000-C,88535.09,88524.14,0.1,0.2,0.1,0.46,1,2
            1767115875944,BTC-31FEB26-80000-C,88535.09,88524.14,0.1,0.2,0.1,0.46,1,2
            1767115875944,ETH-27MAR26-80000-C,88535.09,88524.14,0.1,0.2,0.1,0.46,1,2
            1767120000000,BTC-27MAR26-90000-C,89000,88600,,,,0.46,,
            1767115875944,BTC-27MAR26-80000-C,88535.09,88524.14,0.1,0.2,0.1,0.46,1,2
            """
        let loaded = try ChainReader().read(.text(text))
        #expect(
            loaded.report.issues.map(\.fault) == [
                .duplicate, .bidAboveAsk, .outOfRange, .expired, .notAnInstrument, .notAnInstrument, .timeBackwards,
            ])
        #expect(loaded.rows.count == 2 && loaded.report.accepted == 3)
        let first = loaded.rows[0]
        #expect(first.currency == "BTC" && first.indexPrice == (88521.65 + 88524.14) / 2)
        #expect(first.quotes[0].expiry == at("2025-12-31T08:00Z") && first.quotes[0].strike == 70000)
        #expect(first.quotes[0].kind == .call && first.quotes[0].markVolatility == 0.7742)
        #expect(first.quotes[1].bidPriceCoin == nil && first.quotes[1].askPriceCoin == 0.0001)
        #expect(first.quotes[1].markVolatility == nil && first.quotes[1].kind == .put)
        #expect(loaded.rows[1].quotes[0].askPriceCoin == nil && loaded.rows[1].quotes[0].openInterest == nil)

        var streamed: [OptionChain] = []
        _ = try ChainReader().forEach(.text(text)) {
            streamed.append($0)
            return false
        }
        #expect(streamed == [first])
    }

    @Test("Instrument names survive the round trip", arguments: [
        "BTC-27MAR26-90000-C", "ETH-5JAN26-2400-P", "XRP_USDC-30JUN26-1d25-P",
    ])
    func instruments(name: String) throws {
        let parsed = try #require(OptionInstrument(name))
        #expect(
            OptionInstrument.name(
                currency: parsed.currency, expiry: parsed.expiry, strike: parsed.strike, kind: parsed.kind) == name)
    }

    @Test("News: JSON lines and quoted CSV; a date without a time is known a day later")
    func news() throws {
        let lines = """
            {"id":"b","title":"Up \\"again\\"","description":"Caf\\u00e9 \\ud83d\\ude80","source":"X",\
            "pub_date":"2026-01-08T11:06:57.000Z","first_seen":"2026-01-08T11:10:00Z"}
            {"id":"a","title":"Earlier","pub_date":"2026-01-08T10:00:01Z"}
            {"id":"a","title":"Repeated","pub_date":"2026-01-08T12:00:01Z"}
            {"id":"c","title":"No date"}
            {"id":"d","title":
            """
        let articles = try NewsReader().read(.text(lines))
        #expect(articles.rows.map(\.message.text) == ["Earlier", "Up \"again\". Café 🚀"])
        #expect(articles.rows[1].knownAt == at("2026-01-08T11:10Z"))
        #expect(articles.report.issues.map(\.fault) == [.missingValue, .notJSON])
        #expect(articles.report.issues.map(\.line) == [4, 5])

        let table = """
            time_utc,headline,link
            2021-10-15T00:00:00Z,"Rise, then ""fall""
            on two lines",https://a
            2021-10-15T06:00:00Z,"never closed,https://b
            2021-10-15T07:00:00Z,Plain,https://c
            """
        let headlines = try NewsReader().read(.text(table))
        #expect(headlines.rows.map(\.message.text) == ["Plain", "Rise, then \"fall\"\non two lines"])
        #expect(headlines.rows.map(\.knownAt) == [at("2021-10-15T07:00Z"), at("2021-10-16")])
        #expect(headlines.report.issues == [RowIssue(line: 4, fault: .brokenQuotes)])
    }

    /// Each reader takes any bytes: mutated good files, truncated ones, noise.
    @Test("Mutated bytes never crash a reader", arguments: 0..<6)
    func fuzz(kind: Int) throws {
        let samples = [
            "open_time_ms,open,high,low,close,volume\n1735689600000,1,1.5,1,1,0\n1735689660000,1,1,1,1,1e2\n",
            "funding_time_ms,funding_rate,source\n1577836800000,-0.00012359,A\n1577865600000,-1e-4,A\n",
            "time_ms,open_interest,open_interest_value_usdt\n1771560000000,80485.615,5419496040.188065\n",
            "date,timestamp_s,value,classification\n2018-02-01,1517443200,30,Fear\n",
            "snapshot_ms,instrument_name,underlying_price,index_price,bid_price,ask_price,mark_price,mark_iv,"
                + "open_interest,volume\n1767115875944,BTC-31DEC25-70000-C,88535.09,88521.65,,0.216,0.2,0.7742,0,0\n",
            "{\"id\":\"b\",\"title\":\"Up \\u00e9\\ud83d\\ude80\",\"n\":[1,-2.5e3,true,null],\"pub_date\":"
                + "\"2026-01-08T11:06:57.000Z\"}\n",
        ]
        let seed = UInt64(20_260_101 + kind)
        var random = RandomGenerator(seed: seed)
        let good = Array(samples[kind].utf8)
        let nasty = Array("\",\n-.e+0\r{[\\u".utf8)
        for _ in 0..<300 {
            var bytes = good
            for _ in 0...random.index(below: 6) {
                let place = random.index(below: bytes.count)
                switch random.index(below: 5) {
                case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes[place] = nasty[random.index(below: nasty.count)]
                case 2: bytes.remove(at: place)
                case 3: bytes.insert(contentsOf: bytes[place...].prefix(40), at: place)
                default: bytes.insert(UInt8(ascii: "9"), at: place)
                }
                if bytes.isEmpty { bytes = [0] }
            }
            let source = RowSource.bytes(bytes)
            do {
                let taken =
                    switch kind {
                    case 0: try KlineReader(interval: .minutes(1)).read(source).report.accepted
                    case 1: try FundingReader().read(source).report.accepted
                    case 2: try OpenInterestReader().read(source).report.accepted
                    case 3: try FearGreedReader().read(source).report.accepted
                    case 4: try ChainReader().read(source).report.accepted
                    default: try NewsReader().read(source).report.accepted
                    }
                #expect(taken <= 300, "seed \(seed)")
            } catch .unknownLayout {
                // The header was hit.
            }
        }
    }

    @Test("Decimal text reads to the nearest double, as the standard library reads it")
    func numbers() throws {
        var random = RandomGenerator(seed: 5)
        for _ in 0..<300 {
            let value = Double(bitPattern: random.next())
            guard value.isFinite else { continue }
            let places = random.index(below: 12)
            let fraction = String(random.next() % 1_000_000_000_000).prefix(places + 1)
            let plain = "\(random.index(below: 1_000_000)).\(fraction)"
            for text in [value.description, plain] {
                let row = "funding_time_ms,funding_rate\n1577836800000,\(text)\n"
                let loaded = try FundingReader().read(.text(row))
                let expected = try #require(Double(text))
                if abs(expected) < 1 { #expect(loaded.rows.first?.value.rate == expected, "\(text)") }
                let bar = try OpenInterestReader().read(.text("time_ms,open_interest\n1577836800000,\(text)\n"))
                if expected >= 0 { #expect(bar.rows.first?.value.quantity == expected, "\(text)") }
            }
        }
    }
}

/// A file that lives as long as the value.
final class TemporaryFile {
    let path: String

    init(_ bytes: [UInt8]) throws {
        var template = Array("/tmp/vomma-test-XXXXXX".utf8CString)
        let descriptor = unsafe mkstemp(&template)
        try #require(descriptor >= 0)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let written = unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
        try #require(written == bytes.count)
    }

    deinit { _ = unsafe unlink(path) }
}
