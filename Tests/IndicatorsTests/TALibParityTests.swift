import ChildProcesses
import Foundation
import Indicators
import MarketData
import Testing

/// Bars and TA-Lib's values beside them. A column is `nil` where TA-Lib is still in warm-up.
struct TALibTable {
    var bars: [Bar] = []
    var columns: [String: [Double?]] = [:]

    init(text: String) {
        let lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
        let names = lines[0].split(separator: ",").map(String.init)
        for name in names { columns[name] = [] }
        for line in lines.dropFirst() {
            let cells = line.split(separator: ",", omittingEmptySubsequences: false)
            for (name, cell) in zip(names, cells) { columns[name]?.append(Double(cell)) }
        }
        func value(_ name: String, _ row: Int) -> Double { columns[name]?[row] ?? .nan }
        for row in 0..<(lines.count - 1) {
            bars.append(
                Bar(
                    openTime: Timestamp(seconds: Int64(row) * 60), interval: .minutes(1), open: value("open", row),
                    high: value("high", row), low: value("low", row), close: value("close", row),
                    volume: value("volume", row)))
        }
    }

    static let tests = URL(filePath: #filePath).deletingLastPathComponent()
    static let reference = tests.appending(path: "../../../shared/reference/talib.csv.gz").standardizedFileURL

    static func golden() throws -> TALibTable {
        TALibTable(text: try String(contentsOf: tests.appending(path: "Golden/talib-120.csv"), encoding: .utf8))
    }

    static func full() async throws -> TALibTable {
        let (status, text) = try await ChildProcess.run("/usr/bin/env", ["gzip", "-dc", reference.path])
        try #require(status == 0, "\(text)")
        return TALibTable(text: text)
    }
}

@Suite("TA-Lib parity")
struct TALibParityTests {
    /// Ours for each column of the table.
    static func ours(_ bars: [Bar]) -> [String: [Double?]] {
        let closes = bars.map(\.close)
        var rsi = RelativeStrengthIndex(14)
        var macd = MovingAverageConvergenceDivergence()
        var ema = ExponentialMovingAverage(20)
        var sma = SimpleMovingAverage(50)
        var bands = BollingerBands(20, width: 2)
        var atr = AverageTrueRange(14)
        var adx = AverageDirectionalIndex(14)
        var stochastic = StochasticOscillator(14, k: 3, d: 3)
        var obv = OnBalanceVolume()
        var cci = CommodityChannelIndex(20)
        var mfi = MoneyFlowIndex(14)
        let macds = macd.fold(closes)
        let band = bands.fold(closes)
        let stochastics = stochastic.fold(bars)
        return [
            "rsi14": rsi.fold(closes), "macd": macds.map { $0?.line }, "macd_signal": macds.map { $0?.signal },
            "macd_hist": macds.map { $0?.histogram }, "ema20": ema.fold(closes), "sma50": sma.fold(closes),
            "bb_upper": band.map { $0?.upper }, "bb_middle": band.map { $0?.middle },
            "bb_lower": band.map { $0?.lower }, "atr14": atr.fold(bars), "adx14": adx.fold(bars),
            "stoch_slowk": stochastics.map { $0?.k }, "stoch_slowd": stochastics.map { $0?.d },
            "obv": obv.fold(bars), "cci20": cci.fold(bars), "mfi14": mfi.fold(bars),
        ]
    }

    /// Largest |ours − theirs| / max(|theirs|, scale), the scale being 1e-3 of the column's largest value: MACD, CCI
    /// and OBV cross zero, where a relative error means nothing.
    static func worst(_ ours: [Double?], _ theirs: [Double?]) -> Double {
        let scale = 1e-3 * (theirs.compactMap { $0.map(abs) }.max() ?? 1)
        var worst = 0.0
        for (a, b) in zip(ours, theirs) {
            guard let a, let b else {
                if (a == nil) != (b == nil) { return .infinity }
                continue
            }
            worst = max(worst, abs(a - b) / max(abs(b), scale))
        }
        return worst
    }

    static func check(_ table: TALibTable) {
        let values = ours(table.bars)
        #expect(values.count == 16)
        for (name, column) in values {
            let theirs = table.columns[name] ?? []
            #expect(theirs.contains { $0 != nil }, "\(name)")
            #expect(column.count == theirs.count)
            let error = worst(column, theirs)
            #expect(error <= 1e-9, "\(name): \(error)")
        }
    }

    @Test("the first 120 bars, committed beside the test")
    func golden() throws { Self.check(try TALibTable.golden()) }

    @Test(
        "all 2,000 bars of the reference",
        .enabled(if: FileManager.default.fileExists(atPath: TALibTable.reference.path)))
    func full() async throws {
        let table = try await TALibTable.full()
        #expect(table.bars.count == 2000)
        Self.check(table)
    }
}
