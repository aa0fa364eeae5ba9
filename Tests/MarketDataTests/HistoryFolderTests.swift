import Kernels
import MarketData
import Testing

/// On the recorded data beside the checkout; skipped where they are not.
@Suite("History folder on recorded data", .enabled(if: Shared.data != nil))
struct HistoryFolderTests {
    private func folder() throws -> HistoryFolder { try HistoryFolder(directory: #require(Shared.data)) }

    @Test("Discovers what is there")
    func discovery() throws {
        let folder = try folder()
        #expect(folder.symbols() == ["BTCUSDT", "ETHUSDT", "SUIUSDT"])
        #expect(folder.has(.funding, "BTCUSDT") && folder.has(.openInterest, "SUIUSDT"))
        #expect(folder.has(.optionChains, "BTC") && folder.has(.optionChains, "ETH") && folder.has(.fearGreed, ""))
        #expect(folder.has(.bars(interval: .minutes(5)), "1000PEPEUSDT"))
        #expect(!folder.files.contains { $0.path.contains("all_exchanges") || $0.path.contains("greeks") })
        #expect(throws: MarketDataError.notInFolder(kind: "bars", symbol: "NONE")) { try folder.bars("NONE") }
        #expect(throws: MarketDataError.self) { try HistoryFolder(directory: "/nonexistent") }
    }

    @Test("The first days of each kind are clean and as the folder's README says")
    func contents() throws {
        let folder = try folder()
        let start = at("2025-04-01")
        let bars = try folder.bars("SUIUSDT", span: start..<(start + .days(2)))
        #expect(bars.report.isClean && bars.rows.count == 2880)
        let funding = try folder.funding("BTCUSDT")
        #expect(funding.report.isClean && funding.rows.count == 6700)
        #expect(funding.rows.allSatisfy { $0.value.interval == .hours(8) })
        #expect(funding.rows.map(\.value.rate).max() == 0.003)
        let interest = try folder.openInterest("BTCUSDT")
        #expect(interest.allSatisfy { $0.report.isClean })
        #expect(interest.map(\.rows.count).sorted() == [168, 21229])
        let greed = try folder.fearGreed()
        #expect(greed.report.isClean && greed.rows.count == 2977)
        #expect(greed.rows.first?.time == at("2018-02-01") && greed.rows.first?.value == 30)
    }

    @Test("Chain snapshots: whole, priced in coin, volatilities absolute")
    func chains() throws {
        let loaded = try folder().chains("BTC", span: at("2025-12-30")..<at("2026-01-02"))
        #expect(loaded.report.isClean && loaded.rows.count >= 4)
        for chain in loaded.rows {
            #expect(chain.currency == "BTC" && chain.quotes.count > 500)
            #expect(chain.quotes.allSatisfy { $0.markVolatility ?? 0.5 > 0.05 && $0.markVolatility ?? 0.5 < 6 })
            let near = chain.quotes.filter { abs($0.underlyingPrice / chain.indexPrice - 1) < 0.1 }
            #expect(near.count == chain.quotes.count)
        }
    }

    @Test("A span of everything, by the time at which it was known")
    func history() throws {
        let span = at("2026-01-09T12:00Z")..<at("2026-01-10T12:00Z")
        let folder = try HistoryFolder(directory: #require(Shared.data))
        // The hourly bars keep this quick in debug builds.
        let history = try folder.history(symbols: ["BTCUSDT", "SOLUSDT"], span: span, interval: .hours(1))
        let events = history.merged()
        #expect(events.allSatisfy { span.contains($0.knownAt) && $0.eventTime <= $0.knownAt })
        var kinds: [String: Int] = [:]
        for event in events {
            switch event.payload {
            case .bar: kinds["bar", default: 0] += 1
            case .fearGreed: kinds["fearGreed", default: 0] += 1
            case .message: kinds["message", default: 0] += 1
            default: kinds["other", default: 0] += 1
            }
        }
        #expect(kinds["bar"] == 48 && kinds["fearGreed"] == 1 && kinds["message"] ?? 0 > 20)
        // Known in the span: polled from 20 minutes before it.
        #expect(history.chains.count >= 3)
        #expect(history.chains.allSatisfy { span.contains(KnownTimes.chain(snapshotTime: $0.snapshotTime)) })
        #expect(events.map(\.sequence) == Array(1...UInt64(events.count)))
        #expect(history.reports.allSatisfy { $0.source.contains("headlines") || $0.isClean })
    }
}
